//! What a transcript runs against: connections that take bytes and give replies.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a reply takes is real time"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::process::Server;
use crate::resp::{self, Reply};

/// How long a reply, or a connection's end, may take over a socket.
const REPLY_MAX: Duration = Duration::from_secs(10);
/// How long nothing must come for a connection to count as quiet, when rewriting transcripts.
const QUIET: Duration = Duration::from_millis(40);
/// The same once something has come: short, for time passes in the server too.
const QUIET_AFTER: Duration = Duration::from_millis(2);
/// Added to every pause over a socket: the server's clock and ours tick at different moments.
const PAUSE_SLACK_MS: u64 = 3;
/// Taken longer by one reply, a transcript's shortest deadlines, of 20 ms, may be over too early.
const STANDSTILL_MIN: Duration = Duration::from_millis(5);

/// How much to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// At least so many reply lines, or the connection's end.
    Lines(usize),
    /// As long as something comes; what transcripts are rewritten from.
    Quiet,
    /// The connection's end, which the server makes on its own or because we stopped sending.
    End,
}

/// A running server, or one in this process.
pub(crate) trait Target {
    /// Opens a connection and returns its handle.
    fn connect(&mut self) -> Result<usize, String>;
    /// Sends bytes. A connection that the server has closed takes them silently, as TCP may.
    fn send(&mut self, conn: usize, bytes: &[u8]);
    /// The replies that have come. Errors: bytes that are no RESP.
    fn receive(&mut self, conn: usize, until: Until) -> Result<Vec<Reply>, String>;
    /// Whether the server closes the connection of its own accord.
    fn is_closed(&mut self, conn: usize) -> bool;
    /// Ends our side of the connection and returns what replies were left.
    fn close(&mut self, conn: usize) -> Result<Vec<Reply>, String>;
    /// Lets time pass.
    fn advance(&mut self, ms: u64) -> Result<(), String>;
    /// What is to hold after the last step.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A server process, over TCP.
pub(crate) struct Tcp {
    server: Server,
    conns: Vec<TcpConn>,
    /// The longest that a reply, or the end of a pause, was late.
    latest: Duration,
}

struct TcpConn {
    stream: TcpStream,
    /// Bytes received and not yet returned as replies.
    received: Vec<u8>,
    is_ended: bool,
}

impl Tcp {
    pub(crate) fn new(server: Server) -> Tcp {
        Tcp {
            server,
            conns: Vec::new(),
            latest: Duration::ZERO,
        }
    }

    /// Whether the machine stood still for so long that short deadlines prove nothing.
    pub(crate) fn stood_still(&self) -> bool {
        self.latest >= STANDSTILL_MIN
    }
}

impl TcpConn {
    /// Reads once, for at most `wait`; whether anything came.
    fn read(&mut self, wait: Duration) -> bool {
        let mut bytes = [0; 64 * 1024];
        if self.is_ended || self.stream.set_read_timeout(Some(wait)).is_err() {
            return false;
        }
        match self.stream.read(&mut bytes) {
            Ok(len) if len > 0 => {
                self.received.extend_from_slice(&bytes[..len]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            // The end, or a reset: what the server does to bytes it will not read.
            Ok(_) | Err(_) => {
                self.is_ended = true;
                false
            }
        }
    }
}

impl Target for Tcp {
    fn connect(&mut self) -> Result<usize, String> {
        let stream = self
            .server
            .connect()
            .map_err(|error| format!("connect: {error}"))?;
        self.conns.push(TcpConn {
            stream,
            received: Vec::new(),
            is_ended: false,
        });
        Ok(self.conns.len() - 1)
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        // A failed write means the server closed; the replies tell, or their absence does.
        let _ = self.conns[conn].stream.write_all(bytes);
    }

    fn receive(&mut self, conn: usize, until: Until) -> Result<Vec<Reply>, String> {
        let began = Instant::now();
        let conn = &mut self.conns[conn];
        let mut replies = Vec::new();
        loop {
            let (more, taken) = resp::split(&conn.received)?;
            conn.received.drain(..taken);
            replies.extend(more);
            let (is_enough, wait) = match until {
                Until::Lines(count) => (
                    replies.iter().map(|r| r.lines().len()).sum::<usize>() >= count,
                    REPLY_MAX,
                ),
                Until::Quiet if replies.is_empty() => (false, QUIET),
                Until::Quiet => (false, QUIET_AFTER),
                Until::End => (false, REPLY_MAX),
            };
            if is_enough || !conn.read(wait) {
                break;
            }
        }
        self.latest = self.latest.max(began.elapsed());
        match conn.received.is_empty() || matches!(until, Until::Lines(_)) {
            true => Ok(replies),
            false => Err(format!(
                "an unfinished reply: {}",
                resp::escape(&conn.received)
            )),
        }
    }

    fn is_closed(&mut self, conn: usize) -> bool {
        let conn = &mut self.conns[conn];
        while conn.read(REPLY_MAX) {}
        conn.is_ended
    }

    fn close(&mut self, conn: usize) -> Result<Vec<Reply>, String> {
        // Fails where the server was first; either way its end follows.
        let _ = self.conns[conn].stream.shutdown(Shutdown::Write);
        self.receive(conn, Until::End)
    }

    fn advance(&mut self, ms: u64) -> Result<(), String> {
        let pause = Duration::from_millis(ms + PAUSE_SLACK_MS);
        let began = Instant::now();
        std::thread::sleep(pause);
        self.latest = self.latest.max(began.elapsed().saturating_sub(pause));
        Ok(())
    }
}
