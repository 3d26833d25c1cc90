//! Accepting connections, turning some away, dealing the others out to the workers.

use super::listen::Listeners;
use super::stream::Unattached;
use super::worker::{Arrival, Door, Permit};
use crate::command::error;
use crate::command::host::Host;
use crate::config::Settings;
use crate::observe::stats::Counts;
use crate::session::registry::Origin;
use crate::session::server::Server;
use crate::sync::atomic::{AtomicUsize, Ordering};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// File descriptors kept for other things than clients.
const DESCRIPTORS_RESERVED: u32 = 64;
/// How long accepting rests when there is no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Probes of a silent peer before it is taken for gone, as Redis sends.
const PROBES: u32 = 3;
/// The kernel counts its bound in milliseconds of 31 bits.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// The longest answer a connection that is turned away gets to hear.
const PROTECTED: &[u8] =
    b"-DENIED Linchpin runs in protected mode: no password is set, so only connections from \
      this machine are accepted. Set requirepass, or protected-mode no if the network is \
      trusted.\r\n";

/// Raises the limit of open descriptors so that `maxclients` fit, and answers how many do. Warns if
/// they are fewer.
pub(super) fn fit_to_descriptors(maxclients: u32) -> u32 {
    let fit = clients_fit(maxclients);
    if fit < maxclients {
        tracing::warn!(
            "maxclients is {fit} instead of {maxclients}: the limit of open files is {}; raise it \
             with 'ulimit -n {}'",
            getrlimit(Resource::Nofile).current.unwrap_or(0),
            u64::from(maxclients) + u64::from(DESCRIPTORS_RESERVED),
        );
    }
    fit
}

/// Raises the limit of open descriptors as far as it takes for `maxclients`, and as far as it goes;
/// answers how many of them fit.
pub(super) fn clients_fit(maxclients: u32) -> u32 {
    let wanted = u64::from(maxclients) + u64::from(DESCRIPTORS_RESERVED);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let fit = limit
        .current
        .map_or(u64::MAX, |n| n.saturating_sub(DESCRIPTORS_RESERVED.into()));
    u32::try_from(fit)
        .unwrap_or(u32::MAX)
        .clamp(1, maxclients.max(1))
}

/// Accepts connections for the workers.
#[derive(Clone)]
pub(super) struct Acceptor {
    server: Arc<Server>,
    doors: Arc<[Door]>,
    open: Arc<AtomicUsize>,
}

impl Acceptor {
    pub(super) fn new(server: Arc<Server>, doors: Vec<Door>) -> Self {
        Self {
            server,
            doors: doors.into(),
            open: Arc::default(),
        }
    }

