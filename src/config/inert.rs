//! The directives of Redis that are not settings of this server, and what is true of each here.
//!
//! Names, types, bounds and defaults are those `CONFIG GET *` of Redis 7.0.15 answers (recorded
//! under `tests/data`), with the four names that 7.2 added.

use super::error::SettingError;
use super::settings::Live;
use super::value::{self, INT_MAX, Kind, invalid, split_single};

/// What becomes of a directive that is not a setting here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A feature this server does not have; its value says "off". Another value is a warning at
    /// start and an error in CONFIG SET, and never becomes the answer.
    Absent,
    /// A feature that somebody relies on who asks for it: another value than "off" is an error.
    Refused,
    /// A knob of Redis' inside. Any well-formed value is accepted with a warning and answered.
    Tuning,
}

/// One directive of Redis without effect here: a row of [`INERT`].
#[derive(Debug)]
pub struct Inert {
    /// Its name.
    pub name: &'static str,
    /// An older name that Redis still takes and lists.
    pub alias: Option<&'static str>,
    /// What becomes of it.
    pub class: Class,
    /// Its type and bounds.
    pub kind: Kind,
    /// What CONFIG GET answers unless tuned; `None` for what only a file can say.
    pub value: Option<&'static str>,
    /// Whether Redis lets CONFIG SET change it.
    pub live: Live,
    /// Why it has no effect.
    pub why: &'static str,
    /// Checks the value where its type does not say enough, and writes it for CONFIG GET.
    check: Option<Check>,
}

type Check = fn(&[&str]) -> Result<String, SettingError>;

impl Inert {
    const fn new(name: &'static str, class: Class, kind: Kind, why: &'static str) -> Self {
        Self {
            name,
            alias: None,
            class,
            kind,
            value: None,
            live: Live::Live,
            why,
            check: None,
        }
    }

    const fn absent(
        name: &'static str,
        kind: Kind,
        value: Option<&'static str>,
        why: &'static str,
    ) -> Self {
        Self {
            value,
            ..Self::new(name, Class::Absent, kind, why)
        }
    }

    const fn refused(
        name: &'static str,
        kind: Kind,
        value: Option<&'static str>,
        why: &'static str,
    ) -> Self {
        Self {
            value,
            ..Self::new(name, Class::Refused, kind, why)
        }
    }

    const fn tuning(
        name: &'static str,
        kind: Kind,
        value: Option<&'static str>,
        why: &'static str,
    ) -> Self {
        Self {
            value,
            ..Self::new(name, Class::Tuning, kind, why)
        }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    const fn start(self) -> Self {
        Self {
            live: Live::Start,
            ..self
        }
    }

    const fn protected(self) -> Self {
        Self {
            live: Live::Protected,
            ..self
        }
    }

    const fn check(self, check: Check) -> Self {
        Self {
            check: Some(check),
            ..self
        }
    }

    /// Checks `words` and answers them as CONFIG GET shows them.
    pub(super) fn canonical(&self, words: &[&str]) -> Result<String, SettingError> {
        match self.check {
            Some(check) => check(&split_single(words)),
            None => self.kind.canonical(words),
        }
    }
}

const FLAG: Kind = Kind::Flag;
const TEXT: Kind = Kind::Text;
const COUNT: Kind = Kind::Integer {
    min: 0,
    max: INT_MAX,
};
const LONG: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};
const BYTES: Kind = Kind::Memory {
    min: 0,
    max: i64::MAX as u64,
};
const PORT: Kind = Kind::Integer { min: 0, max: 65535 };
const PERCENT99: Kind = Kind::Integer { min: 1, max: 99 };

const BYTE_ORDER: &str = "text is compared byte by byte, whatever the locale";
const FIXED_HZ: &str = "the pace of the periodic work is hz, however many clients there are";
const FOREGROUND: &str = "the server stays in the foreground; let a service manager keep it";
const JOURNAL_FILES: &str = "the server's files have names and a form of their own";
const JOURNAL_CHECKED: &str = "journal and snapshots always carry checksums";
const JOURNAL_PACE: &str = "snapshots are written in steps that leave the journal its syncs";
const JOURNAL_PURE: &str = "snapshots are not compressed";
const JOURNAL_STOPS: &str =
    "a failed snapshot leaves the journal whole; writes stop when the journal cannot be written";
