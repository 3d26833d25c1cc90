//! What an entry is beside its value: a string, a cached string, a limit, an idempotency record.
//!
//! Limits and records are *kept*: nothing evicts them, and they go by themselves when their time is
//! over. That time is engine time, so a clock that is set, a pause or a restart ends none early.
//! The deadline in a kept entry's record is no more than a hint to expiry (`deadlines.rs`) when to
//! look: Unix time at which, if both clocks run on alike, the entry is over. Whoever opens it, and
//! expiry itself, asks [`lapse_ms`]; one that is met too early gets a new hint.
//!
//! Invariant: a kept entry has a deadline.
//!
//! LIMITATIONS: where the system's clock is set back, a kept entry that nobody asks for stays in
//! memory, and in `DBSIZE`, until that clock has come to its hint.

use super::extras::Kind;
use super::idempotency;
use super::value::ValueRef;
use crate::clock::Now;

/// Nanoseconds in a millisecond.
pub(super) const NS_PER_MS: u64 = 1_000_000;

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// A string.
    #[default]
    Plain,
    /// A string that `CACHE.SET` wrote, and nobody since.
    Cached(Soft),
    /// A limit: its value is the nanosecond of engine time at which its bucket is full again.
    Limit,
    /// An idempotency record, as `idempotency.rs` lays it out.
    Idempotency,
}

/// What makes a string a cached one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soft {
    /// From this Unix time in milliseconds on it is stale.
    pub at_ms: u64,
    /// What it cost to make, in milliseconds; 0: unknown.
    pub cost_ms: u32,
}

impl Form {
    /// Whether it is no string, is not evicted and ends by engine time.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::Limit | Self::Idempotency)
    }

    /// What it is, if it is no string.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::Plain | Self::Cached(_) => None,
            Self::Limit => Some(Kind::Limit),
            Self::Idempotency => Some(Kind::Idempotency),
        }
    }
}

/// From this engine time in milliseconds on a kept entry is over; none of what is not kept.
#[inline]
pub(super) fn lapse_ms(form: Form, value: ValueRef<'_>) -> Option<u64> {
    match (form, value) {
        (Form::Limit, ValueRef::Int(full_ns)) => Some(full_ns.cast_unsigned().div_ceil(NS_PER_MS)),
        (Form::Idempotency, ValueRef::Bytes(bytes)) => Some(idempotency::lapse_ms(bytes)),
        _ => None,
    }
}

/// The Unix time at which expiry is to look at what ends at this engine time.
pub(super) fn hint_ms(lapse_ms: u64, now: Now) -> u64 {
    let left_ms = lapse_ms.saturating_sub(now.engine_ms);
    now.wall_ms.saturating_add(left_ms)
}

#[cfg(all(test, not(loom)))]
mod tests;
