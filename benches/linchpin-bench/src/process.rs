//! A server process: started on a free port of 127.0.0.1 in a directory of its own, measured, and
//! killed when dropped. The directory goes with it, unless another server is to find what this one
//! left there.
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
//! - Whoever kills this program with SIGKILL must end the servers too, and remove their
//!   directories.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};

use crate::clock::now;
use crate::cores;
use crate::scratch::Scratch;

/// How long a server may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(20);
/// How long it may take to load what is in its directory.
const LOAD_MAX: Duration = Duration::from_secs(300);
const START_POLL: Duration = Duration::from_millis(2);
const REPLY_MAX: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What people call it.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments but for the address and the directory.
    pub args: Vec<String>,
    /// The cores it may use.
    pub cores: Vec<usize>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Before the directory, so that it ends before that is removed.
    process: Process,
    address: SocketAddr,
    version: String,
    start_time: Duration,
    directory: Scratch,
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it on these cores.
    pub(crate) fn start(command: &mut Command, cores: &[usize]) -> anyhow::Result<Self> {
        let child = cores::pinned(cores, || command.spawn())?;
        let program = command.get_program().to_string_lossy().into_owned();
        child.map(Self).context(program)
    }

    /// CPU time that its threads have used so far, kernel included.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut used_ns = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
            used_ns += first.ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(Duration::from_nanos(used_ns))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server in an empty directory, and waits until it answers.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or does not answer in 20 seconds.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        Self::start_in(launch, Scratch::new_in(&std::env::temp_dir())?)
    }

    /// Starts a server in `directory`, and waits until it has loaded what is there.
    ///
    /// # Errors
    /// It cannot be started, ends, does not answer in 20 seconds or loads for over 5 minutes.
    pub fn start_in(launch: &Launch, directory: Scratch) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = command(launch, port, directory.path());
        let started = now();
        let mut server = Self {
            process: Process::start(&mut command, &launch.cores)?,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            version: String::new(),
            start_time: Duration::ZERO,
            directory,
        };
        loop {
            if let Some(status) = server.process.0.try_wait()? {
                bail!("{command:?} ended: {status}");
            }
            match server.version_once_loaded() {
                Ok(Some(version)) => {
                    server.version = version;
                    server.start_time = started.elapsed();
                    return Ok(server);
                }
                Ok(None) if started.elapsed() > LOAD_MAX => bail!("{command:?} loads endlessly"),
                Err(error) if started.elapsed() > START_MAX => {
                    return Err(error.context(format!("{command:?} does not answer")));
                }
                Ok(None) | Err(_) => sleep(START_POLL),
            }
        }
    }

    /// Kills the server, as a crash does, and keeps its directory for another.
    #[must_use]
    pub fn crash(self) -> Scratch {
        let Self {
            process, directory, ..
        } = self;
        drop(process);
        directory
    }

    /// The version of a server that has loaded what it has to.
    fn version_once_loaded(&self) -> anyhow::Result<Option<String>> {
        match self.ask(&["DBSIZE"])? {
            Reply::Integer(_) => self.check_identity(&self.info("server")?).map(Some),
            Reply::Error(text) if text.starts_with(b"LOADING") => Ok(None),
            other => bail!("DBSIZE answered {other:?}"),
        }
    }

    /// Makes sure that it was not a stranger on the same port who answered; tells the version.
    fn check_identity(&self, info: &str) -> anyhow::Result<String> {
        let field = |name: &str| info_field(info, name);
        let pid = field("process_id").context("INFO without process_id")?;
        if pid != self.process.0.id().to_string() {
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

    /// How long it took from its start until it answered with all that it had to load.
    #[must_use]
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// CPU time that its threads have used so far, kernel included.
    ///
    /// # Errors
    /// The process has ended, or the kernel keeps no `schedstat`.
    pub fn cpu(&self) -> io::Result<Duration> {
        self.process.cpu()
    }

    /// Resident memory in bytes, counted page by page by the kernel: the number in
    /// `/proc/<pid>/status` may be off by some dozen pages for each core.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.proc_number("smaps_rollup", "Rss").map(kib)
    }

    /// The most memory that was resident since [`Server::reset_peak`], in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes_peak(&self) -> io::Result<u64> {
        self.proc_number("status", "VmHWM").map(kib)
    }

    /// Begins [`Server::resident_bytes_peak`] anew.
    ///
    /// # Errors
    /// The process has ended, or the kernel does not watch pages.
    pub fn reset_peak(&self) -> io::Result<()> {
        // What the number means stands in proc_pid_clear_refs(5).
        fs::write(format!("/proc/{}/clear_refs", self.process.0.id()), "5")
    }

    /// Calls of write(2) and its like that it has made so far; send(2) is none of them.
    ///
    /// # Errors
    /// The process has ended, or the kernel keeps no account of it.
    pub fn write_calls(&self) -> io::Result<u64> {
        self.proc_number("io", "syscw")
    }

    /// The number behind `name:` in a file of `/proc/<pid>`.
    fn proc_number(&self, file: &str, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.process.0.id()))?;
        let number = info_field(&text, name).and_then(|value| value.split_whitespace().next());
        let number = number.and_then(|number| number.parse().ok());
        Ok(number.ok_or(io::ErrorKind::InvalidData)?)
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

    /// A number in a section of its INFO.
    ///
    /// # Errors
    /// There is no reply, no such field, or no number in it.
    pub fn info_number(&self, section: &str, field: &str) -> anyhow::Result<u64> {
        let info = self.info(section)?;
        let value = info_field(&info, field).with_context(|| format!("INFO without {field}"))?;
        let number = value.trim().parse();
        number.with_context(|| format!("INFO {field}:{value} is no number"))
    }
}

fn command(launch: &Launch, port: u16, directory: &Path) -> Command {
    let mut command = Command::new(&launch.program);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .arg("--dir")
        .arg(directory)
        .args(&launch.args)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // Settings of Linchpin that are meant for another server.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LINCHPIN_") {
            command.env_remove(name);
        }
    }
    command
}

fn kib(number: u64) -> u64 {
    number * 1_024
}

/// The value of a field in the text of an INFO.
pub(crate) fn info_field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