const JOURNAL_TAIL: &str = "a torn tail is always cut, and damage before it always refused";
const JOURNAL_TIMES: &str = "the journal always has the times of its writes";
const FREED_AT_ONCE: &str =
    "no effect in this version: a value's memory goes back in constant time";
const NO_ACL: &str = "there is one user, default, whose password is requirepass";
const NO_CLUSTER: &str = "this version is a single server, not a cluster";
const NO_CRASH_LOG: &str = "there is no crash report beyond the panic's own message";
const NO_DEBUG: &str = "there is no DEBUG command";
const NO_DEFRAG: &str = "memory is not defragmented while running";
const NO_JEMALLOC: &str = "the allocator is not jemalloc";
const NO_LATENCY: &str = "slow events are not recorded";
const LATENCIES: &str = "INFO always has the latencies of commands, at 50, 99 and 99.9 percent";
const NO_LOGO: &str = "the banner is shown on a terminal only";
const NO_MODULES: &str = "there are no modules";
const NO_NOTIFICATIONS: &str = "changes of keys are not published";
const NO_OS_TUNING: &str = "the server does not change how the system treats its process";
const NO_OUTGOING: &str = "the server makes no connections";
const NO_PIDFILE: &str = "no pid file is written; the start line names the pid";
const NO_PINNING: &str = "threads are not bound to cores; use taskset or the service manager";
const NO_PROC_TITLE: &str = "the process keeps its title";
const NO_RENAMING: &str = "commands cannot be renamed or taken away";
const NO_REPLICATION: &str = "this version does not replicate";
const NO_RESTORE: &str = "there is no RESTORE";
const NO_SCRIPTS: &str = "this version runs no scripts";
const NO_SENTINEL: &str = "the server is not a sentinel";
const NO_SLOWLOG: &str = "slow commands are not recorded";
const NO_START_CHECKS: &str = "there are no start-up warnings to silence by name";
const NO_SUPERVISION: &str = "the service manager is not notified; it must not wait for it";
const NO_SYSLOG: &str = "logs go to standard error or logfile, not to syslog";
const NO_TENACITY: &str = "each command makes the room it needs, however long that takes";
const NO_TLS: &str = "this version has no TLS; put a TLS proxy in front";
const NO_TRACKING: &str = "keys that clients have read are not tracked";
const ONE_USER: &str = "there is one user, default, who may use every channel";
const OWN_ENCODINGS: &str = "values are stored in forms of the server's own";
const OWN_TABLES: &str = "tables grow in bounded steps by themselves";
const OWN_THREADS: &str = "every worker reads, executes and writes for its own connections";
const PROTECTED: &str = "what Redis protects cannot be opened up here";
const RETIRED: &str = "Redis itself no longer uses it";
const SHUTDOWN: &str = "the first signal finishes what is in flight, the second one exits at once";

