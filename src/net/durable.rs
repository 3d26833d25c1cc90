//! The data directory of a running server: opened before it listens, loaded while it answers
//! `-LOADING`, kept by threads of its own, closed after the last connection has gone.
//!
//! ```text
//!   open: one owner, identity ---> load (a thread): recover, then the log goes on behind it
//!                                    |
//!                                    v
//!          writer, syncer (journal) + keeper (snapshots)
//!          + reserver (fencing tokens, IDs) ---> close: final sync, closing record
//! ```

use super::NetError;
use crate::clock::{Clock, SystemClock};
use crate::engine::SHARDS_DEFAULT;
use crate::engine::coordinator::FENCE_MAX;
use crate::engine::ids::snowflake::Layout;
use crate::engine::ids::{AHEAD_MS, Reservation};
use crate::journal::disk::Disk;
use crate::journal::error::Error;
use crate::journal::identity::{self, Identity, Owner, Random, Shape};
use crate::journal::keeper::{Keeper, Report};
use crate::journal::log::{Log, Options};
use crate::journal::recover::{Found, Progress, recover};
use crate::journal::reserver::{FENCES_RESERVED, Reserver, first_reservation};
use crate::journal::writer::{self, SEGMENT_BYTES_DEFAULT, Threads, Writer};
use crate::session::kept;
use crate::session::server::Server;
use crate::sync::Wake;
use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Progress of loading is told once in so many microseconds.
const PROGRESS_LINE_US: u64 = 2_000_000;

/// A data directory that this process owns.
pub(super) struct Directory {
    disk: Arc<dyn Disk>,
    owner: Owner,
    pub(super) identity: Identity,
}

/// What keeps it while the server runs.
pub(super) struct Running {
    threads: Threads,
    keeper: Arc<Keeper>,
    keeping: JoinHandle<()>,
    reserver: Arc<Reserver>,
    reserving: JoinHandle<()>,
    _owner: Owner,
}

/// Takes the directory for this process, or makes it. Snowflakes that it has given out are to be
/// made up as `snowflake` says.
pub(super) fn open(
    path: &std::path::Path,
    databases: u32,
    snowflake: Layout,
) -> Result<Directory, Error> {
    let disk = identity::open_directory(path)?;
    let owner = Owner::take(&disk, std::process::id())?;
    let random = Random {
        history: rand::random(),
        secret: rand::random(),
        hash_seed: rand::random(),
    };
    let shape = Shape {
        shards: SHARDS_DEFAULT as u32,
        databases,
    };
    let identity = Identity::begin(&disk, random, shape)?;
    if let Some(recorded) = identity.snowflake.filter(|layout| *layout != snowflake) {
        return Err(Error::OtherSnowflakes { recorded });
    }
    Ok(Directory {
        disk: Arc::new(disk),
        owner,
        identity,
    })
}

/// Begins to load on a thread of its own; answers when it has ended. One that is not waited for is
/// left to the end of the process.
pub(super) fn start_loading(
    directory: Directory,
    server: &Arc<Server>,
    clock: &Arc<SystemClock>,
) -> std::io::Result<impl Future<Output = std::io::Result<Result<Running, Error>>> + Unpin> {
    let (done, is_done) = tokio::sync::oneshot::channel();
    let (server, clock) = (Arc::clone(server), Arc::clone(clock));
    let thread = std::thread::Builder::new().name("loading".to_owned());
    thread.spawn(move || {
        // Nobody waits any more if the server stops meanwhile.
        let _ = done.send(load(directory, &server, clock));
    })?;
    let panicked = |_| std::io::Error::other("the thread that loads panicked");
    Ok(Box::pin(async move { is_done.await.map_err(panicked) }))
}

/// Ends what keeps the directory, if it was loaded, after the last connection has gone.
pub(super) fn close(running: Option<Running>, server: &Server) -> Result<(), NetError> {
    let closed = running.map_or(Ok(()), |running| running.close(server));
    match server.disk().failure() {
        Some(why) => Err(NetError::JournalFailed { why }),
        None => Ok(closed?),
    }
}

/// The fence behind which a new directory begins: 2^20 for each second since 1970. One that was
/// there before and got lost has given out lower ones, and resources remember them.
fn fence_of_new(wall_ms: u64) -> u64 {
    const FENCES_A_SECOND: u64 = 1 << 20;
    let fence = (wall_ms / 1_000).saturating_mul(FENCES_A_SECOND);
    // A clock that is centuries ahead leaves room to go on.
    fence.min(FENCE_MAX / 2)
}

/// Sees to it that no fencing token and no ID that may have been given out before is given out
/// again; notes in `identity` what this process begins with. Answers what is reserved of IDs, if
/// anything.
fn begin_above(identity: &mut Identity, server: &Server, wall_ms: u64) -> Option<Reservation> {
    let coordinator = server.engine().coordinator();
    let (fence, ids_max_ms) = match identity.fence_max {
        // A directory that got lost may have given out some up to here.
        0 => (fence_of_new(wall_ms), wall_ms.saturating_add(AHEAD_MS)),
        fence_max => (fence_max, identity.ids_max_ms),
    };
    coordinator.skip_fences(fence);
    server.engine().ids().skip(ids_max_ms);
    identity.fence_max = coordinator.fences().0.saturating_add(FENCES_RESERVED);
    let reservation = first_reservation(identity, wall_ms)?;
    identity.ids_max_ms = reservation.until_ms;
    Some(reservation)
}

