//! The server around the sessions: engine, clock, settings, connections, statistics.
//!
//! One value, shared by all workers; the `Host` that commands see.

use super::kept::Disk;
use super::registry::{Client, Registry};
use super::waits::Deliveries;
use crate::clock::Clock;
use crate::command::host::{Clients, Durability, Host, MemoryFacts};
use crate::command::{Park, ReplyError, error};
use crate::config::{SettingError, Settings};
use crate::engine::coordinator::Bounds;
use crate::engine::ids::snowflake::Layout;
use crate::engine::{Account, Bound, Census, Engine, FRAME_BYTES_MAX, Need, Sink, Tally};
use crate::journal::keeper::{Keeper, Report};
use crate::journal::recover::Found;
use crate::journal::{Admission, Log};
use crate::observe::calls::CallStats;
use crate::observe::exceeded::Exceeded;
use crate::observe::info::{self, Identity, InfoFacts};
use crate::observe::process::ProcessUse;
use crate::observe::rarely::Rarely;
use crate::observe::stats::{Counts, Stats};
use crate::pubsub::{Hub, Kind};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use linchpin_protocol::Writer;
use std::path::PathBuf;
use std::sync::Arc;

/// How a server is made.
pub(crate) struct ServerOptions {
    /// The settings to begin with.
    pub(crate) settings: Settings,
    /// The file they came from.
    pub(crate) config_file: Option<PathBuf>,
    /// Number of workers.
    pub(crate) workers: usize,
    /// Databases of the engine: no fewer than the settings say, whose number commands go by.
    pub(crate) databases: u32,
    /// Shards per database.
    pub(crate) shards: usize,
    /// Where time comes from.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where effects go, if not into a journal that comes later.
    pub(crate) sink: Option<Box<dyn Sink>>,
    /// Tells what is on disk, in the place of the server's own, if there is to be none.
    pub(crate) disk_double: Option<Arc<dyn Durability>>,
    /// The first of the server's random numbers.
    pub(crate) seed: u64,
    /// Seed of the hash of keys.
    pub(crate) hash_seed: u64,
    /// How many of so many clients the process can have, which is asked before `maxclients` rises.
    pub(crate) clients_fit: fn(u32) -> u32,
    /// Called once, when somebody asks the server to stop.
    pub(crate) on_shut_down: Box<dyn Fn() + Send + Sync>,
}

/// What all workers share.
pub(crate) struct Server {
    engine: Engine,
    disk: Disk,
    /// Takes the place of `disk`.
    disk_double: Option<Arc<dyn Durability>>,
    clock: Arc<dyn Clock>,
    settings: Mutex<Arc<Settings>>,
    /// Rises with every change of the settings, so that workers notice.
    settings_version: AtomicU64,
    registry: Arc<Registry>,
    hub: Hub,
    stats: Stats,
    calls: CallStats,
    exceeded: Exceeded,
    /// What was held when the server was made.
    startup_bytes: usize,
    identity: Identity,
    random: Mutex<rand::rngs::StdRng>,
    /// Monotonic milliseconds, or `NOT_STOPPING`.
    stopping_since_ms: AtomicU64,
    clients_fit: fn(u32) -> u32,
    on_shut_down: Box<dyn Fn() + Send + Sync>,
    http_line: Rarely,
    cut_off_line: Rarely,
}

/// What the process has on the heap before it serves anybody, and for each worker. Measured; what
/// workers keep for later is counted as it comes.
const BASE_BYTES: usize = 80 << 10;
const WORKER_BYTES: usize = 100 << 10;
/// About what the journal takes of one step of expiry or eviction, at most.
const SWEEP_BYTES: usize = 256 << 10;

/// What has become of a call that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// `WAITAOF`: whether the own disk has it. Nobody else can.
    Copies(bool),
    /// `SAVE`: the snapshot was written.
    Saved,
    /// `SHUTDOWN SAVE`: the server is to stop.
    Stop,
    /// The request that waited is to run now.
    Run,
    /// It failed.
    Failed(ReplyError),
}

impl Outcome {
    /// Writes the reply, if there is one.
    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        match self {
            Self::Copies(is_synced) => {
                out.array(2);
                out.integer(i64::from(*is_synced));
                out.integer(0);
            }
            Self::Saved => out.simple("OK"),
            Self::Stop | Self::Run => {}
            Self::Failed(error) => out.error_bytes(&error.line()),
        }
    }
}

