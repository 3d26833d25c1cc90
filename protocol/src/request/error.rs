//! Why a request was refused.

use std::fmt;

/// A violation of the protocol. The connection cannot be understood any further: a server answers
/// `-ERR Protocol error: ` followed by this text, and closes.
///
/// `Display` gives the text as Redis 7.0 words it. Stricter than Redis are [`ExpectedCrlf`] (Redis
/// takes any two bytes after a bulk string) and lengths whose line does not end with CR LF (Redis
/// takes any byte after the CR and waits where there is none).
///
/// [`ExpectedCrlf`]: ProtocolError::ExpectedCrlf
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The count after `*` is not a number, or above what is allowed.
    InvalidMultibulkLength,
    /// The length after `$` is not a number, negative, or above what is allowed.
    InvalidBulkLength,
    /// An argument began with this byte instead of `$`.
    ExpectedDollar(u8),
    /// A bulk string was not followed by CR LF.
    ExpectedCrlf,
    /// An inline request left a quote open, or went on right after a closing quote.
    UnbalancedQuotes,
    /// No end of line within [`Limits::inline_bytes_max`](super::Limits::inline_bytes_max).
    InlineTooBig,
    /// No end of line within 64 KiB after `*`.
    MultibulkCountTooBig,
    /// No end of line within 64 KiB where a `$` line was expected.
    BulkCountTooBig,
    /// More arguments than a client may send before it has authenticated.
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send before it has authenticated.
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    /// Appends the text to `out` byte for byte as Redis sends it: an offending byte stands as it
    /// came, where `Display` has to escape what is not ASCII. CR and LF become spaces.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::ExpectedDollar(got) => {
                out.extend_from_slice(b"expected '$', got '");
                out.push(if matches!(got, b'\r' | b'\n') {
                    b' '
                } else {
                    *got
                });
                out.push(b'\'');
            }
            fixed => out.extend_from_slice(fixed.fixed_text().as_bytes()),
        }
    }

    fn fixed_text(&self) -> &'static str {
        match self {
            Self::InvalidMultibulkLength => "invalid multibulk length",
            Self::InvalidBulkLength => "invalid bulk length",
            Self::ExpectedDollar(_) => "expected '$'",
            Self::ExpectedCrlf => "expected CRLF",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::InlineTooBig => "too big inline request",
            Self::MultibulkCountTooBig => "too big mbulk count string",
            Self::BulkCountTooBig => "too big bulk count string",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpectedDollar(b'\r' | b'\n') => f.write_str("expected '$', got ' '"),
            Self::ExpectedDollar(got @ 0x20..=0x7e) => {
                write!(f, "expected '$', got '{}'", char::from(*got))
            }
            Self::ExpectedDollar(got) => write!(f, "expected '$', got '\\x{got:02x}'"),
            fixed => f.write_str(fixed.fixed_text()),
        }
    }
}

impl std::error::Error for ProtocolError {}
