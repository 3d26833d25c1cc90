//! A server process: started on a free port of 127.0.0.1, measured, and killed when dropped.
//!
//! CPU time is the sum of what the scheduler has accounted to the process's threads, in
//! nanoseconds, kernel included: `/proc/<pid>/task/*/schedstat`. The times in `/proc/<pid>/stat`
//! are ten milliseconds coarse; `clock_getcpuclockid` is not to be had without `unsafe` or one more
//! dependency; a control group needs rights that a user has not. A running thread's number is up to
//! a scheduler tick old, so it is read when the server has nothing to do.
//!
//! # LIMITATIONS
//!
//! - Time of threads that end between two readings is lost. The servers compared here keep theirs.
//! - Interrupts are accounted to whom they interrupt, as the kernel does.
//! - Whoever kills this program with SIGKILL must end the servers too.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};

use crate::clock::now;
use crate::cores;

/// How long a server may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);
const REPLY_MAX: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What people call it.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments but for the address.
    pub args: Vec<String>,
    /// The cores it may use.
    pub cores: Vec<usize>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    version: String,
}

impl Server {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or does not answer in 20 seconds.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = Command::new(&launch.program);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(&launch.args)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Settings of Linchpin that are meant for another server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LINCHPIN_") {
                command.env_remove(name);
            }
        }
        let child = cores::pinned(&launch.cores, || command.spawn())?
            .with_context(|| format!("{}", launch.program.display()))?;
        let mut server = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            version: String::new(),
        };
        let started = now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended at once: {status}");
            }
            match server.info("server") {
                Ok(info) => {
                    server.version = server.check_identity(&info)?;
                    return Ok(server);
                }
                Err(error) if started.elapsed() > START_MAX => {
                    return Err(error.context(format!("{command:?} does not answer")));
                }
                Err(_) => sleep(START_POLL),
            }
        }
    }

    /// Makes sure that it was not a stranger on the same port who answered; tells the version.
    fn check_identity(&self, info: &str) -> anyhow::Result<String> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let pid = field("process_id").context("INFO without process_id")?;
        if pid != self.child.id().to_string() {
            bail!("process {pid} answers at {}", self.address);
        }
        ["linchpin_version", "valkey_version", "redis_version"]
            .into_iter()
            .find_map(field)
            .map(str::to_owned)
            .context("INFO without a version")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says its version is.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// CPU time that its threads have used so far, kernel included.
    ///
    /// # Errors
    /// The process has ended, or the kernel keeps no `schedstat`.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut used_ns = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
            used_ns += first.ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(Duration::from_nanos(used_ns))
    }

    /// Resident memory in bytes, counted page by page by the kernel: the number in
    /// `/proc/<pid>/status` may be off by some dozen pages for each core.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kib = text.lines().find_map(|line| {
            let number = line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?;
            number.parse::<u64>().ok()
        });
        Ok(kib.ok_or(io::ErrorKind::InvalidData)? * 1_024)
    }

    /// Sends one command over a connection of its own and answers the reply.
    ///
    /// # Errors
    /// There is no reply.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        let mut request = Vec::new();
        encode_command(&mut request, words);
        stream.write_all(&request)?;
        let (mut parser, mut unread, mut piece) = (ReplyParser::new(), Vec::new(), [0; 4_096]);
        loop {
            let len = stream.read(&mut piece)?;
            if len == 0 {
                bail!("the connection ended before the reply");
            }
            unread.extend_from_slice(&piece[..len]);
            let progress = parser.parse(&unread, &ReplyLimits::default())?;
            unread.drain(..progress.consumed);
            if let Some(reply) = progress.reply {
                return Ok(reply);
            }
        }
    }

    /// A section of its INFO.
    ///
    /// # Errors
    /// There is no reply, or another.
    pub fn info(&self, section: &str) -> anyhow::Result<String> {
        match self.ask(&["INFO", section])? {
            Reply::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            other => bail!("INFO answered {other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
