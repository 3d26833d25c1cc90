//! The bytes of one small entry: the only place that knows their layout.
//!
//! ```text
//!   0       1          4      6              6 or 12                    + 0, 1 or 3
//!   +-------+----------+------+--------------+------------+--------------+-----+----------------+
//!   | flags | accessed | mark | deadline     | key length | value length | key | value: bytes,  |
//!   |       | u24, s   | u16  | u48, ms      | 1 or 3     | 1 or 3 bytes |     | or 8 bytes of  |
//!   +-------+----------+------+--------------+------------+--------------+-----+ an integer     |
//!                              if F_DEADLINE               unless F_INT        +----------------+
//! ```
//!
//! A record stands in an [`Arena`](super::arena::Arena), which gives it room in steps of eight
//! bytes and finds the next record by [`len`]. What does not fit in [`BYTES_MAX`], grows in place
//! or has a deadline beyond the year 10,000 lives outside, as a `Large`.
//!
//! Invariants: lengths in the header add up to [`len`]; the first byte of a record is never
//! [`HOLE`].
//!
//! Cost: 8 bytes above key and value, 14 with a deadline, up to 4 more for long keys and values.

use super::usage::{Mark, Usage};
use super::value::ValueRef;

/// The value is an integer.
const F_INT: u8 = 1;
/// A deadline follows the mark.
const F_DEADLINE: u8 = 2;
/// The first byte of what is no record: set by the arena.
pub(super) const HOLE: u8 = 0x80;

const FIXED_BYTES: usize = 6;
const DEADLINE_BYTES: usize = 6;
const INT_BYTES: usize = 8;
/// Lengths from this on take three bytes.
const LONG: usize = 128;

/// The longest record.
pub(super) const BYTES_MAX: usize = 1_536;
/// The first deadline a record cannot hold: the year 10889.
pub(super) const DEADLINE_MS_MAX: u64 = 1 << 48;

/// What a record is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: ValueRef<'a>,
    pub(super) deadline_ms: Option<u64>,
    pub(super) usage: Usage,
}

impl Parts<'_> {
    /// The bytes a record of these parts takes; `None` if they do not fit in one.
    pub(super) fn bytes(&self) -> Option<usize> {
        if self.deadline_ms.is_some_and(|at| at >= DEADLINE_MS_MAX) {
            return None;
        }
        let deadline = if self.deadline_ms.is_some() {
            DEADLINE_BYTES
        } else {
            0
        };
        let value = match self.value {
            ValueRef::Int(_) => INT_BYTES,
            ValueRef::Bytes(bytes) => length_bytes(bytes.len()) + bytes.len(),
        };
        let key = length_bytes(self.key.len()) + self.key.len();
        let bytes = FIXED_BYTES + deadline + key + value;
        (bytes <= BYTES_MAX).then_some(bytes)
    }

    /// Writes the record to the beginning of `to`, which has room for [`Self::bytes`].
    pub(super) fn write(&self, to: &mut [u8]) {
        let int = matches!(self.value, ValueRef::Int(_));
        to[0] = if int { F_INT } else { 0 };
        to[1..FIXED_BYTES].copy_from_slice(&usage_bytes(self.usage));
        let mut at = FIXED_BYTES;
        if let Some(deadline_ms) = self.deadline_ms {
            to[0] |= F_DEADLINE;
            to[at..at + DEADLINE_BYTES].copy_from_slice(&deadline_ms.to_le_bytes()[..6]);
            at += DEADLINE_BYTES;
        }
        at = write_length(to, at, self.key.len());
        if let ValueRef::Bytes(bytes) = self.value {
            at = write_length(to, at, bytes.len());
        }
        to[at..at + self.key.len()].copy_from_slice(self.key);
        at += self.key.len();
        match self.value {
            ValueRef::Int(n) => to[at..at + INT_BYTES].copy_from_slice(&n.to_le_bytes()),
            ValueRef::Bytes(bytes) => to[at..at + bytes.len()].copy_from_slice(bytes),
        }
    }
}

