//! A blocking client of one connection: commands as lines of text in, replies as lines out.
//!
//! `client.expect("SET k \"a b\" EX 5", "+OK")`; a reply of several lines is one text with blanks
//! between them: `*2 $1 a $-1`. Nothing waits longer than [`REPLY_MAX`].

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server may take to answer is real time"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use socket2::{Domain, Socket, Type};

use crate::resp::{self, Reply};

/// How long a reply, or a connection's end, may take.
pub(crate) const REPLY_MAX: Duration = Duration::from_secs(10);
/// What the kernel keeps for a client that does not read; it makes more of it.
const RECEIVE_BYTES_DEAF: usize = 4 << 10;
/// Between two looks at something that is to come about.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What `look` finds, looking until it finds something or the time is up.
pub(crate) fn eventually<T>(
    what: &str,
    time_max: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Failed>,
) -> Result<T, Failed> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > time_max {
            return Err(format!("{what}: not after {time_max:?}").into());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Fails with `what` unless `is_so`.
pub(crate) fn check(is_so: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if is_so { Ok(()) } else { Err(what().into()) }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes received that are no whole reply yet.
    received: Vec<u8>,
    replies: VecDeque<Reply>,
}

impl Client {
    /// A new connection to `port` of 127.0.0.1.
    pub(crate) fn connect(port: u16) -> Result<Client, Failed> {
        Client::connect_to(("127.0.0.1", port))
    }

    /// A new connection to any address.
    pub(crate) fn connect_to(address: impl ToSocketAddrs) -> Result<Client, Failed> {
        Client::over(TcpStream::connect(address)?)
    }

    /// A new connection whose socket takes only little that is not read, so that replies pile up
    /// in the server early.
    pub(crate) fn connect_deaf(port: u16) -> Result<Client, Failed> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BYTES_DEAF)?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Result<Client, Failed> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.set_write_timeout(Some(REPLY_MAX))?;
        Ok(Client {
            stream,
            received: Vec::new(),
            replies: VecDeque::new(),
        })
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends the command in `line`, in words as redis-cli cuts them.
    pub(crate) fn send(&mut self, line: &str) -> Result<(), Failed> {
        self.send_raw(&resp::encode(&resp::words(line)?))
    }

    /// The next reply.
    pub(crate) fn receive(&mut self) -> Result<Reply, Failed> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            if !self.read()? {
                return Err("the server has closed the connection".into());
            }
        }
    }

    /// The reply to the command in `line`.
    pub(crate) fn call_reply(&mut self, line: &str) -> Result<Reply, Failed> {
        self.send(line)?;
        self.receive()
            .map_err(|error| format!("{line}: {}", error.message().unwrap_or("")).into())
    }

    /// The reply to the command in `line` as one text.
    pub(crate) fn call(&mut self, line: &str) -> Result<String, Failed> {
        Ok(self.call_reply(line)?.lines().join(" "))
    }

    /// Fails unless the command in `line` is answered by `reply`.
    pub(crate) fn expect(&mut self, line: &str, reply: &str) -> Result<(), Failed> {
        let got = self.call(line)?;
        check(got == reply, || format!("{line}: {got}, not {reply}"))
    }

    /// The number that the command in `line` is answered by.
    pub(crate) fn number(&mut self, line: &str) -> Result<i64, Failed> {
        let got = self.call(line)?;
        got.strip_prefix(':')
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("{line}: {got} is no number").into())
    }

    /// The field `name` of INFO, a number.
    pub(crate) fn info_field(&mut self, name: &str) -> Result<i64, Failed> {
        let text = self.call("INFO everything")?;
        text.split("\\r\\n")
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
            .ok_or_else(|| format!("no number {name} in {text}").into())
    }

    /// Waits until the field `name` of INFO is `value`.
    pub(crate) fn await_info(&mut self, name: &str, value: i64) -> Result<(), Failed> {
        eventually(&format!("{name} is {value}"), REPLY_MAX, || {
            Ok((self.info_field(name)? == value).then_some(()))
        })
    }

    /// Reads on to the end of the connection and answers the replies that came; fails if the
    /// server does not end it, or not behind a whole reply. A reset is an end, too.
    pub(crate) fn replies_to_end(&mut self) -> Result<Vec<Reply>, Failed> {
        while self.read()? {}
        let rest = resp::escape(&self.received);
        check(rest.is_empty(), || format!("cut inside the reply {rest}"))?;
        Ok(self.replies.drain(..).collect())
    }

    /// Fails unless the server closes the connection without another word.
    pub(crate) fn expect_end(&mut self) -> Result<(), Failed> {
        let replies = self.replies_to_end()?;
        check(replies.is_empty(), || {
            format!("before the end: {replies:?}")
        })
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) -> Result<(), Failed> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Reads once; whether the connection goes on.
    fn read(&mut self) -> Result<bool, Failed> {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(len) => self.received.extend_from_slice(&bytes[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => {
                return Err(format!("nothing came for {REPLY_MAX:?}: {error}").into());
            }
        }
        let (replies, taken) = resp::split(&self.received)?;
        self.received.drain(..taken);
        self.replies.extend(replies);
        Ok(true)
    }
}
