//! Random interleavings of more threads and longer histories than loom can go through: sessions
//! that end while locks are acquired, several locks at once among single ones, and connections that
//! come back while their session ends.
//!
//! Threads are workers of one engine; calls that wait are answered through outboxes, as in the
//! server. Each test runs [`ROUNDS`] interleavings, `LINCHPIN_CASES`
//! times as many where that is set, from `LINCHPIN_SEED` on, or 1; one that fails is printed.

use crate::clock::Now;
use crate::engine::coordinator::{
    Callers, Claim, Claimed, Lost, Name, Open, Outcome, Refusal, Settled, Ticket, Totals, Turn,
    Wanted,
};
use crate::engine::{Engine, Options, Share};
use crate::session::outbox::{Outbox, Post};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Wake};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};
use std::sync::Arc;

const ROUNDS: usize = 1_000;
const STACK_BYTES: usize = 1 << 20;
const CONNECTIONS: usize = 4;
const LEASE_MS: u64 = 50;
const FOREVER_MS: u64 = 1 << 40;
const SID: &[u8] = b"sid";

/// Runs a scenario in random interleavings; shuttle prints the schedule of one that fails.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("LINCHPIN_SEED").unwrap_or(1);
    let rounds = ROUNDS * number("LINCHPIN_CASES").unwrap_or(1) as usize;
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new_from_seed(seed, rounds), config).run(scenario);
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

struct Boxes([Arc<Outbox<Nobody>>; CONNECTIONS]);

impl Callers for Boxes {
    fn settle(&self, settled: Settled, frame: u64) -> bool {
        let index = settled.ticket.conn as usize - 1;
        self.0[index].post(Post::Settled(settled, frame))
    }

    fn tell(&self, _: Lost, _: u64) {}
}

/// An engine, the clock, and the outboxes of all connections, which are numbered from 1.
struct Stage {
    engine: Engine,
    engine_ms: AtomicU64,
    boxes: [Arc<Outbox<Nobody>>; CONNECTIONS],
    /// The highest fence that each lock was granted with.
    fences: Mutex<[u64; 2]>,
    /// Whether somebody is inside each lock.
    is_inside: [AtomicBool; 2],
}

fn lock(number: usize) -> Name {
    Name::new(0, &[b'x' + number as u8])
}

impl Stage {
    fn new() -> Arc<Self> {
        let options = Options {
            databases: 1,
            workers: CONNECTIONS + 1,
            shards: 1,
            hash_seed: 1,
        };
        let boxes = [(); CONNECTIONS].map(|()| Arc::new(Outbox::new(Nobody)));
        let engine = Engine::new(options, None);
        engine.set_callers(Box::new(Boxes(boxes.clone())));
        Arc::new(Self {
            engine,
            engine_ms: AtomicU64::new(1_000),
            boxes,
            fences: Mutex::new([0; 2]),
            is_inside: [AtomicBool::new(false), AtomicBool::new(false)],
        })
    }

    fn spawn(self: &Arc<Self>, act: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let stage = Arc::clone(self);
        thread::spawn(move || act(&stage))
    }

    fn turn<R>(&self, worker: usize, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let engine_ms = self.engine_ms.load(Ordering::Acquire);
        let now = Now {
            wall_ms: 9_000,
            wall_sub_us: 0,
            engine_ms,
            mono_us: engine_ms * 1_000,
        };
        self.engine.shared(worker, now).step().coordinate(act)
    }

    fn pass(&self, ms: u64) {
        self.engine_ms.fetch_add(ms, Ordering::AcqRel);
        self.turn(0, |_| ());
    }

    /// Asks for locks over a connection, and waits to be answered; the fence of the grant.
    fn acquire(&self, claim: &Claim<'_>, locks: &[usize]) -> Result<Option<u64>, Refusal> {
        let conn = claim.ticket.conn as usize;
        let names: Vec<Name> = locks.iter().map(|number| lock(*number)).collect();
        let claimed = self.turn(conn, |turn| match &names[..] {
            [name] => turn.acquire(name, claim),
            several => turn.acquire_all(several, claim),
        })?;
        let fence = match claimed {
            Claimed::Granted { fence } => fence,
            Claimed::Again { fence } => return Ok(Some(fence)),
            Claimed::Refused { .. } => return Ok(None),
            Claimed::Parked => match self.wait(conn) {
                Outcome::Granted { names: got, fence } => {
                    assert_eq!(got, names, "somebody else's locks");
                    fence
                }
                Outcome::NoSession => return Err(Refusal::NoSession),
                Outcome::Refused { .. } => return Ok(None),
                other => panic!("{other:?}"),
            },
        };
        Ok(Some(fence))
    }

