//! What commands need of the server around them, as small traits that it implements.

use super::conn::Names;
use super::error::ReplyError;
use super::spec::Spec;
use crate::clock::Now;
use crate::engine::{Census, Tally};
use crate::pubsub::{Hub, Mailbox};
use linchpin_protocol::Version;
use std::sync::Arc;

/// The server, as commands see it.
pub trait Host: Send + Sync {
    /// The settings in force. They do not change while a command runs.
    fn settings(&self) -> Arc<crate::config::Settings>;

    /// Changes settings, all or none, in the order given.
    ///
    /// # Errors
    /// What `CONFIG SET` answers.
    fn change_settings(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), ReplyError>;

    /// Sets the statistics back to zero.
    fn reset_stats(&self);

    /// The text of `INFO` with these sections, lower case; none: the default ones. `tally` is what
    /// the calling batch has counted so far and `census` the databases as the caller sees them.
    fn info(&self, sections: &[String], census: &[Census], tally: &Tally) -> String;

    /// Whether a step may add so many bytes to the journal now, as one frame.
    ///
    /// # Errors
    /// What the client is told where it may not.
    fn admit_frame(&self, bytes: usize) -> Result<(), ReplyError>;

    /// Notes whether memory was within its bound after room was asked for.
    fn note_room(&self, is_there: bool);

    /// What is held of memory; `census` is the databases as the caller sees them.
    fn memory(&self, census: &[Census]) -> MemoryFacts;

    /// All connections.
    fn clients(&self) -> &dyn Clients;

    /// Who listens to what.
    fn hub(&self) -> &Hub;

    /// Begins to stop the server: no new connections, what is in flight is answered.
    fn shut_down(&self);

    /// Changes since the server began, but for those of the calling batch.
    fn changes(&self) -> u64;

    /// What is kept on disk, if anything ever is.
    fn durability(&self) -> Option<&dyn Durability>;

    /// Whether the disk has this frame for good, and what changed before it, recorded or not.
    fn is_durable(&self, frame: u64) -> bool;

    /// A random number, of good quality.
    fn random(&self) -> u64;

    /// Random numbers of the same quality, many of them cheaper than one by one.
    fn fill_random(&self, numbers: &mut [u64]);
}

/// Where the memory is. Bytes are those the allocator sets aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    /// All that is held.
    pub used_bytes: u64,
    /// What `maxmemory` bounds: that, but for a few free pages.
    pub bounded_bytes: u64,
    /// The most that ever was.
    pub peak_bytes: u64,
    /// What the server held before its first client.
    pub startup_bytes: u64,
    /// Connections.
    pub clients_bytes: u64,
    /// Keys and values, without the tables they are found by.
    pub dataset_bytes: u64,
    /// Keys of all databases.
    pub keys: u64,
    /// `maxmemory`; 0 for none.
    pub bytes_max: u64,
    /// What the process has from the system.
    pub resident_bytes: u64,
}

impl MemoryFacts {
    /// All but keys and values: the server, its clients, tables.
    #[must_use]
    pub fn overhead_bytes(&self) -> u64 {
        self.used_bytes.saturating_sub(self.dataset_bytes)
    }

    /// The share of keys and values in what came after the start.
    #[must_use]
    pub fn dataset_percent(&self) -> f64 {
        let since_start = self.used_bytes.saturating_sub(self.startup_bytes);
        percent(self.dataset_bytes, since_start)
    }

    /// How much of the peak is in use.
    #[must_use]
    pub fn peak_percent(&self) -> f64 {
        percent(self.used_bytes, self.peak_bytes)
    }

    /// What came after the start, for each key.
    #[must_use]
    pub fn bytes_per_key(&self) -> u64 {
        let since_start = self.used_bytes.saturating_sub(self.startup_bytes);
        since_start.checked_div(self.keys).unwrap_or(0)
    }

    /// Resident bytes for each byte in use.
    #[must_use]
    pub fn fragmentation(&self) -> f64 {
        self.resident_bytes as f64 / self.used_bytes.max(1) as f64
    }

