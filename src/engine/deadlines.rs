//! Which deadlines come next: lower bounds, from a few buckets of a table up to a database.
//!
//! ```text
//!   database   | earliest of shard 0 | of shard 1 | ...     u64, stored under the shard's lock,
//!                        |                                  read without it
//!   shard      | bound of block 0 | of block 1 | ...        u32, under the shard's lock
//!                        |
//!   block      | BLOCK_BUCKETS buckets of the table |       entries hold their deadlines
//! ```
//!
//! Expiry reads the first line, locks the shards that are due, looks at the blocks that are due,
//! and raises the bounds to what it found. Setting a deadline lowers them. Nothing else touches
//! them: where a deadline is taken away or an entry removed, bounds stay too low, which costs one
//! look in vain.
//!
//! Invariants:
//! - no entry's deadline is earlier than the bound of its block, nor than the earliest of its
//!   shard;
//! - a shard has bounds exactly while it has an entry with a deadline.
//!
//! Cost: 4 bytes for a block, a third of a byte for a bucket; 8 bytes for a shard. Setting a
//! deadline reads one of each. Finding the blocks that are due reads the bounds of one shard.
//!
//! LIMITATIONS: bounds of one shard are read one after the other, so with 10,000 entries in a shard
//! each visit reads 4 to 6 KiB of them.

use super::index::GROUP_BUCKETS;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Buckets that share one bound: those of one cache line of the table.
pub(super) const BLOCK_BUCKETS: usize = GROUP_BUCKETS;

/// A bound that nothing is known of: to be looked at.
const UNKNOWN: u32 = 0;
/// The latest bound, 49 days after the base: a deadline beyond is looked at on the way.
const FAR: u32 = u32::MAX - 1;
/// There is no deadline in the block.
const NONE: u32 = u32::MAX;
/// Bases lie this far apart, 25 days, so that they seldom move, and half of what a bound can say is
/// ahead of any time that belongs to a base.
const BASE_APART_MS: u64 = 1 << 31;

/// Later than every deadline: there is none.
pub(super) const NEVER_MS: u64 = u64::MAX;

/// The bounds of one shard's blocks, in milliseconds after a base.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    base_ms: u64,
    /// The time of the last visit.
    visited_ms: u64,
    bounds: Box<[u32]>,
}

impl Bounds {
    /// Notes a deadline in `bucket` of a table with `buckets` buckets. O(1); O(blocks) for the
    /// first deadline of a shard, and for one from before the base.
    #[inline]
    pub(super) fn lower(&mut self, bucket: usize, buckets: usize, deadline_ms: u64) {
        if self.bounds.is_empty() {
            self.base_ms = base_of(deadline_ms);
            self.bounds = vec![NONE; buckets.div_ceil(BLOCK_BUCKETS)].into();
        }
        // Towards the present only, or a client that sets deadlines long past could make each look
        // at the whole shard anew.
        if deadline_ms <= self.base_ms && deadline_ms > self.visited_ms {
            self.rebase(deadline_ms);
        }
        let bound = self.encoded(deadline_ms);
        let slot = &mut self.bounds[bucket / BLOCK_BUCKETS];
        *slot = bound.min(*slot);
    }

    /// Gives the block its bound, [`NEVER_MS`] where it has no deadline.
    pub(super) fn set(&mut self, block: usize, deadline_ms: u64) {
        let bound = self.encoded(deadline_ms);
        if let Some(slot) = self.bounds.get_mut(block) {
            *slot = bound;
        }
    }

    /// The shard has no deadline any more.
    pub(super) fn clear(&mut self) {
        self.bounds = Box::default();
    }

    /// The table was rebuilt and has `buckets` buckets, with these deadlines in these of them.
    /// O(entries), which were all read for the rebuilding.
    pub(super) fn rebuild(&mut self, buckets: usize, all: impl Iterator<Item = (usize, u64)>) {
        if self.bounds.is_empty() {
            return;
        }
        self.bounds = vec![NONE; buckets.div_ceil(BLOCK_BUCKETS)].into();
        for (bucket, deadline_ms) in all {
            self.lower(bucket, buckets, deadline_ms);
        }
    }

    /// Begins a visit: any bound given for a deadline after `now_ms` now comes after `now_ms`.
    /// O(1), and O(blocks) every 25 days.
    pub(super) fn visit(&mut self, now_ms: u64) {
        self.visited_ms = now_ms;
        self.rebase(now_ms);
    }

