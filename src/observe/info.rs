//! `INFO`: the sections and their fields, as clients and exporters know them.
//!
//! Every field is true of this server. A field of Redis that speaks of something we do not have
//! (replicas, forks) has the value Redis gives where the feature is off.

use super::calls::CallStats;
use super::process::ProcessUse;
use super::stats::{Counts, Rates};
use crate::clock::Now;
use crate::command::host::{ClientFacts, DurabilityFacts, LoadFacts, MemoryFacts, SnapshotFacts};
use crate::config::Settings;
use crate::engine::Census;
use crate::engine::coordinator::Totals;
use crate::engine::ids;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::fmt::Write;
use std::path::PathBuf;

/// What stays the same as long as the server runs.
#[derive(Debug)]
pub struct Identity {
    /// 40 hexadecimal digits, drawn at start.
    pub run_id: String,
    /// The configuration file, if there was one.
    pub config_file: Option<PathBuf>,
    /// Number of workers.
    pub workers: usize,
    /// When the server started.
    pub started: Now,
    /// The TCP port; 0 for none.
    pub port: AtomicU64,
}

/// What `INFO` is made from.
#[derive(Debug)]
pub struct InfoFacts<'a> {
    /// The server.
    pub identity: &'a Identity,
    /// The settings in force.
    pub settings: &'a Settings,
    /// Statistics since the last reset.
    pub counts: &'a Counts,
    /// What was counted of each command since then.
    pub calls: &'a CallStats,
    /// Commands, bytes in and bytes out per second, of late.
    pub rates: Rates,
    /// The longest time a worker was busy without looking at its connections, in microseconds.
    pub step_us_max: u64,
    /// The databases.
    pub census: &'a [Census],
    /// The connections.
    pub clients: &'a [ClientFacts],
    /// Where the memory is.
    pub memory: MemoryFacts,
    /// What is kept on disk, if anything is.
    pub durability: Option<DurabilityFacts>,
    /// Milliseconds above `maxmemory`, in all and until now.
    pub exceeded_ms: (u64, u64),
    /// Distinct keys that connections watch.
    pub watched_keys: usize,
    /// Channels, channels of the shard and patterns that have subscribers.
    pub subscribed: [usize; 3],
    /// What the coordinator keeps.
    pub coordination: Totals,
    /// IDs that rise.
    pub ids: ids::Totals,
    /// The time.
    pub now: Now,
}

type Section = fn(&mut Lines, &InfoFacts<'_>);

/// Sections in the order in which they are shown.
const SECTIONS: &[(&str, Section)] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Modules", |_, _| {}),
    ("Commandstats", commandstats),
    ("Errorstats", errorstats),
    ("Latencystats", latencystats),
    ("Cluster", cluster),
    ("Coordination", coordination),
    ("Keyspace", keyspace),
];

/// Sections that `default` does not show.
const ON_REQUEST: [&str; 2] = ["Commandstats", "Latencystats"];

/// The text of the sections named, in lower case, in the order above. `all` and `everything` mean
/// every section; `default`, or no name at all, all but those of `ON_REQUEST`. Unknown names mean
/// nothing.
#[must_use]
pub fn render(sections: &[String], facts: &InfoFacts<'_>) -> String {
    let named = |names: &[&str]| sections.iter().any(|name| names.contains(&name.as_str()));
    let all = named(&["all", "everything"]);
    let default = sections.is_empty() || named(&["default"]);
    let mut lines = Lines(String::new());
    for (title, write) in SECTIONS {
        let usual = default && !ON_REQUEST.contains(title);
        if all || usual || sections.iter().any(|name| name.eq_ignore_ascii_case(title)) {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            lines.title(title);
            write(&mut lines, facts);
        }
    }
    lines.0
}

/// Lines of `name:value`.
struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        self.put(format_args!("# {title}"));
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.put(format_args!("{name}:{value}"));
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{line}\r\n");
    }

    /// Fields whose value is always 0 here: of features there are not, or that are off.
    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }

    /// A number of bytes, and again for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.put(format_args!("{name}_human:{}", human(bytes)));
    }
}

