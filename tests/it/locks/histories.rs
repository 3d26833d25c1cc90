//! Linearizability: what many clients were told, over a server that is killed and started again, is
//! checked to be what one after the other could have been told.

#![expect(
    clippy::disallowed_methods,
    reason = "a history is a matter of real time"
)]

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use libtest_mimic::Failed;

use super::model::{Call, Event, LIMIT, is_linearizable};
use super::{Answer, pause};
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, check};
use crate::durability::{Data, kill};

pub(super) const CASES: &[Case] = &[
    ("histories_over_kills_are_linearizable", recorded),
    ("bad_histories_are_rejected", bad),
    ("good_histories_are_not_rejected", good),
];

const CLIENTS: u8 = 4;
const ROUNDS: u32 = 3;
/// Between two kills.
const LIFE_MS: u64 = 250;
const KILLS: u32 = 2;
/// The calls of each key that a life of the server sees at least, however slow the machine is.
const CALLS_MIN: u32 = 8;
/// How long that may take.
const LIFE_MS_MAX: u64 = 60_000;
/// Longer than any wait: no grant that waited is over when it is told of.
const LEASE_MS: u64 = 200;

/// What the clients of a round share.
struct Round {
    began: Instant,
    port: AtomicU16,
    is_over: AtomicBool,
    ids: AtomicU32,
    /// The calls made of the lock, the semaphore and the string.
    calls: [AtomicU32; 3],
}

impl Round {
    /// One life of the server, with enough calls of each key in it.
    fn live(&self) -> Result<(), Failed> {
        let calls = || {
            self.calls
                .each_ref()
                .map(|calls| calls.load(Ordering::Acquire))
        };
        let before = calls();
        let began = Instant::now();
        loop {
            pause(LIFE_MS);
            let mut grown = calls()
                .into_iter()
                .zip(before)
                .map(|(now, then)| now - then);
            if grown.all(|calls| calls >= CALLS_MIN) {
                return Ok(());
            }
            let is_late = began.elapsed().as_millis() > u128::from(LIFE_MS_MAX);
            check(!is_late, || {
                format!("{:?} calls, then {:?}", before, calls())
            })?;
        }
    }
}

/// The histories of the keys of a round.
#[derive(Default)]
struct Histories {
    lock: Vec<Event>,
    semaphore: Vec<Event>,
    string: Vec<Event>,
}

impl Histories {
    fn lengths(&self) -> [usize; 3] {
        [&self.lock, &self.semaphore, &self.string].map(Vec::len)
    }
}

/// One client: it goes on after its connection is lost, by the same name.
struct Player<'r> {
    round: &'r Round,
    client: Option<Client>,
    owner: u8,
    dice: Dice,
    fence: i64,
    /// A session and its number.
    session: Option<(String, u32)>,
    histories: Histories,
}

