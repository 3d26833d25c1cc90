//! Replies: what a server sends to a client, in both versions of the protocol.
//!
//! [`ReplyParser`] consumes what it understands of the bytes at hand, the beginning of a long
//! string included, so that a client's buffer need not hold a reply as a whole. Aggregates being
//! filled stand on a stack of the parser's own.
//!
//! # Invariants
//!
//! - Memory is taken from bytes received: no vector is reserved from an announced length.
//! - The stack is at most [`ReplyLimits::depth_max`] high, and so is the tree that results.
//!
//! # Cost
//!
//! Time is linear in bytes plus calls. Each element costs the size of a [`Reply`] (32 bytes), plus
//! its bytes; vectors grow by doubling.
//!
//! # LIMITATIONS
//!
//! - Attributes are read and dropped. Streamed strings and aggregates (`$?`, `*?`), which no server
//!   sends, are refused.
//! - The two nulls of RESP2 and the one of RESP3 are all [`Reply::Null`]; an error is
//!   [`Reply::Error`] whether it came as a line or as a string.

use std::fmt;

use memchr::memchr2;

use crate::number::{parse_f64, parse_i64, parse_u64};
use crate::writer::{Version, Writer};

/// A server's reply. Text is bytes: nothing promises UTF-8.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// `+`: a short text, such as `OK`.
    Simple(Vec<u8>),
    /// `-` or `!`: an error, its code first.
    Error(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`: any bytes.
    Bulk(Vec<u8>),
    /// `_`, `$-1` or `*-1`.
    Null,
    /// `*`.
    Array(Vec<Reply>),
    /// `%`: pairs in the order they came; keys may repeat.
    Map(Vec<(Reply, Reply)>),
    /// `~`: in the order they came; members may repeat.
    Set(Vec<Reply>),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `(`: decimal digits, perhaps with a `-` before them.
    BigNumber(Vec<u8>),
    /// `=`: a text and its format, `txt` or `mkd`.
    Verbatim {
        /// Three bytes that name the format.
        format: [u8; 3],
        /// The text.
        text: Vec<u8>,
    },
    /// `>`: a message that answers no request.
    Push(Vec<Reply>),
}

/// Bounds of one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes of the reply as it is sent.
    pub bytes_max: usize,
    /// Elements announced by all its aggregates together; a pair of a map counts twice.
    pub elements_max: usize,
    /// Aggregates within each other.
    pub depth_max: usize,
}

impl Default for ReplyLimits {
    /// 1 GiB, 16,777,216 elements, 64 aggregates within each other.
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            elements_max: 1 << 24,
            depth_max: 64,
        }
    }
}

/// Why the bytes are no reply that can be read. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplyError {
    /// No type begins with this byte.
    UnknownType(u8),
    /// The length or count of a value of this type is malformed.
    InvalidLength(u8),
    /// The value of this type is malformed.
    InvalidValue(u8),
    /// A line or a string does not end with CR LF.
    ExpectedCrlf,
    /// A streamed string or aggregate.
    Streamed,
    /// A push inside another reply.
    NestedPush,
    /// Above [`ReplyLimits::bytes_max`].
    TooManyBytes,
    /// Above [`ReplyLimits::elements_max`].
    TooManyElements,
    /// Above [`ReplyLimits::depth_max`].
    TooDeep,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(tag) => write!(f, "unknown reply type '{}'", tag.escape_ascii()),
            Self::InvalidLength(tag) => {
                write!(
                    f,
                    "invalid length in a reply of type '{}'",
                    tag.escape_ascii()
                )
            }
            Self::InvalidValue(tag) => {
                write!(
                    f,
                    "invalid value in a reply of type '{}'",
                    tag.escape_ascii()
                )
            }
            Self::ExpectedCrlf => f.write_str("expected CRLF"),
            Self::Streamed => f.write_str("streamed replies are not supported"),
            Self::NestedPush => f.write_str("a push inside another reply"),
            Self::TooManyBytes => f.write_str("reply too big"),
            Self::TooManyElements => f.write_str("too many elements in a reply"),
            Self::TooDeep => f.write_str("reply nested too deeply"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// What a call of [`ReplyParser::parse`] achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyProgress {
    /// Bytes at the beginning of the input that are done with.
    pub consumed: usize,
    /// The reply they completed. With `None` all of the input was looked at and more is needed.
    pub reply: Option<Reply>,
}

/// Reads replies from the bytes a server has sent. Resumable; see [the module](self) for its cost.
///
/// ```
/// use linchpin_protocol::{Reply, ReplyLimits, ReplyParser};
///
/// let mut parser = ReplyParser::new();
/// let limits = ReplyLimits::default();
/// let mut received = b"*2\r\n:1\r\n$5\r\nhe".to_vec();
/// let progress = parser.parse(&received, &limits)?;
/// assert_eq!(progress.reply, None);
/// received.drain(..progress.consumed);
/// received.extend_from_slice(b"llo\r\n");
/// let progress = parser.parse(&received, &limits)?;
/// let expected = Reply::Array(vec![Reply::Integer(1), Reply::Bulk(b"hello".to_vec())]);
/// assert_eq!(progress.reply, Some(expected));
/// # Ok::<(), linchpin_protocol::ReplyError>(())
/// ```
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The aggregates that are not full yet, the innermost last.
    frames: Vec<Frame>,
    /// The string that is not complete yet.
    string: Option<PartialString>,
    /// How far the line at the beginning of the next input was searched for its end.
    scanned: usize,
    /// Consumed for the reply begun.
    bytes_len: usize,
    elements_len: usize,
}

#[derive(Debug)]
struct Frame {
    kind: Aggregate,
    missing: usize,
    items: Vec<Reply>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Array,
    Map,
    Set,
    Push,
    Attribute,
}

#[derive(Debug)]
struct PartialString {
    tag: u8,
    len: usize,
    bytes: Vec<u8>,
}

/// What one line, or the end of a string, amounts to.
enum Step {
    /// Bytes are missing.
    Starved,
    /// An aggregate or a string has begun, or an attribute without content was skipped.
    Begun,
    Value(Reply),
}

impl ReplyParser {
    /// A parser that holds no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets a reply begun.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether a reply has begun and is not complete: then an end of the connection cuts it off.
    /// Bytes that `parse` left unconsumed tell the same.
    pub fn is_midway(&self) -> bool {
        self.bytes_len > 0
    }

    /// Reads on, up to the end of one reply. The next call's input begins behind the bytes that
    /// this one has consumed.
    ///
    /// # Errors
    ///
    /// The bytes are no reply, or one above `limits`. The parser must be [`reset`](Self::reset)
    /// before it is used for another connection.
    pub fn parse(
        &mut self,
        input: &[u8],
        limits: &ReplyLimits,
    ) -> Result<ReplyProgress, ReplyError> {
        let mut rest = input;
        loop {
            let reply = match self.step(&mut rest, limits)? {
                Step::Starved => None,
                Step::Begun => continue,
                Step::Value(value) => match self.place(value) {
                    None => continue,
                    reply => reply,
                },
            };
            if reply.is_some() {
                self.bytes_len = 0;
                self.elements_len = 0;
            }
            return Ok(ReplyProgress {
                consumed: input.len().saturating_sub(rest.len()),
                reply,
            });
        }
    }

    fn step(&mut self, rest: &mut &[u8], limits: &ReplyLimits) -> Result<Step, ReplyError> {
        if self.string.is_some() {
            return self.read_string(rest);
        }
        let Some(line) = self.read_line(rest, limits)? else {
            return Ok(Step::Starved);
        };
        let Some((&tag, text)) = line.split_first() else {
            return Err(ReplyError::UnknownType(b'\r'));
        };
        let invalid = ReplyError::InvalidValue(tag);
        let value = match tag {
            b'+' => Reply::Simple(text.to_vec()),
            b'-' => Reply::Error(text.to_vec()),
            b':' => Reply::Integer(parse_integer(text).ok_or(invalid)?),
            b',' => Reply::Double(parse_double(text).ok_or(invalid)?),
            b'(' if is_big_number(text) => Reply::BigNumber(text.to_vec()),
            b'#' if matches!(text, b"t" | b"f") => Reply::Boolean(text == b"t"),
            b'_' if text.is_empty() => Reply::Null,
            b'(' | b'#' | b'_' => return Err(invalid),
            b'$' | b'*' if text == b"-1" => Reply::Null,
            b'$' | b'!' | b'=' => return self.begin_string(tag, text, limits),
            b'*' => return self.begin_aggregate(tag, Aggregate::Array, text, limits),
            b'%' => return self.begin_aggregate(tag, Aggregate::Map, text, limits),
            b'~' => return self.begin_aggregate(tag, Aggregate::Set, text, limits),
            b'>' if !self.frames.is_empty() => return Err(ReplyError::NestedPush),
            b'>' => return self.begin_aggregate(tag, Aggregate::Push, text, limits),
            b'|' => return self.begin_aggregate(tag, Aggregate::Attribute, text, limits),
            b';' | b'.' => return Err(ReplyError::Streamed),
            _ => return Err(ReplyError::UnknownType(tag)),
        };
        Ok(Step::Value(value))
    }

    /// Takes a line off `rest`, without its end. `None`: it has none yet.
    fn read_line<'i>(
        &mut self,
        rest: &mut &'i [u8],
        limits: &ReplyLimits,
    ) -> Result<Option<&'i [u8]>, ReplyError> {
        let unseen = rest.get(self.scanned..).unwrap_or_default();
        let found = memchr2(b'\r', b'\n', unseen).map(|at| self.scanned.saturating_add(at));
        let line_len = found.unwrap_or(rest.len());
        if self.bytes_len.saturating_add(line_len) > limits.bytes_max {
            return Err(ReplyError::TooManyBytes);
        }
        let end = line_len.saturating_add(2);
        match (found, rest.get(line_len..end)) {
            (Some(_), Some(b"\r\n")) => {
                let line = rest.get(..line_len).unwrap_or_default();
                *rest = rest.get(end..).unwrap_or_default();
                self.scanned = 0;
                self.bytes_len = self.bytes_len.saturating_add(end);
                Ok(Some(line))
            }
            (None, _) | (Some(_), None) if rest.last() != Some(&b'\n') => {
                self.scanned = line_len;
                Ok(None)
            }
            _ => Err(ReplyError::ExpectedCrlf),
        }
    }

    fn begin_string(
        &mut self,
        tag: u8,
        text: &[u8],
        limits: &ReplyLimits,
    ) -> Result<Step, ReplyError> {
        let len = parse_length(tag, text)?;
        let end = self.bytes_len.saturating_add(len).saturating_add(2);
        if end > limits.bytes_max {
            return Err(ReplyError::TooManyBytes);
        }
        self.bytes_len = end;
        self.string = Some(PartialString {
            tag,
            len,
            bytes: Vec::new(),
        });
        Ok(Step::Begun)
    }

    /// Moves bytes from `rest` to the string begun, until it is complete.
    fn read_string(&mut self, rest: &mut &[u8]) -> Result<Step, ReplyError> {
        let Some(string) = &mut self.string else {
            return Ok(Step::Begun);
        };
        let missing = string.len.saturating_sub(string.bytes.len());
        let (piece, tail) = rest.split_at_checked(missing).unwrap_or((*rest, &[]));
        string.bytes.extend_from_slice(piece);
        *rest = tail;
        let complete = string.bytes.len() == string.len;
        *rest = match tail {
            [b'\r', b'\n', tail @ ..] if complete => tail,
            [] | [b'\r'] => return Ok(Step::Starved),
            _ => return Err(ReplyError::ExpectedCrlf),
        };
        let Some(PartialString { tag, mut bytes, .. }) = self.string.take() else {
            return Ok(Step::Begun);
        };
        let value = match tag {
            b'!' => Reply::Error(bytes),
            b'=' => {
                let Some(&[a, b, c, b':']) = bytes.get(..4).and_then(|head| head.first_chunk())
                else {
                    return Err(ReplyError::InvalidValue(tag));
                };
                bytes.drain(..4);
                Reply::Verbatim {
                    format: [a, b, c],
                    text: bytes,
                }
            }
            _ => Reply::Bulk(bytes),
        };
        Ok(Step::Value(value))
    }

    fn begin_aggregate(
        &mut self,
        tag: u8,
        kind: Aggregate,
        text: &[u8],
        limits: &ReplyLimits,
    ) -> Result<Step, ReplyError> {
        let announced = parse_length(tag, text)?;
        let missing = match kind {
            Aggregate::Map | Aggregate::Attribute => announced.saturating_mul(2),
            Aggregate::Array | Aggregate::Set | Aggregate::Push => announced,
        };
        self.elements_len = self.elements_len.saturating_add(missing);
        if self.elements_len > limits.elements_max {
            return Err(ReplyError::TooManyElements);
        }
        if self.frames.len() >= limits.depth_max {
            return Err(ReplyError::TooDeep);
        }
        if missing == 0 {
            return Ok(kind.finish(Vec::new()).map_or(Step::Begun, Step::Value));
        }
        self.frames.push(Frame {
            kind,
            missing,
            items: Vec::new(),
        });
        Ok(Step::Begun)
    }

    /// Puts a value where it belongs. `Some`: it was, or it completed, the whole reply.
    fn place(&mut self, value: Reply) -> Option<Reply> {
        let mut value = value;
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Some(value);
            };
            frame.missing = frame.missing.saturating_sub(1);
            frame.items.push(value);
            if frame.missing > 0 {
                return None;
            }
            let full = self.frames.pop()?;
            value = full.kind.finish(full.items)?;
        }
    }
}