/// Bytes as `1.50M`, as Redis prints them.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1_024.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.2}{}", UNITS[unit])
}

fn server(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let id = facts.identity;
    let uptime_s = facts.now.mono_us.saturating_sub(id.started.mono_us) / 1_000_000;
    lines.field("redis_version", crate::REDIS_VERSION);
    lines.field("redis_git_sha1", "00000000");
    lines.field("redis_git_dirty", 0);
    lines.field("redis_build_id", "0");
    lines.field("redis_mode", "standalone");
    lines.field("linchpin_version", env!("CARGO_PKG_VERSION"));
    lines.field(
        "os",
        format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    );
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", "POSIX clock_gettime");
    lines.field("multiplexing_api", "epoll");
    lines.field("process_id", std::process::id());
    lines.field("process_supervised", "no");
    lines.field("run_id", &id.run_id);
    lines.field("tcp_port", id.port.load(Ordering::Relaxed));
    lines.field("server_time_usec", facts.now.wall_us());
    lines.field("uptime_in_seconds", uptime_s);
    lines.field("uptime_in_days", uptime_s / 86_400);
    lines.field("hz", facts.settings.hz);
    lines.field("configured_hz", facts.settings.hz);
    lines.field("lru_clock", facts.now.engine_ms / 1_000 % (1 << 24));
    let executable = std::env::current_exe().unwrap_or_default();
    lines.field("executable", executable.display());
    let config_file = id.config_file.as_deref().unwrap_or("".as_ref());
    lines.field("config_file", config_file.display());
    lines.field("io_threads_active", u8::from(id.workers > 1));
    lines.field("worker_threads", id.workers);
}

fn clients(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let largest = |bytes: fn(&ClientFacts) -> usize| facts.clients.iter().map(bytes).max();
    lines.field("connected_clients", facts.clients.len());
    lines.field("cluster_connections", 0);
    lines.field("maxclients", facts.settings.maxclients);
    let input = largest(|client| client.state.input_bytes).unwrap_or(0);
    lines.field("client_recent_max_input_buffer", input);
    let output = largest(|client| client.state.output_bytes).unwrap_or(0);
    lines.field("client_recent_max_output_buffer", output);
    let blocked = facts.clients.iter().filter(|client| client.state.waits);
    lines.field("blocked_clients", blocked.count());
    lines.field("tracking_clients", 0);
    let is_listening = |client: &&ClientFacts| client.state.subscriptions != [0; 3];
    let listening = facts.clients.iter().filter(is_listening).count();
    lines.field("pubsub_clients", listening);
    let watching = facts
        .clients
        .iter()
        .filter(|client| client.state.watched > 0)
        .count();
    lines.field("watching_clients", watching);
    lines.field("clients_in_timeout_table", 0);
    lines.field("total_watched_keys", facts.watched_keys);
    lines.field("total_blocking_keys", 0);
    lines.field("total_blocking_keys_on_nokey", 0);
}

fn memory(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let process = ProcessUse::read();
    let memory = &facts.memory;
    let percent = |share: f64| format!("{share:.2}%");
    lines.bytes("used_memory", memory.used_bytes);
    lines.bytes("used_memory_rss", memory.resident_bytes);
    lines.bytes("used_memory_peak", memory.peak_bytes);
    lines.field("used_memory_peak_perc", percent(memory.peak_percent()));
    lines.field("used_memory_overhead", memory.overhead_bytes());
    lines.field("used_memory_startup", memory.startup_bytes);
    lines.field("used_memory_dataset", memory.dataset_bytes);
    let dataset = percent(memory.dataset_percent());
    lines.field("used_memory_dataset_perc", dataset);
    lines.bytes("total_system_memory", process.machine_bytes);
    lines.bytes("used_memory_lua", 0);
    lines.bytes("used_memory_vm_total", 0);
    lines.bytes("used_memory_scripts", 0);
    lines.zeros(&[
        "used_memory_vm_eval",
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
        "used_memory_vm_functions",
        "used_memory_functions",
    ]);
    lines.bytes("maxmemory", memory.bytes_max);
    lines.field("maxmemory_policy", facts.settings.maxmemory_policy.name());
    lines.field(
        "mem_fragmentation_ratio",
        format_args!("{:.2}", memory.fragmentation()),
    );
    lines.field("mem_fragmentation_bytes", memory.fragmentation_bytes());
    lines.zeros(&[
        "mem_not_counted_for_evict",
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
    ]);
    lines.field("mem_clients_normal", memory.clients_bytes);
    lines.field("mem_cluster_links", 0);
    let backlog_bytes = facts
        .durability
        .map_or(0, |disk| disk.journal.backlog_bytes);
    lines.field("mem_aof_buffer", backlog_bytes);
    lines.field("mem_allocator", crate::ALLOCATOR);
    lines.zeros(&[
        "active_defrag_running",
        "lazyfree_pending_objects",
        "lazyfreed_objects",
    ]);
}

