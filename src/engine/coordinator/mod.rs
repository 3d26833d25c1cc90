//! The coordinator: locks, semaphores, latches, barriers and sessions, with their queues, their
//! deadlines and the graph of who waits for whom, behind one mutex.
//!
//! ```text
//!   Coordinator   the mutex                              mod.rs
//!    Turn         one stay behind it: one reading of time, effects, outcomes for others
//!     Object      a key: holds, queue, delay             object.rs, held.rs, queue.rs
//!                 latches and barriers                   latch.rs, barrier.rs
//!     Session     a number of holds that end together    session.rs
//!     Wheel       deadlines, on engine and on monotonic time     wheel.rs
//!     heap_bytes  what all that takes                    room.rs
//! ```
//!
//! A multi-lock, a session's end and a look for cycles are thus one step each. Where the shard of a
//! key is held as well, it was locked before; the sink comes after.
//!
//! Whoever waits holds nothing. A request is a place in one or more queues and a [`Ticket`]; the
//! step that frees an object hands it over, and leaves an outcome for the ticket.
//!
//! Invariants, after every turn:
//! - nothing that `now` has ended is still there: a turn begins by ending it, by deadline and then
//!   by arrival;
//! - the head of a queue could not be granted, and an owner has one hold and one place per object;
//! - no two objects have the same name, and an object that nothing is known of is gone;
//! - every hold that lives by a session is in the session's list, and the other way round;
//! - fences rise: a grant takes the next number, which no grant had before.
//!
//! LIMITATIONS: a turn has no bound but its work. The whole state is copied in one for a
//! snapshot, 0.1 µs an object; all that is due at one moment ends in one, 0.5 µs a lease; a flush
//! breaks all of a database in one, 1 µs a hold. For 100,000 locks that is 7, 50 and 90 ms, in
//! which nobody else takes a turn. Ends are not dealt out over several turns because they come in
//! one order, and one may hand over to whom the next would have ended: a turn that left some for
//! later could not tell the truth about its own key without looking for them.

mod apply;
mod barrier;
#[cfg(all(test, not(loom)))]
mod crowd;
#[cfg(all(test, not(loom)))]
mod double;
mod held;
mod latch;
mod lookers;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model;
mod namespace;
mod object;
mod observe;
mod pool;
mod queue;
mod room;
mod sessions;
mod turn;
mod wheel;

pub use super::extras::Kind;
pub use barrier::{Arrive, BarrierInfo};
pub use held::{Break, Claim, Claimed, Extended, Released, Wanted};
pub use namespace::{CodesTaken, Range, SafeBy};
pub use object::{Contention, Name};
pub use observe::{HoldInfo, Info, Listed, WaiterInfo};
pub use queue::Circle;
pub use sessions::{Open, SessionInfo};
pub use turn::{Callers, Lost, Outcome, Settled, Ticket, Turn};

use super::hash::KeyHasher;
use super::ledger::{Ledger, Share as Room};
use crate::clock::Now;
use crate::sync::{Mutex, Wake};
use hashbrown::HashTable;
use object::{Line, Object};
use queue::{Request, Wants};
use sessions::Session;
use slab::Slab;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wheel::Wheel;

/// Larger numbers JavaScript does not tell apart.
pub(crate) const FENCE_MAX: u64 = (1 << 53) - 1;
/// Waiting requests, unless told otherwise.
const WAITERS_MAX: usize = 100_000;
/// For how long after a restart or a stall nothing ends, unless told otherwise.
const LEASE_GRACE_MS: u64 = 10_000;

/// How long a worker's number is not to be used after its last holder's end, unless told otherwise.
const ID_BOUND_MS: u64 = 5_000;

/// Why something was not done, where that is no ordinary answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key is of another kind.
    WrongKind,
    /// There is no such session.
    NoSession,
    /// A hold with this fence is in force.
    Fenced(u64),
    /// Nobody holds it.
    NotHeld,
    /// Whoever shares a lock cannot have it alone as well.
    Upgrade,
    /// The lock lives with its session, or its connection.
    LivesWith(&'static str),
    /// Waiting would close a circle of these owners.
    Deadlock(Circle),
    /// The object has another limit, or number of parties.
    Limit(u32),
    /// More was asked for than there can ever be.
    TooMany,
    /// The owner has another number of permits.
    Permits,
    /// Some of the keys are held by their owner, and others are not.
    HeldInPart,
    /// No number can be given out that is sure not to come again.
    NotReserved,
    /// It would take memory, and there is none.
    NoRoom,
    /// There are not so many numbers left in the range.
    RangeExhausted,
    /// There are not so many codes left.
    CodesExhausted,
    /// Somebody holds something of it.
    InUse,
}

