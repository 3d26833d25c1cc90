//! The keeper: the thread that takes snapshots while the server runs, and switches the journal on
//! and off.
//!
//! ```text
//!   asked for, or due --> record, if nobody does --> cut and write, shard by shard --> seal
//!                                                          (paced)                      |
//!     what it replaces is removed <-- publish <-- the log is safe up to the highest cut +
//! ```
//!
//! One at a time. Between two cuts the keeper rests for as long as the cut took, so that on a
//! single core it takes turns with the worker instead of holding it up.
//!
//! What changes while nothing is recorded is in no log. Where recording begins again, the first
//! frame says so (`Effect::Unrecorded`), and a snapshot is taken at once: until it stands, a
//! restart finds the state as it was when recording ended.
//!
//! A last snapshot, when the server stops, waits for the log for five seconds at most.
//!
//! Without a journal (`appendonly no`) frames are recorded while a snapshot is taken, for its parts
//! show different moments, and the frames between make one of them.

use super::disk::Disk;
use super::error::Error;
use super::identity::Identity;
use super::log::{Log, Needs};
use super::snapshotting::{Progress, Published, Snapshotting};
use crate::clock::{Clock, Now};
use crate::engine::Engine;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Thread, park_timeout};
use std::time::Duration;

/// How often the keeper looks whether a snapshot is due.
const LOOK: Duration = Duration::from_millis(250);
/// How often it looks whether the log is safe.
const SAFE_LOOK: Duration = Duration::from_millis(1);
/// A last snapshot, when the server stops, waits no longer for the log: in microseconds.
const LAST_SAFE_US_MAX: u64 = 5_000_000;
/// How often the log is told whether anything depends on engine time, in microseconds.
const TIME_LOOK_US: u64 = 1_000_000;
/// How often a snapshot that takes long is told of, in microseconds.
const PROGRESS_LINE_US: u64 = 5_000_000;
/// Shorter rests cost more than they give.
const REST_US_MIN: u64 = 50;
/// Longer ones are not needed for anybody to get a turn.
const REST_US_MAX: u64 = 5_000;

/// Takes snapshots.
pub struct Keeper {
    disk: Arc<dyn Disk>,
    identity: Identity,
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    state: Mutex<Report>,
    thread: OnceLock<Thread>,
    is_stopping: AtomicBool,
    /// Recording was switched on and no snapshot has been written since.
    has_gap: AtomicBool,
}

/// What has become of snapshots so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of the last that was asked for; they count from 1.
    pub asked: u64,
    /// Number of the last that ended. Lower than `asked` while one is taken.
    pub ended: u64,
    /// Whether the last that ended was written. True before the first.
    pub is_written: bool,
    /// How many were.
    pub written: u64,
    /// How many were not since the last that was.
    pub failed_in_a_row: u64,
    /// When the one under way began: monotonic microseconds.
    pub begun_us: u64,
    /// How far it is.
    pub progress: Option<Progress>,
    /// When the last one that was written ended, or the server began: Unix seconds.
    pub saved_s: u64,
    /// When the last one that failed ended: Unix seconds; 0 for never.
    pub failed_s: u64,
    /// How long the last one took, in microseconds.
    pub took_us: Option<u64>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that the log had written when the last one began.
    pub log_bytes: u64,
    /// The first frame that is not in it.
    pub begin: u64,
    /// The journal was switched on and no snapshot has been written since: what it has from then
    /// on is of no use yet.
    pub has_gap: bool,
}

impl Report {
    /// Whether a snapshot is being taken, or about to be.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.asked > self.ended
    }
}

impl Keeper {
    /// The keeper of a directory that this process owns.
    pub fn new(
        disk: Arc<dyn Disk>,
        identity: Identity,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let report = Report {
            is_written: true,
            saved_s: clock.now().wall_ms / 1_000,
            ..Report::default()
        };
        Self {
            disk,
            identity,
            log,
            clock,
            state: Mutex::new(report),
            thread: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            has_gap: AtomicBool::new(false),
        }
    }

    /// Asks for a snapshot; answers its number, or `None` while another is taken.
    pub fn ask(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_under_way() {
            return None;
        }
        state.asked += 1;
        state.begun_us = self.clock.mono_us();
        let number = state.asked;
        drop(state);
        self.wake();
        Some(number)
    }

    /// Who the directory is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What has become of snapshots so far.
    pub fn report(&self) -> Report {
        Report {
            has_gap: self.has_gap(),
            ..*self.state.lock()
        }
    }

