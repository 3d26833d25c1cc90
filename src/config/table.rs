//! The table of real settings, and finding a name in either table.

use std::path::PathBuf;

use super::error::SettingError;
use super::settings::{
    AppendFsync, Live, LogFormat, LogLevel, OutputLimit, PASSWORD_BYTES_MAX, Phase, SavePoint,
    Secret, Settings,
};
use super::value::{self, INT_MAX, Kind, invalid};
use crate::policy::Policy;

/// One setting: a row of [`DIRECTIVES`].
#[derive(Debug)]
pub struct Directive {
    /// Its name in files, flags (`--name`) and CONFIG.
    pub name: &'static str,
    /// When it may change.
    pub live: Live,
    /// What it does, in which unit, and what it costs.
    pub doc: &'static str,
    /// Where its value lives.
    pub(super) field: Field,
}

impl Directive {
    /// Its type and bounds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.field.kind()
    }
}

/// Type, bounds and the way to the value in [`Settings`].
#[derive(Debug)]
pub(super) enum Field {
    Flag {
        get: fn(&Settings) -> bool,
        set: fn(&mut Settings, bool),
    },
    Integer {
        min: i64,
        max: i64,
        get: fn(&Settings) -> i64,
        set: fn(&mut Settings, i64),
    },
    Memory {
        min: u64,
        max: u64,
        get: fn(&Settings) -> u64,
        set: fn(&mut Settings, u64),
    },
    Permissions {
        get: fn(&Settings) -> u32,
        set: fn(&mut Settings, u32),
    },
    Choice {
        names: &'static [&'static str],
        get: fn(&Settings) -> &'static str,
        set: fn(&mut Settings, usize),
    },
    Text {
        kind: Kind,
        get: fn(&Settings) -> String,
        set: fn(&mut Settings, &str) -> Result<(), SettingError>,
    },
    Words {
        form: &'static str,
        get: fn(&Settings) -> String,
        set: fn(&mut Settings, &[&str], Phase) -> Result<(), SettingError>,
    },
}

impl Field {
    pub(super) fn get(&self, settings: &Settings) -> String {
        match self {
            Self::Flag { get, .. } => value::flag_text(get(settings)).to_owned(),
            Self::Integer { get, .. } => get(settings).to_string(),
            Self::Memory { get, .. } => get(settings).to_string(),
            Self::Permissions { get, .. } => format!("{:o}", get(settings)),
            Self::Choice { get, .. } => get(settings).to_owned(),
            Self::Text { get, .. } | Self::Words { get, .. } => get(settings),
        }
    }

    pub(super) fn set(
        &self,
        settings: &mut Settings,
        words: &[&str],
        phase: Phase,
    ) -> Result<(), SettingError> {
        if let Self::Words { set, .. } = self {
            return set(settings, &value::split_single(words), phase);
        }
        let word = value::single(words)?;
        match self {
            Self::Flag { set, .. } => set(settings, value::flag(word)?),
            Self::Integer { min, max, set, .. } => {
                set(settings, value::integer(word, *min, *max)?);
            }
            Self::Memory { min, max, set, .. } => set(settings, value::memory(word, *min, *max)?),
            Self::Permissions { set, .. } => set(settings, value::permissions(word)?),
            Self::Choice { names, set, .. } => set(settings, value::choice(word, names)?),
            Self::Text { set, .. } => set(settings, word)?,
            Self::Words { .. } => {}
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        match *self {
            Self::Flag { .. } => Kind::Flag,
            Self::Integer { min, max, .. } => Kind::Integer { min, max },
            Self::Memory { min, max, .. } => Kind::Memory { min, max },
            Self::Permissions { .. } => Kind::Permissions,
            Self::Choice { names, .. } => Kind::Choice(names),
            Self::Text { kind, .. } => kind,
            Self::Words { form, .. } => Kind::Words { form },
        }
    }
}

/// A flag that lives in the field of the same name.
macro_rules! flag {
    ($field:ident) => {
        Field::Flag {
            get: |s| s.$field,
            set: |s, on| s.$field = on,
        }
    };
}

/// A number that lives in `$field`; its bounds must fit the field's type.
macro_rules! integer {
    ($field:ident, $min:expr, $max:expr) => {
        Field::Integer {
            min: $min,
            max: $max,
            get: |s| i64::try_from(s.$field).unwrap_or(i64::MAX),
            set: |s, number| {
                if let Ok(number) = number.try_into() {
                    s.$field = number;
                }
            },
        }
    };
}

/// A number of bytes, at least a mebibyte, that lives in `$field`.
macro_rules! memory {
    ($field:ident) => {
        Field::Memory {
            min: 1 << 20,
            max: i64::MAX as u64,
            get: |s| s.$field,
            set: |s, bytes| s.$field = bytes,
        }
    };
}

/// A path that lives in `$field`; the empty word is none.
macro_rules! path {
    ($field:ident, $bytes_max:expr) => {
        Field::Text {
            kind: Kind::Text,
            get: |s| {
                s.$field
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default()
            },
            set: |s, word| {
                if word.len() > $bytes_max || word.contains('\0') {
                    return Err(invalid("argument is not a usable path"));
                }
                s.$field = (!word.is_empty()).then(|| PathBuf::from(word));
                Ok(())
            },
        }
    };
}

/// Longest path the kernel takes, without its final zero.
const PATH_BYTES_MAX: usize = 4095;
/// Longest path of a Unix socket, without its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Most addresses `bind` takes.
const BIND_ADDRESSES_MAX: usize = 16;
/// Most rules of `save`.
const SAVE_POINTS_MAX: usize = 64;
/// Most databases: each costs an entry of a table, used or not.
const DATABASES_MAX: i64 = 65_536;
/// Most that `proto-max-bulk-len` can be, in bytes: what Redis has unless told otherwise.
pub const BULK_BYTES_MAX: u64 = 512 << 20;

/// The latest beginning of time for snowflakes: the year 2255.
const SNOWFLAKE_EPOCH_MS_MAX: i64 = 9_000_000_000_000;

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("debug", LogLevel::Debug),
    ("verbose", LogLevel::Verbose),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("nothing", LogLevel::Nothing),
];

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