/// Bounds that are settings.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests that may wait at a time.
    pub waiters: usize,
    /// Nothing ends sooner than this after a restart or a stall, if it was given as long.
    pub lease_grace_ms: u64,
    /// No worker's number is to be used before so long after its last holder's end.
    pub id_bound_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            waiters: WAITERS_MAX,
            lease_grace_ms: LEASE_GRACE_MS,
            id_bound_ms: ID_BOUND_MS,
        }
    }
}

/// How much a coordinator keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Locks, semaphores, latches and barriers.
    pub objects: usize,
    /// Sessions, those of connections among them.
    pub sessions: usize,
    /// Calls that wait.
    pub waiters: usize,
}

/// What is due at a time of engine time.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// The hold of an object with this fence.
    Lease(u32, u64),
    /// The lock-delay of an object.
    Delay(u32),
    /// A session, by its number.
    Session(u64),
    /// A latch, or what is remembered of a barrier.
    Object(u32),
    /// A number of a pool, which has rested.
    Rest(u32, u32),
}

/// All coordination objects of an engine.
pub(crate) struct Coordinator(Mutex<State>);

#[cfg_attr(test, derive(Clone))]
struct State {
    hasher: KeyHasher,
    table: HashTable<u32>,
    objects: Slab<Object>,
    requests: Slab<Request>,
    sessions: HashMap<u64, Session>,
    sids: HashMap<Box<[u8]>, u64>,
    /// What connections have here, by their number.
    conns: HashMap<u64, Conn>,
    /// Requests of owners that stand in queues.
    waiting: HashMap<Box<[u8]>, Line>,
    /// How many holds owners have of locks that somebody waits for.
    blocking: HashMap<Box<[u8]>, u32>,
    /// Requests that wait for something to be there, by its name.
    observers: HashMap<Name, Line>,
    /// Room for the objects that a turn is to look at, lent to one turn after the other.
    to_pump: Vec<u32>,
    /// Keys tied to sessions that have ended, and objects that are gone: their entries are of no
    /// use any more.
    loose: BTreeSet<Name>,
    /// Grants that found nobody to be told of them.
    returned: Vec<Returned>,
    /// On engine time.
    lives: Wheel<Due>,
    /// On monotonic time: requests by their place.
    waits: Wheel<u32>,
    /// On engine time: keys that somebody waits for, to be looked at.
    looks: Wheel<Name>,
    bounds: Bounds,
    /// The last that were given out.
    fence: u64,
    session: u64,
    place: u64,
    /// No fence above this may be given out.
    fence_max: u64,
    /// The latest time of any turn.
    latest: Now,
    /// Monotonic time that did not count as engine time, as last seen.
    lost_ms: Option<u64>,
    /// Engine time of the last restart or stall.
    resumed_ms: u64,
    /// The last frame that changed something here.
    frame: u64,
    /// Woken when something becomes due before `sleeps_until`.
    sleeper: Option<Arc<dyn Wake>>,
    sleeps_until: (u64, u64),
    /// Bytes of all that hangs below the tables.
    heap_bytes: usize,
    tables: room::Tables,
    room: Room,
}

/// A grant that this connection was to be told of, and was not.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Returned {
    conn: u64,
    names: Vec<Name>,
    fence: u64,
}

/// What a connection has here.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Conn {
    /// Its own session.
    own: Option<u64>,
    /// Those bound to it.
    bound: Vec<u64>,
    /// The request that waits on its behalf.
    request: Option<u32>,
}

impl Conn {
    fn is_empty(&self) -> bool {
        self.own.is_none() && self.bound.is_empty() && self.request.is_none()
    }
}

impl Coordinator {
    pub(super) fn new(hash_seed: u64, ledger: &Arc<Ledger>) -> Self {
        let mut state = State {
            hasher: KeyHasher::seeded(hash_seed),
            table: HashTable::new(),
            objects: Slab::new(),
            requests: Slab::new(),
            sessions: HashMap::new(),
            sids: HashMap::new(),
            conns: HashMap::new(),
            waiting: HashMap::new(),
            blocking: HashMap::new(),
            observers: HashMap::new(),
            to_pump: Vec::new(),
            loose: BTreeSet::new(),
            returned: Vec::new(),
            lives: Wheel::new(),
            waits: Wheel::new(),
            looks: Wheel::new(),
            bounds: Bounds::default(),
            fence: 0,
            session: 0,
            place: 0,
            fence_max: FENCE_MAX,
            latest: Now::default(),
            lost_ms: None,
            resumed_ms: 0,
            frame: 0,
            sleeper: None,
            sleeps_until: (0, 0),
            heap_bytes: 0,
            tables: room::Tables::default(),
            room: Room::new(ledger),
        };
        state.report();
        Self(Mutex::new(state))
    }

