//! The writer: brings the frames from the queues to the disk.
//!
//! [`Writer::turn`] does one round and never sleeps; a thread loops over it ([`spawn`]), a test
//! calls it by hand:
//!
//! ```text
//!   collect the queues -> merge by number -> mark + frames, one write -> sync, if asked for
//!                                             |                           |
//!                                             written rises               synced rises
//! ```
//!
//! One sync serves all that was written before it began (group commit). Where every reply waits
//! for one (`always`) the writer makes it. Otherwise a thread of its own does, the syncer, a second
//! after the oldest write that is not safe, or at once where somebody waits for it: replies that
//! need only the kernel go on meanwhile. Never two at a time, for a failed one tells only one of
//! two callers.
//!
//! Invariants:
//! - A segment is written to in order, and only the writer writes. New frames go to a new segment
//!   at every start and after every `segment_bytes_max`; between batches, never inside one.
//! - `synced` rises to what was written before the sync began, after every file with part of it
//!   and the directory were synced, and never after a failure.
//! - After a sync with nothing queued behind it, a mark alone notes in the log how far it reached.
//!   That mark needs no sync and causes none.
//! - A segment begins with a mark, so that the newest tells the latest engine time, and a second
//!   without a mark is ended by one while anything depends on engine time.
//! - Of a new segment the header is written last: a segment that was given up never had one.
//!
//! Faults. No room: the file is cut back to its last whole frame, the batch stays in memory and is
//! tried again every second. Any other error, of a write or of a sync: the log is broken for ever.
//!
//! LIMITATIONS: a batch is copied once more than its bytes would need, to lie in one piece with
//! checksums; a frame larger than a batch is a batch of its own and its memory is held twice.

use super::disk::{self, Disk, DiskFile, FileRef};
use super::frame::{self, Kind, Mark};
use super::log::{Gather, Log, Policy};
use super::segment::{self, End, Header, LogId};
use crate::clock::{Clock, Now};
use crate::seeded::{self, Bug};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Frames of one batch go into one write until it holds so many bytes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Queued frames that nobody waits for are written once there are so many bytes of them, ...
const LAZY_BYTES_MAX: usize = 64 * 1024;
/// ... or the first has waited so long, in microseconds.
const LAZY_US_MAX: u64 = 10_000;
/// How often room is looked for on a full disk, in microseconds.
const FULL_RETRY_US: u64 = 1_000_000;
/// How long a write may be unsynced, in microseconds, before its sync begins; and how long the
/// threads sleep at most.
const SECOND_US: u64 = 1_000_000;
/// So many segments before the open one are synced, whatever the policy: each is an open file.
const OLDER_SYNC: usize = 4;
/// With so many the open one grows until they are.
const OLDER_MAX: usize = 16;
/// The smallest step in which room is reserved. Larger ones follow the traffic.
const RESERVE_BYTES_MIN: u64 = 1024 * 1024;
const RESERVE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Less than this is not worth reserving on a disk that is nearly full.
const RESERVE_BYTES_LEAST: u64 = 64 * 1024;
/// What a segment is written over with, where it is.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// A sync that takes longer than this is told of, in microseconds.
const SLOW_SYNC_US: u64 = 1_000_000;

/// What a segment begins with: its header, and a mark.
const HEAD_BYTES: u64 = (segment::HEADER_BYTES + frame::MARK_FRAME_BYTES) as u64;

/// The size of a segment unless told otherwise, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// How a writer is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What tells this log from every other.
    pub id: LogId,
    /// A segment that has reached this length is followed by the next.
    pub segment_bytes_max: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; there may be more.
    Busy,
    /// There is nothing to do for so many microseconds, unless somebody asks.
    Idle {
        /// Microseconds.
        pause_us: u64,
    },
}