const APPEND_FSYNCS: &[(&str, AppendFsync)] = &[
    ("everysec", AppendFsync::Everysec),
    ("always", AppendFsync::Always),
    ("no", AppendFsync::No),
];

/// The real settings, sorted by name. Everything said of a setting anywhere comes from its row.
pub static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "active-expire-effort",
        live: Live::Live,
        doc: "How much of its time a worker may spend on removing keys past their deadline when \
              more are due than it can remove at once: 25 % at 1, up to 43 % at 10.",
        field: integer!(active_expire_effort, 1, 10),
    },
    Directive {
        name: "appendfsync",
        live: Live::Live,
        doc: "What a reply waits for, and when the disk is synced. Under always a reply that tells \
              of a change waits until the disk has it for good. Under everysec and no it waits \
              until the kernel has it: the end of the process loses nothing, a power cut may lose \
              the last second (everysec) or whatever the kernel had not written (no).",
        field: Field::Choice {
            names: &["everysec", "always", "no"],
            get: |s| name_of(APPEND_FSYNCS, s.appendfsync),
            set: |s, index| s.appendfsync = APPEND_FSYNCS[index].1,
        },
    },
    Directive {
        name: "appendonly",
        live: Live::Live,
        doc: "Whether every change goes to the journal before a reply tells of it. Without it a \
              restart finds what the last snapshot had.",
        field: flag!(appendonly),
    },
    Directive {
        name: "auto-aof-rewrite-min-size",
        live: Live::Live,
        doc: "Bytes of the journal below which no snapshot is begun for its growth.",
        field: Field::Memory {
            min: 0,
            max: i64::MAX as u64,
            get: |s| s.auto_rewrite_min_bytes,
            set: |s, bytes| s.auto_rewrite_min_bytes = bytes,
        },
    },
    Directive {
        name: "auto-aof-rewrite-percentage",
        live: Live::Live,
        doc: "Growth of the journal since the last snapshot, in hundredths of its size then, at \
              which a snapshot is begun to take its place; 0 is never.",
        field: integer!(auto_rewrite_percentage, 0, INT_MAX),
    },
    Directive {
        name: "bind",
        live: Live::Start,
        doc: "Addresses to listen on, up to 16. A leading `-` tolerates that an address cannot be \
              bound. `*` is every IPv4 address, `::*` every IPv6 address; an empty text is no TCP \
              at all. Anything but loopback needs `requirepass` or `protected-mode no`.",
        field: Field::Words {
            form: "[-]address ...",
            get: |s| s.bind.join(" "),
            set: set_bind,
        },
    },
    Directive {
        name: "client-output-buffer-limit",
        live: Live::Live,
        doc: "Most unread output a client may pile up before it is cut off: at once above the \
              hard limit, after so many seconds in a row above the soft one; 0 is without limit. \
              Classes are normal, replica (or slave) and pubsub; those not named keep their \
              limits. The memory is only taken by clients that do not read.",
        field: Field::Words {
            form: "class hard-bytes soft-bytes soft-seconds ...",
            get: output_limits_text,
            set: set_output_limits,
        },
    },
    Directive {
        name: "client-query-buffer-limit",
        live: Live::Live,
        doc: "Most bytes of a command that has not arrived whole; a client above it is cut off. \
              At least 1 MiB above `proto-max-bulk-len`.",
        field: memory!(client_query_buffer_limit),
    },
    Directive {
        name: "databases",
        live: Live::Start,
        doc: "How many numbered keyspaces SELECT can choose from. One that was never written to \
              costs next to nothing.",
        field: integer!(databases, 1, DATABASES_MAX),
    },
    Directive {
        name: "dir",
        live: Live::Protected,
        doc: "Directory where the server's identity, its journal and its snapshots are kept; made \
              if it is not there. It belongs to one server at a time.",
        field: Field::Text {
            kind: Kind::Text,
            get: |s| s.dir.display().to_string(),
            set: set_dir,
        },
    },
    Directive {
        name: "disable-thp",
        live: Live::Start,
        doc: "Whether the system is asked to back the process with small pages only. A huge page \
              is cleared in one go when it is first touched, which was measured to hold up a \
              growing server for ten milliseconds and more.",
        field: flag!(disable_thp),
    },
    Directive {
        name: "hz",
        live: Live::Live,
        doc: "How often a second, at least, a worker looks whether keys are due, from 1 to 500; \
              numbers outside are brought to the nearer end. Keys are removed at their deadline \
              whatever this says, unless the clock is set forward: that is noticed at the next \
              look. Time-outs are looked at ten times a second.",
        field: Field::Integer {
            min: 0,
            max: INT_MAX,
            get: |s| i64::from(s.hz),
            set: |s, turns| s.hz = u32::try_from(turns.clamp(1, 500)).unwrap_or(500),
        },
    },
    Directive {
        name: "id-clock-bound",
        live: Live::Live,
        doc: "Milliseconds by which the system's clock may be behind the last ID given out: \
              further behind, `ID.NEXT` answers `-CLOCK`. Less than a second is taken for one: so \
              far ahead of the clock IDs run by themselves. A number of `ID.WORKER` is not to be \
              used before so long after its last holder's end.",
        field: integer!(id_clock_bound_ms, 0, 3_600_000),
    },
    Directive {
        name: "id-snowflake-epoch",
        live: Live::Start,
        doc: "Unix milliseconds at which the time of snowflakes begins; the default is the \
              beginning of 2020. Fixed in the data directory by the first snowflake given out.",
        field: integer!(snowflake_epoch_ms, 0, SNOWFLAKE_EPOCH_MS_MAX),
    },
    Directive {
        name: "id-snowflake-layout",
        live: Live::Start,
        doc: "Bits of a snowflake's time in milliseconds, of its worker and of its sequence: 63 at \
              most, at least 32 of time, 1 to 22 of sequence. Fixed in the data directory by the \
              first snowflake given out.",
        field: Field::Words {
            form: "time worker sequence",
            get: |s| s.snowflake_bits.map(|bits| bits.to_string()).join(" "),
            set: set_snowflake_bits,
        },
    },
    Directive {
        name: "id-snowflake-worker",
        live: Live::Start,
        doc: "This server's number among all that give out snowflakes for the same use: no two may \
              have the same. Fixed in the data directory by the first snowflake given out.",
        field: integer!(snowflake_worker, 0, INT_MAX),
    },
    Directive {
        name: "io-threads",
        live: Live::Start,
        doc: "Worker threads that serve connections. Unset, one for each core; CONFIG GET answers \
              the number in force.",
        field: Field::Integer {
            min: 1,
            max: 128,
            get: |s| i64::from(s.io_threads.unwrap_or(0)),
            set: |s, workers| s.io_threads = u32::try_from(workers).ok(),
        },
    },
    Directive {
        name: "journal-backlog-limit",
        live: Live::Live,
        doc: "Most bytes of changes on their way to the journal: while there are more, because the \
              disk is slow, commands that write wait before they run. The memory is only taken \
              then.",
        field: memory!(journal_backlog_bytes),
    },
    Directive {
        name: "lazyfree-lazy-user-flush",
        live: Live::Live,
        doc: "Whether FLUSHDB and FLUSHALL without SYNC or ASYNC free in the background.",
        field: flag!(lazyfree_lazy_user_flush),
    },
    Directive {
        name: "lease-grace",
        live: Live::Live,
        doc: "Milliseconds after a restart, or after the server stood still for over a second, in \
              which no lease, session or lock-delay ends that was given as long; a shorter one \
              begins anew. So holders have time to come back.",
        field: integer!(lease_grace_ms, 0, 600_000),
    },
    Directive {
        name: "lfu-decay-time",
        live: Live::Live,
        doc: "Minutes after which the count of a key's uses is one less, under the LFU policies; 0 \
              lets it never fall.",
        field: integer!(lfu_decay_min, 0, INT_MAX),
    },
    Directive {
        name: "lfu-log-factor",
        live: Live::Live,
        doc: "How much rarer each further count of a key's uses is, under the LFU policies: with \
              10, a million uses bring the count to its end.",
        field: integer!(lfu_log_factor, 0, INT_MAX),
    },
    Directive {
        name: "log-format",
        live: Live::Start,
        doc: "Shape of a log line: text for people, json for one object a line.",
        field: Field::Choice {
            names: &["text", "json"],
            get: |s| name_of(LOG_FORMATS, s.log_format),
            set: |s, index| s.log_format = LOG_FORMATS[index].1,
        },
    },
    Directive {
        name: "logfile",
        live: Live::Start,
        doc: "File that log lines are appended to; empty is standard error.",
        field: path!(logfile, PATH_BYTES_MAX),
    },
    Directive {
        name: "loglevel",
        live: Live::Live,
        doc: "How much is logged, from everything to nothing.",
        field: Field::Choice {
            names: &["debug", "verbose", "notice", "warning", "nothing"],
            get: |s| name_of(LOG_LEVELS, s.loglevel),
            set: |s, index| s.loglevel = LOG_LEVELS[index].1,
        },
    },
    Directive {
        name: "max-subscriptions",
        live: Live::Live,
        doc: "Most channels and patterns that one connection may listen to at a time. Each holds \
              about 320 bytes and twice its name.",
        field: integer!(max_subscriptions, 0, 10_000_000),
    },
    Directive {
        name: "max-waiters",
        live: Live::Live,
        doc: "Most calls that wait for a lock, permits, a latch or a barrier at a time; one above \
              it is answered at once as if its time were over.",
        field: integer!(max_waiters, 0, 10_000_000),
    },
    Directive {
        name: "maxclients",
        live: Live::Live,
        doc: "Most connections at a time; one above it is told so and closed. Lowered to what the \
              process may open. An idle connection costs about 2 KiB.",
        field: integer!(maxclients, 1, u32::MAX as i64),
    },
    Directive {
        name: "maxmemory",
        live: Live::Live,
        doc: "Most bytes to hold, of keys, tables, clients and the server itself; 0 is without \
              limit. Before a command that may need memory, keys are evicted as \
              `maxmemory-policy` says; if more is held even then, the command is refused with \
              -OOM. The process takes a little more, as INFO tells.",
        field: Field::Memory {
            min: 0,
            max: u64::MAX,
            get: |s| s.maxmemory,
            set: |s, bytes| s.maxmemory = bytes,
        },
    },
    Directive {
        name: "maxmemory-clients",
        live: Live::Live,
        doc: "Most bytes for all clients together: buffers, queued transactions, watched keys. \
              Above it the clients that hold most are disconnected, but for those with CLIENT \
              NO-EVICT ON. Bytes, or a share of `maxmemory` such as `5%`; 0 is without limit.",
        field: Field::Text {
            kind: Kind::MemoryOrPercent,
            get: |s| s.maxmemory_clients.to_string(),
            set: set_clients_memory,
        },
    },
    Directive {
        name: "maxmemory-policy",
        live: Live::Live,
        doc: "What is evicted when more than `maxmemory` is held: of all keys or of those with a \
              deadline (volatile), the one used longest ago (lru), least often (lfu), changed \
              longest ago (lrm), any (random), or due first (ttl); noeviction evicts nothing. Of \
              our own is 2q: what was never used again goes long before the rest, so that a scan \
              passes through.",
        field: Field::Choice {
            names: Policy::NAMES,
            get: |s| s.maxmemory_policy.name(),
            set: |s, index| s.maxmemory_policy = Policy::ALL[index],
        },
    },
    Directive {
        name: "maxmemory-samples",
        live: Live::Live,
        doc: "Entries compared to choose the one that is evicted. More come nearer to the true \
              order and cost more.",
        field: integer!(maxmemory_samples, 1, INT_MAX),
    },
    Directive {
        name: "port",
        live: Live::Start,
        doc: "TCP port. 0 takes a free one, the same for all addresses; beside `unixsocket` it \
              means no TCP at all.",
        field: integer!(port, 0, u16::MAX as i64),
    },
    Directive {
        name: "protected-mode",
        live: Live::Live,
        doc: "Whether the server refuses to be reachable from other machines without a password.",
        field: flag!(protected_mode),
    },
    Directive {
        name: "proto-max-bulk-len",
        live: Live::Live,
        doc: "Most bytes of one argument of a command, and of a value: up to 512 MiB. Memory is \
              taken as bytes arrive, not as announced.",
        field: Field::Memory {
            min: 1 << 20,
            max: BULK_BYTES_MAX,
            get: |s| s.proto_max_bulk_len,
            set: |s, bytes| s.proto_max_bulk_len = bytes,
        },
    },
    Directive {
        name: "requirepass",
        live: Live::Live,
        doc: "Password of the default user, up to 16384 bytes; empty lets everybody in. Better in \
              a file than in a flag or variable, which other users of the machine may see.",
        field: Field::Text {
            kind: Kind::Secret,
            get: |s| {
                s.requirepass
                    .as_ref()
                    .map(Secret::expose)
                    .unwrap_or_default()
                    .to_owned()
            },
            set: set_requirepass,
        },
    },
    Directive {
        name: "save",
        live: Live::Live,
        doc: "When a snapshot is begun by itself: `900 1` after 900 seconds with at least 1 change \
              since the last. Several pairs, up to 64, are several rules, and so are several lines \
              of a file or several flags; an empty text takes back those before it. Empty by \
              default: the journal keeps everything, and begins snapshots as it grows.",
        field: Field::Words {
            form: "seconds changes ...",
            get: save_points_text,
            set: set_save_points,
        },
    },
    Directive {
        name: "tcp-backlog",
        live: Live::Start,
        doc: "Connections the kernel may hold ready before they are accepted; its own limit \
              (`net.core.somaxconn`) caps it.",
        field: integer!(tcp_backlog, 0, INT_MAX),
    },
    Directive {
        name: "tcp-keepalive",
        live: Live::Live,
        doc: "Seconds between probes that find out whether a silent peer is still there; 0 sends \
              none. One that takes nothing of what was sent to it for twice as long is gone, too. \
              For connections made from then on.",
        field: integer!(tcp_keepalive_s, 0, INT_MAX),
    },
    Directive {
        name: "timeout",
        live: Live::Live,
        doc: "Seconds a client may idle before it is closed; 0 is forever. While it waits for the \
              server it does not idle.",
        field: integer!(timeout_s, 0, INT_MAX),
    },
    Directive {
        name: "unixsocket",
        live: Live::Start,
        doc: "Path of a Unix socket to listen on, beside TCP or (with `port 0`) instead of it; up \
              to 107 bytes. Empty is none.",
        field: path!(unixsocket, SOCKET_PATH_BYTES_MAX),
    },
    Directive {
        name: "unixsocketperm",
        live: Live::Start,
        doc: "Permission bits of the Unix socket; 0 leaves them to the umask.",
        field: Field::Permissions {
            get: |s| s.unixsocketperm.unwrap_or(0),
            set: |s, bits| s.unixsocketperm = (bits != 0).then_some(bits),
        },
    },
];

