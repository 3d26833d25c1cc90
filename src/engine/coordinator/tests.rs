//! The coordinator by itself: rules of the specification one by one, and random histories of which
//! the invariants hold after every turn, and which can be done again from their effects.

use super::object::Body;
use super::*;
use crate::engine::effect::{Effect, Effects, Share};
use crate::engine::ledger::Ledger;
use proptest::prelude::*;
use std::collections::HashSet;

/// A coordinator with a clock that stands until it is moved, and what it told.
struct Bench {
    coordinator: Coordinator,
    now: Now,
    frames: Vec<Vec<u8>>,
    settled: Vec<Settled>,
    lost: Vec<Lost>,
    calls: u64,
}

fn coordinator() -> Coordinator {
    Coordinator::new(1, &Arc::new(Ledger::new()))
}

fn name(key: &str) -> Name {
    Name::new(0, key.as_bytes())
}

fn claim(owner: &str) -> Claim<'_> {
    Claim {
        ticket: Ticket { conn: 1, call: 0 },
        owner: owner.as_bytes(),
        share: Share::Exclusive,
        life: Wanted::Lease(1_000),
        delay_ms: 0,
        value: None,
        depth: None,
        wait_ms: 0,
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            coordinator: coordinator(),
            now: at(1_000),
            frames: Vec::new(),
            settled: Vec::new(),
            lost: Vec::new(),
            calls: 0,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = at(self.now.engine_ms + ms);
        self.turn(|_| ());
    }

    fn turn<R>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let mut frame = Vec::new();
        let mut turn = self.coordinator.turn(self.now, Some(&mut frame));
        let answer = act(&mut turn);
        let left = turn.finish(|_| None);
        self.frames.push(frame);
        self.settled.extend(left.settled);
        self.lost.extend(left.lost);
        check_invariants(&self.coordinator, self.now);
        check_blocking(&self.coordinator);
        answer
    }

    fn acquire(&mut self, key: &str, claim: &Claim<'_>) -> Result<Claimed, Refusal> {
        self.turn(|turn| turn.acquire(&name(key), claim))
    }

    /// Parks a call of connection `conn`, which must wait.
    fn wait(&mut self, key: &str, owner: &str, conn: u64, wait_ms: u64) -> Ticket {
        self.calls += 1;
        let ticket = Ticket {
            conn,
            call: self.calls,
        };
        let claim = Claim {
            ticket,
            wait_ms,
            ..claim(owner)
        };
        assert_eq!(self.acquire(key, &claim), Ok(Claimed::Parked));
        ticket
    }

    fn release(&mut self, key: &str, owner: &str) -> Released {
        self.turn(|turn| turn.release(&name(key), owner.as_bytes(), None, None))
    }

    /// Starts again from a snapshot.
    fn restart(&mut self) {
        let mut cut = Vec::new();
        self.coordinator.cut(&mut cut);
        self.coordinator = coordinator();
        for effect in Effects::of(&cut) {
            let Ok(Effect::Coordination(change)) = effect else {
                panic!("{effect:?}");
            };
            self.coordinator.apply(&change).unwrap();
        }
        self.coordinator.resume(self.now);
    }

    fn granted(&mut self) -> Vec<(u64, u64)> {
        let settled = std::mem::take(&mut self.settled);
        let granted = settled
            .into_iter()
            .filter_map(|settled| match settled.outcome {
                Outcome::Granted { fence, .. } => Some((settled.ticket.conn, fence)),
                _ => None,
            });
        granted.collect()
    }

    /// Does everything again in a second coordinator; both must have the same state.
    fn check_replay(&self) {
        let again = coordinator();
        for frame in &self.frames {
            for effect in Effects::of(frame) {
                let Ok(Effect::Coordination(change)) = effect else {
                    panic!("{effect:?}");
                };
                again
                    .apply(&change)
                    .unwrap_or_else(|error| panic!("{change:?}: {error}"));
            }
        }
        assert_eq!(again.state_hash(), self.coordinator.state_hash());
        let mut cut = Vec::new();
        self.coordinator.cut(&mut cut);
        let loaded = coordinator();
        for effect in Effects::of(&cut) {
            let Ok(Effect::Coordination(change)) = effect else {
                panic!("{effect:?}");
            };
            loaded
                .apply(&change)
                .unwrap_or_else(|error| panic!("{change:?}: {error}"));
        }
        assert_eq!(loaded.state_hash(), self.coordinator.state_hash());
    }
}

fn at(ms: u64) -> Now {
    Now {
        wall_ms: 5_000_000 + ms,
        wall_sub_us: 0,
        engine_ms: ms,
        mono_us: ms * 1_000,
    }
}

