//! The table: every command, found by name.
//!
//! The index is built by the compiler: two rows of one name, or a row too many, do not compile.
//!
//! Cost of a look-up: one pass over the name and, expected, one comparison, eight bytes at a time.

use super::families::FAMILIES;
use super::spec::{Flags, NAME_BYTES_MAX, Spec};

const ROWS: usize = count();
/// At most half full, so that probing is short.
const PLACES: usize = (ROWS * 2).next_power_of_two();
const EMPTY: u16 = u16::MAX;

static TABLE: [&Spec; ROWS] = rows();
static INDEX: [u16; PLACES] = index();

const fn count() -> usize {
    let (mut rows, mut family) = (0, 0);
    while family < FAMILIES.len() {
        rows += FAMILIES[family].len();
        family += 1;
    }
    rows
}

const fn rows() -> [&'static Spec; ROWS] {
    let mut rows = [&FAMILIES[0][0]; ROWS];
    let (mut at, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            rows[at] = &FAMILIES[family][row];
            at += 1;
            row += 1;
        }
        family += 1;
    }
    rows
}

const fn index() -> [u16; PLACES] {
    let rows = rows();
    let mut index = [EMPTY; PLACES];
    let mut row = 0;
    while row < ROWS {
        let name = Folded::of(rows[row].name.as_bytes());
        let mut place = name.hash() as usize % PLACES;
        while index[place] != EMPTY {
            let other = Folded::of(rows[index[place] as usize].name.as_bytes());
            assert!(!name.is(&other), "a name stands twice");
            place = (place + 1) % PLACES;
        }
        index[place] = row as u16;
        row += 1;
    }
    index
}

/// The names of all rows, as they are compared.
static NAMES: [Folded; ROWS] = names();

const fn names() -> [Folded; ROWS] {
    let rows = rows();
    let mut names = [Folded::EMPTY; ROWS];
    let mut row = 0;
    while row < ROWS {
        names[row] = Folded::of(rows[row].name.as_bytes());
        row += 1;
    }
    names
}

static IS_SUBCOMMAND: [bool; ROWS] = subcommand_rows();

const fn subcommand_rows() -> [bool; ROWS] {
    let rows = rows();
    let mut is_sub = [false; ROWS];
    let mut row = 0;
    while row < ROWS {
        let (name, mut at) = (rows[row].name.as_bytes(), 0);
        while at < name.len() {
            is_sub[row] |= name[at] == b'|';
            at += 1;
        }
        row += 1;
    }
    is_sub
}

const WORD_BYTES: usize = size_of::<u64>();
const WORDS: usize = NAME_BYTES_MAX / WORD_BYTES;

/// A name in lower case, in words of eight bytes, with zeros behind it.
#[derive(Clone, Copy)]
struct Folded {
    words: [u64; WORDS],
    len: usize,
}

impl Folded {
    const EMPTY: Self = Self {
        words: [0; WORDS],
        len: 0,
    };

    /// A name of at most [`NAME_BYTES_MAX`] bytes.
    #[inline]
    const fn of(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.split_at_mut(name.len()).0.copy_from_slice(name);
        let mut folded = Self {
            words: [0; WORDS],
            len: name.len(),
        };
        let (chunks, _) = bytes.as_chunks::<WORD_BYTES>();
        let mut at = 0;
        while at * WORD_BYTES < name.len() {
            folded.words[at] = lower(u64::from_le_bytes(chunks[at]));
            at += 1;
        }
        folded
    }

    #[inline]
    const fn hash(&self) -> u64 {
        let (mut hash, mut at) = (self.len as u64, 0);
        while at * WORD_BYTES < self.len {
            hash = (hash ^ self.words[at]).wrapping_mul(HASH_FACTOR);
            hash ^= hash >> HASH_SHIFT;
            at += 1;
        }
        hash
    }

    #[inline]
    const fn is(&self, other: &Self) -> bool {
        let mut at = 0;
        while at < WORDS && self.words[at] == other.words[at] {
            at += 1;
        }
        // Zeros may stand in what a client sends as well.
        at == WORDS && self.len == other.len
    }
}

