//! A worker: one thread, one event loop, the connections dealt to it.

use super::DRAIN_MAX;
use super::coordination;
use super::driver::Connection;
use super::expiry;
use super::journal;
use super::local::{Local, Stuck};
use super::pubsub;
use super::stream::Unattached;
use crate::engine::{Settler, Step};
use crate::journal::{Log, Needs};
use crate::session::registry::Origin;
use crate::session::server::Server;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc, oneshot};

/// Connections that may wait for a worker to take them.
const ARRIVALS_MAX: usize = 1_024;
/// Tasks polled before the kernel is asked for events again, if there are so many to poll: asking
/// costs as much as a short read.
const POLLS_PER_EVENT_POLL: u32 = 256;
/// Shards of flushed databases freed between two looks at the clients.
const FREED_SHARDS: usize = 1;
/// Effort of settling between two looks at the clients: some 64 pages moved, or 8,192 looked at.
/// What this and a purge's step take is in docs/decisions/0020-pages.md.
const SETTLING_EFFORT: usize = 8_192;
/// Shards in which a purge closes gaps between two looks at the clients.
const PURGED_SHARDS: usize = 4;
/// Replies that waited so long for a journal that did not come on are given up.
const JOURNAL_STUCK_MS_MAX: u64 = 30_000;
/// Time-outs are looked at, and statistics sampled, this often.
const TICK: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
pub(super) struct Arrival {
    pub(super) stream: Unattached,
    pub(super) origin: Origin,
    pub(super) permit: Permit,
}

/// The way to a worker.
#[derive(Clone)]
pub(super) struct Door {
    arrivals: mpsc::Sender<Arrival>,
    load: Arc<AtomicUsize>,
}

impl Door {
    /// Connections the worker has, those on their way among them.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Sends a connection in. Waits while too many are waiting already.
    pub(super) async fn enter(&self, arrival: Arrival) {
        // A worker that has gone takes no connections: the server is stopping.
        let _ = self.arrivals.send(arrival).await;
    }
}

/// Counts a connection for as long as it lives.
pub(super) struct Permit {
    open: Arc<AtomicUsize>,
    load: Arc<AtomicUsize>,
}