    /// What the call that waits is answered. One that never is shows as a run without an end.
    fn wait(&self, conn: usize) -> Outcome {
        loop {
            let mut posts = self.boxes[conn - 1].take();
            if let Some(Post::Settled(settled, _)) = posts.pop() {
                assert!(posts.is_empty(), "answered twice: {posts:?}");
                return settled.outcome;
            }
            thread::yield_now();
        }
    }

    /// Notes a grant, which may be over by now; fences of one lock rise in the order of its holds.
    fn note_hold(&self, number: usize, fence: u64, conn: usize) -> bool {
        self.turn(conn, |turn| {
            // In the turn, so that no other grant comes between.
            let is_current = turn.is_current(&lock(number), fence);
            let highest = &mut self.fences.lock()[number];
            if is_current {
                assert!(fence >= *highest, "an older fence is current");
                *highest = fence;
            } else {
                assert!(turn.assert_current(&lock(number), fence).is_err());
            }
            is_current
        })
    }

    /// Goes into locks that no time ends, and gives them back.
    fn visit(&self, owner: &[u8], conn: usize, locks: &[usize], fence: u64) {
        for &number in locks {
            let was_inside = self.is_inside[number].swap(true, Ordering::AcqRel);
            assert!(!was_inside, "two are inside lock {number}");
        }
        thread::yield_now();
        for &number in locks {
            self.is_inside[number].store(false, Ordering::Release);
        }
        for &number in locks {
            let name = lock(number);
            self.turn(conn, |turn| turn.release(&name, owner, Some(fence), None));
        }
    }

    /// Everybody goes: nothing is left.
    fn end(&self) {
        for conn in 1..=CONNECTIONS {
            self.turn(conn, |turn| turn.disconnect(conn as u64));
        }
        self.turn(0, |turn| turn.close_session(SID));
        for _ in 0..2 {
            self.pass(2 * LEASE_MS);
        }
        assert_eq!(self.engine.coordinator().totals(), Totals::default());
    }
}

fn claim(owner: &'static [u8], conn: usize, life: Wanted<'static>) -> Claim<'static> {
    Claim {
        ticket: Ticket {
            conn: conn as u64,
            call: 1,
        },
        owner,
        share: Share::Exclusive,
        life,
        delay_ms: 0,
        value: None,
        depth: None,
        wait_ms: FOREVER_MS,
    }
}

fn open(conn: usize, grace_ms: u64, is_bound: bool) -> Open<'static> {
    Open {
        sid: SID,
        name: b"",
        ttl_ms: LEASE_MS,
        grace_ms,
        delay_ms: 0,
        is_bound,
        conn: conn as u64,
    }
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A session is kept alive by one connection, and runs out, while another acquires by it and two
/// owners with leases want the same lock. Every call is answered, and of two fences the higher is
/// the one that counts.
#[test]
fn a_session_ends_while_locks_are_acquired() {
    explore(|| {
        let stage = Stage::new();
        stage.turn(1, |turn| turn.open_session(&open(1, 0, false)));
        let keeping = stage.spawn(|stage| {
            for _ in 0..2 {
                let kept = stage.turn(1, |turn| turn.keep_alive(SID, 1));
                assert!(matches!(kept, Ok(Some(_)) | Err(Refusal::NoSession)));
            }
        });
        let by_session = stage.spawn(|stage| {
            for _ in 0..2 {
                match stage.acquire(&claim(b"s", 2, Wanted::Session(SID)), &[0]) {
                    Ok(Some(fence)) => {
                        let is_current = stage.note_hold(0, fence, 2);
                        let session = stage.turn(2, |turn| turn.session(SID));
                        assert!(is_current || session.is_err(), "lost before its session");
                        stage.turn(2, |turn| turn.release(&lock(0), b"s", Some(fence), None));
                    }
                    Ok(None) => panic!("it was to wait"),
                    Err(refusal) => assert_eq!(refusal, Refusal::NoSession),
                }
            }
        });
        let by_lease = [(3, &b"p"[..]), (4, b"q")].map(|(conn, owner)| {
            stage.spawn(move |stage| {
                let granted = stage.acquire(&claim(owner, conn, Wanted::Lease(LEASE_MS)), &[0]);
                let fence = granted.unwrap().expect("it was to wait");
                if stage.note_hold(0, fence, conn) {
                    stage.turn(conn, |turn| {
                        turn.release(&lock(0), owner, Some(fence), None)
                    });
                }
            })
        });
        let passing = stage.spawn(|stage| (0..3).for_each(|_| stage.pass(LEASE_MS - 10)));
        join(by_lease.into_iter().chain([keeping, by_session, passing]));
        stage.end();
    });
}

