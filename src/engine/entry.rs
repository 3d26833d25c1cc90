//! One key with its value, deadline and access time: the only place that knows the byte layout.
//!
//! A small entry is one allocation, reached from exactly one slot of its shard's table:
//!
//! ```text
//!   0       1           5              5 or 13        +1 or +3
//!   +-------+-----------+--------------+--------------+---------+-----------------------+
//!   | flags | accessed  | deadline     | key length   | key     | value: bytes, or the  |
//!   |       | u32, s    | u64, ms      | 1 or 3 bytes |         | 8 bytes of an integer |
//!   +-------+-----------+--------------+--------------+---------+-----------------------+
//!                        if F_DEADLINE
//! ```
//!
//! A value that is long or grows in place (`APPEND`, `SETRANGE`) gets an allocation of its own with
//! room to grow, so that a thousand appends do not copy the value a thousand times.
//!
//! Invariants: a small entry is at least 5 bytes and its key length field fits inside it; `F_INT`
//! entries have exactly 8 value bytes; nobody but this module sees the bytes.
//!
//! Cost: 16 bytes in the table's slot, 6 to 16 bytes of header, and what the allocator rounds up.

use super::value::{Encoding, ValueRef};

/// The stored value is an integer.
const F_INT: u8 = 1;
/// The value grew in place: `OBJECT ENCODING` calls it raw whatever its length.
const F_GROWN: u8 = 2;
/// A deadline follows the access time.
const F_DEADLINE: u8 = 4;

/// Flags and access time.
const FIXED_BYTES: usize = 5;
const DEADLINE_BYTES: usize = 8;
/// Keys from this length on take three bytes for it.
const LONG_KEY_BYTES: usize = 128;
/// The longest key the layout can hold: 23 bits of length.
pub(crate) const KEY_BYTES_MAX: usize = (1 << 23) - 1;
/// Longer values, and values that grow, live in an allocation of their own.
const SMALL_VALUE_BYTES_MAX: usize = 1_024;
/// `OBJECT ENCODING` calls values up to this length `embstr`, as Redis does.
const EMBSTR_BYTES_MAX: usize = 44;

/// An entry of the keyspace.
#[derive(Debug)]
pub(crate) struct Entry(Repr);

#[derive(Debug)]
enum Repr {
    Small(Box<[u8]>),
    Large(Box<Large>),
}

#[derive(Debug)]
struct Large {
    grown: bool,
    accessed_s: u32,
    deadline_ms: Option<u64>,
    key: Box<[u8]>,
    value: Vec<u8>,
}