/// Brings frames to the disk.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    options: Options,
    gather: Gather,
    file: FileRef,
    /// Where the open segment begins.
    base: u64,
    /// Where the next batch goes.
    position: u64,
    /// The batch being written. Kept while there is no room for it.
    batch: Batch,
    reserve: Reserve,
    /// The highest synced position that a mark in the log tells of.
    synced_told: u64,
    /// Part of a batch that found no room is behind the end, and could not be cut off.
    has_rest: bool,
    /// When the last mark was written.
    marked_us: u64,
    /// A segment that was begun in vain, and may be in the way of the next.
    given_up: Option<String>,
    /// When frames that nobody waits for were first seen.
    lazy_since_us: Option<u64>,
    /// Before this moment no full disk is asked again.
    retry_at_us: u64,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    frames: u64,
    /// Bytes of it that came from the queues.
    frames_bytes: u64,
    /// The synced position that its mark tells of.
    synced: u64,
}

#[derive(Debug)]
struct Reserve {
    /// Up to this position the disk has room for the open segment.
    end: u64,
    is_supported: bool,
    /// How far ahead to reserve, in bytes.
    ahead: u64,
    /// Before this moment the disk is taken to be full.
    full_until_us: u64,
}

/// What the writer and the thread that syncs share.
struct Shared {
    log: Arc<Log>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    unsynced: Mutex<Unsynced>,
    /// Held during a sync.
    syncing: Mutex<()>,
    /// Everything before this position is safe.
    synced_position: AtomicU64,
    /// The thread that syncs, once it runs.
    syncer: OnceLock<Thread>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// What a sync has to cover.
#[derive(Debug)]
struct Unsynced {
    /// Segments before the open one, oldest first.
    older: Vec<FileRef>,
    /// A name is new.
    has_new_name: bool,
    file: FileRef,
    position: u64,
    number: u64,
    /// When the oldest write that is to be safe within a second was made.
    since_us: Option<u64>,
}

impl Shared {
    /// Makes safe what was written before this call and is to be.
    fn sync(&self) {
        let one_at_a_time = self.syncing.lock();
        let unsynced = self.unsynced.lock();
        let has_any = unsynced.since_us.is_some() || unsynced.older.len() >= OLDER_SYNC;
        drop(unsynced);
        // While this waited for its turn, another may have done it.
        if has_any {
            self.sync_all(&one_at_a_time);
        }
    }

    /// Makes safe all that was written before this call, marks included. Nothing is tried again
    /// after a failure.
    fn sync_all(&self, _one_at_a_time: &MutexGuard<'_, ()>) {
        if self.log.is_broken() {
            return;
        }
        let mut unsynced = self.unsynced.lock();
        let (position, number) = (unsynced.position, unsynced.number);
        let older = std::mem::take(&mut unsynced.older);
        let has_new_name = std::mem::take(&mut unsynced.has_new_name);
        unsynced.since_us = None;
        let file = Arc::clone(&unsynced.file);
        drop(unsynced);
        if seeded::has(Bug::AckBeforeSync) {
            self.log.raise_synced(number);
        }
        let started_us = self.clock.mono_us();
        let since = &self.log.room.sync_since;
        since.store(started_us.saturating_add(1), Ordering::Release);
        let mut result = older.iter().try_for_each(|file| file.sync());
        if has_new_name {
            result = result.and_then(|()| self.disk.sync_dir());
        }
        result = result.and_then(|()| file.sync());
        if result.is_err() && seeded::has(Bug::RetryAfterFailedSync) {
            result = file.sync();
        }
        since.store(0, Ordering::Release);
        if let Err(error) = result {
            self.log.fail(&format!("cannot sync the log: {error}"));
            return;
        }
        self.count(self.clock.mono_us().saturating_sub(started_us));
        self.synced_position.store(position, Ordering::Release);
        self.log.raise_synced(number);
    }

