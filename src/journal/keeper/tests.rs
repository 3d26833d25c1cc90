//! The keeper over the simulated disk, with a log that nobody writes.

use super::*;
use crate::clock::ManualClock;
use crate::engine::{Deadline, Options, ValueRef};
use crate::journal::disk::sim::SimDisk;
use crate::journal::identity::{Random, Shape};
use crate::journal::log;
use crate::journal::snapshot;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
    engine: Arc<Engine>,
    keeper: Arc<Keeper>,
}

impl Rig {
    fn new() -> Self {
        let disk = SimDisk::new();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let shape = Shape {
            shards: 4,
            databases: 2,
        };
        let identity = Identity::new(Random::FIXED, shape);
        let options = log::Options {
            workers: 2,
            number: 0,
            policy: log::Policy::EverySecond,
            backlog_bytes_max: 1 << 20,
        };
        let log = Arc::new(Log::new(options, |_| {}));
        let options = Options {
            databases: 2,
            shards: 4,
            hash_seed: identity.hash_seed,
            ..Options::default()
        };
        let engine = Engine::new(options, None);
        engine.set_sink(Box::new(Arc::clone(&log)), true);
        let of_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let of_disk = Arc::new(disk.clone());
        let keeper = Keeper::new(of_disk, identity, Arc::clone(&log), of_clock);
        Self {
            disk,
            clock,
            log,
            engine: Arc::new(engine),
            keeper: Arc::new(keeper),
        }
    }

    fn put(&self, deadline: Deadline) {
        let batch = self.engine.shared(0, self.clock.now());
        let mut step = batch.step();
        step.lock_any(0, b"key")
            .slot(0, b"key")
            .put(ValueRef::Int(1), deadline);
    }

    /// Waits until the log is told so; answers whether it was.
    fn is_told(&self, keeps_time: bool) -> bool {
        (0..PATIENCE.as_millis()).any(|_| {
            thread::sleep(Duration::from_millis(1));
            self.log.keeps_time() == keeps_time
        })
    }
}

/// Nothing is written any more, as on a full disk: the log is never safe up to the snapshot.
#[test]
fn a_last_snapshot_does_not_wait_for_a_log_that_is_stuck() {
    let rig = Rig::new();
    rig.put(Deadline::None);
    let (done, is_done) = channel();
    let (keeper, engine) = (Arc::clone(&rig.keeper), Arc::clone(&rig.engine));
    thread::spawn(move || {
        keeper.take_last(&engine);
        done.send(()).unwrap();
    });
    let waited_ms = (0..PATIENCE.as_millis() as u64).find(|_| {
        rig.clock.advance_ms(10);
        is_done.recv_timeout(Duration::from_millis(1)) != Err(RecvTimeoutError::Timeout)
    });
    assert!(waited_ms.is_some(), "it waits for ever");
    let report = rig.keeper.report();
    assert_eq!((report.is_written, report.failed_in_a_row), (false, 1));
    assert_eq!(snapshot::list(&rig.disk).unwrap().len(), 0);
    assert_eq!(snapshot::unfinished(&rig.disk).unwrap(), [""; 0]);
}

#[test]
fn the_log_keeps_the_time_while_there_are_deadlines() {
    let rig = Rig::new();
    rig.put(Deadline::None);
    let (keeper, engine) = (Arc::clone(&rig.keeper), Arc::clone(&rig.engine));
    let keeping = thread::spawn(move || keeper.run(&engine, || true, |_| false));
    let look_again = || {
        rig.clock.advance_ms(TIME_LOOK_US / 1_000);
        rig.keeper.wake();
    };
    thread::sleep(Duration::from_millis(20));
    assert!(!rig.log.keeps_time(), "nothing ends");
    rig.put(Deadline::At(u64::MAX / 2));
    look_again();
    assert!(rig.is_told(true));
    rig.put(Deadline::None);
    look_again();
    assert!(rig.is_told(false));
    rig.keeper.stop();
    keeping.join().unwrap();
}
