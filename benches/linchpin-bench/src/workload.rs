//! What is sent, made before the clock starts: a ring of requests, and the replies they must get.
//!
//! All requests of a workload have one length, or take turns with those of another, and so have the
//! replies of most, so a batch of any size is a slice of the ring and is sent as it lies there.
//! Neither sending nor checking makes bytes.
//!
//! Cost: the ring holds up to [`REQUESTS_MAX`] requests, which is about 150 MiB for SET with 16
//! bytes of value.
//!
//! # LIMITATIONS
//!
//! Requests repeat after one turn of the ring; in a larger key space not every key is touched.

use linchpin_protocol::encode_command;

use crate::check::{Expected, Line};
use crate::keys::{Draw, Kind, Pattern, name, write_value};

/// Requests in a ring: enough for a small key space to be drawn from many times over.
const REQUESTS_MIN: u64 = 1 << 17;
/// Requests in a ring at most: enough of 10M keys to be far beyond every cache.
const REQUESTS_MAX: u64 = 1 << 22;
/// Keys that the MSET of [`Command::from_words`] sets, as many as redis-benchmark's does.
const MSET_KEYS: usize = 10;

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Literal(Vec<u8>),
    /// A newly drawn key that holds a text.
    Key,
    /// A newly drawn key that holds a number.
    Counter,
    /// The value of the key drawn last.
    Value,
    /// The key drawn last.
    SameKey,
}

/// What the reply to a command must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    ValueOfKey,
    Integer,
    NoError,
    /// These lines, over and over.
    Lines(&'static [Line]),
}

/// A command whose keys are drawn anew for every request, or two that take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<Word>,
    /// What is sent next, before another key is drawn.
    then: Option<Vec<Word>>,
    answer: Answer,
}

/// A word in braces that is none of `{key}`, `{counter}`, `{value}`, or a value without a key
/// before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: placeholders are {{key}}, {{counter}} and, behind a {{key}}, {{value}}")]
pub struct UnknownPlaceholder(pub String);

impl Command {
    /// `GET`, `SET`, `INCR` or `MSET` alone (in any case) is that command with keys, its replies
    /// checked; `MSET` sets 10 keys. Anything else is a command line whose words may be `{key}`,
    /// `{counter}` or `{value}`, and whose reply may be anything but an error.
    ///
    /// # Errors
    /// [`UnknownPlaceholder`]: a word in braces that means nothing.
    pub fn from_words<S: AsRef<str>>(words: &[S]) -> Result<Self, UnknownPlaceholder> {
        let name = match words {
            [name] => name.as_ref().to_ascii_uppercase(),
            _ => String::new(),
        };
        let with = |args: &[Word], answer| {
            let mut words = vec![Word::Literal(name.clone().into_bytes())];
            words.extend_from_slice(args);
            Ok(Self {
                words,
                then: None,
                answer,
            })
        };
        match name.as_str() {
            "GET" => with(&[Word::Key], Answer::ValueOfKey),
            "SET" => with(&[Word::Key, Word::Value], Answer::Ok),
            "INCR" => with(&[Word::Counter], Answer::Integer),
            "MSET" => {
                let pairs = (0..MSET_KEYS).flat_map(|_| [Word::Key, Word::Value]);
                with(&pairs.collect::<Vec<_>>(), Answer::Ok)
            }
            _ => Ok(Self {
                words: parse(words)?,
                then: None,
                answer: Answer::NoError,
            }),
        }
    }

    /// `SET key value`, with `EX` behind it if there is a time to live.
    pub(crate) fn fill(lifetime: Lifetime) -> Self {
        let mut words = vec![Word::Literal(b"SET".to_vec()), Word::Key, Word::Value];
        let expiry: Option<(&[u8], u64)> = match lifetime {
            Lifetime::Endless => None,
            Lifetime::Seconds(s) => Some((b"EX", s)),
            Lifetime::UntilMs(at_ms) => Some((b"PXAT", at_ms)),
        };
        if let Some((unit, number)) = expiry {
            words.push(Word::Literal(unit.to_vec()));
            words.push(Word::Literal(number.to_string().into_bytes()));
        }
        Self {
            words,
            then: None,
            answer: Answer::Ok,
        }
    }

    /// Two commands that take turns: `{key}` is drawn in the first, and is the same in the second.
    /// Their replies have to be `lines`, over and over.
    pub(crate) fn pair(
        first: &[&str],
        second: &[&str],
        lines: &'static [Line],
    ) -> Result<Self, UnknownPlaceholder> {
        let mut then = parse(second)?;
        for word in then.iter_mut().filter(|word| **word == Word::Key) {
            *word = Word::SameKey;
        }
        Ok(Self {
            words: parse(first)?,
            then: Some(then),
            answer: Answer::Lines(lines),
        })
    }

    /// Whether its replies can only be right once every key has its value.
    #[must_use]
    pub fn reads_values(&self) -> bool {
        self.answer == Answer::ValueOfKey
    }
}

