//! What a server keeps on disk: how far it is, and what is due.

use crate::clock::Now;
use crate::command::host::{
    Durability, DurabilityFacts, JournalFacts, LoadFacts, SnapshotFacts, SnapshotRefused,
};
use crate::config::{AppendFsync, Settings};
use crate::journal::keeper::{Keeper, Report};
use crate::journal::recover::{Found, Progress};
use crate::journal::{Log, Policy};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A snapshot that failed is not tried again by itself before this many seconds have passed; twice
/// as many with each one that fails behind it, ...
const RETRY_S: u64 = 5;
/// ... up to this: one that does not fit is written up to where the disk is full each time.
const RETRY_S_MAX: u64 = 300;

/// How long a snapshot rests after so many failures in a row, in seconds.
fn retry_pause_s(failed_in_a_row: u64) -> u64 {
    let doublings = failed_in_a_row.saturating_sub(1).min(16);
    (RETRY_S << doublings).min(RETRY_S_MAX)
}

/// The journal and whoever takes snapshots, once they run.
#[derive(Debug)]
pub(crate) struct Kept {
    log: Arc<Log>,
    keeper: Arc<Keeper>,
    found: Found,
}

/// All that is known of the disk. Nothing, in a server that has none.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    kept: OnceLock<Kept>,
    is_loading: AtomicBool,
    loaded_bytes: AtomicU64,
    bytes_to_load: AtomicU64,
    loading_since_s: AtomicU64,
    failure: OnceLock<String>,
    /// Changes made before the last snapshot began.
    changes_begun: AtomicU64,
    /// The same of the one before, which counts if that one is not written.
    changes_saved: AtomicU64,
}

/// When replies leave under a setting.
pub(crate) fn policy(settings: &Settings) -> Policy {
    match settings.appendfsync {
        AppendFsync::Always => Policy::Always,
        AppendFsync::Everysec => Policy::EverySecond,
        AppendFsync::No => Policy::No,
    }
}

impl Disk {
    /// The journal, once it runs.
    #[inline]
    pub(crate) fn log(&self) -> Option<&Log> {
        self.kept.get().map(|kept| &*kept.log)
    }

    /// Nothing is answered but what says so, until [`Disk::begin`].
    pub(crate) fn begin_loading(&self, now_s: u64) {
        self.loading_since_s.store(now_s, Ordering::Relaxed);
        self.is_loading.store(true, Ordering::Release);
    }

    pub(crate) fn note_loading(&self, progress: Progress) {
        self.loaded_bytes
            .store(progress.bytes_done, Ordering::Relaxed);
        self.bytes_to_load
            .store(progress.bytes_total, Ordering::Relaxed);
    }

    /// From now on everything is kept, under these settings: they may have changed since the
    /// journal was made.
    pub(crate) fn begin(
        &self,
        log: Arc<Log>,
        keeper: Arc<Keeper>,
        found: Found,
        settings: &Settings,
    ) {
        let _ = self.kept.set(Kept { log, keeper, found });
        self.obey(settings);
        self.is_loading.store(false, Ordering::Release);
    }

    /// Puts other settings in force. Whoever takes snapshots looks at them by itself.
    pub(crate) fn obey(&self, settings: &Settings) {
        if let Some(kept) = self.kept.get() {
            kept.log.set_policy(policy(settings));
            kept.log
                .set_backlog_bytes_max(settings.journal_backlog_bytes);
            kept.keeper.wake();
        }
    }

