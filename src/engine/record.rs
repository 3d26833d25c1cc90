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
//! A cached string has 10 bytes more before the length of its key: when it becomes stale (u48, ms)
//! and what it cost to make (u32, ms).
//!
//! A record stands in an [`Arena`](super::arena::Arena), which gives it room in steps of eight
//! bytes and finds the next record by [`len`]. What does not fit in [`BYTES_MAX`], grows in place
//! or has a deadline beyond the year 10,000 lives outside, as a `Large`.
//!
//! Invariants: lengths in the header add up to [`len`]; the first byte of a record is never
//! [`HOLE`].
//!
//! Cost: 8 bytes above key and value, 14 with a deadline, 24 of a cached string, up to 4 more for
//! long keys and values.

use super::form::{Form, Soft};
use super::usage::{Mark, Usage};
use super::value::ValueRef;

/// The value is an integer.
const F_INT: u8 = 1;
/// A deadline follows the mark.
const F_DEADLINE: u8 = 2;
/// What makes a cached string one follows the deadline.
const F_CACHED: u8 = 4;
/// It is a limit.
const F_LIMIT: u8 = 8;
/// It is an idempotency record.
const F_IDEMPOTENCY: u8 = 16;
/// Those of what is no string.
const F_KEPT: u8 = F_LIMIT | F_IDEMPOTENCY;
/// The first byte of what is no record: set by the arena.
pub(super) const HOLE: u8 = 0x80;

const FIXED_BYTES: usize = 6;
const DEADLINE_BYTES: usize = 6;
const SOFT_BYTES: usize = DEADLINE_BYTES + 4;
const INT_BYTES: usize = 8;
/// Lengths from this on take three bytes.
const LONG: usize = 128;

/// Keys up to this length are compared word by word.
const KEY_SHORT_MAX: usize = 64;

/// The longest record.
pub(super) const BYTES_MAX: usize = 1_536;
/// The first deadline a record cannot hold: the year 10889.
pub(super) const DEADLINE_MS_MAX: u64 = 1 << 48;

/// What a record is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: ValueRef<'a>,
    pub(super) form: Form,
    pub(super) deadline_ms: Option<u64>,
    pub(super) usage: Usage,
}