fn parse<S: AsRef<str>>(words: &[S]) -> Result<Vec<Word>, UnknownPlaceholder> {
    let mut has_key = false;
    words
        .iter()
        .map(|word| match word.as_ref() {
            "{key}" => {
                has_key = true;
                Ok(Word::Key)
            }
            "{counter}" => Ok(Word::Counter),
            "{value}" if has_key => Ok(Word::Value),
            other if other.starts_with('{') && other.ends_with('}') => {
                Err(UnknownPlaceholder(other.to_owned()))
            }
            other => Ok(Word::Literal(other.as_bytes().to_vec())),
        })
        .collect()
}

/// How long keys live that a server is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody removes them.
    Endless,
    /// So many seconds from when each is set.
    Seconds(u64),
    /// Until this Unix time in milliseconds, all of them.
    UntilMs(u64),
}

/// What a ring of requests is made from.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// The command.
    pub command: Command,
    /// Number of keys, at least 1.
    pub keys: u64,
    /// Which of them are drawn.
    pub pattern: Pattern,
    /// Bytes of every value.
    pub value_bytes: usize,
    /// What the draws follow from.
    pub seed: u64,
}

/// A ring of requests, and what their replies must be.
#[derive(Debug)]
pub struct Workload {
    requests: Vec<u8>,
    /// Bytes of the requests that take turns: of the first, and of all.
    first_bytes: usize,
    turn_bytes: usize,
    /// Requests that take turns, one or two.
    turn: u64,
    pub(crate) expected: Expected,
}

impl Workload {
    /// Makes a ring of as many requests as there are keys, but at least 131,072 and at most
    /// 4,194,304. Takes about 50 ns for each.
    #[must_use]
    pub fn new(options: &WorkloadOptions) -> Self {
        Self::ring(options, options.keys.clamp(REQUESTS_MIN, REQUESTS_MAX))
    }

    /// A ring that sets the keys `from..to`, each once and in order.
    pub(crate) fn fill(from: u64, to: u64, value_bytes: usize, lifetime: Lifetime) -> Self {
        let options = WorkloadOptions {
            command: Command::fill(lifetime),
            keys: to,
            pattern: Pattern::Sequential(from),
            value_bytes,
            seed: 0,
        };
        Self::ring(&options, to - from)
    }

    /// A ring of so many requests, or pairs of them.
    fn ring(options: &WorkloadOptions, turns: u64) -> Self {
        let mut draw = Draw::new(options.pattern, options.keys, options.seed);
        let (mut bytes, mut replies) = (Vec::new(), Vec::new());
        let mut args: Vec<Vec<u8>> = Vec::new();
        let mut first_bytes = 0;
        for _ in 0..turns {
            let mut drawn = 0;
            let command = &options.command;
            for words in std::iter::once(&command.words).chain(&command.then) {
                args.clear();
                for word in words {
                    args.push(arg(word, &mut draw, &mut drawn, options.value_bytes));
                }
                encode_command(&mut bytes, &args);
                if first_bytes == 0 {
                    first_bytes = bytes.len();
                }
            }
            match command.answer {
                Answer::Ok => replies.extend_from_slice(b"+OK\r\n"),
                Answer::ValueOfKey => {
                    replies.extend_from_slice(format!("${}\r\n", options.value_bytes).as_bytes());
                    write_value(&mut replies, drawn, options.value_bytes);
                    replies.extend_from_slice(b"\r\n");
                }
                Answer::Integer | Answer::NoError | Answer::Lines(_) => {}
            }
        }
        let reply_bytes = replies.len() / turns as usize;
        Self {
            first_bytes,
            turn_bytes: bytes.len() / turns as usize,
            turn: 1 + u64::from(options.command.then.is_some()),
            requests: bytes,
            expected: match options.command.answer {
                Answer::Ok | Answer::ValueOfKey => Expected::Exact {
                    replies,
                    reply_bytes,
                },
                Answer::Integer => Expected::Integer,
                Answer::NoError => Expected::NoError,
                Answer::Lines(lines) => Expected::Lines(lines),
            },
        }
    }

    /// Number of requests in the ring.
    #[must_use]
    pub fn requests(&self) -> u64 {
        (self.requests.len() / self.turn_bytes) as u64 * self.turn
    }

    /// Bytes of so many requests of the endless stream, from its beginning.
    #[must_use]
    pub fn bytes_until(&self, requests: u64) -> u64 {
        let is_amid = !requests.is_multiple_of(self.turn);
        let begun = if is_amid { self.first_bytes as u64 } else { 0 };
        requests / self.turn * self.turn_bytes as u64 + begun
    }

    /// Requests that are to follow so many until all that take turns have been sent.
    pub(crate) fn left_of_turn(&self, requests: u64) -> u64 {
        requests.next_multiple_of(self.turn) - requests
    }

    /// Where in the ring one of so many connections begins, in requests: with the first of those
    /// that take turns.
    pub(crate) fn first_of(&self, number: usize, connections: usize) -> u64 {
        let first = self.requests() * number as u64 / connections as u64;
        first - first % self.turn
    }

