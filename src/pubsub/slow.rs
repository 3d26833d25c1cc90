//! What becomes of messages that a subscriber is too slow for.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What happens when more would wait for a subscriber than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// The connection ends, and what waited is dropped.
    #[default]
    Disconnect,
    /// The messages that have waited longest are dropped.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// Messages of a channel are dropped that has a newer one; if more than half of what may wait
    /// is still there, the oldest as well.
    Conflate,
}

impl SlowPolicy {
    /// Their words.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("DISCONNECT", Self::Disconnect),
        ("DROP-OLDEST", Self::DropOldest),
        ("DROP-NEWEST", Self::DropNewest),
        ("CONFLATE", Self::Conflate),
    ];
}

/// What all slow subscribers together were not sent.
#[derive(Debug)]
pub struct Losses {
    /// Messages, by the policy they were dropped under.
    dropped: [AtomicU64; 4],
    /// Connections that were cut off.
    cut_off: AtomicU64,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            dropped: std::array::from_fn(|_| AtomicU64::new(0)),
            cut_off: AtomicU64::new(0),
        }
    }

    pub(super) fn note_dropped(&self, policy: SlowPolicy, messages: u64) {
        self.dropped[policy as usize].fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn note_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages dropped under a policy.
    #[must_use]
    pub fn dropped(&self, policy: SlowPolicy) -> u64 {
        self.dropped[policy as usize].load(Ordering::Relaxed)
    }

    /// Connections cut off.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        let counts = self.dropped.iter().chain([&self.cut_off]);
        counts.for_each(|count| count.store(0, Ordering::Relaxed));
    }
}
