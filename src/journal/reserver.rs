//! The reserver: the thread that makes safe, ahead of time, which fencing tokens and IDs may be
//! given out.
//!
//! ```text
//!   coordinator: fences up to .. <---+                      +---> identity, replaced as a whole
//!   ids: ticks up to .. <------------+--- reserver ---------+
//!   (wakes it, where little is left)
//! ```
//!
//! What may have been given out stands in the identity of the directory, and whoever starts on it
//! begins above: nothing is given out twice, whatever the journal lost, and without one as well.
//! A clean stop notes what was given out really.
//!
//! Ticks of IDs are reserved while IDs are given out, about twice a second; a server that gives out
//! none writes nothing.
//!
//! Cost: the identity replaced, two syncs, for each reservation; at most one in 100 ms for IDs.

use super::disk::Disk;
use super::identity::Identity;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::engine::ids::Reservation;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, Wake};
use std::sync::{Arc, OnceLock};
use std::thread::{Thread, park_timeout};
use std::time::Duration;

/// Fencing tokens reserved at a time: more than are given out in the time it takes to reserve more.
pub const FENCES_RESERVED: u64 = 1 << 24;
/// How often it is looked whether fencing tokens run short.
const LOOK: Duration = Duration::from_secs(1);
/// Ticks are reserved no more often than this, in microseconds: who uses them up as fast as they
/// come is content with many at a time.
const REST_US: u64 = 100_000;

/// Makes reservations in the identity of a directory that this process owns.
pub struct Reserver {
    disk: Arc<dyn Disk>,
    identity: Mutex<Identity>,
    clock: Arc<dyn Clock>,
    thread: OnceLock<Thread>,
    is_stopping: AtomicBool,
}

impl Reserver {
    /// For the directory with this identity, which is stored as it is.
    pub fn new(disk: Arc<dyn Disk>, identity: Identity, clock: Arc<dyn Clock>) -> Self {
        Self {
            disk,
            identity: Mutex::new(identity),
            clock,
            thread: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Makes reservations for `engine` until it is stopped.
    pub fn run(&self, engine: &Engine) {
        self.thread.get_or_init(std::thread::current);
        let mut rested_us = 0;
        while !self.is_stopping.load(Ordering::Acquire) {
            self.reserve_fences(engine);
            let now_us = self.clock.mono_us();
            if now_us < rested_us {
                park_timeout(Duration::from_micros(rested_us - now_us));
            } else if self.reserve_ids(engine) {
                rested_us = self.clock.mono_us().saturating_add(REST_US);
            } else {
                park_timeout(LOOK);
            }
        }
    }

    /// Has the thread end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// The identity as a clean stop leaves it: the log was closed at this position, and nothing is
    /// given out any more.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn close(&self, engine: &Engine, closed_at: u64) -> Result<(), super::error::Error> {
        let mut identity = self.identity.lock();
        identity.closed_at = closed_at;
        identity.fence_max = engine.coordinator().fences().0;
        if identity.ids_max_ms > 0 {
            identity.ids_max_ms = engine.ids().used_ms();
        }
        identity.store(&*self.disk)
    }

    /// Sees to it that fencing tokens can be given out for a while.
    fn reserve_fences(&self, engine: &Engine) {
        let (last, fence_max) = engine.coordinator().fences();
        if fence_max.saturating_sub(last) >= FENCES_RESERVED / 2 {
            return;
        }
        let reserved = self.store(|identity| {
            identity.fence_max = last.saturating_add(FENCES_RESERVED);
        });
        if let Some(identity) = reserved {
            engine.coordinator().allow_fences(identity.fence_max);
        }
    }

    /// Reserves ticks of IDs, if any are wanted; answers whether there were.
    fn reserve_ids(&self, engine: &Engine) -> bool {
        let Some(wanted) = engine.ids().wanted(self.clock.now()) else {
            return false;
        };
        let reserved = self.store(|identity| {
            identity.ids_max_ms = wanted.until_ms;
            identity.snowflake = identity.snowflake.or(wanted.layout);
        });
        match reserved {
            Some(_) => engine.ids().grant(wanted),
            None => engine.ids().fail(),
        }
        true
    }

    /// Changes the identity on the disk; none where that fails.
    fn store(&self, change: impl FnOnce(&mut Identity)) -> Option<Identity> {
        let mut identity = self.identity.lock();
        let mut next = *identity;
        change(&mut next);
        match next.store(&*self.disk) {
            Ok(()) => {
                *identity = next;
                Some(next)
            }
            Err(error) => {
                tracing::warn!(%error, "fencing tokens and IDs could not be reserved");
                None
            }
        }
    }
}

impl Wake for Reserver {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// What a process reserves before it has given out any IDs, if the one before it did.
#[must_use]
pub fn first_reservation(identity: &Identity, wall_ms: u64) -> Option<Reservation> {
    (identity.ids_max_ms > 0).then(|| Reservation {
        until_ms: wall_ms
            .saturating_add(crate::engine::ids::AHEAD_MS)
            .max(identity.ids_max_ms),
        layout: None,
    })
}

impl std::fmt::Debug for Reserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserver").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::ids::{IdKind, Refusal, Taken, Wanted};
    use crate::engine::{Engine, Options};
    use crate::journal::disk::sim::{Call, Fault, SimDisk};
    use crate::journal::identity::{Random, Shape};

