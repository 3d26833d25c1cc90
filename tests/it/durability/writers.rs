//! Clients that know what a crash may have left of what they wrote.
//!
//! The steps of a [`Writer`] follow from its number alone, and each changes its own keys in a way
//! no other does. What it finds after a restart therefore tells how many of its steps are there: a
//! first part of them, no step in halves, at least those that were acknowledged, at most those it
//! sent. With that the counter which all writers share is known to the unit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Failed;

use crate::client::{Client, check};
use crate::resp;

/// The counter that all writers add to.
const SHARED: &str = "shared";
/// Kinds of step; each writer goes through them in turn.
const KINDS: usize = 8;
/// One step in so many removes what was appended to.
const REMOVES_EVERY: usize = 16 * KINDS;
/// Values asked for with one request.
const KEYS_AT_A_TIME: usize = 100;
/// A deadline that no trial lives to see, in seconds.
const FAR_S: u32 = 100_000;

/// One connection's worth of writes.
#[derive(Debug)]
pub(super) struct Writer {
    number: usize,
    /// Bytes that make each large value so large.
    padding: String,
    /// Steps that are under way at a time.
    depth: usize,
    /// Steps answered with success: these are there after whatever comes.
    pub(super) acked: usize,
    /// Steps sent: no more than these are there.
    pub(super) sent: usize,
    /// The first reply that was an error, which ended its writing.
    pub(super) refusal: Option<String>,
    /// Its keys after `acked` steps.
    state: BTreeMap<String, String>,
}

