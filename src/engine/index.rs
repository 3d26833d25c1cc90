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
//! Cost: 64 bytes for 12 buckets, of which 7/12 to 7/8 are used while a table grows: 6 to 9 bytes
//! an entry. Rebuilding asks for the hash of every entry.
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

    /// Adds an entry that is not there yet; answers its bucket. `hash_of` is asked when the table
    /// has to grow. Amortised O(1).
    pub(super) fn insert(
        &mut self,
        hash: u64,
        place: Place,
        hash_of: impl FnMut(Place) -> u64,
    ) -> usize {
        if (self.len() + 1) * 8 > self.buckets() * FULL_EIGHTHS {
            let groups = self.groups.len();
            self.rebuild(groups + (groups / 2).max(1), hash_of);
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
    pub(super) fn shrink_if_sparse(&mut self, hash_of: impl FnMut(Place) -> u64) {
        let buckets = self.buckets();
        if self.groups.len() >= SHRINK_GROUPS_MIN && self.len() < buckets / SHRINK_BELOW {
            self.rebuild((self.len() * 2).div_ceil(GROUP_BUCKETS), hash_of);
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

    fn rebuild(&mut self, groups: usize, mut hash_of: impl FnMut(Place) -> u64) {
        let fresh = vec![Group::default(); groups].into_boxed_slice();
        let old = std::mem::replace(&mut self.groups, fresh);
        self.rebuilds = self.rebuilds.wrapping_add(1);
        for group in &old {
            for (at, &tag) in group.tags.iter().enumerate() {
                if tag != 0 {
                    self.put(hash_of(group.places[at]), group.places[at]);
                }
            }
        }
    }
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
                let hash_of = |place: Place| hash(place.test_number());
                match (add, entries.remove(&number)) {
                    (true, None) => {
                        let bucket = index.insert(hash(number), Place::test(number), hash_of);
                        entries.insert(number, bucket);
                    }
                    (true, Some(bucket)) => {
                        entries.insert(number, bucket);
                    }
                    (false, Some(bucket)) => {
                        index.remove(bucket, hash(number));
                        index.shrink_if_sparse(hash_of);
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
        let one_home = |place: Place| u64::from(place.test_number() % 2) << 57;
        for number in 0..2_000 {
            let place = Place::test(number);
            index.insert(one_home(place), place, one_home);
        }
        for number in 0..2_000 {
            let place = Place::test(number);
            let bucket = index.find(one_home(place), |p| p == place);
            index.remove(bucket.expect("no entry is lost"), one_home(place));
        }
        assert_eq!(index.find(0, |_| true), None);
        index.shrink_if_sparse(one_home);
        assert_eq!((index.len(), index.buckets()), (0, 0));
    }
}
