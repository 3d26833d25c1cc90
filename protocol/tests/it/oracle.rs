//! Parsers so simple that they are unlikely to be wrong, to compare the real ones with. They see
//! the whole input at once and care for neither speed nor memory.

use linchpin_protocol::{Limits, ProtocolError};

type Outcome = Result<Option<(usize, Vec<Vec<u8>>)>, ProtocolError>;

/// The first request of `input`: its length and arguments.
pub(crate) fn parse_request(input: &[u8], limits: &Limits) -> Outcome {
    match input.first() {
        None => Ok(None),
        Some(b'*') => parse_array(input, limits),
        Some(_) => parse_inline(input, limits),
    }
}

fn parse_inline(input: &[u8], limits: &Limits) -> Outcome {
    let text: Vec<u8> = input
        .iter()
        .copied()
        .take_while(|byte| ![0, b'\n'].contains(byte))
        .collect();
    let newline = input.get(text.len()) == Some(&b'\n');
    if text.len() > limits.inline_bytes_max || (!newline && input.len() > limits.inline_bytes_max) {
        return Err(ProtocolError::InlineTooBig);
    }
    if !newline {
        return Ok(None);
    }
    let args = split_args(&text).ok_or(ProtocolError::UnbalancedQuotes)?;
    Ok(Some((text.len() + 1, args)))
}

fn parse_array(input: &[u8], limits: &Limits) -> Outcome {
    use ProtocolError as E;
    let Some((_, text, mut at)) = line(input, 0, E::MultibulkCountTooBig)? else {
        return Ok(None);
    };
    let count = number(&text).ok_or(E::InvalidMultibulkLength)?;
    if count > i128::from(i32::MAX) {
        return Err(E::InvalidMultibulkLength);
    }
    if count > limits.args_max as i128 {
        let (known, unknown) = (E::InvalidMultibulkLength, E::UnauthenticatedMultibulkLength);
        return Err(if limits.authenticated { known } else { unknown });
    }
    let mut args = Vec::new();
    for _ in 0..count {
        let Some((tag, text, body)) = line(input, at, E::BulkCountTooBig)? else {
            return Ok(None);
        };
        if tag != b'$' {
            return Err(E::ExpectedDollar(tag));
        }
        let len = number(&text)
            .filter(|len| *len >= 0)
            .ok_or(E::InvalidBulkLength)?;
        if len > limits.bulk_bytes_max as i128 {
            let known = limits.authenticated || len > 512 << 20;
            return Err(if known {
                E::InvalidBulkLength
            } else {
                E::UnauthenticatedBulkLength
            });
        }
        let end = body + len as usize;
        match input.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => args.push(input[body..end].to_vec()),
            Some(_) => return Err(E::ExpectedCrlf),
        }
        at = end + 2;
    }
    Ok(Some((at, args)))
}

/// The line at `at`: its first byte, what follows that, and where the next one begins. A line that
/// ends wrongly has a text that is no number.
fn line(
    input: &[u8],
    at: usize,
    too_big: ProtocolError,
) -> Result<Option<(u8, Vec<u8>, usize)>, ProtocolError> {
    let rest = &input[at..];
    let len = rest
        .iter()
        .position(|byte| b"\r\n".contains(byte))
        .unwrap_or(rest.len());
    if len > 65_536 {
        return Err(too_big);
    }
    let crlf = match rest.get(len..) {
        Some([b'\n', ..]) => false,
        Some([b'\r', next, ..]) => *next == b'\n',
        _ => return Ok(None),
    };
    let text = if crlf && len > 0 {
        rest[1..len].to_vec()
    } else {
        b"bad".to_vec()
    };
    Ok(Some((rest[0], text, at + len + 2)))
}

/// An integer of 64 bits in its one spelling: the one that Rust prints.
fn number(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number.into())
}

/// The arguments of a line; `None` when its quotes are wrong.
pub(crate) fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| b" \t\n\r\x0b\x0c".contains(&byte);
    let mut args = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(args);
        }
        let mut arg = Vec::new();
        while at < line.len() && !b" \t\n\r".contains(&line[at]) {
            let quote = line[at];
            at += 1;
            if quote != b'"' && quote != b'\'' {
                arg.push(quote);
                continue;
            }
            while *line.get(at)? != quote {
                let (byte, len) = match quote {
                    b'"' => unescape(&line[at..]),
                    _ if line[at..].starts_with(b"\\'") => (b'\'', 2),
                    _ => (line[at], 1),
                };
                arg.push(byte);
                at += len;
            }
            at += 1;
            if at < line.len() && !is_space(line[at]) {
                return None;
            }
            break;
        }
        args.push(arg);
    }
}

/// The first byte of a text in double quotes, and how many bytes say it.
fn unescape(text: &[u8]) -> (u8, usize) {
    let hex = text.get(2..4).and_then(|hex| std::str::from_utf8(hex).ok());
    let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    match (text[0], text.get(1), hex) {
        (b'\\', Some(b'x'), Some(hex)) => (u8::from_str_radix(hex, 16).unwrap(), 4),
        (b'\\', Some(b'n'), _) => (b'\n', 2),
        (b'\\', Some(b'r'), _) => (b'\r', 2),
        (b'\\', Some(b't'), _) => (b'\t', 2),
        (b'\\', Some(b'a'), _) => (7, 2),
        (b'\\', Some(b'b'), _) => (8, 2),
        (b'\\', Some(other), _) => (*other, 2),
        (byte, ..) => (byte, 1),
    }
}