    /// Has the thread end. A snapshot under way is given up.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the thread look what is to be done.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Whether the journal was switched on and no snapshot has been written since: what it has from
    /// then on is of no use yet.
    pub fn has_gap(&self) -> bool {
        self.has_gap.load(Ordering::Acquire)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Takes snapshots of `engine` until it is stopped: those asked for, and those that `is_due`
    /// says. Sees to it that `engine` records if `is_wanted` says so. Both are asked several times
    /// a second. Tells the log whether there is anything for which it has to keep the time.
    pub fn run(
        &self,
        engine: &Engine,
        is_wanted: impl Fn() -> bool,
        mut is_due: impl FnMut(&Report) -> bool,
    ) {
        self.thread.get_or_init(std::thread::current);
        let mut looked_us = None;
        while !self.is_stopping() {
            let now_us = self.clock.mono_us();
            if looked_us.is_none_or(|at: u64| now_us.saturating_sub(at) >= TIME_LOOK_US) {
                looked_us = Some(now_us);
                self.log.set_keeps_time(has_deadlines(engine));
            }
            let is_on = is_wanted();
            if engine.is_recording() != is_on {
                self.switch(engine, is_on);
            }
            let report = self.report();
            if !report.is_under_way() && is_due(&report) {
                self.ask();
            }
            if self.report().is_under_way() {
                // Deadlines may be set while it is taken.
                self.log.set_keeps_time(true);
                self.take_one(engine, &is_wanted, u64::MAX);
                looked_us = None;
            } else {
                park_timeout(LOOK);
            }
        }
    }

    /// Has `engine` record or not. There is a gap before anything is recorded, so that nobody takes
    /// a frame behind it for safe.
    fn switch(&self, engine: &Engine, is_on: bool) {
        if is_on {
            self.has_gap.store(true, Ordering::Release);
        }
        engine.set_recording(is_on);
        if !is_on {
            self.has_gap.store(false, Ordering::Release);
        }
    }

    /// Takes one more after the thread has ended, when the server stops. It is given up where the
    /// log is not safe seconds after it has been written: the disk may be full or stuck.
    pub fn take_last(&self, engine: &Engine) {
        self.is_stopping.store(false, Ordering::Release);
        let begun_us = self.clock.mono_us();
        let mut state = self.state.lock();
        state.asked += 1;
        state.begun_us = begun_us;
        drop(state);
        self.take_one(engine, &|| true, LAST_SAFE_US_MAX);
    }

    /// Takes the snapshot that was asked for, and notes what came of it.
    fn take_one(&self, engine: &Engine, is_wanted: &dyn Fn() -> bool, safe_us_max: u64) {
        let log_bytes = self.log.figures().bytes;
        let records = engine.is_recording();
        if !records {
            self.switch(engine, true);
        }
        let taken = self.take(engine, safe_us_max);
        if taken.is_ok() {
            self.has_gap.store(false, Ordering::Release);
        }
        if !records && (taken.is_err() || !is_wanted()) {
            self.switch(engine, false);
        }
        let (now, now_us) = (self.clock.now(), self.clock.mono_us());
        let mut state = self.state.lock();
        state.ended = state.asked;
        state.progress = None;
        state.took_us = Some(now_us.saturating_sub(state.begun_us));
        state.is_written = taken.is_ok();
        match taken {
            Ok(published) => {
                state.written += 1;
                state.failed_in_a_row = 0;
                state.saved_s = now.wall_ms / 1_000;
                state.bytes = published.bytes_len;
                state.begin = published.begin;
                state.log_bytes = log_bytes;
                tracing::info!(
                    file = published.name,
                    bytes = published.bytes_len,
                    ms = state.took_us.unwrap_or(0) / 1_000,
                    "snapshot written"
                );
            }
            Err(error) => {
                state.failed_s = now.wall_ms / 1_000;
                state.failed_in_a_row += 1;
                tracing::error!(%error, "no snapshot was written; the journal goes on");
            }
        }
    }

    fn take(&self, engine: &Engine, safe_us_max: u64) -> Result<Published, Error> {
        let numbered = self.log.numbered();
        let disk = Arc::clone(&self.disk);
        let now = self.clock.now();
        let mut taking = Snapshotting::begin(disk, &self.identity, numbered, now)?;
        let side = engine.background_side();
        let mut told_us = now.mono_us;
        loop {
            let started = self.clock.now();
            let has_more = taking.step(engine, side, started)?;
            let progress = taking.progress();
            self.state.lock().progress = Some(progress);
            if started.mono_us.saturating_sub(told_us) >= PROGRESS_LINE_US {
                told_us = started.mono_us;
                tell(progress);
            }
            if !has_more {
                break;
            }
            if self.is_stopping() {
                return Err(Error::Stopped);
            }
            let step_us = self.clock.mono_us().saturating_sub(started.mono_us);
            if step_us >= REST_US_MIN {
                park_timeout(Duration::from_micros(step_us.min(REST_US_MAX)));
            }
        }
        let highest = taking.seal()?;
        let sealed_us = self.clock.mono_us();
        loop {
            let synced = self.log.synced();
            if let Some(published) = taking.publish(&*self.disk, &self.identity, synced)? {
                return Ok(published);
            }
            if self.is_stopping() || self.log.is_broken() {
                return Err(Error::Stopped);
            }
            if self.clock.mono_us().saturating_sub(sealed_us) >= safe_us_max {
                return Err(Error::LogBehind);
            }
            self.log.request(Needs::synced(highest));
            park_timeout(SAFE_LOOK);
        }
    }
}

fn tell(progress: Progress) {
    let Progress {
        shards_done,
        shards,
        bytes_len,
    } = progress;
    tracing::info!(shards_done, shards, bytes = bytes_len, "writing a snapshot");
}

/// Whether anything in it ends at some time. O(shards in use).
fn has_deadlines(engine: &Engine) -> bool {
    let batch = engine.shared(engine.background_side(), Now::default());
    let census = batch.step().census();
    let coordinated = engine.coordinator().totals();
    let has_leases = coordinated.objects > 0 || coordinated.sessions > 0;
    has_leases || census.iter().any(|database| database.volatile > 0)
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
