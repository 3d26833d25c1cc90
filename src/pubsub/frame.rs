//! A message as it is sent, made once and shared by all who get it.

use super::push_tag;
use linchpin_protocol::{Version, Writer};
use std::sync::Arc;

/// An encoded message. RESP2 and RESP3 differ in its first byte alone, which is written for each
/// receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Arc<[u8]>,
    /// Where the payload begins: what stands before is the same in all messages of a channel, or
    /// of a channel by a pattern.
    payload_at: usize,
}

/// What a frame costs in a mailbox beside its bytes: its place there, its counts and what the
/// allocator adds.
const PLACE_BYTES: usize = 48;

impl Frame {
    /// `message channel payload`.
    #[must_use]
    pub fn message(channel: &[u8], payload: &[u8]) -> Self {
        Self::of(&[b"message", channel, payload])
    }

    /// `smessage channel payload`.
    #[must_use]
    pub fn of_shard(channel: &[u8], payload: &[u8]) -> Self {
        Self::of(&[b"smessage", channel, payload])
    }

    /// `pmessage pattern channel payload`.
    #[must_use]
    pub fn matched(pattern: &[u8], channel: &[u8], payload: &[u8]) -> Self {
        Self::of(&[b"pmessage", pattern, channel, payload])
    }

    fn of(words: &[&[u8]]) -> Self {
        // A header is up to 23 bytes, and as many words as that are short.
        let words_len: usize = words.iter().map(|word| word.len() + 16).sum();
        let mut bytes = Vec::with_capacity(words_len + 8);
        let mut out = Writer::new(&mut bytes, Version::Resp2);
        out.push(words.len());
        let mut payload_at = 0;
        for word in words {
            payload_at = out.buffer_len();
            out.bulk(word);
        }
        Self {
            bytes: bytes.into(),
            payload_at,
        }
    }

    /// Appends the message in a protocol version.
    pub(super) fn write(&self, out: &mut Vec<u8>, version: Version) {
        out.push(push_tag(version));
        out.extend_from_slice(&self.bytes[1..]);
    }

    /// What is the same in all messages that take its place.
    pub(super) fn place(&self) -> &[u8] {
        &self.bytes[..self.payload_at]
    }

    /// What it counts for in a mailbox. It counts in each, though all share it.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.bytes.len() + PLACE_BYTES
    }
}