    fn count(&self, sync_us: u64) {
        let counts = &self.log.counts;
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        counts.sync_us_last.store(sync_us, Ordering::Relaxed);
        counts.sync_us_max.fetch_max(sync_us, Ordering::Relaxed);
        counts.sync_us_total.fetch_add(sync_us, Ordering::Relaxed);
        if sync_us >= SLOW_SYNC_US {
            tracing::warn!(ms = sync_us / 1_000, "the disk took long to sync the log");
        }
    }

    /// Whether somebody waits for a sync that can be made.
    fn is_sync_asked(&self) -> bool {
        let synced = self.log.synced();
        self.log.needs().synced > synced && self.log.written() > synced
    }

    /// How long until a sync is due, in microseconds; none while nothing asks for one.
    fn sync_due_in(&self, now_us: u64) -> Option<u64> {
        let policy = self.log.policy();
        let unsynced = self.unsynced.lock();
        let is_asked = policy != Policy::Always && self.is_sync_asked();
        if is_asked || unsynced.older.len() >= OLDER_SYNC {
            return Some(0);
        }
        let since = unsynced.since_us.filter(|_| policy != Policy::No)?;
        Some(since.saturating_add(SECOND_US).saturating_sub(now_us))
    }

    /// A turn of the syncer: makes the sync that is due; answers how long it may sleep then, in
    /// microseconds.
    fn sync_if_due(&self) -> u64 {
        let now_us = self.clock.mono_us();
        match self.sync_due_in(now_us) {
            _ if self.log.is_broken() => SECOND_US,
            Some(0) => {
                self.sync();
                self.log.wake_writer();
                let now_us = self.clock.mono_us();
                self.sync_due_in(now_us)
                    .map_or(SECOND_US, |due| due.min(SECOND_US))
            }
            Some(due_us) => due_us.min(SECOND_US),
            None => SECOND_US,
        }
    }

    /// Whether there is anybody but the writer to make a sync: not where turns are made by hand.
    fn has_syncer(&self) -> bool {
        self.syncer.get().is_some()
    }

    fn wake_syncer(&self) {
        if let Some(syncer) = self.syncer.get() {
            syncer.unpark();
        }
    }
}

impl Writer {
    /// A writer that goes on behind `end`, in a new segment. What is before it is made safe first:
    /// after the end of a process, recovery may have read what only the kernel had, and after a
    /// failed sync what the kernel would not write any more.
    ///
    /// # Errors
    ///
    /// Where the disk fails or is full.
    pub fn open(
        log: Arc<Log>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        end: &End,
    ) -> io::Result<Self> {
        segment::cut(&*disk, end.position).map_err(io::Error::other)?;
        segment::save_again(&*disk, end)?;
        let header = Header {
            id: options.id,
            base: end.position,
            number: end.number,
            synced: end.position,
        };
        let file = disk.create(&segment::name(header.base))?;
        begin_segment(&*file, &header, clock.now())?;
        file.sync()?;
        disk.sync_dir()?;
        log.counts.segments.fetch_add(1, Ordering::Relaxed);
        let position = end.position.saturating_add(HEAD_BYTES);
        let marked_us = clock.mono_us();
        let unsynced = Unsynced {
            older: Vec::new(),
            has_new_name: false,
            file: Arc::clone(&file),
            position,
            number: end.number,
            since_us: None,
        };
        let gather = Gather::new(&log);
        let shared = Arc::new(Shared {
            log,
            disk,
            clock,
            unsynced: Mutex::new(unsynced),
            syncing: Mutex::new(()),
            synced_position: AtomicU64::new(position),
            syncer: OnceLock::new(),
        });
        let mut writer = Self {
            shared,
            options,
            gather,
            file,
            base: end.position,
            position,
            batch: Batch::default(),
            reserve: Reserve {
                end: position,
                is_supported: true,
                ahead: RESERVE_BYTES_MIN,
                full_until_us: 0,
            },
            synced_told: position,
            has_rest: false,
            marked_us,
            given_up: None,
            lazy_since_us: None,
            retry_at_us: 0,
        };
        writer.reserve_ahead(0);
        Ok(writer)
    }

    fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Where the next batch goes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// One round: writes what is due, syncs where somebody waits for it. Never sleeps.
    pub fn turn(&mut self) -> Turn {
        if self.log().is_broken() {
            return self.idle(0);
        }
        let now_us = self.shared.clock.mono_us();
        let begins = now_us.saturating_add(1);
        let room = &self.shared.log.room;
        room.turn_since.store(begins, Ordering::Release);
        let turn = self.turn_at(now_us);
        let room = &self.shared.log.room;
        room.turn_since.store(0, Ordering::Release);
        turn
    }

    fn turn_at(&mut self, now_us: u64) -> Turn {
        self.gather.collect(&self.shared.log);
        self.reserve_ahead(now_us);
        let mut is_busy = false;
        if self.is_due(now_us) {
            is_busy = self.write_all(now_us);
        }
        if self.shared.is_sync_asked() {
            if self.log().policy() == Policy::Always || !self.shared.has_syncer() {
                self.shared.sync();
                is_busy = true;
            } else {
                self.shared.wake_syncer();
            }
        }
        is_busy |= self.tell(now_us);
        if is_busy {
            Turn::Busy
        } else {
            self.idle(now_us)
        }
    }

    /// Whether anything that was collected is to be written now.
    fn is_due(&mut self, now_us: u64) -> bool {
        if self.is_stuck() {
            return now_us >= self.retry_at_us;
        }
        if !self.gather.is_ready() {
            return false;
        }
        let (needs, written) = (self.log().needs(), self.log().written());
        let since_us = *self.lazy_since_us.get_or_insert(now_us);
        needs.written.max(needs.synced) > written
            || self.gather.bytes_len() >= LAZY_BYTES_MAX
            || now_us.saturating_sub(since_us) >= LAZY_US_MAX
            || self.log().is_closing()
    }

    /// Whether a batch waits for room.
    fn is_stuck(&self) -> bool {
        !self.batch.bytes.is_empty()
    }

    fn idle(&self, now_us: u64) -> Turn {
        let at_us = match self.lazy_since_us {
            _ if self.is_stuck() => self.retry_at_us,
            Some(since) => since.saturating_add(LAZY_US_MAX),
            None if self.log().keeps_time() => self.time_due_us(),
            None => u64::MAX,
        };
        let pause_us = at_us.saturating_sub(now_us).clamp(1, SECOND_US);
        Turn::Idle { pause_us }
    }

    /// Writes batches until nothing is ready; answers whether it wrote one.
    fn write_all(&mut self, now_us: u64) -> bool {
        self.lazy_since_us = None;
        let mut has_written = false;
        while self.is_stuck() || self.gather.is_ready() {
            if !self.is_stuck() {
                self.rotate_if_due(now_us);
                self.fill_batch();
            }
            if self.log().is_broken() || !self.write_batch(now_us) {
                break;
            }
            has_written = true;
            self.reserve_ahead(now_us);
        }
        has_written
    }

    /// Makes the next batch: a mark, and what is ready.
    fn fill_batch(&mut self) {
        let mark = self.mark();
        let batch = &mut self.batch;
        batch.synced = mark.synced;
        frame::push_mark(&mut batch.bytes, self.gather.number(), Kind::Mark, &mark);
        (batch.frames, batch.frames_bytes) = self.gather.fill(&mut batch.bytes, BATCH_BYTES_MAX);
    }

    fn mark(&self) -> Mark {
        let now = self.shared.clock.now();
        Mark {
            secret: self.options.id.secret,
            position: self.position,
            synced: self.shared.synced_position.load(Ordering::Acquire),
            engine_ms: now.engine_ms,
            wall_ms: now.wall_ms,
        }
    }

