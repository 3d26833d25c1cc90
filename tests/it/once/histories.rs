//! Linearizability: what many clients were told of turns, requests, limits and compare-and-set,
//! over a server that is killed and started again, is what one after the other could have been
//! told.
//!
//! LIMITATIONS: calls either wait or remove keys, round by round. A turn that was handed to a call
//! that waits, and removed before it was told of, is taken anew by that call: others may have seen
//! it in between, and no order of whole calls has that.

#![expect(
    clippy::disallowed_methods,
    reason = "a history is a matter of real time"
)]

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::model::{Call, Model, Turn};
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, check};
use crate::durability::{Data, kill};
use crate::linear::{Event, is_linearizable};

pub(super) const CASES: &[Case] = &[
    ("histories_over_kills_are_linearizable", recorded),
    ("bad_histories_are_rejected", bad),
    ("good_histories_are_not_rejected", good),
];

const CLIENTS: u64 = 4;
const ROUNDS: u32 = 2;
const KILLS: u32 = 2;
/// Calls of a client between two kills.
const CALLS: u32 = 20;
/// How long a life may take to have them.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// Longer than any history.
const LONG_MS: u64 = 600_000;
/// The kinds of history: a cache, a request, a limit, a string.
const KINDS: usize = 4;

type History = Vec<Event<Call>>;

/// What the clients of a round share.
struct Round {
    began: Instant,
    port: AtomicU16,
    is_over: AtomicBool,
    ids: AtomicU32,
    /// Calls that were answered.
    calls: AtomicU32,
    /// Whether calls wait; else keys are removed.
    waits: bool,
    /// The string's last value, as far as anybody knows.
    value: AtomicU32,
}

impl Round {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(0)
    }

    /// One life of the server, with enough calls in it.
    fn live(&self) -> Result<(), Failed> {
        let began = Instant::now();
        let until = self.calls.load(Ordering::Acquire) + CALLS * CLIENTS as u32;
        let is_over = || self.is_over.load(Ordering::Acquire);
        while self.calls.load(Ordering::Acquire) < until && !is_over() {
            thread::sleep(Duration::from_millis(1));
            check(began.elapsed() < LIFE_MAX, || {
                format!("{} calls of {until}", self.calls.load(Ordering::Acquire))
            })?;
        }
        Ok(())
    }
}

/// One client: it goes on after its connection is lost.
struct Player<'r> {
    round: &'r Round,
    client: Option<Client>,
    dice: Dice,
    /// The last tokens it was given, of the cache and the request.
    tokens: [i64; 2],
    histories: [History; KINDS],
}

