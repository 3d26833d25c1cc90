//! Several requests parsed before the first of them runs.

use super::parser::parse_short_length;
use super::{Args, Limits, ProtocolError, RequestParser, Span};

/// Memory kept from one filling to the next, in arguments.
const SPANS_KEPT_MAX: usize = 1024;
/// Up to so many arguments, and bytes of an inline line, are copied rather than changed for a
/// buffer that the requests of other parsers have grown.
const SPANS_COPIED_MAX: usize = 64;
const INLINE_BYTES_COPIED_MAX: usize = 256;

/// The complete requests at the beginning of some bytes: whoever runs them can look ahead at what
/// comes next. Filled by [`RequestParser::parse_ahead`], read with the bytes that were given to it.
///
/// One of these serves any number of parsers, one after the other, and allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Pipeline {
    requests: Vec<Ahead>,
    spans: Vec<Span>,
    /// The arguments of an inline request, unescaped.
    inline: Vec<u8>,
}

/// Where one request ends.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    spans_end: usize,
    end: usize,
    inline: bool,
}

/// Why [`RequestParser::parse_ahead`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// As many requests as were asked for are there, or the next one has to come alone.
    Full,
    /// What is left is no whole request.
    NeedsInput,
    /// Behind the requests that are there come bytes that are none.
    Malformed(ProtocolError),
}

impl Pipeline {
    /// One that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            requests: Vec::new(),
            spans: Vec::new(),
            inline: Vec::new(),
        }
    }

    /// Number of requests.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of request `index`; there may be none of them (a blank line, `*0`).
    ///
    /// # Panics
    ///
    /// When there is no such request.
    #[inline]
    #[must_use]
    pub fn args<'a>(&'a self, input: &'a [u8], index: usize) -> Args<'a> {
        let request = self.requests[index];
        let begin = match index.checked_sub(1) {
            Some(before) => self.requests[before].spans_end,
            None => 0,
        };
        let spans = self.spans.get(begin..request.spans_end);
        let buffer = if request.inline { &self.inline } else { input };
        Args::new(buffer, spans.unwrap_or_default())
    }

    /// Offset behind request `index`.
    ///
    /// # Panics
    ///
    /// When there is no such request.
    #[inline]
    #[must_use]
    pub fn end(&self, index: usize) -> usize {
        self.requests[index].end
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans.shrink_to(SPANS_KEPT_MAX);
        }
    }
}

/// The second argument of the array request that `input` begins with, if all up to it is there and
/// looks as it mostly does. For guessing what a request is about before it is parsed; it promises
/// nothing about the request.
#[inline]
#[must_use]
pub fn peek_second(input: &[u8]) -> Option<&[u8]> {
    let (count, rest) = header(input, b'*')?;
    let (name_len, rest) = header(rest, b'$')?;
    let (len, rest) = header(rest.get(name_len.checked_add(2)?..)?, b'$')?;
    rest.get(..len).filter(|_| count > 1)
}

/// A line of `tag` and a number, and what follows it.
#[inline]
fn header(input: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let (&first, rest) = input.split_first()?;
    let (number, taken) = parse_short_length(rest)?;
    let number = usize::try_from(number).ok().filter(|_| first == tag)?;
    Some((number, rest.get(taken..)?))
}

impl RequestParser {
    /// Reads on in the request that begins at `input[0]` and in those behind it, until `pipeline`
    /// has `requests_max` of them. An inline request comes alone: what it was taken for may be
    /// something else altogether, which the caller wants to look at.
    ///
    /// Afterwards the parser stands behind the last request in `pipeline`; who does not run them
    /// all calls [`reset`](Self::reset) and begins again behind the last one that ran.
    #[inline]
    pub fn parse_ahead(
        &mut self,
        input: &[u8],
        limits: &Limits,
        requests_max: usize,
        pipeline: &mut Pipeline,
    ) -> Parsed {
        pipeline.clear();
        let mut at = 0;
        while pipeline.len() < requests_max {
            let rest = input.get(at..).unwrap_or_default();
            if at > 0 && rest.first().is_some_and(|&byte| byte != b'*') {
                break;
            }
            match self.parse(rest, limits) {
                Ok(Some(taken)) => {
                    let inline = self.is_inline();
                    if !self.move_into(pipeline, at, taken) {
                        self.reset();
                        break;
                    }
                    at = at.saturating_add(taken);
                    if inline {
                        break;
                    }
                }
                Ok(None) => return Parsed::NeedsInput,
                Err(error) => return Parsed::Malformed(error),
            }
        }
        Parsed::Full
    }

