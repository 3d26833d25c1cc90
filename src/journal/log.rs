//! The log in memory: what the workers and the writer share.
//!
//! ```text
//!   worker 0 --commit--> queue 0 --+                        +-- written --+
//!   worker 1 --commit--> queue 1 --+--> Gather --> writer --+-- synced  --+--> who waits
//!            number from one counter     merges by number
//! ```
//!
//! A worker takes a number and queues the frame while the locks of all it touched are held; it
//! waits for nothing but its own queue's lock, which only the writer takes besides, for a swap. At
//! the end of its batch it says with [`Log::request`] what its replies wait for.
//!
//! Invariants, each run through every interleaving in `loom_tests`:
//! - Frames leave `Gather` in the order of their numbers, none missing: it stops where a number
//!   was taken whose frame came into a queue after the look at it, and goes on in its next turn.
//! - A request that is not met wakes the writer, or is seen by it before it sleeps.
//! - A mark that rises to what a worker waits for wakes it, or is seen by it before it sleeps.
//!
//! The last two rest on both sides *exchanging* the same flag: of two exchanges one comes second,
//! and it sees all that happened before the first.
//!
//! Cost: `commit` is one uncontended lock, one addition on a shared counter and one copy.
//!
//! Room that was asked for is claimed until the call has committed, so that two who ask at the same
//! moment are not admitted to the same. A small write while there is plenty claims nothing, which
//! spares a shared counter.
//!
//! LIMITATIONS: `admit` looks and does not take, and a small write that stands still between its
//! admission and its commit, while others use up all that was plenty, is not counted. The margin
//! covers what each worker may have under way; beyond it the writer finds the disk full, and the
//! frames wait.

use super::frame;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::fmt;

/// A queue that grows beyond so many bytes wakes the writer by itself.
const QUEUE_BYTES_WAKE: usize = 64 * 1024;
/// A buffer that grew beyond so many bytes is given back.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;
/// What each worker may have under way beyond what it asked for: envelopes, expired keys.
const MARGIN_BYTES: u64 = 16 * 1024;

/// A write of up to so many bytes claims no room ...
const SMALL_BYTES: u64 = 64 * 1024;
/// ... while it leaves so many.
const PLENTY_BYTES: u64 = 512 * 1024;

/// Wakes somebody; may be called from any thread, any number of times.
pub type WakeFn = Box<dyn Fn() + Send + Sync>;

/// When the device is to have what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before the reply.
    Always,
    /// Within a second.
    EverySecond,
    /// When the kernel likes.
    No,
}

/// Up to which frames something must be written or synced; 0 asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The kernel is to have the frames up to this number.
    pub written: u64,
    /// The device is to have the frames up to this number.
    pub synced: u64,
}

impl Needs {
    /// That the kernel has this frame.
    #[must_use]
    pub const fn written(number: u64) -> Self {
        Self {
            written: number,
            synced: 0,
        }
    }

    /// That the device has this frame, and so the kernel.
    #[must_use]
    pub const fn synced(number: u64) -> Self {
        Self {
            written: 0,
            synced: number,
        }
    }

    /// Whether whoever has this has `other` as well.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        let is_written = self.written >= other.written || self.synced >= other.written;
        is_written && self.synced >= other.synced
    }

    /// The higher of each mark.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            written: self.written.max(other.written),
            synced: self.synced.max(other.synced),
        }
    }

    /// The lower of each mark that either asks for.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        let least = |a: u64, b: u64| match (a, b) {
            (0, only) | (only, 0) => only,
            (a, b) => a.min(b),
        };
        Self {
            written: least(self.written, other.written),
            synced: least(self.synced, other.synced),
        }
    }
}

/// Whether a write may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Ok,
    /// There is no room on the disk: it is not to be done.
    Full,
    /// More is under way than the writer keeps up with: ask again later.
    Behind,
    /// The disk failed: nothing is acknowledged any more.
    Broken,
}

