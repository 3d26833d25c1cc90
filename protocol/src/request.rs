//! Requests: what a client sends to a server.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or an *inline* line
//! (`GET k\r\n`), told apart by the first byte. [`RequestParser`] finds where the request ends and
//! where its arguments lie; [`Args`] then borrows them from the very buffer the socket was read
//! into. What is refused, and in which words, follows Redis 7.0; [`ProtocolError`] lists where it
//! is stricter.
//!
//! ```text
//!            '*'          line            len > 0            CRLF
//!   Start ─────────> Count ───> BulkLength ─────> BulkBody ──────┐
//!     │ other          │ n <= 0     ^                            │
//!     v       line     v            └── arguments are missing ───┤
//!   Inline ─────────> Done <────────────── that was the last ────┘
//! ```
//!
//! # Invariants
//!
//! - A stage is left only when its bytes have been checked; an error leaves the stage as it was, so
//!   the same bytes give the same error again.
//! - Spans lie inside the bytes that `parse` reported as consumed (or inside the unescaped copy of
//!   an inline line).
//!
//! # Cost
//!
//! Time is linear in the bytes of the request plus the number of calls. Memory is 8 bytes per
//! argument received so far (an argument takes at least 6 on the wire) and, for inline requests,
//! a copy of the line; beyond 8 KiB of spans and 4 KiB of line it is given back before the next
//! request. A warm parser allocates nothing.
//!
//! # LIMITATIONS
//!
//! - A request must lie in one contiguous buffer, below 4 GiB.
//! - As in Redis, a NUL hides the end of an inline line: such a request is never complete and is
//!   refused once it has grown to [`Limits::inline_bytes_max`].

mod args;
mod error;
mod parser;
mod pipeline;

pub(crate) use args::Span;
pub use args::{Args, ArgsIter, Request};
pub use error::ProtocolError;
pub use parser::{Limits, RequestParser};
pub use pipeline::{Parsed, Pipeline, peek_second};
