//! Removing keys at their deadline, whether somebody asks for them or not.
//!
//! Each worker has a sweeper for its share of the shards. One call goes round the earliest
//! deadlines of those shards (`deadlines.rs`), locks each shard that is due and takes out what is,
//! and answers when the next deadline comes, for the worker to sleep until then (`alarm.rs`). What
//! a call does is bounded, so a million keys due at once go in many short steps between which
//! clients are served; the next call goes on where the last one had to stop, so no shard waits for
//! ever.
//!
//! Invariant: a call that was not cut short has removed everything that was due in its share at the
//! time of its batch.
//!
//! Cost: one load for each shard of the share, in each database that was ever used; for a shard
//! that is due its lock, its bounds, and the entries of the blocks that are due.
//!
//! LIMITATIONS: deadlines stand on the wall clock. Nothing is told here when that is set forward:
//! whoever sleeps has to wake up now and then to notice.

use super::deadlines::{Earliest, NEVER_MS};
use super::{Batch, Engine, Step, Tally};

/// What a visit of a shard counts as, beside what is done there.
const VISIT_EFFORT: usize = 1;

/// One worker's expiry.
#[derive(Debug)]
pub struct Sweeper {
    worker: usize,
    workers: usize,
    /// Where the next call begins.
    db: u32,
    shard: usize,
}

/// What one call of [`Sweeper::run`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The time of the batch, in Unix milliseconds.
    pub now_ms: u64,
    /// Nothing in this share is due before this Unix time in milliseconds, unless it is set later;
    /// `u64::MAX`: nothing is. Where it is not after `now_ms` the call was cut short.
    pub next_ms: u64,
}

impl Swept {
    /// Whether there is more to do at once.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.next_ms <= self.now_ms
    }
}

impl Sweeper {
    /// The sweeper of worker `worker` among `workers`: every `workers`-th shard is its own.
    #[must_use]
    pub fn new(worker: usize, workers: usize) -> Self {
        Self {
            worker,
            workers: workers.max(1),
            db: 0,
            shard: worker,
        }
    }

    /// Removes what is due and gives its memory back, until buckets looked at, entries removed and
    /// entries moved come to `effort_max`; what one block and one page hold may come on top. The
    /// counts go into `tally`.
    pub fn run(&mut self, batch: &Batch<'_>, effort_max: usize, tally: &mut Tally) -> Swept {
        let mut step = batch.step();
        step.rise(self.worker);
        let swept = self.go_round(&mut step, effort_max);
        tally.add(step.take_tally());
        swept
    }

    fn go_round(&mut self, step: &mut Step<'_>, effort_max: usize) -> Swept {
        let (now_ms, databases) = (step.now().wall_ms, step.databases());
        let (mut effort, mut next_ms) = (0, NEVER_MS);
        // All the way round, so the first database comes twice: from the shard on, and up to it.
        for lap in 0..=databases {
            let db = (self.db + lap) % databases;
            let shards = step.database(db).earliest().map_or(0, Earliest::len);
            let from = if lap == 0 { self.shard } else { self.worker };
            let to = if lap == databases { self.shard } else { shards };
            let mut ahead = (from..to.min(shards)).step_by(self.workers);
            while let Some(earliest) = step.database(db).earliest()
                && let Some(shard) = earliest.next_due(&mut ahead, now_ms, &mut next_ms)
            {
                let left = effort_max.saturating_sub(effort);
                let expired = step.expire(db, shard, left);
                effort += expired.effort + VISIT_EFFORT;
                next_ms = next_ms.min(expired.earliest_ms);
                if next_ms <= now_ms {
                    (self.db, self.shard) = (db, shard);
                    return Swept { now_ms, next_ms };
                }
            }
        }
        Swept { now_ms, next_ms }
    }
}

impl Engine {
    /// Frees up to `shards_max` shards of databases that were flushed; answers whether there is
    /// more. Who calls at the same time waits until these are freed: where the answer is no, none
    /// is held any more.
    pub fn free_some(&self, shards_max: usize) -> bool {
        let mut discarded = self.discarded.lock();
        let Some(remains) = discarded.front_mut() else {
            return false;
        };
        if remains.by_ref().take(shards_max).count() < shards_max {
            discarded.pop_front();
        }
        !discarded.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::engine::{Options, Remains};
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;
    use std::sync::Arc;

    /// What is left of a database of no shards, for loom's cannot be taken apart: so many pieces,
    /// each held until it is asked for.
    struct Pieces {
        left: usize,
        held: Arc<AtomicUsize>,
    }

    impl Iterator for Pieces {
        type Item = crate::engine::shard::Shard;

        fn next(&mut self) -> Option<Self::Item> {
            self.left = self.left.checked_sub(1)?;
            self.held.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }

    /// Two make room at once while a flushed database is left. Goes red when a piece is freed
    /// outside the lock: one then finds nothing left while the other has not freed it yet, and
    /// evicts keys or refuses a write.
    #[test]
    fn who_finds_nothing_left_to_free_knows_that_all_is_freed() {
        loom::model(|| {
            let options = Options {
                databases: 1,
                shards: 1,
                ..Options::default()
            };
            let engine = Arc::new(Engine::new(options, None));
            let held = Arc::new(AtomicUsize::new(1));
            let remains: Remains = Box::new(Pieces {
                left: 1,
                held: Arc::clone(&held),
            });
            engine.discarded.lock().push_back(remains);
            let free_all = |engine: &Engine, held: &AtomicUsize| {
                while engine.free_some(1) {}
                assert_eq!(held.load(Ordering::Relaxed), 0, "a piece is not freed yet");
            };
            let other = {
                let (engine, held) = (Arc::clone(&engine), Arc::clone(&held));
                thread::spawn(move || free_all(&engine, &held))
            };
            free_all(&engine, &held);
            other.join().unwrap();
        });
    }
}