    /// What kind of object a key is, if it is one. Its shard may be held.
    pub(super) fn kind_of(&self, db: u32, key: &[u8]) -> Option<Kind> {
        let state = self.0.lock();
        let id = state.find(db, key)?;
        Some(state.objects[id as usize].kind())
    }

    /// Whether something is over at this time that no turn has ended yet. May say so once where
    /// nothing is. A shard may be held. O(1).
    pub(super) fn is_behind(&self, now: Now) -> bool {
        let state = self.0.lock();
        if !state.returned.is_empty() {
            return true;
        }
        let (now_ms, mono_ms) = (now.engine_ms, now.mono_us / 1_000);
        let seen = state.latest;
        if now_ms <= seen.engine_ms && mono_ms <= seen.mono_us / 1_000 {
            return false;
        }
        state.lives.not_before_ms() <= now_ms
            || state.looks.not_before_ms() <= now_ms
            || state.waits.not_before_ms() <= mono_ms
    }

    /// Whether a session has not ended.
    pub(super) fn is_open(&self, session: u64) -> bool {
        self.0.lock().sessions.contains_key(&session)
    }

    /// The number of the session with this secret name.
    pub(super) fn session_of(&self, sid: &[u8]) -> Option<u64> {
        self.0.lock().sids.get(sid).copied()
    }

    /// Milliseconds of engine time until the object ends by itself; none where it does not.
    pub(super) fn ttl_ms(&self, db: u32, key: &[u8], now: Now) -> Option<u64> {
        let state = self.0.lock();
        let id = state.find(db, key)?;
        let ends_ms = state.ends_ms(id)?;
        (ends_ms > now.engine_ms).then(|| now.left_ms(ends_ms))
    }

    /// Whether a lock is held or in delay, or a semaphore has holders, or it is a namespace of IDs:
    /// it cannot be deleted.
    pub(super) fn is_in_use(&self, db: u32, key: &[u8]) -> bool {
        let state = self.0.lock();
        let Some(id) = state.find(db, key) else {
            return false;
        };
        let object = &state.objects[id as usize];
        let is_held = |held: &object::Held| !held.holds.is_empty() || held.delay.is_some();
        object.is_namespace() || object.held().is_some_and(is_held)
    }

    /// Whether any key of a database is an object.
    pub(super) fn is_used(&self, db: u32) -> bool {
        let state = self.0.lock();
        state.objects.iter().any(|(_, object)| object.name.db == db)
    }

    /// Whether anybody waits in a database for an object to be there. O(waiters).
    pub(super) fn is_watched(&self, db: u32) -> bool {
        let state = self.0.lock();
        let mut requests = state.requests.iter();
        requests.any(|(_, request)| match &request.wants {
            Wants::Latch(name) | Wants::Observe(name, _) => name.db == db,
            Wants::Hold { .. } | Wants::Barrier(_) | Wants::Look(..) => false,
        })
    }

    /// Something was freed of its session, or is gone: it does not go with it.
    pub(super) fn untie(&self, db: u32, key: &[u8], session: u64) {
        let mut state = self.0.lock();
        let name = Name::new(db, key);
        state.change_session(session, |session| {
            if session.keys.remove(&name) {
                session.key_bytes -= name.heap_bytes();
            }
        });
    }

    /// Something goes with a session from now on.
    pub(super) fn tie(&self, db: u32, key: &[u8], session: u64) {
        let (mut state, name) = (self.0.lock(), Name::new(db, key));
        state.change_session(session, |session| {
            let bytes = name.heap_bytes();
            if session.keys.insert(name) {
                session.key_bytes += bytes;
            }
        });
    }

    pub(super) fn note_frame(&self, frame: u64) {
        let mut state = self.0.lock();
        state.frame = state.frame.max(frame);
    }

