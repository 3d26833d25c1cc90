//! Watched keys: whether any of them changed between `WATCH` and `EXEC`.
//!
//! A watched key has a version here as long as somebody watches it; every change of the key raises
//! the version. A connection remembers the versions it saw and compares them when it executes. So a
//! writer never looks for the connections that watch, and a connection that dies leaves nothing but
//! a count to take back.
//!
//! Invariants: a record exists exactly while `watchers > 0`; `live` is the number of records; a
//! key's version changes only under the lock of the key's shard, or with the gate held alone.
//!
//! Cost: with nobody watching, a write pays one relaxed load of a line that nobody writes.

use super::ledger::{Ledger, Share, usable, usable_map};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

/// Names a watched key: the database as `SELECT` numbers it, and the key.
pub type WatchName = (u32, Box<[u8]>);

/// The watched keys of all connections.
#[derive(Debug)]
pub(crate) struct Watches {
    live: AtomicUsize,
    records: Mutex<Records>,
}

#[derive(Debug)]
struct Records {
    by_name: HashMap<WatchName, Record>,
    key_bytes: usize,
    room: Share,
}

/// A map is shrunk when fewer than one in this many of its places is used.
const SHRINK_BELOW: usize = 8;
/// Smaller maps are not worth shrinking.
const SHRINK_PLACES_MIN: usize = 64;

impl Records {
    fn shrink_if_sparse(&mut self) {
        let (used, places) = (self.by_name.len(), self.by_name.capacity());
        if places > SHRINK_PLACES_MIN && used < places / SHRINK_BELOW {
            self.by_name.shrink_to(used * 2);
        }
    }

    fn report(&mut self) {
        let map_bytes = usable_map::<WatchName, Record>(self.by_name.capacity());
        self.room.set(map_bytes + self.key_bytes);
    }
}

#[derive(Debug)]
struct Record {
    version: u64,
    watchers: usize,
}

/// One key a connection watches and the version it had. Given back to [`super::Engine::unwatch`].
///
/// Ordered by its name alone: a set of these is asked by name whether a key is among them.
#[derive(Debug)]
pub struct Watched {
    name: WatchName,
    version: u64,
}

impl Watched {
    /// What is watched.
    #[must_use]
    pub fn name(&self) -> &WatchName {
        &self.name
    }
}

impl Borrow<WatchName> for Watched {
    fn borrow(&self) -> &WatchName {
        &self.name
    }
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Watched {}

impl PartialOrd for Watched {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watched {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

impl Watches {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            live: AtomicUsize::new(0),
            records: Mutex::new(Records {
                by_name: HashMap::new(),
                key_bytes: 0,
                room: Share::new(ledger),
            }),
        }
    }

    /// Begins to watch; the caller holds the key's shard.
    pub(crate) fn add(&self, db: u32, key: &[u8]) -> Watched {
        let mut records = self.records.lock();
        let name = (db, Box::from(key));
        let known = records.by_name.len();
        let record = records.by_name.entry(WatchName::clone(&name));
        let record = record.or_insert(Record {
            version: 0,
            watchers: 0,
        });
        record.watchers += 1;
        let version = record.version;
        if records.by_name.len() > known {
            self.live.fetch_add(1, Ordering::Relaxed);
            records.key_bytes += usable(key.len());
            records.report();
        }
        Watched { name, version }
    }

    /// Ends a watch.
    pub(crate) fn drop_one(&self, watched: Watched) {
        let mut records = self.records.lock();
        let name = watched.name;
        if let Some(record) = records.by_name.get_mut(&name) {
            record.watchers -= 1;
            if record.watchers == 0 {
                records.by_name.remove(&name);
                self.live.fetch_sub(1, Ordering::Relaxed);
                records.key_bytes -= usable(name.1.len());
                records.shrink_if_sparse();
                records.report();
            }
        }
    }

    /// Whether the key has changed since the watch began.
    pub(crate) fn changed(&self, watched: &Watched) -> bool {
        let records = self.records.lock();
        records
            .by_name
            .get(&watched.name)
            .is_none_or(|record| record.version != watched.version)
    }

    /// Notes that a key changed; the caller holds its shard. The shard's lock also orders this load
    /// after the watcher's store, so relaxed is enough.
    #[inline]
    pub(crate) fn note_change(&self, db: u32, key: &[u8]) {
        if self.live.load(Ordering::Relaxed) > 0 {
            self.note_change_slow(db, key);
        }
    }

    #[cold]
    fn note_change_slow(&self, db: u32, key: &[u8]) {
        if let Some(record) = self.records.lock().by_name.get_mut(&(db, Box::from(key))) {
            record.version += 1;
        }
    }

    /// The watched keys of these databases, in order. O(all watched keys).
    pub(crate) fn names(&self, databases: &[u32]) -> Vec<WatchName> {
        let records = self.records.lock();
        let names = records
            .by_name
            .keys()
            .filter(|(db, _)| databases.contains(db));
        let mut names: Vec<_> = names.cloned().collect();
        names.sort_unstable();
        names
    }

