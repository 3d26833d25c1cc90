//! The settings themselves: typed fields, CONFIG GET and CONFIG SET over both tables, and the
//! checks that span several settings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

use super::error::SettingError;
use crate::policy::Policy;

/// What the query buffer must hold beside one argument of `proto-max-bulk-len`: the rest of the
/// command.
const QUERY_BUFFER_HEADROOM_BYTES: u64 = 1 << 20;

/// Longest password: what a client that has not logged in yet may send as one argument.
pub(super) const PASSWORD_BYTES_MAX: usize = 16 << 10;

/// A password. `Debug` does not show it; comparing two is for tests and reloads, [`Self::matches`]
/// is for logins.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self(password.to_owned())
    }

    /// Whether `candidate` is the password. Takes the same time wherever they differ; that the
    /// lengths differ can be seen.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// The password in the clear. CONFIG GET answers it, as Redis does; nothing else should.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How much unread output a client of one class may pile up. 0 means without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Cut off at once above this many bytes.
    pub hard_bytes: u64,
    /// Cut off after `soft_s` seconds in a row above this many bytes.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_s: u64,
}

/// The output limits of the three classes of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients without subscriptions.
    pub normal: OutputLimit,
    /// Replicas. This server has none; the limit is kept for those who read it.
    pub replica: OutputLimit,
    /// Clients with at least one subscription.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// The limit of a connection that listens to channels, or of another.
    #[must_use]
    pub fn of(&self, is_subscribed: bool) -> OutputLimit {
        if is_subscribed {
            self.pubsub
        } else {
            self.normal
        }
    }
}

/// How much memory all clients together may take: `maxmemory-clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientsMemory {
    /// So many bytes; 0 is without limit.
    Bytes(u64),
    /// So many hundredths of `maxmemory`, up to 100; without limit where that has none.
    Percent(u64),
}

impl fmt::Display for ClientsMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// How much is logged; each level includes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything, for developers.
    Debug,
    /// What each connection does.
    Verbose,
    /// What an operator wants to know.
    Notice,
    /// Only what needs attention.
    Warning,
    /// Nothing at all.
    Nothing,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When what is written to the journal is synced to the disk, and so what a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before a reply tells of it.
    Always,
    /// Once a second; a reply waits until the kernel has it.
    Everysec,
    /// When the kernel likes; a reply waits until the kernel has it.
    No,
}

/// A rule of `save`: a snapshot is due when both have come about since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// So many seconds have passed; at least 1.
    pub seconds: u64,
    /// So many changes were made.
    pub changes: u64,
}

/// When a directive may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// At any time: by CONFIG SET, and by SIGHUP if the configuration now says something else.
    Live,
    /// Only at start.
    Start,
    /// Only at start; Redis words the refusal differently, as it could be told to allow it.
    Protected,
}

/// When a directive is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From file, environment or flags, before the server runs.
    Start,
    /// By CONFIG SET, while it runs.
    Live,
}

/// What setting a directive did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The setting has a new value.
    Changed,
    /// It had this value already.
    Unchanged,
    /// The directive has no effect in this server; the text is a warning that says so.
    Ignored(String),
}