/// Puts what is in the directory into the server's engine, and from there on what happens in the
/// engine into the directory. Takes as long as that takes.
fn load(
    directory: Directory,
    server: &Arc<Server>,
    clock: Arc<SystemClock>,
) -> Result<Running, Error> {
    let Directory {
        disk,
        owner,
        mut identity,
    } = directory;
    let found = read(&*disk, &identity, server)?;
    identity.resume_at(found.engine_ms);
    let reservation = begin_above(&mut identity, server, clock.now().wall_ms);
    // Not before: a directory that is refused stays as it is.
    identity.store(&*disk)?;
    server
        .engine()
        .coordinator()
        .allow_fences(identity.fence_max);
    let settings = crate::command::host::Host::settings(&**server);
    let options = Options {
        workers: server.workers() + 1,
        number: found.end.number,
        policy: kept::policy(&settings),
        backlog_bytes_max: settings.journal_backlog_bytes,
    };
    let failing = Arc::downgrade(server);
    let log = Arc::new(Log::new(options, move |why| {
        if let Some(server) = failing.upgrade() {
            server.fail(why);
        }
    }));
    let writer_options = writer::Options {
        id: identity.log_id(),
        segment_bytes_max: SEGMENT_BYTES_DEFAULT,
    };
    clock.resume_engine_at(found.engine_ms);
    server.engine().resume_coordinator(clock.now());
    let clock: Arc<dyn Clock> = clock;
    let writer = Writer::open(
        Arc::clone(&log),
        Arc::clone(&disk),
        Arc::clone(&clock),
        writer_options,
        &found.end,
    );
    let io_error = |source| Error::io(crate::journal::error::DIRECTORY, source);
    let threads = writer::spawn(writer.map_err(io_error)?).map_err(io_error)?;
    let reserver = Arc::new(Reserver::new(
        Arc::clone(&disk),
        identity,
        Arc::clone(&clock),
    ));
    let reserving = reserve(server, &reserver, &identity).map_err(io_error)?;
    if let Some(reservation) = reservation {
        server.engine().ids().grant(reservation);
    }
    let keeper = Arc::new(Keeper::new(disk, identity, Arc::clone(&log), clock));
    server.begin_keeping(Arc::clone(&log), Arc::clone(&keeper), found);
    let keeping = keep(server, &keeper).map_err(io_error)?;
    Ok(Running {
        threads,
        keeper,
        keeping,
        reserver,
        reserving,
        _owner: owner,
    })
}

/// Starts the thread that reserves fencing tokens and IDs.
fn reserve(
    server: &Arc<Server>,
    reserver: &Arc<Reserver>,
    identity: &Identity,
) -> std::io::Result<JoinHandle<()>> {
    let ids = server.engine().ids();
    let wake = Arc::clone(reserver) as Arc<dyn Wake>;
    ids.set_reserver(wake, identity.snowflake.is_some());
    let (server, reserver) = (Arc::clone(server), Arc::clone(reserver));
    let thread = std::thread::Builder::new().name("reserver".to_owned());
    thread.spawn(move || reserver.run(server.engine()))
}

/// Recovers, and tells how far it is and what was found.
fn read(disk: &dyn Disk, identity: &Identity, server: &Server) -> Result<Found, Error> {
    let databases = crate::command::host::Host::settings(server).databases;
    let started_us = server.clock().mono_us();
    let mut told_us = started_us;
    let mut tell = |progress: Progress| {
        server.disk().note_loading(progress);
        let now_us = server.clock().mono_us();
        if now_us.saturating_sub(told_us) >= PROGRESS_LINE_US {
            told_us = now_us;
            let percent = progress.bytes_done * 100 / progress.bytes_total.max(1);
            tracing::info!(percent, bytes = progress.bytes_total, "loading");
        }
    };
    let found = recover(disk, identity, server.engine(), databases, &mut tell)?;
    if let Some(torn) = &found.end.torn {
        tracing::warn!(
            bytes = torn.bytes_len,
            file = torn.file,
            offset = torn.offset,
            reason = %torn.reason,
            "the log ended in the middle of a write that nobody was told of; cut off"
        );
    }
    if found.has_gap {
        tracing::warn!(
            "the journal had been switched on and the server ended before a snapshot was written; \
             what changed since then is lost"
        );
    }
    let ms = server.clock().mono_us().saturating_sub(started_us) / 1_000;
    let snapshot = found.snapshot.as_ref().map(|loaded| loaded.name.as_str());
    tracing::info!(ms, frames = found.frames, snapshot, "loaded");
    Ok(found)
}

/// Starts the thread that takes snapshots.
fn keep(server: &Arc<Server>, keeper: &Arc<Keeper>) -> std::io::Result<JoinHandle<()>> {
    let (server, keeper) = (Arc::clone(server), Arc::clone(keeper));
    let thread = std::thread::Builder::new().name("snapshot".to_owned());
    thread.spawn(move || {
        let is_due = |report: &Report| server.is_snapshot_due(report);
        keeper.run(server.engine(), || server.records(), is_due);
    })
}

impl Running {
    /// Ends all of it, once nothing changes any more: what was written is synced, and the log says
    /// that it was closed.
    pub(super) fn close(self, server: &Server) -> Result<(), Error> {
        self.keeper.stop();
        if self.keeping.join().is_err() {
            tracing::error!("the thread that takes snapshots had panicked");
        }
        self.reserver.stop();
        if self.reserving.join().is_err() {
            tracing::error!("the thread that reserves fencing tokens and IDs had panicked");
        }
        if server.wants_last_snapshot() || self.keeper.has_gap() {
            self.keeper.take_last(server.engine());
        }
        let closed = self.threads.close();
        let closed_at =
            closed.map_err(|source| Error::io(crate::journal::error::DIRECTORY, source))?;
        if let Err(error) = self.reserver.close(server.engine(), closed_at) {
            // All is safe in the log: it is only not known where that ended.
            tracing::warn!(%error, "it is not noted that the log was closed");
        }
        Ok(())
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