    /// Resident bytes beyond those in use.
    #[must_use]
    pub fn fragmentation_bytes(&self) -> i64 {
        let bytes = i128::from(self.resident_bytes) - i128::from(self.used_bytes);
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// What is kept on disk. Nothing here waits for the disk.
pub trait Durability: Send + Sync {
    /// Whether what was kept is still being read. Asked once for each batch of requests; it never
    /// becomes true again.
    fn is_loading(&self) -> bool;

    /// Whether the disk has, for good, this frame and all that is needed to bring it back.
    fn has(&self, frame: u64) -> bool;

    /// Begins to write a snapshot in the background; answers its number. It has everything that
    /// was changed before the call: `changes`, counted since the server began.
    ///
    /// # Errors
    /// If there cannot be one now.
    fn begin_snapshot(&self, changes: u64) -> Result<u64, SnapshotRefused>;

    /// Whether a snapshot was written; `None` while it is.
    fn snapshot_outcome(&self, number: u64) -> Option<bool>;

    /// When the last snapshot was written, or this server began: seconds since 1970.
    fn last_save_s(&self) -> u64;

    /// Figures, for `INFO`, after so many changes since the server began.
    fn facts(&self, changes: u64, now: Now) -> DurabilityFacts;
}

/// Why no snapshot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotRefused {
    /// Another is being written.
    InProgress,
    /// Nothing can be written.
    Impossible,
}

/// What `INFO` tells of what is kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurabilityFacts {
    /// What was read at start.
    pub load: LoadFacts,
    /// Snapshots.
    pub snapshot: SnapshotFacts,
    /// The journal.
    pub journal: JournalFacts,
}

/// How far what was kept has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadFacts {
    /// It is still being read.
    pub is_loading: bool,
    /// When that began: seconds since 1970.
    pub started_s: u64,
    /// How long it has taken so far, in milliseconds.
    pub took_ms: u64,
    /// Bytes to be read.
    pub bytes_total: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Keys read from the snapshot.
    pub keys_loaded: u64,
    /// Keys of the snapshot that were past their deadline.
    pub keys_expired: u64,
    /// Bytes cut off the end of the journal, which the last process had not finished writing.
    pub torn_tail_bytes: u64,
}

/// How it goes with snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Changes since the last one that was written began.
    pub changes_since: u64,
    /// When the last one was written, or this server began: seconds since 1970.
    pub last_save_s: u64,
    /// Whether the last one was written.
    pub was_written: bool,
    /// How long the last one took, in seconds.
    pub last_took_s: Option<u64>,
    /// How long the one that is being written has taken so far, in seconds.
    pub running_s: Option<u64>,
    /// Shards it has so far.
    pub shards_written: u64,
    /// Shards it is to have.
    pub shards_total: u64,
    /// Snapshots written since this server began.
    pub count: u64,
    /// Those that failed since the last that was written.
    pub failed_in_a_row: u64,
    /// Bytes of the last one.
    pub bytes: u64,
}

impl Default for SnapshotFacts {
    fn default() -> Self {
        Self {
            changes_since: 0,
            last_save_s: 0,
            was_written: true,
            last_took_s: None,
            running_s: None,
            shards_written: 0,
            shards_total: 0,
            count: 0,
            failed_in_a_row: 0,
            bytes: 0,
        }
    }
}

impl SnapshotFacts {
    /// How much of the one that is being written is there, in hundredths.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(
            self.shards_written.min(self.shards_total),
            self.shards_total,
        )
    }
}