impl Aggregate {
    /// The value that consists of `items`; none for an attribute, which is no value.
    fn finish(self, items: Vec<Reply>) -> Option<Reply> {
        Some(match self {
            Self::Array => Reply::Array(items),
            Self::Set => Reply::Set(items),
            Self::Push => Reply::Push(items),
            Self::Attribute => return None,
            Self::Map => {
                let mut pairs = Vec::with_capacity(items.len() / 2);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Reply::Map(pairs)
            }
        })
    }
}

fn parse_length(tag: u8, text: &[u8]) -> Result<usize, ReplyError> {
    if text == b"?" {
        return Err(ReplyError::Streamed);
    }
    let len = parse_u64(text).and_then(|len| usize::try_from(len).ok());
    len.ok_or(ReplyError::InvalidLength(tag))
}

/// An integer may have a `+` in RESP3.
fn parse_integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'+', digits @ ..] => i64::try_from(parse_u64(digits)?).ok(),
        _ => parse_i64(text),
    }
}

fn parse_double(text: &[u8]) -> Option<f64> {
    // Older servers print whatever sign C's `printf` gives to NaN.
    if matches!(text, b"nan" | b"-nan") {
        Some(f64::NAN)
    } else {
        parse_f64(text)
    }
}

fn is_big_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Appends a request of these arguments, the command's name first. O(bytes).
///
/// ```
/// let mut out = Vec::new();
/// linchpin_protocol::encode_command(&mut out, ["GET", "k"]);
/// assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
/// ```
pub fn encode_command<I>(out: &mut Vec<u8>, args: I)
where
    I: IntoIterator,
    I::IntoIter: ExactSizeIterator,
    I::Item: AsRef<[u8]>,
{
    let args = args.into_iter();
    let mut writer = Writer::new(out, Version::Resp2);
    writer.array(args.len());
    args.for_each(|arg| writer.bulk(arg.as_ref()));
}
