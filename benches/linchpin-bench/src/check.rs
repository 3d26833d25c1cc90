//! Replies, counted and checked as they arrive, in whatever pieces.
//!
//! Where every byte is known beforehand, checking is comparing memory, a few nanoseconds a reply.
//! Integers are scanned. Only the replies to command lines of the user's own are parsed.

use linchpin_protocol::text::Escaped;
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser};

/// How much of a wrong reply is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 100;

/// What the replies to a ring of requests must be.
#[derive(Debug)]
pub(crate) enum Expected {
    /// These bytes, a ring of replies of one length.
    Exact {
        replies: Vec<u8>,
        reply_bytes: usize,
    },
    /// An integer each.
    Integer,
    /// Anything but an error.
    NoError,
    /// These lines, over and over.
    Lines(&'static [Line]),
}

/// A line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How it begins.
    pub(crate) start: &'static str,
    /// Whether it may go on in any way.
    pub(crate) is_open: bool,
    /// Whether a reply ends with it.
    pub(crate) is_last: bool,
}

impl Line {
    fn is(&self, line: &[u8]) -> bool {
        let rest = line.strip_prefix(self.start.as_bytes());
        rest.is_some_and(|rest| self.is_open || rest == b"\r\n")
    }
}

/// A reply that is not the expected one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong reply: expected {expected}, got {got}")]
pub struct WrongReply {
    /// What it should have been.
    pub expected: String,
    /// The first bytes of what came instead.
    pub got: String,
}

/// What one connection has received.
pub(crate) struct Check {
    /// Where in the ring of replies the connection began, in replies.
    first: u64,
    /// Replies that have come whole.
    replies: u64,
    state: State,
}

enum State {
    /// Bytes received altogether.
    Exact(u64),
    /// Bytes of the line that has begun.
    Line(Vec<u8>),
    /// The same, and which of the lines it is.
    Lines(Vec<u8>, usize),
    Parser {
        parser: Box<ReplyParser>,
        unread: Vec<u8>,
    },
}

impl Check {
    /// For a connection whose first request is number `first` of the ring.
    pub(crate) fn new(expected: &Expected, first: u64) -> Self {
        let state = match expected {
            Expected::Exact { .. } => State::Exact(0),
            Expected::Integer => State::Line(Vec::new()),
            Expected::Lines(_) => State::Lines(Vec::new(), 0),
            Expected::NoError => State::Parser {
                parser: Box::new(ReplyParser::new()),
                unread: Vec::new(),
            },
        };
        Self {
            first,
            replies: 0,
            state,
        }
    }

    /// Replies that have come whole since the connection began.
    pub(crate) fn replies(&self) -> u64 {
        self.replies
    }

    /// Takes the next bytes received.
    pub(crate) fn take(&mut self, expected: &Expected, input: &[u8]) -> Result<(), WrongReply> {
        match (&mut self.state, expected) {
            (
                State::Exact(received),
                Expected::Exact {
                    replies,
                    reply_bytes,
                },
            ) => {
                let stride = *reply_bytes as u64;
                compare(
                    replies,
                    *reply_bytes,
                    self.first * stride + *received,
                    input,
                )?;
                *received += input.len() as u64;
                self.replies = *received / stride;
            }
            (State::Line(line), _) => {
                let replies = &mut self.replies;
                each_line(line, input, |line| {
                    *replies += 1;
                    check_integer(line)
                })?;
            }
            (State::Lines(line, at), Expected::Lines(lines)) => {
                let replies = &mut self.replies;
                each_line(line, input, |line| {
                    let expected = &lines[*at];
                    if !expected.is(line) {
                        return Err(WrongReply {
                            expected: shown(expected.start.as_bytes()),
                            got: shown(line),
                        });
                    }
                    *replies += u64::from(expected.is_last);
                    *at = (*at + 1) % lines.len();
                    Ok(())
                })?;
            }
            (State::Parser { parser, unread }, _) => {
                unread.extend_from_slice(input);
                self.replies += parse(parser, unread)?;
            }
            (State::Exact(_) | State::Lines(..), _) => {
                unreachable!("a workload does not change what it expects")
            }
        }
        Ok(())
    }
}

/// Compares `input` with the ring `replies`, endlessly repeated, from `position` on.
fn compare(replies: &[u8], stride: usize, position: u64, input: &[u8]) -> Result<(), WrongReply> {
    let mut at = (position % replies.len() as u64) as usize;
    let mut rest = input;
    while !rest.is_empty() {
        let len = rest.len().min(replies.len() - at);
        let (now, later) = rest.split_at(len);
        if *now != replies[at..at + len] {
            let same = now.iter().zip(&replies[at..]).take_while(|(a, b)| a == b);
            let wrong = same.count();
            // What came is shown from the beginning of the reply, where that is at hand.
            let begin = (at + wrong) / stride * stride;
            return Err(WrongReply {
                expected: shown(&replies[begin..begin + stride]),
                got: shown(&now[begin.saturating_sub(at)..]),
            });
        }
        (at, rest) = (0, later);
    }
    Ok(())
}