    /// Changes the bounds.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        self.0.lock().bounds = bounds;
    }

    /// Fences up to here may be given out.
    pub(crate) fn allow_fences(&self, fence_max: u64) {
        self.0.lock().fence_max = fence_max.min(FENCE_MAX);
    }

    /// No fence up to here is given out again.
    pub(crate) fn skip_fences(&self, fence: u64) {
        let mut state = self.0.lock();
        state.fence = state.fence.max(fence);
    }

    /// The last fence that was given out, and how far they may go.
    pub(crate) fn fences(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.fence, state.fence_max)
    }

    /// How much there is. O(1).
    pub(crate) fn totals(&self) -> Totals {
        let state = self.0.lock();
        Totals {
            objects: state.objects.len(),
            sessions: state.sessions.len(),
            waiters: state.requests.len(),
        }
    }

    /// Says who is to be woken when something becomes due earlier than known.
    pub(crate) fn set_sleeper(&self, sleeper: Arc<dyn Wake>) {
        self.0.lock().sleeper = Some(sleeper);
    }

    /// Milliseconds until something is due; the sleeper is woken if that changes.
    pub(crate) fn sleep_ms(&self, now: Now) -> Option<u64> {
        let mut state = self.0.lock();
        if !state.returned.is_empty() {
            return Some(0);
        }
        let next = state.next_due();
        state.sleeps_until = next;
        let until = |at: u64, now: u64| (at != u64::MAX).then(|| at.saturating_sub(now));
        let life = until(next.0, now.engine_ms);
        let wait = until(next.1, now.mono_us / 1_000);
        life.into_iter().chain(wait).min()
    }

    /// A connection cannot be told of a grant: it is given back by the next turn, which comes soon.
    pub(crate) fn return_grant(&self, conn: u64, names: Vec<Name>, fence: u64) {
        let mut state = self.0.lock();
        state.returned.push(Returned { conn, names, fence });
        if let Some(sleeper) = &state.sleeper {
            sleeper.wake();
        }
    }

    /// Some keys whose entries are of no use any more; taken off the list.
    pub(super) fn take_loose(&self, max: usize) -> Vec<Name> {
        let mut state = self.0.lock();
        let mut names = Vec::new();
        while names.len() < max
            && let Some(name) = state.loose.pop_first()
        {
            names.push(name);
        }
        names
    }
}

impl State {
    fn find(&self, db: u32, key: &[u8]) -> Option<u32> {
        self.find_hash(self.hasher.hash(key), db, key)
    }

    fn find_hash(&self, hash: u64, db: u32, key: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| {
            let name = &self.objects[*id as usize].name;
            name.db == db && *name.key == *key
        };
        self.table.find(hash, is_it).copied()
    }

    /// The next times at which something is due, on engine and on monotonic time.
    fn next_due(&mut self) -> (u64, u64) {
        let never = u64::MAX;
        let life = self.lives.next_ms().unwrap_or(never);
        let life = life.min(self.looks.next_ms().unwrap_or(never));
        (life, self.waits.next_ms().unwrap_or(never))
    }

    fn wake_sleeper(&mut self) {
        if self.sleeps_until == (0, 0) {
            // It is awake, or will be.
            return;
        }
        let life = self.lives.not_before_ms().min(self.looks.not_before_ms());
        let wait = self.waits.not_before_ms();
        if (life < self.sleeps_until.0 || wait < self.sleeps_until.1)
            && let Some(sleeper) = &self.sleeper
        {
            self.sleeps_until = (0, 0);
            sleeper.wake();
        }
    }

    /// When an object ends by itself, in engine milliseconds.
    fn ends_ms(&self, id: u32) -> Option<u64> {
        let object = &self.objects[id as usize];
        match &object.body {
            object::Body::Held(held) => {
                let delay = held.delay.as_ref();
                let delay = delay.map(|delay| self.at_least(delay.until_ms, delay.ms));
                let ends = held.holds.iter().map(|hold| self.hold_ends_ms(hold));
                // One that does not end by itself is the last to end.
                let last = ends.map(|ends| ends.unwrap_or(u64::MAX)).max();
                last.max(delay).filter(|at| *at < u64::MAX)
            }
            object::Body::Latch(latch) => Some(latch.end_ms),
            object::Body::Range(_) | object::Body::Codes(_) => None,
            object::Body::Barrier(barrier) => {
                barrier.tripped.as_ref().map(|tripped| tripped.until_ms)
            }
        }
    }

    /// A time at which something ends that was given so long: not soon after a restart or a stall.
    fn at_least(&self, end_ms: u64, ttl_ms: u64) -> u64 {
        let grace_ms = ttl_ms.min(self.bounds.lease_grace_ms);
        end_ms.max(self.resumed_ms.saturating_add(grace_ms))
    }
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, not(loom)))]
mod id_tests;
