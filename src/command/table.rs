//! The table: every command, found by name.
//!
//! The index is built by the compiler: two rows of one name, or a row too many, do not compile.
//!
//! Cost of a look-up: one pass over the name and, expected, one comparison.

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
        let name = rows[row].name.as_bytes();
        let mut place = hash(name, HASH_START) as usize % PLACES;
        while index[place] != EMPTY {
            assert!(
                !equal(rows[index[place] as usize].name.as_bytes(), name),
                "a name stands twice"
            );
            place = (place + 1) % PLACES;
        }
        index[place] = row as u16;
        row += 1;
    }
    index
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while a.len() == b.len() && i < a.len() && a[i] == b[i] {
        i += 1;
    }
    a.len() == b.len() && i == a.len()
}

const HASH_START: u32 = 0x811c_9dc5;

/// FNV-1a over the lower-case name, begun at `state` so that `container|own` needs no buffer.
const fn hash(name: &[u8], state: u32) -> u32 {
    let (mut hash, mut i) = (state, 0);
    while i < name.len() {
        hash = (hash ^ name[i].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

fn probe(hash: u32, matches: impl Fn(&str) -> bool) -> Option<usize> {
    let mut place = hash as usize % PLACES;
    loop {
        let row = INDEX[place];
        if row == EMPTY {
            return None;
        }
        let row = usize::from(row);
        if matches(TABLE[row].name) {
            return Some(row);
        }
        place = (place + 1) % PLACES;
    }
}

/// The command with this name, in any case; not a subcommand.
#[must_use]
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    if name.len() > NAME_BYTES_MAX || name.contains(&b'|') {
        return None;
    }
    let row = probe(hash(name, HASH_START), |n| {
        n.as_bytes().eq_ignore_ascii_case(name)
    });
    row.map(|row| TABLE[row])
}

/// The place of a row in [`all`].
#[must_use]
pub fn row_of(spec: &Spec) -> Option<usize> {
    probe(hash(spec.name.as_bytes(), HASH_START), |name| {
        name == spec.name
    })
}

/// The subcommand `own` of a container, in any case.
#[must_use]
pub fn find_sub(container: &Spec, own: &[u8]) -> Option<&'static Spec> {
    if own.len() > NAME_BYTES_MAX {
        return None;
    }
    let state = hash(b"|", hash(container.name.as_bytes(), HASH_START));
    let row = probe(hash(own, state), |name| {
        name.split_once('|')
            .is_some_and(|(c, o)| c == container.name && o.as_bytes().eq_ignore_ascii_case(own))
    });
    row.map(|row| TABLE[row])
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