/// What the log has counted, for INFO and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Frames written.
    pub frames: u64,
    /// Bytes written, headers and marks included.
    pub bytes: u64,
    /// Batches written: one each, unless the kernel took them in parts.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// How long the last sync took, in microseconds.
    pub sync_us_last: u64,
    /// How long the longest sync took, in microseconds.
    pub sync_us_max: u64,
    /// How long all of them took together, in microseconds.
    pub sync_us_total: u64,
    /// Frames with a number that are not written.
    pub queued: u64,
    /// Bytes of these.
    pub queued_bytes: u64,
    /// Segments this process made.
    pub segments: u64,
    /// Bytes that can be written without asking the disk for room; `u64::MAX` where it cannot say.
    pub reserve_bytes: u64,
}

/// How a log is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Workers: the sides that commit, and those that can wait.
    pub workers: usize,
    /// Number of the last frame that is on disk.
    pub number: u64,
    /// When frames are synced.
    pub policy: Policy,
    /// More unwritten bytes than this, and writes are `Behind`.
    pub backlog_bytes_max: u64,
}

/// The queues, the marks, and who waits for them.
pub struct Log {
    numbered: CachePadded<AtomicU64>,
    sides: Box<[CachePadded<Side>]>,
    written: CachePadded<AtomicU64>,
    synced: CachePadded<AtomicU64>,
    needs: CachePadded<[AtomicU64; 2]>,
    writer: Sleeper,
    watchers: Box<[CachePadded<Watcher>]>,
    backlog_bytes_max: AtomicU64,
    policy: AtomicU8,
    pub(super) room: Room,
    pub(super) counts: Counts,
    is_broken: AtomicBool,
    /// Held while a mark is raised or the log breaks: after that no mark rises.
    raising: Mutex<()>,
    is_closing: AtomicBool,
    /// Engine time is to be noted although nothing happens.
    keeps_time: AtomicBool,
    on_broken: Mutex<Option<OnBroken>>,
}

type OnBroken = Box<dyn FnOnce(&str) + Send>;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_us_last: AtomicU64,
    pub(super) sync_us_max: AtomicU64,
    pub(super) sync_us_total: AtomicU64,
    pub(super) segments: AtomicU64,
}

/// What `admit` goes by.
pub(super) struct Room {
    /// Bytes the writer took from the queues and has not written.
    taken: AtomicU64,
    /// Bytes that were admitted and may not be in a queue yet.
    claimed: CachePadded<AtomicU64>,
    /// Bytes that can be written without asking the disk for room.
    pub(super) reserve: AtomicU64,
    /// What somebody asked for that the reserve did not cover.
    pub(super) wanted: AtomicU64,
    /// The disk had no more room to reserve when last asked.
    pub(super) is_full: AtomicBool,
    /// Rises whenever the writer has looked for room.
    looks: AtomicU64,
    /// Monotonic microseconds at which the turn of the writer that is under way began, plus 1.
    pub(super) turn_since: AtomicU64,
    /// The same of a sync.
    pub(super) sync_since: AtomicU64,
    /// Monotonic microseconds at which a write first found no room, plus 1; 0 while none does.
    pub(super) stuck_since: AtomicU64,
}

struct Side {
    queue: Mutex<Vec<u8>>,
    /// Its length, for those that do not lock.
    queued_bytes: AtomicU64,
}

/// Somebody who sleeps when there is nothing to do.
struct Sleeper {
    is_asleep: AtomicBool,
    wake: Mutex<Option<WakeFn>>,
}

impl Sleeper {
    fn new() -> Self {
        Self {
            is_asleep: AtomicBool::new(false),
            wake: Mutex::new(None),
        }
    }

    fn wake(&self) {
        if let Some(wake) = &*self.wake.lock() {
            wake();
        }
    }
}

/// A worker that may wait for a mark.
struct Watcher {
    sleeper: Sleeper,
    /// The marks that are to wake it.
    until: [AtomicU64; 2],
}

