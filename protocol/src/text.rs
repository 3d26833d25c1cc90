//! Bytes as text and back: escaping for people to read, and the splitting of lines people type.
//!
//! Both follow Redis' own notation (`"a\x00b\n"`), so that what [`Escaped::quoted`] writes is what
//! [`split_args`] reads.

use std::fmt::{self, Write as _};

use crate::request::Span;

/// Bytes displayed as printable ASCII: everything else as `\n`, `\r`, `\t`, `\a`, `\b` or `\xNN`,
/// quotes and backslashes with a backslash before them. O(bytes), no allocation.
///
/// ```
/// use linchpin_protocol::text::Escaped;
///
/// assert_eq!(Escaped::quoted(b"caf\xc3\xa9\n").to_string(), r#""caf\xc3\xa9\n""#);
/// assert_eq!(Escaped::bare(b"a\0").to_string(), r"a\x00");
/// ```
#[derive(Clone, Copy)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    quotes: bool,
}

impl<'a> Escaped<'a> {
    /// With double quotes around it.
    pub fn quoted(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            quotes: true,
        }
    }

    /// Without quotes around it.
    pub fn bare(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            quotes: false,
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.quotes { "\"" } else { "" };
        f.write_str(quote)?;
        for &byte in self.bytes {
            match byte {
                b'"' => f.write_str("\\\"")?,
                b'\\' => f.write_str("\\\\")?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                0x07 => f.write_str("\\a")?,
                0x08 => f.write_str("\\b")?,
                0x20..=0x7e => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str(quote)
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A quote was left open, or something other than white space followed a closing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnbalancedQuotes;

impl fmt::Display for UnbalancedQuotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unbalanced quotes")
    }
}

impl std::error::Error for UnbalancedQuotes {}

/// Splits a line into arguments as Redis does for inline requests, redis-cli and configuration
/// files: at white space, except inside quotes. Double quotes know `\n`, `\r`, `\t`, `\b`, `\a` and
/// `\xHH`, and keep any other byte after a backslash as it is; single quotes know `\'` only.
/// O(bytes).
///
/// A NUL is an ordinary byte here, where Redis would stop reading.
///
/// # Errors
///
/// [`UnbalancedQuotes`], for the line as a whole.
///
/// ```
/// use linchpin_protocol::text::split_args;
///
/// let args = split_args(br#"SET 'my key' "a\x00b" "#)?;
/// assert_eq!(args, [&b"SET"[..], b"my key", b"a\0b"]);
/// # Ok::<(), linchpin_protocol::text::UnbalancedQuotes>(())
/// ```
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut args = Vec::new();
    let mut rest = line;
    let mut arg = Vec::new();
    while let Some(tail) = split_arg(rest, &mut arg)? {
        args.push(std::mem::take(&mut arg));
        rest = tail;
    }
    Ok(args)
}

/// [`split_args`] into one buffer and spans of it.
pub(crate) fn split_args_into(
    line: &[u8],
    buffer: &mut Vec<u8>,
    spans: &mut Vec<Span>,
) -> Result<(), UnbalancedQuotes> {
    let mut rest = line;
    loop {
        let at = buffer.len();
        let Some(tail) = split_arg(rest, buffer)? else {
            return Ok(());
        };
        // The caller bounds the line far below 4 GiB; a longer one is refused, not cut.
        let span = Span::new(at, buffer.len().saturating_sub(at)).ok_or(UnbalancedQuotes)?;
        spans.push(span);
        rest = tail;
    }
}

/// Appends the first argument of `line` to `arg` and gives the rest of the line; `None` when there
/// is none.
fn split_arg<'l>(line: &'l [u8], arg: &mut Vec<u8>) -> Result<Option<&'l [u8]>, UnbalancedQuotes> {
    let Some(start) = line.iter().position(|byte| !is_space(*byte)) else {
        return Ok(None);
    };
    let mut rest = line.get(start..).unwrap_or_default();
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            // Vertical tab and form feed separate arguments but do not end one: Redis' quirk.
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return unquote_double(tail, arg).map(Some),
            b'\'' => return unquote_single(tail, arg).map(Some),
            _ => arg.push(byte),
        }
        rest = tail;
    }
    Ok(Some(rest))
}

/// Reads on behind an opening double quote; gives what follows the closing one.
fn unquote_double<'l>(line: &'l [u8], arg: &mut Vec<u8>) -> Result<&'l [u8], UnbalancedQuotes> {
    let mut rest = line;
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                arg.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                arg.push(unescape(*escaped));
                tail
            }
            [b'"', tail @ ..] => return end_of_quotes(tail),
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

/// Reads on behind an opening single quote; gives what follows the closing one.
fn unquote_single<'l>(line: &'l [u8], arg: &mut Vec<u8>) -> Result<&'l [u8], UnbalancedQuotes> {
    let mut rest = line;
    loop {
        rest = match rest {
            [b'\\', b'\'', tail @ ..] => {
                arg.push(b'\'');
                tail
            }
            [b'\'', tail @ ..] => return end_of_quotes(tail),
            [byte, tail @ ..] => {
                arg.push(*byte);
                tail
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn end_of_quotes(tail: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match tail.first() {
        Some(byte) if !is_space(*byte) => Err(UnbalancedQuotes),
        _ => Ok(tail),
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of an ASCII hexadecimal digit; 0 for anything else.
pub(crate) fn hex_value(digit: u8) -> u8 {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .unwrap_or(0)
}

/// C's `isspace`, which unlike Rust's knows the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}