/// Every directive of Redis 7.2 that is not in the table of settings, sorted by name.
pub static INERT: &[Inert] = &[
    Inert::tuning(
        "acl-pubsub-default",
        Kind::Choice(&["allchannels", "resetchannels"]),
        Some("resetchannels"),
        ONE_USER,
    ),
    Inert::refused("aclfile", TEXT, Some(""), NO_ACL).start(),
    Inert::tuning("acllog-max-len", LONG, Some("128"), NO_ACL),
    Inert::tuning("active-defrag-cycle-max", PERCENT99, Some("25"), NO_DEFRAG),
    Inert::tuning("active-defrag-cycle-min", PERCENT99, Some("1"), NO_DEFRAG),
    Inert::tuning(
        "active-defrag-ignore-bytes",
        Kind::Memory {
            min: 1,
            max: i64::MAX as u64,
        },
        Some("104857600"),
        NO_DEFRAG,
    ),
    Inert::tuning(
        "active-defrag-max-scan-fields",
        Kind::Integer {
            min: 1,
            max: i64::MAX,
        },
        Some("1000"),
        NO_DEFRAG,
    ),
    Inert::tuning(
        "active-defrag-threshold-lower",
        Kind::Integer { min: 0, max: 1000 },
        Some("10"),
        NO_DEFRAG,
    ),
    Inert::tuning(
        "active-defrag-threshold-upper",
        Kind::Integer { min: 0, max: 1000 },
        Some("100"),
        NO_DEFRAG,
    ),
    Inert::absent("activedefrag", FLAG, Some("no"), NO_DEFRAG),
    Inert::tuning("activerehashing", FLAG, Some("yes"), OWN_TABLES),
    Inert::absent("always-show-logo", FLAG, Some("no"), NO_LOGO).start(),
    Inert::tuning("aof-disable-auto-gc", FLAG, Some("no"), JOURNAL_FILES),
    Inert::tuning("aof-load-truncated", FLAG, Some("yes"), JOURNAL_TAIL),
    Inert::tuning(
        "aof-rewrite-incremental-fsync",
        FLAG,
        Some("yes"),
        JOURNAL_PACE,
    ),
    Inert::tuning("aof-timestamp-enabled", FLAG, Some("no"), JOURNAL_TIMES),
    Inert::tuning("aof-use-rdb-preamble", FLAG, Some("yes"), JOURNAL_FILES),
    Inert::absent("aof_rewrite_cpulist", TEXT, Some(""), NO_PINNING).start(),
    Inert::tuning("appenddirname", TEXT, Some("appendonlydir"), JOURNAL_FILES).start(),
    Inert::tuning(
        "appendfilename",
        TEXT,
        Some("appendonly.aof"),
        JOURNAL_FILES,
    )
    .start(),
    Inert::absent("bgsave_cpulist", TEXT, Some(""), NO_PINNING).start(),
    Inert::absent("bind-source-addr", TEXT, Some(""), NO_OUTGOING),
    Inert::absent("bio_cpulist", TEXT, Some(""), NO_PINNING).start(),
    Inert::tuning("busy-reply-threshold", LONG, Some("5000"), NO_SCRIPTS).alias("lua-time-limit"),
    Inert::tuning(
        "cluster-allow-pubsubshard-when-down",
        FLAG,
        Some("yes"),
        NO_CLUSTER,
    ),
    Inert::tuning(
        "cluster-allow-reads-when-down",
        FLAG,
        Some("no"),
        NO_CLUSTER,
    ),
    Inert::tuning(
        "cluster-allow-replica-migration",
        FLAG,
        Some("yes"),
        NO_CLUSTER,
    ),
    Inert::tuning("cluster-announce-bus-port", PORT, Some("0"), NO_CLUSTER),
    Inert::tuning("cluster-announce-hostname", TEXT, Some(""), NO_CLUSTER),
    Inert::tuning(
        "cluster-announce-human-nodename",
        TEXT,
        Some(""),
        NO_CLUSTER,
    ),
    Inert::tuning("cluster-announce-ip", TEXT, Some(""), NO_CLUSTER),
    Inert::tuning("cluster-announce-port", PORT, Some("0"), NO_CLUSTER),
    Inert::tuning("cluster-announce-tls-port", PORT, Some("0"), NO_CLUSTER),
    Inert::tuning("cluster-config-file", TEXT, Some("nodes.conf"), NO_CLUSTER).start(),
    Inert::refused("cluster-enabled", FLAG, Some("no"), NO_CLUSTER).start(),
    Inert::tuning("cluster-link-sendbuf-limit", BYTES, Some("0"), NO_CLUSTER),
    Inert::tuning("cluster-migration-barrier", COUNT, Some("1"), NO_CLUSTER),
    Inert::tuning("cluster-node-timeout", LONG, Some("15000"), NO_CLUSTER),
    Inert::tuning("cluster-port", PORT, Some("0"), NO_CLUSTER).start(),
    Inert::tuning(
        "cluster-preferred-endpoint-type",
        Kind::Choice(&["ip", "hostname", "unknown-endpoint"]),
        Some("ip"),
        NO_CLUSTER,
    ),
    Inert::tuning("cluster-replica-no-failover", FLAG, Some("no"), NO_CLUSTER)
        .alias("cluster-slave-no-failover"),
    Inert::tuning(
        "cluster-replica-validity-factor",
        COUNT,
        Some("10"),
        NO_CLUSTER,
    )
    .alias("cluster-slave-validity-factor"),
    Inert::tuning(
        "cluster-require-full-coverage",
        FLAG,
        Some("yes"),
        NO_CLUSTER,
    ),
    Inert::absent("crash-log-enabled", FLAG, Some("no"), NO_CRASH_LOG),
    Inert::absent("crash-memcheck-enabled", FLAG, Some("no"), NO_CRASH_LOG),
    Inert::absent("daemonize", FLAG, Some("no"), FOREGROUND).start(),
    Inert::tuning("dbfilename", TEXT, Some("dump.rdb"), JOURNAL_FILES).protected(),
    Inert::tuning("dynamic-hz", FLAG, Some("yes"), FIXED_HZ),
    Inert::absent(
        "enable-debug-command",
        Kind::Choice(&["no", "yes", "local"]),
        Some("no"),
        NO_DEBUG,
    )
    .start(),
    Inert::absent(
        "enable-module-command",
        Kind::Choice(&["no", "yes", "local"]),
        Some("no"),
        NO_MODULES,
    )
    .start(),
    Inert::absent(
        "enable-protected-configs",
        Kind::Choice(&["no", "yes", "local"]),
        Some("no"),
        PROTECTED,
    )
    .start(),
    Inert::tuning(
        "hash-max-listpack-entries",
        LONG,
        Some("512"),
        OWN_ENCODINGS,
    )
    .alias("hash-max-ziplist-entries"),
    Inert::tuning("hash-max-listpack-value", BYTES, Some("64"), OWN_ENCODINGS)
        .alias("hash-max-ziplist-value"),
    Inert::tuning("hll-sparse-max-bytes", BYTES, Some("3000"), OWN_ENCODINGS),
    Inert::tuning("ignore-warnings", TEXT, Some(""), NO_START_CHECKS),
    Inert::tuning("io-threads-do-reads", FLAG, Some("no"), OWN_THREADS).start(),
    Inert::tuning("jemalloc-bg-thread", FLAG, Some("yes"), NO_JEMALLOC),
    Inert::absent("latency-monitor-threshold", LONG, Some("0"), NO_LATENCY),
    Inert::absent("latency-tracking", FLAG, Some("yes"), LATENCIES),
    Inert::tuning(
        "latency-tracking-info-percentiles",
        Kind::Words {
            form: "percentile ...",
        },
        Some("50 99 99.9"),
        LATENCIES,
    )
    .check(percentiles),
    Inert::tuning("lazyfree-lazy-eviction", FLAG, Some("no"), FREED_AT_ONCE),
    Inert::tuning("lazyfree-lazy-expire", FLAG, Some("no"), FREED_AT_ONCE),
    Inert::tuning("lazyfree-lazy-server-del", FLAG, Some("no"), FREED_AT_ONCE),
    Inert::tuning("lazyfree-lazy-user-del", FLAG, Some("no"), FREED_AT_ONCE),
    Inert::tuning("list-compress-depth", COUNT, Some("0"), OWN_ENCODINGS),
    Inert::tuning(
        "list-max-listpack-size",
        Kind::Integer {
            min: i32::MIN as i64,
            max: INT_MAX,
        },
        Some("-2"),
        OWN_ENCODINGS,
    )
    .alias("list-max-ziplist-size"),
    Inert::tuning("list-max-ziplist-entries", COUNT, None, RETIRED).start(),
    Inert::tuning("list-max-ziplist-value", COUNT, None, RETIRED).start(),
    Inert::refused(
        "loadmodule",
        Kind::Words {
            form: "path argument ...",
        },
        None,
        NO_MODULES,
    )
    .start(),
    Inert::tuning("locale-collate", TEXT, Some(""), BYTE_ORDER),
    Inert::tuning("lua-replicate-commands", FLAG, None, RETIRED).start(),
    Inert::refused("masterauth", Kind::Secret, Some(""), NO_REPLICATION),
    Inert::refused("masteruser", TEXT, Some(""), NO_REPLICATION),
    Inert::tuning(
        "maxmemory-eviction-tenacity",
        Kind::Integer { min: 0, max: 100 },
        Some("10"),
        NO_TENACITY,
    ),
    Inert::tuning("min-replicas-max-lag", COUNT, Some("10"), NO_REPLICATION)
        .alias("min-slaves-max-lag"),
    Inert::absent("min-replicas-to-write", COUNT, Some("0"), NO_REPLICATION)
        .alias("min-slaves-to-write"),
    Inert::tuning("no-appendfsync-on-rewrite", FLAG, Some("no"), JOURNAL_PACE),
    Inert::absent("notify-keyspace-events", TEXT, Some(""), NO_NOTIFICATIONS).check(event_classes),
    Inert::absent(
        "oom-score-adj",
        Kind::Choice(&["no", "yes", "relative", "absolute"]),
        Some("no"),
        NO_OS_TUNING,
    ),
    Inert::tuning(
        "oom-score-adj-values",
        Kind::Words {
            form: "main replica child",
        },
        Some("0 200 800"),
        NO_OS_TUNING,
    )
    .check(oom_scores),
    Inert::absent("pidfile", TEXT, Some(""), NO_PIDFILE).start(),
    Inert::tuning(
        "proc-title-template",
        TEXT,
        Some("{title} {listen-addr} {server-mode}"),
        NO_PROC_TITLE,
    ),
    Inert::tuning(
        "propagation-error-behavior",
        Kind::Choice(&["ignore", "panic", "panic-on-replicas"]),
        Some("ignore"),
        NO_REPLICATION,
    ),
    Inert::tuning("rdb-del-sync-files", FLAG, Some("no"), NO_REPLICATION),
    Inert::tuning(
        "rdb-save-incremental-fsync",
        FLAG,
        Some("yes"),
        JOURNAL_PACE,
    ),
    Inert::tuning("rdbchecksum", FLAG, Some("yes"), JOURNAL_CHECKED).start(),
    Inert::tuning("rdbcompression", FLAG, Some("yes"), JOURNAL_PURE),
    Inert::refused(
        "rename-command",
        Kind::Words {
            form: "command name",
        },
        None,
        NO_RENAMING,
    )
    .start(),
    Inert::tuning(
        "repl-backlog-size",
        Kind::Memory {
            min: 1,
            max: i64::MAX as u64,
        },
        Some("1048576"),
        NO_REPLICATION,
    ),
    Inert::tuning("repl-backlog-ttl", LONG, Some("3600"), NO_REPLICATION),
    Inert::tuning("repl-disable-tcp-nodelay", FLAG, Some("no"), NO_REPLICATION),
    Inert::tuning(
        "repl-diskless-load",
        Kind::Choice(&["disabled", "on-empty-db", "swapdb"]),
        Some("disabled"),
        NO_REPLICATION,
    ),
    Inert::tuning("repl-diskless-sync", FLAG, Some("yes"), NO_REPLICATION),
    Inert::tuning("repl-diskless-sync-delay", COUNT, Some("5"), NO_REPLICATION),
    Inert::tuning(
        "repl-diskless-sync-max-replicas",
        COUNT,
        Some("0"),
        NO_REPLICATION,
    ),
    Inert::tuning(
        "repl-ping-replica-period",
        Kind::Integer {
            min: 1,
            max: INT_MAX,
        },
        Some("10"),
        NO_REPLICATION,
    )
    .alias("repl-ping-slave-period"),
    Inert::tuning(
        "repl-timeout",
        Kind::Integer {
            min: 1,
            max: INT_MAX,
        },
        Some("60"),
        NO_REPLICATION,
    ),
    Inert::tuning("replica-announce-ip", TEXT, Some(""), NO_REPLICATION).alias("slave-announce-ip"),
    Inert::tuning("replica-announce-port", PORT, Some("0"), NO_REPLICATION)
        .alias("slave-announce-port"),
    Inert::tuning("replica-announced", FLAG, Some("yes"), NO_REPLICATION),
    Inert::tuning(
        "replica-ignore-disk-write-errors",
        FLAG,
        Some("no"),
        NO_REPLICATION,
    ),
    Inert::tuning(
        "replica-ignore-maxmemory",
        FLAG,
        Some("yes"),
        NO_REPLICATION,
    )
    .alias("slave-ignore-maxmemory"),
    Inert::tuning("replica-lazy-flush", FLAG, Some("no"), NO_REPLICATION).alias("slave-lazy-flush"),
    Inert::tuning("replica-priority", COUNT, Some("100"), NO_REPLICATION).alias("slave-priority"),
    Inert::tuning("replica-read-only", FLAG, Some("yes"), NO_REPLICATION).alias("slave-read-only"),
    Inert::tuning(
        "replica-serve-stale-data",
        FLAG,
        Some("yes"),
        NO_REPLICATION,
    )
    .alias("slave-serve-stale-data"),
    Inert::refused(
        "replicaof",
        Kind::Words { form: "host port" },
        Some(""),
        NO_REPLICATION,
    )
    .alias("slaveof")
    .start()
    .check(primary),
    Inert::tuning(
        "sanitize-dump-payload",
        Kind::Choice(&["no", "yes", "clients"]),
        Some("no"),
        NO_RESTORE,
    ),
    Inert::refused("sentinel", Kind::Words { form: "..." }, None, NO_SENTINEL).start(),
    Inert::absent("server_cpulist", TEXT, Some(""), NO_PINNING).start(),
    Inert::tuning("set-max-intset-entries", LONG, Some("512"), OWN_ENCODINGS),
    Inert::tuning("set-max-listpack-entries", LONG, Some("128"), OWN_ENCODINGS),
    Inert::tuning("set-max-listpack-value", LONG, Some("64"), OWN_ENCODINGS),
    Inert::absent("set-proc-title", FLAG, Some("no"), NO_PROC_TITLE).start(),
    Inert::absent(
        "shutdown-on-sigint",
        Kind::Words {
            form: "default, or save nosave now force",
        },
        Some("default"),
        SHUTDOWN,
    )
    .check(shutdown_flags),
    Inert::absent(
        "shutdown-on-sigterm",
        Kind::Words {
            form: "default, or save nosave now force",
        },
        Some("default"),
        SHUTDOWN,
    )
    .check(shutdown_flags),
    Inert::tuning("shutdown-timeout", COUNT, Some("10"), NO_REPLICATION),
    Inert::absent(
        "slowlog-log-slower-than",
        Kind::Integer {
            min: -1,
            max: i64::MAX,
        },
        Some("-1"),
        NO_SLOWLOG,
    ),
    Inert::tuning("slowlog-max-len", LONG, Some("128"), NO_SLOWLOG),
    Inert::absent(
        "socket-mark-id",
        Kind::Integer {
            min: 0,
            max: u32::MAX as i64,
        },
        Some("0"),
        NO_OS_TUNING,
    )
    .start(),
    Inert::tuning(
        "stop-writes-on-bgsave-error",
        FLAG,
        Some("yes"),
        JOURNAL_STOPS,
    ),
    Inert::tuning("stream-node-max-bytes", BYTES, Some("4096"), OWN_ENCODINGS),
    Inert::tuning("stream-node-max-entries", LONG, Some("100"), OWN_ENCODINGS),
    Inert::absent(
        "supervised",
        Kind::Choice(&["upstart", "systemd", "auto", "no"]),
        Some("no"),
        NO_SUPERVISION,
    )
    .start(),
    Inert::absent("syslog-enabled", FLAG, Some("no"), NO_SYSLOG).start(),
    Inert::tuning(
        "syslog-facility",
        Kind::Choice(&[
            "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ]),
        Some("local0"),
        NO_SYSLOG,
    )
    .start(),
    Inert::tuning("syslog-ident", TEXT, Some("redis"), NO_SYSLOG).start(),
    Inert::refused(
        "tls-auth-clients",
        Kind::Choice(&["no", "yes", "optional"]),
        Some("yes"),
        NO_TLS,
    ),
    Inert::refused("tls-ca-cert-dir", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-ca-cert-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-cert-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-ciphers", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-ciphersuites", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-client-cert-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-client-key-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-client-key-file-pass", Kind::Secret, Some(""), NO_TLS),
    Inert::refused("tls-cluster", FLAG, Some("no"), NO_TLS),
    Inert::refused("tls-dh-params-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-key-file", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-key-file-pass", Kind::Secret, Some(""), NO_TLS),
    Inert::refused("tls-port", PORT, Some("0"), NO_TLS),
    Inert::refused("tls-prefer-server-ciphers", FLAG, Some("no"), NO_TLS),
    Inert::refused("tls-protocols", TEXT, Some(""), NO_TLS),
    Inert::refused("tls-replication", FLAG, Some("no"), NO_TLS),
    Inert::refused("tls-session-cache-size", COUNT, Some("20480"), NO_TLS),
    Inert::refused("tls-session-cache-timeout", COUNT, Some("300"), NO_TLS),
    Inert::refused("tls-session-caching", FLAG, Some("yes"), NO_TLS),
    Inert::tuning(
        "tracking-table-max-keys",
        LONG,
        Some("1000000"),
        NO_TRACKING,
    ),
    Inert::refused(
        "user",
        Kind::Words {
            form: "name rule ...",
        },
        None,
        NO_ACL,
    )
    .start(),
    Inert::tuning(
        "zset-max-listpack-entries",
        LONG,
        Some("128"),
        OWN_ENCODINGS,
    )
    .alias("zset-max-ziplist-entries"),
    Inert::tuning("zset-max-listpack-value", BYTES, Some("64"), OWN_ENCODINGS)
        .alias("zset-max-ziplist-value"),
];

/// The letters Redis 7 knows for classes of keyspace events.
fn event_classes(words: &[&str]) -> Result<String, SettingError> {
    const LETTERS: &str = "Ag$lshzxeKEtmdn";
    let word = value::single(words)?;
    if word.chars().all(|letter| LETTERS.contains(letter)) {
        return Ok(word.to_owned());
    }
    Err(SettingError::Value(format!(
        "Invalid event class character. Use '{LETTERS}'."
    )))
}

/// Three scores from -2000 to 2000.
fn oom_scores(words: &[&str]) -> Result<String, SettingError> {
    if words.len() != 3 {
        return Err(SettingError::WordCount);
    }
    for word in words {
        value::integer(word, -2000, 2000).map_err(|_| {
            invalid("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
        })?;
    }
    Ok(words.join(" "))
}

/// Percentiles from 0 to 100; a single empty word is none.
fn percentiles(words: &[&str]) -> Result<String, SettingError> {
    if words == [""] {
        return Ok(String::new());
    }
    let mut shown = Vec::with_capacity(words.len());
    for word in words {
        let percentile = word.parse::<f64>().ok().filter(|number| number.is_finite());
        let percentile = percentile
            .ok_or_else(|| invalid("Invalid latency-tracking-info-percentiles parameters"))?;
        if !(0.0..=100.0).contains(&percentile) {
            return Err(invalid(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ));
        }
        shown.push(percentile.to_string());
    }
    Ok(shown.join(" "))
}

/// `no one`, or nothing: this server is nobody's replica. Else a host and a port.
fn primary(words: &[&str]) -> Result<String, SettingError> {
    match words {
        [""] => Ok(String::new()),
        [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => {
            Ok(String::new())
        }
        [_, port] => {
            value::integer(port, 0, 65535)?;
            Ok(words.join(" "))
        }
        _ => Err(SettingError::WordCount),
    }
}

/// `default`, or what a signal adds to SHUTDOWN.
fn shutdown_flags(words: &[&str]) -> Result<String, SettingError> {
    const FLAGS: &[&str] = &["default", "save", "nosave", "now", "force"];
    let mut shown = Vec::with_capacity(words.len());
    for word in words {
        shown.push(FLAGS[value::choice(word, FLAGS)?]);
    }
    if shown.contains(&"save") && shown.contains(&"nosave") {
        return Err(invalid(
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        ));
    }
    Ok(shown.join(" "))
}
