//! Cutting the state out of a running engine, shard by shard: what a snapshot is made of.
//!
//! A shard is cut under its lock and at a frame of its own: what that and earlier frames did to it
//! is in, what later ones do is not. The others go on meanwhile. The parts of a snapshot therefore
//! show different moments, and only with the frames behind the earliest of them one state
//! (`replay.rs`).
//!
//! Cost: one shard held for as long as it takes to copy its keys and values, some 100 ns each.
//!
//! LIMITATIONS: a shard is cut in one go, so one that holds many megabytes is held for as long as
//! copying them takes.

use super::effect::Effect;
use super::entry::Entry;
use super::extras::Extra;
use super::form::{Form, Soft};
use super::idempotency::Record;
use super::step::Step;
use super::value::ValueRef;
use crate::sync::atomic::Ordering;

/// Entries that are on their way from memory while others are copied.
const BUCKETS_AHEAD: usize = 24;

impl Step<'_> {
    /// Number of shards of each database.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.database(0).shard_count()
    }

    /// Which database stands where, by identity, and the frame that last changed it.
    #[must_use]
    pub fn map(&self) -> (Vec<u32>, u64) {
        let ids = (0..self.databases()).map(|db| self.database(db).id);
        let frame = self.engine().map_frame.load(Ordering::Relaxed);
        (ids.collect(), frame)
    }

    /// Adds to `out` the effects that would bring back what the coordinator keeps; answers the
    /// frame that last changed it.
    pub fn cut_coordinator(&self, out: &mut Vec<u8>) -> u64 {
        self.engine().coordinator().cut(out)
    }

    /// Adds to `out` the effects that would bring back the entries of a shard, those past their
    /// deadline and those whose session has ended among them: the frame that says so may be one
    /// that a crash takes. Markers have no effects. Answers the identity of its database, and the
    /// frame that last changed it.
    ///
    /// # Panics
    /// If there is no such database or shard.
    pub fn cut(&self, db: u32, shard: usize, out: &mut Vec<u8>) -> (u32, u64) {
        let database = self.database(db);
        let id = database.id;
        // Before it is seen whether there are shards: if not, no lock orders what follows.
        let frame = database.frame_of(shard);
        let Some(shard_lock) = database.shards_in_use().get(shard) else {
            return (id, frame);
        };
        let entries = shard_lock.lock();
        for bucket in 0..entries.buckets() {
            entries.fetch_bucket(bucket + BUCKETS_AHEAD);
            let Some(entry) = entries.at(bucket) else {
                continue;
            };
            let extra = entries.extra_of(entry.key(), &self.engine().hasher);
            push_entry(id, entry, extra, out);
        }
        (id, database.frame_of(shard))
    }
}

/// Adds the effects that would bring back an entry.
fn push_entry(db: u32, entry: Entry<'_>, extra: Extra, out: &mut Vec<u8>) {
    if extra.is_marker() {
        return;
    }
    let key = entry.key();
    if entry.is_kept() {
        kept(db, entry).push_to(out);
        return;
    }
    // A bare fence has no value.
    if extra.kind.is_none() {
        Effect::put(db, key, entry.value(), entry.deadline_ms()).push_to(out);
        if let Form::Cached(Soft { at_ms, cost_ms }) = entry.form() {
            Effect::Soft {
                db,
                key,
                at_ms,
                cost_ms,
            }
            .push_to(out);
        }
        if entry.is_grown() {
            let suffix = &[];
            Effect::Append { db, key, suffix }.push_to(out);
        }
    }
    if let Some(fence) = extra.fence {
        Effect::Fence { db, key, fence }.push_to(out);
    }
    if let Some(session) = extra.session {
        Effect::Tie { db, key, session }.push_to(out);
    }
}

/// The effect that would bring back a kept entry.
fn kept(db: u32, entry: Entry<'_>) -> Effect<'_> {
    let key = entry.key();
    match entry.value() {
        ValueRef::Int(full_ns) => Effect::Limit {
            db,
            key,
            full_ns: full_ns.cast_unsigned(),
        },
        ValueRef::Bytes(bytes) => Effect::Idempotency {
            db,
            key,
            record: Record::of(bytes).expect("the value of a record is one"),
        },
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use crate::clock::Now;
    use crate::engine::{Deadline, Engine, Options, Recorder, ValueRef};
    use loom::thread;
    use std::sync::Arc;

    /// The first key comes into a database while it is cut: a part that is cut behind a frame has
    /// what that frame brought. Goes red when the frame is asked for after the shards were seen
    /// missing: recovery then leaves the first frame out, and the part does not have it.
    #[test]
    fn a_cut_at_a_frame_has_what_the_frame_brought() {
        loom::model(|| {
            let recorder = Arc::new(Recorder::new());
            let options = Options {
                databases: 1,
                workers: 2,
                shards: 1,
                hash_seed: 1,
            };
            let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
            let engine = Arc::new(engine);
            let writer = {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let batch = engine.shared(1, Now::default());
                    let mut step = batch.step();
                    let mut locked = step.lock_any(0, b"k");
                    locked.slot(0, b"k").put(ValueRef::Int(1), Deadline::None);
                })
            };
            let mut part = Vec::new();
            let (_, frame) = engine.shared(0, Now::default()).step().cut(0, 0, &mut part);
            writer.join().unwrap();
            assert_eq!(recorder.numbered(), 1);
            assert_eq!(part.is_empty(), frame == 0, "cut at {frame}");
        });
    }
}
