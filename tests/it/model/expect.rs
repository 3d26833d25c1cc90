//! What a reply must be: known to the byte, except where the server may choose.

use std::collections::BTreeSet;

use crate::resp;
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser};

/// What a reply must be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// These bytes.
    Bytes(Vec<u8>),
    /// An array of these.
    Array(Vec<Expect>),
    /// An array of these bulk strings, in any order.
    Set(BTreeSet<Vec<u8>>),
    /// One of these bulk strings.
    OneOf(BTreeSet<Vec<u8>>),
}

impl Expect {
    pub(crate) fn ok() -> Expect {
        Expect::simple("OK")
    }

    pub(crate) fn simple(text: &str) -> Expect {
        Expect::Bytes(format!("+{text}\r\n").into_bytes())
    }

    pub(crate) fn integer(n: i64) -> Expect {
        Expect::Bytes(format!(":{n}\r\n").into_bytes())
    }

    pub(crate) fn bulk(bytes: &[u8]) -> Expect {
        let mut reply = format!("${}\r\n", bytes.len()).into_bytes();
        reply.extend_from_slice(bytes);
        reply.extend_from_slice(b"\r\n");
        Expect::Bytes(reply)
    }

    /// No value, in RESP2 or RESP3.
    pub(crate) fn null(resp3: bool) -> Expect {
        let text = if resp3 { "_\r\n" } else { "$-1\r\n" };
        Expect::Bytes(text.into())
    }

    /// No array, in RESP2 or RESP3.
    pub(crate) fn null_array(resp3: bool) -> Expect {
        let text = if resp3 { "_\r\n" } else { "*-1\r\n" };
        Expect::Bytes(text.into())
    }

    /// An error; `text` is the whole line.
    pub(crate) fn error(text: &str) -> Expect {
        Expect::Bytes(format!("-{text}\r\n").into_bytes())
    }

    /// What follows the expected reply in `bytes`; `None` if it is another one.
    pub(crate) fn strip<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Expect::Bytes(expected) => bytes.strip_prefix(&expected[..]),
            Expect::Array(items) => {
                let header = format!("*{}\r\n", items.len());
                let mut rest = bytes.strip_prefix(header.as_bytes())?;
                for item in items {
                    rest = item.strip(rest)?;
                }
                Some(rest)
            }
            Expect::Set(expected) => {
                let (reply, rest) = parse(bytes)?;
                let Reply::Array(items) = reply else {
                    return None;
                };
                let found: Option<BTreeSet<_>> = items.iter().map(bulk_of).collect();
                (items.len() == expected.len() && found? == *expected).then_some(rest)
            }
            Expect::OneOf(expected) => {
                let (reply, rest) = parse(bytes)?;
                expected.contains(&bulk_of(&reply)?).then_some(rest)
            }
        }
    }
}

/// As text on one line.
impl std::fmt::Debug for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = |set: &BTreeSet<Vec<u8>>| {
            let keys: Vec<_> = set.iter().map(|key| resp::escape(key)).collect();
            keys.join(", ")
        };
        match self {
            Expect::Bytes(bytes) => f.write_str(&resp::escape(bytes)),
            Expect::Array(items) => f.debug_list().entries(items).finish(),
            Expect::Set(set) => write!(f, "all of [{}]", keys(set)),
            Expect::OneOf(set) => write!(f, "one of [{}]", keys(set)),
        }
    }
}

/// The first reply in `bytes` and what follows it.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let progress = ReplyParser::new()
        .parse(bytes, &ReplyLimits::default())
        .ok()?;
    Some((progress.reply?, &bytes[progress.consumed..]))
}

pub(crate) fn bulk_of(reply: &Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}