// The table's slots are the largest part of the overhead of small entries.
const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    /// An entry of its own. `key` is at most [`KEY_BYTES_MAX`] bytes long.
    pub(crate) fn new(
        key: &[u8],
        value: ValueRef<'_>,
        deadline_ms: Option<u64>,
        accessed_s: u32,
    ) -> Self {
        debug_assert!(key.len() <= KEY_BYTES_MAX);
        match value {
            ValueRef::Bytes(bytes) if bytes.len() > SMALL_VALUE_BYTES_MAX => {
                let (key, value) = (key.into(), bytes.to_vec());
                let large = Large {
                    grown: false,
                    accessed_s,
                    deadline_ms,
                    key,
                    value,
                };
                Self(Repr::Large(Box::new(large)))
            }
            ValueRef::Bytes(bytes) => {
                Self(Repr::Small(encode(0, accessed_s, deadline_ms, key, bytes)))
            }
            ValueRef::Int(n) => {
                let bytes = n.to_le_bytes();
                Self(Repr::Small(encode(
                    F_INT,
                    accessed_s,
                    deadline_ms,
                    key,
                    &bytes,
                )))
            }
        }
    }

    /// The key.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        match &self.0 {
            Repr::Small(bytes) => {
                let (start, end) = key_span(bytes);
                &bytes[start..end]
            }
            Repr::Large(large) => &large.key,
        }
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> ValueRef<'_> {
        match &self.0 {
            Repr::Small(bytes) => {
                let (_, end) = key_span(bytes);
                match bytes[end..].try_into() {
                    Ok(int) if bytes[0] & F_INT != 0 => ValueRef::Int(i64::from_le_bytes(int)),
                    _ => ValueRef::Bytes(&bytes[end..]),
                }
            }
            Repr::Large(large) => ValueRef::Bytes(&large.value),
        }
    }

    /// How the value is held, in Redis' words.
    pub(crate) fn encoding(&self) -> Encoding {
        let grown = match &self.0 {
            Repr::Small(bytes) => bytes[0] & F_GROWN != 0,
            Repr::Large(large) => large.grown,
        };
        match self.value() {
            ValueRef::Int(_) => Encoding::Int,
            ValueRef::Bytes(b) if !grown && b.len() <= EMBSTR_BYTES_MAX => Encoding::Embstr,
            ValueRef::Bytes(_) => Encoding::Raw,
        }
    }

    /// From this Unix time in milliseconds on the key is gone; `None`: never.
    #[inline]
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match &self.0 {
            Repr::Small(bytes) => deadline_of(bytes),
            Repr::Large(large) => large.deadline_ms,
        }
    }

    /// Sets or takes away the deadline. O(1), or O(entry) where a small entry gains or loses the
    /// field.
    pub(crate) fn set_deadline_ms(&mut self, deadline_ms: Option<u64>) {
        match &mut self.0 {
            Repr::Large(large) => large.deadline_ms = deadline_ms,
            Repr::Small(bytes) => match deadline_ms {
                Some(at) if bytes[0] & F_DEADLINE != 0 => {
                    bytes[FIXED_BYTES..FIXED_BYTES + DEADLINE_BYTES]
                        .copy_from_slice(&at.to_le_bytes());
                }
                None if bytes[0] & F_DEADLINE == 0 => {}
                _ => {
                    let (start, end) = key_span(bytes);
                    let (key, value) = (&bytes[start..end], &bytes[end..]);
                    let flags = bytes[0] & !F_DEADLINE;
                    *bytes = encode(flags, accessed_of(bytes), deadline_ms, key, value);
                }
            },
        }
    }

    /// When the key was last used: engine time in seconds.
    pub(crate) fn accessed_s(&self) -> u32 {
        match &self.0 {
            Repr::Small(bytes) => accessed_of(bytes),
            Repr::Large(large) => large.accessed_s,
        }
    }

    /// Notes a use of the key.
    #[inline]
    pub(crate) fn set_accessed_s(&mut self, accessed_s: u32) {
        match &mut self.0 {
            Repr::Small(bytes) => bytes[1..FIXED_BYTES].copy_from_slice(&accessed_s.to_le_bytes()),
            Repr::Large(large) => large.accessed_s = accessed_s,
        }
    }

    /// Replaces the value, keeping key, deadline and access time. In place where the size allows.
    pub(crate) fn set_value(&mut self, value: ValueRef<'_>) {
        if let Repr::Small(bytes) = &mut self.0 {
            let (_, end) = key_span(bytes);
            let (flag, int);
            let new: &[u8] = match value {
                ValueRef::Int(n) => {
                    (flag, int) = (F_INT, n.to_le_bytes());
                    &int
                }
                ValueRef::Bytes(bytes) => {
                    flag = 0;
                    bytes
                }
            };
            if bytes.len() - end == new.len() {
                bytes[0] = bytes[0] & !(F_INT | F_GROWN) | flag;
                bytes[end..].copy_from_slice(new);
                return;
            }
        }
        *self = Self::new(self.key(), value, self.deadline_ms(), self.accessed_s());
    }

    /// Adds `suffix` to the value's text. Amortised O(suffix).
    pub(crate) fn append(&mut self, suffix: &[u8]) {
        self.grow().extend_from_slice(suffix);
    }

    /// Writes `bytes` at `offset` of the value's text, with zeros in between where it is shorter.
    pub(crate) fn write_range(&mut self, offset: usize, bytes: &[u8]) {
        let value = self.grow();
        let end = offset + bytes.len();
        if value.len() < end {
            value.resize(end, 0);
        }
        value[offset..end].copy_from_slice(bytes);
    }

    /// Bytes this entry holds on the heap, without what the allocator rounds up.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Small(bytes) => bytes.len(),
            Repr::Large(large) => size_of::<Large>() + large.key.len() + large.value.capacity(),
        }
    }

    /// Moves the value into an allocation that can grow.
    fn grow(&mut self) -> &mut Vec<u8> {
        if let Repr::Small(_) = &self.0 {
            let mut scratch = super::value::IntText::default();
            let large = Large {
                grown: true,
                accessed_s: self.accessed_s(),
                deadline_ms: self.deadline_ms(),
                key: self.key().into(),
                value: self.value().text(&mut scratch).to_vec(),
            };
            self.0 = Repr::Large(Box::new(large));
        }
        match &mut self.0 {
            Repr::Large(large) => {
                large.grown = true;
                &mut large.value
            }
            Repr::Small(_) => unreachable!("the entry was made large just above"),
        }
    }
}

fn encode(
    flags: u8,
    accessed_s: u32,
    deadline_ms: Option<u64>,
    key: &[u8],
    value: &[u8],
) -> Box<[u8]> {
    let deadline_bytes = if deadline_ms.is_some() {
        DEADLINE_BYTES
    } else {
        0
    };
    let len_bytes = if key.len() < LONG_KEY_BYTES { 1 } else { 3 };
    let total = FIXED_BYTES + deadline_bytes + len_bytes + key.len() + value.len();
    let mut bytes = Vec::with_capacity(total);
    bytes.push(if deadline_ms.is_some() {
        flags | F_DEADLINE
    } else {
        flags
    });
    bytes.extend_from_slice(&accessed_s.to_le_bytes());
    if let Some(at) = deadline_ms {
        bytes.extend_from_slice(&at.to_le_bytes());
    }
    let len = u32::try_from(key.len())
        .expect("keys are at most KEY_BYTES_MAX long")
        .to_be_bytes();
    if len_bytes == 1 {
        bytes.push(len[3]);
    } else {
        bytes.extend_from_slice(&[len[1] | 0x80, len[2], len[3]]);
    }
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    debug_assert_eq!(bytes.len(), total);
    bytes.into_boxed_slice()
}