/// Of our own: locks and their kin, and IDs.
fn coordination(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let totals = &facts.coordination;
    lines.field("coordination_objects", totals.objects);
    lines.field("coordination_sessions", totals.sessions);
    lines.field("coordination_waiters", totals.waiters);
    let reserved_until_ms = facts.ids.reserved_until_ms.unwrap_or(0);
    lines.field("ids_reserved_until_ms", reserved_until_ms);
    lines.field("ids_waiters", facts.ids.waiters);
}

fn persistence(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let nothing = DurabilityFacts {
        snapshot: SnapshotFacts {
            changes_since: facts.counts.changes,
            last_save_s: facts.identity.started.wall_ms / 1_000,
            ..SnapshotFacts::default()
        },
        ..DurabilityFacts::default()
    };
    let disk = facts.durability.unwrap_or(nothing);
    let is_kept = facts.durability.is_some() && facts.settings.appendonly;
    lines.field("loading", u8::from(disk.load.is_loading));
    lines.zeros(&[
        "async_loading",
        "current_cow_peak",
        "current_cow_size",
        "current_cow_size_age",
    ]);
    let keys = facts.census.iter().map(|db| db.keys as u64).sum();
    snapshots(lines, &disk, keys, is_kept);
    if is_kept {
        log_sizes(lines, &disk);
    }
    if disk.load.is_loading {
        loading(lines, &disk.load);
    }
    if facts.durability.is_some() {
        journal(lines, &disk);
    }
}

/// Snapshots, which are what Redis calls RDB files and rewritten logs. They are written by shards;
/// how many of the `keys` one has is told from that.
fn snapshots(lines: &mut Lines, disk: &DurabilityFacts, keys: u64, is_kept: bool) {
    let snapshot = &disk.snapshot;
    let status = |is_good| if is_good { "ok" } else { "err" };
    let is_running = u8::from(snapshot.running_s.is_some());
    let seconds = |s: Option<u64>| s.map_or_else(|| "-1".to_owned(), |s| s.to_string());
    let (last_s, running_s) = (seconds(snapshot.last_took_s), seconds(snapshot.running_s));
    let percent = format!("{:.2}", snapshot.percent());
    lines.field("current_fork_perc", percent);
    let keys = if is_running > 0 { keys } else { 0 };
    let processed = keys as f64 * snapshot.percent() / 100.0;
    lines.field("current_save_keys_processed", processed as u64);
    lines.field("current_save_keys_total", keys);
    lines.field("rdb_changes_since_last_save", snapshot.changes_since);
    lines.field("rdb_bgsave_in_progress", is_running);
    lines.field("rdb_last_save_time", snapshot.last_save_s);
    lines.field("rdb_last_bgsave_status", status(snapshot.was_written));
    lines.field("rdb_last_bgsave_time_sec", &last_s);
    lines.field("rdb_current_bgsave_time_sec", &running_s);
    lines.field("rdb_saves", snapshot.count);
    lines.field("rdb_last_cow_size", 0);
    lines.field("rdb_last_load_keys_expired", disk.load.keys_expired);
    lines.field("rdb_last_load_keys_loaded", disk.load.keys_loaded);
    lines.field("aof_enabled", u8::from(is_kept));
    lines.field("aof_rewrite_in_progress", is_running);
    lines.field("aof_rewrite_scheduled", 0);
    lines.field("aof_last_rewrite_time_sec", &last_s);
    lines.field("aof_current_rewrite_time_sec", &running_s);
    lines.field("aof_last_bgrewrite_status", status(snapshot.was_written));
    lines.field("aof_rewrites", snapshot.count);
    let failed = snapshot.failed_in_a_row;
    lines.field("aof_rewrites_consecutive_failures", failed);
    let is_writing = !disk.journal.is_failing;
    lines.field("aof_last_write_status", status(is_writing));
    lines.zeros(&[
        "aof_last_cow_size",
        "module_fork_in_progress",
        "module_fork_last_cow_size",
    ]);
}

