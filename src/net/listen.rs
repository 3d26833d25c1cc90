//! Opening the listening sockets.

use super::NetError;
use crate::config::Settings;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// How many free ports are drawn until one is free for all addresses.
const DRAWS_MAX: u32 = 16;

/// The sockets a server listens on. A Unix socket's file goes when this does.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Option<UnixSocket>,
    port: u16,
}

/// A listening Unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listeners {
    /// The TCP port, the same for all addresses; 0 without TCP.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where clients of this machine reach the server.
    pub(super) fn place(&self) -> String {
        match &self.unix {
            Some(unix) if self.tcp.is_empty() => unix.path.display().to_string(),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }
}

/// Listens on every address of the settings. An address written with `-` in front may fail for any
/// reason but being taken.
pub(super) fn open(settings: &Settings) -> Result<Listeners, NetError> {
    let mut listeners = Listeners {
        tcp: Vec::new(),
        unix: None,
        port: 0,
    };
    if settings.listens_on_tcp() {
        let mut draws = 1;
        loop {
            match open_every_tcp(settings, &mut listeners) {
                // The port that was free for the first address was not for another one.
                Err(NetError::Taken { .. }) if settings.port == 0 && draws < DRAWS_MAX => {
                    draws += 1;
                }
                opened => break opened?,
            }
        }
    }
    if let Some(path) = &settings.unixsocket {
        let opened = open_unix(path, settings);
        listeners.unix = Some(opened.map_err(|e| listen_error(path.display().to_string(), e))?);
    }
    Ok(listeners)
}

fn open_every_tcp(settings: &Settings, listeners: &mut Listeners) -> Result<(), NetError> {
    listeners.tcp.clear();
    listeners.port = settings.port;
    for name in &settings.bind {
        open_tcp(name, settings, listeners)?;
    }
    if listeners.tcp.is_empty() {
        let address = settings.bind.join(" ");
        let source = io::ErrorKind::AddrNotAvailable.into();
        return Err(NetError::Listen { address, source });
    }
    Ok(())
}

fn open_tcp(name: &str, settings: &Settings, listeners: &mut Listeners) -> Result<(), NetError> {
    let (optional, host) = name
        .strip_prefix('-')
        .map_or((false, name), |host| (true, host));
    let opened = resolve(host, listeners.port).and_then(|address| {
        let listener = listen(address, settings.tcp_backlog)?;
        Ok((listener.local_addr()?.port(), listener))
    });
    match opened {
        Ok((port, listener)) => {
            // With port 0 the first address draws a free port and the others follow it.
            listeners.port = port;
            listeners.tcp.push(listener);
            Ok(())
        }
        Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {
            tracing::debug!(address = host, %error, "not listening on an optional address");
            Ok(())
        }
        Err(error) => Err(listen_error(format!("{host}:{}", listeners.port), error)),
    }
}

fn listen_error(address: String, source: io::Error) -> NetError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return NetError::Taken { address };
    }
    NetError::Listen { address, source }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = match host {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    };
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for connections of the last run to be forgotten by the kernel.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

fn open_unix(path: &Path, settings: &Settings) -> io::Result<UnixSocket> {
    if let Ok(found) = path.symlink_metadata() {
        // Connecting to any other file is refused just like to a socket that nobody answers on.
        if !found.file_type().is_socket() {
            let what = "a file that is no socket is in its place";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        // A socket that nobody answers on is left from a server that died.
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = settings.unixsocketperm.filter(|mode| *mode != 0) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(i32::try_from(settings.tcp_backlog).unwrap_or(i32::MAX))?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(UnixSocket {
        listener,
        path: path.to_owned(),
    })
}
