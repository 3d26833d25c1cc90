//! Server processes for tests: started on a free port of 127.0.0.1, killed and reaped on drop.
//!
//! A server counts as started when it says so on its standard output. That line comes after its
//! socket listens, so a connection made then reaches this very process and no other.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::need::Program;

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// How often another port is tried when a stranger took the one that had been free.
const PORT_TRIES_MAX: usize = 10;
/// How many of a server's last output lines are shown when it dies at start.
const LINES_SHOWN_MAX: usize = 20;

/// A running server; dropping it ends the process and removes its directory.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    /// The server's working directory; removed after the process is gone.
    _home: TempDir,
}

impl Server {
    /// Our own server with the given settings (`("requirepass", "foo")`), on a port of its choice.
    pub(crate) fn linchpin(settings: &[(String, String)]) -> Result<Server, String> {
        let home = TempDir::new()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_linchpin-server"));
        // What is meant for the tests would be taken for settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LINCHPIN_") {
                command.env_remove(name);
            }
        }
        command
            .args(["--port", "0", "--bind", "127.0.0.1", "--dir"])
            .arg(home.path());
        add_settings(&mut command, settings);
        let (child, line) = start(command, "Server running at ")?;
        let port = line
            .split_once("Server running at ")
            .and_then(|(_, rest)| rest.split(' ').next())
            .and_then(|address| address.parse::<SocketAddr>().ok())
            .map(|address| address.port());
        let Some(port) = port else {
            return Err(format!("no address in the start line {line:?}"));
        };
        Ok(Server {
            child,
            port,
            _home: home,
        })
    }

    /// A redis-server without persistence, with the given settings.
    pub(crate) fn redis(settings: &[(String, String)]) -> Result<Server, String> {
        let mut failure = String::new();
        for _ in 0..PORT_TRIES_MAX {
            let home = TempDir::new()?;
            let port = port_free()?;
            let mut command = Command::new(Program::RedisServer.name());
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]);
            command
                .arg(home.path())
                .args(["--save", "", "--appendonly", "no"]);
            add_settings(&mut command, settings);
            match start(command, "Ready to accept connections") {
                Ok((child, _)) => {
                    return Ok(Server {
                        child,
                        port,
                        _home: home,
                    });
                }
                Err(text) => failure = text,
            }
        }
        Err(failure)
    }

    /// The port it listens on, of 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port()))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn add_settings(command: &mut Command, settings: &[(String, String)]) {
    for (name, value) in settings {
        command.arg(format!("--{name}")).arg(value);
    }
}

/// Starts `command` and waits for the output line that holds `ready`; returns that line.
fn start(mut command: Command, ready: &'static str) -> Result<(Child, String), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        drain(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        drain(stderr, sender);
    }
    match ready_line(&lines, ready) {
        Ok(line) => Ok((child, line)),
        Err(shown) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("{command:?} did not start; it said:\n{shown}"))
        }
    }
}

fn ready_line(lines: &Receiver<String>, ready: &str) -> Result<String, String> {
    let mut last = VecDeque::new();
    while let Ok(line) = lines.recv_timeout(START_MAX) {
        if line.contains(ready) {
            return Ok(line);
        }
        last.push_back(line);
        if last.len() > LINES_SHOWN_MAX {
            last.pop_front();
        }
    }
    Err(Vec::from(last).join("\n"))
}

/// Reads `output` to its end on a thread of its own, so that the server never blocks on a full
/// pipe; the lines are of use until nobody listens any more.
fn drain(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            let _ = lines.send(line);
        }
    });
}

/// A port that was free a moment ago.
fn port_free() -> Result<u16, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}

/// A fresh directory, removed with all it holds on drop.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Result<TempDir, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linchpin-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TempDir(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory left behind in the system's temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