/// So long after the server began to stop, calls that wait are answered with what is the case.
const STOP_PARK_MS: u64 = 500;

/// A moment that never comes.
const NOT_STOPPING: u64 = u64::MAX;

impl Server {
    /// A server without connections.
    pub(crate) fn new(options: ServerOptions) -> Self {
        use rand::{Rng, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(options.seed);
        let engine_options = crate::engine::Options {
            databases: options.databases,
            workers: options.workers,
            shards: options.shards,
            hash_seed: options.hash_seed,
        };
        let mut run_id = [0; 20];
        random.fill_bytes(&mut run_id);
        let identity = Identity {
            run_id: run_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            config_file: options.config_file,
            workers: options.workers,
            started: options.clock.now(),
            port: AtomicU64::new(u64::from(options.settings.port)),
        };
        let engine = Engine::new(engine_options, options.sink);
        engine.set_bound(bound(&options.settings));
        engine.coordinator().set_bounds(waits(&options.settings));
        engine.ids().set_layout(snowflake(&options.settings));
        engine
            .ids()
            .set_bound(options.settings.id_clock_bound_ms.into());
        let startup_bytes = BASE_BYTES + options.workers * WORKER_BYTES;
        engine.ledger().change(Account::Fixed, 0, startup_bytes);
        let registry = Arc::new(Registry::new(Arc::clone(engine.ledger())));
        engine.set_callers(Box::new(Deliveries(Arc::clone(&registry))));
        registry.limit_clients(options.settings.clients_bytes_max());
        let hub = Hub::new(options.workers);
        hub.limit_unsent(unsent_bytes_max(&options.settings));
        Self {
            engine,
            disk: Disk::default(),
            disk_double: options.disk_double,
            clock: options.clock,
            settings: Mutex::new(Arc::new(options.settings)),
            settings_version: AtomicU64::new(0),
            registry,
            hub,
            stats: Stats::new(options.workers),
            calls: CallStats::new(options.workers),
            exceeded: Exceeded::new(),
            startup_bytes,
            identity,
            random: Mutex::new(random),
            stopping_since_ms: AtomicU64::new(NOT_STOPPING),
            clients_fit: options.clients_fit,
            on_shut_down: options.on_shut_down,
            http_line: Rarely::new(),
            cut_off_line: Rarely::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What is kept on disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The journal, once it runs.
    #[inline]
    pub(crate) fn journal(&self) -> Option<&Log> {
        self.disk.log()
    }

    /// From now on what changes is kept: `log` knows all that is in the engine.
    pub(crate) fn begin_keeping(&self, log: Arc<Log>, keeper: Arc<Keeper>, found: Found) {
        let records = self.records();
        self.engine.set_sink(Box::new(Arc::clone(&log)), records);
        // Under the lock, so that no change of them comes between.
        let settings = self.settings.lock();
        self.disk.begin(log, keeper, found, &settings);
    }

    /// Whether what changes is to be recorded.
    pub(crate) fn records(&self) -> bool {
        self.settings.lock().appendonly
    }

    /// Nothing can be kept any more: notes why, and begins to stop.
    pub(crate) fn fail(&self, why: &str) {
        tracing::error!("the journal failed; nothing is acknowledged any more: {why}");
        self.disk.fail(why);
        Host::shut_down(self);
    }

    /// Whether the settings want a snapshot now.
    pub(crate) fn is_snapshot_due(&self, report: &Report) -> bool {
        let (settings, changes) = (Host::settings(self), Host::changes(self));
        let now_s = self.clock.now().wall_ms / 1_000;
        self.disk.is_snapshot_due(report, &settings, changes, now_s)
    }

    /// Whether a snapshot is to be written when the server stops: where no journal has what changed
    /// since the last one, and there are rules that say when to write one.
    pub(crate) fn wants_last_snapshot(&self) -> bool {
        let settings = Host::settings(self);
        !settings.appendonly && !settings.save.is_empty()
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.identity.workers
    }

    /// Whether a request that adds about so many bytes to the journal may run.
    pub(crate) fn admit_write(&self, bytes: usize) -> Admission {
        self.journal().map_or(Admission::Ok, |log| log.admit(bytes))
    }

    /// The same, and claims the room: answers also what is to be given back when the request has
    /// run, or will not.
    pub(crate) fn claim_write(&self, bytes: usize) -> (Admission, u64) {
        self.journal()
            .map_or((Admission::Ok, 0), |log| log.claim(bytes))
    }

    /// Gives back what was claimed.
    pub(crate) fn give_back(&self, claimed_bytes: u64) {
        if let Some(log) = self.journal() {
            log.give_back(claimed_bytes);
        }
    }

    /// Whether the journal has room for what a sweep of expired keys may remove.
    pub(crate) fn may_sweep(&self) -> bool {
        !self.engine.is_recording() || self.admit_write(SWEEP_BYTES) == Admission::Ok
    }

    /// Whether the journal has room for what making room in memory may remove. Where it is only
    /// behind there will be.
    pub(crate) fn may_evict(&self) -> bool {
        !self.engine.is_recording()
            || matches!(
                self.admit_write(SWEEP_BYTES),
                Admission::Ok | Admission::Behind
            )
    }

    /// Whether what was kept is still being read.
    pub(crate) fn is_loading(&self) -> bool {
        let disk = Host::durability(self);
        disk.is_some_and(|disk| disk.is_loading())
    }

    /// What has become of a call that waits; `None` while it has to go on waiting. A server that
    /// stops lets nobody wait for long.
    pub(crate) fn outcome(&self, park: Park) -> Option<Outcome> {
        let now_ms = self.clock.mono_us() / 1_000;
        let stopping_since_ms = self.stopping_since_ms();
        let is_over = stopping_since_ms.is_some_and(|since_ms| now_ms >= since_ms + STOP_PARK_MS);
        match park {
            // The coordinator tells what came of these.
            Park::Hold { .. }
            | Park::Observe { .. }
            | Park::Latch { .. }
            | Park::Barrier { .. }
            | Park::Ids { .. }
            | Park::Look { .. } => None,
            Park::Synced {
                frame,
                local,
                replicas,
                until_ms,
            } => {
                let is_kept = self.settings.lock().appendonly;
                if local && !is_kept {
                    return Some(Outcome::Failed(error::WAITAOF_WITHOUT_JOURNAL));
                }
                let is_synced = Host::is_durable(self, frame);
                let is_met = is_synced && replicas == 0;
                let is_late = until_ms.is_some_and(|at| now_ms >= at);
                (is_met || is_late || is_over).then_some(Outcome::Copies(is_synced))
            }
            Park::Reservation => {
                let is_ready = self.engine.ids().is_ready(self.clock.now());
                (is_ready || is_over).then_some(Outcome::Run)
            }
            Park::Snapshot { number } => match self.snapshot_outcome(number) {
                Some(true) => Some(Outcome::Saved),
                Some(false) => Some(Outcome::Failed(error::SAVE_FAILED)),
                None => is_over.then_some(Outcome::Failed(error::SAVE_STOPPED)),
            },
            Park::Stop { number, is_forced } => match self.snapshot_outcome(number) {
                Some(is_saved) if is_saved || is_forced => Some(Outcome::Stop),
                Some(_) => Some(Outcome::Failed(error::SHUTDOWN_FAILED)),
                None => is_over.then_some(Outcome::Stop),
            },
        }
    }

    /// Whether a snapshot was written; `None` while it is.
    fn snapshot_outcome(&self, number: u64) -> Option<bool> {
        let disk = Host::durability(self);
        disk.map_or(Some(false), |disk| disk.snapshot_outcome(number))
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who listens to what.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What is counted of each command.
    pub(crate) fn calls(&self) -> &CallStats {
        &self.calls
    }

    /// Tells which port the server really listens on.
    pub(crate) fn set_port(&self, port: u16) {
        self.identity.port.store(u64::from(port), Ordering::Relaxed);
    }

    /// Has worker `worker` make room where memory is above its bound and no command asks: after the
    /// bound was lowered, after a command that took much, or while nobody writes. To be called
    /// about ten times a second, and again where the answer is that more can go.
    pub(crate) fn keep_bound(&self, worker: usize) -> bool {
        if self.engine.is_over_bound() && !self.may_evict() {
            return false;
        }
        let batch = self.engine.shared(worker, self.clock.now());
        let mut step = batch.step();
        let made = step.make_room(Need::NOTHING);
        let has_room = step.has_room();
        let mut counts = Counts::default();
        counts.add_tally(&step.take_tally());
        drop(step);
        self.stats.add(worker, &counts);
        self.note_room(has_room);
        made && !has_room
    }

    /// Writes, at most once a minute, that a client was cut off at a limit, and which.
    pub(crate) fn note_cut_off(&self, client: &Client, limit: &str) {
        if self.cut_off_line.due(self.clock.now().engine_ms) {
            let (client_id, addr) = (client.id(), client.addr());
            tracing::warn!(client_id, addr, "a client was cut off at its {limit}");
        }
    }

    /// Ends the connections that hold most while all hold more than `maxmemory-clients`. Counted
    /// for worker `worker`.
    #[cold]
    pub(crate) fn evict_clients(&self, worker: usize) {
        let gone = self.registry.evict();
        for client in &gone {
            self.note_cut_off(client, "maxmemory-clients");
        }
        let counts = Counts {
            evicted_clients: gone.len() as u64,
            ..Counts::default()
        };
        self.stats.add(worker, &counts);
    }

    /// Writes, at most once a minute, that somebody sends HTTP here.
    pub(crate) fn note_http(&self, client_id: u64) {
        if self.http_line.due(self.clock.now().engine_ms) {
            tracing::warn!(
                client_id,
                "an HTTP request arrived and was cut off: either a service is misconfigured or \
                 somebody uses a browser to attack this server"
            );
        }
    }

    /// When somebody asked the server to stop, in monotonic milliseconds.
    pub(crate) fn stopping_since_ms(&self) -> Option<u64> {
        let since_ms = self.stopping_since_ms.load(Ordering::Acquire);
        (since_ms != NOT_STOPPING).then_some(since_ms)
    }

    /// Rises with every change of the settings.
    pub(crate) fn settings_version(&self) -> u64 {
        self.settings_version.load(Ordering::Acquire)
    }

    fn check_clients_fit(&self, maxclients: u32) -> Result<(), (String, SettingError)> {
        let fit = (self.clients_fit)(maxclients);
        if fit >= maxclients {
            return Ok(());
        }
        let reason = format!(
            "The operating system is not able to handle the specified number of clients, try \
             with {fit}"
        );
        Err(("maxclients".to_owned(), SettingError::Value(reason)))
    }

    /// Replaces the settings by what `change` makes of them, if it makes anything.
    pub(crate) fn update_settings<T, E>(
        &self,
        change: impl FnOnce(&Settings) -> Result<(Settings, T), E>,
    ) -> Result<T, E> {
        let mut current = self.settings.lock();
        let (next, result) = change(&current)?;
        self.engine.set_bound(bound(&next));
        self.engine.coordinator().set_bounds(waits(&next));
        self.engine.ids().set_bound(next.id_clock_bound_ms.into());
        self.registry.limit_clients(next.clients_bytes_max());
        self.hub.limit_unsent(unsent_bytes_max(&next));
        *current = Arc::new(next);
        self.disk.obey(&current);
        #[cfg(not(loom))]
        crate::observe::log::set_level(current.loglevel);
        drop(current);
        self.settings_version.fetch_add(1, Ordering::Release);
        Ok(result)
    }
}

/// How snowflakes are made up, by the settings.
pub(crate) fn snowflake(settings: &Settings) -> Layout {
    let [time_bits, worker_bits, sequence_bits] = settings.snowflake_bits;
    Layout {
        time_bits,
        worker_bits,
        sequence_bits,
        epoch_ms: settings.snowflake_epoch_ms,
        worker: settings.snowflake_worker,
    }
}

/// What the coordinator is told of the settings.
fn waits(settings: &Settings) -> Bounds {
    Bounds {
        waiters: settings.max_waiters as usize,
        lease_grace_ms: settings.lease_grace_ms.into(),
        id_bound_ms: settings.id_clock_bound_ms.into(),
    }
}

/// What may wait for one subscriber.
fn unsent_bytes_max(settings: &Settings) -> usize {
    match settings.client_output_buffer_limit.pubsub.hard_bytes {
        0 => usize::MAX,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    }
}

/// What the engine is told of the settings.
fn bound(settings: &Settings) -> Bound {
    Bound {
        bytes_max: settings.maxmemory,
        policy: settings.maxmemory_policy,
        samples: settings.maxmemory_samples,
        lfu_log_factor: settings.lfu_log_factor,
        lfu_decay_min: settings.lfu_decay_min,
    }
}

impl Host for Server {
    fn admit_frame(&self, bytes: usize) -> Result<(), ReplyError> {
        if bytes > FRAME_BYTES_MAX {
            return Err(error::FRAME_TOO_LONG);
        }
        match self.admit_write(bytes) {
            Admission::Ok => Ok(()),
            Admission::Behind => Err(error::JOURNAL_BEHIND),
            Admission::Full => Err(error::JOURNAL_FULL),
            Admission::Broken => Err(error::JOURNAL_BROKEN),
        }
    }

    fn note_room(&self, is_there: bool) {
        self.exceeded.note(self.clock.mono_us(), !is_there);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock())
    }

    fn change_settings(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), ReplyError> {
        let changed = self.update_settings(|settings| {
            let (next, warnings) = settings.set_many(pairs)?;
            if next.maxclients > settings.maxclients {
                self.check_clients_fit(next.maxclients)?;
            }
            Ok((next, warnings))
        });
        let warnings = changed.map_err(|(argument, error)| {
            let line = error.reply(&argument);
            ReplyError::err(line.strip_prefix("ERR ").unwrap_or(&line))
        })?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    fn reset_stats(&self) {
        self.stats.reset();
        self.calls.reset();
        self.exceeded.reset();
        self.hub.losses().reset();
        self.engine.ledger().reset_peak();
    }

    fn info(&self, sections: &[String], census: &[Census], tally: &Tally) -> String {
        let mut counts: Counts = self.stats.sum();
        counts.add_tally(tally);
        let settings = self.settings();
        let clients = self.registry.list();
        let (disk, now) = (Host::durability(self), self.clock.now());
        let changes = Host::changes(self) + tally.changes;
        let facts = InfoFacts {
            identity: &self.identity,
            settings: &settings,
            counts: &counts,
            calls: &self.calls,
            memory: self.memory(census),
            durability: disk.map(|disk| disk.facts(changes, now)),
            exceeded_ms: self.exceeded.ms(self.clock.mono_us()),
            rates: self.stats.rates(),
            step_us_max: self.stats.step_us_max(),
            census,
            clients: &clients,
            subscribed: Kind::ALL.map(|kind| self.hub.len(kind)),
            coordination: self.engine.coordinator().totals(),
            ids: self.engine.ids().totals(),
            watched_keys: self.engine.watched_keys(),
            now,
        };
        info::render(sections, &facts)
    }

    fn memory(&self, census: &[Census]) -> MemoryFacts {
        let ledger = self.engine.ledger();
        let sum = |part: fn(&Census) -> usize| census.iter().map(part).sum::<usize>() as u64;
        MemoryFacts {
            used_bytes: ledger.total() as u64,
            bounded_bytes: ledger.bounded() as u64,
            peak_bytes: ledger.peak() as u64,
            startup_bytes: self.startup_bytes as u64,
            clients_bytes: ledger.bytes(Account::Clients) as u64,
            dataset_bytes: sum(|db| db.bytes - db.table_bytes),
            keys: sum(|db| db.keys),
            bytes_max: self.engine.bound().bytes_max,
            resident_bytes: ProcessUse::read().rss_bytes,
        }
    }

    fn changes(&self) -> u64 {
        self.stats.changes()
    }

    fn clients(&self) -> &dyn Clients {
        &*self.registry
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn shut_down(&self) {
        let now_ms = self.clock.mono_us() / 1_000;
        let order = Ordering::AcqRel;
        let since_ms = &self.stopping_since_ms;
        if since_ms
            .compare_exchange(NOT_STOPPING, now_ms, order, Ordering::Relaxed)
            .is_ok()
        {
            (self.on_shut_down)();
        }
    }

    fn is_durable(&self, frame: u64) -> bool {
        // Whoever switches recording on has said before that there is a gap.
        let is_kept = self.records() && self.engine.is_recording();
        is_kept && Host::durability(self).is_some_and(|disk| disk.has(frame))
    }

    fn durability(&self) -> Option<&dyn Durability> {
        match &self.disk_double {
            Some(double) => Some(&**double),
            None if self.disk.is_there() => Some(&self.disk),
            None => None,
        }
    }

    fn random(&self) -> u64 {
        use rand::Rng;
        self.random.lock().next_u64()
    }

    fn fill_random(&self, numbers: &mut [u64]) {
        use rand::Rng;
        let mut random = self.random.lock();
        numbers.fill_with(|| random.next_u64());
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
