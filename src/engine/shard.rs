//! One shard of a database: a hash table of entries and what is counted about them.
//!
//! A shard is always reached through its lock. Callers hash the key once and name places in the
//! table by *bucket*; a bucket stays valid until the shard is next changed.
//!
//! Invariants:
//! - no two entries have the same key;
//! - `volatile` and `deadline_sum_ms` are those of the entries in the table, and no deadline is
//!   earlier than its block's bound (`deadlines.rs`);
//! - between two changes, the ledger has what the shard holds on the heap;
//! - an entry changes its bucket only when `generation` rises. `SCAN` stands on this.
//!
//! Cost: a look-up reads one cache line of the table, then the entry; see `index.rs` and
//! `arena.rs`.
//!
//! LIMITATIONS: a table grows and shrinks in one go, so the step that does it costs O(entries of
//! this shard).

use super::deadlines::{BLOCK_BUCKETS, Bounds, NEVER_MS};
use super::entry::{Entries, Entry, Place};
use super::hash::KeyHasher;
use super::index::Index;
use super::ledger::{Ledger, Share, usable};
use super::record::Parts;
use std::sync::Arc;

/// Deadlines count in sums as no later than this, the year 2109.
const DEADLINE_SUMMED_MS_MAX: u64 = 1 << 42;

/// The entries whose keys hash to this shard.
///
/// In this order: lock, table and the arena's list of pages then share a cache line, and opening a
/// key touches no other line of the shard.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard {
    table: Index,
    entries: Entries,
    volatile: usize,
    /// Of deadlines cut to [`DEADLINE_SUMMED_MS_MAX`], so that it stays within 64 bits.
    deadline_sum_ms: u64,
    bounds: Bounds,
    room: Share,
}

/// What is known of a shard, or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries, those past their deadline but not yet removed among them.
    pub keys: usize,
    /// Entries with a deadline.
    pub volatile: usize,
    /// Sum of all deadlines, in Unix milliseconds.
    pub deadline_sum_ms: u128,
    /// Bytes held on the heap by entries and tables.
    pub bytes: usize,
    /// Those of them that are tables.
    pub table_bytes: usize,
}

/// What one visit of expiry did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    /// Buckets looked at, entries taken out, entries moved.
    pub(super) effort: usize,
    /// No deadline comes before this Unix time in milliseconds; 0: there is more to do at once.
    pub(super) earliest_ms: u64,
}

impl Census {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.volatile += other.volatile;
        self.deadline_sum_ms += other.deadline_sum_ms;
        self.bytes += other.bytes;
        self.table_bytes += other.table_bytes;
    }
}