    /// Notes why nothing is acknowledged any more; the first reason stays.
    pub(crate) fn fail(&self, why: &str) {
        let _ = self.failure.set(why.to_owned());
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Whether a snapshot is due now: enough has changed for long enough, the log has grown a lot,
    /// or it is of no use without one.
    pub(crate) fn is_snapshot_due(
        &self,
        report: &Report,
        settings: &Settings,
        changes: u64,
        now_s: u64,
    ) -> bool {
        let Some(kept) = self.kept.get() else {
            return false;
        };
        if report.failed_in_a_row > 0
            && now_s < report.failed_s + retry_pause_s(report.failed_in_a_row)
        {
            return false;
        }
        let unsaved = changes.saturating_sub(self.changes_saved(report));
        let waited_s = now_s.saturating_sub(report.saved_s);
        let mut points = settings.save.iter();
        let is_point_met =
            points.any(|point| unsaved >= point.changes.max(1) && waited_s >= point.seconds);
        let grown = kept.log_bytes_since(report);
        let base = report.bytes.max(kept.found_bytes());
        let percentage = u64::from(settings.auto_rewrite_percentage);
        let is_grown = settings.appendonly
            && percentage > 0
            && grown > settings.auto_rewrite_min_bytes
            && grown > base.saturating_mul(percentage) / 100;
        let is_due = is_point_met || is_grown || report.has_gap;
        if is_due {
            self.note_begin(report, changes);
        }
        is_due
    }

    /// Changes that the last snapshot that was written has.
    fn changes_saved(&self, report: &Report) -> u64 {
        let is_last_written = report.is_written && !report.is_under_way();
        let changes = if is_last_written {
            &self.changes_begun
        } else {
            &self.changes_saved
        };
        changes.load(Ordering::Relaxed)
    }

    /// Notes that a snapshot of so many changes begins after this report.
    fn note_begin(&self, report: &Report, changes: u64) {
        let saved = self.changes_saved(report);
        self.changes_saved.store(saved, Ordering::Relaxed);
        self.changes_begun.store(changes, Ordering::Relaxed);
    }

    /// Whether there is anything on disk, or about to be.
    pub(crate) fn is_there(&self) -> bool {
        self.is_loading.load(Ordering::Acquire) || self.kept.get().is_some()
    }

    fn load_facts(&self, now: Now) -> LoadFacts {
        let started_s = self.loading_since_s.load(Ordering::Relaxed);
        let torn = self
            .kept
            .get()
            .and_then(|kept| kept.found.end.torn.as_ref());
        LoadFacts {
            is_loading: self.is_loading.load(Ordering::Acquire),
            started_s,
            took_ms: now.wall_ms.saturating_sub(started_s * 1_000),
            bytes_total: self.bytes_to_load.load(Ordering::Relaxed),
            bytes_read: self.loaded_bytes.load(Ordering::Relaxed),
            torn_tail_bytes: torn.map_or(0, |torn| torn.bytes_len),
            ..LoadFacts::default()
        }
    }
}

impl Kept {
    /// Bytes that the log has grown by since the last snapshot began.
    fn log_bytes_since(&self, report: &Report) -> u64 {
        let written = self.log.figures().bytes;
        match report.written {
            0 => written.saturating_add(self.found.log_bytes),
            _ => written.saturating_sub(report.log_bytes),
        }
    }

    /// Bytes of the snapshot that was there at the start.
    fn found_bytes(&self) -> u64 {
        let loaded = self.found.snapshot.as_ref();
        loaded.map_or(0, |loaded| loaded.bytes_len)
    }
}

impl Kept {
    fn journal_facts(&self, report: &Report) -> JournalFacts {
        let figures = self.log.figures();
        let reserve = figures.reserve_bytes;
        JournalFacts {
            numbered: self.log.numbered(),
            written: self.log.written(),
            synced: self.log.synced(),
            backlog_bytes: figures.queued_bytes,
            backlog_frames: figures.queued,
            bytes: self.log_bytes_since(report),
            segments: figures.segments,
            reserve_bytes: (reserve != u64::MAX).then_some(reserve),
            writes: figures.writes,
            frames: figures.frames,
            syncs: figures.syncs,
            sync_last_us: figures.sync_us_last,
            sync_max_us: figures.sync_us_max,
            sync_total_us: figures.sync_us_total,
            history: self.keeper.identity().history,
            is_failing: self.log.is_broken(),
        }
    }