impl Log {
    /// A log that goes on behind frame `options.number`; `on_broken` is told, once, why nothing
    /// will be acknowledged any more.
    pub fn new(options: Options, on_broken: impl FnOnce(&str) + Send + 'static) -> Self {
        let side = |_| {
            CachePadded::new(Side {
                queue: Mutex::new(Vec::new()),
                queued_bytes: AtomicU64::new(0),
            })
        };
        let watcher = |_| {
            CachePadded::new(Watcher {
                sleeper: Sleeper::new(),
                until: [AtomicU64::new(0), AtomicU64::new(0)],
            })
        };
        let mark = || CachePadded::new(AtomicU64::new(options.number));
        Self {
            numbered: mark(),
            sides: (0..options.workers).map(side).collect(),
            written: mark(),
            synced: mark(),
            needs: CachePadded::new([AtomicU64::new(0), AtomicU64::new(0)]),
            writer: Sleeper::new(),
            watchers: (0..options.workers).map(watcher).collect(),
            backlog_bytes_max: AtomicU64::new(options.backlog_bytes_max),
            policy: AtomicU8::new(options.policy as u8),
            room: Room {
                taken: AtomicU64::new(0),
                claimed: CachePadded::new(AtomicU64::new(0)),
                reserve: AtomicU64::new(0),
                wanted: AtomicU64::new(0),
                is_full: AtomicBool::new(false),
                looks: AtomicU64::new(0),
                turn_since: AtomicU64::new(0),
                sync_since: AtomicU64::new(0),
                stuck_since: AtomicU64::new(0),
            },
            counts: Counts::default(),
            is_broken: AtomicBool::new(false),
            raising: Mutex::new(()),
            is_closing: AtomicBool::new(false),
            keeps_time: AtomicBool::new(false),
            on_broken: Mutex::new(Some(Box::new(on_broken))),
        }
    }

    /// Takes one frame from worker `side` and answers its number, one more than the last of all
    /// sides. The payload is not empty. Called with the locks of all that the step touched held;
    /// waits for the lock of the own queue alone. Its batch is to end with a [`Self::request`].
    pub fn commit(&self, side: usize, payload: &[u8]) -> u64 {
        let side = &self.sides[side];
        let mut queue = side.queue.lock();
        let before = queue.len();
        // Whoever reads this number and then the engine sees what the frame did, too.
        let number = self.numbered.fetch_add(1, Ordering::AcqRel) + 1;
        frame::push_unsealed(&mut queue, number, payload);
        let after = queue.len();
        side.queued_bytes.store(after as u64, Ordering::Relaxed);
        drop(queue);
        if before < QUEUE_BYTES_WAKE && after >= QUEUE_BYTES_WAKE {
            self.wake_writer();
        }
        number
    }

    /// Number of the last frame taken.
    pub fn numbered(&self) -> u64 {
        self.numbered.load(Ordering::Acquire)
    }

    /// Number of the last frame that the kernel has, with all before it.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Number of the last frame that the device has, with all before it.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Says what somebody waits for, and wakes the writer if it sleeps. A batch that committed
    /// frames nobody waits for asks for nothing: they are written within 10 ms.
    pub fn request(&self, needs: Needs) {
        for (asked, need) in self.needs.iter().zip([needs.written, needs.synced]) {
            if need > asked.load(Ordering::Relaxed) {
                asked.fetch_max(need, Ordering::Relaxed);
            }
        }
        self.wake_writer();
    }

    /// Says that worker `side` may have committed what nobody waits for, and wakes the writer then:
    /// it is then written within 10 ms. For whoever makes no request.
    pub fn expect_lazy(&self, side: usize) {
        if self.sides[side].queued_bytes.load(Ordering::Relaxed) > 0 {
            self.wake_writer();
        }
    }

    /// What whoever tells of this frame has to wait for.
    pub fn needs_of(&self, number: u64) -> Needs {
        match self.policy() {
            Policy::Always => Needs::synced(number),
            Policy::EverySecond | Policy::No => Needs::written(number),
        }
    }

    /// Whether the marks have risen so far.
    pub fn is_met(&self, needs: Needs) -> bool {
        self.written() >= needs.written && self.synced() >= needs.synced
    }

    /// How this worker is woken.
    pub fn watch(&self, worker: usize, wake: impl Fn() + Send + Sync + 'static) {
        *self.watchers[worker].sleeper.wake.lock() = Some(Box::new(wake));
    }