impl Shard {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            table: Index::default(),
            entries: Entries::default(),
            volatile: 0,
            deadline_sum_ms: 0,
            bounds: Bounds::default(),
            room: Share::new(ledger),
        }
    }

    /// The bucket of `key`. Expected O(1).
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.table
            .find(hash, |place| self.entries.get(place).key() == key)
    }

    /// Has fetched from memory what `find` reads of the table for this hash.
    #[inline]
    pub(super) fn fetch_table(&self, hash: u64) {
        self.table.prefetch(hash);
        self.entries.fetch_pages();
    }

    /// Has fetched from memory the entry that `find` will probably look at for this hash.
    #[inline]
    pub(super) fn fetch_entry(&self, hash: u64) {
        if let Some(place) = self.table.guess(hash) {
            self.entries.fetch(place);
        }
    }

    /// The entry in `bucket`.
    #[inline]
    pub(super) fn at(&self, bucket: usize) -> Option<Entry<'_>> {
        self.table.get(bucket).map(|place| self.entries.get(place))
    }

    /// Notes a use of the entry in `bucket`.
    #[inline]
    pub(super) fn touch(&mut self, bucket: usize, accessed_s: u32) {
        if let Some(place) = self.table.get(bucket) {
            self.entries.set_accessed_s(place, accessed_s);
        }
    }

    /// Adds an entry whose key is not there yet; answers its bucket.
    pub(super) fn insert(&mut self, hash: u64, parts: &Parts<'_>, hasher: &KeyHasher) -> usize {
        debug_assert!(self.find(hash, parts.key).is_none());
        self.note_deadline(parts.deadline_ms);
        let place = self.entries.add(parts);
        let (entries, rebuilds) = (&self.entries, self.table.rebuilds());
        let bucket = self
            .table
            .insert(hash, place, |place| hasher.hash(entries.get(place).key()));
        self.bound_anew_since(rebuilds);
        self.lower_bound(bucket, parts.deadline_ms);
        self.report();
        bucket
    }

    /// Gives the entry in `bucket`, which is there, new parts; the key stays the same.
    pub(super) fn replace(&mut self, bucket: usize, parts: &Parts<'_>, hasher: &KeyHasher) {
        let old_ms = self.at(bucket).and_then(Entry::deadline_ms);
        self.note_deadline(parts.deadline_ms);
        self.forget_deadline(old_ms);
        self.lower_bound(bucket, parts.deadline_ms);
        let place = self.entries.replace(self.place(bucket), parts);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
    }

    /// Sets or takes away the deadline of the entry in `bucket`, which is there.
    pub(super) fn set_deadline_ms(
        &mut self,
        bucket: usize,
        deadline_ms: Option<u64>,
        hasher: &KeyHasher,
    ) {
        let old_ms = self.at(bucket).and_then(Entry::deadline_ms);
        self.note_deadline(deadline_ms);
        self.forget_deadline(old_ms);
        self.lower_bound(bucket, deadline_ms);
        let place = self
            .entries
            .set_deadline_ms(self.place(bucket), deadline_ms);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
    }

    /// Changes the text of the entry in `bucket`, which is there; answers the new length.
    pub(super) fn grow(
        &mut self,
        bucket: usize,
        hasher: &KeyHasher,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let (place, len) = self.entries.grow(self.place(bucket), change);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
        len
    }

    /// Takes out the entry in `bucket`, which is there. Shrinks a table that has become sparse.
    pub(super) fn remove(&mut self, bucket: usize, hasher: &KeyHasher) {
        self.take(bucket, hasher);
        self.compact_if_sparse(hasher);
        self.shrink_if_sparse(hasher);
        self.report();
    }

    /// Takes out the entry in `bucket`, which is there, leaving every other one in its bucket.
    fn take(&mut self, bucket: usize, hasher: &KeyHasher) {
        let place = self.place(bucket);
        let entry = self.entries.get(place);
        let (hash, deadline_ms) = (hasher.hash(entry.key()), entry.deadline_ms());
        self.forget_deadline(deadline_ms);
        self.table.remove(bucket, hash);
        self.entries.remove(place);
    }

    fn place(&self, bucket: usize) -> Place {
        self.table.get(bucket).expect("the bucket is in use")
    }

    /// Moves the entries of one page where there are too many holes; answers how many. Buckets
    /// stay.
    #[inline]
    fn compact_if_sparse(&mut self, hasher: &KeyHasher) -> usize {
        if self.entries.is_sparse() {
            return self.compact(hasher);
        }
        0
    }

    fn compact(&mut self, hasher: &KeyHasher) -> usize {
        let table = &mut self.table;
        let mut moved = 0;
        self.entries.compact(|key, old, new| {
            let bucket = table.find(hasher.hash(key), |place| place == old);
            table.set(bucket.expect("the table has every entry"), new);
            moved += 1;
        });
        moved
    }

    /// Moves the entries of one page, if that page has holes. Buckets stay.
    pub(super) fn purge(&mut self, hasher: &KeyHasher) {
        if self.entries.has_holes() {
            self.compact(hasher);
            self.report();
        }
    }

    fn shrink_if_sparse(&mut self, hasher: &KeyHasher) {
        let (entries, rebuilds) = (&self.entries, self.table.rebuilds());
        self.table
            .shrink_if_sparse(|place| hasher.hash(entries.get(place).key()));
        self.bound_anew_since(rebuilds);
    }

    /// Visits up to `buckets` buckets from `from` on; answers the next one to visit, or `None` when
    /// the table was walked to its end.
    pub(super) fn walk(
        &self,
        from: usize,
        buckets: usize,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<usize> {
        let end = from.saturating_add(buckets).min(self.table.buckets());
        for bucket in from..end {
            if let Some(entry) = self.at(bucket) {
                visit(entry);
            }
        }
        (end < self.table.buckets()).then_some(end)
    }

    /// Takes out entries due at `now_ms`, telling their keys, and gives their memory back. Goes on,
    /// block by block and page by page, until buckets looked at, entries taken out and entries
    /// moved have come to `effort_max`; answers how many have.
    pub(super) fn expire(
        &mut self,
        now_ms: u64,
        effort_max: usize,
        hasher: &KeyHasher,
        mut due: impl FnMut(&[u8]),
    ) -> Expired {
        self.bounds.visit(now_ms);
        let (mut effort, mut from) = (0, 0);
        while effort < effort_max
            && let Some(block) = self.bounds.next_due(from, now_ms)
        {
            effort += self.expire_block(block, now_ms, hasher, &mut due);
            from = block + 1;
        }
        self.shrink_if_sparse(hasher);
        // Not before: what is moved may be due itself.
        let mut gains = true;
        while effort < effort_max && gains && self.entries.is_sparse() {
            let holes = self.entries.hole_bytes();
            effort += self.compact_if_sparse(hasher);
            // Records of which two do not fit in a page leave holes wherever they are.
            gains = self.entries.hole_bytes() < holes;
        }
        self.report();
        let earliest_ms = if effort < effort_max {
            self.bounds.earliest_ms()
        } else {
            0
        };
        Expired {
            effort,
            earliest_ms,
        }
    }

    /// Takes out what is due in one block and gives the block its true bound.
    fn expire_block(
        &mut self,
        block: usize,
        now_ms: u64,
        hasher: &KeyHasher,
        due: &mut impl FnMut(&[u8]),
    ) -> usize {
        let (mut earliest_ms, mut taken) = (NEVER_MS, 0);
        let first = block * BLOCK_BUCKETS;
        for bucket in first..first + BLOCK_BUCKETS {
            let Some(entry) = self.at(bucket) else {
                continue;
            };
            let Some(at) = entry.deadline_ms() else {
                continue;
            };
            if at <= now_ms {
                due(entry.key());
                self.take(bucket, hasher);
                taken += 1;
            } else {
                earliest_ms = earliest_ms.min(at);
            }
        }
        self.bounds.set(block, earliest_ms);
        BLOCK_BUCKETS + taken
    }

    /// Checks what `deadlines.rs` promises; answers the earliest deadline, or [`NEVER_MS`].
    #[cfg(all(test, not(loom)))]
    pub(super) fn check_bounds(&self) -> u64 {
        let mut earliest_ms = NEVER_MS;
        for bucket in 0..self.table.buckets() {
            if let Some(at) = self.at(bucket).and_then(Entry::deadline_ms) {
                assert!(self.bounds.bound_ms(bucket) <= Some(at), "a bound too late");
                earliest_ms = earliest_ms.min(at);
            }
        }
        assert!(self.bounds.earliest_ms() <= earliest_ms);
        assert_eq!(self.bounds.heap_bytes() > 0, self.volatile > 0);
        earliest_ms
    }

    /// How often entries may have changed buckets, modulo 2^32.
    pub(crate) fn generation(&self) -> u32 {
        self.table.rebuilds()
    }

    /// Number of buckets, used or not.
    pub(crate) fn buckets(&self) -> usize {
        self.table.buckets()
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is counted about this shard.
    pub(crate) fn census(&self) -> Census {
        Census {
            keys: self.table.len(),
            volatile: self.volatile,
            deadline_sum_ms: self.deadline_sum_ms.into(),
            bytes: self.heap_bytes(),
            table_bytes: usable(self.table.heap_bytes()),
        }
    }

    /// Gives the blocks new bounds if the table was rebuilt since it had counted so many rebuilds.
    #[inline]
    fn bound_anew_since(&mut self, rebuilds: u32) {
        if self.table.rebuilds() != rebuilds {
            let (buckets, entries) = (self.table.buckets(), &self.entries);
            let deadlines = (0..buckets).filter_map(|bucket| {
                let place = self.table.get(bucket)?;
                Some((bucket, entries.get(place).deadline_ms()?))
            });
            self.bounds.rebuild(buckets, deadlines);
        }
    }

    #[inline]
    fn lower_bound(&mut self, bucket: usize, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.bounds.lower(bucket, self.table.buckets(), at);
        }
    }

    /// The ledger this shard reports to.
    #[cfg(loom)]
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        self.room.ledger()
    }

    /// Bytes held on the heap. O(1).
    fn heap_bytes(&self) -> usize {
        let bounds = usable(self.bounds.heap_bytes());
        self.entries.heap_bytes() + usable(self.table.heap_bytes()) + bounds
    }

    /// Bytes the entry in `bucket`, which is there, takes: its own room, and an even share of what
    /// the shard holds besides rooms of entries, that is of its table, of holes and of pages that
    /// are not full. The sum over all entries is what the shard holds. O(pages).
    pub(super) fn entry_bytes(&self, bucket: usize) -> usize {
        let shared = self.heap_bytes() - self.entries.room_bytes();
        let own = self.entries.room_bytes_of(self.place(bucket));
        own + shared.div_ceil(self.table.len())
    }

    /// Tells the ledger if what is held has changed.
    #[inline]
    fn report(&mut self) {
        self.room.set(self.heap_bytes());
    }

    fn note_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile += 1;
            let summed_ms = at.min(DEADLINE_SUMMED_MS_MAX);
            self.deadline_sum_ms = self.deadline_sum_ms.wrapping_add(summed_ms);
        }
    }

    fn forget_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile -= 1;
            if self.volatile == 0 {
                self.bounds.clear();
            }
            let summed_ms = at.min(DEADLINE_SUMMED_MS_MAX);
            self.deadline_sum_ms = self.deadline_sum_ms.wrapping_sub(summed_ms);
        }
    }
}