/// A record's bytes and whatever follows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a>(pub(super) &'a [u8]);

/// Where key and value stand.
struct Spans {
    key: usize,
    value: usize,
    end: usize,
}

impl<'a> Record<'a> {
    #[inline]
    fn spans(self) -> Spans {
        let at = FIXED_BYTES
            + if self.has(F_DEADLINE) {
                DEADLINE_BYTES
            } else {
                0
            };
        let (key_len, at) = read_length(self.0, at);
        let (value_len, key) = if self.has(F_INT) {
            (INT_BYTES, at)
        } else {
            read_length(self.0, at)
        };
        Spans {
            key,
            value: key + key_len,
            end: key + key_len + value_len,
        }
    }

    #[inline]
    fn has(self, flag: u8) -> bool {
        self.0[0] & flag != 0
    }

    /// The bytes the record takes.
    pub(super) fn len(self) -> usize {
        self.spans().end
    }

    /// The key.
    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        let spans = self.spans();
        &self.0[spans.key..spans.value]
    }

    /// The value.
    #[inline]
    pub(super) fn value(self) -> ValueRef<'a> {
        let spans = self.spans();
        let bytes = &self.0[spans.value..spans.end];
        match bytes.try_into() {
            Ok(int) if self.has(F_INT) => ValueRef::Int(i64::from_le_bytes(int)),
            _ => ValueRef::Bytes(bytes),
        }
    }

    /// The deadline.
    #[inline]
    pub(super) fn deadline_ms(self) -> Option<u64> {
        if !self.has(F_DEADLINE) {
            return None;
        }
        let mut bytes = [0; 8];
        bytes[..DEADLINE_BYTES].copy_from_slice(&self.0[FIXED_BYTES..FIXED_BYTES + DEADLINE_BYTES]);
        Some(u64::from_le_bytes(bytes))
    }

    /// What is known of its uses.
    #[inline]
    pub(super) fn usage(self) -> Usage {
        Usage {
            accessed_s: u32::from_le_bytes([self.0[1], self.0[2], self.0[3], 0]),
            mark: Mark(u16::from_le_bytes([self.0[4], self.0[5]])),
        }
    }

    /// All of it.
    pub(super) fn parts(self) -> Parts<'a> {
        Parts {
            key: self.key(),
            value: self.value(),
            deadline_ms: self.deadline_ms(),
            usage: self.usage(),
        }
    }
}

/// Notes what is known of the uses of the record at the beginning of `bytes`.
#[inline]
pub(super) fn set_usage(bytes: &mut [u8], usage: Usage) {
    bytes[1..FIXED_BYTES].copy_from_slice(&usage_bytes(usage));
}

#[inline]
fn usage_bytes(usage: Usage) -> [u8; FIXED_BYTES - 1] {
    let [a, b, c, _] = usage.accessed_s.to_le_bytes();
    let [d, e] = usage.mark.0.to_le_bytes();
    [a, b, c, d, e]
}

fn length_bytes(len: usize) -> usize {
    if len < LONG { 1 } else { 3 }
}

fn write_length(to: &mut [u8], at: usize, len: usize) -> usize {
    debug_assert!(len <= BYTES_MAX);
    if len < LONG {
        to[at] = len as u8;
        return at + 1;
    }
    to[at] = LONG as u8;
    to[at + 1..at + 3].copy_from_slice(&(len as u16).to_le_bytes());
    at + 3
}

#[inline]
fn read_length(bytes: &[u8], at: usize) -> (usize, usize) {
    let first = usize::from(bytes[at]);
    if first < LONG {
        return (first, at + 1);
    }
    (
        usize::from(u16::from_le_bytes([bytes[at + 1], bytes[at + 2]])),
        at + 3,
    )
}