/// Every setting, typed. Units stand in the names.
///
/// [`Settings::default`] is what a start without arguments runs with, but for `io_threads`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `port`: TCP port. 0 takes a free one; beside a `unixsocket` it means no TCP (see
    /// [`Self::listens_on_tcp`]).
    pub port: u16,
    /// `bind`: addresses to listen on. A leading `-` tolerates that this one cannot be bound;
    /// `*` is every IPv4 address, `::*` every IPv6 address.
    pub bind: Vec<String>,
    /// `unixsocket`: path of a Unix socket to listen on as well.
    pub unixsocket: Option<PathBuf>,
    /// `unixsocketperm`: permission bits of that socket; without it the umask decides.
    pub unixsocketperm: Option<u32>,
    /// `dir`: where identity, journal and snapshots are kept.
    pub dir: PathBuf,
    /// `databases`: how many numbered keyspaces there are.
    pub databases: u32,
    /// `timeout`: seconds a client may idle; 0 is forever.
    pub timeout_s: u64,
    /// `tcp-keepalive`: seconds between probes of a silent connection; 0 is none.
    pub tcp_keepalive_s: u64,
    /// `tcp-backlog`: connections the kernel may hold ready for accepting.
    pub tcp_backlog: u32,
    /// `maxclients`: most connections at a time.
    pub maxclients: u32,
    /// `maxmemory`: most bytes to hold; 0 is without limit.
    pub maxmemory: u64,
    /// `maxmemory-clients`: most bytes for all clients together.
    pub maxmemory_clients: ClientsMemory,
    /// `maxmemory-policy`: what goes when memory is short.
    pub maxmemory_policy: Policy,
    /// `maxmemory-samples`: entries compared to choose the one that goes.
    pub maxmemory_samples: u32,
    /// `lfu-log-factor`: how much rarer each further count of a use is.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`: minutes after which a count of uses is one less; 0 is never.
    pub lfu_decay_min: u32,
    /// `requirepass`: password of the default user; `None` lets everybody in.
    pub requirepass: Option<Secret>,
    /// `protected-mode`: refuses to be reachable from elsewhere without a password.
    pub protected_mode: bool,
    /// `client-query-buffer-limit`: most bytes of unparsed input a client may pile up.
    pub client_query_buffer_limit: u64,
    /// `client-output-buffer-limit`: most unread output a client may pile up.
    pub client_output_buffer_limit: OutputLimits,
    /// `proto-max-bulk-len`: most bytes of one argument.
    pub proto_max_bulk_len: u64,
    /// `io-threads`: workers; `None` is one per core, until the start puts the number here.
    pub io_threads: Option<u32>,
    /// `disable-thp`: no transparent huge pages for this process.
    pub disable_thp: bool,
    /// `loglevel`: how much is logged.
    pub loglevel: LogLevel,
    /// `logfile`: where to; `None` is standard error.
    pub logfile: Option<PathBuf>,
    /// `log-format`: the shape of a log line.
    pub log_format: LogFormat,
    /// `hz`: turns a second of the removal of expired keys.
    pub hz: u32,
    /// `active-expire-effort`: how hard expired keys are looked for, from 1 to 10.
    pub active_expire_effort: u32,
    /// `appendonly`: whether changes go to the journal.
    pub appendonly: bool,
    /// `appendfsync`: when they are synced, and so what replies wait for.
    pub appendfsync: AppendFsync,
    /// `save`: when snapshots are due, beside those that keep the journal short.
    pub save: Vec<SavePoint>,
    /// `auto-aof-rewrite-percentage`: growth of the journal since the last snapshot, in hundredths
    /// of what it was, at which the next is due; 0 is never.
    pub auto_rewrite_percentage: u32,
    /// `auto-aof-rewrite-min-size`: bytes of the journal below which none is due for its growth.
    pub auto_rewrite_min_bytes: u64,
    /// `journal-backlog-limit`: most bytes on their way to the journal before write commands wait.
    pub journal_backlog_bytes: u64,
    /// `id-clock-bound`: milliseconds the clock may be behind the last ID.
    pub id_clock_bound_ms: u32,
    /// `id-snowflake-epoch`: Unix milliseconds at which the time of snowflakes begins.
    pub snowflake_epoch_ms: u64,
    /// `id-snowflake-layout`: bits of time, worker and sequence.
    pub snowflake_bits: [u32; 3],
    /// `id-snowflake-worker`: this server's number among those that give out snowflakes.
    pub snowflake_worker: u32,
    /// `lease-grace`: milliseconds after a restart or a stall in which no lease ends.
    pub lease_grace_ms: u32,
    /// `max-waiters`: most calls that wait for the coordinator at a time.
    pub max_waiters: u32,
    /// `max-subscriptions`: most subscriptions of one connection.
    pub max_subscriptions: u32,
    /// `lazyfree-lazy-user-flush`: FLUSHDB and FLUSHALL are ASYNC unless told SYNC.
    pub lazyfree_lazy_user_flush: bool,
    /// Knobs without effect that were set to something else than their default, to be answered.
    pub(super) tuned: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        let limit = |hard_mib: u64, soft_mib: u64| OutputLimit {
            hard_bytes: hard_mib * MIB,
            soft_bytes: soft_mib * MIB,
            soft_s: 60,
        };
        Self {
            port: 6379,
            bind: vec!["127.0.0.1".to_owned(), "-::1".to_owned()],
            unixsocket: None,
            unixsocketperm: None,
            dir: PathBuf::from("./linchpin-data"),
            databases: 16,
            timeout_s: 0,
            tcp_keepalive_s: 60,
            tcp_backlog: 511,
            maxclients: 10_000,
            maxmemory: 0,
            maxmemory_clients: ClientsMemory::Bytes(0),
            maxmemory_policy: Policy::NoEviction,
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_min: 1,
            requirepass: None,
            protected_mode: true,
            client_query_buffer_limit: 128 * MIB,
            client_output_buffer_limit: OutputLimits {
                normal: limit(256, 64),
                replica: limit(256, 64),
                pubsub: limit(32, 8),
            },
            proto_max_bulk_len: 64 * MIB,
            io_threads: None,
            disable_thp: true,
            loglevel: LogLevel::Notice,
            logfile: None,
            log_format: LogFormat::Text,
            hz: 10,
            active_expire_effort: 1,
            appendonly: true,
            appendfsync: AppendFsync::Everysec,
            save: Vec::new(),
            auto_rewrite_percentage: 100,
            auto_rewrite_min_bytes: 64 * MIB,
            journal_backlog_bytes: 64 * MIB,
            id_clock_bound_ms: 5_000,
            snowflake_epoch_ms: 1_577_836_800_000,
            snowflake_bits: [41, 10, 12],
            snowflake_worker: 0,
            lease_grace_ms: 10_000,
            max_waiters: 100_000,
            max_subscriptions: 100_000,
            lazyfree_lazy_user_flush: false,
            tuned: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Checks what no single setting can be blamed for.
    ///
    /// # Errors
    /// [`SettingError::Conflict`]: a query buffer too small for the longest argument, a server
    /// open to others without a password, or one that listens nowhere.
    pub fn validate(&self) -> Result<(), SettingError> {
        let needed = self
            .proto_max_bulk_len
            .saturating_add(QUERY_BUFFER_HEADROOM_BYTES);
        if self.client_query_buffer_limit < needed {
            return Err(SettingError::Conflict {
                directive: "client-query-buffer-limit",
                reason: format!(
                    "client-query-buffer-limit ({}) must be at least 1 MiB above \
                     proto-max-bulk-len ({})",
                    self.client_query_buffer_limit, self.proto_max_bulk_len
                ),
            });
        }
        if u64::from(self.snowflake_worker) >> self.snowflake_bits[1] > 0 {
            let directive = "id-snowflake-worker";
            let reason = format!(
                "id-snowflake-worker ({}) does not fit into the bits of id-snowflake-layout ({})",
                self.snowflake_worker, self.snowflake_bits[1]
            );
            return Err(SettingError::Conflict { directive, reason });
        }
        if !self.listens_on_tcp() {
            if self.unixsocket.is_some() {
                return Ok(());
            }
            return Err(SettingError::Conflict {
                directive: "bind",
                reason: "nothing to listen on: bind is empty and there is no unixsocket".to_owned(),
            });
        }
        let exposed = self.bind.iter().find(|address| !is_loopback(address));
        match exposed {
            Some(address) if self.protected_mode && self.requirepass.is_none() => {
                Err(SettingError::Conflict {
                    directive: "protected-mode",
                    reason: format!(
                        "bind {address} would let anybody in: set requirepass, or \
                         protected-mode no if the network is trusted"
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    /// Most bytes for all clients together, or `None` for no limit.
    #[must_use]
    pub fn clients_bytes_max(&self) -> Option<u64> {
        let bytes = match self.maxmemory_clients {
            ClientsMemory::Bytes(bytes) => bytes,
            ClientsMemory::Percent(percent) => {
                let bytes = u128::from(self.maxmemory) * u128::from(percent) / 100;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        };
        (bytes > 0).then_some(bytes)
    }

    /// Whether there are TCP listeners. There are none without an address to bind, nor with
    /// `port 0` beside a `unixsocket`, which means "this socket only" in Redis. `port 0` alone,
    /// with which Redis would not start, takes a free port.
    #[must_use]
    pub fn listens_on_tcp(&self) -> bool {
        let socket_only = self.port == 0 && self.unixsocket.is_some();
        !self.bind.is_empty() && !socket_only
    }
}

/// Whether only this machine can reach an address of `bind`. A host name could be anything.
fn is_loopback(address: &str) -> bool {
    let address = address.strip_prefix('-').unwrap_or(address);
    address.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}