/// The name `value` has in a list of choices. Every value stands in its list.
fn name_of<T: Copy + PartialEq>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices
        .iter()
        .find(|(_, choice)| *choice == value)
        .map_or("", |(name, _)| name)
}

fn set_snowflake_bits(
    settings: &mut Settings,
    words: &[&str],
    _: Phase,
) -> Result<(), SettingError> {
    let bits: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match bits[..] {
        [time, worker, sequence]
            if words.len() == 3
                && (32..=63).contains(&time)
                && worker <= 31
                && (1..=22).contains(&sequence)
                && time + worker + sequence <= 63 =>
        {
            settings.snowflake_bits = [time, worker, sequence];
            Ok(())
        }
        _ => Err(invalid(
            "argument must be three numbers of bits, 63 together at most",
        )),
    }
}

fn set_bind(settings: &mut Settings, words: &[&str], _: Phase) -> Result<(), SettingError> {
    if words.len() > BIND_ADDRESSES_MAX {
        return Err(invalid("Too many bind addresses specified."));
    }
    if words == [""] {
        settings.bind.clear();
        return Ok(());
    }
    if words
        .iter()
        .any(|word| word.trim_start_matches('-').is_empty())
    {
        return Err(invalid("an address is empty"));
    }
    settings.bind = words.iter().map(|word| (*word).to_owned()).collect();
    Ok(())
}

