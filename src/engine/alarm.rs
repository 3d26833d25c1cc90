//! Waking a worker whose next deadline comes before the one it sleeps for.
//!
//! ```text
//!   who sets a deadline                     the worker
//!   1. lowers the shard's earliest          1. rise: sleeps_until = AWAKE
//!   2. ring: reads sleeps_until             2. reads the earliest of its shards
//!      if it is later: ASKED, wake          3. lie_down: sleeps_until = the least of them
//!                                           4. sleeps until then, or until it is woken
//! ```
//!
//! Either the worker's reading sees the lowered deadline, or the ring comes after its rising and
//! wakes it: all four accesses are sequentially consistent. After one ring the others stay quiet
//! until the worker has risen.
//!
//! Cost: a deadline that is the earliest of its shard reads one shared cache line; any other reads
//! none.

use super::Engine;
use crate::sync::Wake;
use crate::sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::{Arc, OnceLock};

/// It may already have looked where a new deadline is: every one wakes it.
const AWAKE: u64 = u64::MAX;
/// Somebody has woken it: no other need.
const ASKED: u64 = 0;

/// The alarms of all workers.
pub(super) struct Alarms(Box<[CachePadded<Alarm>]>);

struct Alarm {
    /// Unix milliseconds, or one of the words above.
    sleeps_until_ms: AtomicU64,
    sleeper: OnceLock<Arc<dyn Wake>>,
}

impl Alarms {
    /// Alarms for this many workers, at least one, that wake nobody yet.
    pub(super) fn new(workers: usize) -> Self {
        let alarm = || {
            CachePadded::new(Alarm {
                sleeps_until_ms: AtomicU64::new(AWAKE),
                sleeper: OnceLock::new(),
            })
        };
        Self(std::iter::repeat_with(alarm).take(workers.max(1)).collect())
    }

    /// Wakes the worker of a shard if it sleeps for later than `deadline_ms`, which has been noted
    /// in the shard's earliest.
    #[inline]
    pub(super) fn ring(&self, shard: usize, deadline_ms: u64) {
        let alarm = &self.0[shard % self.0.len()];
        if deadline_ms < alarm.sleeps_until_ms.load(Ordering::SeqCst) {
            alarm.ask();
        }
    }
}

impl Alarm {
    #[cold]
    fn ask(&self) {
        if self.sleeps_until_ms.swap(ASKED, Ordering::SeqCst) != ASKED
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.wake();
        }
    }
}

impl Engine {
    /// Says who is to be woken when a deadline is set in a shard of `worker` that comes before the
    /// one it sleeps for. The first call counts.
    pub(crate) fn set_sleeper(&self, worker: usize, sleeper: Arc<dyn Wake>) {
        let alarm = &self.alarms.0[worker % self.alarms.0.len()];
        // A worker has one expiry task, which is made once.
        let _ = alarm.sleeper.set(sleeper);
    }

    /// The worker is about to look which deadlines come next.
    pub(super) fn rise(&self, worker: usize) {
        let alarm = &self.alarms.0[worker % self.alarms.0.len()];
        alarm.sleeps_until_ms.store(AWAKE, Ordering::SeqCst);
    }

    /// The worker has looked, and does nothing before this Unix time in milliseconds unless woken.
    pub(crate) fn lie_down(&self, worker: usize, until_ms: u64) {
        let alarm = &self.alarms.0[worker % self.alarms.0.len()];
        alarm
            .sleeps_until_ms
            .store(until_ms.max(1), Ordering::SeqCst);
    }
}
