//! Sequences of coordination commands, held against a model.
//!
//! The model ([`model`]) is a second telling of the commands, written from their specification and
//! in the simplest way: maps, no timers, and a look at everything each millisecond. What it leaves
//! open, such as which number a fence has, is asked of replies in other ways: a new fence is above
//! every one of its key, and no other grant has it.

mod model;

use crate::config::Settings;
use crate::inproc::{Inproc, InprocOptions};
use linchpin_protocol::{ReplyLimits, ReplyParser};
use model::{Asked, Fence, Model, Share, Told, Wanted};
use std::collections::BTreeMap;

const CLIENTS: usize = 4;
/// Few enough that they meet.
const OWNERS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const LOCKS: [&str; 2] = ["x", "y"];
const SEMAPHORE: &str = "s";
const LATCH: &str = "l";
const BARRIER: &str = "b";
const RESOURCE: &str = "r";
const LIMIT: i64 = 3;
const LEASES_MS: [u64; 4] = [1, 4, 20, 5_000];
const WAITS_MS: [u64; 4] = [0, 3, 15, 9_000];
const DELAYS_MS: [u64; 4] = [0, 0, 2, 10];
/// Bytes of one command.
const COMMAND_BYTES: usize = 4;
/// A longer input shows nothing that a shorter one does not.
const COMMANDS_MAX: usize = 256;

/// Plays `input` as commands of locks, semaphores, sessions, latches, barriers and fences that
/// several connections send to a server in virtual time, four bytes a command.
///
/// # Panics
///
/// When a reply is not what the model says, or comes when it should not; when a fence was given out
/// before; when the effects do not lead to the same state in a second engine; and when closed
/// connections leave anything.
pub fn coordination(input: &[u8]) {
    let mut player = Player::new();
    for command in input.chunks_exact(COMMAND_BYTES).take(COMMANDS_MAX) {
        let command = [command[0], command[1], command[2], command[3]];
        player.play(command);
    }
    player.end();
}

/// One choice of a command's bytes.
fn pick<T: Copy>(from: &[T], byte: u8) -> T {
    from[usize::from(byte) % from.len()]
}

/// The server, those connected to it, and the model of both.
struct Player {
    server: Inproc,
    /// By client, the number of its connection and its identity.
    clients: [(usize, String); CLIENTS],
    witness: usize,
    model: Model,
    /// The secret names of both sessions.
    sids: [String; 2],
    /// The highest fence of each key before this step.
    fences: BTreeMap<&'static str, i64>,
    /// Fences that were given out in this step.
    new: Vec<(&'static str, i64)>,
    given_out: std::collections::BTreeSet<i64>,
    /// A fence that was current, by key.
    known: BTreeMap<&'static str, i64>,
    line: String,
}

impl Player {
    fn new() -> Self {
        let mut server = Inproc::new(InprocOptions {
            settings: Settings::default(),
            shards: 1,
            ..Default::default()
        });
        let witness = server.connect();
        let clients = [(); CLIENTS].map(|()| connect(&mut server));
        Self {
            server,
            clients,
            witness,
            model: Model::new(CLIENTS),
            sids: ["none".into(), "none".into()],
            fences: BTreeMap::new(),
            new: Vec::new(),
            given_out: std::collections::BTreeSet::new(),
            known: BTreeMap::new(),
            line: String::new(),
        }
    }

    fn play(&mut self, [what, who, key, how]: [u8; 4]) {
        let client = usize::from(what >> 6);
        let owner = pick(&OWNERS, who);
        match what & 0x3f {
            0 | 1 => self.pass(u64::from(key) % 64 + 1),
            2 => self.leave(client),
            _ if self.model.is_waiting(client) => {}
            3..=19 => self.acquire(client, owner, key, how),
            20..=23 => self.acquire_all(client, owner, key, how),
            24..=29 => self.acquire_permits(client, owner, key, how),
            30..=38 => self.release(client, owner, key, how),
            39..=41 => self.extend(client, owner, key, how),
            42..=49 => self.act_on_session(client, who, key, how),
            50..=53 => self.act_on_latch(client, owner, key, how),
            54 | 55 => self.arrive(client, how),
            56 | 57 => self.unblock(client, usize::from(who) % CLIENTS, how.is_multiple_of(2)),
            58 | 59 => self.check(client, pick(&LOCKS, key), how),
            _ => self.write(client, key, how),
        }
        self.compare_keys();
    }

