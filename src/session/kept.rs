//! What a server keeps on disk: how far it is, and what is due.

use crate::command::ReplyError;
use crate::command::error;
use crate::command::host::Durability;
use crate::config::{AppendFsync, Settings};
use crate::journal::keeper::{Keeper, Report};
use crate::journal::recover::{Found, Progress};
use crate::journal::{Log, Policy};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A snapshot that failed is not tried again by itself before this many seconds have passed.
const RETRY_S: u64 = 5;

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

    /// From now on everything is kept.
    pub(crate) fn begin(&self, log: Arc<Log>, keeper: Arc<Keeper>, found: Found) {
        let _ = self.kept.set(Kept { log, keeper, found });
        self.is_loading.store(false, Ordering::Release);
    }

    /// Notes why nothing is acknowledged any more; the first reason stays.
    pub(crate) fn fail(&self, why: &str) {
        let _ = self.failure.set(why.to_owned());
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Whether the settings want a snapshot now: enough has changed for long enough, or the log has
    /// grown so much.
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
        if report.failed_s > report.saved_s && now_s < report.failed_s + RETRY_S {
            return false;
        }
        let unsaved = changes.saturating_sub(self.changes_saved.load(Ordering::Relaxed));
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
        let is_due = is_point_met || is_grown;
        if is_due {
            self.changes_saved.store(changes, Ordering::Relaxed);
        }
        is_due
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

impl Durability for Disk {
    fn synced(&self) -> u64 {
        self.log().map_or(0, Log::synced)
    }

    fn begin_snapshot(&self) -> Result<u64, ReplyError> {
        let keeper = self.kept.get().map(|kept| &kept.keeper);
        keeper
            .and_then(|keeper| keeper.ask())
            .ok_or(error::SNAPSHOT_UNDER_WAY)
    }

    fn snapshot_outcome(&self, number: u64) -> Option<bool> {
        let report = self.kept.get()?.keeper.report();
        (report.ended >= number).then_some(report.is_written)
    }
}