    /// Takes the base that belongs to a time. O(1) where it is the same base, else O(blocks).
    fn rebase(&mut self, ms: u64) {
        let old_ms = std::mem::replace(&mut self.base_ms, base_of(ms));
        if old_ms == self.base_ms {
            return;
        }
        for at in 0..self.bounds.len() {
            let bound = self.bounds[at];
            if bound != NONE && bound != UNKNOWN {
                self.bounds[at] = self.encoded(old_ms.saturating_add(bound.into()));
            }
        }
    }

    /// The first block from `from` on whose bound has come by `now_ms`.
    pub(super) fn next_due(&self, from: usize, now_ms: u64) -> Option<usize> {
        let limit = match now_ms.checked_sub(self.base_ms) {
            Some(past_ms) => u32::try_from(past_ms).unwrap_or(FAR).min(FAR),
            None => UNKNOWN,
        };
        let ahead = self.bounds.get(from..)?.iter();
        Some(from + ahead.copied().position(|bound| bound <= limit)?)
    }

    /// The earliest bound, or [`NEVER_MS`]. O(blocks).
    pub(super) fn earliest_ms(&self) -> u64 {
        let earliest = self.bounds.iter().copied().min();
        earliest.map_or(NEVER_MS, |bound| self.decoded(bound))
    }

    /// The bound of the block to which `bucket` belongs; `None` where nothing is allocated.
    #[cfg(all(test, not(loom)))]
    pub(super) fn bound_ms(&self, bucket: usize) -> Option<u64> {
        let bound = self.bounds.get(bucket / BLOCK_BUCKETS)?;
        Some(self.decoded(*bound))
    }

    /// Bytes asked of the allocator.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bounds)
    }

    fn decoded(&self, bound: u32) -> u64 {
        match bound {
            NONE => NEVER_MS,
            UNKNOWN => 0,
            bound => self.base_ms.saturating_add(bound.into()),
        }
    }

    /// The latest bound that is not after `deadline_ms`.
    fn encoded(&self, deadline_ms: u64) -> u32 {
        if deadline_ms == NEVER_MS {
            return NONE;
        }
        let after_ms = deadline_ms.saturating_sub(self.base_ms);
        u32::try_from(after_ms).unwrap_or(FAR).min(FAR)
    }
}

/// The base to which a time belongs: before it, so that no bound after it is [`UNKNOWN`].
const fn base_of(ms: u64) -> u64 {
    (ms - ms % BASE_APART_MS).saturating_sub(1)
}

/// The earliest deadline of each shard of a database, or earlier.
///
/// A shard's is stored under the lock of the shard and read without it. Nothing else is learnt from
/// reading it, hence relaxed; how a reader comes to sleep is the matter of `alarm.rs`.
#[derive(Debug)]
pub(crate) struct Earliest(Box<[AtomicU64]>);

impl Earliest {
    /// For shards without deadlines.
    pub(super) fn new(shards: usize) -> Self {
        let never = || AtomicU64::new(NEVER_MS);
        Self(std::iter::repeat_with(never).take(shards).collect())
    }

    /// Number of shards.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes asked of the allocator.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// A lower bound of the deadlines in a shard.
    pub(super) fn get(&self, shard: usize) -> u64 {
        self.0[shard].load(Ordering::Relaxed)
    }

    /// The first of `shards` that is due at `now_ms`; takes those before it out of `shards` and
    /// lowers `next_ms` to the earliest of them.
    pub(super) fn next_due(
        &self,
        shards: &mut impl Iterator<Item = usize>,
        now_ms: u64,
        next_ms: &mut u64,
    ) -> Option<usize> {
        shards.find(|&shard| {
            let at = self.get(shard);
            let due = at <= now_ms;
            if !due {
                *next_ms = at.min(*next_ms);
            }
            due
        })
    }

    /// Notes a deadline in a shard whose lock is held; answers whether it comes before all others.
    #[inline]
    pub(super) fn lower(&self, shard: usize, deadline_ms: u64) -> bool {
        let lower = deadline_ms < self.0[shard].load(Ordering::Relaxed);
        if lower {
            self.0[shard].store(deadline_ms, Ordering::Relaxed);
        }
        lower
    }

    /// What a look at a shard found; its lock is held.
    pub(super) fn set(&self, shard: usize, earliest_ms: u64) {
        self.0[shard].store(earliest_ms, Ordering::Relaxed);
    }
}
