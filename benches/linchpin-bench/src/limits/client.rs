//! A client that sends what it is told to and waits for replies.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};

const INPUT_BYTES: usize = 64 << 10;
/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    parser: ReplyParser,
    unread: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        Ok(Self {
            stream,
            parser: ReplyParser::new(),
            unread: Vec::new(),
        })
    }

    pub(super) fn send(&mut self, words: &[&[u8]]) -> io::Result<()> {
        let mut request = Vec::new();
        encode_command(&mut request, words);
        self.stream.write_all(&request)
    }

    /// The next reply, when it has come.
    pub(super) fn receive(&mut self) -> anyhow::Result<Reply> {
        loop {
            if let Some(reply) = self.parsed()? {
                return Ok(reply);
            }
            self.read()?;
        }
    }

    /// The next reply, if it has come.
    pub(super) fn try_receive(&mut self) -> anyhow::Result<Option<Reply>> {
        self.stream.set_nonblocking(true)?;
        let read = self.read();
        self.stream.set_nonblocking(false)?;
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => read?,
        }
        self.parsed()
    }

    fn parsed(&mut self) -> anyhow::Result<Option<Reply>> {
        let progress = self.parser.parse(&self.unread, &ReplyLimits::default())?;
        self.unread.drain(..progress.consumed);
        Ok(progress.reply)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; INPUT_BYTES];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => {
                self.unread.extend_from_slice(&piece[..len]);
                Ok(())
            }
        }
    }
}

/// The token of a `CACHE.GET` that won.
pub(super) fn token(reply: &Reply) -> anyhow::Result<i64> {
    match reply {
        Reply::Array(parts) => match parts.as_slice() {
            [Reply::Bulk(state), _, _, Reply::Integer(token)] if state == b"WIN" => Ok(*token),
            _ => bail!("no turn to fill: {reply:?}"),
        },
        _ => bail!("no turn to fill: {reply:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_wins_has_a_token() {
        let reply = |state: &[u8], last| {
            let (value, ttl) = (Reply::Null, Reply::Integer(5));
            Reply::Array(vec![Reply::Bulk(state.to_vec()), value, ttl, last])
        };
        assert_eq!(token(&reply(b"WIN", Reply::Integer(7))).ok(), Some(7));
        assert!(token(&reply(b"BUSY", Reply::Null)).is_err());
        assert!(token(&Reply::Error(Vec::new())).is_err());
    }
}
