//! Server processes for tests: started on a free port of 127.0.0.1, killed and reaped on drop.
//!
//! A server counts as started when it says so on its standard output. That line comes after its
//! socket listens, so a connection made then reaches this very process and no other.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a process outside may take is real time"
)]

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

use crate::need::Program;

/// How long a server may take to start, or to say what is awaited of it.
const START_MAX: Duration = Duration::from_secs(20);
/// How long a program may take that is to end by itself.
const END_MAX: Duration = Duration::from_secs(20);
/// How often another port is tried when a stranger took the one that had been free.
const PORT_TRIES_MAX: usize = 10;
/// How many of a server's last output lines are shown when it dies at start.
const LINES_SHOWN_MAX: usize = 20;
/// Between two looks at whether a process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// One start of our server, as a user types it. It runs in a directory of its own, so that relative
/// paths in arguments and files are those of [`Launch::file`].
#[derive(Debug)]
pub(crate) struct Launch {
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    wrapper: Vec<OsString>,
    input: String,
    limits: Vec<String>,
    is_unheard: bool,
    home: TempDir,
}

/// How a program ended that was not to run on.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The lines of its standard output.
    pub(crate) stdout: Vec<String>,
    /// The lines of its standard error.
    pub(crate) stderr: Vec<String>,
}

impl Launch {
    /// With these arguments and no others.
    pub(crate) fn new(arguments: &[&str]) -> Result<Launch, String> {
        Ok(Launch {
            arguments: arguments.iter().map(OsString::from).collect(),
            variables: Vec::new(),
            wrapper: Vec::new(),
            input: String::new(),
            limits: Vec::new(),
            is_unheard: false,
            home: TempDir::new()?,
        })
    }

    /// On a free port of 127.0.0.1, with further arguments.
    pub(crate) fn on_free_port(arguments: &[&str]) -> Result<Launch, String> {
        Launch::new(&[&["--port", "0", "--bind", "127.0.0.1"], arguments].concat())
    }

    /// With further arguments.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Launch {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Launch {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has another program start it, which becomes it: the process stays the same.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Launch {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// What stands on its standard input.
    pub(crate) fn input(mut self, text: &str) -> Launch {
        text.clone_into(&mut self.input);
        self
    }

    /// Writes a file it can name.
    pub(crate) fn file(self, name: &str, text: &str) -> Result<Launch, String> {
        self.home.write(name, text)?;
        Ok(self)
    }

    /// The most descriptors it may open, as `ulimit -n` sets it.
    pub(crate) fn open_files_max(mut self, count: u32) -> Launch {
        self.limits.push(format!("ulimit -n {count}"));
        self
    }

    /// The most memory it may map as data, in KiB, as `ulimit -d` sets it.
    pub(crate) fn data_kib_max(mut self, kib: u64) -> Launch {
        self.limits.push(format!("ulimit -d {kib}"));
        self
    }

    /// Nobody reads what it says: neither its log nor anything behind its first line.
    pub(crate) fn unheard(mut self) -> Launch {
        self.is_unheard = true;
        self
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) fn start(self) -> Result<Server, String> {
        let (mut process, home) = self.spawn()?;
        let line = process.ready_line("Server running at ")?;
        Server::ready(process, home, &line)
    }

    /// Starts it and waits until it accepts connections, or ends before it does.
    pub(crate) fn start_or_end(self) -> Result<Result<Server, Exit>, String> {
        let (mut process, home) = self.spawn()?;
        match process.ready_line("Server running at ") {
            Ok(line) => Server::ready(process, home, &line).map(Ok),
            Err(_) => process.exit_within(END_MAX).map(Err),
        }
    }

    /// Starts it and waits until it has ended by itself.
    pub(crate) fn run(self) -> Result<Exit, String> {
        let (mut process, _home) = self.spawn()?;
        process.exit_within(END_MAX)
    }

    fn spawn(self) -> Result<(Process, TempDir), String> {
        let program = env!("CARGO_BIN_EXE_linchpin-server");
        let mut command = if let Some((wrapper, arguments)) = self.wrapper.split_first() {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(program);
            command
        } else if self.limits.is_empty() {
            Command::new(program)
        } else {
            let mut shell = Command::new("sh");
            let script = format!("{} && exec \"$@\"", self.limits.join(" && "));
            shell.args(["-c", &script, "sh", program]);
            shell
        };
        // What is meant for the tests would be taken for settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LINCHPIN_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .envs(self.variables)
            .current_dir(self.home.path());
        Ok((
            Process::start(command, &self.input, self.is_unheard)?,
            self.home,
        ))
    }
}

/// A running server; dropping it ends the process and removes its directory.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    port: u16,
    /// The server's working directory; removed after the process is gone.
    home: TempDir,
}

impl Server {
    /// The server that said so in `line`.
    fn ready(process: Process, home: TempDir, line: &str) -> Result<Server, String> {
        let port = line
            .split_once("Server running at ")
            .and_then(|(_, rest)| rest.split_once(" (linchpin-server "))
            .map(|(place, _)| {
                place
                    .parse::<SocketAddr>()
                    .map_or(0, |address| address.port())
            });
        let port = port.ok_or_else(|| format!("no place in the start line {line:?}"))?;
        Ok(Server {
            process,
            port,
            home,
        })
    }

