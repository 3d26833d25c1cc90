//! A connected socket, TCP or Unix.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A socket on its way from the acceptor to a worker: belongs to no event loop.
#[derive(Debug)]
pub(super) enum Unattached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A socket on a worker's event loop.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What is known of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It may send more, or has.
    There,
    /// It sends nothing more, but may still read.
    Finished,
    /// It does neither.
    Gone,
}

impl Unattached {
    /// Attaches the socket to this thread's event loop.
    pub(super) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl Stream {
    /// Reads what there is, up to the length of `buffer`. 0 bytes: the peer has finished sending.
    ///
    /// `poll_read` clears the readiness after a short read; asking for readiness first would cost
    /// one more system call per batch.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Writes what the socket takes.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Looks, without reading, whether the peer is still there. The task is woken when that may
    /// have changed, unless something lies unread: then it is to look again by itself.
    pub(super) fn poll_peer(&mut self, cx: &mut Context<'_>) -> Peer {
        loop {
            let ready = match self {
                Self::Tcp(stream) => stream.poll_read_ready(cx),
                Self::Unix(stream) => stream.poll_read_ready(cx),
            };
            match ready {
                Poll::Pending => return Peer::There,
                Poll::Ready(Err(_)) => return Peer::Gone,
                Poll::Ready(Ok(())) => {}
            }
            let peer = self.peer();
            if peer != Peer::There {
                return peer;
            }
            match self.peek() {
                Ok(_) => return Peer::There,
                // That took away the readiness: the next turn of the loop waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Peer::Gone,
            }
        }
    }

    /// Looks at the next byte, if there is one.
    fn peek(&self) -> io::Result<()> {
        fn first(socket: impl AsFd) -> io::Result<()> {
            recv(socket, &mut [0; 1], RecvFlags::PEEK)?;
            Ok(())
        }
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || first(stream)),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || first(stream)),
        }
    }

    /// What the kernel knows of the peer at the moment, whatever is unread.
    fn peer(&self) -> Peer {
        let socket = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
        let at_once = rustix::event::Timespec::default();
        let told = match poll(&mut asked, Some(&at_once)) {
            Ok(_) => asked[0].revents(),
            Err(_) => PollFlags::empty(),
        };
        if told.intersects(PollFlags::HUP | PollFlags::ERR) {
            Peer::Gone
        } else if told.contains(PollFlags::RDHUP) {
            Peer::Finished
        } else {
            Peer::There
        }
    }

    /// Tells the peer that nothing more comes. A peer that has gone does not mind.
    pub(super) fn finish_sending(&mut self, cx: &mut Context<'_>) {
        // Shutting down a socket never waits.
        let _ = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        };
    }
}
