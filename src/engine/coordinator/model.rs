//! The protocol of locks and sessions, explored exhaustively by stateright: every state that a few
//! callers can bring about, in any order of their calls, their ends, time and restarts.
//!
//! A transition runs the coordinator itself on a copy of its state, so what is explored is the code
//! and not a second telling of it. The model adds what the callers know: who waits for what since
//! when, which fences were told, how long what was granted must last ([`world`]). After each step
//! both are compared ([`judge`]).
//!
//! States are told apart by what can still have consequences: times count from now, fences by being
//! current or not. So there are finitely many, and no bound on the length of a history is needed.
//!
//! A restart brings back what the effects tell and loses those who wait. That stands for a crash as
//! well: what was not yet on the disk was told to nobody, so the state before it is one from which
//! the restart is explored, too.
//!
//! LIMITATIONS: calls are answered in the step that settles them; the way to a connection has loom
//! models of its own. Waits are [`TTL_MS`] or so long that they never end by themselves.

mod judge;
mod world;

use crate::engine::effect::Share;
use crate::sync::atomic::{AtomicU32, Ordering};
use judge::Fault;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::sync::Arc;
use world::World;

const LOCKS: usize = 2;
/// Of leases, and of the session without signs of life.
const TTL_MS: u64 = 2;
/// Of the session, once its connection has gone.
const GRACE_MS: u64 = 1;
/// After a restart or a stall.
const LEASE_GRACE_MS: u64 = 1;
/// How long the server stands still, beside the millisecond that counts.
const STALL_MS: u64 = 4;
/// Longer than any history.
const FOREVER_MS: u64 = 1 << 30;

/// What a hold is to live by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Lease,
    Session,
    Conn,
}

/// A request that a caller may make.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// More than one: all or none.
    locks: &'static [usize],
    share: Share,
    life: Life,
    wait_ms: u64,
    delay_ms: u64,
}

/// A connection: it makes one call at a time, and comes back when it has ended.
#[derive(Clone, Copy, Debug)]
struct Caller {
    owner: &'static str,
    asks: &'static [Ask],
    /// Whether it keeps the session.
    has_session: bool,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// A caller makes one of its requests.
    Ask {
        caller: usize,
        ask: usize,
    },
    /// An owner gives a lock back, or withdraws its request.
    Release {
        owner: &'static str,
        lock: usize,
    },
    /// Whoever lost a lock last gives it back or extends it, by the fence it had.
    Stale {
        lock: usize,
    },
    /// The holder of a lease extends it.
    Extend {
        lock: usize,
    },
    /// The connection of a caller ends.
    Leave(usize),
    /// An operator ends a wait.
    Unblock(usize),
    Open(usize),
    KeepAlive(usize),
    Bind(usize),
    Close,
    /// A millisecond passes.
    Tick,
    /// The server stands still.
    Stall,
    /// The server ends and starts again.
    Restart,
}

/// Who takes part, and what happened at least once.
struct Protocol {
    callers: &'static [Caller],
    seen: Arc<AtomicU32>,
}

/// What an exploration must have come by, lest it prove nothing.
#[derive(Clone, Copy, Debug)]
enum Event {
    GrantAfterWait,
    PlaceTakenOver,
    Again,
    Deadlock,
    LostToTime,
    RestartOfHeld,
    DelayWaitedOut,
    SessionLost,
    SharedByTwo,
    SeveralAtOnce,
}

impl Protocol {
    fn note(&self, event: Event) {
        self.seen.fetch_or(1 << event as u32, Ordering::Relaxed);
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.callers.len())]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if world.fault.is_none() {
            world.list_acts(self, acts);
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        Some(world.after(self, act))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = Property::<Self>::always;
        vec![
            always("one exclusive holder at a time", |_, world| {
                world.fault != Some(Fault::TwoHolders)
            }),
            always("fences rise, over restarts too", |_, world| {
                world.fault != Some(Fault::FenceReused)
            }),
            always("nobody overtakes", |_, world| {
                world.fault != Some(Fault::Overtaken)
            }),
            always("no wake-up is lost", |_, world| {
                world.fault != Some(Fault::NotWoken)
            }),
            always("who waits is known, and answered once", |_, world| {
                world.fault != Some(Fault::Unknown)
            }),
            always("nothing ends early", |_, world| {
                world.fault != Some(Fault::Early)
            }),
            always("nothing ends late", |_, world| {
                world.fault != Some(Fault::Late)
            }),
            always("a stale owner changes nothing", |_, world| {
                world.fault != Some(Fault::StaleOwner)
            }),
            always("owners wait in circles never", |_, world| {
                world.fault != Some(Fault::Circle)
            }),
            // From every state: who may wait for ever has it once all before it have given back.
            always("nobody starves, and nothing is left", |protocol, world| {
                world.fault.is_some() || world.drains(protocol)
            }),
        ]
    }
}

