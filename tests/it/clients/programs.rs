//! Runs a program to its end, within a bound of time.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a program outside may take is real time"
)]

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// A started program; ended and reaped on drop.
pub(super) struct Running {
    child: Child,
    command: String,
}

impl Running {
    /// Starts `command` with all three of its streams piped.
    pub(super) fn start(mut command: Command) -> Result<Running, Failed> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Running {
            child,
            command: format!("{command:?}"),
        })
    }

    /// What it writes to its standard output; to be taken once.
    pub(super) fn output(&mut self) -> Result<impl Read + Send + 'static, Failed> {
        self.child
            .stdout
            .take()
            .ok_or_else(|| "its output is taken already".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` with `input` and returns its standard output. Fails, with all it printed, when it
/// exits with another status than 0 or has not ended after `time_max`.
pub(super) fn run(command: Command, input: &[u8], time_max: Duration) -> Result<String, Failed> {
    let started = Instant::now();
    let mut running = Running::start(command)?;
    let stdin = running.child.stdin.take();
    let input = input.to_vec();
    // A program that exits early closes its input; its exit status then says more than the write.
    std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let streams = [
        running.child.stdout.take().map(read_to_end),
        running.child.stderr.take().map(read_to_end),
    ];
    let mut texts = streams.into_iter().flatten().map(|stream| {
        stream
            .recv_timeout(time_max.saturating_sub(started.elapsed()))
            .map_err(|_| format!("{} has not ended after {time_max:?}", running.command))
    });
    let output = texts.next().transpose()?.unwrap_or_default();
    let complaints = texts.next().transpose()?.unwrap_or_default();
    drop(texts);
    let status = running.child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        let command = &running.command;
        return Err(format!("{command}: {status}\n{output}{complaints}").into());
    }
    Ok(output)
}

/// Reads `stream` on a thread of its own and sends what it held, once it has ended.
fn read_to_end(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is worth showing, the failure is not.
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
