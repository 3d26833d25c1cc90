//! Removing keys that nobody asks for after their deadline.
//!
//! Each worker has a sweeper that goes round its share of the shards, a few buckets at a time.
//! Where more than a quarter of the deadlines it meets have passed it stays in the shard; where few
//! have, it moves on. One call visits a bounded number of buckets, so a million keys due at once go
//! in many short steps between which clients are served.
//!
//! LIMITATIONS: this finds what is due by looking, not by order of deadline. A key that is the only
//! one due among millions may stay in memory, invisible, until the sweep comes round.

use super::step::Tally;
use super::{Batch, Engine};

/// Buckets looked at under one lock of a shard.
const STRIDE_BUCKETS: usize = 128;

/// Where one worker's sweep has come to.
#[derive(Debug)]
pub struct Sweeper {
    worker: usize,
    workers: usize,
    db: u32,
    shard: usize,
}

/// What one call of [`Sweeper::run`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys removed.
    pub removed: usize,
    /// More than a quarter of what was looked at was due: going on at once is worth it.
    pub rich: bool,
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

    /// Looks at up to `buckets_max` buckets; the counts go into `tally`.
    pub fn run(&mut self, batch: &Batch<'_>, buckets_max: usize, tally: &mut Tally) -> Swept {
        let mut step = batch.step();
        let (mut seen, mut removed, mut looked) = (0, 0, 0);
        let mut turns = 0;
        while looked < buckets_max && turns <= step.databases() {
            let database = step.database(self.db);
            let Some(shard) = database.shards_in_use().get(self.shard) else {
                self.db = (self.db + 1) % step.databases();
                self.shard = self.worker;
                turns += 1;
                continue;
            };
            if shard.lock().volatile() == 0 {
                self.shard += self.workers;
                continue;
            }
            let (here_seen, here_removed) =
                step.lock_shard(self.db, self.shard).sweep(STRIDE_BUCKETS);
            looked += STRIDE_BUCKETS;
            seen += here_seen;
            removed += here_removed;
            if here_removed * 4 <= here_seen {
                self.shard += self.workers;
            }
        }
        tally.add(step.take_tally());
        Swept {
            removed,
            rich: removed * 4 > seen,
        }
    }
}

impl Engine {
    /// Frees up to `shards_max` shards of databases that were flushed; answers whether there is
    /// more. Holds no lock that a client waits for.
    pub fn free_some(&self, shards_max: usize) -> bool {
        let Some(mut remains) = self.discarded.lock().pop_front() else {
            return false;
        };
        if remains.by_ref().take(shards_max).count() == shards_max {
            self.discarded.lock().push_front(remains);
        }
        !self.discarded.lock().is_empty()
    }
}