    const START_MS: u64 = 1_700_000_000_000;
    const SHAPE: Shape = Shape {
        shards: 4,
        databases: 1,
    };

    /// A process on a disk, without threads.
    struct Process {
        engine: Engine,
        reserver: Arc<Reserver>,
        clock: Arc<ManualClock>,
    }

    fn start(disk: &Arc<SimDisk>, wall_ms: u64) -> Process {
        let identity = Identity::begin(&**disk, Random::FIXED, SHAPE).unwrap();
        identity.store(&**disk).unwrap();
        let clock = Arc::new(ManualClock::at(wall_ms));
        let engine = Engine::new(Options::default(), None);
        engine.ids().skip(identity.ids_max_ms);
        let reserver = Arc::new(Reserver::new(
            Arc::clone(disk) as Arc<dyn Disk>,
            identity,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ));
        let is_layout_safe = identity.snowflake.is_some();
        engine
            .ids()
            .set_reserver(Arc::clone(&reserver) as Arc<dyn Wake>, is_layout_safe);
        Process {
            engine,
            reserver,
            clock,
        }
    }

    impl Process {
        fn take(&self) -> Result<u64, Refusal> {
            let wanted = Wanted {
                kind: IdKind::Snowflake,
                count: 1,
            };
            let taken = self
                .engine
                .ids()
                .take(wanted, self.clock.now(), None, &mut || 0)?;
            let Taken::Block(block) = taken else {
                panic!("nobody waits without a ticket");
            };
            match block.id(0, 0) {
                crate::engine::ids::Id::Snowflake(id) => Ok(id),
                other => panic!("{other:?}"),
            }
        }

        /// An ID, reserved first if need be.
        fn next(&self) -> u64 {
            self.take()
                .or_else(|_| {
                    self.reserver.reserve_ids(&self.engine);
                    self.take()
                })
                .unwrap()
        }
    }

    #[test]
    fn ids_rise_over_crashes_and_clean_stops() {
        let disk = Arc::new(SimDisk::new());
        let first = start(&disk, START_MS);
        assert_eq!(first.take(), Err(Refusal::NotReserved));
        let mut last = first.next();
        drop(first);
        // The clock has fallen back meanwhile.
        let second = start(&disk, START_MS);
        assert!(
            second.take().is_err(),
            "nothing is given out below what was reserved"
        );
        second.reserver.reserve_ids(&second.engine);
        second.clock.advance_ms(10);
        second.reserver.reserve_ids(&second.engine);
        let id = second.next();
        assert!(id > last);
        last = id;
        second.reserver.close(&second.engine, 1).unwrap();
        let third = start(&disk, START_MS + 10);
        let id = third.next();
        assert!(id > last);
        let parts = third.engine.ids().layout().parts(id).unwrap();
        let ahead_ms = parts.0 - (START_MS + 10);
        assert!(
            ahead_ms <= 1_001,
            "a clean stop leaves no reservation: {ahead_ms}"
        );
    }

    #[test]
    fn where_the_disk_fails_nothing_is_given_out() {
        let disk = Arc::new(SimDisk::new());
        let process = start(&disk, START_MS);
        assert_eq!(process.take(), Err(Refusal::NotReserved));
        disk.fail(Call::Sync, 0, Fault::Io);
        process.reserver.reserve_ids(&process.engine);
        assert_eq!(process.take(), Err(Refusal::NotReservable));
    }

    #[test]
    fn the_layout_is_recorded_with_the_first_snowflake() {
        let disk = Arc::new(SimDisk::new());
        let process = start(&disk, START_MS);
        process.next();
        let identity = Identity::load(&*disk).unwrap().unwrap();
        assert_eq!(identity.snowflake, Some(process.engine.ids().layout()));
        assert!(identity.ids_max_ms >= START_MS);
    }
}
