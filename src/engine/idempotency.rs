//! Idempotency records: what is known of a request that is to be done once.
//!
//! ```text
//!   (nothing) --BEGIN--> Busy --DONE--> Done          both go at their end, Busy 24 hours after it
//!                         |  ^
//!                   its end  +--BEGIN: RETRY          an earlier try may have run
//! ```
//!
//! A record is the value of its entry: a row of integers and texts, in the format of effects. Only
//! this module knows the bytes; the first eight are the engine time at which the entry goes, so
//! that asking for it reads nothing else.
//!
//! Cost: 20 bytes beside owner, fingerprint and response.

use super::effect::{BadFrame, from_bytes, to_bytes};
use wincode::{SchemaRead, SchemaWrite};

/// For how long a request that was begun and neither done nor aborted is remembered beyond the time
/// it was given.
const UNSETTLED_MS: u64 = 24 * 60 * 60 * 1_000;

const LAPSE_BYTES: usize = 8;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Record<'a> {
    /// Engine milliseconds: until then a busy one is its owner's, and a response is told.
    pub end_ms: u64,
    /// What ends it, or comes with its end. Below 2^53.
    pub token: u64,
    /// Whether an earlier token was given for it.
    pub is_retry: bool,
    /// Who began it; empty: nobody said.
    pub owner: &'a [u8],
    /// What was asked for.
    pub fingerprint: &'a [u8],
    /// What came of it.
    pub response: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// From this engine time in milliseconds on nothing is known of it.
    #[must_use]
    pub fn lapse_ms(&self) -> u64 {
        match self.response {
            Some(_) => self.end_ms,
            None => self.end_ms.saturating_add(UNSETTLED_MS),
        }
    }

    /// Whether it is being worked on, as far as is known.
    #[must_use]
    pub fn is_busy(&self, engine_ms: u64) -> bool {
        self.response.is_none() && engine_ms < self.end_ms
    }

    /// The value of its entry.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.lapse_ms().to_le_bytes().to_vec();
        to_bytes(&mut bytes, self);
        bytes
    }

    /// The record that is the value of an entry.
    ///
    /// # Errors
    /// [`BadFrame`]: it is none.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        from_bytes(bytes.get(LAPSE_BYTES..).ok_or(BadFrame)?)
    }
}

/// When the entry with this value goes: engine milliseconds.
pub(super) fn lapse_ms(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(lapse) => u64::from_le_bytes(*lapse),
        None => 0,
    }
}