    /// Sends a line, after the model was told of it, and compares.
    fn send(&mut self, client: usize, line: &str) {
        self.line = format!("{}: {line}", self.clients[client].0);
        let request = format!("{line}\r\n");
        self.server.send(self.clients[client].0, request.as_bytes());
        self.compare();
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.line = "a millisecond passes".into();
            self.model.pass();
            self.server.advance_ms(1);
            self.compare();
        }
    }

    fn leave(&mut self, client: usize) {
        self.line = format!("{} leaves", self.clients[client].0);
        self.model.leave(client);
        self.server.close(self.clients[client].0);
        self.clients[client] = connect(&mut self.server);
        self.compare();
    }

    fn life(&self, how: u8, who: u8) -> (Asked, String) {
        match how % 6 {
            0 => (Asked::Conn, "CONN".into()),
            1 => {
                let session = usize::from(who / 16) % 2;
                let text = format!("SESSION {}", self.sids[session]);
                (Asked::Session(session), text)
            }
            _ => {
                let lease_ms = pick(&LEASES_MS, how / 6);
                (Asked::Lease(lease_ms), format!("PX {lease_ms}"))
            }
        }
    }

    fn acquire(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        let lock = pick(&LOCKS, key);
        let (share, mode) = match (key / 2) % 4 {
            0 => (Share::Shared, " MODE S"),
            _ => (Share::Exclusive, ""),
        };
        let (life, by) = self.life(how, key);
        let (wait_ms, delay_ms) = (pick(&WAITS_MS, key / 8), pick(&DELAYS_MS, key / 32));
        self.model.acquire(&Wanted {
            client,
            keys: vec![lock],
            owner,
            share,
            life,
            wait_ms,
            delay_ms,
            is_several: false,
        });
        let line =
            format!("LOCK.ACQUIRE {lock} {owner}{mode} {by} WAIT {wait_ms} DELAY {delay_ms}");
        self.send(client, &line);
    }

    fn acquire_all(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        let named = [["x", "y"], ["y", "x"], ["x", "y"], ["x", "x"]];
        let [first, second] = pick(&named, key);
        let (life, by) = self.life(how, key);
        let wait_ms = pick(&WAITS_MS, key / 4);
        let mut keys = vec![first, second];
        keys.dedup();
        self.model.acquire(&Wanted {
            client,
            keys,
            owner,
            share: Share::Exclusive,
            life,
            wait_ms,
            delay_ms: 0,
            is_several: true,
        });
        let line = format!("LOCK.MACQUIRE 2 {first} {second} {owner} {by} WAIT {wait_ms}");
        self.send(client, &line);
    }

    fn acquire_permits(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        let count = i64::from(key) % LIMIT + 1;
        let (life, by) = self.life(how, key);
        let wait_ms = pick(&WAITS_MS, key / 4);
        self.model.acquire(&Wanted {
            client,
            keys: vec![SEMAPHORE],
            owner,
            share: Share::Permits(count),
            life,
            wait_ms,
            delay_ms: 0,
            is_several: false,
        });
        let line =
            format!("SEM.ACQUIRE s {owner} LIMIT {LIMIT} PERMITS {count} {by} WAIT {wait_ms}");
        self.send(client, &line);
    }

    fn release(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        if key % 3 == 2 {
            self.model.release(client, SEMAPHORE, owner, None);
            self.send(client, &format!("SEM.RELEASE s {owner}"));
            return;
        }
        let lock = pick(&LOCKS, key % 3);
        let fence = self.fence(lock, how);
        self.model.release(client, lock, owner, fence);
        let fence = fence.map_or_else(String::new, |fence| format!(" FENCE {fence}"));
        self.send(client, &format!("LOCK.RELEASE {lock} {owner}{fence}"));
    }

    /// None, a current one or an old one.
    fn fence(&self, key: &'static str, how: u8) -> Option<i64> {
        match how % 3 {
            0 => None,
            1 => self.known.get(key).copied(),
            _ => self.model.current_fence(key),
        }
    }

    fn extend(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        let lock = pick(&LOCKS, key);
        let lease_ms = pick(&LEASES_MS, key / 2);
        let fence = self.fence(lock, how);
        self.model.extend(client, lock, owner, lease_ms, fence);
        let fence = fence.map_or_else(String::new, |fence| format!(" FENCE {fence}"));
        let line = format!("LOCK.EXTEND {lock} {owner} PX {lease_ms}{fence}");
        self.send(client, &line);
    }

