//! Walking a whole database: `SCAN`, `KEYS`, `RANDOMKEY`.
//!
//! A `SCAN` cursor names the place where the walk goes on:
//!
//! ```text
//!   bit 62                               0
//!       +--------+------------+-----------+
//!       | shard  | generation | bucket    |      0 begins a walk and ends it
//!       | 10     | 22         | 31        |
//!       +--------+------------+-----------+
//! ```
//!
//! GUARANTEE: a key that is there from the first call to the last is answered at least once.
//! Entries keep their bucket as long as their shard's generation stands (`shard.rs`); with another
//! generation the walk begins that shard again, which may answer keys twice but misses none. Keys
//! that come or go meanwhile may be answered or not.
//!
//! LIMITATIONS: a generation that rises by exactly a multiple of 2^22 between two calls is not
//! noticed. A shard whose table is rebuilt between every two calls is begun again each time; with
//! the bucket limit of a call growing with COUNT, a larger COUNT gets past it.

use super::entry::Entry;
use super::extras::Kind;
use super::shard::Shard;
use super::step::Step;

const BUCKET_BITS: u32 = 31;
const GENERATION_BITS: u32 = 22;
const SHARD_BITS: u32 = 10;
/// The most shards a database can have, so that a cursor can name them.
pub(super) const SHARDS_MAX: usize = 1 << SHARD_BITS;

/// Buckets visited per call, for each key asked for: sparse tables end a call early.
const BUCKETS_PER_KEY: usize = 10;
/// How often `RANDOMKEY` draws a bucket before it takes the first key it finds.
const DRAWS_MAX: u32 = 200;

struct Cursor {
    shard: usize,
    generation: u32,
    bucket: usize,
}

const fn low_bits(n: u64, bits: u32) -> u64 {
    n & ((1 << bits) - 1)
}

impl Cursor {
    fn decode(cursor: u64) -> Self {
        Self {
            shard: low_bits(cursor >> (BUCKET_BITS + GENERATION_BITS), SHARD_BITS) as usize,
            generation: low_bits(cursor >> BUCKET_BITS, GENERATION_BITS) as u32,
            bucket: low_bits(cursor, BUCKET_BITS) as usize,
        }
    }

    fn encode(&self) -> u64 {
        (self.shard as u64) << (BUCKET_BITS + GENERATION_BITS)
            | low_bits(u64::from(self.generation), GENERATION_BITS) << BUCKET_BITS
            | low_bits(self.bucket as u64, BUCKET_BITS)
    }
}

/// A key met on a walk.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The word `TYPE` answers.
    pub type_name: &'static str,
}

