//! What the server in this thread keeps: nothing, but it counts.

use crate::clock::Now;
use crate::command::host::{
    Durability, DurabilityFacts, JournalFacts, LoadFacts, SnapshotFacts, SnapshotRefused,
};
use crate::sync::Mutex;

/// A disk that is told how it does. Left alone, it is as fast as can be: every frame is on it at
/// once, and a snapshot is written when the input that asked for it has been executed.
pub(super) struct Disk(Mutex<State>);

#[derive(Default)]
struct State {
    mood: DiskMood,
    /// The last frame that was on it when it was told to be slow.
    synced: u64,
    begun: u64,
    written: u64,
    /// The last snapshot is being written.
    is_writing: bool,
    was_written: bool,
    last_save_s: u64,
    /// Changes before the last snapshot began, and before the last that was written.
    changes_begun: u64,
    changes_saved: u64,
}

/// How the disk of a server in this thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskMood {
    /// At once.
    #[default]
    Fast,
    /// Nothing becomes durable, and no snapshot ends.
    Slow,
    /// No snapshot can be written; those that were begun have failed.
    Broken,
    /// What was kept is still being read.
    Loading,
    /// The journal was switched on, and no snapshot has been written since.
    Gap,
}

impl Disk {
    /// A fast one, in a server that began at this second since 1970.
    pub(super) fn new(started_s: u64) -> Self {
        Self(Mutex::new(State {
            was_written: true,
            last_save_s: started_s,
            ..State::default()
        }))
    }

    /// Tells it how to do from now on, when the last frame made is this.
    pub(super) fn set_mood(&self, mood: DiskMood, frame: u64) {
        let mut state = self.0.lock();
        (state.mood, state.synced) = (mood, frame);
    }

    /// Ends the snapshot that is being written, unless the disk is slow.
    pub(super) fn settle(&self, now_s: u64) {
        let mut state = self.0.lock();
        if !state.is_writing || state.mood == DiskMood::Slow {
            return;
        }
        state.is_writing = false;
        state.was_written = state.mood != DiskMood::Broken;
        if state.was_written {
            state.last_save_s = now_s;
            state.written += 1;
            state.changes_saved = state.changes_begun;
        }
    }
}

impl Durability for Disk {
    fn is_loading(&self) -> bool {
        self.0.lock().mood == DiskMood::Loading
    }

    fn has(&self, frame: u64) -> bool {
        let state = self.0.lock();
        match state.mood {
            DiskMood::Fast => true,
            DiskMood::Gap => false,
            _ => state.synced >= frame,
        }
    }

    fn begin_snapshot(&self, changes: u64) -> Result<u64, SnapshotRefused> {
        let mut state = self.0.lock();
        if state.is_writing {
            return Err(SnapshotRefused::InProgress);
        }
        if state.mood == DiskMood::Broken {
            return Err(SnapshotRefused::Impossible);
        }
        state.begun += 1;
        state.is_writing = true;
        state.changes_begun = changes;
        Ok(state.begun)
    }

    fn snapshot_outcome(&self, number: u64) -> Option<bool> {
        let state = self.0.lock();
        let is_last = number == state.begun;
        (!is_last || !state.is_writing).then_some(state.was_written)
    }

    fn last_save_s(&self) -> u64 {
        self.0.lock().last_save_s
    }

    fn facts(&self, changes: u64, _: Now) -> DurabilityFacts {
        let state = self.0.lock();
        DurabilityFacts {
            load: LoadFacts {
                is_loading: state.mood == DiskMood::Loading,
                ..LoadFacts::default()
            },
            snapshot: SnapshotFacts {
                changes_since: changes - state.changes_saved,
                last_save_s: state.last_save_s,
                was_written: state.was_written,
                running_s: state.is_writing.then_some(0),
                count: state.written,
                ..SnapshotFacts::default()
            },
            journal: JournalFacts {
                is_failing: state.mood == DiskMood::Broken,
                ..JournalFacts::default()
            },
        }
    }
}