    fn act_on_session(&mut self, client: usize, who: u8, key: u8, how: u8) {
        let session = usize::from(who) % 2;
        let sid = self.sids[session].clone();
        match key % 4 {
            0 if !self.model.has_session(session) => {
                let ttl_ms = pick(&LEASES_MS, how);
                let grace_ms = pick(&WAITS_MS, how / 4);
                let delay_ms = pick(&DELAYS_MS, how / 16);
                let is_bound = how >= 128;
                let times = [ttl_ms, grace_ms, delay_ms];
                self.model.open(client, session, times, is_bound);
                let bind = if is_bound { " BIND" } else { "" };
                let line =
                    format!("SESSION.OPEN TTL {ttl_ms} GRACE {grace_ms} DELAY {delay_ms}{bind}");
                self.send(client, &line);
                self.sids[session] = self.model.take_text();
            }
            0 | 1 => {
                self.model.keep_alive(client, session);
                self.send(client, &format!("SESSION.KEEPALIVE {sid}"));
            }
            2 => {
                self.model.bind(client, session);
                self.send(client, &format!("SESSION.BIND {sid}"));
            }
            _ => {
                self.model.close(client, session);
                self.send(client, &format!("SESSION.CLOSE {sid}"));
            }
        }
    }

    fn act_on_latch(&mut self, client: usize, owner: &'static str, key: u8, how: u8) {
        match key % 3 {
            0 => {
                let (count, lease_ms) = (i64::from(how) % 3 + 1, pick(&LEASES_MS, how / 4));
                self.model.set_latch(client, count, lease_ms);
                self.send(client, &format!("LATCH.SET {LATCH} {count} PX {lease_ms}"));
            }
            1 => {
                let count = i64::from(how) % 2 + 1;
                self.model.count_down(client, owner, count);
                self.send(client, &format!("LATCH.DOWN {LATCH} {owner} {count}"));
            }
            _ => {
                let wait_ms = pick(&WAITS_MS, how);
                self.model.await_latch(client, wait_ms);
                self.send(client, &format!("LATCH.AWAIT {LATCH} WAIT {wait_ms}"));
            }
        }
    }

    fn arrive(&mut self, client: usize, how: u8) {
        let (owner, wait_ms) = (OWNERS[client], pick(&WAITS_MS, how));
        self.model.arrive(client, wait_ms);
        let parties = model::PARTIES;
        let line = format!("BARRIER.AWAIT {BARRIER} {parties} {owner} WAIT {wait_ms}");
        self.send(client, &line);
    }

    fn unblock(&mut self, client: usize, other: usize, is_error: bool) {
        self.model.unblock(client, other, is_error);
        let how = if is_error { "ERROR" } else { "TIMEOUT" };
        let line = format!("CLIENT UNBLOCK {} {how}", self.clients[other].1);
        self.send(client, &line);
    }

    fn check(&mut self, client: usize, lock: &'static str, how: u8) {
        let fence = self.fence(lock, how).unwrap_or(1 << 52);
        self.model.check(client, lock, fence, how >= 128);
        let command = if how >= 128 { "ASSERT" } else { "CHECK" };
        self.send(client, &format!("LOCK.{command} {lock} {fence}"));
    }

    /// A write by a fence: the mark of the resource never falls.
    fn write(&mut self, client: usize, key: u8, how: u8) {
        let fence = i64::from(key) % 8;
        let is_set = how.is_multiple_of(2);
        self.model.write(client, fence);
        if is_set {
            self.send(client, &format!("SET {RESOURCE} v FENCE {fence}"));
        } else {
            self.send(client, &format!("FENCE.SET {RESOURCE} {fence}"));
        }
    }

    /// What all were sent must be what the model says.
    fn compare(&mut self) {
        for client in 0..CLIENTS {
            let output = self.server.take_output(self.clients[client].0);
            let words = words(&output);
            let told = self.model.take_told(client);
            let Some(told) = told else {
                assert!(
                    words.is_empty(),
                    "{}: {client} is told {words:?}",
                    self.line
                );
                continue;
            };
            let is_right = self.is_right(&told, &words);
            let line = &self.line;
            assert!(is_right, "{line}: {client} is told {words:?}, not {told:?}");
        }
        for (key, fence) in self.new.drain(..) {
            let highest = self.fences.entry(key).or_default();
            *highest = fence.max(*highest);
        }
    }

