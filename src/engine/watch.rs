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

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::HashMap;

/// Names a watched key: the database as `SELECT` numbers it, and the key.
type Name = (u32, Box<[u8]>);

/// The watched keys of all connections.
#[derive(Debug)]
pub(crate) struct Watches {
    live: AtomicUsize,
    records: Mutex<HashMap<Name, Record>>,
}

#[derive(Debug)]
struct Record {
    version: u64,
    watchers: usize,
}

/// One key a connection watches and the version it had. Given back to [`super::Engine::unwatch`].
#[derive(Debug)]
pub struct Watched {
    pub(crate) db: u32,
    pub(crate) key: Box<[u8]>,
    version: u64,
}

impl Watched {
    /// Whether this is the watch of `key` in database `db`.
    #[must_use]
    pub fn is(&self, db: u32, key: &[u8]) -> bool {
        self.db == db && *self.key == *key
    }
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self {
            live: AtomicUsize::new(0),
            records: Mutex::new(HashMap::new()),
        }
    }

    /// Begins to watch; the caller holds the key's shard.
    pub(crate) fn add(&self, db: u32, key: &[u8]) -> Watched {
        let mut records = self.records.lock();
        let name = (db, Box::from(key));
        let record = records.entry(name).or_insert_with(|| {
            self.live.fetch_add(1, Ordering::Relaxed);
            Record {
                version: 0,
                watchers: 0,
            }
        });
        record.watchers += 1;
        Watched {
            db,
            key: key.into(),
            version: record.version,
        }
    }

    /// Ends a watch.
    pub(crate) fn drop_one(&self, watched: Watched) {
        let mut records = self.records.lock();
        let name = (watched.db, watched.key);
        if let Some(record) = records.get_mut(&name) {
            record.watchers -= 1;
            if record.watchers == 0 {
                records.remove(&name);
                self.live.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether the key has changed since the watch began.
    pub(crate) fn changed(&self, watched: &Watched) -> bool {
        let records = self.records.lock();
        let name = (watched.db, watched.key.clone());
        records
            .get(&name)
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
        if let Some(record) = self.records.lock().get_mut(&(db, Box::from(key))) {
            record.version += 1;
        }
    }

    /// Notes a change of every watched key for which `gone` says so; the caller is alone inside the
    /// gate.
    pub(crate) fn note_changes(&self, mut gone: impl FnMut(u32, &[u8]) -> bool) {
        for ((db, key), record) in self.records.lock().iter_mut() {
            if gone(*db, key) {
                record.version += 1;
            }
        }
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
        Arc::new(Engine::new(options, None))
    }

    /// `INCR`; answers the number before.
    fn increment(engine: &Engine, side: usize) -> i64 {
        let batch = engine.shared(side, Now::default());
        let mut step = batch.step();
        let mut locked = step.lock(0, KEY);
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
        number(step.lock(0, KEY).slot(0, KEY).value())
    }

    /// `WATCH`, `GET`, `MULTI`, `SET` to one more, `EXEC`; answers whether it ran.
    fn increment_watching(engine: &Engine, side: usize) -> bool {
        let watched = {
            let batch = engine.shared(side, Now::default());
            let mut step = batch.step();
            step.lock(0, KEY).watch(0, KEY)
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
            step.lock(0, KEY).slot(0, KEY).put(after, Deadline::None);
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
                    let watched = batch.step().lock(0, KEY).watch(0, KEY);
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