    fn snapshot_facts(&self, report: &Report, changes_since: u64, now: Now) -> SnapshotFacts {
        let running_us = now.mono_us.saturating_sub(report.begun_us);
        let progress = report.progress.as_ref();
        SnapshotFacts {
            changes_since,
            last_save_s: report.saved_s,
            was_written: report.is_written,
            last_took_s: report.took_us.map(|us| us / 1_000_000),
            running_s: report.is_under_way().then_some(running_us / 1_000_000),
            shards_written: progress.map_or(0, |progress| progress.shards_done as u64),
            shards_total: progress.map_or(0, |progress| progress.shards as u64),
            count: report.written,
            failed_in_a_row: report.failed_in_a_row,
            bytes: match report.written {
                0 => self.found_bytes(),
                _ => report.bytes,
            },
        }
    }
}

impl Durability for Disk {
    fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Acquire)
    }

    fn has(&self, frame: u64) -> bool {
        let kept = self.kept.get();
        kept.is_some_and(|kept| !kept.keeper.has_gap() && kept.log.synced() >= frame)
    }

    fn begin_snapshot(&self, changes: u64) -> Result<u64, SnapshotRefused> {
        let kept = self.kept.get().ok_or(SnapshotRefused::Impossible)?;
        if kept.log.is_broken() {
            return Err(SnapshotRefused::Impossible);
        }
        let report = kept.keeper.report();
        let number = kept.keeper.ask().ok_or(SnapshotRefused::InProgress)?;
        self.note_begin(&report, changes);
        Ok(number)
    }

    fn snapshot_outcome(&self, number: u64) -> Option<bool> {
        let report = self.kept.get()?.keeper.report();
        (report.ended >= number).then_some(report.is_written)
    }

    fn last_save_s(&self) -> u64 {
        let kept = self.kept.get();
        kept.map_or_else(
            || self.loading_since_s.load(Ordering::Relaxed),
            |kept| kept.keeper.report().saved_s,
        )
    }

    fn facts(&self, changes: u64, now: Now) -> DurabilityFacts {
        let load = self.load_facts(now);
        let Some(kept) = self.kept.get() else {
            return DurabilityFacts {
                load,
                ..DurabilityFacts::default()
            };
        };
        let report = kept.keeper.report();
        let unsaved = changes.saturating_sub(self.changes_saved(&report));
        DurabilityFacts {
            load,
            snapshot: kept.snapshot_facts(&report, unsaved, now),
            journal: kept.journal_facts(&report),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::journal::disk::sim::SimDisk;
    use crate::journal::identity::{Identity, Random, Shape};
    use crate::journal::log;

    /// A disk whose journal has written nothing.
    fn disk_with_journal() -> Disk {
        let shape = Shape {
            shards: 1,
            databases: 1,
        };
        let options = log::Options {
            workers: 1,
            number: 0,
            policy: Policy::EverySecond,
            backlog_bytes_max: 0,
        };
        let log = Arc::new(Log::new(options, |_| {}));
        let keeper = Keeper::new(
            Arc::new(SimDisk::new()),
            Identity::new(Random::FIXED, shape),
            Arc::clone(&log),
            Arc::new(ManualClock::default()),
        );
        let disk = Disk::default();
        disk.begin(
            log,
            Arc::new(keeper),
            Found::default(),
            &Settings::default(),
        );
        disk
    }

    /// Without a snapshot the journal has what nothing builds on: one is due whatever the rules
    /// say, and after a failure again, but not at once.
    #[test]
    fn a_gap_makes_a_snapshot_due_and_counts_its_changes() {
        let disk = disk_with_journal();
        let settings = Settings::default();
        let first = Report {
            is_written: true,
            saved_s: 100,
            ..Report::default()
        };
        assert!(!disk.is_snapshot_due(&first, &settings, 7, 100));
        let gap = Report {
            has_gap: true,
            ..first
        };
        assert!(disk.is_snapshot_due(&gap, &settings, 7, 100));
        let written = Report {
            asked: 1,
            ended: 1,
            ..first
        };
        assert_eq!(
            disk.changes_saved(&written),
            7,
            "INFO would tell of unsaved ones"
        );
        let failed = Report {
            is_written: false,
            failed_in_a_row: 1,
            failed_s: 100,
            ..gap
        };
        for (times, pause_s) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (6, 160),
            (7, 300),
            (u64::MAX, 300),
        ] {
            let failed = Report {
                failed_in_a_row: times,
                ..failed
            };
            for (now_s, is_due) in [(100, false), (99 + pause_s, false), (100 + pause_s, true)] {
                let due = disk.is_snapshot_due(&failed, &settings, 7, now_s);
                assert_eq!(due, is_due, "at {now_s} after {times} failures");
            }
        }
    }

    #[test]
    fn a_snapshot_that_fails_saves_no_change() {
        let disk = Disk::default();
        let ended = |ended, is_written| Report {
            asked: 1,
            ended,
            is_written,
            ..Report::default()
        };
        let none = Report {
            is_written: true,
            ..Report::default()
        };
        assert_eq!(disk.changes_saved(&none), 0);
        disk.note_begin(&none, 5);
        assert_eq!(disk.changes_saved(&ended(0, true)), 0, "under way");
        assert_eq!(disk.changes_saved(&ended(1, true)), 5);
        disk.note_begin(&ended(1, true), 9);
        assert_eq!(disk.changes_saved(&ended(0, true)), 5, "under way");
        assert_eq!(disk.changes_saved(&ended(1, false)), 5);
        disk.note_begin(&ended(1, false), 12);
        assert_eq!(disk.changes_saved(&ended(0, false)), 5, "under way");
        assert_eq!(disk.changes_saved(&ended(1, true)), 12);
    }
}