/// How it goes with the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFacts {
    /// The last frame that has a number, the last one the kernel has, the last one on the disk.
    pub numbered: u64,
    /// See `numbered`.
    pub written: u64,
    /// See `numbered`.
    pub synced: u64,
    /// Bytes numbered and not written.
    pub backlog_bytes: u64,
    /// Frames numbered and not written.
    pub backlog_frames: u64,
    /// Bytes of it that the last snapshot does not cover.
    pub bytes: u64,
    /// Segments made since this server began.
    pub segments: u64,
    /// Bytes that can be written without asking the disk for room, where it can say.
    pub reserve_bytes: Option<u64>,
    /// Writes, and frames in them.
    pub writes: u64,
    /// See `writes`.
    pub frames: u64,
    /// Syncs.
    pub syncs: u64,
    /// How long the last sync took, in microseconds.
    pub sync_last_us: u64,
    /// How long the longest sync took, in microseconds.
    pub sync_max_us: u64,
    /// How long all syncs took together, in microseconds.
    pub sync_total_us: u64,
    /// Names the history of all that ever happened in the directory.
    pub history: [u8; 20],
    /// A write or sync failed: nothing is acknowledged any more.
    pub is_failing: bool,
}

impl JournalFacts {
    /// Frames that shared one sync, on average.
    #[must_use]
    pub fn frames_per_sync(&self) -> f64 {
        self.frames as f64 / self.syncs.max(1) as f64
    }
}

/// The connections of the server.
pub trait Clients {
    /// Facts about every connection, in order of their ids. Those of connections that are running a
    /// batch are those from before it.
    fn list(&self) -> Vec<ClientFacts>;

    /// The same of one connection, if it is there.
    fn find(&self, id: u64) -> Option<ClientFacts>;

    /// Where messages for a connection come in, if it is there.
    fn mailbox(&self, id: u64) -> Option<Arc<Mailbox>>;

    /// Ends a connection as soon as its worker notices; answers whether it was there.
    fn kill(&self, id: u64) -> bool;
}

/// What `CLIENT LIST` tells of a connection.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// Unique for the life of the server.
    pub id: u64,
    /// Where it comes from: `ip:port`, or the path of the Unix socket and `:0`.
    pub addr: Arc<str>,
    /// Where it arrived.
    pub laddr: Arc<str>,
    /// File descriptor; -1 for one without.
    pub fd: i32,
    /// It came through the Unix socket.
    pub unix: bool,
    /// What it calls itself.
    pub names: Arc<Names>,
    /// When it connected: monotonic milliseconds.
    pub opened_ms: u64,
    /// Bytes it holds: buffers, queue, watched keys, its own state.
    pub memory_bytes: usize,
    /// Messages that it was too slow for.
    pub dropped: u64,
    /// What changes from batch to batch.
    pub state: ClientState,
}

/// What changes of a connection from batch to batch.
#[derive(Clone, Copy, Debug)]
pub struct ClientState {
    /// When it last sent something: monotonic milliseconds.
    pub active_ms: u64,
    /// The database `SELECT` picked.
    pub db: u32,
    /// Commands queued by `MULTI`; `None` outside.
    pub multi: Option<usize>,
    /// Bytes they take.
    pub multi_bytes: usize,
    /// Keys watched.
    pub watched: usize,
    /// Subscriptions to channels, to channels of the shard and to patterns.
    pub subscriptions: [usize; 3],
    /// It is not disconnected for the memory it holds.
    pub no_evict: bool,
    /// Bytes of requests received but not yet executed.
    pub input_bytes: usize,
    /// Bytes reserved for those.
    pub input_capacity: usize,
    /// Bytes of replies not yet sent.
    pub output_bytes: usize,
    /// Bytes reserved for those.
    pub output_capacity: usize,
    /// The command last run.
    pub command: Option<&'static Spec>,
    /// Protocol version.
    pub resp: Version,
    /// It is to be closed once its output is sent.
    pub closing: bool,
    /// Its last call waits.
    pub waits: bool,
}

impl Default for ClientState {
    fn default() -> Self {
        Self {
            active_ms: 0,
            db: 0,
            multi: None,
            multi_bytes: 0,
            watched: 0,
            subscriptions: [0; 3],
            no_evict: false,
            input_bytes: 0,
            input_capacity: 0,
            output_bytes: 0,
            output_capacity: 0,
            command: None,
            resp: Version::Resp2,
            closing: false,
            waits: false,
        }
    }
}
