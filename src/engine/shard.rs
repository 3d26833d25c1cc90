//! One shard of a database: a hash table of entries and what is counted about them.
//!
//! A shard is always reached through its lock. Callers hash the key once and name places in the
//! table by *bucket*; a bucket stays valid until the shard is next changed.
//!
//! Invariants:
//! - no two entries have the same key;
//! - `volatile`, `deadline_sum_ms` and `entry_bytes` are those of the entries in the table;
//! - `generation` has risen whenever an entry may have changed its bucket: the table calls our
//!   hasher exactly when it moves entries (growing, shrinking, rehashing in place), and the hasher
//!   notes it. `SCAN` stands on this.
//!
//! Cost: 17 bytes per bucket, at most 7/8 of the buckets used; probing reads one cache line of tags
//! and then the entry.
//!
//! LIMITATIONS: a table grows and shrinks in one go, so the step that does it costs O(entries of
//! this shard).

use super::entry::Entry;
use super::hash::KeyHasher;
use hashbrown::HashTable;
use std::cell::Cell;

/// Smaller tables are not worth shrinking.
const SHRINK_BUCKETS_MIN: usize = 64;
/// A table is shrunk when fewer than one in this many buckets is used.
const SHRINK_BELOW: usize = 8;

/// The entries whose keys hash to this shard.
#[derive(Debug)]
pub(crate) struct Shard {
    table: HashTable<Entry>,
    generation: u32,
    volatile: usize,
    deadline_sum_ms: u128,
    entry_bytes: usize,
    sweep_bucket: usize,
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
    /// Bytes held on the heap by entries and tables, as asked of the allocator.
    pub bytes: usize,
}

impl Census {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.volatile += other.volatile;
        self.deadline_sum_ms += other.deadline_sum_ms;
        self.bytes += other.bytes;
    }
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            table: HashTable::new(),
            generation: 0,
            volatile: 0,
            deadline_sum_ms: 0,
            entry_bytes: 0,
            sweep_bucket: 0,
        }
    }

    /// The bucket of `key`. Expected O(1).
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.table
            .find_bucket_index(hash, |entry| entry.key() == key)
    }

    /// The entry in `bucket`.
    #[inline]
    pub(crate) fn at(&self, bucket: usize) -> Option<&Entry> {
        self.table.get_bucket(bucket)
    }

    /// Changes the entry in `bucket`, which is there, and keeps the counts.
    #[inline]
    pub(crate) fn change<R>(&mut self, bucket: usize, change: impl FnOnce(&mut Entry) -> R) -> R {
        let entry = self
            .table
            .get_bucket_mut(bucket)
            .expect("the bucket is in use");
        let (bytes, deadline_ms) = (entry.heap_bytes(), entry.deadline_ms());
        let result = change(entry);
        let (bytes_now, deadline_now_ms) = (entry.heap_bytes(), entry.deadline_ms());
        self.entry_bytes = self.entry_bytes - bytes + bytes_now;
        if deadline_ms != deadline_now_ms {
            self.forget_deadline(deadline_ms);
            self.note_deadline(deadline_now_ms);
        }
        result
    }

    /// Notes a use of the entry in `bucket`.
    #[inline]
    pub(crate) fn touch(&mut self, bucket: usize, accessed_s: u32) {
        if let Some(entry) = self.table.get_bucket_mut(bucket) {
            entry.set_accessed_s(accessed_s);
        }
    }

    /// Adds an entry whose key is not there yet; answers its bucket.
    pub(crate) fn insert(&mut self, hash: u64, entry: Entry, hasher: &KeyHasher) -> usize {
        debug_assert!(self.find(hash, entry.key()).is_none());
        self.entry_bytes += entry.heap_bytes();
        self.note_deadline(entry.deadline_ms());
        let moved = Cell::new(false);
        let rehash = |entry: &Entry| {
            moved.set(true);
            hasher.hash(entry.key())
        };
        let bucket = self.table.insert_unique(hash, entry, rehash).bucket_index();
        self.note_moved(moved.get());
        bucket
    }

    /// Takes out the entry in `bucket`, which is there. Shrinks a table that has become sparse.
    pub(crate) fn remove(&mut self, bucket: usize, hasher: &KeyHasher) -> Entry {
        let entry = self.take(bucket);
        let buckets = self.table.num_buckets();
        if buckets > SHRINK_BUCKETS_MIN && self.table.len() < buckets / SHRINK_BELOW {
            let moved = Cell::new(false);
            self.table.shrink_to(self.table.len() * 2, |entry| {
                moved.set(true);
                hasher.hash(entry.key())
            });
            // A table that became empty is replaced without asking for a single hash.
            self.note_moved(moved.get() || self.table.num_buckets() != buckets);
        }
        entry
    }

    /// Takes out the entry in `bucket`, which is there, leaving every other one in its place.
    fn take(&mut self, bucket: usize) -> Entry {
        let Ok(place) = self.table.get_bucket_entry(bucket) else {
            unreachable!("the bucket is in use");
        };
        let (entry, _) = place.remove();
        self.entry_bytes -= entry.heap_bytes();
        self.forget_deadline(entry.deadline_ms());
        entry
    }

    /// Visits up to `buckets` buckets from `from` on; answers the next one to visit, or `None` when
    /// the table was walked to its end.
    pub(crate) fn walk(
        &self,
        from: usize,
        buckets: usize,
        mut visit: impl FnMut(&Entry),
    ) -> Option<usize> {
        let end = from.saturating_add(buckets).min(self.table.num_buckets());
        for bucket in from..end {
            if let Some(entry) = self.table.get_bucket(bucket) {
                visit(entry);
            }
        }
        (end < self.table.num_buckets()).then_some(end)
    }

    /// Looks at the next `buckets` buckets for entries due at `now_ms`, in a circle from call to
    /// call, and takes them out; answers how many entries with a deadline it saw.
    pub(crate) fn sweep(
        &mut self,
        now_ms: u64,
        buckets: usize,
        mut due: impl FnMut(Entry),
    ) -> usize {
        let total = self.table.num_buckets();
        let mut seen = 0;
        for _ in 0..buckets.min(total) {
            let bucket = if self.sweep_bucket < total {
                self.sweep_bucket
            } else {
                0
            };
            self.sweep_bucket = bucket + 1;
            let Some(at) = self.table.get_bucket(bucket).and_then(Entry::deadline_ms) else {
                continue;
            };
            seen += 1;
            if at <= now_ms {
                due(self.take(bucket));
            }
        }
        seen
    }

    /// How often entries may have changed buckets, modulo 2^32.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Number of buckets, used or not.
    pub(crate) fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Number of entries with a deadline.
    pub(crate) fn volatile(&self) -> usize {
        self.volatile
    }

    /// What is counted about this shard.
    pub(crate) fn census(&self) -> Census {
        Census {
            keys: self.table.len(),
            volatile: self.volatile,
            deadline_sum_ms: self.deadline_sum_ms,
            bytes: self.entry_bytes + self.table.allocation_size(),
        }
    }

    /// Gives up the entries, to be freed piece by piece.
    pub(crate) fn into_entries(self) -> hashbrown::hash_table::IntoIter<Entry> {
        self.table.into_iter()
    }

    fn note_moved(&mut self, moved: bool) {
        self.generation = self.generation.wrapping_add(u32::from(moved));
    }

    fn note_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile += 1;
            self.deadline_sum_ms += u128::from(at);
        }
    }

    fn forget_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile -= 1;
            self.deadline_sum_ms -= u128::from(at);
        }
    }
}
