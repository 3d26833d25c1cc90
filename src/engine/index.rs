//! The hash table of a shard: from the hash of a key to the place of its entry.
//!
//! ```text
//!   one group, one cache line
//!   +----+----+- ... -+----+----------+---+---------+- ... -+---------+
//!   | t0 | t1 |       | t11| overflow | - | place 0 |       | place 11|
//!   +----+----+- ... -+----+----------+---+---------+- ... -+---------+
//!     1    1            1       1       3      4                 4      bytes
//! ```
//!
//! The low half of a hash picks a key's *home* group, its top seven bits are the *tag*. An entry
//! stands in its home group or, where that was full, in the first of the groups behind it that was
//! not; every full group passed on the way counts it in `overflow`, so a search ends at the first
//! group that nobody has passed. Looking a key up thus reads one cache line, seldom two, before its
//! entry. A *bucket* is one of the twelve places of a group, numbered through.
//!
//! Invariants:
//! - a tag is 0 in a free bucket and has its top bit set in one in use;
//! - `overflow` of a group is the number of entries that stand behind it and whose home is it or
//!   before it, or [`OVERFLOW_MAX`] if it was ever that high since the last rebuild;
//! - an entry keeps its bucket until it is removed or the table rebuilt, and `rebuilds` counts
//!   those: `SCAN` stands on this;
//! - at least one bucket in eight is free.
//!
//! Cost: 64 bytes for 12 buckets, of which 1/2 to 7/8 are used while a table grows: 6 to 11 bytes
//! an entry. Rebuilding asks for the hash of every entry, having had it fetched from memory.
//!
//! How much a table grows is drawn, from a quarter to three quarters of what it was: tables of
//! equal load, as those of the shards are, would else all be rebuilt within the same few commands.
//!
//! LIMITATIONS: a rebuild is one step of O(entries).

use super::entry::Place;
use super::prefetch::prefetch;

/// Buckets of a group.
pub(super) const GROUP_BUCKETS: usize = 12;
/// An `overflow` that has arrived here stays, for it may have been higher.
const OVERFLOW_MAX: u8 = u8::MAX;
/// A table grows when more than this many of eight buckets would be in use.
const FULL_EIGHTHS: usize = 7;
/// Smaller tables are not worth shrinking.
const SHRINK_GROUPS_MIN: usize = 4;
/// A table is shrunk when fewer than one bucket in this many is in use.
const SHRINK_BELOW: usize = 4;

/// A rebuild has the entries of this many groups on their way from memory at a time: some sixty,
/// about as many lines as a core can wait for.
const GROUPS_AHEAD: usize = 6;

/// The entries that places name, as a table asks for them when it is rebuilt.
pub(super) trait Hashes {
    /// The hash of the key of the entry at `place`.
    fn hash(&self, place: Place) -> u64;

    /// `hash` will soon be asked for this place.
    fn fetch(&self, place: Place);
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Group {
    tags: [u8; GROUP_BUCKETS],
    overflow: u8,
    places: [Place; GROUP_BUCKETS],
}

const _: () = assert!(size_of::<Group>() == 64);

/// A bit for each bucket of a group.
#[derive(Clone, Copy)]
struct Buckets(u64, u64);

impl Iterator for Buckets {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 != 0 {
            let at = self.0.trailing_zeros() as usize / 8;
            self.0 &= self.0 - 1;
            return Some(at);
        }
        if self.1 != 0 {
            let at = self.1.trailing_zeros() as usize / 8;
            self.1 &= self.1 - 1;
            return Some(8 + at);
        }
        None
    }
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The top bit of every byte of `word` that equals `byte`, and perhaps of the byte behind such a
/// one.
#[inline]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    let zeros = word ^ (LOW_BITS * u64::from(byte));
    zeros.wrapping_sub(LOW_BITS) & !zeros & HIGH_BITS
}

impl Group {
    #[inline]
    fn words(&self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        (
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from(u32::from_le_bytes([i, j, k, l])),
        )
    }

    /// The buckets that may hold an entry with this tag: those that do are among them.
    #[inline]
    fn candidates(&self, tag: u8) -> Buckets {
        let (low, high) = self.words();
        Buckets(
            bytes_equal(low, tag),
            bytes_equal(high, tag) & (HIGH_BITS >> 32),
        )
    }

    /// The places in use.
    fn in_use(&self) -> impl Iterator<Item = Place> {
        let places = self.tags.iter().zip(&self.places);
        places.filter_map(|(tag, place)| (*tag != 0).then_some(*place))
    }

    #[inline]
    fn free(&self) -> Option<usize> {
        let (low, high) = self.words();
        Buckets(!low & HIGH_BITS, !high & (HIGH_BITS >> 32)).next()
    }
}

/// The table of one shard.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Index {
    groups: Box<[Group]>,
    len: u32,
    rebuilds: u32,
}

