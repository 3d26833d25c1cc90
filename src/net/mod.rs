//! The network: listening sockets, workers, connections, signals.
//!
//! ```text
//!   main thread                        worker 0 .. n-1 (one tokio runtime each)
//!   +-----------------------+          +----------------------------------+
//!   | accept, turn away,    | streams  | one task per connection          |
//!   | deal out              +--------->|   read -> Session::run -> write  |
//!   | signals, shutdown     |          | tick: time-outs, expiry          |
//!   +-----------------------+          +----------------------------------+
//! ```
//!
//! A connection stays with the worker it was dealt to. Listening sockets are opened once, without
//! `SO_REUSEPORT`, which would hide that a port is taken.

mod accept;
mod coordination;
mod driver;
mod durable;
mod expiry;
mod journal;
mod listen;
mod local;
mod pubsub;
mod stream;
mod timers;
mod worker;

use crate::clock::{Clock, SystemClock};
use crate::config::{Reload, Settings, Sources, StartError};
use crate::session::server::{Server, ServerOptions, snowflake};
use accept::Acceptor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::Notify;

/// What it takes to start.
pub struct Start<'a> {
    /// The settings as configured.
    pub settings: Settings,
    /// The file they came from.
    pub config_file: Option<PathBuf>,
    /// Number of workers.
    pub workers: usize,
    /// Where the settings came from, to be read again on SIGHUP.
    pub sources: Sources<'a>,
    /// Called once, when connections are accepted, with where: `127.0.0.1:<port>`, or the path of
    /// the Unix socket if there is no other way in.
    pub on_ready: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Why a server did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// An address or path to listen on is taken.
    #[error("{address} is taken: another server listens there; stop it or choose another port")]
    Taken {
        /// The address, with its port.
        address: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address, with its port.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] crate::journal::error::Error),
    /// The journal could not be written or synced any more; nothing was acknowledged since.
    #[error("the journal failed, nothing was acknowledged since: {why}")]
    JournalFailed {
        /// What the operating system said.
        why: String,
    },
    /// The operating system refused something else the server needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl NetError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code of sysexits.h for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Taken { .. } | Self::Listen { .. } => 69,
            Self::System { .. } => 71,
            Self::Directory(error) => error.exit_code(),
            Self::JournalFailed { .. } => 70,
        }
    }
}

/// How long connections may take to finish what is in flight once the server stops. The whole stop
/// takes less than five seconds.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Runs a server until it is told to stop.
///
/// # Errors
/// If it cannot listen, or the system refuses what it needs.
pub fn run(start: Start<'_>) -> Result<(), NetError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NetError::system("cannot start the event loop"))?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start<'_>) -> Result<(), NetError> {
    let mut settings = start.settings.clone();
    settings.io_threads = u32::try_from(start.workers).ok();
    settings.dir =
        std::path::absolute(&settings.dir).map_err(NetError::system("no working directory"))?;
    settings.maxclients = accept::fit_to_descriptors(settings.maxclients);
    let directory = durable::open(&settings.dir, settings.databases, snowflake(&settings))?;
    let listeners = listen::open(&settings)?;
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    let clock = Arc::new(SystemClock::new());
    let server = Arc::new(Server::new(ServerOptions {
        settings,
        config_file: start.config_file,
        workers: start.workers,
        databases: directory.identity.databases,
        shards: directory.identity.shards as usize,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        sink: None,
        disk_double: None,
        seed: rand::random(),
        hash_seed: directory.identity.hash_seed,
        clients_fit: accept::clients_fit,
        on_shut_down: Box::new(move || told.notify_one()),
    }));
    server.set_port(listeners.port());
    server
        .disk()
        .begin_loading(server.clock().now().wall_ms / 1_000);
    let place = listeners.place();
    let workers = worker::start(start.workers, &server)
        .await
        .map_err(NetError::system("cannot start the workers"))?;
    let mut signals = Signals::new().map_err(NetError::system("cannot listen for signals"))?;
    let acceptor = Acceptor::new(Arc::clone(&server), workers.doors());
    let accepting = acceptor.start(listeners);
    let mut loading = durable::start_loading(directory, &server, &clock)
        .map_err(NetError::system("cannot start loading"))?;
    let mut running = None;
    let mut base = start.settings;
    loop {
        tokio::select! {
            () = stop.notified() => break,
            loaded = &mut loading, if running.is_none() => {
                running = Some(loaded.map_err(NetError::system("loading"))??);
                (start.on_ready)(&place);
            }
            signal = signals.next() => match signal {
                Signal::Terminate => break,
                Signal::HangUp => reload(&server, &mut base, start.sources),
            },
        }
    }
    drop(accepting);
    crate::command::host::Host::shut_down(&*server);
    tracing::info!("stopping: answering what is in flight");
    server.registry().wake_all();
    let finished = workers.finish();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return durable::close(running, &server),
            signal = signals.next() => if signal == Signal::Terminate {
                tracing::warn!("stopping at once, as told twice");
                std::process::exit(1);
            },
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    HangUp,
}

struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::Terminate,
            _ = self.int.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::HangUp,
        }
    }
}

/// Reads the configuration again and puts in force what may change while running.
fn reload(server: &Server, base: &mut Settings, sources: Sources<'_>) {
    let outcome = server.update_settings(|live| {
        let mut reload: Reload = crate::config::reload(base, live, sources)?;
        if reload.live.maxclients != live.maxclients {
            reload.live.maxclients = accept::fit_to_descriptors(reload.live.maxclients);
        }
        Ok::<_, StartError>((reload.live.clone(), reload))
    });
    match outcome {
        Ok(reload) => {
            for warning in &reload.warnings {
                tracing::warn!("{warning}");
            }
            if !reload.restart_needed.is_empty() {
                tracing::warn!("need a restart: {}", reload.restart_needed.join(", "));
            }
            tracing::info!(
                "configuration read again; changed: {}",
                reload.changed.join(", ")
            );
            *base = reload.base;
        }
        Err(error) => tracing::error!("configuration not changed: {error}"),
    }
}