impl Player<'_> {
    fn now_us(&self) -> u64 {
        u64::try_from(self.round.began.elapsed().as_micros()).unwrap_or(0)
    }

    fn id(&self) -> u32 {
        self.round.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The answer, if one came; when it was asked and answered.
    fn ask(&mut self, line: &str) -> (u64, u64, Option<String>) {
        if self.client.is_none() {
            self.client = Client::connect(self.round.port.load(Ordering::Acquire)).ok();
        }
        let called_us = self.now_us();
        let reply = self
            .client
            .as_mut()
            .and_then(|client| client.call(line).ok());
        if reply.is_none() {
            self.client = None;
            pause(5);
        }
        (called_us, self.now_us(), reply)
    }

    fn acquire(&mut self, permits: u8) -> Result<(), Failed> {
        let (id, owner) = (self.id(), self.owner);
        let wait = [0, 0, 20, 150][self.dice.below(4) as usize];
        let session = match self.dice.below(3) {
            0 if permits == 0 => self.session.clone(),
            _ => None,
        };
        let life = match &session {
            Some((sid, _)) => format!("SESSION {sid}"),
            None => format!("PX {LEASE_MS}"),
        };
        let line = match permits {
            0 => format!("LOCK.ACQUIRE l {owner} {life} WAIT {wait}"),
            _ => {
                format!("SEM.ACQUIRE s {owner} LIMIT {LIMIT} PERMITS {permits} {life} WAIT {wait}")
            }
        };
        let (called_us, answered_us, reply) = self.ask(&line);
        let answer = match &reply {
            None => None,
            Some(text) => Some(Answer::read(text).ok_or_else(|| format!("{line}: {text}"))?),
        };
        // A grant that was over when it could be told of is told like a queue in the way.
        let is_late = answered_us - called_us >= LEASE_MS * 1_000;
        let is_unsure = |answer: &Answer| is_late && (answer.status, answer.fence) == (0, 0);
        let is_known = answer.filter(|answer| !is_unsure(answer));
        if let Some(answer) = answer.filter(|answer| answer.status > 0 && permits == 0) {
            self.fence = answer.fence;
        }
        let is_leased = session.is_none();
        let call = Call::Acquire {
            id,
            owner,
            permits,
            session: session.map(|(_, number)| number),
            told: is_known.map(|answer| (answer.status, answer.fence)),
        };
        let history = match permits {
            0 => &mut self.histories.lock,
            _ => &mut self.histories.semaphore,
        };
        history.push(Event {
            called_us,
            answered_us,
            call,
        });
        if is_leased {
            history.push(Event {
                called_us: called_us + LEASE_MS * 1_000 - LEASE_EARLY_US,
                answered_us: u64::MAX,
                call: Call::Over { id },
            });
        }
        Ok(())
    }

    fn release(&mut self, key: &str) -> Result<(), Failed> {
        let family = if key == "l" { "LOCK" } else { "SEM" };
        let owner = self.owner;
        let line = format!("{family}.RELEASE {key} {owner}");
        let (called_us, answered_us, reply) = self.ask(&line);
        let told = flag(&line, reply.as_deref())?;
        let history = match key {
            "l" => &mut self.histories.lock,
            _ => &mut self.histories.semaphore,
        };
        let call = Call::Release { owner, told };
        history.push(Event {
            called_us,
            answered_us,
            call,
        });
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failed> {
        let fence = self.fence;
        let line = format!("LOCK.CHECK l {fence}");
        let (called_us, answered_us, reply) = self.ask(&line);
        if let Some(told) = flag(&line, reply.as_deref())? {
            let call = Call::Check { fence, told };
            self.histories.lock.push(Event {
                called_us,
                answered_us,
                call,
            });
        }
        Ok(())
    }

    /// Opens a session, or closes the one there is.
    fn turn_session(&mut self) -> Result<(), Failed> {
        let Some((sid, session)) = self.session.take() else {
            let (_, _, reply) = self.ask("SESSION.OPEN TTL 600000");
            let sid = reply.and_then(|text| Some(text.strip_prefix("$32 ")?.to_owned()));
            let number = self.id();
            self.session = sid.map(|sid| (sid, number));
            return Ok(());
        };
        let line = format!("SESSION.CLOSE {sid}");
        let (called_us, answered_us, reply) = self.ask(&line);
        let told = flag(&line, reply.as_deref())?;
        let call = Call::Close { session, told };
        self.histories.lock.push(Event {
            called_us,
            answered_us,
            call,
        });
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failed> {
        let (fence, value) = (self.fence, self.id());
        let line = format!("SET d {value} FENCE {fence}");
        let (called_us, answered_us, reply) = self.ask(&line);
        let told = match reply.as_deref() {
            None => None,
            Some("+OK") => Some(true),
            Some(text) if text.starts_with("-FENCED ") => Some(false),
            Some(text) => return Err(format!("{line}: {text}").into()),
        };
        let call = Call::Write { fence, value, told };
        self.histories.string.push(Event {
            called_us,
            answered_us,
            call,
        });
        Ok(())
    }

    fn read(&mut self) -> Result<(), Failed> {
        let (called_us, answered_us, reply) = self.ask("GET d");
        let told = match reply.as_deref() {
            None => return Ok(()),
            Some("$-1") => None,
            Some(text) => {
                let value = text.split(' ').nth(1).and_then(|word| word.parse().ok());
                Some(value.ok_or_else(|| text.to_owned())?)
            }
        };
        let call = Call::Read { told };
        self.histories.string.push(Event {
            called_us,
            answered_us,
            call,
        });
        Ok(())
    }

    /// Tells the round how many calls of each key there were.
    fn tell(&self, before: [usize; 3]) {
        let now = self.histories.lengths();
        for ((calls, now), before) in self.round.calls.iter().zip(now).zip(before) {
            calls.fetch_add(u32::try_from(now - before).unwrap_or(0), Ordering::AcqRel);
        }
    }

    fn play(mut self) -> Result<Histories, Failed> {
        while !self.round.is_over.load(Ordering::Acquire) {
            let before = self.histories.lengths();
            match self.dice.below(10) {
                0..=2 => self.acquire(0)?,
                3 => self.release("l")?,
                4 => self.check()?,
                5 => self.turn_session()?,
                6 => {
                    let permits = self.owner % LIMIT + 1;
                    self.acquire(permits)?;
                }
                7 => self.release("s")?,
                8 => self.write()?,
                _ => self.read()?,
            }
            self.tell(before);
            pause(10 + self.dice.below(20));
        }
        Ok(self.histories)
    }
}

/// Leases are counted in whole milliseconds.
const LEASE_EARLY_US: u64 = 1_000;

/// An answer that is 1 or 0, or never came.
fn flag(line: &str, reply: Option<&str>) -> Result<Option<bool>, Failed> {
    match reply {
        None => Ok(None),
        Some(":1") => Ok(Some(true)),
        Some(":0") => Ok(Some(false)),
        Some(text) => Err(format!("{line}: {text}").into()),
    }
}

/// What so many clients were told while the server was killed again and again.
fn record(seed: u64) -> Result<Histories, Failed> {
    let data = Data::new("always", 4)?;
    let server = data.start()?;
    let round = &Round {
        began: Instant::now(),
        port: AtomicU16::new(server.port()),
        is_over: AtomicBool::new(false),
        ids: AtomicU32::new(1),
        calls: Default::default(),
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..CLIENTS)
            .map(|owner| {
                let player = Player {
                    round,
                    client: None,
                    owner,
                    dice: Dice::new(seed ^ u64::from(owner)),
                    fence: 0,
                    session: None,
                    histories: Histories::default(),
                };
                scope.spawn(move || player.play())
            })
            .collect();
        let killed = (0..KILLS).try_fold(server, |server, _| {
            round.live()?;
            kill(server)?;
            let server = data.start()?;
            round.port.store(server.port(), Ordering::Release);
            Ok::<_, Failed>(server)
        });
        let killed = killed.and_then(|server| round.live().map(|()| server));
        round.is_over.store(true, Ordering::Release);
        let mut all = Histories::default();
        for player in players {
            let one = player.join().map_err(|_| "a client panicked")??;
            all.lock.extend(one.lock);
            all.semaphore.extend(one.semaphore);
            all.string.extend(one.string);
        }
        killed.and_then(|server| kill(server).map(|()| all))
    })
}