/// Where the key of a small entry starts and ends.
#[inline]
fn key_span(bytes: &[u8]) -> (usize, usize) {
    let at = FIXED_BYTES
        + if bytes[0] & F_DEADLINE != 0 {
            DEADLINE_BYTES
        } else {
            0
        };
    let first = bytes[at];
    if usize::from(first) < LONG_KEY_BYTES {
        (at + 1, at + 1 + usize::from(first))
    } else {
        let len = u32::from_be_bytes([0, first & 0x7f, bytes[at + 1], bytes[at + 2]]) as usize;
        (at + 3, at + 3 + len)
    }
}

#[inline]
fn deadline_of(bytes: &[u8]) -> Option<u64> {
    if bytes[0] & F_DEADLINE == 0 {
        return None;
    }
    let field = bytes[FIXED_BYTES..FIXED_BYTES + DEADLINE_BYTES].try_into();
    Some(u64::from_le_bytes(
        field.expect("the field is eight bytes long"),
    ))
}

fn accessed_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(
        bytes[1..FIXED_BYTES]
            .try_into()
            .expect("the field is four bytes long"),
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an entry is, without any layout.
    #[derive(Clone, Debug, PartialEq)]
    struct Naive {
        key: Vec<u8>,
        text: Vec<u8>,
        int: bool,
        grown: bool,
        deadline_ms: Option<u64>,
        accessed_s: u32,
    }

    #[derive(Clone, Debug)]
    enum Op {
        Int(i64),
        Bytes(Vec<u8>),
        Append(Vec<u8>),
        WriteRange(usize, Vec<u8>),
        Deadline(Option<u64>),
        Accessed(u32),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..1_100);
        let op = prop_oneof![
            any::<i64>().prop_map(Op::Int),
            bytes().prop_map(Op::Bytes),
            prop::collection::vec(any::<u8>(), 8..9).prop_map(Op::Bytes),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Op::Append),
            (0usize..90, prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(at, b)| Op::WriteRange(at, b)),
            any::<Option<u64>>().prop_map(Op::Deadline),
            any::<u32>().prop_map(Op::Accessed),
        ];
        prop::collection::vec(op, 0..12)
    }

    fn check(entry: &Entry, naive: &Naive) {
        let mut scratch = crate::engine::value::IntText::default();
        assert_eq!(entry.key(), naive.key);
        assert_eq!(entry.value().text(&mut scratch), naive.text);
        assert_eq!(matches!(entry.value(), ValueRef::Int(_)), naive.int);
        assert_eq!(entry.deadline_ms(), naive.deadline_ms);
        assert_eq!(entry.accessed_s(), naive.accessed_s);
        let encoding = match naive {
            Naive { int: true, .. } => Encoding::Int,
            Naive {
                grown: false, text, ..
            } if text.len() <= 44 => Encoding::Embstr,
            _ => Encoding::Raw,
        };
        assert_eq!(entry.encoding(), encoding);
    }

    proptest! {
        #[test]
        fn an_entry_is_what_was_put_into_it(
            key in prop::collection::vec(any::<u8>(), 0..300),
            ops in ops(),
        ) {
            let mut entry = Entry::new(&key, ValueRef::Int(7), None, 3);
            let mut naive = Naive {
                key, text: b"7".to_vec(), int: true, grown: false, deadline_ms: None, accessed_s: 3,
            };
            check(&entry, &naive);
            for op in ops {
                match op {
                    Op::Int(n) => {
                        entry.set_value(ValueRef::Int(n));
                        naive.text = n.to_string().into_bytes();
                        (naive.int, naive.grown) = (true, false);
                    }
                    Op::Bytes(bytes) => {
                        entry.set_value(ValueRef::Bytes(&bytes));
                        naive.text = bytes;
                        (naive.int, naive.grown) = (false, false);
                    }
                    Op::Append(suffix) => {
                        entry.append(&suffix);
                        naive.text.extend(suffix);
                        (naive.int, naive.grown) = (false, true);
                    }
                    Op::WriteRange(at, bytes) => {
                        entry.write_range(at, &bytes);
                        naive.text.resize(naive.text.len().max(at + bytes.len()), 0);
                        naive.text[at..at + bytes.len()].copy_from_slice(&bytes);
                        (naive.int, naive.grown) = (false, true);
                    }
                    Op::Deadline(at) => {
                        entry.set_deadline_ms(at);
                        naive.deadline_ms = at;
                    }
                    Op::Accessed(at) => {
                        entry.set_accessed_s(at);
                        naive.accessed_s = at;
                    }
                }
                check(&entry, &naive);
            }
        }
    }
}
