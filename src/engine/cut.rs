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
use super::step::Step;
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
    /// deadline among them; answers the identity of its database, and the frame that last changed
    /// it.
    ///
    /// # Panics
    /// If there is no such database or shard.
    pub fn cut(&self, db: u32, shard: usize, out: &mut Vec<u8>) -> (u32, u64) {
        let database = self.database(db);
        let id = database.id;
        let Some(shard_lock) = database.shards_in_use().get(shard) else {
            return (id, database.frame_of(shard));
        };
        let entries = shard_lock.lock();
        for bucket in 0..entries.buckets() {
            entries.fetch_bucket(bucket + BUCKETS_AHEAD);
            let Some(entry) = entries.at(bucket) else {
                continue;
            };
            let (key, deadline_ms) = (entry.key(), entry.deadline_ms());
            Effect::put(id, key, entry.value(), deadline_ms).push_to(out);
            if entry.is_grown() {
                let suffix = &[];
                Effect::Append {
                    db: id,
                    key,
                    suffix,
                }
                .push_to(out);
            }
        }
        (id, database.frame_of(shard))
    }
}