    /// Writes the batch; answers whether it is written. Where there is no room it is kept.
    fn write_batch(&mut self, now_us: u64) -> bool {
        let offset = self.position.saturating_sub(self.base);
        if let Err(error) = disk::write_all_at(&*self.file, offset, &self.batch.bytes) {
            self.meet(&error, now_us);
            return false;
        }
        let bytes_len = self.batch.bytes.len() as u64;
        self.position = self.position.saturating_add(bytes_len);
        let number = self.gather.number();
        let mut unsynced = self.shared.unsynced.lock();
        unsynced.position = self.position;
        unsynced.number = number;
        if self.batch.frames > 0 {
            unsynced.since_us.get_or_insert(now_us);
        }
        drop(unsynced);
        // Not where the sync is by now: what its mark says is what a recovery will know.
        self.has_rest = false;
        self.synced_told = self.batch.synced;
        self.marked_us = now_us;
        let counts = &self.shared.log.counts;
        counts
            .frames
            .fetch_add(self.batch.frames, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes_len, Ordering::Relaxed);
        counts.writes.fetch_add(1, Ordering::Relaxed);
        self.tell_reserve();
        let log = &self.shared.log;
        log.room.stuck_since.store(0, Ordering::Release);
        log.raise_written(number, self.batch.frames_bytes);
        if self.batch.bytes.capacity() > BATCH_BYTES_MAX * 2 {
            self.batch.bytes = Vec::new();
        }
        self.batch.bytes.clear();
        true
    }