    /// The bytes of an endless stream of requests, from `position` up to `len` further on or to the
    /// end of the ring.
    pub(crate) fn slice(&self, position: u64, len: u64) -> &[u8] {
        let at = (position % self.requests.len() as u64) as usize;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        &self.requests[at..at + len.min(self.requests.len() - at)]
    }
}

/// A word as it is sent; `drawn` is the number of the key drawn last.
fn arg(word: &Word, draw: &mut Draw, drawn: &mut u64, value_bytes: usize) -> Vec<u8> {
    let mut arg = Vec::new();
    match word {
        Word::Literal(text) => arg.extend_from_slice(text),
        Word::Value => write_value(&mut arg, *drawn, value_bytes),
        Word::SameKey => arg.extend_from_slice(&name(Kind::Text, *drawn)),
        Word::Key | Word::Counter => {
            *drawn = draw.next();
            let is_key = *word == Word::Key;
            let kind = if is_key { Kind::Text } else { Kind::Counter };
            arg.extend_from_slice(&name(kind, *drawn));
        }
    }
    arg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(words: &[&str]) -> Workload {
        Workload::new(&WorkloadOptions {
            command: Command::from_words(words).expect("placeholders are known"),
            keys: 1_000,
            pattern: Pattern::Sequential(41),
            value_bytes: 3,
            seed: 1,
        })
    }

    #[track_caller]
    fn check_first(words: &[&str], request: &str) {
        let workload = workload(words);
        let first = workload.slice(0, workload.bytes_until(1));
        assert_eq!(String::from_utf8_lossy(first), request);
    }

    #[test]
    fn requests_are_resp() {
        check_first(&["get"], "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000041\r\n");
        check_first(&["INCR"], "*2\r\n$4\r\nINCR\r\n$16\r\nnum:000000000041\r\n");
        let mut value = Vec::new();
        write_value(&mut value, 41, 3);
        let value = String::from_utf8_lossy(&value);
        check_first(
            &["SETEX", "{key}", "60", "{value}"],
            &format!(
                "*4\r\n$5\r\nSETEX\r\n$16\r\nkey:000000000041\r\n$2\r\n60\r\n$3\r\n{value}\r\n"
            ),
        );
    }

    #[test]
    fn mset_sets_ten_keys() {
        let workload = workload(&["mset"]);
        let first = workload.slice(0, workload.bytes_until(1));
        assert!(first.starts_with(b"*21\r\n$4\r\nMSET\r\n$16\r\nkey:000000000041\r\n"));
        assert!(first.windows(16).any(|at| at == b"key:000000000050"));
    }

    #[test]
    fn replies_of_get_are_the_values_of_its_keys() {
        let workload = workload(&["GET"]);
        let Expected::Exact {
            replies,
            reply_bytes,
        } = &workload.expected
        else {
            panic!("GET has a value for an answer");
        };
        let mut second = b"$3\r\n".to_vec();
        write_value(&mut second, 42, 3);
        second.extend_from_slice(b"\r\n");
        assert_eq!(replies[*reply_bytes..2 * reply_bytes], second);
        assert_eq!(replies.len() as u64, 9 * workload.requests());
    }

    #[test]
    fn pairs_share_a_key_and_take_turns() {
        let pair = Command::pair(&["SET", "{key}", "1"], &["DEL", "{key}"], &[]);
        let workload = Workload::new(&WorkloadOptions {
            command: pair.expect("placeholders are known"),
            keys: 1_000,
            pattern: Pattern::Sequential(41),
            value_bytes: 3,
            seed: 1,
        });
        let set = "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000041\r\n$1\r\n1\r\n";
        let del = "*2\r\n$3\r\nDEL\r\n$16\r\nkey:000000000041\r\n";
        let (one, two) = (workload.bytes_until(1), workload.bytes_until(2));
        assert_eq!(workload.slice(0, one), set.as_bytes());
        assert_eq!(workload.slice(one, two - one), del.as_bytes());
        assert_eq!(workload.bytes_until(5), 2 * two + one);
        assert_eq!(workload.requests(), 2 * REQUESTS_MIN);
        assert_eq!(workload.first_of(1, 3) % 2, 0);
        assert_eq!((workload.left_of_turn(4), workload.left_of_turn(5)), (0, 1));
    }

    #[test]
    fn slices_end_with_the_ring() {
        let workload = workload(&["GET"]);
        let (one, all) = (workload.bytes_until(1), workload.requests());
        let last = workload.slice((all - 1) * one, 2 * one);
        assert_eq!(last.len() as u64, one);
        assert_eq!(workload.slice(all * one, one), workload.slice(0, one));
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for words in [&["SET", "{kye}", "1"][..], &["SET", "{value}"]] {
            assert!(Command::from_words(words).is_err());
        }
        assert!(Command::from_words(&["SET", "{", "}"]).is_ok());
    }

    #[test]
    fn rings_are_bounded() {
        assert_eq!(workload(&["GET"]).requests(), REQUESTS_MIN);
        assert_eq!(Workload::fill(5, 9, 16, Lifetime::Endless).requests(), 4);
    }
}