fn recorded() -> Result<(), Failed> {
    for round in 0..ROUNDS * chance::times() {
        let seed = chance::seed().wrapping_add(u64::from(round));
        let histories = record(seed)?;
        for (key, history) in [
            ("lock", &histories.lock),
            ("semaphore", &histories.semaphore),
            ("string", &histories.string),
        ] {
            check(is_linearizable(history), || {
                let mut history = history.clone();
                history.sort_by_key(|event| event.called_us);
                let lines = history.iter().map(|event| format!("{event:?}\n"));
                format!(
                    "LINCHPIN_SEED={seed}, {key}:\n{}",
                    lines.collect::<String>()
                )
            })?;
        }
    }
    Ok(())
}

/// A history of calls, each from when until when.
fn history(calls: &[(u64, u64, Call)]) -> Vec<Event> {
    let event = |(called_us, answered_us, call): &(u64, u64, Call)| Event {
        called_us: *called_us,
        answered_us: *answered_us,
        call: call.clone(),
    };
    calls.iter().map(event).collect()
}

fn acquire(id: u32, owner: u8, status: i64, fence: i64) -> Call {
    permits(id, owner, 0, status, fence)
}

fn permits(id: u32, owner: u8, permits: u8, status: i64, fence: i64) -> Call {
    Call::Acquire {
        id,
        owner,
        permits,
        session: None,
        told: Some((status, fence)),
    }
}