impl Player<'_> {
    /// Asks, and notes the call that `read` makes of the answer.
    fn ask(
        &mut self,
        kind: usize,
        line: &str,
        read: impl FnOnce(Option<&str>) -> Option<Call>,
    ) -> Result<(), Failed> {
        if self.client.is_none() {
            self.client = Client::connect(self.round.port.load(Ordering::Acquire)).ok();
        }
        let called_us = self.round.now_us();
        // What was never sent is in no history.
        let Some(client) = self.client.as_mut() else {
            thread::sleep(Duration::from_millis(2));
            return Ok(());
        };
        let reply = client.call(line).ok();
        if reply.is_none() {
            self.client = None;
            thread::sleep(Duration::from_millis(2));
        } else {
            self.round.calls.fetch_add(1, Ordering::AcqRel);
        }
        let answered_us = self.round.now_us();
        let Some(call) = read(reply.as_deref()) else {
            let is_read = reply.is_none();
            return check(is_read, || format!("{line}: {reply:?}"));
        };
        self.histories[kind].push(Event {
            called_us,
            answered_us,
            call,
        });
        Ok(())
    }

    /// Asks for the turn of a cache (0) or request (1).
    fn turn(&mut self, kind: usize) -> Result<(), Failed> {
        let wait_ms = match self.dice.below(3) {
            0 if self.round.waits => 10,
            _ => 0,
        };
        let line = match kind {
            0 => format!("CACHE.GET c FILL {LONG_MS} WAIT {wait_ms}"),
            _ => format!("IDEMP.BEGIN r f PX {LONG_MS} WAIT {wait_ms}"),
        };
        let mut token = None;
        self.ask(kind, &line, |reply| {
            let told = match reply {
                None => None,
                Some(text) => Some(read_turn(text)?),
            };
            if let Some(Turn::Won(won)) = told {
                token = Some(won);
            }
            Some(Call::Ask { told })
        })?;
        if let Some(token) = token {
            self.tokens[kind] = token;
        }
        Ok(())
    }

    fn make(&mut self, kind: usize) -> Result<(), Failed> {
        let (token, value) = (
            self.tokens[kind],
            self.round.ids.fetch_add(1, Ordering::Relaxed),
        );
        let line = match kind {
            0 => format!("CACHE.SET c {value} TOKEN {token} PX {LONG_MS}"),
            // A response of its own each time: the same one again would be no mistake.
            _ => format!("IDEMP.DONE r {token} {value} PX {LONG_MS}"),
        };
        // A request that was done is not done again with another response.
        self.ask(kind, &line, |reply| {
            let told = flag(reply)?;
            Some(Call::Make { token, value, told })
        })?;
        if kind == 1 {
            self.tokens[kind] = -1;
        }
        Ok(())
    }

    fn abort(&mut self, kind: usize) -> Result<(), Failed> {
        let token = self.tokens[kind];
        let line = match kind {
            0 => format!("CACHE.ABORT c TOKEN {token}"),
            _ => format!("IDEMP.ABORT r {token}"),
        };
        self.ask(kind, &line, |reply| {
            let told = flag(reply)?;
            Some(Call::Abort { token, told })
        })
    }

    fn delete(&mut self, kind: usize) -> Result<(), Failed> {
        let line = format!("DEL {}", ["c", "r", "l"][kind]);
        self.ask(kind, &line, |reply| {
            let told = flag(reply)?;
            Some(Call::Delete { told })
        })
    }

    fn take(&mut self) -> Result<(), Failed> {
        self.ask(2, "CL.THROTTLE l 19 1 100000000", |reply| {
            let told = match reply.map(|text| text.split(' ').nth(1)) {
                None => None,
                Some(Some(":0")) => Some(true),
                Some(Some(":1")) => Some(false),
                Some(_) => return None,
            };
            Some(Call::Take { told })
        })
    }

    fn swap(&mut self) -> Result<(), Failed> {
        let old = self.round.value.load(Ordering::Relaxed);
        let new = self.round.ids.fetch_add(1, Ordering::Relaxed);
        let mut told = None;
        self.ask(3, &format!("SET s {new} IFEQ {old}"), |reply| {
            told = match reply {
                None => None,
                Some("+OK") => Some(true),
                Some("$-1") => Some(false),
                Some(_) => return None,
            };
            Some(Call::Swap { old, new, told })
        })?;
        if told == Some(true) {
            self.round.value.store(new, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Failed> {
        let mut value = None;
        self.ask(3, "GET s", |reply| {
            value = reply?.split(' ').nth(1).and_then(|word| word.parse().ok());
            value.map(|told| Call::Read { told })
        })?;
        if let Some(value) = value {
            self.round.value.store(value, Ordering::Relaxed);
        }
        Ok(())
    }

    fn play(mut self) -> Result<[History; KINDS], Failed> {
        let played = self.play_on();
        // Nobody waits for the calls of one that has failed.
        if played.is_err() {
            self.round.is_over.store(true, Ordering::Release);
        }
        played.map(|()| self.histories)
    }

    fn play_on(&mut self) -> Result<(), Failed> {
        while !self.round.is_over.load(Ordering::Acquire) {
            let kind = self.dice.below(2) as usize;
            match self.dice.below(12) {
                0..=2 => self.turn(kind)?,
                3 | 4 if self.tokens[kind] > 0 => self.make(kind)?,
                5 if self.tokens[kind] > 0 => self.abort(kind)?,
                6 if !self.round.waits => self.delete(kind)?,
                7 | 8 => self.take()?,
                9 => self.swap()?,
                10 => self.read()?,
                _ if self.dice.below(8) == 0 => self.delete(2)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What `CACHE.GET` and `IDEMP.BEGIN` say.
fn read_turn(text: &str) -> Option<Turn> {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| word.trim_start_matches(':').parse().ok();
    match words[..] {
        [_, _, "WIN", .., token] | [_, _, "NEW" | "RETRY", token] => number(token).map(Turn::Won),
        [_, _, "BUSY", ..] => Some(Turn::Busy),
        [_, _, "HIT", _, value, ..] | [_, _, "DONE", _, value] => {
            value.parse().ok().map(Turn::Made)
        }
        _ => None,
    }
}

/// An answer that is 1 or 0, or never came; none where it is something else.
fn flag(reply: Option<&str>) -> Option<Option<bool>> {
    match reply {
        None => Some(None),
        Some(":1") => Some(Some(true)),
        Some(":0") => Some(Some(false)),
        Some(_) => None,
    }
}

/// What clients were told while the server was killed again and again.
fn record(seed: u64) -> Result<[History; KINDS], Failed> {
    let data = Data::new("always", 4)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("SET s 0", "+OK")?;
    let round = &Round {
        began: Instant::now(),
        port: AtomicU16::new(server.port()),
        is_over: AtomicBool::new(false),
        ids: AtomicU32::new(1),
        calls: AtomicU32::new(0),
        waits: seed.is_multiple_of(2),
        value: AtomicU32::new(0),
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let player = Player {
                    round,
                    client: None,
                    dice: Dice::new(seed ^ number),
                    tokens: [-1; 2],
                    histories: Default::default(),
                };
                scope.spawn(move || player.play())
            })
            .collect();
        let mut all: [History; KINDS] = Default::default();
        let killed = (0..KILLS).try_fold(server, |server, _| {
            round.live()?;
            let called_us = round.now_us();
            kill(server)?;
            let server = data.start()?;
            let answered_us = round.now_us();
            for (kind, history) in all.iter_mut().enumerate() {
                let call = Call::Restart { voids: kind == 0 };
                history.push(Event {
                    called_us,
                    answered_us,
                    call,
                });
            }
            round.port.store(server.port(), Ordering::Release);
            Ok::<_, Failed>(server)
        });
        let killed = killed.and_then(|server| round.live().map(|()| server));
        round.is_over.store(true, Ordering::Release);
        for player in players {
            let one = player.join().map_err(|_| "a client panicked")??;
            for (all, one) in all.iter_mut().zip(one) {
                all.extend(one);
            }
        }
        killed.and_then(|server| kill(server).map(|()| all))
    })
}

fn recorded() -> Result<(), Failed> {
    for round in 0..ROUNDS * chance::times() {
        let seed = chance::seed().wrapping_add(u64::from(round));
        for (kind, history) in record(seed)?.iter().enumerate() {
            check(is_linearizable::<Model>(history), || {
                let mut history = history.clone();
                history.sort_by_key(|event| event.called_us);
                let lines: String = history.iter().map(|event| format!("{event:?}\n")).collect();
                format!("LINCHPIN_SEED={seed}, history {kind}:\n{lines}")
            })?;
        }
    }
    Ok(())
}

/// Calls one after the other.
fn in_turn(calls: &[Call]) -> History {
    let event = |(at, call): (u64, &Call)| Event {
        called_us: 10 * at,
        answered_us: 10 * at + 5,
        call: *call,
    };
    (0..).zip(calls).map(event).collect()
}

const fn ask(turn: Turn) -> Call {
    Call::Ask { told: Some(turn) }
}

const fn make(token: i64, value: u32, is_made: bool) -> Call {
    Call::Make {
        token,
        value,
        told: Some(is_made),
    }
}

fn bad() -> Result<(), Failed> {
    let take = |told| Call::Take { told: Some(told) };
    let swap = |old, new, told| Call::Swap {
        old,
        new,
        told: Some(told),
    };
    let deleted = Call::Delete { told: Some(false) };
    let histories = [
        // Two win at once.
        vec![ask(Turn::Won(7)), ask(Turn::Won(8))],
        // What is out of date is put back.
        vec![ask(Turn::Won(7)), deleted, make(7, 1, true)],
        // A token counts after a restart.
        vec![
            ask(Turn::Won(7)),
            Call::Restart { voids: true },
            make(7, 1, true),
        ],
        // A value that nobody made.
        vec![ask(Turn::Won(7)), make(7, 1, true), ask(Turn::Made(2))],
        // Done, and forgotten.
        vec![ask(Turn::Won(7)), make(7, 1, true), ask(Turn::Won(8))],
        // One unit too many, and one too few.
        vec![take(true); super::model::UNITS as usize + 1],
        vec![take(true), take(false)],
        // Two swap the same value.
        vec![swap(0, 1, true), swap(0, 2, true)],
    ];
    for calls in histories {
        check(!is_linearizable::<Model>(&in_turn(&calls)), || {
            format!("not rejected: {calls:?}")
        })?;
    }
    Ok(())
}

fn good() -> Result<(), Failed> {
    let histories = [
        vec![
            ask(Turn::Won(7)),
            ask(Turn::Busy),
            make(7, 1, true),
            make(7, 2, true),
            ask(Turn::Made(1)),
        ],
        // The answer of who won never came.
        vec![
            Call::Ask { told: None },
            ask(Turn::Busy),
            Call::Restart { voids: true },
            ask(Turn::Won(7)),
        ],
        vec![
            ask(Turn::Won(7)),
            Call::Abort {
                token: 7,
                told: Some(true),
            },
            ask(Turn::Won(8)),
            make(7, 1, false),
        ],
    ];
    for calls in histories {
        check(is_linearizable::<Model>(&in_turn(&calls)), || {
            format!("rejected: {calls:?}")
        })?;
    }
    Ok(())
}
