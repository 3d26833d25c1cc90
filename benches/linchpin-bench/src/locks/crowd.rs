//! A crowd: many connections that want one lock, driven by one thread.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

const EVENTS_MAX: usize = 256;
const INPUT_BYTES: usize = 4 << 10;
/// The lease of a hold, in milliseconds: none ends by itself. Waiting takes as long at most.
const LEASE_MS: &str = "600000";

/// How a lock is asked for and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect<'d> {
    /// `LOCK.ACQUIRE` with `WAIT`.
    LockWait,
    /// `LOCK.ACQUIRE` that does not wait.
    LockTry,
    /// `BLPOP` of a list with one token.
    Token,
    /// `SET NX PX`, and a script of this name that compares and deletes.
    SetNx(&'d str),
}

impl Dialect<'_> {
    /// What a client sends to have the lock, and to give it back.
    fn requests(self, lock: &str, owner: &str) -> (Vec<u8>, Vec<u8>) {
        let (mut ask, mut give_back) = (Vec::new(), Vec::new());
        match self {
            Self::LockWait | Self::LockTry => {
                let mut words = vec!["LOCK.ACQUIRE", lock, owner, "PX", LEASE_MS];
                if self == Self::LockWait {
                    words.extend(["WAIT", LEASE_MS]);
                }
                encode_command(&mut ask, &words);
                encode_command(&mut give_back, &["LOCK.RELEASE", lock, owner]);
            }
            Self::Token => {
                encode_command(&mut ask, &["BLPOP", lock, "0"]);
                encode_command(&mut give_back, &["LPUSH", lock, "token"]);
            }
            Self::SetNx(script) => {
                encode_command(&mut ask, &["SET", lock, owner, "NX", "PX", LEASE_MS]);
                encode_command(&mut give_back, &["EVALSHA", script, "1", lock, owner]);
            }
        }
        (ask, give_back)
    }
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has the lock; with a fence, if the server has such.
    Granted(Option<i64>),
    /// Another has it.
    Refused,
    /// It gave the lock back.
    Freed,
}

impl Heard {
    fn of(reply: &Reply) -> anyhow::Result<Self> {
        match reply {
            Reply::Integer(1) => Ok(Self::Freed),
            Reply::Simple(_) => Ok(Self::Granted(None)),
            Reply::Null => Ok(Self::Refused),
            Reply::Array(parts) => match parts.as_slice() {
                [Reply::Integer(1), Reply::Integer(fence), ..] => Ok(Self::Granted(Some(*fence))),
                [Reply::Integer(0), ..] => Ok(Self::Refused),
                [Reply::Bulk(_), Reply::Bulk(_)] => Ok(Self::Granted(None)),
                _ => bail!("wrong reply: {reply:?}"),
            },
            _ => bail!("wrong reply: {reply:?}"),
        }
    }
}

struct Client {
    stream: TcpStream,
    parser: ReplyParser,
    unread: Vec<u8>,
    ask: Vec<u8>,
    give_back: Vec<u8>,
}

/// Clients by their number, each with a connection and a name of its own.
pub(super) struct Crowd {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Requests sent.
    pub(super) requests: u64,
}

impl Crowd {
    pub(super) fn connect(
        address: SocketAddr,
        count: usize,
        dialect: Dialect<'_>,
        lock: &str,
    ) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let stream = TcpStream::connect(address).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, token, epoll::EventFlags::IN)?;
            let (ask, give_back) = dialect.requests(lock, &format!("client-{number:026}"));
            clients.push(Client {
                stream,
                parser: ReplyParser::new(),
                unread: Vec::new(),
                ask,
                give_back,
            });
        }
        Ok(Self {
            epoll,
            clients,
            requests: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Client `at` asks for the lock.
    pub(super) fn ask(&mut self, at: usize) -> io::Result<()> {
        self.requests += 1;
        let client = &mut self.clients[at];
        client.stream.write_all(&client.ask)
    }

    /// Client `at` gives the lock back.
    pub(super) fn give_back(&mut self, at: usize) -> io::Result<()> {
        self.requests += 1;
        let client = &mut self.clients[at];
        client.stream.write_all(&client.give_back)
    }

    /// Client `at` gives the lock back and asks for it again, at once.
    pub(super) fn give_back_and_ask(&mut self, at: usize) -> io::Result<()> {
        self.requests += 2;
        let client = &mut self.clients[at];
        let both = [&client.give_back[..], &client.ask].concat();
        client.stream.write_all(&both)
    }

    /// Waits up to `pause` for replies, and adds them to `heard`, by client.
    pub(super) fn listen(
        &mut self,
        pause: Duration,
        heard: &mut Vec<(usize, Heard)>,
    ) -> anyhow::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_MAX);
        let timeout = Timespec::try_from(pause).context("a pause is short")?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let at = event.data.u64() as usize;
            self.clients[at].read(|reply| {
                heard.push((at, Heard::of(&reply)?));
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Client {
    /// Reads once.
    fn read(&mut self, mut take: impl FnMut(Reply) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut piece = [0; INPUT_BYTES];
        match self.stream.read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(len) => self.unread.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        loop {
            let progress = self.parser.parse(&self.unread, &ReplyLimits::default())?;
            self.unread.drain(..progress.consumed);
            match progress.reply {
                Some(reply) => take(reply)?,
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_mean_the_same_in_every_dialect() {
        let bulk = || Reply::Bulk(b"x".to_vec());
        let lock = |status| {
            let (fence, ttl_ms) = (Reply::Integer(7), Reply::Integer(9));
            Reply::Array(vec![Reply::Integer(status), fence, ttl_ms, bulk()])
        };
        let heard = |reply: &Reply| Heard::of(reply).expect("it is a right reply");
        assert_eq!(heard(&lock(1)), Heard::Granted(Some(7)));
        assert_eq!(heard(&lock(0)), Heard::Refused);
        let popped = Reply::Array(vec![bulk(), bulk()]);
        assert_eq!(heard(&popped), Heard::Granted(None));
        assert_eq!(heard(&Reply::Simple(b"OK".to_vec())), Heard::Granted(None));
        assert_eq!(heard(&Reply::Null), Heard::Refused);
        assert_eq!(heard(&Reply::Integer(1)), Heard::Freed);
        for wrong in [Reply::Integer(0), Reply::Error(Vec::new()), lock(2)] {
            assert!(Heard::of(&wrong).is_err(), "{wrong:?}");
        }
    }
}