#[inline]
fn tag(hash: u64) -> u8 {
    0x80 | (hash >> 57) as u8
}

impl Index {
    /// The bucket of the entry with this hash that `is_it`. Expected O(1).
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(Place) -> bool) -> Option<usize> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = &self.groups[at];
            for bucket in group.candidates(tag) {
                if group.tags[bucket] == tag && is_it(group.places[bucket]) {
                    return Some(at * GROUP_BUCKETS + bucket);
                }
            }
            if group.overflow == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// What stands in `bucket`, if it is in use.
    #[inline]
    pub(super) fn get(&self, bucket: usize) -> Option<Place> {
        let group = self.groups.get(bucket / GROUP_BUCKETS)?;
        let at = bucket % GROUP_BUCKETS;
        (group.tags[at] != 0).then_some(group.places[at])
    }

    /// Lets `bucket`, which is in use, name another place.
    #[inline]
    pub(super) fn set(&mut self, bucket: usize, place: Place) {
        let group = &mut self.groups[bucket / GROUP_BUCKETS];
        debug_assert_ne!(
            group.tags[bucket % GROUP_BUCKETS],
            0,
            "the bucket is in use"
        );
        group.places[bucket % GROUP_BUCKETS] = place;
    }

    /// Adds an entry that is not there yet; answers its bucket. `hashes` is asked when the table
    /// has to grow. Amortised O(1).
    pub(super) fn insert(&mut self, hash: u64, place: Place, hashes: &impl Hashes) -> usize {
        if (self.len() + 1) * 8 > self.buckets() * FULL_EIGHTHS {
            let groups = self.groups.len();
            self.rebuild(groups + growth(groups, hash).max(1), hashes);
        }
        self.len += 1;
        self.put(hash, place)
    }

    /// Empties `bucket`, which is in use by an entry with this hash. O(1).
    pub(super) fn remove(&mut self, bucket: usize, hash: u64) {
        let (stands, at) = (bucket / GROUP_BUCKETS, bucket % GROUP_BUCKETS);
        debug_assert_eq!(self.groups[stands].tags[at], tag(hash));
        self.groups[stands].tags[at] = 0;
        self.len -= 1;
        let mut passed = self.home(hash);
        while passed != stands {
            let overflow = &mut self.groups[passed].overflow;
            if *overflow != OVERFLOW_MAX {
                *overflow -= 1;
            }
            passed = self.after(passed);
        }
    }

    /// Makes a table that has become sparse smaller. O(entries) then.
    pub(super) fn shrink_if_sparse(&mut self, hashes: &impl Hashes) {
        let buckets = self.buckets();
        if self.groups.len() >= SHRINK_GROUPS_MIN && self.len() < buckets / SHRINK_BELOW {
            self.rebuild((self.len() * 2).div_ceil(GROUP_BUCKETS), hashes);
        }
    }

    /// Gives back the room of a table without entries.
    pub(super) fn release(&mut self) {
        debug_assert_eq!(self.len, 0);
        self.groups = Box::default();
        self.rebuilds = self.rebuilds.wrapping_add(1);
    }

    /// Asks the processor for the cache line that a search for this hash begins with.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(group) = self.groups.get(self.home(hash)) {
            prefetch(group);
        }
    }

    /// The place that a search for this hash will most probably look at first.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> Option<Place> {
        let group = self.groups.get(self.home(hash))?;
        group
            .candidates(tag(hash))
            .next()
            .map(|at| group.places[at])
    }

    /// How often entries may have changed buckets, modulo 2^32.
    pub(super) fn rebuilds(&self) -> u32 {
        self.rebuilds
    }

    /// Number of buckets, used or not.
    pub(super) fn buckets(&self) -> usize {
        self.groups.len() * GROUP_BUCKETS
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes asked of the allocator.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.groups)
    }

    /// The home group of a hash: the low half as a fraction of all groups.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & u64::from(u32::MAX)) * self.groups.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, group: usize) -> usize {
        if group + 1 == self.groups.len() {
            0
        } else {
            group + 1
        }
    }

    /// Puts an entry into the first free bucket on its way; there is one.
    fn put(&mut self, hash: u64, place: Place) -> usize {
        let mut at = self.home(hash);
        loop {
            let group = &mut self.groups[at];
            if let Some(bucket) = group.free() {
                group.tags[bucket] = tag(hash);
                group.places[bucket] = place;
                return at * GROUP_BUCKETS + bucket;
            }
            group.overflow = group.overflow.saturating_add(1);
            at = self.after(at);
        }
    }

    fn rebuild(&mut self, groups: usize, hashes: &impl Hashes) {
        let fresh = vec![Group::default(); groups].into_boxed_slice();
        let old = std::mem::replace(&mut self.groups, fresh);
        self.rebuilds = self.rebuilds.wrapping_add(1);
        for (number, group) in old.iter().enumerate() {
            if let Some(ahead) = old.get(number + GROUPS_AHEAD) {
                ahead.in_use().for_each(|place| hashes.fetch(place));
            }
            for place in group.in_use() {
                self.put(hashes.hash(place), place);
            }
        }
    }
}