    /// Number of distinct keys somebody watches.
    pub(crate) fn keys(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use crate::clock::Now;
    use crate::engine::{Deadline, Engine, Options, ValueRef};
    use loom::thread;
    use std::sync::Arc;

    const KEY: &[u8] = b"k";

    fn engine() -> Arc<Engine> {
        let options = Options {
            databases: 1,
            workers: 3,
            shards: 1,
            hash_seed: 1,
        };
        let engine = Engine::new(options, None);
        // Made before there are threads: that a `OnceLock` publishes what it holds, loom does not
        // see.
        engine.alone(Now::default()).step().database(0).shards();
        Arc::new(engine)
    }

    /// `INCR`; answers the number before.
    fn increment(engine: &Engine, side: usize) -> i64 {
        let batch = engine.shared(side, Now::default());
        let mut step = batch.step();
        let mut locked = step.lock_any(0, KEY);
        let mut slot = locked.slot(0, KEY);
        let before = number(slot.value());
        slot.put(ValueRef::Int(before + 1), Deadline::None);
        before
    }

    fn number(value: Option<ValueRef<'_>>) -> i64 {
        match value {
            Some(ValueRef::Int(n)) => n,
            _ => 0,
        }
    }

    fn value(engine: &Engine, side: usize) -> i64 {
        let batch = engine.shared(side, Now::default());
        let mut step = batch.step();
        number(step.lock_any(0, KEY).slot(0, KEY).value())
    }

    /// `WATCH`, `GET`, `MULTI`, `SET` to one more, `EXEC`; answers whether it ran.
    fn increment_watching(engine: &Engine, side: usize) -> bool {
        let watched = {
            let batch = engine.shared(side, Now::default());
            let mut step = batch.step();
            step.lock_any(0, KEY).watch(0, KEY)
        };
        let before = value(engine, side);
        let batch = engine.alone(Now::default());
        let mut step = batch.step();
        let watches = [watched];
        let ran = !step.any_changed(&watches);
        let [watched] = watches;
        step.unwatch(watched);
        if ran {
            let after = ValueRef::Int(before + 1);
            step.lock_any(0, KEY)
                .slot(0, KEY)
                .put(after, Deadline::None);
        }
        ran
    }

    /// A writer changes the key somewhere between `WATCH` and `EXEC`. Goes red when the writer asks
    /// whether anybody watches before it has the key's shard: it then misses a watch that began
    /// meanwhile, and an increment is lost.
    #[test]
    fn a_change_between_watch_and_exec_is_never_missed() {
        loom::model(|| {
            let engine = engine();
            let writer = {
                let engine = Arc::clone(&engine);
                thread::spawn(move || increment(&engine, 1))
            };
            let ran = increment_watching(&engine, 0);
            writer.join().unwrap();
            assert_eq!(value(&engine, 0), 1 + i64::from(ran), "an increment lost");
            assert_eq!(engine.watched_keys(), 0, "a watch left behind");
        });
    }

    /// Two connections watch the same key, each changing it, and one of them gives up its watch
    /// first. Goes red when `drop_one` takes the record away from under the other: the next watch
    /// begins it anew at version 0, which the other then takes for the one it saw.
    #[test]
    fn a_watch_survives_the_end_of_another_on_the_same_key() {
        loom::model(|| {
            let engine = engine();
            let other = {
                let engine = Arc::clone(&engine);
                thread::spawn(move || increment_watching(&engine, 1))
            };
            let third = {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let batch = engine.shared(2, Now::default());
                    let watched = batch.step().lock_any(0, KEY).watch(0, KEY);
                    drop(batch);
                    engine.unwatch(watched);
                })
            };
            let ran = increment_watching(&engine, 0);
            let other_ran = other.join().unwrap();
            third.join().unwrap();
            let expected = i64::from(ran) + i64::from(other_ran);
            assert_eq!(value(&engine, 0), expected, "an increment lost");
            assert!(ran || other_ran, "both gave way to each other");
            assert_eq!(engine.watched_keys(), 0, "a watch left behind");
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::clock::Now;
    use crate::engine::{Deadline, Engine, Options, ValueRef};

    const KEY: &[u8] = b"k";

    fn at(wall_ms: u64) -> Now {
        Now {
            wall_ms,
            ..Now::default()
        }
    }

    /// Two databases, and in `db` a key that is due at 20.
    fn engine_with_due(db: u32) -> Engine {
        let engine = Engine::new(Options::default(), None);
        {
            let batch = engine.shared(0, at(10));
            let mut step = batch.step();
            let mut locked = step.lock_any(db, KEY);
            locked.slot(db, KEY).put(ValueRef::Int(1), Deadline::At(20));
        }
        engine
    }

    /// Watches the key in database 0 at one time, lets both databases change places at another, and
    /// answers whether that was a change.
    fn changed_by_swap(engine: &Engine, watched_ms: u64, swapped_ms: u64) -> bool {
        let watched = {
            let batch = engine.shared(0, at(watched_ms));
            batch.step().lock_any(0, KEY).watch(0, KEY)
        };
        let batch = engine.alone(at(swapped_ms));
        let mut step = batch.step();
        step.swap(0, 1);
        let changed = step.any_changed([&watched]);
        step.unwatch(watched);
        changed
    }

    #[test]
    fn a_swap_that_brings_a_key_changes_it_unless_the_key_is_due() {
        assert!(changed_by_swap(&engine_with_due(1), 10, 19));
        assert!(!changed_by_swap(&engine_with_due(1), 10, 20));
        assert!(!changed_by_swap(&engine_with_due(1), 30, 30));
    }

    #[test]
    fn a_swap_that_takes_a_key_away_changes_it_unless_it_was_gone_before() {
        assert!(changed_by_swap(&engine_with_due(0), 10, 19));
        assert!(changed_by_swap(&engine_with_due(0), 10, 20));
        assert!(!changed_by_swap(&engine_with_due(0), 30, 30));
    }
}