/// The log begins with the snapshot, as Redis' does with what it was rewritten to.
fn log_sizes(lines: &mut Lines, disk: &DurabilityFacts) {
    let (journal, base) = (&disk.journal, disk.snapshot.bytes);
    let owes_sync = u8::from(journal.synced < journal.written);
    lines.field("aof_current_size", base.saturating_add(journal.bytes));
    lines.field("aof_base_size", base);
    lines.field("aof_pending_rewrite", 0);
    lines.field("aof_buffer_length", journal.backlog_bytes);
    lines.field("aof_pending_bio_fsync", owes_sync);
    lines.field("aof_delayed_fsync", 0);
}

fn loading(lines: &mut Lines, load: &LoadFacts) {
    let read = load.bytes_read.min(load.bytes_total);
    let share = read as f64 / load.bytes_total.max(1) as f64;
    let left_ms = load.took_ms as f64 * (1.0 - share) / share.max(f64::EPSILON);
    lines.field("loading_start_time", load.started_s);
    lines.field("loading_total_bytes", load.bytes_total);
    lines.field("loading_rdb_used_mem", 0);
    lines.field("loading_loaded_bytes", load.bytes_read);
    let percent = format!("{:.2}", share * 100.0);
    lines.field("loading_loaded_perc", percent);
    let eta_s = if read == 0 {
        1
    } else {
        (left_ms / 1_000.0) as u64
    };
    lines.field("loading_eta_seconds", eta_s);
}

/// What Redis has no field for.
fn journal(lines: &mut Lines, disk: &DurabilityFacts) {
    let journal = &disk.journal;
    let history: String = journal.history.iter().map(|b| format!("{b:02x}")).collect();
    lines.field("journal_history", history);
    lines.field("journal_numbered", journal.numbered);
    lines.field("journal_written", journal.written);
    lines.field("journal_synced", journal.synced);
    lines.field("journal_backlog_bytes", journal.backlog_bytes);
    lines.field("journal_backlog_frames", journal.backlog_frames);
    lines.field("journal_bytes", journal.bytes);
    lines.field("journal_segments", journal.segments);
    let reserve = journal.reserve_bytes.map_or(-1, i128::from);
    lines.field("journal_reserve_bytes", reserve);
    lines.field("journal_writes", journal.writes);
    lines.field("journal_frames", journal.frames);
    lines.field("journal_syncs", journal.syncs);
    lines.field("journal_sync_last_us", journal.sync_last_us);
    lines.field("journal_sync_max_us", journal.sync_max_us);
    lines.field("journal_sync_total_us", journal.sync_total_us);
    let frames_per_sync = format!("{:.2}", journal.frames_per_sync());
    lines.field("journal_frames_per_sync", frames_per_sync);
    lines.field("journal_torn_tail_bytes", disk.load.torn_tail_bytes);
    lines.field("journal_snapshot_bytes", disk.snapshot.bytes);
    let percent = format!("{:.2}", disk.snapshot.percent());
    lines.field("journal_snapshot_perc", percent);
}