/// What the module's header promises of every turn.
fn check_invariants(coordinator: &Coordinator, now: Now) {
    let state = coordinator.0.lock();
    let mut found = Found::default();
    for (id, object) in &state.objects {
        let id = u32::try_from(id).unwrap();
        assert!(!object.is_empty(), "{:?} is empty", object.name);
        assert_eq!(state.find(object.name.db, &object.name.key), Some(id));
        found.heap_bytes += object.name.heap_bytes() + lines_bytes(&object.queue);
        let requests = object
            .queue
            .values()
            .map(|id| &state.requests[*id as usize]);
        let owners: HashSet<&[u8]> = requests.map(|request| &*request.owner).collect();
        assert_eq!(owners.len(), object.queue.len(), "two places of one owner");
        found.note_body(&state, id, &object.body, now);
    }
    let mut listed = HashSet::new();
    for (&number, session) in &state.sessions {
        found.timers += usize::from(session.timer.is_some());
        let holds = session.holds.iter();
        listed.extend(holds.map(|(id, fence)| (number, *id, *fence)));
    }
    assert_eq!(listed, found.session_holds);
    assert_eq!(state.lives.len(), found.timers);
    assert_eq!(state.waits.len(), state.requests.len());
    let requests = state.requests.iter();
    let requests = requests.map(|(_, request)| request.heap_bytes());
    let sessions = state.sessions.values().map(Session::heap_bytes);
    let waiting = state.waiting.iter();
    let waiting = waiting.map(|(owner, line)| room::text_bytes(owner) + lines_bytes(line));
    let blocking = state.blocking.keys().map(|owner| room::text_bytes(owner));
    let observers = state.observers.iter();
    let observers = observers.map(|(name, line)| name.heap_bytes() + lines_bytes(line));
    let others = requests.chain(sessions).chain(waiting).chain(blocking);
    found.heap_bytes += others.chain(observers).sum::<usize>();
    assert_eq!(state.heap_bytes, found.heap_bytes);
}

/// Bytes that a line takes: what joining it took.
fn lines_bytes(line: &Line) -> usize {
    let mut other = Line::new();
    let joins = line.iter();
    joins
        .map(|(place, id)| room::join(&mut other, *place, *id))
        .sum()
}

/// What the objects add up to.
#[derive(Default)]
struct Found {
    heap_bytes: usize,
    timers: usize,
    session_holds: HashSet<(u64, u32, u64)>,
}

impl Found {
    fn note_body(&mut self, state: &State, id: u32, body: &Body, now: Now) {
        match body {
            Body::Range(_) | Body::Codes(_) => {
                self.heap_bytes += state.objects[id as usize].namespace_bytes();
            }
            Body::Held(held) => self.note_held(state, id, held, now),
            Body::Latch(latch) => {
                self.timers += 1;
                self.heap_bytes += latch.heap_bytes();
            }
            Body::Barrier(barrier) => {
                let tripped = barrier.tripped.as_ref();
                self.timers += usize::from(tripped.is_some());
                self.heap_bytes += tripped.map_or(0, object::Tripped::heap_bytes);
            }
        }
    }

    fn note_held(&mut self, state: &State, id: u32, held: &object::Held, now: Now) {
        self.heap_bytes += state.objects[id as usize].namespace_bytes();
        let is_exclusive = |hold: &&object::Hold| hold.share == Share::Exclusive;
        let is_alone = held.holds.len() == 1;
        assert!(held.holds.iter().filter(is_exclusive).count() == 0 || is_alone);
        let owners: HashSet<&[u8]> = held.holds.iter().map(|hold| &*hold.owner).collect();
        assert_eq!(owners.len(), held.holds.len(), "two holds of one owner");
        self.heap_bytes += held.slots_bytes();
        for hold in &held.holds {
            self.heap_bytes += hold.heap_bytes();
            let is_over = state
                .hold_ends_ms(hold)
                .is_some_and(|ends| ends <= now.engine_ms);
            assert!(!is_over, "{hold:?} is over");
            match hold.life {
                crate::engine::Life::Lease { .. } => self.timers += 1,
                crate::engine::Life::Session { number } => {
                    self.session_holds.insert((number, id, hold.fence));
                }
            }
        }
        if let Some(delay) = &held.delay {
            self.timers += 1;
            self.heap_bytes += room::text_bytes(&delay.owner);
        }
    }
}

