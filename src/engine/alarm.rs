//! Waking a worker whose next deadline comes before the one it sleeps for.
//!
//! ```text
//!   who sets a deadline                     the worker
//!   1. lowers the shard's earliest          1. rise: sleeps_until = AWAKE
//!   2. ring: fence, reads sleeps_until;        fence
//!      if it is later: ASKED, wake          2. reads the earliest of its shards
//!                                           3. lie_down: sleeps_until = the least of them
//!                                           4. sleeps until then, or until it is woken
//! ```
//!
//! Of the two fences one comes first. If it is that of the ring, the worker reads the lowered
//! deadline; if it is the other, the ring reads `AWAKE` or what came after it, and wakes the worker
//! where it has to. After one ring the others stay quiet until the worker has risen.
//!
//! Cost: a deadline that becomes the earliest of its shard pays a fence and reads one shared cache
//! line; any other pays nothing.

use super::Engine;
use crate::sync::Wake;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
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
        fence(Ordering::SeqCst);
        if deadline_ms < alarm.sleeps_until_ms.load(Ordering::Relaxed) {
            alarm.ask();
        }
    }
}

impl Alarm {
    #[cold]
    fn ask(&self) {
        if self.sleeps_until_ms.swap(ASKED, Ordering::AcqRel) != ASKED
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
        alarm.sleeps_until_ms.store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker has looked, and does nothing before this Unix time in milliseconds unless woken.
    pub(crate) fn lie_down(&self, worker: usize, until_ms: u64) {
        let alarm = &self.alarms.0[worker % self.alarms.0.len()];
        let until_ms = until_ms.max(ASKED + 1);
        alarm.sleeps_until_ms.store(until_ms, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use crate::clock::Now;
    use crate::engine::{Deadline, Engine, Options, Sweeper, Tally, ValueRef};
    use crate::sync::Wake;
    use crate::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;
    use std::sync::Arc;

    const NOW_MS: u64 = 1_000;
    const NOW: Now = Now {
        wall_ms: NOW_MS,
        wall_sub_us: 0,
        engine_ms: 0,
        mono_us: 0,
    };

    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn engine() -> Arc<Engine> {
        let options = Options {
            databases: 1,
            workers: 3,
            shards: 1,
            hash_seed: 1,
        };
        Arc::new(Engine::new(options, None))
    }

    fn put(engine: &Engine, side: usize, key: &[u8], deadline_ms: u64) {
        let batch = engine.shared(side, NOW);
        let mut step = batch.step();
        let mut locked = step.lock_any(0, key);
        let deadline = Deadline::At(deadline_ms);
        locked.slot(0, key).put(ValueRef::Int(1), deadline);
    }

    fn earliest_ms(engine: &Engine) -> u64 {
        let batch = engine.shared(0, NOW);
        let step = batch.step();
        let earliest = step.database(0).earliest().expect("it is used");
        earliest.get(0)
    }

    /// Two set deadlines while expiry takes out a key of the same shard and stores what it found.
    /// Goes red when `Locked::expire` stores after it has unlocked the shard (what was set in
    /// between is forgotten).
    #[test]
    fn a_deadline_set_during_a_turn_is_not_forgotten() {
        loom::model(|| {
            let engine = engine();
            put(&engine, 0, b"due", NOW_MS - 1);
            let set = [(1, 2_000), (2, 3_000)].map(|(side, deadline_ms)| {
                let engine = Arc::clone(&engine);
                let key = [side as u8];
                thread::spawn(move || put(&engine, side, &key, deadline_ms))
            });
            let mut tally = Tally::default();
            Sweeper::new(0, 1).run(&engine.shared(0, NOW), usize::MAX, &mut tally);
            assert_eq!(tally.expired, 1);
            for thread in set {
                thread.join().unwrap();
            }
            assert_eq!(earliest_ms(&engine), 2_000);
        });
    }

    /// Two set deadlines while the worker looks and lies down. Goes red without the fence in
    /// `rise`, without that in `ring`, and when `rise` leaves out `AWAKE`.
    #[test]
    fn who_sleeps_too_long_is_woken() {
        loom::model(|| {
            let engine = engine();
            put(&engine, 0, b"later", 5_000);
            let bell = Arc::new(Bell(AtomicBool::new(false)));
            engine.set_sleeper(0, Arc::clone(&bell) as Arc<dyn Wake>);
            // As after an earlier turn.
            engine.lie_down(0, 1_500);
            let set = [(1, 2_000), (2, 3_000)].map(|(side, deadline_ms)| {
                let engine = Arc::clone(&engine);
                let key = [side as u8];
                thread::spawn(move || put(&engine, side, &key, deadline_ms))
            });
            let mut tally = Tally::default();
            let swept = Sweeper::new(0, 3).run(&engine.shared(0, NOW), usize::MAX, &mut tally);
            engine.lie_down(0, swept.next_ms);
            for thread in set {
                thread.join().unwrap();
            }
            let is_woken = bell.0.load(Ordering::Relaxed);
            assert!(is_woken || swept.next_ms == 2_000, "sleeps too long");
        });
    }
}