/// Redis' statistics of what there is not here: forks, migration, defragmenting and
/// tracking.
const STATS_ZERO: &[&str] = &[
    "pubsub_channels",
    "pubsub_patterns",
    "pubsubshard_channels",
    "latest_fork_usec",
    "total_forks",
    "migrate_cached_sockets",
    "slave_expires_tracked_keys",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "tracking_total_keys",
    "tracking_total_items",
    "tracking_total_prefixes",
    "unexpected_error_replies",
    "dump_payload_sanitizations",
];

fn stats(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let (counts, rates) = (facts.counts, facts.rates);
    lines.field("total_connections_received", counts.connections);
    lines.field("total_commands_processed", counts.commands);
    lines.field(
        "instantaneous_ops_per_sec",
        format_args!("{:.0}", rates.commands),
    );
    lines.field("total_net_input_bytes", counts.input_bytes);
    lines.field("total_net_output_bytes", counts.output_bytes);
    lines.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    let kib = |bytes: f64| format!("{:.2}", bytes / 1_024.0);
    lines.field("instantaneous_input_kbps", kib(rates.input_bytes));
    lines.field("instantaneous_output_kbps", kib(rates.output_bytes));
    lines.field("instantaneous_input_repl_kbps", "0.00");
    lines.field("instantaneous_output_repl_kbps", "0.00");
    lines.field("rejected_connections", counts.rejected_connections);
    lines.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    lines.field("expired_keys", counts.expired);
    lines.field("expired_time_cap_reached_count", counts.expiry_pauses);
    lines.field("expire_cycle_cpu_milliseconds", counts.expiry_us / 1_000);
    lines.field("evicted_keys", counts.evicted);
    lines.field("evicted_clients", counts.evicted_clients);
    let (total_ms, current_ms) = facts.exceeded_ms;
    lines.field("total_eviction_exceeded_time", total_ms);
    lines.field("current_eviction_exceeded_time", current_ms);
    lines.field("keyspace_hits", counts.hits);
    lines.field("keyspace_misses", counts.misses);
    let [channels, shards, patterns] = facts.subscribed;
    lines.field("pubsub_channels", channels);
    lines.field("pubsub_patterns", patterns);
    lines.field("pubsubshard_channels", shards);
    lines.zeros(STATS_ZERO);
    lines.field("total_error_replies", counts.errors);
    lines.field("longest_step_us", facts.step_us_max);
    lines.field("total_reads_processed", counts.reads);
    lines.field("total_writes_processed", counts.writes);
    lines.field("acl_access_denied_auth", counts.denied_logins);
    lines.field(
        "client_query_buffer_limit_disconnections",
        counts.query_limit_disconnections,
    );
    lines.field(
        "client_output_buffer_limit_disconnections",
        counts.output_limit_disconnections,
    );
    lines.field("rejected_calls", counts.rejected_calls);
    lines.field("connection_panics", counts.panics);
}

fn replication(lines: &mut Lines, facts: &InfoFacts<'_>) {
    lines.field("role", "master");
    lines.field("connected_slaves", 0);
    lines.field("master_failover_state", "no-failover");
    lines.field("master_replid", &facts.identity.run_id);
    lines.field("master_replid2", "0".repeat(40));
    lines.field("master_repl_offset", 0);
    lines.field("second_repl_offset", -1);
    lines.field("repl_backlog_active", 0);
    lines.field("repl_backlog_size", 0);
    lines.field("repl_backlog_first_byte_offset", 0);
    lines.field("repl_backlog_histlen", 0);
}

fn cpu(lines: &mut Lines, _: &InfoFacts<'_>) {
    let process = ProcessUse::read();
    lines.field("used_cpu_sys", format_args!("{:.6}", process.system_s));
    lines.field("used_cpu_user", format_args!("{:.6}", process.user_s));
    lines.field("used_cpu_sys_children", "0.000000");
    lines.field("used_cpu_user_children", "0.000000");
}

fn commandstats(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for command in facts.calls.commands() {
        lines.put(format_args!(
            "cmdstat_{}:calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}",
            command.spec.name,
            command.calls,
            command.time_us,
            command.mean_us(),
            command.rejected,
            command.failed,
        ));
    }
}