/// 2^64 divided by the golden ratio, made odd.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Brings what multiplying has mixed down to where places are taken from.
const HASH_SHIFT: u32 = 32;

/// Eight bytes with their ASCII letters in lower case.
#[inline]
const fn lower(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD_BYTES])
    }
    // The highest bit of each byte says: it is no less than A, and not more than Z.
    let low = word & each(0x7f);
    let from_a = low + each(0x80 - b'A');
    let above_z = low + each(0x80 - b'Z' - 1);
    let is_upper = from_a & !above_z & !word & each(0x80);
    word | (is_upper >> 2)
}

#[inline]
fn probe(name: &Folded) -> Option<usize> {
    let mut place = name.hash() as usize % PLACES;
    loop {
        let row = INDEX[place];
        if row == EMPTY {
            return None;
        }
        let row = usize::from(row);
        if NAMES[row].is(name) {
            return Some(row);
        }
        place = (place + 1) % PLACES;
    }
}

/// The command with this name, in any case; not a subcommand.
#[must_use]
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let row = probe(&Folded::of(name))?;
    (!IS_SUBCOMMAND[row]).then_some(TABLE[row])
}

/// The place of a row in [`all`].
#[must_use]
pub fn row_of(spec: &Spec) -> Option<usize> {
    probe(&Folded::of(spec.name.as_bytes()))
}

/// The subcommand `own` of a container, in any case.
#[must_use]
pub fn find_sub(container: &Spec, own: &[u8]) -> Option<&'static Spec> {
    let (name, own_at) = (container.name.as_bytes(), container.name.len() + 1);
    let len = own_at + own.len();
    if len > NAME_BYTES_MAX || own.contains(&b'|') {
        return None;
    }
    let mut full = [b'|'; NAME_BYTES_MAX];
    full[..name.len()].copy_from_slice(name);
    full[own_at..len].copy_from_slice(own);
    probe(&Folded::of(&full[..len])).map(|row| TABLE[row])
}

/// The command or, written with a bar, the subcommand with this name.
#[must_use]
pub fn find_full(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|&byte| byte == b'|') {
        None => find(name),
        Some(bar) => find_sub(find(&name[..bar])?, &name[bar + 1..]),
    }
}

/// All rows, subcommands among them, in the order of their families.
#[must_use]
pub fn all() -> &'static [&'static Spec] {
    &TABLE
}

/// The rows of each command file, in the order of the files' paths.
#[must_use]
pub fn families() -> &'static [&'static [Spec]] {
    FAMILIES
}

/// All commands that are not subcommands.
pub fn commands() -> impl Iterator<Item = &'static Spec> + Clone {
    TABLE
        .iter()
        .copied()
        .filter(|spec| !spec.name.contains('|'))
}

/// The subcommands of a container.
pub fn subcommands(container: &Spec) -> impl Iterator<Item = &'static Spec> + Clone {
    let is_container = container.flags.has(Flags::CONTAINER);
    TABLE.iter().copied().filter(move |spec| {
        is_container
            && spec
                .name
                .split_once('|')
                .is_some_and(|(c, _)| c == container.name)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_any_case_and_nothing_else_is() {
        for spec in all() {
            let upper = spec.name.to_ascii_uppercase();
            assert_eq!(
                find_full(upper.as_bytes()).map(|it| it.name),
                Some(spec.name)
            );
            assert_eq!(find(upper.as_bytes()).is_none(), spec.name.contains('|'));
            for at in 0..upper.len() {
                for byte in 0..=u8::MAX {
                    let mut other = upper.clone().into_bytes();
                    other[at] = byte;
                    let found = find(&other).map(|it| it.name.as_bytes());
                    assert!(found.is_none_or(|name| other.eq_ignore_ascii_case(name)));
                }
            }
            let padded = format!("{}\0", spec.name);
            assert!(find_full(padded.as_bytes()).is_none(), "{padded:?}");
        }
        assert!(find(b"").is_none());
        assert!(find(&[b'a'; NAME_BYTES_MAX + 1]).is_none());
    }
}