/// Explores all that these callers can do; each of `events` must have happened.
fn explore(callers: &'static [Caller], events: &[Event]) {
    let seen = Arc::new(AtomicU32::new(0));
    let protocol = Protocol {
        callers,
        seen: Arc::clone(&seen),
    };
    let checker = protocol.checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    let seen = seen.load(Ordering::Relaxed);
    for event in events {
        assert!(seen & (1 << *event as u32) != 0, "{event:?} never happened");
    }
}

const fn ask(locks: &'static [usize], wait_ms: u64) -> Ask {
    Ask {
        locks,
        share: Share::Exclusive,
        life: Life::Lease,
        wait_ms,
        delay_ms: 0,
    }
}

const fn caller(owner: &'static str, asks: &'static [Ask]) -> Caller {
    Caller {
        owner,
        asks,
        has_session: false,
    }
}

/// Three owners and two locks with leases: the first retries its call over a second connection
/// while the first call may still wait, the second is two processes of one name.
#[test]
fn leases_of_owners_that_retry_and_share_a_name() {
    const WAIT: Ask = ask(&[0], FOREVER_MS);
    const CALLERS: &[Caller] = &[
        caller("a", &[ask(&[0], TTL_MS)]),
        caller("a", &[WAIT, ask(&[1], FOREVER_MS)]),
        caller("b", &[WAIT]),
        caller("b", &[ask(&[1], FOREVER_MS)]),
        caller("c", &[WAIT, ask(&[1], 0)]),
    ];
    let events = [
        Event::GrantAfterWait,
        Event::PlaceTakenOver,
        Event::Again,
        Event::Deadlock,
        Event::LostToTime,
        Event::RestartOfHeld,
    ];
    explore(CALLERS, &events);
}

/// A session that is kept alive, bound, left and closed; a hold that lives by its connection, with
/// lock-delay; those who share.
#[test]
fn sessions_connections_delays_and_sharing() {
    const BY_SESSION: Ask = Ask {
        life: Life::Session,
        ..ask(&[0], FOREVER_MS)
    };
    const BY_SESSION_TOO: Ask = Ask {
        life: Life::Session,
        ..ask(&[1], 0)
    };
    const BY_CONN: Ask = Ask {
        life: Life::Conn,
        delay_ms: 1,
        ..ask(&[0], FOREVER_MS)
    };
    const SHARED: Ask = Ask {
        share: Share::Shared,
        ..ask(&[0], FOREVER_MS)
    };
    const CALLERS: &[Caller] = &[
        Caller {
            owner: "a",
            asks: &[BY_SESSION, BY_SESSION_TOO],
            has_session: true,
        },
        caller("b", &[BY_CONN]),
        caller("c", &[SHARED]),
        caller("d", &[SHARED]),
    ];
    let events = [
        Event::GrantAfterWait,
        Event::DelayWaitedOut,
        Event::SessionLost,
        Event::SharedByTwo,
        Event::RestartOfHeld,
    ];
    explore(CALLERS, &events);
}

/// One asks for both locks at once, among others who ask for one each.
#[test]
fn all_or_none_among_single_locks() {
    const CALLERS: &[Caller] = &[
        caller("a", &[ask(&[0, 1], FOREVER_MS)]),
        caller("a", &[ask(&[1, 0], TTL_MS)]),
        caller("b", &[ask(&[0], FOREVER_MS), ask(&[1], FOREVER_MS)]),
        caller("c", &[ask(&[1], FOREVER_MS), ask(&[1, 0], FOREVER_MS)]),
    ];
    let events = [
        Event::GrantAfterWait,
        Event::PlaceTakenOver,
        Event::Deadlock,
        Event::SeveralAtOnce,
    ];
    explore(CALLERS, &events);
}