fn errorstats(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for (code, count) in facts.calls.errors() {
        lines.put(format_args!("errorstat_{code}:count={count}"));
    }
}

fn latencystats(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for command in facts.calls.commands() {
        let shares = [500, 990, 999].map(|share| command.percentile_us(share));
        let [Some(p50), Some(p99), Some(p999)] = shares else {
            continue;
        };
        lines.put(format_args!(
            "latency_percentiles_usec_{}:p50={p50}.000,p99={p99}.000,p99.9={p999}.000",
            command.spec.name,
        ));
    }
}

fn cluster(lines: &mut Lines, _: &InfoFacts<'_>) {
    lines.field("cluster_enabled", 0);
}

fn keyspace(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for (db, census) in facts
        .census
        .iter()
        .enumerate()
        .filter(|(_, census)| census.keys > 0)
    {
        let mean_ms = census
            .deadline_sum_ms
            .checked_div(census.volatile as u128)
            .unwrap_or(0);
        let ttl_ms = mean_ms.saturating_sub(u128::from(facts.now.wall_ms));
        let (keys, volatile) = (census.keys, census.volatile);
        let ttl_ms = if volatile == 0 { 0 } else { ttl_ms };
        lines.put(format_args!(
            "db{db}:keys={keys},expires={volatile},avg_ttl={ttl_ms}"
        ));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::command::host::JournalFacts;

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1.00K"),
            (1_572_864, "1.50M"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    /// The lines that `write` makes, each with its end.
    fn text(write: impl FnOnce(&mut Lines)) -> String {
        let mut lines = Lines(String::new());
        write(&mut lines);
        lines.0
    }

    #[test]
    fn how_far_loading_is() {
        let load = LoadFacts {
            is_loading: true,
            started_s: 1_700_000_000,
            took_ms: 30_000,
            bytes_total: 400,
            bytes_read: 300,
            ..LoadFacts::default()
        };
        let begun = text(|lines| loading(lines, &load));
        assert!(
            begun.contains("loading_start_time:1700000000\r\n"),
            "{begun}"
        );
        assert!(begun.contains("loading_loaded_perc:75.00\r\n"), "{begun}");
        assert!(begun.ends_with("loading_eta_seconds:10\r\n"), "{begun}");
        let unknown = text(|lines| loading(lines, &LoadFacts::default()));
        assert!(
            unknown.contains("loading_loaded_perc:0.00\r\n"),
            "{unknown}"
        );
        assert!(unknown.ends_with("loading_eta_seconds:1\r\n"), "{unknown}");
    }

    #[test]
    fn how_it_goes_with_snapshots_and_journal() {
        let facts = DurabilityFacts {
            snapshot: SnapshotFacts {
                was_written: false,
                last_took_s: Some(3),
                running_s: Some(2),
                shards_written: 1,
                shards_total: 4,
                ..SnapshotFacts::default()
            },
            journal: JournalFacts {
                history: [0xa1; 20],
                backlog_frames: 3,
                frames: 10,
                syncs: 4,
                sync_total_us: 90,
                is_failing: true,
                ..JournalFacts::default()
            },
            ..DurabilityFacts::default()
        };
        let shown = text(|lines| {
            snapshots(lines, &facts, 20, true);
            journal(lines, &facts);
        });
        for line in [
            "current_fork_perc:25.00",
            "current_save_keys_processed:5",
            "current_save_keys_total:20",
            "journal_reserve_bytes:-1",
            "rdb_bgsave_in_progress:1",
            "rdb_last_bgsave_status:err",
            "rdb_last_bgsave_time_sec:3",
            "rdb_current_bgsave_time_sec:2",
            "aof_enabled:1",
            "aof_rewrite_in_progress:1",
            "aof_last_write_status:err",
            "journal_history:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
            "journal_backlog_frames:3",
            "journal_sync_total_us:90",
            "journal_frames_per_sync:2.50",
            "journal_snapshot_perc:25.00",
        ] {
            assert!(shown.contains(&format!("{line}\r\n")), "{line}: {shown}");
        }
    }
}