    /// Accepts on all listeners until the result is dropped.
    pub(super) fn start(self, listeners: Listeners) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for listener in listeners.tcp {
            tasks.spawn(self.clone().accept_tcp(listener));
        }
        if let Some(unix) = listeners.unix {
            tasks.spawn(self.accept_unix(unix));
        }
        tasks
    }

    async fn accept_tcp(self, listener: TcpListener) {
        let mut rest = Rest::default();
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    rest.end();
                    let arrived = self.welcome_tcp(stream, peer);
                    self.deal(arrived).await;
                }
                Err(error) => rest.after(&error).await,
            }
        }
    }

    async fn accept_unix(self, unix: super::listen::UnixSocket) {
        let path = unix.listener.local_addr().ok();
        let path = path.as_ref().and_then(|addr| addr.as_pathname());
        let addr: Arc<str> = format!("{}:0", path.unwrap_or("".as_ref()).display()).into();
        let mut rest = Rest::default();
        loop {
            match unix.listener.accept().await {
                Ok((stream, _)) => {
                    rest.end();
                    let arrived = stream.into_std().map(|stream| {
                        let fd = stream.as_raw_fd();
                        let (addr, laddr) = (Arc::clone(&addr), Arc::clone(&addr));
                        (
                            Unattached::Unix(stream),
                            Origin {
                                addr,
                                laddr,
                                fd,
                                unix: true,
                            },
                        )
                    });
                    self.deal(arrived.map(Some)).await;
                }
                Err(error) => rest.after(&error).await,
            }
        }
    }

    /// Prepares a TCP connection; `None` if it was turned away.
    fn welcome_tcp(
        &self,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
    ) -> io::Result<Option<(Unattached, Origin)>> {
        let settings = self.server.settings();
        let guarded = settings.protected_mode && settings.requirepass.is_none();
        if guarded && !peer.ip().to_canonical().is_loopback() {
            self.turn_away(&Unattached::Tcp(stream.into_std()?), PROTECTED);
            return Ok(None);
        }
        stream.set_nodelay(true)?;
        keep_alive(&stream, &settings)?;
        let origin = Origin {
            addr: peer.to_string().into(),
            laddr: stream.local_addr()?.to_string().into(),
            fd: stream.as_raw_fd(),
            unix: false,
        };
        Ok(Some((Unattached::Tcp(stream.into_std()?), origin)))
    }

    /// Gives a connection to the worker that has fewest.
    async fn deal(&self, arrived: io::Result<Option<(Unattached, Origin)>>) {
        let Ok(Some((stream, origin))) = arrived else {
            return;
        };
        if self.open.load(Ordering::Relaxed) >= self.server.settings().maxclients as usize {
            let mut line = vec![b'-'];
            line.extend(error::MAX_CLIENTS.line());
            line.extend(b"\r\n");
            self.turn_away(&stream, &line);
            return;
        }
        let door = self.doors.iter().min_by_key(|door| door.load());
        let Some(door) = door else { return };
        let permit = Permit::new(&self.open, door);
        self.server.stats().add(
            0,
            &Counts {
                connections: 1,
                ..Counts::default()
            },
        );
        door.enter(Arrival {
            stream,
            origin,
            permit,
        })
        .await;
    }

    /// Says why and hangs up. The socket's own buffer holds the line, so nothing waits.
    fn turn_away(&self, stream: &Unattached, why: &[u8]) {
        self.server.stats().add(
            0,
            &Counts {
                rejected_connections: 1,
                ..Counts::default()
            },
        );
        let said = match stream {
            Unattached::Tcp(stream) => io::Write::write(&mut &*stream, why),
            Unattached::Unix(stream) => io::Write::write(&mut &*stream, why),
        };
        tracing::debug!(heard = said.is_ok(), "a connection was turned away");
    }
}

/// Ends the connection when its peer is silent for too long: by probes while nothing is on its way,
/// and by a bound on what is, which probes would wait behind.
fn keep_alive(stream: &tokio::net::TcpStream, settings: &Settings) -> io::Result<()> {
    if settings.tcp_keepalive_s == 0 {
        return Ok(());
    }
    let idle = Duration::from_secs(settings.tcp_keepalive_s);
    // As Redis: a third of the idle time apart.
    let interval = Duration::from_secs((settings.tcp_keepalive_s / 3).max(1));
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some((idle + interval * PROBES).min(USER_TIMEOUT_MAX)))?;
    socket.set_tcp_keepalive(&keepalive)
}

/// Rests after failed accepts: there may be no descriptor left, and asking again at once would
/// spin.
#[derive(Default)]
struct Rest {
    resting: bool,
}

impl Rest {
    async fn after(&mut self, error: &io::Error) {
        let fleeting = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
        ];
        if fleeting.contains(&error.kind()) {
            return;
        }
        if !self.resting {
            tracing::warn!(%error, "not accepting for a while; are files short? see ulimit -n");
            self.resting = true;
        }
        tokio::time::sleep(BACK_OFF).await;
    }

    fn end(&mut self) {
        if self.resting {
            tracing::info!("accepting again");
            self.resting = false;
        }
    }
}