/// What is known of owners is what their holds and requests say.
fn check_blocking(coordinator: &Coordinator) {
    let state = coordinator.0.lock();
    let mut blocking = std::collections::HashMap::new();
    for (_, object) in &state.objects {
        if object.kind() == Kind::Lock && !object.queue.is_empty() {
            for hold in object.held().into_iter().flat_map(|held| &held.holds) {
                *blocking.entry(hold.owner.clone()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(state.blocking, blocking);
    let listed = state.waiting.values().flatten().count();
    let in_queues = |(_, request): &(usize, &Request)| !request.objects().is_empty();
    assert_eq!(listed, state.requests.iter().filter(in_queues).count());
}

#[test]
fn a_lock_is_granted_refused_and_handed_over_in_order() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.acquire("k", &claim("a")),
        Ok(Claimed::Granted { fence: 1 })
    );
    assert_eq!(
        bench.acquire("k", &claim("a")),
        Ok(Claimed::Again { fence: 1 })
    );
    let refused = Claimed::Refused {
        fence: 1,
        ttl_ms: Some(1_000),
        owner: b"a"[..].into(),
        index: 0,
        is_delayed: false,
    };
    assert_eq!(bench.acquire("k", &claim("b")), Ok(refused));
    bench.wait("k", "b", 2, 500);
    bench.wait("k", "c", 3, 500);
    assert_eq!(bench.release("k", "a"), Released::Freed);
    assert_eq!(bench.granted(), [(2, 2)]);
    assert_eq!(bench.release("k", "a"), Released::NotHeld);
    assert_eq!(bench.release("k", "b"), Released::Freed);
    assert_eq!(bench.granted(), [(3, 3)]);
    assert_eq!(bench.release("k", "c"), Released::Freed);
    assert!(bench.coordinator.kind_of(0, b"k").is_none());
    bench.check_replay();
}

#[test]
fn nobody_overtakes_and_those_who_share_go_together() {
    let mut bench = Bench::new();
    let shared = |owner| Claim {
        share: Share::Shared,
        ..claim(owner)
    };
    assert_eq!(
        bench.acquire("k", &shared("a")),
        Ok(Claimed::Granted { fence: 1 })
    );
    assert_eq!(
        bench.acquire("k", &shared("b")),
        Ok(Claimed::Granted { fence: 2 })
    );
    bench.wait("k", "x", 3, 9_000);
    let refused = bench.acquire("k", &shared("c"));
    assert_eq!(
        refused,
        Ok(Claimed::Refused {
            fence: 0,
            ttl_ms: Some(0),
            owner: b"x"[..].into(),
            index: 0,
            is_delayed: false
        }),
        "only the queue is in the way"
    );
    for conn in [4, 5] {
        bench.calls += 1;
        let owner = format!("s{conn}");
        let ticket = Ticket { conn, call: 9 };
        let claim = Claim {
            ticket,
            wait_ms: 9_000,
            owner: owner.as_bytes(),
            ..shared("")
        };
        assert_eq!(bench.acquire("k", &claim), Ok(Claimed::Parked));
    }
    bench.release("k", "a");
    assert_eq!(bench.granted(), []);
    bench.release("k", "b");
    assert_eq!(bench.granted(), [(3, 3)]);
    bench.release("k", "x");
    assert_eq!(bench.granted(), [(4, 4), (5, 5)]);
    bench.check_replay();
}

#[test]
fn time_ends_leases_waits_and_delays() {
    let mut bench = Bench::new();
    let delayed = Claim {
        delay_ms: 300,
        ..claim("a")
    };
    bench.acquire("k", &delayed).unwrap();
    bench.wait("k", "b", 2, 1_200);
    bench.wait("k", "c", 3, 5_000);
    bench.pass(999);
    assert_eq!(bench.granted(), []);
    bench.pass(1);
    assert_eq!(bench.lost.len(), 1);
    assert_eq!(bench.granted(), [], "the delay is waited out");
    bench.pass(200);
    let timed_out = std::mem::take(&mut bench.settled);
    assert!(
        matches!(
            &timed_out[..],
            [Settled {
                ticket: Ticket { conn: 2, .. },
                outcome: Outcome::Refused {
                    tried: Claimed::Refused {
                        fence: 1,
                        ttl_ms: Some(100),
                        is_delayed: true,
                        ..
                    },
                    ..
                },
            }]
        ),
        "{timed_out:?}"
    );
    bench.pass(100);
    assert_eq!(bench.granted(), [(3, 2)]);
    bench.check_replay();
}

/// Goes red when a time is counted from the millisecond that has begun before.
#[test]
fn nothing_ends_before_its_time() {
    let mut bench = Bench::new();
    let at_us = |us: u64| Now {
        mono_us: us,
        ..at(us / 1_000)
    };
    bench.now = at_us(1_000_900);
    let short = |owner| Claim {
        life: Wanted::Lease(5),
        delay_ms: 5,
        ..claim(owner)
    };
    let open = Open {
        sid: b"s",
        name: b"n",
        ttl_ms: 5,
        grace_ms: 5,
        delay_ms: 0,
        is_bound: false,
        conn: 1,
    };
    bench.acquire("k", &short("a")).unwrap();
    bench.acquire("l", &claim("a")).unwrap();
    bench.wait("l", "b", 2, 5);
    bench.turn(|turn| turn.open_session(&open));
    let left = |bench: &mut Bench| bench.turn(|turn| turn.hold(&name("k"), 1)?.ttl_ms);
    assert_eq!(left(&mut bench), Some(5));
    bench.now = at_us(1_005_899);
    assert_eq!(left(&mut bench), Some(1), "it had 4.999 ms");
    assert!(bench.settled.is_empty(), "{:?}", bench.settled);
    let again = bench.turn(|turn| turn.keep_alive(b"s", 1));
    assert_eq!(again, Ok(Some(5)));
    bench.now = at_us(1_006_000);
    assert_eq!(left(&mut bench), None);
    assert_eq!(bench.settled.len(), 1);
    bench.now = at_us(1_010_999);
    let delayed = bench.acquire("k", &short("b"));
    assert!(
        matches!(
            delayed,
            Ok(Claimed::Refused {
                ttl_ms: Some(1),
                is_delayed: true,
                ..
            })
        ),
        "{delayed:?}"
    );
    bench.now = at_us(1_011_000);
    assert!(bench.turn(|turn| turn.session(b"s")).is_err());
    let granted = bench.acquire("k", &short("b"));
    assert!(
        matches!(granted, Ok(Claimed::Granted { .. })),
        "{granted:?}"
    );
    bench.check_replay();
}

/// Whatever a late turn finds ended, it ends in the order in which it was due.
#[test]
fn decision_13_what_has_ended_ends_by_deadline() {
    let mut bench = Bench::new();
    for (key, lease_ms) in [("late", 40), ("early", 20)] {
        let life = Wanted::Lease(lease_ms);
        let claim = Claim { life, ..claim("a") };
        bench.acquire(key, &claim).unwrap();
    }
    bench.wait("late", "b", 2, 1_000);
    bench.wait("early", "c", 3, 30);
    bench.wait("late", "d", 4, 30);
    bench.pass(50);
    // The lease of `early` ended before the wait for it did, and before the lease of `late`.
    let outcomes = std::mem::take(&mut bench.settled);
    let told: Vec<_> = outcomes
        .iter()
        .map(|settled| match &settled.outcome {
            Outcome::Granted { fence, .. } => (settled.ticket.conn, Some(*fence)),
            _ => (settled.ticket.conn, None),
        })
        .collect();
    assert_eq!(told, [(3, Some(3)), (4, None), (2, Some(4))]);
    // In one millisecond what frees comes before who gives up.
    let life = Wanted::Lease(20);
    let claim = Claim { life, ..claim("a") };
    bench.acquire("k", &claim).unwrap();
    bench.wait("k", "b", 5, 20);
    bench.pass(20);
    assert_eq!(bench.granted(), [(5, 6)]);
    bench.check_replay();
}

#[test]
fn all_or_none_of_several_locks() {
    let mut bench = Bench::new();
    bench.acquire("b", &claim("other")).unwrap();
    let names = ["a", "b", "a", "c"].map(name);
    let ticket = Ticket { conn: 7, call: 1 };
    let all = Claim {
        ticket,
        wait_ms: 5_000,
        ..claim("all")
    };
    let tried = bench.turn(|turn| turn.acquire_all(&names, &Claim { wait_ms: 0, ..all }));
    assert!(
        matches!(tried, Ok(Claimed::Refused { index: 1, .. })),
        "{tried:?}"
    );
    assert!(
        bench.coordinator.kind_of(0, b"a").is_none(),
        "nothing stays"
    );
    let waits = bench.turn(|turn| turn.acquire_all(&names, &all));
    assert_eq!(waits, Ok(Claimed::Parked));
    let single = bench.acquire("c", &claim("single"));
    assert!(
        matches!(single, Ok(Claimed::Refused { fence: 0, .. })),
        "nobody overtakes: {single:?}"
    );
    bench.release("b", "other");
    assert_eq!(bench.granted(), [(7, 2)]);
    let again = bench.turn(|turn| turn.acquire_all(&names, &all));
    assert_eq!(again, Ok(Claimed::Again { fence: 2 }));
    bench.release("a", "all");
    let part = bench.turn(|turn| turn.acquire_all(&names, &all));
    assert_eq!(part, Err(Refusal::HeldInPart));
    bench.check_replay();
}

#[test]
fn a_circle_of_waiting_owners_is_refused() {
    let mut bench = Bench::new();
    bench.acquire("x", &claim("a")).unwrap();
    bench.acquire("y", &claim("b")).unwrap();
    bench.acquire("z", &claim("c")).unwrap();
    bench.wait("y", "a", 1, 5_000);
    bench.wait("z", "b", 2, 5_000);
    let closing = Claim {
        wait_ms: 5_000,
        ..claim("c")
    };
    let refused = bench.acquire("x", &closing);
    let circle = Circle {
        shown: [&b"c"[..], b"a", b"b"].map(Box::from).to_vec(),
        owners: 3,
    };
    assert_eq!(refused, Err(Refusal::Deadlock(circle)));
    let tried = bench.acquire(
        "x",
        &Claim {
            wait_ms: 0,
            ..closing
        },
    );
    assert!(
        matches!(tried, Ok(Claimed::Refused { .. })),
        "a try never waits"
    );
    bench.wait("x", "d", 4, 5_000);
}

#[test]
fn a_sessions_end_is_one_step() {
    let mut bench = Bench::new();
    let open = Open {
        sid: b"secret",
        name: b"",
        ttl_ms: 1_000,
        grace_ms: 1_000,
        delay_ms: 0,
        is_bound: false,
        conn: 1,
    };
    assert_eq!(bench.turn(|turn| turn.open_session(&open)), 1);
    let by_session = |owner| Claim {
        life: Wanted::Session(b"secret"),
        ..claim(owner)
    };
    for key in ["a", "b"] {
        bench.acquire(key, &by_session("o")).unwrap();
    }
    bench.wait("a", "p", 2, 60_000);
    bench.pass(900);
    bench.turn(|turn| turn.keep_alive(b"secret", 1)).unwrap();
    bench.pass(999);
    assert_eq!(bench.granted(), []);
    bench.check_replay();
    bench.pass(1);
    assert_eq!(bench.granted(), [(2, 3)]);
    assert!(bench.coordinator.kind_of(0, b"b").is_none());
    assert_eq!(
        bench.lost.len(),
        3,
        "two holds and the session: {:?}",
        bench.lost
    );
    bench.check_replay();
}

#[test]
fn what_lives_by_a_connection_ends_with_it() {
    let mut bench = Bench::new();
    let by_conn = Claim {
        life: Wanted::Conn,
        delay_ms: 50,
        ..claim("o")
    };
    bench.acquire("a", &by_conn).unwrap();
    let extended = bench.turn(|turn| turn.extend(&name("a"), b"o", 10, None, 1));
    assert_eq!(extended, Err(Refusal::LivesWith("connection")));
    bench.wait("a", "p", 2, 60_000);
    bench.turn(|turn| turn.disconnect(1));
    assert_eq!(bench.granted(), [], "unclean: the delay is waited out");
    bench.pass(50);
    assert_eq!(bench.granted(), [(2, 2)]);
    bench.wait("a", "q", 3, 60_000);
    bench.turn(|turn| turn.disconnect(3));
    bench.release("a", "p");
    assert_eq!(bench.granted(), [], "who is gone is granted nothing");
    assert!(bench.coordinator.0.lock().conns.is_empty());
    bench.check_replay();
}

#[test]
fn depths_are_named_and_repeats_change_nothing() {
    let mut bench = Bench::new();
    let enter = |depth| Claim {
        depth: Some(depth),
        ..claim("o")
    };
    assert!(matches!(
        bench.acquire("k", &enter(2)),
        Ok(Claimed::Refused { .. })
    ));
    bench.acquire("k", &enter(1)).unwrap();
    for _ in 0..2 {
        assert_eq!(
            bench.acquire("k", &enter(2)),
            Ok(Claimed::Again { fence: 1 })
        );
    }
    assert!(matches!(
        bench.acquire("k", &enter(4)),
        Ok(Claimed::Refused { .. })
    ));
    let mut leave = |depth| bench.turn(|turn| turn.release(&name("k"), b"o", None, Some(depth)));
    assert_eq!(leave(2), Released::DepthRemains);
    assert_eq!(leave(2), Released::DepthRemains, "a repeat");
    assert_eq!(leave(1), Released::Freed);
    assert_eq!(leave(1), Released::NotHeld);
    bench.check_replay();
}

/// Two batches read the time and take their turns the other way round. Goes round for ever where
/// the earlier time counts.
#[test]
fn time_does_not_fall_from_turn_to_turn() {
    let mut bench = Bench::new();
    bench.acquire("k", &claim("o")).unwrap();
    bench.pass(1_000);
    let early = at(bench.now.engine_ms - 900);
    bench.acquire("k", &claim("o")).unwrap();
    bench.now = early;
    let short = Claim {
        life: Wanted::Lease(50),
        ..claim("p")
    };
    bench.acquire("l", &short).unwrap();
    bench.turn(|turn| assert_eq!(turn.now().engine_ms, 2_000));
    assert_eq!(bench.lost.len(), 1, "the first of k: {:?}", bench.lost);
}

#[test]
fn a_step_of_the_wall_clock_ends_no_lease() {
    let mut bench = Bench::new();
    bench.acquire("k", &claim("o")).unwrap();
    bench.now.wall_ms += 24 * 60 * 60 * 1_000;
    bench.turn(|_| ());
    assert!(bench.lost.is_empty(), "the clock was set: {:?}", bench.lost);
    bench.pass(1_000);
    assert_eq!(bench.lost.len(), 1);
}

#[test]
fn a_stale_owner_releases_nothing() {
    let mut bench = Bench::new();
    bench.acquire("k", &claim("o")).unwrap();
    bench.pass(1_000);
    bench.acquire("k", &claim("o")).unwrap();
    let released = bench.turn(|turn| turn.release(&name("k"), b"o", Some(1), None));
    assert_eq!(released, Released::NotHeld, "a stale owner");
    let extended = bench.turn(|turn| turn.extend(&name("k"), b"o", 9, Some(1), 1));
    assert_eq!(extended, Ok(Extended::NotHeld));
}

#[test]
fn fences_rise_over_a_restart() {
    let mut bench = Bench::new();
    bench.acquire("k", &claim("o")).unwrap();
    bench.release("k", "o");
    let again = coordinator();
    for effect in bench.frames.iter().flat_map(|frame| Effects::of(frame)) {
        let Ok(Effect::Coordination(change)) = effect else {
            panic!("{effect:?}");
        };
        again.apply(&change).unwrap();
    }
    let mut turn = again.turn(at(2_000), None);
    let claimed = turn.acquire(&name("k"), &claim("p"));
    let is_new = claimed == Ok(Claimed::Granted { fence: 2 });
    assert!(is_new, "{claimed:?} was given out before");
}

#[test]
fn nothing_ends_soon_after_a_stall() {
    let mut bench = Bench::new();
    bench
        .acquire(
            "short",
            &Claim {
                life: Wanted::Lease(50),
                ..claim("o")
            },
        )
        .unwrap();
    bench
        .acquire(
            "long",
            &Claim {
                life: Wanted::Lease(60_000),
                ..claim("o")
            },
        )
        .unwrap();
    // A minute stood still, of which a second counts.
    bench.now.engine_ms += 1_000;
    bench.now.mono_us += 60_000_000;
    let (engine_ms, mono_us) = (bench.now.engine_ms, bench.now.mono_us);
    bench.turn(|_| ());
    assert!(bench.lost.is_empty(), "{:?}", bench.lost);
    bench.now.engine_ms = engine_ms + 49;
    bench.now.mono_us = mono_us + 49_000;
    let extended = bench.turn(|turn| turn.extend(&name("short"), b"o", 50, None, 1));
    assert_eq!(extended, Ok(Extended::Done));
    bench.check_replay();
}

/// What a connection kept has the grace after a restart, also if the server then stands still, or
/// starts a second time from a snapshot that was cut meanwhile.
#[test]
fn what_a_connection_kept_has_its_grace_after_a_restart() {
    let mut bench = Bench::new();
    let by_conn = Claim {
        life: Wanted::Conn,
        ..claim("o")
    };
    bench.acquire("k", &by_conn).unwrap();
    bench.restart();
    bench.now.engine_ms += LEASE_GRACE_MS;
    bench.now.mono_us += (LEASE_GRACE_MS + 60_000) * 1_000;
    bench.turn(|_| ());
    assert!(bench.coordinator.is_in_use(0, b"k"), "lost after a stall");
    bench.restart();
    bench.turn(|_| ());
    assert!(bench.coordinator.is_in_use(0, b"k"), "lost at once");
    bench.now.engine_ms += LEASE_GRACE_MS;
    bench.now.mono_us += LEASE_GRACE_MS * 1_000;
    bench.turn(|_| ());
    assert!(!bench.coordinator.is_in_use(0, b"k"), "nobody came back");
}

/// A bound session has lost its connection to the restart: it lives for its grace from then on.
#[test]
fn decision_21_a_bound_session_has_its_own_grace_after_a_restart() {
    for (grace_ms, left_ms) in [(60_000, 60_000), (0, LEASE_GRACE_MS)] {
        let mut bench = Bench::new();
        bench.turn(|turn| {
            turn.open_session(&Open {
                sid: b"sid",
                name: b"",
                ttl_ms: 1_000,
                grace_ms,
                delay_ms: 0,
                is_bound: true,
                conn: 1,
            })
        });
        bench.restart();
        let left = bench.turn(|turn| turn.session(b"sid").unwrap().left_ms);
        assert_eq!(left, Some(left_ms));
        bench.pass(left_ms - 1);
        assert_eq!(bench.coordinator.totals().sessions, 1, "too early");
        bench.pass(1);
        assert_eq!(bench.coordinator.totals().sessions, 0, "nobody came back");
    }
}

/// Between two milliseconds a lease begins with the next one, and no more is told than was given.
#[test]
fn decision_06_no_more_is_told_than_was_given() {
    let mut bench = Bench::new();
    bench.now.mono_us += 1;
    let granted = bench.acquire("k", &claim("o"));
    assert_eq!(granted, Ok(Claimed::Granted { fence: 1 }));
    let kept = bench.turn(|turn| turn.kept(&name("k"), 1).map(|(_, left_ms)| left_ms));
    assert_eq!(kept, Some(Some(1_000)));
}

#[test]
fn a_semaphore_gives_out_its_permits_in_order() {
    let mut bench = Bench::new();
    let permits = |owner, count| Claim {
        share: Share::Permits { count, limit: 3 },
        ..claim(owner)
    };
    bench.acquire("s", &permits("a", 2)).unwrap();
    let large = Claim {
        wait_ms: 900,
        ticket: Ticket { conn: 2, call: 1 },
        ..permits("b", 2)
    };
    assert_eq!(bench.acquire("s", &large), Ok(Claimed::Parked));
    assert!(matches!(
        bench.acquire("s", &permits("c", 1)),
        Ok(Claimed::Refused { .. })
    ));
    let other = Claim {
        share: Share::Permits { count: 1, limit: 4 },
        ..claim("d")
    };
    assert_eq!(bench.acquire("s", &other), Err(Refusal::Limit(3)));
    assert_eq!(bench.acquire("s", &permits("d", 4)), Err(Refusal::TooMany));
    bench.turn(|turn| turn.resize(&name("s"), 4)).unwrap();
    assert_eq!(bench.granted(), [(2, 2)]);
    bench.turn(|turn| turn.resize(&name("s"), 1)).unwrap();
    assert_eq!(bench.turn(|turn| turn.free(&name("s"))), Some(-3));
    // What is pinned is not compared, but nobody asks for more than the limit of its own words.
    bench.turn(|turn| turn.resize(&name("s"), 9)).unwrap();
    assert_eq!(bench.acquire("s", &permits("e", 4)), Err(Refusal::TooMany));
    bench.turn(|turn| turn.resize(&name("s"), 1)).unwrap();
    bench.release("s", "a");
    bench.release("s", "b");
    assert_eq!(
        bench.coordinator.kind_of(0, b"s"),
        Some(Kind::Semaphore),
        "it is pinned"
    );
    bench.check_replay();
}

#[test]
fn a_latch_opens_once_and_a_barrier_again_and_again() {
    let mut bench = Bench::new();
    let ticket = |conn| Ticket { conn, call: 1 };
    let l = name("l");
    assert_eq!(
        bench.turn(|turn| turn.await_latch(&l, ticket(8), 500)),
        Ok(None)
    );
    assert_eq!(bench.turn(|turn| turn.set_latch(&l, 2, 10_000)), Ok(true));
    assert_eq!(bench.turn(|turn| turn.set_latch(&l, 2, 10_000)), Ok(false));
    for _ in 0..2 {
        assert_eq!(bench.turn(|turn| turn.count_down(&l, b"a", 1)), Ok(Some(1)));
    }
    assert_eq!(bench.turn(|turn| turn.count_down(&l, b"b", 1)), Ok(Some(0)));
    assert_eq!(bench.settled.pop().unwrap().outcome, Outcome::Opened);
    let b = name("b");
    let arrive = |conn, owner| Arrive {
        ticket: ticket(conn),
        owner,
        parties: 2,
        after: None,
        wait_ms: 500,
    };
    assert_eq!(
        bench.turn(|turn| turn.arrive(&b, &arrive(1, b"p"))),
        Ok(None)
    );
    let met = bench.turn(|turn| turn.arrive(&b, &arrive(2, b"q")));
    let generation = 1;
    assert_eq!(
        met,
        Ok(Some(Outcome::Met {
            generation,
            index: 1
        }))
    );
    assert_eq!(
        bench.settled.pop().unwrap().outcome,
        Outcome::Met {
            generation,
            index: 0
        }
    );
    let again = Arrive {
        after: Some(0),
        ..arrive(1, b"p")
    };
    let met = bench.turn(|turn| turn.arrive(&b, &again));
    assert_eq!(
        met,
        Ok(Some(Outcome::Met {
            generation,
            index: 0
        }))
    );
    bench.check_replay();
    bench.pass(60_000);
    assert!(bench.coordinator.kind_of(0, b"b").is_none());
    assert!(bench.coordinator.kind_of(0, b"l").is_none());
    bench.check_replay();
}

#[derive(Clone, Debug)]
enum Op {
    Acquire {
        key: u8,
        owner: u8,
        shared: bool,
        life: u8,
        wait_ms: u16,
        delay_ms: u8,
    },
    AcquireAll {
        keys: Vec<u8>,
        owner: u8,
        wait_ms: u16,
    },
    Permits {
        key: u8,
        owner: u8,
        count: u8,
        wait_ms: u16,
    },
    Release {
        key: u8,
        owner: u8,
    },
    Extend {
        key: u8,
        owner: u8,
    },
    Break {
        key: u8,
    },
    Open {
        session: u8,
        bound: bool,
    },
    KeepAlive {
        session: u8,
    },
    Close {
        session: u8,
    },
    Disconnect {
        conn: u8,
    },
    Latch {
        key: u8,
        owner: u8,
        op: u8,
    },
    Arrive {
        key: u8,
        owner: u8,
    },
    Pass(u16),
}

/// Joining a line must not cost a look at all who stand in it: that took a second each for ten
/// thousand. Whoever closes a circle behind all of them is found out.
#[test]
fn a_long_line_is_joined_and_looked_through_fast() {
    let coordinator = coordinator();
    let mut turn = coordinator.turn(at(1_000), None);
    let mut join = |key: &str, owner: &str, conn| {
        let ticket = Ticket { conn, call: 1 };
        let wait_ms = 1_000;
        let claim = Claim {
            ticket,
            wait_ms,
            ..claim(owner)
        };
        turn.acquire(&name(key), &claim)
    };
    assert!(matches!(join("x", "a", 1), Ok(Claimed::Granted { .. })));
    assert!(matches!(join("y", "b", 2), Ok(Claimed::Granted { .. })));
    for conn in 3..20_000 {
        assert_eq!(join("x", &format!("o{conn}"), conn), Ok(Claimed::Parked));
    }
    assert_eq!(join("y", "o3", 20_000), Ok(Claimed::Parked));
    assert_eq!(join("x", "b", 2), Err(Refusal::Deadlock(circle_of_b())));
}

/// No more of a circle than the owners that an error has room for.
fn circle_of_b() -> Circle {
    let line = (19_993..20_000).rev().map(|conn| format!("o{conn}"));
    let line = std::iter::once("b".to_owned()).chain(line);
    Circle {
        shown: line.map(|owner| owner.into_bytes().into()).collect(),
        owners: 19_998,
    }
}

const OWNERS: [&str; 4] = ["a", "b", "c", "d"];
const SIDS: [&[u8]; 2] = [b"s0", b"s1"];

fn lock(key: u8) -> Name {
    name(["x", "y", "z"][usize::from(key)])
}

fn semaphore(key: u8) -> Name {
    name(["s", "t", "u"][usize::from(key)])
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (key, owner) = (0u8..3, 0u8..4);
    let wait = prop_oneof![Just(0u16), 1u16..2_000];
    let acquire = (
        key.clone(),
        owner.clone(),
        any::<bool>(),
        0u8..5,
        wait.clone(),
        0u8..3,
    )
        .prop_map(|(key, owner, shared, life, wait_ms, delay)| Op::Acquire {
            key,
            owner,
            shared,
            life,
            wait_ms,
            delay_ms: delay * 40,
        });
    let all = (
        prop::collection::vec(0u8..3, 1..4),
        owner.clone(),
        wait.clone(),
    )
        .prop_map(|(keys, owner, wait_ms)| Op::AcquireAll {
            keys,
            owner,
            wait_ms,
        });
    let permits =
        (key.clone(), owner.clone(), 1u8..4, wait).prop_map(|(key, owner, count, wait_ms)| {
            Op::Permits {
                key,
                owner,
                count,
                wait_ms,
            }
        });
    let op = prop_oneof![
        8 => acquire,
        3 => all,
        3 => permits,
        6 => (key.clone(), owner.clone()).prop_map(|(key, owner)| Op::Release { key, owner }),
        2 => (key.clone(), owner.clone()).prop_map(|(key, owner)| Op::Extend { key, owner }),
        1 => key.clone().prop_map(|key| Op::Break { key }),
        2 => (0u8..2, any::<bool>()).prop_map(|(session, bound)| Op::Open { session, bound }),
        2 => (0u8..2).prop_map(|session| Op::KeepAlive { session }),
        1 => (0u8..2).prop_map(|session| Op::Close { session }),
        1 => (0u8..4).prop_map(|conn| Op::Disconnect { conn }),
        2 => (key.clone(), owner.clone(), 0u8..3)
            .prop_map(|(key, owner, op)| Op::Latch { key, owner, op }),
        2 => (key, owner).prop_map(|(key, owner)| Op::Arrive { key, owner }),
        4 => prop_oneof![1u16..50, 1u16..1_500].prop_map(Op::Pass),
    ];
    prop::collection::vec(op, 1..120)
}

impl Bench {
    /// The call of a connection of this owner's that waits for nothing: it waits for one thing at a
    /// time.
    fn ticket(&mut self, owner: u8) -> Ticket {
        self.calls += 1;
        let state = self.coordinator.0.lock();
        let requests = state.requests.iter();
        let waits: HashSet<u64> = requests.map(|(_, request)| request.ticket.conn).collect();
        let of_owner = [1, 11, 21].map(|first| u64::from(owner) + first);
        let free = of_owner.into_iter().find(|conn| !waits.contains(conn));
        Ticket {
            conn: free.unwrap_or(1_000 + self.calls),
            call: self.calls,
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Acquire {
                key,
                owner,
                shared,
                life,
                wait_ms,
                delay_ms,
            } => {
                let life = match life {
                    0..=2 => Wanted::Lease(u64::from(life) * 300 + 100),
                    3 => Wanted::Session(SIDS[usize::from(owner) % 2]),
                    _ => Wanted::Conn,
                };
                let shares = [Share::Exclusive, Share::Shared];
                let claim = Claim {
                    ticket: self.ticket(owner),
                    share: shares[usize::from(shared)],
                    life,
                    wait_ms: wait_ms.into(),
                    delay_ms: delay_ms.into(),
                    ..claim(OWNERS[usize::from(owner)])
                };
                let _ = self.turn(|turn| turn.acquire(&lock(key), &claim));
            }
            Op::AcquireAll {
                ref keys,
                owner,
                wait_ms,
            } => {
                let names: Vec<Name> = keys.iter().map(|key| lock(*key)).collect();
                let claim = Claim {
                    ticket: self.ticket(owner),
                    wait_ms: wait_ms.into(),
                    ..claim(OWNERS[usize::from(owner)])
                };
                let _ = self.turn(|turn| turn.acquire_all(&names, &claim));
            }
            Op::Permits {
                key,
                owner,
                count,
                wait_ms,
            } => {
                let (count, limit) = (count.into(), 3);
                let claim = Claim {
                    ticket: self.ticket(owner),
                    share: Share::Permits { count, limit },
                    wait_ms: wait_ms.into(),
                    ..claim(OWNERS[usize::from(owner)])
                };
                let _ = self.turn(|turn| turn.acquire(&semaphore(key), &claim));
            }
            ref other => self.run_other(other),
        }
    }

    /// Those that ask for no hold.
    fn run_other(&mut self, op: &Op) {
        let owner_of = |owner: u8| OWNERS[usize::from(owner)].as_bytes();
        match *op {
            Op::Release { key, owner } => {
                let owner = owner_of(owner);
                self.turn(|turn| turn.release(&lock(key), owner, None, None));
                self.turn(|turn| turn.release(&semaphore(key), owner, None, None));
            }
            Op::Extend { key, owner } => {
                let _ = self.turn(|turn| turn.extend(&lock(key), owner_of(owner), 777, None, 1));
            }
            Op::Break { key } => {
                let (fence, delay_ms) = (None, 20);
                self.turn(|turn| turn.break_holds(&lock(key), Break { fence, delay_ms }));
            }
            Op::Open { session, bound } => self.open(session, bound),
            Op::KeepAlive { session } => {
                let _ = self.turn(|turn| turn.keep_alive(SIDS[usize::from(session)], 1));
            }
            Op::Close { session } => {
                self.turn(|turn| turn.close_session(SIDS[usize::from(session)]));
            }
            Op::Disconnect { conn } => self.turn(|turn| turn.disconnect(u64::from(conn) + 1)),
            Op::Latch { key, owner, op } => {
                let name = name(["l", "m", "n"][usize::from(key)]);
                let ticket = self.ticket(owner);
                self.turn(|turn| {
                    let _ = match op {
                        0 => turn.set_latch(&name, 2, 900).map(|_| ()),
                        1 => turn.count_down(&name, owner_of(owner), 1).map(|_| ()),
                        _ => turn.await_latch(&name, ticket, 700).map(|_| ()),
                    };
                });
            }
            Op::Arrive { key, owner } => {
                let name = name(["b", "e", "f"][usize::from(key)]);
                let arrive = Arrive {
                    ticket: self.ticket(owner),
                    owner: owner_of(owner),
                    parties: 3,
                    after: Some(0),
                    wait_ms: 600,
                };
                let _ = self.turn(|turn| turn.arrive(&name, &arrive));
            }
            Op::Pass(ms) => self.pass(ms.into()),
            Op::Acquire { .. } | Op::AcquireAll { .. } | Op::Permits { .. } => {}
        }
    }

    fn open(&mut self, session: u8, is_bound: bool) {
        let sid = SIDS[usize::from(session)];
        if self.coordinator.session_of(sid).is_some() {
            return;
        }
        let open = Open {
            sid,
            name: b"n",
            ttl_ms: 500,
            grace_ms: 200,
            delay_ms: 30,
            is_bound,
            conn: u64::from(session) + 1,
        };
        self.turn(|turn| turn.open_session(&open));
    }
}

proptest! {
    /// The invariants hold after every turn, fences rise, and the effects bring back the state.
    #[test]
    fn invariants_hold_and_effects_suffice(ops in ops()) {
        let mut bench = Bench::new();
        let mut fence = 0;
        for op in &ops {
            bench.run(op);
            let last = bench.coordinator.fences().0;
            prop_assert!(last >= fence);
            fence = last;
        }
        bench.check_replay();
    }
}
