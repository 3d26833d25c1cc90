//! Between the words of a client and the values of the engine.

use crate::config::{self, Settings};
use crate::engine::{self, IntText, ValueRef};
use linchpin_protocol::{Writer, number};

// What commands make, a restart must be able to make again.
const _: () = assert!(config::BULK_BYTES_MAX <= engine::VALUE_BYTES_MAX);

/// A word as the value to store: an integer where the word is exactly the text of one.
#[inline]
#[must_use]
pub fn encode(word: &[u8]) -> ValueRef<'_> {
    number::parse_i64(word).map_or(ValueRef::Bytes(word), ValueRef::Int)
}

/// Writes a value as a bulk string, nothing as null.
#[inline]
pub fn write(out: &mut Writer<'_>, value: Option<ValueRef<'_>>) {
    match value {
        Some(ValueRef::Bytes(bytes)) => out.bulk(bytes),
        Some(ValueRef::Int(n)) => out.bulk_i64(n),
        None => out.null(),
    }
}

/// The text of a value, owned.
#[must_use]
pub fn to_vec(value: ValueRef<'_>) -> Vec<u8> {
    value.text(&mut IntText::default()).to_vec()
}

/// Whether a string of this length may be made.
///
/// # Errors
/// [`super::error::STRING_TOO_LONG`] beyond `proto-max-bulk-len`.
pub fn check_len(settings: &Settings, len: Option<usize>) -> Result<usize, super::ReplyError> {
    len.filter(|&len| len as u64 <= settings.proto_max_bulk_len)
        .ok_or(super::error::STRING_TOO_LONG)
}