impl Writer {
    pub(super) fn new(number: usize, value_bytes: usize, depth: usize) -> Writer {
        Writer {
            number,
            padding: "x".repeat(value_bytes),
            depth,
            acked: 0,
            sent: 0,
            refusal: None,
            state: BTreeMap::new(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("w{}:{name}", self.number)
    }

    /// The requests of step `step`; the last one's reply acknowledges it.
    fn requests(&self, step: usize) -> Vec<String> {
        let key = |name: &str| self.key(name);
        match step % KINDS {
            0 => vec![format!("SET {} {step}{}", key("last"), self.padding)],
            1 => vec![format!("INCR {}", key("count"))],
            2 => vec![format!("APPEND {} {step},", key("log"))],
            3 => vec![
                "MULTI".to_owned(),
                format!("SET {} {step}", key("first")),
                format!("INCR {SHARED}"),
                format!("SET {} {step}", key("second")),
                "EXEC".to_owned(),
            ],
            4 => vec![format!("MSET {} {step} {} {step}", key("x"), key("y"))],
            5 => vec![format!("RENAME {} {}", key("last"), key("old"))],
            6 => vec![format!("SET {} {step} EX {FAR_S}", key("leased"))],
            _ if step % REMOVES_EVERY == KINDS - 1 => vec![format!("DEL {}", key("log"))],
            _ => vec![format!("SET {} {step}", key(&format!("unique{step}")))],
        }
    }

    /// What step `step` makes of its keys.
    fn apply(&mut self, step: usize) {
        let text = step.to_string();
        let mut put = |name: &str, value: &str| {
            let key = format!("w{}:{name}", self.number);
            self.state.insert(key, value.to_owned());
        };
        match step % KINDS {
            0 => put("last", &format!("{step}{}", self.padding)),
            1 => put("count", &(step / KINDS + 1).to_string()),
            2 => {
                let log = self.state.entry(self.key("log")).or_default();
                log.push_str(&text);
                log.push(',');
            }
            3 => ["first", "second"].iter().for_each(|name| put(name, &text)),
            4 => ["x", "y"].iter().for_each(|name| put(name, &text)),
            5 => {
                let moved = self.state.remove(&self.key("last")).unwrap_or_default();
                self.state.insert(self.key("old"), moved);
            }
            6 => put("leased", &text),
            _ if step % REMOVES_EVERY == KINDS - 1 => drop(self.state.remove(&self.key("log"))),
            _ => put(&format!("unique{step}"), &text),
        }
    }

    /// What its first `steps` steps added to the shared counter.
    fn added(steps: usize) -> usize {
        (steps + KINDS - 4) / KINDS
    }

    /// Writes until the connection ends, a reply is an error, or `is_over`. Fails if a step is
    /// acknowledged behind one that was not.
    pub(super) fn run(&mut self, port: u16, is_over: &AtomicBool) -> Result<(), Failed> {
        check(self.acked == self.sent, || {
            "it does not know which of its steps are there".to_owned()
        })?;
        // The server may be gone already.
        let Ok(mut client) = Client::connect(port) else {
            return Ok(());
        };
        while self.refusal.is_none() {
            let is_last = is_over.load(Ordering::Relaxed);
            while !is_last && self.sent < self.acked + self.depth {
                let requests = self.requests(self.sent);
                self.sent += 1;
                let words = requests.iter().map(|line| resp::words(line));
                let words = words.collect::<Result<Vec<_>, _>>()?;
                let bytes: Vec<u8> = words.iter().flat_map(|words| resp::encode(words)).collect();
                if client.send_raw(&bytes).is_err() {
                    break;
                }
            }
            if is_last && self.acked == self.sent {
                return Ok(());
            }
            match self.reply(&mut client, self.acked) {
                Some(reply) if is_success(&reply) => {
                    self.apply(self.acked);
                    self.acked += 1;
                }
                Some(reply) => self.refusal = Some(reply),
                None => return Ok(()),
            }
        }
        for step in self.acked + 1..self.sent {
            let Some(reply) = self.reply(&mut client, step) else {
                break;
            };
            let refusal = self.refusal.as_deref().unwrap_or_default();
            check(!is_success(&reply), || {
                format!("step {step} was answered {reply:?} after {refusal:?}")
            })?;
        }
        Ok(())
    }

    /// The last reply of a step; none when the connection has ended.
    fn reply(&self, client: &mut Client, step: usize) -> Option<String> {
        let requests = self.requests(step).len();
        let replies = (0..requests).map(|_| client.receive().ok());
        replies.last()?.map(|reply| reply.lines().join(" "))
    }

    /// Fails unless what is there is what some number of its steps make, no fewer than were
    /// acknowledged and no more than were sent; goes on behind them.
    fn settle(&mut self, client: &mut Client) -> Result<(), Failed> {
        let found = self.found(client)?;
        let acked = self.acked;
        let mut nearest = String::new();
        while self.state != found {
            if nearest.is_empty() {
                nearest = difference(&self.state, &found);
            }
            check(self.acked < self.sent, || {
                let (writer, sent) = (self.number, self.sent);
                format!(
                    "writer {writer} finds what no number of its steps makes; {acked} were \
                     acknowledged, {sent} sent; after these: {nearest}"
                )
            })?;
            self.apply(self.acked);
            self.acked += 1;
        }
        self.sent = self.acked;
        self.refusal = None;
        Ok(())
    }

    fn found(&self, client: &mut Client) -> Result<BTreeMap<String, String>, Failed> {
        let keys = bulks(
            &client
                .call_reply(&format!("KEYS w{}:*", self.number))?
                .lines(),
        );
        let mut found = BTreeMap::new();
        for keys in keys.chunks(KEYS_AT_A_TIME) {
            let values = client.call_reply(&format!("MGET {}", keys.join(" ")))?;
            found.extend(keys.iter().cloned().zip(bulks(&values.lines())));
        }
        let ttl = client.number(&format!("TTL {}", self.key("leased")))?;
        let is_kept = ttl == -2 || (1..=i64::from(FAR_S)).contains(&ttl);
        check(is_kept, || format!("{ttl} s are left of {FAR_S}"))?;
        Ok(found)
    }
}

/// The strings of an array of bulk strings.
fn bulks(lines: &[String]) -> Vec<String> {
    lines.iter().skip(2).step_by(2).cloned().collect()
}

fn is_success(reply: &str) -> bool {
    !reply.split(' ').any(|word| word.starts_with('-'))
}

/// The first key that is not the same in both, shortly.
fn difference(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> String {
    let short = |value: Option<&String>| {
        let text = value.map_or("absent", String::as_str);
        let rest = text.len().saturating_sub(40);
        let dots = if rest > 0 { "..." } else { "" };
        format!("{dots}{}", &text[rest..])
    };
    let keys = one.keys().chain(other.keys());
    let different = keys
        .into_iter()
        .find(|key| one.get(*key) != other.get(*key));
    different.map_or_else(String::new, |key| {
        let (is, was) = (short(other.get(key)), short(one.get(key)));
        format!("{key} is {is}, was {was}")
    })
}

/// So many writers, whose large values have so many bytes more, each with so many steps under way.
pub(super) fn crew(count: usize, value_bytes: usize, depth: usize) -> Vec<Writer> {
    let writer = |number| Writer::new(number, value_bytes, depth);
    (0..count).map(writer).collect()
}

/// Has them all write at the same time while `body` runs, and until the connection of each ends or
/// `body` is over.
pub(super) fn write_during<T>(
    writers: &mut [Writer],
    port: u16,
    body: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let start = |writer| scope.spawn(move || Writer::run(writer, port, is_over));
        let threads: Vec<_> = writers.iter_mut().map(start).collect();
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            let ended = thread.join().map_err(|_| "a writer panicked")?;
            ended?;
        }
        result
    })
}

/// Fails unless the server has what these writers were told, in whole steps, and the counter they
/// share is what these steps make.
pub(super) fn settle(writers: &mut [Writer], port: u16) -> Result<(), Failed> {
    let mut client = Client::connect(port)?;
    for writer in writers.iter_mut() {
        writer.settle(&mut client)?;
    }
    let steps = writers.iter().map(|writer| Writer::added(writer.acked));
    let expected: usize = steps.sum();
    let counter = bulks(&client.call_reply(&format!("MGET {SHARED}"))?.lines()).concat();
    let counter = counter.parse().unwrap_or(0_usize);
    check(counter == expected, || {
        format!("the shared counter is {counter}; what else is there makes it {expected}")
    })
}

/// Steps acknowledged to all of them.
pub(super) fn acked(writers: &[Writer]) -> usize {
    writers.iter().map(|writer| writer.acked).sum()
}