/// Looks at the lines that end in `input`, the first of which began with `line`. Leaves in `line`
/// what has begun behind them.
fn each_line(
    line: &mut Vec<u8>,
    input: &[u8],
    mut look: impl FnMut(&[u8]) -> Result<(), WrongReply>,
) -> Result<(), WrongReply> {
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (now, later) = rest.split_at(end + 1);
        if line.is_empty() {
            look(now)?;
        } else {
            line.extend_from_slice(now);
            look(line)?;
            line.clear();
        }
        rest = later;
    }
    line.extend_from_slice(rest);
    Ok(())
}

fn check_integer(line: &[u8]) -> Result<(), WrongReply> {
    let digits = line
        .strip_prefix(b":")
        .and_then(|line| line.strip_suffix(b"\r\n"));
    match digits.map(|digits| digits.strip_prefix(b"-").unwrap_or(digits)) {
        Some([first, rest @ ..])
            if first.is_ascii_digit() && rest.iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        _ => Err(WrongReply {
            expected: "an integer".to_owned(),
            got: shown(line),
        }),
    }
}

/// Counts the replies in `unread` and takes them out.
fn parse(parser: &mut ReplyParser, unread: &mut Vec<u8>) -> Result<u64, WrongReply> {
    let wrong = |got| WrongReply {
        expected: "no error".to_owned(),
        got,
    };
    let (mut count, mut at) = (0, 0);
    loop {
        let progress = parser
            .parse(&unread[at..], &ReplyLimits::default())
            .map_err(|error| wrong(error.to_string()))?;
        at += progress.consumed;
        match progress.reply {
            Some(Reply::Error(text)) => return Err(wrong(shown(&text))),
            Some(_) => count += 1,
            None => break,
        }
    }
    unread.drain(..at);
    Ok(count)
}

fn shown(bytes: &[u8]) -> String {
    Escaped::quoted(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> Expected {
        Expected::Exact {
            replies: b"+A\r\n+B\r\n+C\r\n".to_vec(),
            reply_bytes: 4,
        }
    }

    /// Feeds `input` whole and byte by byte; answers the number of replies, which must not differ.
    #[track_caller]
    fn count(expected: &Expected, first: u64, input: &[u8]) -> Result<u64, WrongReply> {
        let mut whole = Check::new(expected, first);
        let outcome = whole.take(expected, input);
        let mut pieces = Check::new(expected, first);
        let in_pieces = input
            .iter()
            .try_for_each(|byte| pieces.take(expected, &[*byte]));
        assert_eq!(outcome.is_ok(), in_pieces.is_ok());
        outcome?;
        assert_eq!(pieces.replies(), whole.replies());
        Ok(whole.replies())
    }

    #[test]
    fn known_replies_are_compared_round_the_ring() {
        assert_eq!(count(&exact(), 1, b"+B\r\n+C\r\n+A\r\n+B\r\n+"), Ok(4));
        let wrong = count(&exact(), 0, b"+A\r\n+X\r\n").expect_err("X is wrong");
        assert_eq!(wrong.expected, r#""+B\r\n""#);
        assert_eq!(wrong.got, r#""+X\r\n""#);
        assert!(count(&exact(), 2, b"+C\r\n-ERR no\r\n").is_err());
    }

    #[test]
    fn integers_are_counted() {
        assert_eq!(count(&Expected::Integer, 0, b":1\r\n:-20\r\n:3"), Ok(2));
        for bad in [
            &b"-ERR no\r\n"[..],
            b":\r\n",
            b":1x\r\n",
            b":1\n",
            b"+1\r\n",
        ] {
            assert!(count(&Expected::Integer, 0, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_come_over_and_over() {
        let line = |start, is_open, is_last| Line {
            start,
            is_open,
            is_last,
        };
        let lines = vec![line("*1", false, false), line(":", true, true)];
        let expected = Expected::Lines(lines.leak());
        assert_eq!(count(&expected, 0, b"*1\r\n:17\r\n*1\r\n:1\r\n*1"), Ok(2));
        assert!(count(&expected, 0, b"*1\r\n:17\r\n*12\r\n").is_err());
        let wrong = count(&expected, 0, b"*1\r\n-ERR no\r\n").expect_err("an error");
        assert_eq!(wrong.got, r#""-ERR no\r\n""#);
    }

    #[test]
    fn any_reply_but_an_error_is_counted() {
        let input = b"*2\r\n$1\r\na\r\n:1\r\n$-1\r\n+OK\r\n$3\r\nab";
        assert_eq!(count(&Expected::NoError, 0, input), Ok(3));
        let wrong = count(&Expected::NoError, 0, b"+OK\r\n-ERR no\r\n").expect_err("an error");
        assert_eq!(wrong.got, r#""ERR no""#);
    }
}