/// Owners go into two locks, at once or one after the other: never two into one, and each gets its
/// turn, unless waiting would close a circle.
#[test]
fn several_locks_at_once_among_single_ones() {
    explore(|| {
        let stage = Stage::new();
        let life = Wanted::Lease(FOREVER_MS);
        let several = [(1, &b"p"[..], [0, 1]), (2, b"q", [1, 0])].map(|(conn, owner, locks)| {
            stage.spawn(move |stage| {
                for _ in 0..2 {
                    let granted = stage.acquire(&claim(owner, conn, life), &locks);
                    let fence = granted.unwrap().expect("it was to wait");
                    stage.visit(owner, conn, &locks, fence);
                }
            })
        });
        let single = [(3, &b"r"[..], [0, 1]), (4, b"s", [1, 0])].map(|(conn, owner, locks)| {
            stage.spawn(move |stage| {
                let claim = claim(owner, conn, life);
                let outer = stage.acquire(&claim, &locks[..1]).unwrap().unwrap();
                match stage.acquire(&claim, &locks[1..]) {
                    Ok(inner) => stage.visit(owner, conn, &locks[1..], inner.unwrap()),
                    Err(refusal) => assert!(matches!(refusal, Refusal::Deadlock(_))),
                }
                stage.visit(owner, conn, &locks[..1], outer);
            })
        });
        join(several.into_iter().chain(single));
        stage.end();
    });
}

/// The connection of a session ends and its owner comes back over another one, by `BIND` or
/// `KEEPALIVE`, while the time of grace runs out and another waits for its lock: it has the lock
/// still, or is told that the session has ended.
#[test]
fn an_owner_comes_back_while_its_session_ends() {
    explore(|| {
        let stage = Stage::new();
        stage.turn(1, |turn| turn.open_session(&open(1, LEASE_MS, true)));
        let held = stage.acquire(&claim(b"s", 1, Wanted::Session(SID)), &[0]);
        let fence = held.unwrap().expect("it is free");
        let waiting = stage.spawn(move |stage| {
            let granted = stage.acquire(&claim(b"p", 3, Wanted::Lease(FOREVER_MS)), &[0]);
            let next = granted.unwrap().expect("it was to wait");
            assert!(next > fence);
            assert!(stage.note_hold(0, next, 3));
            stage.visit(b"p", 3, &[0], next);
        });
        let leaving = stage.spawn(|stage| stage.turn(1, |turn| turn.disconnect(1)));
        let coming = [true, false].map(|is_bind| {
            stage.spawn(move |stage| {
                let conn = 2 + 2 * usize::from(is_bind);
                stage.turn(conn, |turn| {
                    let taken_up = if is_bind {
                        turn.bind(SID, conn as u64)
                    } else {
                        turn.keep_alive(SID, conn as u64).map(|_| ())
                    };
                    let is_current = turn.is_current(&lock(0), fence);
                    assert_eq!(taken_up.is_ok(), is_current, "session and hold differ");
                });
            })
        });
        let passing = stage.spawn(|stage| (0..2).for_each(|_| stage.pass(LEASE_MS - 10)));
        join(coming.into_iter().chain([leaving, passing]));
        // It ends at last, and then the other has its turn.
        stage.turn(1, |turn| turn.close_session(SID));
        join([waiting]);
        stage.end();
    });
}