impl Step<'_> {
    /// Goes on with a walk: visits about `count` keys from `cursor` on and answers the next cursor,
    /// 0 when the walk is over. Keys past their deadline are left out, and so is what no longer
    /// stands (`extras.rs`). Any number is a cursor; one that no call answered goes on somewhere.
    pub fn scan(
        &mut self,
        db: u32,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Met<'_>),
    ) -> u64 {
        self.keep_time();
        let mut at = Cursor::decode(cursor);
        let (mut keys, mut buckets) = (0, 0);
        let shards = self.database(db).shards_in_use();
        if shards.is_empty() {
            self.see(db, 0);
        }
        while let Some(shard) = shards.get(at.shard) {
            let shard = shard.lock();
            self.see(db, at.shard);
            if low_bits(u64::from(shard.generation()), GENERATION_BITS) != u64::from(at.generation)
            {
                at.bucket = 0;
            }
            while shard.len() > 0 && at.bucket < shard.buckets() {
                if keys >= count || buckets >= count.saturating_mul(BUCKETS_PER_KEY) {
                    at.generation = shard.generation();
                    return at.encode();
                }
                shard.walk(at.bucket, 1, |entry| {
                    keys += 1;
                    if self.shows(db, &shard, entry) {
                        let key = entry.key();
                        let extra = shard.extra_of(key, &self.engine().hasher);
                        let kind = extra.kind.or(entry.kind());
                        let type_name = kind.map_or(entry.encoding().type_name(), Kind::name);
                        visit(Met { key, type_name });
                    }
                });
                (at.bucket, buckets) = (at.bucket + 1, buckets + 1);
            }
            at = Cursor {
                shard: at.shard + 1,
                generation: 0,
                bucket: 0,
            };
        }
        0
    }

    /// Whether an entry is to be seen: not past its deadline, and not one that no longer stands.
    fn shows(&self, db: u32, shard: &Shard, entry: Entry<'_>) -> bool {
        !entry.is_due(self.now()) && (!shard.has_extras() || self.stands(db, shard, entry.key()))
    }

    /// Visits every key of a database once, without those that [`Step::scan`] leaves out.
    pub fn each_key(&mut self, db: u32, mut visit: impl FnMut(&[u8])) {
        self.keep_time();
        self.see(db, 0);
        for (number, shard) in self.database(db).shards_in_use().iter().enumerate() {
            let shard = shard.lock();
            self.see(db, number);
            shard.walk(0, usize::MAX, |entry| {
                if self.shows(db, &shard, entry) {
                    visit(entry.key());
                }
            });
        }
    }

    /// A key of the database, each as likely as any other while nobody writes, or `None` when there
    /// is none. Expected O(shards); O(keys) where nearly all keys are past their deadline.
    pub fn random_key(&mut self, db: u32, mut random: impl FnMut() -> u64) -> Option<Box<[u8]>> {
        self.keep_time();
        let shards = self.database(db).shards_in_use();
        for _ in 0..DRAWS_MAX {
            let total = self.len(db) as u64;
            if total == 0 {
                return None;
            }
            let mut nth = random() % total;
            let locked = shards
                .iter()
                .enumerate()
                .map(|(number, shard)| (number, shard.lock()));
            let mut locked = locked.skip_while(|(_, shard)| {
                let here = shard.len() as u64;
                let is_before = nth >= here;
                nth = nth.saturating_sub(here);
                is_before
            });
            let Some((number, shard)) = locked.next() else {
                continue;
            };
            self.see(db, number);
            for _ in 0..DRAWS_MAX {
                match shard.at((random() % shard.buckets() as u64) as usize) {
                    Some(entry) if self.shows(db, &shard, entry) => {
                        return Some(entry.key().into());
                    }
                    Some(_) => break,
                    None => {}
                }
            }
        }
        let mut found = None;
        self.each_key(db, |key| {
            found.get_or_insert_with(|| key.into());
        });
        found
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::clock::Now;
    use crate::engine::{Batch, Deadline, Engine, Options, ValueRef};
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    const STABLE: u64 = 160;

    /// A database with keys that stay and keys that come and go.
    struct Stage {
        engine: Engine,
        guests: VecDeque<u64>,
        guests_ever: u64,
    }

    impl Stage {
        fn new(shards: usize) -> Self {
            let options = Options {
                databases: 1,
                shards,
                ..Options::default()
            };
            Self {
                engine: Engine::new(options, None),
                guests: VecDeque::new(),
                guests_ever: 0,
            }
        }

        fn insert_stable(&self) {
            for number in 0..STABLE {
                put(&self.batch(), &stable(number));
            }
        }

        fn batch(&self) -> Batch<'_> {
            self.engine.shared(0, Now::default())
        }

        fn insert(&mut self, guests: u64) {
            let batch = self.engine.shared(0, Now::default());
            for number in self.guests_ever..self.guests_ever + guests {
                put(&batch, &guest(number));
                self.guests.push_back(number);
            }
            self.guests_ever += guests;
        }

        /// Removes the guests that came first.
        fn remove(&mut self, guests: usize) {
            let batch = self.engine.shared(0, Now::default());
            for number in self.guests.drain(..guests.min(self.guests.len())) {
                let key = guest(number);
                let mut step = batch.step();
                assert!(step.lock_any(0, &key).slot(0, &key).remove());
            }
        }

        fn scan(&self, cursor: u64, count: usize, seen: &mut BTreeSet<Vec<u8>>) -> u64 {
            self.batch().step().scan(0, cursor, count, |met| {
                seen.insert(met.key.to_vec());
            })
        }

        /// Goes on to the end of the walk, undisturbed; all stable keys must then have been met.
        fn finish(&self, mut cursor: u64, count: usize, mut seen: BTreeSet<Vec<u8>>) {
            while cursor != 0 {
                cursor = self.scan(cursor, count, &mut seen);
            }
            let missed = |number: &u64| !seen.contains(&stable(*number));
            let missed: Vec<u64> = (0..STABLE).filter(missed).collect();
            assert!(missed.is_empty(), "the walk missed {missed:?}");
        }
    }

    fn stable(number: u64) -> Vec<u8> {
        format!("stable:{number}").into_bytes()
    }

    fn guest(number: u64) -> Vec<u8> {
        format!("guest:{number}").into_bytes()
    }

    fn put(batch: &Batch<'_>, key: &[u8]) {
        let mut step = batch.step();
        let mut locked = step.lock_any(0, key);
        locked
            .slot(0, key)
            .put(ValueRef::Bytes(b"v"), Deadline::None);
    }

    /// What happens between two calls of a walk.
    #[derive(Clone, Debug)]
    struct Round {
        insert: u64,
        remove: usize,
        count: usize,
    }

    fn rounds() -> impl Strategy<Value = Vec<Round>> {
        let insert = prop_oneof![Just(0), 1u64..40, 300u64..900];
        let remove = prop_oneof![Just(0), 1usize..40, Just(usize::MAX)];
        let round = (insert, remove, 1usize..30).prop_map(|(insert, remove, count)| Round {
            insert,
            remove,
            count,
        });
        prop::collection::vec(round, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Goes red when `Index::rebuild` does not count itself.
        #[test]
        fn a_walk_misses_no_key_that_stays(rounds in rounds(), shards in 0u32..3) {
            let mut stage = Stage::new(1 << shards);
            stage.insert_stable();
            let mut seen = BTreeSet::new();
            let mut cursor = 0;
            for round in rounds {
                cursor = stage.scan(cursor, round.count, &mut seen);
                if cursor == 0 {
                    stage.finish(cursor, 1, std::mem::take(&mut seen));
                }
                stage.insert(round.insert);
                stage.remove(round.remove);
            }
            if cursor != 0 {
                stage.finish(cursor, 10, seen);
            }
        }
    }
}
