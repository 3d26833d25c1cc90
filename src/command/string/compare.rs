//! Conditions on the value a key has: `NX XX IFEQ IFNE IFDEQ IFDNE`, and the digest they speak of.
//!
//! A digest is XXH3-64 of the value's text with seed 0, written as 16 hexadecimal digits.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind};
use crate::command::words::Words;
use crate::engine::{IntText, ValueRef};
use xxhash_rust::xxh3::xxh3_64;

/// The length of a digest's text.
const DIGEST_BYTES: usize = 16;

/// What must be true of a key before it is written or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is no such key.
    Absent,
    /// There is.
    Present,
    /// Its value is this.
    Equal(&'a [u8]),
    /// It has another value, or is not there.
    NotEqual(&'a [u8]),
    /// Its value has this digest.
    DigestEqual(&'a [u8]),
    /// Its value has another digest, or it is not there.
    DigestNotEqual(&'a [u8]),
}

/// The documentation of the conditions on a value.
pub const VALUE_CONDITION_ARGS: &[Arg] = &[
    Arg::new("ifeq-value", ArgKind::String).token("IFEQ"),
    Arg::new("ifne-value", ArgKind::String).token("IFNE"),
    Arg::new("ifdeq-digest", ArgKind::String).token("IFDEQ"),
    Arg::new("ifdne-digest", ArgKind::String).token("IFDNE"),
];

/// The documentation of all conditions of `SET`.
pub const CONDITION_ARGS: &[Arg] = &[
    Arg::word("nx", "NX"),
    Arg::word("xx", "XX"),
    VALUE_CONDITION_ARGS[0].since("8.4.0"),
    VALUE_CONDITION_ARGS[1].since("8.4.0"),
    VALUE_CONDITION_ARGS[2].since("8.4.0"),
    VALUE_CONDITION_ARGS[3].since("8.4.0"),
];

impl<'a> Condition<'a> {
    /// The condition the next words make, if they make one.
    pub fn read(words: &mut Words<'a>) -> Option<Self> {
        if words.keyword("NX") {
            Some(Self::Absent)
        } else if words.keyword("XX") {
            Some(Self::Present)
        } else {
            Self::read_on_value(words)
        }
    }

    /// The condition on a value the next words make, if they make one.
    pub fn read_on_value(words: &mut Words<'a>) -> Option<Self> {
        type Make<'a> = fn(&'a [u8]) -> Condition<'a>;
        let options: [(&str, Make<'a>); 4] = [
            ("IFEQ", Condition::Equal),
            ("IFNE", Condition::NotEqual),
            ("IFDEQ", Condition::DigestEqual),
            ("IFDNE", Condition::DigestNotEqual),
        ];
        let (_, make) = options.iter().find(|(word, _)| words.keyword(word))?;
        let condition = make(words.take());
        if let Self::DigestEqual(digest) | Self::DigestNotEqual(digest) = condition
            && !(digest.len() == DIGEST_BYTES && digest.iter().all(u8::is_ascii_hexdigit))
        {
            // A malformed digest would differ from every value, and IFDNE delete it.
            words.fail(error::BAD_DIGEST);
        }
        Some(condition)
    }

    /// Whether a key with this value, or none, meets the condition.
    #[must_use]
    pub fn holds(self, value: Option<ValueRef<'_>>) -> bool {
        let mut scratch = IntText::default();
        let text = value.map(|value| value.text(&mut scratch));
        match (self, text) {
            (Self::Absent, text) => text.is_none(),
            (Self::Present, text) => text.is_some(),
            (Self::Equal(_) | Self::DigestEqual(_), None) => false,
            (Self::NotEqual(_) | Self::DigestNotEqual(_), None) => true,
            (Self::Equal(expected), Some(text)) => text == expected,
            (Self::NotEqual(expected), Some(text)) => text != expected,
            (Self::DigestEqual(expected), Some(text)) => is_digest(text, expected),
            (Self::DigestNotEqual(expected), Some(text)) => !is_digest(text, expected),
        }
    }
}

fn is_digest(text: &[u8], expected: &[u8]) -> bool {
    digest(text).as_bytes().eq_ignore_ascii_case(expected)
}

/// The digest of a text. O(length).
#[must_use]
pub fn digest(text: &[u8]) -> String {
    format!("{:016x}", xxh3_64(text))
}

#[cfg(all(test, not(loom)))]
mod tests {
    #[test]
    fn the_digest_is_that_of_redis_8() {
        assert_eq!(super::digest(b"Hello world"), "b6acb9d84a38ff74");
    }
}
