//! The request parser: see the parent module for the picture.

use memchr::memchr2;

use super::{Args, ProtocolError, Span};
use crate::number::parse_i64;
use crate::text::split_args_into;

/// A line that announces a count or a length may be this long before its CR. Redis' figure.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Counts above are malformed rather than too many, whoever sends them. Redis' figure.
const COUNT_MAX: i64 = i32::MAX as i64;
/// Redis' default `proto-max-bulk-len`: lengths above are malformed for a client that has not
/// authenticated, whatever is allowed to the others.
const UNAUTHENTICATED_BULK_MALFORMED: i64 = 512 * 1024 * 1024;
/// Memory kept from one request to the next, in arguments and in bytes of an inline line.
const SPANS_KEPT_MAX: usize = 1024;
const INLINE_BYTES_KEPT_MAX: usize = 4096;

/// What a request may ask for. Plain values: a server makes them from its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of an array request, its name included. Inline requests are bounded by their
    /// bytes alone, as in Redis.
    pub args_max: usize,
    /// Bytes of one argument. Whatever it says, a request stays below 4 GiB.
    pub bulk_bytes_max: usize,
    /// Bytes of an inline request, its end of line not counted.
    pub inline_bytes_max: usize,
    /// Whether the client has authenticated or need not. It only chooses the words in which too
    /// many or too long arguments are refused.
    pub authenticated: bool,
}

impl Limits {
    /// What a client gets before it has authenticated: 10 arguments of 16 KiB.
    pub const fn unauthenticated() -> Self {
        Self {
            args_max: 10,
            bulk_bytes_max: 16 * 1024,
            inline_bytes_max: 64 * 1024,
            authenticated: false,
        }
    }
}

impl Default for Limits {
    /// 1,048,576 arguments of 64 MiB, inline requests of 64 KiB.
    fn default() -> Self {
        Self {
            args_max: 1024 * 1024,
            bulk_bytes_max: 64 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
            authenticated: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Inline,
    Count,
    BulkLength,
    BulkBody,
    Done,
    DoneInline,
}

/// Finds requests in the bytes a client has sent. Resumable; see [the module](super) for its cost.
///
/// ```
/// use linchpin_protocol::{Limits, RequestParser};
///
/// let mut parser = RequestParser::new();
/// let limits = Limits::default();
/// assert_eq!(parser.parse(b"*2\r\n$3\r\nGET\r\n$1\r", &limits)?, None);
/// let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nnext";
/// assert_eq!(parser.parse(input, &limits)?, Some(20));
/// assert_eq!(parser.args(input).get(1), Some(&b"k"[..]));
/// # Ok::<(), linchpin_protocol::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct RequestParser {
    stage: Stage,
    /// Offset of the first byte that is not understood yet.
    pos: usize,
    /// Offset up to which the line at `pos` was searched for its end.
    scanned: usize,
    args_left: usize,
    bulk_len: usize,
    bytes_needed: usize,
    pub(super) spans: Vec<Span>,
    /// The arguments of an inline request, unescaped, one after the other.
    pub(super) inline: Vec<u8>,
}

impl Default for RequestParser {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestParser {
    /// A parser that holds no memory yet.
    pub const fn new() -> Self {
        Self {
            stage: Stage::Start,
            pos: 0,
            scanned: 0,
            args_left: 0,
            bulk_len: 0,
            bytes_needed: 1,
            spans: Vec::new(),
            inline: Vec::new(),
        }
    }

    /// Reads on in the request that begins at `input[0]`.
    ///
    /// `Ok(Some(n))`: a request is complete and took the first `n` bytes; its arguments are
    /// [`args`](Self::args), and there may be none of them (a blank line, `*0`, `*-1`). The next
    /// call begins a new request.
    ///
    /// `Ok(None)`: bytes are missing. Call again with the same bytes and more; the buffer may have
    /// moved meanwhile.
    ///
    /// # Errors
    ///
    /// The bytes are no request, or one above `limits`. Called again with the same bytes, the
    /// parser gives the same error again.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if matches!(self.stage, Stage::Done | Stage::DoneInline) {
            self.reset();
        }
        if self.stage == Stage::Start {
            self.stage = match input.first() {
                None => return Ok(None),
                Some(b'*') => Stage::Count,
                Some(_) => Stage::Inline,
            };
        }
        if self.stage == Stage::Inline {
            return self.parse_inline(input, limits);
        }
        if self.stage == Stage::Count && !self.parse_count(input, limits)? {
            return Ok(None);
        }
        self.parse_bulks(input, limits)
    }

