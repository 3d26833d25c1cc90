//! RESP2 and RESP3, the Redis wire protocol, without any I/O.
//!
//! The crate turns bytes into requests and replies and back. It opens no socket, spawns nothing and
//! knows no runtime: a server or a client reads bytes however it likes and hands them over.
//!
//! | side | reads | writes |
//! |---|---|---|
//! | server | [`RequestParser`] → [`Args`], borrowed from the bytes received | [`Writer`] |
//! | client | [`ReplyParser`] → [`Reply`], an owned tree | [`encode_command`] |
//!
//! A server's turn, from bytes to bytes:
//!
//! ```
//! use linchpin_protocol::{Limits, RequestParser, Version, Writer};
//!
//! let received = b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\nPING\r\n";
//! let mut answer = Vec::new();
//! let mut parser = RequestParser::new();
//! let mut input = &received[..];
//! while let Some(consumed) = parser.parse(input, &Limits::default())? {
//!     let args = parser.args(input);
//!     let mut writer = Writer::new(&mut answer, Version::Resp2);
//!     match args.get(0) {
//!         Some(b"ECHO") => writer.bulk(&args[1]),
//!         Some(b"PING") => writer.simple("PONG"),
//!         _ => writer.error("ERR unknown command"),
//!     }
//!     input = &input[consumed..];
//! }
//! assert_eq!(answer, b"$5\r\nhello\r\n+PONG\r\n");
//! # Ok::<(), linchpin_protocol::ProtocolError>(())
//! ```
//!
//! A client's turn, the other way round:
//!
//! ```
//! use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};
//!
//! let mut request = Vec::new();
//! encode_command(&mut request, ["INCRBY", "hits", "5"]);
//! assert_eq!(request, b"*3\r\n$6\r\nINCRBY\r\n$4\r\nhits\r\n$1\r\n5\r\n");
//!
//! let mut received = b":42\r\n+ne".to_vec();
//! let mut parser = ReplyParser::new();
//! let progress = parser.parse(&received, &ReplyLimits::default())?;
//! assert_eq!(progress.reply, Some(Reply::Integer(42)));
//! received.drain(..progress.consumed);
//! # Ok::<(), linchpin_protocol::ReplyError>(())
//! ```
//!
//! # Invariants
//!
//! - Both parsers are resumable and linear: whatever the pieces the bytes arrive in, every byte is
//!   looked at a bounded number of times, and the outcome is that of one piece.
//! - Memory is taken from bytes received, never from a length the peer claims, and every length is
//!   bounded by [`Limits`] or [`ReplyLimits`].
//! - No input panics: parsers use no `unsafe`, no recursion, no unchecked index or arithmetic.

#![forbid(unsafe_code)]

pub mod fuzzing;
pub mod number;
pub mod reply;
pub mod request;
pub mod text;
pub mod writer;

pub use reply::{Reply, ReplyError, ReplyLimits, ReplyParser, ReplyProgress, encode_command};
pub use request::{
    Args, ArgsIter, Limits, Parsed, Pipeline, ProtocolError, Request, RequestParser, peek_second,
};
pub use writer::{Version, Writer};