fn by_session(id: u32, owner: u8, session: u32, told: Option<(i64, i64)>) -> Call {
    Call::Acquire {
        id,
        owner,
        permits: 0,
        session: Some(session),
        told,
    }
}

fn lost(id: u32, owner: u8) -> Call {
    Call::Acquire {
        id,
        owner,
        permits: 0,
        session: None,
        told: None,
    }
}

fn release(owner: u8, told: bool) -> Call {
    let told = Some(told);
    Call::Release { owner, told }
}

fn current(fence: i64, told: bool) -> Call {
    Call::Check { fence, told }
}

fn write(fence: i64, value: u32, told: bool) -> Call {
    let told = Some(told);
    Call::Write { fence, value, told }
}

fn read(told: Option<u32>) -> Call {
    Call::Read { told }
}

fn close(session: u32, told: bool) -> Call {
    let told = Some(told);
    Call::Close { session, told }
}

/// From when until when calls were made.
type Calls = Vec<(u64, u64, Call)>;

/// Grants, each with what is wrong about it.
fn bad_grants() -> Vec<(&'static str, Calls)> {
    let first = (0, 1, acquire(1, 1, 1, 5));
    let over = |called_us| (called_us, u64::MAX, Call::Over { id: 1 });
    vec![
        (
            "two hold it",
            vec![first.clone(), (2, 3, acquire(2, 2, 1, 6))],
        ),
        (
            "two are granted at a time",
            vec![(0, 9, acquire(1, 1, 1, 5)), (0, 9, acquire(2, 2, 1, 6))],
        ),
        (
            "handed on before the lease can be over",
            vec![first.clone(), over(10), (2, 9, acquire(2, 2, 1, 6))],
        ),
        (
            "a fence comes again",
            vec![
                first.clone(),
                (2, 3, release(1, true)),
                (4, 5, acquire(2, 2, 1, 5)),
            ],
        ),
        (
            "a fence falls",
            vec![
                first.clone(),
                (2, 3, release(1, true)),
                (4, 5, acquire(2, 2, 1, 4)),
            ],
        ),
        (
            "the same owner has another fence",
            vec![first.clone(), (2, 3, acquire(2, 1, 2, 6))],
        ),
        (
            "held before, though by nobody",
            vec![(0, 1, acquire(1, 1, 2, 5))],
        ),
        (
            "granted anew what is held",
            vec![first.clone(), (2, 3, acquire(2, 1, 1, 6))],
        ),
        ("refused what is free", vec![(0, 1, acquire(1, 1, 0, 5))]),
        (
            "refused by who has given it back",
            vec![
                first.clone(),
                (2, 3, release(1, true)),
                (4, 5, acquire(2, 2, 0, 5)),
            ],
        ),
    ]
}

/// The ends of holds.
fn bad_ends() -> Vec<(&'static str, Calls)> {
    let first = (0, 1, acquire(1, 1, 1, 5));
    vec![
        (
            "given back by a stranger",
            vec![first.clone(), (2, 3, release(2, true))],
        ),
        (
            "given back twice",
            vec![
                first.clone(),
                (2, 3, release(1, true)),
                (4, 5, release(1, true)),
            ],
        ),
        (
            "lost in a restart",
            vec![first.clone(), (2, 3, release(1, false))],
        ),
        (
            "not current though held",
            vec![first.clone(), (2, 3, current(5, false))],
        ),
        (
            "current though given back",
            vec![
                first.clone(),
                (2, 3, release(1, true)),
                (4, 5, current(5, true)),
            ],
        ),
        (
            "one unknown call made twice",
            vec![
                (0, 1, lost(1, 1)),
                (2, 3, release(1, true)),
                (4, 5, release(1, true)),
            ],
        ),
    ]
}