/// How many groups a table of `groups` grows by, drawn with the hash of the entry it grows for.
fn growth(groups: usize, hash: u64) -> usize {
    let draw = (hash >> 49) as usize % 128;
    groups * (64 + draw) / 256
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The hash of entry `number`. Few homes and few tags, so that groups fill up and overflow.
    fn hash(number: u32) -> u64 {
        let (home, tag) = (u64::from(number % 5), u64::from(number % 3));
        tag << 57 | home << 29
    }

    /// Entries whose hashes a function tells.
    struct Told<F>(F);

    impl<F: Fn(u32) -> u64> Hashes for Told<F> {
        fn hash(&self, place: Place) -> u64 {
            (self.0)(place.test_number())
        }

        fn fetch(&self, _: Place) {}
    }

    fn check(index: &Index, entries: &BTreeMap<u32, usize>) {
        assert_eq!(index.len(), entries.len());
        assert!(index.len() * 8 <= index.buckets() * FULL_EIGHTHS);
        for (&number, &bucket) in entries {
            let place = Place::test(number);
            assert_eq!(index.find(hash(number), |p| p == place), Some(bucket));
            assert_eq!(index.get(bucket), Some(place));
        }
        let in_use = (0..index.buckets()).filter(|&b| index.get(b).is_some());
        assert_eq!(in_use.count(), entries.len());
    }

    fn find_all(index: &Index, entries: &mut BTreeMap<u32, usize>) {
        for (&number, bucket) in entries {
            let found = index.find(hash(number), |p| p == Place::test(number));
            *bucket = found.expect("no entry is lost");
        }
    }

    proptest! {
        /// Against a map, with hashes that collide more than any real ones would.
        #[test]
        fn entries_are_found_where_they_are_until_a_rebuild(
            ops in prop::collection::vec((any::<bool>(), 0u32..200), 1..600),
        ) {
            let (mut index, mut entries) = (Index::default(), BTreeMap::new());
            for (add, number) in ops {
                let rebuilds = index.rebuilds();
                match (add, entries.remove(&number)) {
                    (true, None) => {
                        let bucket = index.insert(hash(number), Place::test(number), &Told(hash));
                        entries.insert(number, bucket);
                    }
                    (true, Some(bucket)) => {
                        entries.insert(number, bucket);
                    }
                    (false, Some(bucket)) => {
                        index.remove(bucket, hash(number));
                        index.shrink_if_sparse(&Told(hash));
                    }
                    (false, None) => {}
                }
                if index.rebuilds() != rebuilds {
                    find_all(&index, &mut entries);
                }
                check(&index, &entries);
            }
            for (number, bucket) in entries {
                index.remove(bucket, hash(number));
            }
            prop_assert!(index.groups.iter().all(|group| group.overflow == 0));
        }
    }

    #[test]
    fn more_entries_than_a_group_can_count_are_still_found() {
        let mut index = Index::default();
        let one_home = |number: u32| u64::from(number % 2) << 57;
        for number in 0..2_000 {
            index.insert(one_home(number), Place::test(number), &Told(one_home));
        }
        for number in 0..2_000 {
            let place = Place::test(number);
            let bucket = index.find(one_home(number), |p| p == place);
            index.remove(bucket.expect("no entry is lost"), one_home(number));
        }
        assert_eq!(index.find(0, |_| true), None);
        index.shrink_if_sparse(&Told(one_home));
        assert_eq!((index.len(), index.buckets()), (0, 0));
    }

    /// Of 1,024 tables filled alike, how many are rebuilt while each gets 1 % more entries. Goes
    /// red when all grow by half.
    #[test]
    fn tables_of_equal_load_are_not_rebuilt_together() {
        let scattered = |number: u32| xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes());
        let mut tables: Vec<Index> = (0..1_024).map(|_| Index::default()).collect();
        let mut fill = |from: u32, to: u32| {
            let mut rebuilt = 0;
            for (table, first) in tables.iter_mut().zip((0..).step_by(2_000)) {
                let before = table.rebuilds();
                for number in first + from..first + to {
                    let place = Place::test(number);
                    table.insert(scattered(number), place, &Told(scattered));
                }
                rebuilt += usize::from(table.rebuilds() != before);
            }
            rebuilt
        };
        fill(0, 1_000);
        let most = (1_000..2_000).step_by(20).map(|n| fill(n, n + 20)).max();
        // Evenly spread, it is 2 % / ln 1.5 of them at the beginning: fifty.
        assert!(most < Some(100), "{most:?} of 1,024 tables rebuilt at once");
    }
}
