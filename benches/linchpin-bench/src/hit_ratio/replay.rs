//! One trace through one server: GET, and SET after a miss, over one connection, one request at a
//! time, with `maxmemory` set so that the wanted number of entries fits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, bail};
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};

use super::traces::Trace;
use crate::process::{Launch, Server};

/// Bytes of every value: so many that ten entries are no noise beside what else a server holds.
const VALUE: [u8; 2_000] = [b'v'; 2_000];
/// Accesses between two looks at the number of entries.
const LOOK_EVERY: usize = 32;
/// How often `maxmemory` is corrected before the count is taken as it is.
const TRIALS: usize = 5;
/// The share of the wanted entries by which their mean number may miss.
const MISS_MAX: f64 = 0.005;
/// Accesses of a trial: so many for each entry, and at least so many.
const TRIAL_PER_ENTRY: usize = 20;
const TRIAL_MIN: usize = 4_000;

/// What one server made of one trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Played {
    /// The share of accesses that found their key.
    pub(super) ratio: f64,
    /// The mean number of entries, from when the cache was full.
    pub(super) entries: f64,
}

/// Starts a server and plays a trace with room for `wanted` entries.
pub(super) fn play(
    launch: &Launch,
    policy: &str,
    trace: &Trace,
    wanted: usize,
) -> anyhow::Result<Played> {
    let server = Server::start(launch)?;
    let mut player = Player::connect(&server)?;
    player.ok(&["CONFIG", "SET", "maxmemory-policy", policy])?;
    let mut bytes_max = player.fill(wanted)?;
    let trial = (TRIAL_PER_ENTRY * wanted).max(TRIAL_MIN);
    let trial = &trace.keys[..trial.min(trace.keys.len())];
    for keys in [trial, &trace.keys] {
        for _ in 0..TRIALS {
            let played = player.run(keys, wanted, bytes_max as u64)?;
            let missing = wanted as f64 - played.entries;
            let is_near = missing.abs() <= (wanted as f64 * MISS_MAX).max(0.3);
            if is_near && keys.len() == trace.keys.len() {
                return Ok(played);
            }
            if is_near {
                break;
            }
            bytes_max += missing * VALUE.len() as f64;
        }
    }
    player.run(&trace.keys, wanted, bytes_max as u64)
}

struct Player {
    stream: TcpStream,
    parser: ReplyParser,
    request: Vec<u8>,
    unread: Vec<u8>,
}

impl Player {
    fn connect(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server.address())?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            parser: ReplyParser::new(),
            request: Vec::new(),
            unread: Vec::new(),
        })
    }

    /// Plays keys through an emptied cache.
    fn run(&mut self, keys: &[u64], wanted: usize, bytes_max: u64) -> anyhow::Result<Played> {
        self.ok(&["FLUSHALL"])?;
        self.ok(&["CONFIG", "SET", "maxmemory", &bytes_max.to_string()])?;
        let (mut hits, mut misses, mut entries, mut looks) = (0, 0, 0, 0);
        for (at, key) in keys.iter().enumerate() {
            let key = format!("key:{key:012}");
            match self.ask(&[b"GET", key.as_bytes()])? {
                Reply::Bulk(_) => hits += 1,
                Reply::Null => {
                    misses += 1;
                    self.set(&key)?;
                }
                other => bail!("GET answered {other:?}"),
            }
            // Twice as many have come as there is room for: it is full.
            if at % LOOK_EVERY == 0 && misses > 2 * wanted {
                entries += self.integer(&["DBSIZE"])?;
                looks += 1;
            }
        }
        Ok(Played {
            ratio: f64::from(hits) / keys.len() as f64,
            entries: if looks > 0 {
                entries as f64 / f64::from(looks)
            } else {
                wanted as f64
            },
        })
    }

    /// Sets so many keys; answers what the server then says it holds.
    fn fill(&mut self, entries: usize) -> anyhow::Result<f64> {
        for number in 0..entries {
            self.set(&format!("new:{number:012}"))?;
        }
        let Reply::Bulk(text) = self.ask(&["INFO", "memory"])? else {
            bail!("INFO is no text");
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.context("INFO without used_memory")?.trim().parse()?)
    }

    /// Sets a key, unless there is no room even without any other: a bound that is still to be
    /// corrected.
    fn set(&mut self, key: &str) -> anyhow::Result<()> {
        let words: [&[u8]; 3] = [b"SET", key.as_bytes(), &VALUE];
        match self.ask(&words)? {
            Reply::Simple(ok) if &*ok == b"OK" => Ok(()),
            Reply::Error(line) if line.starts_with(b"OOM ") => Ok(()),
            other => bail!("SET answered {other:?}"),
        }
    }

    fn ok(&mut self, words: &[&str]) -> anyhow::Result<()> {
        match self.ask(words)? {
            Reply::Simple(ok) if &*ok == b"OK" => Ok(()),
            other => bail!("{words:?} was answered {other:?}"),
        }
    }

    fn integer(&mut self, words: &[&str]) -> anyhow::Result<i64> {
        match self.ask(words)? {
            Reply::Integer(number) => Ok(number),
            other => bail!("{words:?} was answered {other:?}"),
        }
    }

    fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> anyhow::Result<Reply> {
        self.request.clear();
        encode_command(&mut self.request, words);
        self.stream.write_all(&self.request)?;
        let mut piece = [0; 4_096];
        loop {
            let len = self.stream.read(&mut piece)?;
            if len == 0 {
                bail!("the connection ended before the reply");
            }
            self.unread.extend_from_slice(&piece[..len]);
            let progress = self.parser.parse(&self.unread, &ReplyLimits::default())?;
            self.unread.drain(..progress.consumed);
            if let Some(reply) = progress.reply {
                return Ok(reply);
            }
        }
    }
}