fn save_points_text(settings: &Settings) -> String {
    let pair = |point: &SavePoint| format!("{} {}", point.seconds, point.changes);
    let pairs: Vec<String> = settings.save.iter().map(pair).collect();
    pairs.join(" ")
}

/// At start, rules add up, as they do in Redis' files; CONFIG SET replaces them.
fn set_save_points(
    settings: &mut Settings,
    words: &[&str],
    phase: Phase,
) -> Result<(), SettingError> {
    if words == [""] {
        settings.save.clear();
        return Ok(());
    }
    let wrong = || invalid("Invalid save parameters");
    if !words.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let number = |word: &str, min, max| {
        let number = value::integer(word, min, max).map_err(|_| wrong())?;
        u64::try_from(number).map_err(|_| wrong())
    };
    let mut points = match phase {
        Phase::Start => settings.save.clone(),
        Phase::Live => Vec::new(),
    };
    for pair in words.chunks_exact(2) {
        if points.len() == SAVE_POINTS_MAX {
            return Err(invalid("Too many save points specified."));
        }
        points.push(SavePoint {
            seconds: number(pair[0], 1, i64::MAX)?,
            changes: number(pair[1], 0, INT_MAX)?,
        });
    }
    settings.save = points;
    Ok(())
}

fn set_dir(settings: &mut Settings, word: &str) -> Result<(), SettingError> {
    if word.is_empty() || word.len() > PATH_BYTES_MAX || word.contains('\0') {
        return Err(invalid("argument is not a usable path"));
    }
    settings.dir = PathBuf::from(word);
    Ok(())
}