/// Sessions and permits.
fn bad_groups() -> Vec<(&'static str, Calls)> {
    vec![
        (
            "a session's end leaves its lock",
            vec![
                (0, 1, by_session(1, 1, 7, Some((1, 5)))),
                (2, 3, close(7, true)),
                (4, 5, current(5, true)),
            ],
        ),
        (
            "another session's end frees it",
            vec![
                (0, 1, by_session(1, 1, 7, Some((1, 5)))),
                (2, 3, close(8, false)),
                (4, 5, acquire(2, 2, 1, 6)),
            ],
        ),
        (
            "more permits than there are",
            vec![
                (0, 1, permits(1, 1, 2, 1, 5)),
                (2, 3, permits(2, 2, 2, 1, 6)),
            ],
        ),
        (
            "a permit refused that is free",
            vec![
                (0, 1, permits(1, 1, 2, 1, 5)),
                (2, 3, permits(2, 2, 1, 0, 5)),
            ],
        ),
    ]
}

/// Fenced writes.
fn bad_writes() -> Vec<(&'static str, Calls)> {
    vec![
        (
            "a stale write passes",
            vec![(0, 1, write(5, 1, true)), (2, 3, write(4, 2, true))],
        ),
        (
            "a current write is refused",
            vec![(0, 1, write(5, 1, true)), (2, 3, write(5, 2, false))],
        ),
        (
            "a refused write is read",
            vec![
                (0, 1, write(5, 1, true)),
                (2, 3, write(4, 2, false)),
                (4, 5, read(Some(2))),
            ],
        ),
        (
            "a write is lost",
            vec![(0, 1, write(5, 1, true)), (2, 3, read(None))],
        ),
        (
            "a read goes back",
            vec![
                (0, 9, write(5, 1, true)),
                (1, 2, read(Some(1))),
                (3, 4, read(None)),
            ],
        ),
    ]
}

fn bad() -> Result<(), Failed> {
    let all = [bad_grants(), bad_ends(), bad_groups(), bad_writes()];
    for (what, calls) in all.concat() {
        check(!is_linearizable(&history(&calls)), || {
            format!("not rejected: {what}")
        })?;
    }
    Ok(())
}

/// What the open ends of calls allow.
fn good() -> Result<(), Failed> {
    let first = (0, 1, acquire(1, 1, 1, 5));
    let over = |called_us| (called_us, u64::MAX, Call::Over { id: 1 });
    for (what, calls) in [
        ("nothing", vec![]),
        (
            "handed on at the end of a lease",
            vec![
                first.clone(),
                over(10),
                (2, 12, acquire(2, 2, 1, 6)),
                (13, 14, release(1, false)),
            ],
        ),
        (
            "granted, and the answer lost",
            vec![
                (0, 1, lost(1, 1)),
                (2, 3, acquire(2, 2, 0, 5)),
                (4, 5, acquire(3, 1, 2, 5)),
            ],
        ),
        (
            "never made, and the answer lost",
            vec![(0, 1, lost(1, 1)), (2, 3, acquire(2, 2, 1, 5))],
        ),
        (
            "released between",
            vec![
                first.clone(),
                (2, 9, release(1, true)),
                (3, 8, acquire(2, 2, 1, 6)),
            ],
        ),
        (
            "a session is closed, and its lock is free",
            vec![
                (0, 1, by_session(1, 1, 7, Some((1, 5)))),
                (2, 3, close(7, true)),
                (4, 5, acquire(2, 2, 1, 6)),
            ],
        ),
        (
            "a stale write is refused",
            vec![
                (0, 1, write(5, 1, true)),
                (2, 3, write(4, 2, false)),
                (4, 5, read(Some(1))),
            ],
        ),
    ] {
        check(is_linearizable(&history(&calls)), || {
            format!("rejected: {what}")
        })?;
    }
    Ok(())
}