    /// Says that this worker is about to sleep and wants to be woken, once, when `written` or when
    /// `synced` is reached; 0 waits for nothing. Answers whether it is to look again instead: one
    /// of them is reached already, or the log is broken. To be called after the request.
    #[must_use]
    pub fn wait(&self, worker: usize, first: Needs) -> bool {
        let watcher = &self.watchers[worker];
        watcher.until[0].store(first.written, Ordering::Relaxed);
        watcher.until[1].store(first.synced, Ordering::Relaxed);
        watcher.sleeper.is_asleep.swap(true, Ordering::AcqRel);
        self.is_due(first) || self.is_broken()
    }

    fn is_due(&self, first: Needs) -> bool {
        let is_reached = |need: u64, mark: u64| need != 0 && need <= mark;
        is_reached(first.written, self.written()) || is_reached(first.synced, self.synced())
    }

    /// Whether a write that adds about so many bytes may run; claims the room for it if so. Answers
    /// also what is to be [given back](Self::give_back) when it has committed, or will not.
    #[must_use]
    pub fn claim(&self, bytes_len: usize) -> (Admission, u64) {
        let bytes = bytes_len as u64;
        let is_small = bytes <= SMALL_BYTES;
        if is_small && self.has_plenty() {
            return (self.judge(bytes, 0), 0);
        }
        let claimed = self.room.claimed.fetch_add(bytes, Ordering::AcqRel);
        // Small ones may be under way that claimed nothing.
        let unclaimed = match is_small {
            true => 0,
            false => SMALL_BYTES.saturating_mul(self.sides.len() as u64),
        };
        match self.judge(bytes, claimed.saturating_add(unclaimed)) {
            Admission::Ok => (Admission::Ok, bytes),
            refused => {
                self.give_back(bytes);
                (refused, 0)
            }
        }
    }

    /// Gives back what was [claimed](Self::claim).
    pub fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.room.claimed.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Whether small writes need not be counted before they are queued.
    fn has_plenty(&self) -> bool {
        let small = SMALL_BYTES.saturating_mul(self.sides.len() as u64);
        let needed = self.under_way_bytes().saturating_add(self.margin());
        let needed = needed.saturating_add(small.saturating_add(PLENTY_BYTES));
        needed <= self.room.reserve.load(Ordering::Acquire)
    }

    /// Whether a write that adds about so many bytes may run, for whoever is content with the
    /// margin: it claims nothing.
    pub fn admit(&self, bytes_len: usize) -> Admission {
        let claimed = self.room.claimed.load(Ordering::Acquire);
        self.judge(bytes_len as u64, claimed)
    }

    /// Whether so many bytes may be added while others have claimed so many.
    fn judge(&self, bytes: u64, claimed: u64) -> Admission {
        if self.is_broken() {
            return Admission::Broken;
        }
        let is_stuck = self.room.stuck_since.load(Ordering::Acquire) != 0;
        if is_stuck {
            return Admission::Full;
        }
        let queued = self.queued_bytes();
        let total = queued.saturating_add(bytes);
        if queued > 0 && total > self.backlog_bytes_max.load(Ordering::Relaxed) {
            return Admission::Behind;
        }
        let needed = total.saturating_add(claimed).saturating_add(self.margin());
        if needed <= self.room.reserve.load(Ordering::Acquire) {
            return Admission::Ok;
        }
        self.room.wanted.fetch_max(needed, Ordering::AcqRel);
        if self.room.is_full.load(Ordering::Acquire) {
            return Admission::Full;
        }
        self.wake_writer();
        Admission::Behind
    }

    /// How often the writer has looked for room: whoever was told `Behind` since it read this is
    /// to ask again when it has risen.
    pub fn room_looks(&self) -> u64 {
        self.room.looks.load(Ordering::Acquire)
    }

    /// The writer has looked for room: wakes every worker that sleeps.
    pub(super) fn note_room_look(&self) {
        self.room.looks.fetch_add(1, Ordering::AcqRel);
        for watcher in &self.watchers {
            if watcher.sleeper.is_asleep.swap(false, Ordering::AcqRel) {
                watcher.sleeper.wake();
            }
        }
    }

    /// What all workers may have under way beyond what they asked for, in bytes.
    pub(super) fn margin(&self) -> u64 {
        MARGIN_BYTES.saturating_mul(self.sides.len() as u64)
    }