impl Parts<'_> {
    /// The bytes a record of these parts takes; `None` if they do not fit in one.
    pub(super) fn bytes(&self) -> Option<usize> {
        if self.is_too_late() {
            return None;
        }
        let soft = if let Form::Cached(_) = self.form {
            SOFT_BYTES
        } else {
            0
        };
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
        let bytes = FIXED_BYTES + deadline + soft + key + value;
        (bytes <= BYTES_MAX).then_some(bytes)
    }

    /// Writes the record to the beginning of `to`, which has room for [`Self::bytes`].
    pub(super) fn write(&self, to: &mut [u8]) {
        to[0] = self.flags();
        to[1..FIXED_BYTES].copy_from_slice(&usage_bytes(self.usage));
        let mut at = FIXED_BYTES;
        if let Some(deadline_ms) = self.deadline_ms {
            to[at..at + DEADLINE_BYTES].copy_from_slice(&deadline_ms.to_le_bytes()[..6]);
            at += DEADLINE_BYTES;
        }
        if let Form::Cached(soft) = self.form {
            to[at..at + SOFT_BYTES].copy_from_slice(&soft_bytes(soft));
            at += SOFT_BYTES;
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

impl Parts<'_> {
    /// Writes over the record of the same key at the beginning of `to`, if the new one is laid out
    /// as the old one is; answers whether it did.
    #[inline]
    pub(super) fn rewrite(&self, to: &mut [u8]) -> bool {
        if to[0] != self.flags() || self.is_too_late() {
            return false;
        }
        let spans = Record(to).spans();
        match self.value {
            ValueRef::Int(n) => to[spans.value..spans.end].copy_from_slice(&n.to_le_bytes()),
            ValueRef::Bytes(bytes) if bytes.len() == spans.end - spans.value => {
                to[spans.value..spans.end].copy_from_slice(bytes);
            }
            ValueRef::Bytes(_) => return false,
        }
        if let Some(deadline_ms) = self.deadline_ms {
            to[FIXED_BYTES..FIXED_BYTES + DEADLINE_BYTES]
                .copy_from_slice(&deadline_ms.to_le_bytes()[..DEADLINE_BYTES]);
        }
        if let Form::Cached(soft) = self.form {
            let at = Record(to).soft_at();
            to[at..at + SOFT_BYTES].copy_from_slice(&soft_bytes(soft));
        }
        set_usage(to, self.usage);
        true
    }

    /// Whether one of its times is later than a record can hold.
    fn is_too_late(&self) -> bool {
        let is_late = |at: u64| at >= DEADLINE_MS_MAX;
        self.deadline_ms.is_some_and(is_late)
            || matches!(self.form, Form::Cached(soft) if is_late(soft.at_ms))
    }

    fn flags(&self) -> u8 {
        let int = match self.value {
            ValueRef::Int(_) => F_INT,
            ValueRef::Bytes(_) => 0,
        };
        let deadline = match self.deadline_ms {
            Some(_) => F_DEADLINE,
            None => 0,
        };
        let form = match self.form {
            Form::Plain => 0,
            Form::Cached(_) => F_CACHED,
            Form::Limit => F_LIMIT,
            Form::Idempotency => F_IDEMPOTENCY,
        };
        int | deadline | form
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
        let soft = if self.has(F_CACHED) { SOFT_BYTES } else { 0 };
        let (key_len, at) = read_length(self.0, self.soft_at() + soft);
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

    /// Where what makes a cached string one stands, if it is one.
    #[inline]
    fn soft_at(self) -> usize {
        FIXED_BYTES
            + if self.has(F_DEADLINE) {
                DEADLINE_BYTES
            } else {
                0
            }
    }

    /// What it is.
    #[inline]
    pub(super) fn form(self) -> Form {
        if !self.has(F_CACHED | F_KEPT) {
            return Form::Plain;
        }
        if self.has(F_LIMIT) {
            Form::Limit
        } else if self.has(F_IDEMPOTENCY) {
            Form::Idempotency
        } else {
            Form::Cached(read_soft(&self.0[self.soft_at()..]))
        }
    }

    /// Whether it is no string.
    #[inline]
    pub(super) fn is_kept(self) -> bool {
        self.has(F_KEPT)
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

    /// Whether it is the record of `key`.
    #[inline]
    pub(super) fn is_of(self, key: &[u8]) -> bool {
        let spans = self.spans();
        spans.value - spans.key == key.len() && equal(&self.0[spans.key..spans.value], key)
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
            form: self.form(),
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

/// Whether two slices of one length are equal. Short ones without a call.
#[inline]
fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() > KEY_SHORT_MAX {
        return a == b;
    }
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let words = || {
        a_words
            .iter()
            .zip(b_words)
            .all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
    };
    words() && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

fn soft_bytes(soft: Soft) -> [u8; SOFT_BYTES] {
    let mut bytes = [0; SOFT_BYTES];
    bytes[..DEADLINE_BYTES].copy_from_slice(&soft.at_ms.to_le_bytes()[..DEADLINE_BYTES]);
    bytes[DEADLINE_BYTES..].copy_from_slice(&soft.cost_ms.to_le_bytes());
    bytes
}

fn read_soft(bytes: &[u8]) -> Soft {
    let (mut at, mut cost) = ([0; 8], [0; 4]);
    at[..DEADLINE_BYTES].copy_from_slice(&bytes[..DEADLINE_BYTES]);
    cost.copy_from_slice(&bytes[DEADLINE_BYTES..SOFT_BYTES]);
    Soft {
        at_ms: u64::from_le_bytes(at),
        cost_ms: u32::from_le_bytes(cost),
    }
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