    /// A write failed: waits for room, or ends everything.
    fn meet(&mut self, error: &io::Error, now_us: u64) {
        let offset = self.position.saturating_sub(self.base);
        if !disk::is_full(error) {
            self.log().fail(&format!("cannot write the log: {error}"));
            return;
        }
        // Part of the batch may be there; the next try begins where it began. On a disk that has
        // no room even for the cut it is a torn tail until then.
        if let Err(error) = self.cut_back(offset)
            && !disk::is_full(&error)
        {
            self.log()
                .fail(&format!("cannot cut the log back: {error}"));
            return;
        }
        self.retry_at_us = now_us.saturating_add(FULL_RETRY_US);
        if self.batch.frames == 0 {
            // A mark alone, which nobody waits for.
            return;
        }
        let since = now_us.saturating_add(1);
        let stuck_since = &self.log().room.stuck_since;
        let _first = stuck_since.compare_exchange(0, since, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Cuts the open segment back to what was written whole, which gives up its reserve.
    fn cut_back(&mut self, offset: u64) -> io::Result<()> {
        self.reserve.end = self.position;
        self.tell_reserve();
        self.has_rest = true;
        self.file.truncate(offset)?;
        self.has_rest = false;
        Ok(())
    }

    /// Notes in the log how far the last sync reached, and the time, where nothing else will soon.
    fn tell(&mut self, now_us: u64) -> bool {
        let is_quiet = self.log().numbered() == self.log().written() && !self.is_stuck();
        if !is_quiet || self.log().is_broken() || now_us < self.retry_at_us {
            return false;
        }
        let synced = self.shared.synced_position.load(Ordering::Acquire);
        if synced > self.synced_told {
            return self.write_mark(Kind::Mark, now_us);
        }
        let is_time = self.log().keeps_time() && now_us >= self.time_due_us();
        let is_told = is_time && self.write_mark(Kind::Mark, now_us);
        if is_told {
            self.shared.unsynced.lock().since_us.get_or_insert(now_us);
        }
        is_told
    }

    /// When engine time is noted next while nothing happens.
    fn time_due_us(&self) -> u64 {
        let due_us = self.marked_us.saturating_add(SECOND_US);
        due_us.max(self.retry_at_us)
    }

    /// Writes a mark alone; answers whether it did. One that finds no room is given up.
    fn write_mark(&mut self, kind: Kind, now_us: u64) -> bool {
        let mark = self.mark();
        frame::push_mark(&mut self.batch.bytes, self.gather.number(), kind, &mark);
        (self.batch.frames, self.batch.frames_bytes) = (0, 0);
        self.batch.synced = mark.synced;
        let is_written = self.write_batch(now_us);
        self.batch.bytes.clear();
        is_written
    }

    /// Goes on in a new segment if the open one is full. On a full disk it goes on in the old one.
    fn rotate_if_due(&mut self, now_us: u64) {
        let offset = self.position.saturating_sub(self.base);
        if offset < self.options.segment_bytes_max || now_us < self.retry_at_us {
            return;
        }
        if self.shared.unsynced.lock().older.len() >= OLDER_MAX {
            self.shared.wake_syncer();
            return;
        }
        if let Err(error) = self.rotate(offset) {
            if disk::is_full(&error) {
                self.retry_at_us = now_us.saturating_add(FULL_RETRY_US);
            } else {
                self.log()
                    .fail(&format!("cannot begin a segment of the log: {error}"));
            }
        }
    }

    fn rotate(&mut self, offset: u64) -> io::Result<()> {
        self.remove_given_up()?;
        if self.has_rest {
            // Nothing but zeros may stand between two segments.
            self.cut_back(offset)?;
        }
        let header = Header {
            id: self.options.id,
            base: self.position,
            number: self.gather.number(),
            synced: self.shared.synced_position.load(Ordering::Acquire),
        };
        let name = segment::name(header.base);
        let file = self.shared.disk.create(&name)?;
        let reserved_end = match self.reserve_and_begin(&file, &header) {
            Ok(end) => end,
            Err(error) => {
                self.given_up = Some(name);
                // If not now, then before the next try.
                let _removed = self.remove_given_up();
                return Err(error);
            }
        };
        // From here on there is no way back: both segments have their place in the log.
        let older = std::mem::replace(&mut self.file, Arc::clone(&file));
        self.base = header.base;
        self.position = header.base.saturating_add(HEAD_BYTES);
        self.reserve.end = reserved_end.max(self.position);
        // What was reserved behind the end is given back; on a full disk it may be kept.
        let cut = older.truncate(offset);
        let mut unsynced = self.shared.unsynced.lock();
        unsynced.older.push(older);
        unsynced.has_new_name = true;
        unsynced.file = file;
        let is_many = unsynced.older.len() >= OLDER_SYNC;
        drop(unsynced);
        if is_many {
            self.shared.wake_syncer();
        }
        self.log().counts.segments.fetch_add(1, Ordering::Relaxed);
        self.reserve_ahead(self.shared.clock.mono_us());
        match cut {
            Err(error) if !disk::is_full(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Reserves in a new segment what was admitted on the strength of the old one, and then begins
    /// it; answers the position up to which there is room.
    fn reserve_and_begin(&self, file: &FileRef, header: &Header) -> io::Result<u64> {
        let log = self.log();
        let under_way = log.under_way_bytes().saturating_add(log.margin());
        let room = HEAD_BYTES.saturating_add(under_way);
        if self.reserve.is_supported {
            self.reserve_in(&**file, 0, room)?;
        }
        begin_segment(&**file, header, self.shared.clock.now())?;
        Ok(header.base.saturating_add(room))
    }

    /// Removes what a rotation in vain left: its name may be wanted again, and a file that is no
    /// segment is of no use.
    fn remove_given_up(&mut self) -> io::Result<()> {
        if let Some(name) = &self.given_up {
            disk::remove_if_there(&*self.shared.disk, name)?;
            self.given_up = None;
        }
        Ok(())
    }

    /// Sees to it that there is room for what is queued and asked for, and a step beyond.
    fn reserve_ahead(&mut self, now_us: u64) {
        if !self.reserve.is_supported || now_us < self.reserve.full_until_us {
            return;
        }
        let log = &self.shared.log;
        log.room.is_full.store(false, Ordering::Release);
        let asked = log.room.wanted.swap(0, Ordering::AcqRel);
        let needed = asked.max(log.under_way_bytes().saturating_add(log.margin()));
        let have = self.reserve.end.saturating_sub(self.position);
        if have >= needed.saturating_add(self.reserve.ahead / 2) {
            return;
        }
        // Steps follow the traffic: what is under way now, a few times over.
        let ahead = needed
            .saturating_mul(4)
            .clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        self.reserve.ahead = ahead.min(self.options.segment_bytes_max);
        let step = needed
            .saturating_add(self.reserve.ahead)
            .saturating_sub(have);
        if step == 0 {
            // What was reserved for heavier traffic is a step ahead of this one.
            return;
        }
        match self.reserve_step(step) {
            Ok(()) => {}
            Err(error) if disk::is_full(&error) => {
                self.reserve.full_until_us = now_us.saturating_add(FULL_RETRY_US);
                self.log().room.is_full.store(true, Ordering::Release);
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.reserve.is_supported = false;
            }
            Err(error) => {
                self.log()
                    .fail(&format!("cannot reserve room for the log: {error}"));
            }
        }
        self.tell_reserve();
        self.log().note_room_look();
    }

    /// Reserves so many bytes more, or on a disk that has not got them some for small writes; that
    /// is an error all the same.
    fn reserve_step(&mut self, step: u64) -> io::Result<()> {
        let result = self.reserve_exactly(step);
        let mut smaller = step.min(RESERVE_BYTES_MIN) / 2;
        while result.as_ref().is_err_and(disk::is_full)
            && smaller >= RESERVE_BYTES_LEAST
            && self.reserve.end.saturating_sub(self.position) < smaller
        {
            if self.reserve_exactly(smaller).is_ok() {
                break;
            }
            smaller /= 2;
        }
        result
    }

    fn reserve_exactly(&mut self, step: u64) -> io::Result<()> {
        // Writes may have gone past what was reserved, and are not to be written over.
        let from = self.reserve.end.max(self.position);
        self.reserve_in(&*self.file, from.saturating_sub(self.base), step)?;
        self.reserve.end = from.saturating_add(step);
        Ok(())
    }

    fn reserve_in(&self, file: &dyn DiskFile, offset: u64, step: u64) -> io::Result<()> {
        file.reserve(offset, step)?;
        match self.log().policy() {
            Policy::Always => write_zeros(file, offset, step),
            Policy::EverySecond | Policy::No => Ok(()),
        }
    }

    fn tell_reserve(&self) {
        let have = match self.reserve.is_supported {
            true => self.reserve.end.saturating_sub(self.position),
            false => u64::MAX,
        };
        self.shared.log.room.reserve.store(have, Ordering::Release);
    }

    /// Writes and syncs everything, and a closing record; answers where the log ends. No worker
    /// may commit any more.
    ///
    /// # Errors
    ///
    /// Where the disk fails or is full: the log then ends as after a crash.
    pub fn close(mut self) -> io::Result<u64> {
        if self.log().is_broken() {
            return Err(io::Error::other("the log is broken"));
        }
        let now_us = self.shared.clock.mono_us();
        self.retry_at_us = 0;
        self.gather.collect(&self.shared.log);
        self.write_all(now_us);
        let shared = Arc::clone(&self.shared);
        let one_at_a_time = shared.syncing.lock();
        shared.sync_all(&one_at_a_time);
        if self.log().is_broken() || self.log().numbered() != self.log().synced() {
            return Err(io::Error::other("the log could not be written whole"));
        }
        if !self.write_mark(Kind::Close, now_us) {
            return Err(io::Error::other("the closing record could not be written"));
        }
        self.file
            .truncate(self.position.saturating_sub(self.base))?;
        shared.sync_all(&one_at_a_time);
        if self.log().is_broken() {
            return Err(io::Error::other("the closing record could not be synced"));
        }
        Ok(self.position)
    }
}

/// Writes over what was reserved. A sync then only overwrites: it need not wait for the file
/// system's own journal to note that the room is in use, nor a new length.
fn write_zeros(file: &dyn DiskFile, mut offset: u64, step: u64) -> io::Result<()> {
    let end = offset.saturating_add(step);
    while offset < end {
        let part = end.saturating_sub(offset).min(ZEROS.len() as u64);
        let zeros = usize::try_from(part).ok().and_then(|len| ZEROS.get(..len));
        disk::write_all_at(file, offset, zeros.unwrap_or(&ZEROS))?;
        offset = offset.saturating_add(part);
    }
    Ok(())
}

/// Writes what a segment begins with: its header, and a mark. The header comes last, so that there
/// is none where this fails for want of room. Nothing of it is safe yet.
fn begin_segment(file: &dyn DiskFile, header: &Header, now: Now) -> io::Result<()> {
    let position = header.base.saturating_add(segment::HEADER_BYTES as u64);
    let mark = Mark {
        secret: header.id.secret,
        position,
        synced: header.synced,
        engine_ms: now.engine_ms,
        wall_ms: now.wall_ms,
    };
    let mut bytes = Vec::with_capacity(frame::MARK_FRAME_BYTES);
    frame::push_mark(&mut bytes, header.number, Kind::Mark, &mark);
    disk::write_all_at(file, segment::HEADER_BYTES as u64, &bytes)?;
    disk::write_all_at(file, 0, &header.encode())
}

/// The threads that write and sync.
#[derive(Debug)]
pub struct Threads {
    log: Arc<Log>,
    writer: JoinHandle<io::Result<u64>>,
    syncer: JoinHandle<()>,
}

/// Ends the process where the journal panics: half of its state would be worse than recovery.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Starts the two threads over `writer`.
///
/// # Errors
///
/// Where the system gives no thread.
pub fn spawn(writer: Writer) -> io::Result<Threads> {
    let shared = Arc::clone(&writer.shared);
    let log = Arc::clone(&shared.log);
    let of_syncer = Arc::clone(&shared);
    let syncer = std::thread::Builder::new()
        .name("journal-sync".to_owned())
        .spawn(move || {
            let _guard = AbortOnPanic;
            while !of_syncer.log.is_closing() {
                let pause_us = of_syncer.sync_if_due();
                std::thread::park_timeout(Duration::from_micros(pause_us));
            }
        })?;
    shared.syncer.get_or_init(|| syncer.thread().clone());
    let writer = std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let _guard = AbortOnPanic;
            run(writer)
        })?;
    Ok(Threads {
        log,
        writer,
        syncer,
    })
}

/// Turns until the log is to be closed. Before it sleeps it says so and looks once more.
fn run(mut writer: Writer) -> io::Result<u64> {
    let log = Arc::clone(&writer.shared.log);
    let thread = std::thread::current();
    log.watch_writer(move || thread.unpark());
    let mut is_dozing = false;
    while !log.is_closing() {
        match writer.turn() {
            Turn::Busy => is_dozing = false,
            Turn::Idle { .. } if !is_dozing => {
                log.doze();
                is_dozing = true;
            }
            Turn::Idle { pause_us } => {
                std::thread::park_timeout(Duration::from_micros(pause_us));
                is_dozing = false;
            }
        }
    }
    writer.close()
}

impl Threads {
    /// Writes and syncs everything, closes the log and ends the threads; answers where the log
    /// ends. No worker may commit any more.
    ///
    /// # Errors
    ///
    /// As [`Writer::close`].
    pub fn close(self) -> io::Result<u64> {
        self.log.close();
        self.syncer.thread().unpark();
        let ended = "a thread of the journal that panics ends the process";
        let end = self.writer.join().expect(ended);
        self.syncer.join().expect(ended);
        end
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