fn set_requirepass(settings: &mut Settings, word: &str) -> Result<(), SettingError> {
    if word.len() > PASSWORD_BYTES_MAX {
        let reason = format!("a password is at most {PASSWORD_BYTES_MAX} bytes");
        return Err(SettingError::Value(reason));
    }
    settings.requirepass = (!word.is_empty()).then(|| Secret::new(word));
    Ok(())
}

fn set_clients_memory(settings: &mut Settings, word: &str) -> Result<(), SettingError> {
    settings.maxmemory_clients = value::memory_or_percent(word)?;
    Ok(())
}

fn output_limits_text(settings: &Settings) -> String {
    let limits = &settings.client_output_buffer_limit;
    let class = |name: &str, limit: &OutputLimit| {
        format!(
            "{name} {} {} {}",
            limit.hard_bytes, limit.soft_bytes, limit.soft_s
        )
    };
    // The middle one by its old name, as Redis answers it.
    [
        class("normal", &limits.normal),
        class("slave", &limits.replica),
        class("pubsub", &limits.pubsub),
    ]
    .join(" ")
}

fn set_output_limits(
    settings: &mut Settings,
    words: &[&str],
    _: Phase,
) -> Result<(), SettingError> {
    if words == [""] {
        return Ok(());
    }
    if !words.len().is_multiple_of(4) {
        return Err(invalid(
            "Wrong number of arguments in buffer limit configuration.",
        ));
    }
    let wrong =
        || invalid("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    let mut limits = settings.client_output_buffer_limit;
    for group in words.chunks_exact(4) {
        let limit = match group[0].to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "replica" | "slave" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => {
                return Err(invalid(
                    "Invalid client class specified in buffer limit configuration.",
                ));
            }
        };
        *limit = OutputLimit {
            hard_bytes: value::bytes(group[1]).ok_or_else(wrong)?,
            soft_bytes: value::bytes(group[2]).ok_or_else(wrong)?,
            soft_s: value::integer(group[3], 0, INT_MAX)
                .ok()
                .and_then(|seconds| u64::try_from(seconds).ok())
                .ok_or_else(wrong)?,
        };
    }
    settings.client_output_buffer_limit = limits;
    Ok(())
}
