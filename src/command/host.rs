//! What commands need of the server around them, as small traits that it implements.

use super::conn::Names;
use super::error::ReplyError;
use super::spec::Spec;
use crate::engine::{Census, Tally};
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

    /// Notes whether memory was within its bound after room was asked for.
    fn note_room(&self, is_there: bool);

    /// What is held of memory; `census` is the databases as the caller sees them.
    fn memory(&self, census: &[Census]) -> MemoryFacts;

    /// All connections.
    fn clients(&self) -> &dyn Clients;

    /// Begins to stop the server: no new connections, what is in flight is answered.
    fn shut_down(&self);

    /// A random number, of good quality.
    fn random(&self) -> u64;
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

/// The connections of the server.
pub trait Clients {
    /// Facts about every connection, in order of their ids. Those of connections that are running a
    /// batch are those from before it.
    fn list(&self) -> Vec<ClientFacts>;

    /// The same of one connection, if it is there.
    fn find(&self, id: u64) -> Option<ClientFacts>;

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
}

impl Default for ClientState {
    fn default() -> Self {
        Self {
            active_ms: 0,
            db: 0,
            multi: None,
            multi_bytes: 0,
            watched: 0,
            no_evict: false,
            input_bytes: 0,
            input_capacity: 0,
            output_bytes: 0,
            output_capacity: 0,
            command: None,
            resp: Version::Resp2,
            closing: false,
        }
    }
}