    /// Bytes that were committed and are not written.
    pub fn queued_bytes(&self) -> u64 {
        let queued = self
            .sides
            .iter()
            .map(|side| side.queued_bytes.load(Ordering::Relaxed));
        // Sides first: what the writer takes meanwhile is counted twice, never missed.
        let queued: u64 = queued.sum();
        queued.saturating_add(self.room.taken.load(Ordering::Acquire))
    }

    /// Bytes that are queued, or may be before long.
    pub(super) fn under_way_bytes(&self) -> u64 {
        // Claims first: what is committed meanwhile is counted twice, never missed.
        let claimed = self.room.claimed.load(Ordering::Acquire);
        claimed.saturating_add(self.queued_bytes())
    }

    /// When frames are synced.
    pub fn policy(&self) -> Policy {
        match self.policy.load(Ordering::Relaxed) {
            0 => Policy::Always,
            1 => Policy::EverySecond,
            _ => Policy::No,
        }
    }

    /// Sets when frames are synced, from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
        self.wake_writer();
    }

    /// Sets how many unwritten bytes make writes wait, from now on.
    pub fn set_backlog_bytes_max(&self, bytes: u64) {
        self.backlog_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Whether the disk failed: the marks will not rise again.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Since when writes find no room on the disk, in monotonic microseconds; none while they do.
    pub fn stuck_since_us(&self) -> Option<u64> {
        self.room.stuck_since.load(Ordering::Acquire).checked_sub(1)
    }

    /// Since when the disk takes nothing, in monotonic microseconds, for whoever waits for this;
    /// none while it does. A call that has not come back counts from its beginning.
    pub fn waits_since_us(&self, needs: Needs) -> Option<u64> {
        let since = |of: &AtomicU64| of.load(Ordering::Acquire).checked_sub(1);
        // What is to be synced has to be written first.
        let written = [since(&self.room.stuck_since), since(&self.room.turn_since)];
        let synced = since(&self.room.sync_since).filter(|_| needs.synced > self.synced());
        written.into_iter().chain([synced]).flatten().min()
    }

    /// What the log has counted.
    pub fn figures(&self) -> Figures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            frames: read(&self.counts.frames),
            bytes: read(&self.counts.bytes),
            writes: read(&self.counts.writes),
            syncs: read(&self.counts.syncs),
            sync_us_last: read(&self.counts.sync_us_last),
            sync_us_max: read(&self.counts.sync_us_max),
            sync_us_total: read(&self.counts.sync_us_total),
            queued: self.numbered().saturating_sub(self.written()),
            queued_bytes: self.queued_bytes(),
            segments: read(&self.counts.segments),
            reserve_bytes: read(&self.room.reserve),
        }
    }

    /// Says whether anything depends on engine time, which is then noted every second although
    /// nothing happens. Takes effect within a second.
    pub fn set_keeps_time(&self, keeps: bool) {
        self.keeps_time.store(keeps, Ordering::Relaxed);
    }

    /// Whether engine time is noted although nothing happens.
    pub(super) fn keeps_time(&self) -> bool {
        self.keeps_time.load(Ordering::Relaxed)
    }

    /// Has the writer write and sync everything, close the log and end.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.wake_writer();
    }

    /// Whether the log is to be closed.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// What has been asked for.
    pub(super) fn needs(&self) -> Needs {
        let [written, synced] = &*self.needs;
        Needs {
            written: written.load(Ordering::Relaxed),
            synced: synced.load(Ordering::Relaxed),
        }
    }

    /// How the writer is woken.
    pub(super) fn watch_writer(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.writer.wake.lock() = Some(Box::new(wake));
    }

    /// Says that the writer is about to sleep: it must look at everything once more before it does.
    pub(super) fn doze(&self) {
        self.writer.is_asleep.swap(true, Ordering::AcqRel);
    }

    pub(super) fn wake_writer(&self) {
        if self.writer.is_asleep.swap(false, Ordering::AcqRel) {
            self.writer.wake();
        }
    }

    /// The kernel has `bytes_len` more of the queued bytes, and frames up to this number.
    pub(super) fn raise_written(&self, number: u64, bytes_len: u64) {
        self.room.taken.fetch_sub(bytes_len, Ordering::AcqRel);
        self.raise(&self.written, number);
    }

    /// The device has the frames up to this number.
    pub(super) fn raise_synced(&self, number: u64) {
        self.raise(&self.synced, number);
    }

    /// Raises a mark, unless the disk has failed meanwhile for the other of the two threads.
    fn raise(&self, mark: &AtomicU64, number: u64) {
        let raising = self.raising.lock();
        if !self.is_broken() {
            mark.fetch_max(number, Ordering::AcqRel);
        }
        drop(raising);
        self.wake_watchers();
    }

    /// The disk failed: tells so, once, and all who wait.
    pub(super) fn fail(&self, why: &str) {
        let raising = self.raising.lock();
        self.is_broken.store(true, Ordering::Release);
        drop(raising);
        self.wake_watchers();
        self.wake_writer();
        let told = self.on_broken.lock().take();
        if let Some(tell) = told {
            tell(why);
        }
    }

    fn wake_watchers(&self) {
        for watcher in &self.watchers {
            // An exchange that changes nothing, where a load could miss who falls asleep now.
            if !watcher.sleeper.is_asleep.fetch_or(false, Ordering::AcqRel) {
                continue;
            }
            let [written, synced] = &watcher.until;
            let first = Needs {
                written: written.load(Ordering::Relaxed),
                synced: synced.load(Ordering::Relaxed),
            };
            let is_due = self.is_due(first) || self.is_broken();
            if is_due && watcher.sleeper.is_asleep.swap(false, Ordering::AcqRel) {
                watcher.sleeper.wake();
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

/// The writer's end of the queues: merges them by number.
#[derive(Debug)]
pub(super) struct Gather {
    sides: Vec<Pending>,
    /// Number of the last frame handed out.
    number: u64,
}

/// What was taken from one queue.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    at: usize,
    /// The other of the two buffers of a side.
    spare: Vec<u8>,
}

impl Pending {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }
}

impl Gather {
    pub(super) fn new(log: &Log) -> Self {
        Self {
            sides: log.sides.iter().map(|_| Pending::default()).collect(),
            number: log.written(),
        }
    }

    /// Takes what is in the queues. Costs a short lock for each.
    pub(super) fn collect(&mut self, log: &Log) {
        for (pending, side) in self.sides.iter_mut().zip(&log.sides) {
            let mut queue = side.queue.lock();
            if queue.is_empty() {
                continue;
            }
            std::mem::swap(&mut *queue, &mut pending.spare);
            log.room
                .taken
                .fetch_add(pending.spare.len() as u64, Ordering::AcqRel);
            side.queued_bytes.store(0, Ordering::Relaxed);
            drop(queue);
            if pending.rest().is_empty() {
                std::mem::swap(&mut pending.bytes, &mut pending.spare);
                pending.at = 0;
            } else {
                pending.bytes.drain(..pending.at);
                pending.at = 0;
                pending.bytes.extend_from_slice(&pending.spare);
            }
            if pending.spare.capacity() > BUFFER_BYTES_KEPT {
                pending.spare = Vec::new();
            }
            pending.spare.clear();
        }
    }

    /// Bytes that were taken from the queues and not handed out.
    pub(super) fn bytes_len(&self) -> usize {
        self.sides.iter().map(|side| side.rest().len()).sum()
    }

    /// Whether the next frame is there.
    pub(super) fn is_ready(&self) -> bool {
        self.sides.iter().any(|side| self.is_next(side).is_some())
    }

    /// Length of the frame that comes next, if this side has it.
    fn is_next(&self, side: &Pending) -> Option<usize> {
        let (number, bytes_len) = frame::peek(side.rest())?;
        (number == self.number + 1).then_some(bytes_len)
    }

    /// Moves frames behind `batch`, in order and with their checksums, until it holds `bytes_max`
    /// or the next one is not there. Answers how many, and how many bytes.
    pub(super) fn fill(&mut self, batch: &mut Vec<u8>, bytes_max: usize) -> (u64, u64) {
        let (first, start) = (self.number, batch.len());
        let mut is_stopped = false;
        while !is_stopped {
            is_stopped = true;
            for index in 0..self.sides.len() {
                while batch.len() < bytes_max {
                    let Some(bytes_len) = self.is_next(&self.sides[index]) else {
                        break;
                    };
                    is_stopped = false;
                    let side = &mut self.sides[index];
                    let from = batch.len();
                    batch.extend_from_slice(&side.bytes[side.at..side.at + bytes_len]);
                    frame::seal(&mut batch[from..]);
                    side.at += bytes_len;
                    self.number += 1;
                }
            }
        }
        self.give_back();
        (self.number - first, (batch.len() - start) as u64)
    }

    fn give_back(&mut self) {
        for side in &mut self.sides {
            if side.rest().is_empty() && side.bytes.capacity() > BUFFER_BYTES_KEPT {
                side.bytes = Vec::new();
                side.at = 0;
            }
        }
    }

    /// Number of the last frame handed out.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    fn log() -> Arc<Log> {
        let options = Options {
            workers: 2,
            number: 0,
            policy: Policy::EverySecond,
            backlog_bytes_max: 1 << 20,
        };
        Arc::new(Log::new(options, |_| {}))
    }

    /// The numbers of the frames in a batch.
    fn numbers(mut batch: &[u8]) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some((number, bytes_len)) = frame::peek(batch) {
            numbers.push(number);
            batch = &batch[bytes_len..];
        }
        numbers
    }

    /// Two commit while the writer collects. Goes red when `Gather` takes the lowest number there
    /// is instead of stopping at a gap, and when `collect` copies the queue under one lock and
    /// clears it under another.
    #[test]
    fn frames_leave_in_order_and_none_is_missing() {
        loom::model(|| {
            let log = log();
            log.commit(0, b"before");
            let committers = [0, 1].map(|side| {
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    log.commit(side, b"a");
                    log.commit(side, b"b");
                })
            });
            let mut gather = Gather::new(&log);
            let mut batch = Vec::new();
            gather.collect(&log);
            gather.fill(&mut batch, usize::MAX);
            for committer in committers {
                committer.join().unwrap();
            }
            gather.collect(&log);
            gather.fill(&mut batch, usize::MAX);
            assert_eq!(numbers(&batch), [1, 2, 3, 4, 5]);
            assert_eq!(gather.bytes_len(), 0);
            assert_eq!(log.queued_bytes(), batch.len() as u64);
        });
    }

    /// A worker commits and asks while the writer goes to sleep. Goes red when the writer looks
    /// before it says that it sleeps, and when `request` wakes before it notes the need.
    #[test]
    fn a_request_wakes_the_writer_that_does_not_see_it() {
        loom::model(|| {
            let log = log();
            let bell = Arc::new(Notify::new());
            let ringer = Arc::clone(&bell);
            log.watch_writer(move || ringer.notify());
            let worker = {
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    let written = log.commit(0, b"a");
                    log.request(Needs { written, synced: 0 });
                })
            };
            let mut gather = Gather::new(&log);
            let mut batch = Vec::new();
            loop {
                log.doze();
                gather.collect(&log);
                gather.fill(&mut batch, usize::MAX);
                if log.needs().written == 1 && gather.number() == 1 {
                    break;
                }
                bell.wait();
            }
            worker.join().unwrap();
        });
    }

    /// A worker falls asleep while both marks rise, on two threads. Goes red when `wait` looks at
    /// the marks before it says that it sleeps, when the mark is raised after the waking, and when
    /// `wake_watchers` asks with a plain load.
    #[test]
    fn a_mark_that_is_reached_wakes_who_waits_for_it() {
        loom::model(|| {
            let log = log();
            let bell = Arc::new(Notify::new());
            let ringer = Arc::clone(&bell);
            log.watch(1, move || ringer.notify());
            log.commit(0, b"a");
            let raise = {
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    log.written.fetch_max(1, Ordering::AcqRel);
                    log.wake_watchers();
                    log.raise_synced(1);
                })
            };
            let needs = Needs {
                written: 0,
                synced: 1,
            };
            while !log.wait(1, needs) {
                bell.wait();
            }
            assert!(log.is_met(needs));
            raise.join().unwrap();
        });
    }
}