    /// The arguments of the request that [`parse`](Self::parse) has just reported complete; none
    /// at any other moment. `input` is what `parse` was given.
    #[inline]
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        match self.stage {
            Stage::Done => Args::new(input, &self.spans),
            Stage::DoneInline => Args::new(&self.inline, &self.spans),
            _ => Args::new(&[], &[]),
        }
    }

    /// Whether the request that is complete is a line of plain text.
    #[inline]
    pub(super) fn is_inline(&self) -> bool {
        self.stage == Stage::DoneInline
    }

    /// Forgets the request begun or completed. The next call of [`parse`](Self::parse) begins a
    /// new one. Memory beyond a small bound is given back.
    #[inline]
    pub fn reset(&mut self) {
        self.stage = Stage::Start;
        self.pos = 0;
        self.scanned = 0;
        self.args_left = 0;
        self.bytes_needed = 1;
        self.spans.clear();
        self.inline.clear();
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans.shrink_to(SPANS_KEPT_MAX);
        }
        if self.inline.capacity() > INLINE_BYTES_KEPT_MAX {
            self.inline.shrink_to(INLINE_BYTES_KEPT_MAX);
        }
    }

    /// The length of `input`, counted from the first byte of the request, below which calling
    /// [`parse`](Self::parse) again changes nothing. A lower bound, and a client's claim: good for
    /// deciding when to parse again, not for allocating.
    #[inline]
    pub fn bytes_needed(&self) -> usize {
        self.bytes_needed
    }

    /// The heap memory held, in bytes.
    pub fn retained_bytes(&self) -> usize {
        self.inline
            .capacity()
            .saturating_add(self.spans.capacity().saturating_mul(size_of::<Span>()))
    }

    /// Reads a request that is one line of plain text.
    fn parse_inline(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let bytes_max = limits.inline_bytes_max;
        let window = input.get(..bytes_max.saturating_add(1)).unwrap_or(input);
        let unseen = window.get(self.scanned..).unwrap_or_default();
        // A NUL ends the search as it does in Redis, which looks for the newline with `strchr`.
        let found = memchr2(b'\n', 0, unseen).map(|at| self.scanned.saturating_add(at));
        let Some((line, b'\n')) = found.and_then(|at| Some((window.get(..at)?, *window.get(at)?)))
        else {
            if input.len() > bytes_max {
                return Err(ProtocolError::InlineTooBig);
            }
            self.scanned = found.unwrap_or(window.len());
            self.bytes_needed = match found {
                Some(_) => bytes_max.saturating_add(1),
                None => input.len().saturating_add(1),
            };
            return Ok(None);
        };
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        self.spans.clear();
        self.inline.clear();
        split_args_into(text, &mut self.inline, &mut self.spans)
            .map_err(|_| ProtocolError::UnbalancedQuotes)?;
        self.stage = Stage::DoneInline;
        self.bytes_needed = 1;
        Ok(Some(line.len().saturating_add(1)))
    }

    /// Reads `*<count>\r\n`. `false`: bytes are missing.
    #[inline]
    fn parse_count(&mut self, input: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let too_long = ProtocolError::MultibulkCountTooBig;
        let Some(header) = self.parse_header(input, too_long)? else {
            return Ok(false);
        };
        let count = match header.number {
            Some(count) if count <= COUNT_MAX => usize::try_from(count).unwrap_or(0),
            _ => return Err(ProtocolError::InvalidMultibulkLength),
        };
        if count > limits.args_max {
            return Err(match limits.authenticated {
                true => ProtocolError::InvalidMultibulkLength,
                false => ProtocolError::UnauthenticatedMultibulkLength,
            });
        }
        self.args_left = count;
        self.begin_line(header.end);
        Ok(true)
    }

    /// Reads `$<length>\r\n<bytes>\r\n` until no argument is missing.
    #[inline]
    fn parse_bulks(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        while self.args_left > 0 {
            if self.stage == Stage::BulkLength && !self.parse_bulk_length(input, limits)? {
                return Ok(None);
            }
            if !self.parse_bulk_body(input)? {
                return Ok(None);
            }
        }
        self.stage = Stage::Done;
        self.bytes_needed = 1;
        Ok(Some(self.pos))
    }

    #[inline]
    fn parse_bulk_length(&mut self, input: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let too_long = ProtocolError::BulkCountTooBig;
        let Some(header) = self.parse_header(input, too_long)? else {
            return Ok(false);
        };
        if header.tag != b'$' {
            return Err(ProtocolError::ExpectedDollar(header.tag));
        }
        let number = header.number.ok_or(ProtocolError::InvalidBulkLength)?;
        let len = usize::try_from(number).map_err(|_| ProtocolError::InvalidBulkLength)?;
        if len > limits.bulk_bytes_max {
            let malformed = limits.authenticated || number > UNAUTHENTICATED_BULK_MALFORMED;
            return Err(match malformed {
                true => ProtocolError::InvalidBulkLength,
                false => ProtocolError::UnauthenticatedBulkLength,
            });
        }
        // The closing CRLF included, so that no later sum overflows 32 bits either.
        if Span::new(header.end, len.saturating_add(2)).is_none() {
            return Err(ProtocolError::InvalidBulkLength);
        }
        self.bulk_len = len;
        self.pos = header.end;
        self.stage = Stage::BulkBody;
        self.bytes_needed = header.end.saturating_add(len).saturating_add(2);
        Ok(true)
    }

    #[inline]
    fn parse_bulk_body(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let end = self.bytes_needed;
        let Some(ending) = input.get(end.saturating_sub(2)..end) else {
            return Ok(false);
        };
        if ending != b"\r\n" {
            return Err(ProtocolError::ExpectedCrlf);
        }
        let span = Span::new(self.pos, self.bulk_len).ok_or(ProtocolError::InvalidBulkLength)?;
        self.spans.push(span);
        self.args_left = self.args_left.saturating_sub(1);
        self.begin_line(end);
        Ok(true)
    }

    #[inline]
    fn begin_line(&mut self, pos: usize) {
        self.stage = Stage::BulkLength;
        self.pos = pos;
        self.scanned = pos;
    }

    /// Reads the line at `pos`. `None`: bytes are missing.
    #[inline]
    fn parse_header(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Header>, ProtocolError> {
        if let Some((&tag, rest)) = input.get(self.pos..).and_then(<[u8]>::split_first)
            && let Some((number, len)) = parse_short_length(rest)
        {
            let end = self.pos.saturating_add(1).saturating_add(len);
            return Ok(Some(Header {
                tag,
                number: Some(number),
                end,
            }));
        }
        self.parse_any_header(input, too_long)
    }

    /// The general case of [`parse_header`](Self::parse_header): lines that are incomplete, long,
    /// negative or malformed.
    #[cold]
    fn parse_any_header(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Header>, ProtocolError> {
        let line_end_max = self.pos.saturating_add(HEADER_BYTES_MAX).saturating_add(1);
        let window = input.get(..line_end_max).unwrap_or(input);
        let unseen = window.get(self.scanned..).unwrap_or_default();
        let Some(at) = memchr2(b'\r', b'\n', unseen).map(|at| self.scanned.saturating_add(at))
        else {
            if window.len() == line_end_max {
                return Err(too_long);
            }
            self.scanned = window.len().max(self.pos);
            self.bytes_needed = self.scanned.saturating_add(1);
            return Ok(None);
        };
        let end = at.saturating_add(2);
        let line_end = match input.get(at..end) {
            Some(line_end) => line_end,
            None if input.get(at) == Some(&b'\n') => b"\n",
            None => {
                self.scanned = at;
                self.bytes_needed = end;
                return Ok(None);
            }
        };
        let line = input.get(self.pos..at).unwrap_or_default();
        let (tag, text) = match line.split_first() {
            Some((tag, text)) => (*tag, text),
            None => (input.get(at).copied().unwrap_or(b'\r'), &b""[..]),
        };
        let number = if line_end == b"\r\n" {
            parse_i64(text)
        } else {
            None
        };
        Ok(Some(Header { tag, number, end }))
    }
}

/// A line that announces a count or a length.
struct Header {
    tag: u8,
    /// `None` when it is no number or the line does not end with CR LF.
    number: Option<i64>,
    /// Offset behind the line.
    end: usize,
}

/// Reads `<1 to 9 digits>\r\n`, which is what nearly every such line is, and how many bytes it
/// took. `None` says nothing: the line may be unusual, incomplete or wrong.
#[inline]
pub(super) fn parse_short_length(bytes: &[u8]) -> Option<(i64, usize)> {
    const DIGITS_MAX: usize = 9;
    let mut number: u32 = 0;
    for (at, &byte) in bytes.iter().enumerate().take(DIGITS_MAX.saturating_add(1)) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let end = at.saturating_add(2);
            let leading_zero = at > 1 && bytes.first() == Some(&b'0');
            let complete = at > 0 && !leading_zero && bytes.get(at..end) == Some(b"\r\n");
            return complete.then_some((i64::from(number), end));
        }
        // A tenth digit makes the number at most 9,999,999,999: too big for 32 bits, hence checked.
        number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    None
}
