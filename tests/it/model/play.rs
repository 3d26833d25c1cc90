//! Plays one history to everybody concerned and compares.

use std::collections::BTreeSet;

use linchpin_protocol::Reply;
use linchpin_server::inproc::Inproc;

use super::expect::{Expect, bulk_of, parse};
use super::history::{CONNECTIONS, Step};
use super::oracle::Oracle;
use super::plain::{Plain, Request};
use super::strings::is_exact_float;
use crate::resp;
use crate::variant::Variant;

const DATABASES: usize = 16;
/// When the virtual time of `Inproc` begins.
const START_MS: u64 = 1_700_000_000_000;
/// This connection speaks RESP3.
const RESP3: usize = 2;

/// A server in process, its model, and redis-server if it is asked.
pub(crate) struct Play<'o> {
    server: Inproc,
    /// The numbers that `server` knows our connections by.
    numbers: Vec<usize>,
    plain: Plain,
    oracle: Option<&'o mut Oracle>,
}

impl<'o> Play<'o> {
    pub(crate) fn new(
        variant: Variant,
        oracle: Option<&'o mut Oracle>,
    ) -> Result<Play<'o>, String> {
        let mut play = Play {
            server: Inproc::new(variant.options(&[])?),
            numbers: Vec::new(),
            plain: Plain::new(DATABASES, START_MS),
            oracle,
        };
        for connection in 0..CONNECTIONS {
            play.plain.connect(connection == RESP3);
            let number = play.connect(connection);
            play.numbers.push(number);
        }
        Ok(play)
    }

    /// Plays the history.
    pub(crate) fn history(mut self, history: &[Step]) -> Result<(), String> {
        for (at, step) in history.iter().enumerate() {
            self.step(step)
                .map_err(|text| format!("step {at}: {text}"))?;
        }
        self.compare_databases()?;
        self.server.check_replay();
        for number in std::mem::take(&mut self.numbers) {
            self.server.close(number);
        }
        match self.server.leftovers() {
            (0, 0) => Ok(()),
            (connections, keys) => Err(format!(
                "{connections} connections and {keys} watched keys are left over"
            )),
        }
    }

    fn connect(&mut self, connection: usize) -> usize {
        let number = self.server.connect();
        if connection == RESP3 {
            self.server.send(number, b"HELLO 3\r\n");
            self.server.take_output(number);
        }
        number
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Request(connection, request) => {
                if self.can_be_told(*connection, request) {
                    self.request(*connection, request)?;
                }
            }
            Step::Walk(connection, count) => {
                if !self.plain.is_in_multi(*connection) {
                    self.walk(*connection, *count)?;
                }
            }
            Step::AdvanceMs(ms) => {
                self.server.advance_ms(*ms);
                self.plain.advance_ms(*ms);
            }
            Step::Sweep => self.server.sweep(),
            Step::Reconnect(connection) => {
                self.server.close(self.numbers[*connection]);
                self.numbers[*connection] = self.connect(*connection);
                self.plain.reconnect(*connection);
                if let Some(oracle) = &mut self.oracle {
                    oracle.reconnect(*connection)?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is one right answer. Sums of floats have one where they are exact; keys that
    /// are stored though their deadline has passed are counted by `DBSIZE` and looked at by
    /// `SWAPDB` until somebody sweeps, which within an `EXEC` nobody can.
    fn can_be_told(&self, connection: usize, request: &[Vec<u8>]) -> bool {
        let in_multi = self.plain.is_in_multi(connection);
        let name = request[0].to_ascii_lowercase();
        if name == b"incrbyfloat" {
            let old = self.plain.entry(connection, &request[1]);
            return !in_multi
                && is_exact_float(&request[2])
                && old.is_none_or(|entry| is_exact_float(&entry.text));
        }
        let names_instant = request.iter().any(|word| word.ends_with(b"XAT"));
        !(in_multi && names_instant && (name == b"set" || name == b"msetex"))
    }

    fn request(&mut self, connection: usize, request: &Request) -> Result<(), String> {
        let name = String::from_utf8_lossy(&request[0]).to_ascii_lowercase();
        let counts = |name: &str| name == "dbsize" || name == "swapdb";
        let runs_one = |name| self.plain.has_queued(connection, name);
        if counts(&name) || name == "exec" && (runs_one("dbsize") || runs_one("swapdb")) {
            self.server.sweep();
        }
        let reply = self.send(connection, request)?;
        let expected = self.plain.run(connection, request);
        if expected.strip(&reply) != Some(b"") {
            return Err(format!(
                "{} is answered {}, not {expected:?}",
                show(request),
                resp::escape(&reply)
            ));
        }
        if let Some(oracle) = &mut self.oracle {
            oracle.compare(connection, &name, request, &reply)?;
        }
        Ok(())
    }

    /// Sends a request and takes everything that comes back.
    fn send(&mut self, connection: usize, request: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let number = self.numbers[connection];
        self.server.send(number, &resp::encode(request));
        for (other, number) in self.numbers.iter().enumerate() {
            if other != connection && !self.server.take_output(*number).is_empty() {
                return Err(format!("connection {other} was answered as well"));
            }
        }
        Ok(self.server.take_output(number))
    }

    fn walk(&mut self, connection: usize, count: u8) -> Result<(), String> {
        let (mut seen, mut cursor) = (BTreeSet::new(), b"0".to_vec());
        loop {
            let count = count.to_string().into_bytes();
            let request = [b"SCAN".to_vec(), cursor, b"COUNT".to_vec(), count];
            let reply = self.send(connection, &request)?;
            let Some((Reply::Array(parts), b"")) = parse(&reply) else {
                return Err(format!("SCAN is answered {}", resp::escape(&reply)));
            };
            let [next, Reply::Array(keys)] = &parts[..] else {
                return Err(format!("SCAN is answered {parts:?}"));
            };
            seen.extend(keys.iter().filter_map(bulk_of));
            cursor = bulk_of(next).unwrap_or_default();
            if cursor == b"0" {
                break;
            }
        }
        let expected = self.plain.keys(connection);
        if seen == expected {
            return Ok(());
        }
        Err(format!("a walk met {seen:?}, not {expected:?}"))
    }

    /// Everything there is, deadlines included, seen through a connection of its own.
    fn compare_databases(&mut self) -> Result<(), String> {
        let number = self.server.connect();
        let mut ask = |words: &[&[u8]]| {
            let request: Request = words.iter().map(|word| word.to_vec()).collect();
            self.server.send(number, &resp::encode(&request));
            self.server.take_output(number)
        };
        for (db, entries) in self.plain.databases.iter().enumerate() {
            ask(&[b"SELECT", db.to_string().as_bytes()]);
            let keys = Expect::Set(entries.keys().cloned().collect());
            let found = ask(&[b"KEYS", b"*"]);
            if keys.strip(&found) != Some(b"") {
                let found = resp::escape(&found);
                return Err(format!("database {db} has the keys {found}, not {keys:?}"));
            }
            for (key, entry) in entries {
                let at = entry.deadline_ms.map_or(-1, |at| at as i64);
                let is_same = Expect::bulk(&entry.text).strip(&ask(&[b"GET", key])) == Some(b"")
                    && Expect::integer(at).strip(&ask(&[b"PEXPIRETIME", key])) == Some(b"");
                if !is_same {
                    return Err(format!("database {db} has another {key:?} than {entry:?}"));
                }
            }
        }
        self.server.close(number);
        Ok(())
    }
}

fn show(request: &[Vec<u8>]) -> String {
    let words: Vec<_> = request.iter().map(|word| resp::escape(word)).collect();
    words.join(" ")
}