impl Permit {
    pub(super) fn new(open: &Arc<AtomicUsize>, door: &Door) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        door.load.fetch_add(1, Ordering::Relaxed);
        Self {
            open: Arc::clone(open),
            load: Arc::clone(&door.load),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The running workers.
pub(super) struct Workers {
    doors: Vec<Door>,
    done: Vec<oneshot::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
    stop: Vec<Arc<Notify>>,
}

impl Workers {
    /// The ways to the workers, in order.
    pub(super) fn doors(&self) -> Vec<Door> {
        self.doors.clone()
    }

    /// Tells the workers to end once their connections have, and waits for it.
    pub(super) async fn finish(self) {
        self.stop.iter().for_each(|stop| stop.notify_one());
        for done in self.done {
            // A worker that panicked has gone as well.
            let _ = done.await;
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

/// Starts the workers; they run when this returns.
pub(super) async fn start(count: usize, server: &Arc<Server>) -> io::Result<Workers> {
    let (doors, done, threads, stop) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut workers = Workers {
        doors,
        done,
        threads,
        stop,
    };
    for index in 0..count {
        let (arrivals, to_come) = mpsc::channel(ARRIVALS_MAX);
        let (done, is_done) = oneshot::channel();
        let stop = Arc::new(Notify::new());
        let (server, stopped) = (Arc::clone(server), Arc::clone(&stop));
        let (runs, does_run) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        workers.threads.push(thread.spawn(move || {
            let _vital = Vital;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(POLLS_PER_EVENT_POLL)
                .build_local(LocalOptions::default());
            // Who starts the workers waits for both of these.
            match runtime {
                Ok(runtime) => {
                    let _ = runs.send(Ok(()));
                    runtime.block_on(work(index, count, server, to_come, stopped));
                    drop(runtime);
                    let _ = done.send(());
                }
                Err(error) => {
                    let _ = runs.send(Err(error));
                }
            }
        })?);
        let gone = |_| io::Error::other("a worker ended before it began");
        does_run.await.map_err(gone)??;
        workers.doors.push(Door {
            arrivals,
            load: Arc::default(),
        });
        workers.done.push(is_done);
        workers.stop.push(stop);
    }
    Ok(workers)
}

async fn work(
    index: usize,
    count: usize,
    server: Arc<Server>,
    mut to_come: mpsc::Receiver<Arrival>,
    stopped: Arc<Notify>,
) {
    let local = Rc::new(Local::new(index, server));
    let ticking = tokio::task::spawn_local(tick(Rc::clone(&local)));
    // One worker is enough: it goes over the shards of all.
    let tidying = (index == 0).then(|| tokio::task::spawn_local(tidy(Rc::clone(&local))));
    let expiring = tokio::task::spawn_local(expire(Rc::clone(&local), count));
    let coordinating =
        (local.index == 0).then(|| tokio::task::spawn_local(coordinate(Rc::clone(&local))));
    let relaying = tokio::task::spawn_local(relay(Rc::clone(&local)));
    let delivering = tokio::task::spawn_local(deliver(Rc::clone(&local)));
    loop {
        tokio::select! {
            () = stopped.notified() => break,
            arrival = to_come.recv() => match arrival {
                Some(arrival) => welcome(arrival, &local),
                None => break,
            },
        }
    }
    to_come.close();
    while let Some(arrival) = to_come.recv().await {
        welcome(arrival, &local);
    }
    let gone = async {
        while local.open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(DRAIN_MAX, gone).await.is_err() {
        tracing::warn!(
            connections = local.open.get(),
            "closed before they had read their replies"
        );
    }
    ticking.abort();
    tidying.inspect(tokio::task::JoinHandle::abort);
    expiring.abort();
    coordinating.inspect(tokio::task::JoinHandle::abort);
    relaying.abort();
    delivering.abort();
}

/// Runs one connection in a task of its own: a panic in it ends the connection and nothing else.
fn welcome(arrival: Arrival, local: &Rc<Local>) {
    let stream = match arrival.stream.attach() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be attached");
            return;
        }
    };
    let presence = Presence::new(local, arrival.permit);
    let connection = Connection::new(stream, arrival.origin, Rc::clone(local), presence);
    tokio::task::spawn_local(connection);
}

/// A connection of a worker's, for as long as its task lives.
pub(super) struct Presence {
    local: Rc<Local>,
    _permit: Permit,
}

impl Presence {
    fn new(local: &Rc<Local>, permit: Permit) -> Self {
        local.open.set(local.open.get() + 1);
        Self {
            local: Rc::clone(local),
            _permit: permit,
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.local.open.set(self.local.open.get() - 1);
        if std::thread::panicking() {
            self.local.counts.borrow_mut().panics += 1;
            self.local.settle_counts();
            tracing::error!("a connection was closed by a panic in its task");
        }
    }
}

/// Ends the process if a panic passes: a worker whose clockwork has stopped would go on looking
/// well.
struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker's own task panicked; the server cannot go on");
            std::process::abort();
        }
    }
}

/// Time-outs and statistics.
async fn tick(local: Rc<Local>) {
    let _vital = Vital;
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = local.server.clock().now();
        local.now_ms.set(now.mono_us / 1_000);
        let settings = Arc::clone(local.worker.borrow_mut().settings());
        local.report();
        local.watches.tick(&settings, now.mono_us / 1_000);
        let stuck = local.server.journal().map(|log| stuck(log, now.mono_us));
        let stuck = stuck.unwrap_or_default();
        local.journal_stuck.set(stuck);
        if local.server.stopping_since_ms().is_some() || stuck != Stuck::default() {
            local.watches.wake_all();
        }
        if local.index == 0 {
            local.server.stats().sample(now.mono_us);
            local.server.evict_clients(local.index);
        }
    }
}

/// Who has waited too long for the journal by now.
fn stuck(log: &Log, mono_us: u64) -> Stuck {
    let is_broken = log.is_broken();
    let is_stuck = |needs| {
        let since_us = log.waits_since_us(needs);
        let waited_us = since_us.map_or(0, |since_us| mono_us.saturating_sub(since_us));
        is_broken || waited_us / 1_000 >= JOURNAL_STUCK_MS_MAX
    };
    Stuck {
        writes: is_stuck(Needs::default()),
        syncs: is_stuck(Needs::synced(u64::MAX)),
    }
}

/// Keeps memory at its bound, frees what was flushed, closes gaps if it was told to, and gives
/// sparse memory back, each a little at a time.
async fn tidy(local: Rc<Local>) {
    let _vital = Vital;
    let mut settler = Settler::default();
    loop {
        tokio::time::sleep(TICK).await;
        // What is being loaded must not be evicted: later frames build on it.
        if local.server.is_loading() {
            continue;
        }
        while local.index == 0 && local.server.keep_bound(local.index) {
            tokio::task::yield_now().await;
        }
        while local.server.engine().free_some(FREED_SHARDS) {
            tokio::task::yield_now().await;
        }
        while tidy_some(&local, |step| step.purge_some(PURGED_SHARDS)) {
            tokio::task::yield_now().await;
        }
        while tidy_some(&local, |step| settler.run(step, SETTLING_EFFORT)) {
            tokio::task::yield_now().await;
        }
    }
}

/// One step of the latter two; answers whether there is more to do.
fn tidy_some(local: &Local, tidy: impl FnOnce(&Step<'_>) -> bool) -> bool {
    let clock = local.server.clock();
    let now = clock.now();
    let more = tidy(&local.server.engine().shared(local.index, now).step());
    let busy_us = clock.mono_us().saturating_sub(now.mono_us);
    local.server.stats().note_step(local.index, busy_us);
    more
}

/// The waking of connections that wait for the journal.
async fn relay(local: Rc<Local>) {
    let _vital = Vital;
    journal::relay(local).await;
}

/// The waking of connections that messages came for.
async fn deliver(local: Rc<Local>) {
    let _vital = Vital;
    pubsub::relay(local).await;
}

/// The end of leases, waits and sessions: the first worker's, for all of them.
async fn coordinate(local: Rc<Local>) {
    let _vital = Vital;
    coordination::run(local).await;
}

/// The removal of keys at their deadline.
async fn expire(local: Rc<Local>, workers: usize) {
    let _vital = Vital;
    expiry::run(local, workers).await;
}
