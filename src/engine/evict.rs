//! The bound on memory, and making room below it.
//!
//! The engine is told its bound and may be asked, before a command that needs memory, to make room.
//! What the bound is compared with is the ledger: everything held, not only what stands in shards.
//!
//! Cost: asking whether there is room reads a line that only a change of settings writes and, where
//! there is a bound, the ledger's.
//!
//! LIMITATIONS: whatever the policy, nothing is evicted: there is room or there is none.

use super::{Engine, Step};
use crate::policy::Policy;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// How much may be held, and what goes when it is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The most bytes to hold; 0 for no bound.
    pub bytes_max: u64,
    /// What is evicted.
    pub policy: Policy,
    /// Entries compared to choose one, at least 1.
    pub samples: u32,
    /// How much rarer each further count of a use is.
    pub lfu_log_factor: u32,
    /// Minutes after which a count of uses is one less; 0: it never falls.
    pub lfu_decay_min: u32,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            bytes_max: 0,
            policy: Policy::NoEviction,
            samples: 5,
            lfu_log_factor: 10,
            lfu_decay_min: 1,
        }
    }
}

/// The bound in force, to be read without a lock. Its parts are read one by one: who reads while it
/// changes may see the old of one and the new of another, each of which was in force.
#[derive(Debug)]
pub(super) struct BoundCell(CachePadded<Parts>);

#[derive(Debug)]
struct Parts {
    bytes_max: AtomicU64,
    policy: AtomicU32,
    samples: AtomicU32,
    lfu_log_factor: AtomicU32,
    lfu_decay_min: AtomicU32,
}

impl BoundCell {
    pub(super) fn new(bound: Bound) -> Self {
        Self(CachePadded::new(Parts {
            bytes_max: AtomicU64::new(bound.bytes_max),
            policy: AtomicU32::new(bound.policy as u32),
            samples: AtomicU32::new(bound.samples),
            lfu_log_factor: AtomicU32::new(bound.lfu_log_factor),
            lfu_decay_min: AtomicU32::new(bound.lfu_decay_min),
        }))
    }

    pub(super) fn get(&self) -> Bound {
        let order = Ordering::Relaxed;
        Bound {
            bytes_max: self.0.bytes_max.load(order),
            policy: Policy::ALL[self.0.policy.load(order) as usize],
            samples: self.0.samples.load(order),
            lfu_log_factor: self.0.lfu_log_factor.load(order),
            lfu_decay_min: self.0.lfu_decay_min.load(order),
        }
    }

    fn bytes_max(&self) -> u64 {
        self.0.bytes_max.load(Ordering::Relaxed)
    }

    fn set(&self, bound: Bound) {
        let order = Ordering::Relaxed;
        self.0.bytes_max.store(bound.bytes_max, order);
        self.0.policy.store(bound.policy as u32, order);
        self.0.samples.store(bound.samples.max(1), order);
        self.0.lfu_log_factor.store(bound.lfu_log_factor, order);
        self.0.lfu_decay_min.store(bound.lfu_decay_min, order);
    }
}

impl Engine {
    /// Puts another bound in force, from the next batch on. What is held above it goes when the
    /// next command asks for room.
    pub fn set_bound(&self, bound: Bound) {
        self.bound.set(bound);
    }

    /// The bound in force.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound.get()
    }

    /// Whether more is held than the bound allows. One load where there is none, else four of lines
    /// that are seldom written.
    #[must_use]
    #[inline]
    pub fn is_over_bound(&self) -> bool {
        let bytes_max = self.bound.bytes_max();
        bytes_max > 0 && self.ledger.held() as u64 > bytes_max
    }
}

impl Step<'_> {
    /// Whether no more is held than the bound allows.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        !self.engine().is_over_bound()
    }

    /// Evicts until no more is held than the bound allows, as far as the policy lets; answers
    /// whether that came about. To be called between commands, with nothing locked.
    pub fn make_room(&mut self) -> bool {
        !self.engine().is_over_bound()
    }
}