    /// The keys that are there are those of which the model knows something.
    fn compare_keys(&mut self) {
        let line = format!("EXISTS {} {} {SEMAPHORE}\r\n", LOCKS[0], LOCKS[1]);
        self.server.send(self.witness, line.as_bytes());
        let output = self.server.take_output(self.witness);
        let keys = [LOCKS[0], LOCKS[1], SEMAPHORE];
        let there = keys.iter().filter(|key| self.model.exists(key)).count();
        assert_eq!(words(&output), [format!(":{there}")], "{}: keys", self.line);
    }

    fn is_right(&mut self, told: &Told, words: &[String]) -> bool {
        let is = |at: usize, number: i64| words.get(at) == Some(&format!(":{number}"));
        match told {
            Told::Hold {
                status,
                fence,
                left_ms,
                owner,
            } => {
                let is_owner = |owner: &str| words.get(3).is_some_and(|word| word[1..] == *owner);
                words.len() == 4
                    && is(0, *status)
                    && self.is_fence(fence, &words[1])
                    && left_ms.is_none_or(|left_ms| is(2, left_ms))
                    && owner.is_none_or(is_owner)
            }
            Told::Several { status, fence } => {
                words.len() == 4 && is(0, *status) && self.is_fence(fence, &words[1])
            }
            Told::Permits {
                status,
                fence,
                free,
            } => {
                words.len() == 3
                    && is(0, *status)
                    && self.is_fence(fence, &words[1])
                    // At the grant, or when the reply is written: others may have had their turn.
                    && (is(2, *free) || *status == 1 && is(2, self.model.free_now()))
            }
            Told::Met { index } => words.len() == 2 && is(1, *index),
            Told::Number(number) => words.len() == 1 && is(0, *number),
            Told::SomeNumber => words.len() == 1 && words[0].starts_with(':'),
            Told::Error(start) => words.len() == 1 && words[0][1..].starts_with(start),
            Told::Null => words == ["null"],
            Told::Ok => words == ["+OK"],
            Told::Text => {
                if let [word] = words {
                    self.model.note_text(&word[1..]);
                }
                words.len() == 1 && words[0].starts_with('$')
            }
        }
    }

    fn is_fence(&mut self, fence: &Fence, word: &str) -> bool {
        let Some(number) = word.strip_prefix(':').and_then(|text| text.parse().ok()) else {
            return false;
        };
        match fence {
            Fence::Any => true,
            Fence::Known(known) => number == *known,
            Fence::New(keys, owner) => {
                let mut is_new = self.given_out.insert(number);
                for key in keys {
                    let highest = self.fences.get(key);
                    is_new &= highest.is_none_or(|highest| *highest < number);
                    self.new.push((key, number));
                    self.known.entry(key).or_insert(number);
                    self.model.note_fence(key, owner, number);
                }
                is_new
            }
        }
    }

    fn end(mut self) {
        self.server.check_replay();
        self.server.close(self.witness);
        for (number, _) in &self.clients {
            self.server.close(*number);
        }
        assert_eq!(self.server.leftovers(), (0, 0), "something is left over");
    }
}

fn connect(server: &mut Inproc) -> (usize, String) {
    let number = server.connect();
    server.send(number, b"CLIENT ID\r\n");
    let identity = words(&server.take_output(number)).concat();
    (number, identity[1..].into())
}

/// The words of replies, each with the sign of its kind; a null is `null`, and arrays are what is
/// in them.
fn words(mut output: &[u8]) -> Vec<String> {
    let mut parser = ReplyParser::new();
    let mut words = Vec::new();
    while !output.is_empty() {
        let progress = parser.parse(output, &ReplyLimits::default());
        let whole = progress.ok().filter(|done| done.reply.is_some());
        let Some(consumed) = whole.map(|done| done.consumed) else {
            panic!("no whole reply: {}", output.escape_ascii());
        };
        let text = String::from_utf8_lossy(&output[..consumed]).into_owned();
        output = &output[consumed..];
        let mut lines = text.split("\r\n");
        while let Some(line) = lines.next() {
            match line.as_bytes() {
                [] => {}
                [b'*' | b'$', b'-', b'1'] => words.push("null".into()),
                [b'*', ..] => {}
                [b'$', ..] => words.push(format!("${}", lines.next().unwrap_or(""))),
                _ => words.push(line.into()),
            }
        }
    }
    words
}