    /// Our own server with the given settings (`("requirepass", "foo")`), on a port of its choice.
    pub(crate) fn linchpin(settings: &[(String, String)]) -> Result<Server, String> {
        let mut launch = Launch::on_free_port(&["--dir", "."])?;
        for (name, value) in settings {
            launch.arguments.push(format!("--{name}").into());
            launch.arguments.push(value.into());
        }
        launch.start()
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
            for (name, value) in settings {
                command.arg(format!("--{name}")).arg(value);
            }
            let mut process = Process::start(command, "", false)?;
            match process.ready_line("Ready to accept connections") {
                Ok(_) => {
                    return Ok(Server {
                        process,
                        port,
                        home,
                    });
                }
                Err(text) => failure = text,
            }
        }
        Err(failure)
    }

    /// The port it listens on, of 127.0.0.1; 0 if it has a Unix socket alone.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port()))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Its number among the processes.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The directory it runs in.
    pub(crate) fn home(&self) -> &TempDir {
        &self.home
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("no process has this number")?;
        kill_process(pid, signal).map_err(|error| format!("{signal:?}: {error}"))
    }

    /// Waits for its end, at most so long, and answers how it was.
    pub(crate) fn exit_within(&mut self, time_max: Duration) -> Result<Exit, String> {
        self.process.exit_within(time_max)
    }

    /// The lines it has written to standard error so far: its log.
    pub(crate) fn log(&self) -> Vec<String> {
        self.process.output.lines.lock().stderr.clone()
    }

    /// Waits for a line of its log that holds `text`.
    pub(crate) fn log_line(&self, text: &str) -> Result<String, String> {
        let found = |lines: &Lines| {
            lines
                .stderr
                .iter()
                .find(|line| line.contains(text))
                .cloned()
        };
        let line = self.process.output.wait(START_MAX, found);
        line.ok_or_else(|| {
            format!(
                "no line with {text:?} in the log:\n{}",
                self.log().join("\n")
            )
        })
    }
}

/// A child process and what it says; ended and reaped on drop.
#[derive(Debug)]
struct Process {
    child: Child,
    command: String,
    output: Arc<Output>,
}

/// What a process has said so far.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// Of the two streams, how many have ended.
    ended: usize,
}

impl Output {
    /// What `look` finds, as soon as it finds something; `None` if both streams end or the time is
    /// up before it does.
    fn wait<T>(&self, time_max: Duration, look: impl Fn(&Lines) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time_max;
        let mut lines = self.lines.lock();
        loop {
            let found = look(&lines);
            if found.is_some() || lines.ended == 2 {
                return found;
            }
            if self.changed.wait_until(&mut lines, deadline).timed_out() {
                return look(&lines);
            }
        }
    }

    /// Reads `stream` to its end on a thread of its own, so that the process never blocks on a
    /// full pipe; closes it after `lines_max` lines.
    fn drain(
        self: &Arc<Self>,
        stream: impl Read + Send + 'static,
        lines_max: usize,
        which: fn(&mut Lines) -> &mut Vec<String>,
    ) {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).lines();
            for line in lines.take(lines_max).map_while(Result::ok) {
                which(&mut output.lines.lock()).push(line);
                output.changed.notify_all();
            }
            output.lines.lock().ended += 1;
            output.changed.notify_all();
        });
    }
}

impl Process {
    /// `is_unheard`: only the first line of its standard output is read, and none of its log.
    fn start(mut command: Command, input: &str, is_unheard: bool) -> Result<Process, String> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let output = Arc::new(Output::default());
        let (stdout_max, stderr_max) = if is_unheard {
            (1, 0)
        } else {
            (usize::MAX, usize::MAX)
        };
        if let Some(stdout) = child.stdout.take() {
            output.drain(stdout, stdout_max, |lines| &mut lines.stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.drain(stderr, stderr_max, |lines| &mut lines.stderr);
        }
        // Small enough for the pipe. A process that has ended already says more by its exit.
        let _ = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        Ok(Process {
            child,
            command: format!("{command:?}"),
            output,
        })
    }

    fn ready_line(&mut self, ready: &str) -> Result<String, String> {
        let says_so = |line: &&String| line.contains(ready);
        let found = |lines: &Lines| lines.stdout.iter().find(says_so).cloned();
        self.output.wait(START_MAX, found).ok_or_else(|| {
            let lines = self.output.lines.lock();
            let said = [lines.stdout.as_slice(), &lines.stderr].concat();
            let last = &said[said.len().saturating_sub(LINES_SHOWN_MAX)..];
            let command = &self.command;
            format!("{command} did not start; it said:\n{}", last.join("\n"))
        })
    }

    fn exit_within(&mut self, time_max: Duration) -> Result<Exit, String> {
        let status = self.status_within(time_max)?;
        self.output.wait(END_MAX, |_| None::<()>);
        let lines = self.output.lines.lock();
        Ok(Exit {
            code: status.code(),
            stdout: lines.stdout.clone(),
            stderr: lines.stderr.clone(),
        })
    }

    fn status_within(&mut self, time_max: Duration) -> Result<ExitStatus, String> {
        let started = Instant::now();
        loop {
            let status = self.child.try_wait();
            if let Some(status) = status.map_err(|error| error.to_string())? {
                return Ok(status);
            }
            if started.elapsed() > time_max {
                return Err(format!("{} has not ended after {time_max:?}", self.command));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn port_free() -> Result<u16, String> {
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

    /// Writes the file `name` in it, in the place of an older one.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.0.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The text of the file `name` in it.
    pub(crate) fn read(&self, name: &str) -> Result<String, String> {
        let path = self.0.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory left behind in the system's temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