    /// Moves the request that is complete, `at` in the input, to the end of `pipeline`. `false`:
    /// it lies too far behind the first one.
    fn move_into(&mut self, pipeline: &mut Pipeline, at: usize, taken: usize) -> bool {
        let end = at.saturating_add(taken);
        let inline = self.is_inline();
        if at == 0 {
            take(&mut pipeline.spans, &mut self.spans, SPANS_COPIED_MAX);
            if inline {
                take(
                    &mut pipeline.inline,
                    &mut self.inline,
                    INLINE_BYTES_COPIED_MAX,
                );
            }
        } else {
            let (Ok(offset), Ok(_)) = (u32::try_from(at), u32::try_from(end)) else {
                return false;
            };
            let moved = self.spans.iter().map(|span| span.moved_by(offset));
            pipeline.spans.extend(moved);
        }
        pipeline.requests.push(Ahead {
            spans_end: pipeline.spans.len(),
            end,
            inline,
        });
        self.reset();
        true
    }
}

/// Puts what is in `from` into `to`, in place of what is there. Little is copied, so that a parser
/// keeps no buffers but those that it needs itself; much is not, so that a request of a million
/// arguments costs no more.
#[inline]
fn take<T: Copy>(to: &mut Vec<T>, from: &mut Vec<T>, copied_max: usize) {
    if from.len() > copied_max {
        std::mem::swap(to, from);
    } else {
        to.clear();
        to.extend_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(input: &[u8], max: usize) -> (Vec<Vec<Vec<u8>>>, Parsed) {
        let (mut parser, mut pipeline) = (RequestParser::new(), Pipeline::new());
        let parsed = parser.parse_ahead(input, &Limits::default(), max, &mut pipeline);
        let args = |index| {
            let args = pipeline.args(input, index);
            args.iter().map(<[u8]>::to_vec).collect()
        };
        ((0..pipeline.len()).map(args).collect(), parsed)
    }

    #[test]
    fn requests_are_those_that_parsing_one_by_one_gives() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI";
        let get = vec![b"GET".to_vec(), b"a".to_vec()];
        let ping = vec![b"PING".to_vec()];
        let all = vec![get.clone(), vec![], ping];
        assert_eq!(requests(input, 16), (all, Parsed::NeedsInput));
        assert_eq!(requests(input, 1), (vec![get], Parsed::Full));
    }

    #[test]
    fn a_parser_keeps_no_buffer_that_others_have_grown() {
        let large = [&b"*500\r\n"[..], &b"$1\r\na\r\n".repeat(500)].concat();
        let line = [&[b'a'; 3_000][..], b"\r\n"].concat();
        let limits = Limits::default();
        let mut pipeline = Pipeline::new();
        for input in [&large, &line] {
            for _ in 0..3 {
                RequestParser::new().parse_ahead(input, &limits, 16, &mut pipeline);
                assert_eq!(pipeline.len(), 1);
            }
        }
        let mut parser = RequestParser::new();
        for input in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n"] {
            parser.parse_ahead(input, &limits, 16, &mut pipeline);
            assert_eq!(pipeline.args(input, 0).get(0), Some(&b"PING"[..]));
            let retained = parser.retained_bytes();
            assert!(retained < 128, "{retained} bytes");
        }
    }

    #[test]
    fn an_inline_request_comes_alone() {
        let (mut parser, mut pipeline) = (RequestParser::new(), Pipeline::new());
        let input = b"*1\r\n$4\r\nPING\r\nECHO \"a b\"\r\n*1\r\n$4\r\nPING\r\n";
        let mut at = 0;
        let mut met = Vec::new();
        while at < input.len() {
            let rest = &input[at..];
            let parsed = parser.parse_ahead(rest, &Limits::default(), 16, &mut pipeline);
            let last = at == 26;
            let expected = if last {
                Parsed::NeedsInput
            } else {
                Parsed::Full
            };
            assert_eq!(parsed, expected);
            assert_eq!(pipeline.len(), 1);
            met.push(format!("{:?}", pipeline.args(rest, 0)));
            at += pipeline.end(0);
        }
        assert_eq!(met, [r#"["PING"]"#, r#"["ECHO", "a b"]"#, r#"["PING"]"#]);
    }

    #[test]
    fn the_second_argument_is_seen_where_it_is_whole() {
        let get = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
        assert_eq!(peek_second(get), Some(&b"key"[..]));
        assert_eq!(peek_second(&get[..get.len() - 3]), None);
        for input in [
            &b""[..],
            b"GET key\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"*2\r\n$-1\r\n",
        ] {
            assert_eq!(peek_second(input), None);
        }
    }

    #[test]
    fn what_is_malformed_comes_after_what_is_not() {
        let (before, parsed) = requests(b"*1\r\n$4\r\nPING\r\n*1\r\n!1\r\n", 16);
        assert_eq!(before.len(), 1);
        let error = ProtocolError::ExpectedDollar(b'!');
        assert_eq!(parsed, Parsed::Malformed(error));
    }
}
