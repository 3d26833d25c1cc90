//! One stay behind the coordinator's mutex: what time has ended ends first, then comes what was
//! asked for, and what was freed goes to whoever waits for it.

use super::object::{Body, Delay, Held, Hold, Name, Object, Tripped};
use super::room::text_bytes;
use super::{Conn, Coordinator, Due, State};
use super::{HoldInfo, Kind, Refusal};
use crate::clock::Now;
use crate::engine::effect::{Coordination, Effect, Life, Share};
use crate::engine::ids::{self, Block};
use crate::seeded::{self, Bug};
use crate::sync::MutexGuard;
use std::cell::Cell;
use std::sync::Arc;

/// Room for so many is never given back.
const ROOM_KEPT: usize = 64;
/// More room is, once less than this part of it is used.
const SPARSE_PART: usize = 8;

/// Names a call that waits: the connection, and which of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection's number.
    pub conn: u64,
    /// Which call of the connection.
    pub call: u64,
}

/// What came of a call that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has what it wanted.
    Granted {
        /// The objects: one, but for a multi-lock.
        names: Vec<Name>,
        /// The fencing token.
        fence: u64,
    },
    /// Its time is over, or a later call took its place: what a try is answered now.
    Refused {
        /// The same as that.
        tried: super::Claimed,
        /// Permits of a semaphore that nobody has.
        free: i64,
    },
    /// The session it was to live by has ended.
    NoSession,
    /// Somebody came to hold the lock that it watches, like this.
    Observed(Name, Arc<HoldInfo>),
    /// The latch is open.
    Opened,
    /// The parties of a barrier have met.
    Met {
        /// The number of the meeting.
        generation: u64,
        /// The place in order of arrival.
        index: u64,
    },
    /// The key it waits for is its own now, or has become something: it is to look.
    Look,
    /// The record that it waits for went with its database.
    Gone,
    /// It waited in vain for what has no other answer than null, or is found out by looking.
    Nothing,
    /// An operator ended it.
    Unblocked,
    /// It waited for IDs.
    Ids(Result<Block, ids::Refusal>),
}

/// An outcome for a call that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which call.
    pub ticket: Ticket,
    /// What came of it.
    pub outcome: Outcome,
}

/// News for a holder that did not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A hold was lost to time.
    Hold {
        /// The connection that last acquired or extended.
        conn: u64,
        /// What was held.
        name: Name,
        /// The fencing token.
        fence: u64,
        /// Whether an operator broke it.
        is_broken: bool,
    },
    /// A session has ended.
    Session {
        /// The connection that opened it or last kept it alive.
        conn: u64,
        /// The session.
        number: u64,
    },
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Given back.
    Clean,
    /// Its lease or session is over, or its connection gone.
    Lost {
        /// For how long its session keeps others out.
        delay_ms: u64,
    },
    /// An operator ended it.
    Broken { delay_ms: u64 },
}

/// One stay behind the mutex.
pub struct Turn<'c> {
    pub(super) state: MutexGuard<'c, State>,
    pub(super) now: Now,
    effects: Effects<'c>,
    /// The key whose entry is held, if there is one: what becomes of it is told by [`Left::key`].
    key: Option<(u32, &'c [u8])>,
    is_key_touched: bool,
    /// Whether objects and waiters may be made.
    may_grow: bool,
    /// The object that was found last: most turns ask for one, again and again.
    found: Cell<u32>,
    /// Objects to look at before the turn ends: something in their way may be gone.
    pub(super) to_pump: Vec<u32>,
    /// Other names whose watchers are to know.
    pub(super) touched: Vec<Name>,
    pub(super) settled: Vec<Settled>,
    pub(super) lost: Vec<Lost>,
    /// The namespace that this turn reserves numbers of.
    pub(super) reserving: Option<u32>,
}

/// Where effects go.
struct Effects<'c> {
    frame: Option<&'c mut Vec<u8>>,
    count: u64,
}

/// What a turn leaves behind.
#[derive(Debug, Default)]
pub(in crate::engine) struct Left {
    /// What became of the key whose entry is held, and whether its watchers are to know.
    pub(in crate::engine) key: (Option<Kind>, bool),
    /// Names whose watchers are to know, but for that key.
    pub(in crate::engine) touched: Vec<Name>,
    /// Outcomes for calls that waited.
    pub(in crate::engine) settled: Vec<Settled>,
    /// News for holders.
    pub(in crate::engine) lost: Vec<Lost>,
    /// Changes made.
    pub(in crate::engine) changes: u64,
    /// The last frame that changed something that the coordinator keeps.
    pub(in crate::engine) frame: u64,
}

/// Takes what a turn leaves for connections.
pub trait Callers: Send + Sync {
    /// A call that waited has come to an end, by this frame; answers whether there is somebody to
    /// be told.
    fn settle(&self, settled: Settled, frame: u64) -> bool;
    /// A holder has lost something, by this frame.
    fn tell(&self, lost: Lost, frame: u64);
}

impl Coordinator {
    /// Begins a turn: ends all that time has ended. Effects go into `frame`, if they are recorded.
    pub(in crate::engine) fn turn<'c>(
        &'c self,
        now: Now,
        frame: Option<&'c mut Vec<u8>>,
    ) -> Turn<'c> {
        let mut turn = self.turn_without_time(now, frame);
        turn.keep_time();
        turn.notice_stall();
        if !turn.state.returned.is_empty() {
            turn.take_returned();
        }
        turn.end_due();
        turn
    }

    /// A turn that ends nothing: for doing again what is told.
    pub(super) fn turn_without_time<'c>(
        &'c self,
        now: Now,
        frame: Option<&'c mut Vec<u8>>,
    ) -> Turn<'c> {
        let mut state = self.0.lock();
        let to_pump = std::mem::take(&mut state.to_pump);
        Turn {
            state,
            now,
            effects: Effects { frame, count: 0 },
            key: None,
            is_key_touched: false,
            may_grow: true,
            found: Cell::new(u32::MAX),
            to_pump,
            touched: Vec::new(),
            settled: Vec::new(),
            lost: Vec::new(),
            reserving: None,
        }
    }
}

impl<'c> Turn<'c> {
    /// The time of the turn.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The engine time that so many milliseconds will have passed at: nothing is given less.
    pub(super) fn in_ms(&self, ms: u64) -> u64 {
        self.now.engine_ms_up().saturating_add(ms)
    }

    /// The entry of this key is held by whoever takes the turn, and is seen to after it.
    pub(in crate::engine) fn hold_key(&mut self, key: Option<(u32, &'c [u8])>) {
        self.key = key;
    }

    /// Memory is short: what is asked for from now on gets what is there, and makes nothing.
    pub fn deny_growth(&mut self) {
        self.may_grow = false;
    }

    /// Nothing, where something may be made.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        if self.may_grow {
            Ok(())
        } else {
            Err(Refusal::NoRoom)
        }
    }

    /// The object of this name, if there is one.
    #[inline]
    pub(super) fn find(&self, name: &Name) -> Option<u32> {
        let last = self.found.get();
        let found = self.state.objects.get(last as usize);
        if found.is_some_and(|object| object.name == *name) {
            return Some(last);
        }
        let id = self.state.find(name.db, &name.key)?;
        self.found.set(id);
        Some(id)
    }

    /// Gives back grants that found nobody to be told of them.
    #[cold]
    fn take_returned(&mut self) {
        for returned in std::mem::take(&mut self.state.returned) {
            for name in returned.names {
                self.give_back(&name, returned.fence, returned.conn);
            }
        }
    }

    /// Notes that an object was changed whose watchers are to know.
    pub(super) fn touch(&mut self, id: u32) {
        let name = &self.state.objects[id as usize].name;
        if is_key(self.key, name) {
            self.is_key_touched = true;
        } else {
            let name = name.clone();
            self.touched.push(name);
        }
    }

    /// Hands over what was freed, and ends the turn; `commit` is called with the mutex held and
    /// answers the number of the frame, if there is one.
    pub(in crate::engine) fn finish(
        mut self,
        commit: impl FnOnce(&mut Vec<u8>) -> Option<u64>,
    ) -> Left {
        self.pump_all();
        self.state.shrink_if_sparse();
        self.state.report();
        self.state.wake_sleeper();
        if self.effects.count > 0
            && let Some(frame) = self.effects.frame.as_deref_mut()
            && let Some(number) = commit(frame)
        {
            self.state.frame = self.state.frame.max(number);
            let reserving = self.reserving.map(|id| id as usize);
            let object = reserving.and_then(|id| self.state.objects.get_mut(id));
            if let Some(numbers) = object.and_then(Object::numbers_mut) {
                numbers.note_frame(number);
            }
        }
        if self.to_pump.capacity() <= ROOM_KEPT {
            self.state.to_pump = std::mem::take(&mut self.to_pump);
        }
        let kind = self.key.and_then(|key| self.kind_of_key(key));
        Left {
            key: (kind, self.is_key_touched),
            touched: self.touched,
            settled: self.settled,
            lost: self.lost,
            changes: self.effects.count,
            frame: self.state.frame,
        }
    }

    /// What kind of object the key is whose entry is held.
    fn kind_of_key(&self, (db, key): (u32, &[u8])) -> Option<Kind> {
        let last = self.state.objects.get(self.found.get() as usize);
        if let Some(object) = last.filter(|object| is_key(self.key, &object.name)) {
            return Some(object.kind());
        }
        let id = self.state.find(db, key)?;
        Some(self.state.objects[id as usize].kind())
    }

    pub(super) fn emit(&mut self, change: &Coordination<'_>) {
        self.effects.emit(change);
    }

    /// Time does not fall from turn to turn, though a batch may have read it before another did
    /// that came first: what is not due at an earlier time may be over already.
    fn keep_time(&mut self) {
        let latest = &mut self.state.latest;
        self.now.engine_ms = self.now.engine_ms.max(latest.engine_ms);
        self.now.mono_us = self.now.mono_us.max(latest.mono_us);
        *latest = self.now;
    }

    /// A stall of the server does not end what lives on engine time.
    fn notice_stall(&mut self) {
        let mono_ms = self.now.mono_us / 1_000;
        // Engine time may have begun before monotonic time did.
        let lost_ms = mono_ms.wrapping_sub(self.now.engine_ms);
        let Some(seen_ms) = self.state.lost_ms.replace(lost_ms) else {
            return;
        };
        let since_ms = lost_ms.wrapping_sub(seen_ms);
        if since_ms >= u64::MAX / 2 {
            // A reading that is older than the last.
            self.state.lost_ms = Some(seen_ms);
        } else if since_ms > 0 {
            self.state.resumed_ms = self.now.engine_ms_up();
        }
    }

    /// Ends what `now` has ended, by deadline; what an end frees is handed over before the next one
    /// comes. Leases and their like end on engine time and waits on monotonic time, so what is
    /// compared is how long ago each was due. In one millisecond a wait ends last: what frees the
    /// lock it is for is not kept from it.
    fn end_due(&mut self) {
        let now_ms = if seeded::has(Bug::WallClockLeases) {
            self.now.wall_ms
        } else {
            self.now.engine_ms
        };
        let mono_ms = self.now.mono_us / 1_000;
        loop {
            let life = self.state.lives.first_due_ms(now_ms);
            let wait = self.state.waits.first_due_ms(mono_ms);
            let life_ago_ms = life.map(|at| now_ms.saturating_sub(at));
            let wait_ago_ms = wait.map(|at| mono_ms.saturating_sub(at));
            // None is less than any time that has passed.
            if life_ago_ms >= wait_ago_ms {
                let Some((at_ms, due)) = self.state.lives.pop(now_ms) else {
                    break;
                };
                self.end_one(at_ms, due);
            } else if let Some((_, request)) = self.state.waits.pop(mono_ms) {
                self.time_out(request);
            }
            self.pump_all();
        }
        if !self.to_pump.is_empty() {
            self.pump_all();
        }
    }

    fn end_one(&mut self, at_ms: u64, due: Due) {
        let ends_ms = match due {
            Due::Lease(id, fence) => self.lease_ends_ms(id, fence),
            Due::Delay(id) => {
                let held = self.state.objects.get(id as usize).and_then(Object::held);
                let delay = held.and_then(|held| held.delay.as_ref());
                delay.map(|delay| self.state.at_least(delay.until_ms, delay.ms))
            }
            Due::Session(number) => self.state.session_ends_ms(number),
            Due::Object(_) | Due::Rest(..) => Some(at_ms),
        };
        let is_by_wall = seeded::has(Bug::WallClockLeases);
        let is_later = |ends: &u64| *ends > self.now.engine_ms && !is_by_wall;
        if let Some(ends_ms) = ends_ms.filter(is_later) {
            let timer = self.state.lives.insert(ends_ms, due);
            self.state.set_timer(due, timer);
            return;
        }
        match due {
            Due::Lease(id, fence) => {
                self.state.clear_hold_timer(id, fence);
                self.end_hold(id, fence, End::Lost { delay_ms: 0 });
            }
            Due::Delay(id) => self.end_delay(id, false),
            Due::Session(number) => self.end_session_lost(number),
            Due::Object(id) => self.forget(id, false),
            Due::Rest(id, number) => self.end_rest(id, number),
        }
    }

    fn lease_ends_ms(&self, id: u32, fence: u64) -> Option<u64> {
        let held = self.state.objects.get(id as usize)?.held()?;
        let hold = held.holds.get(held.of_fence(fence)?)?;
        self.state.hold_ends_ms(hold)
    }

    /// Takes the object's place in all that is kept of it where nothing is known of it any more.
    pub(super) fn retire_if_empty(&mut self, id: u32) {
        let Some(object) = self.state.objects.get(id as usize) else {
            return;
        };
        if !object.is_empty() {
            return;
        }
        let object = self.state.objects.remove(id as usize);
        let found = self
            .state
            .table
            .find_entry(object.hash, |other| *other == id);
        if let Ok(place) = found {
            place.remove();
        }
        let slots_bytes = object.held().map_or(0, Held::slots_bytes);
        self.state.heap_bytes -= object.name.heap_bytes() + slots_bytes;
        // An entry that is held is removed at once.
        if !is_key(self.key, &object.name) {
            self.state.loose.insert(object.name);
        }
    }

    /// The object of this name, made if there is none.
    pub(super) fn object(&mut self, name: &Name, body: impl FnOnce() -> Body) -> u32 {
        let hash = self.state.hasher.hash(&name.key);
        if let Some(id) = self.state.find_hash(hash, name.db, &name.key) {
            return id;
        }
        self.state.heap_bytes += name.heap_bytes();
        if !self.state.loose.is_empty() {
            self.state.loose.remove(name);
        }
        let object = Object {
            name: name.clone(),
            hash,
            body: body(),
            queue: super::object::Line::new(),
            contention: super::Contention::default(),
        };
        let state = &mut *self.state;
        let id = state.objects.insert(object) as u32;
        let objects = &state.objects;
        state
            .table
            .insert_unique(hash, id, |id| objects[*id as usize].hash);
        self.found.set(id);
        id
    }

    /// Gives an object to an owner.
    pub(super) fn grant(&mut self, id: u32, mut hold: Hold) {
        let fence = hold.fence;
        if matches!(hold.share, Share::Number { .. }) {
            self.number_hold(id, &mut hold);
        }
        let object = &mut self.state.objects[id as usize];
        object.contention.grants += 1;
        self.effects.emit(&hold.as_effect(&object.name));
        self.state.put_hold(id, hold);
        if !self.state.observers.is_empty() {
            let name = self.state.objects[id as usize].name.clone();
            self.wake_observers(&name, fence);
        }
        self.touch(id);
    }

    /// Ends a hold, if it is there; answers whether it was.
    pub(super) fn end_hold(&mut self, id: u32, fence: u64, end: End) -> bool {
        let Some(hold) = self.state.take_hold(id, fence) else {
            return false;
        };
        let name = &self.state.objects[id as usize].name;
        self.effects.emit(&Coordination::EndHold {
            db: name.db,
            key: &name.key,
            fence,
        });
        let delay_ms = match end {
            End::Clean => 0,
            End::Lost { delay_ms } => delay_ms.max(hold.delay_ms),
            End::Broken { delay_ms } => delay_ms,
        };
        if end != End::Clean && hold.conn != 0 {
            let is_broken = matches!(end, End::Broken { .. });
            let (conn, name) = (hold.conn, name.clone());
            self.lost.push(Lost::Hold {
                conn,
                name,
                fence,
                is_broken,
            });
        }
        match hold.share {
            Share::Exclusive | Share::Shared if delay_ms > 0 => {
                self.begin_delay(id, &hold, delay_ms);
            }
            Share::Number { .. } => self.rest_number(id, &hold, end),
            _ => {}
        }
        self.touch(id);
        self.to_pump.push(id);
        true
    }

    /// Keeps others out of a lock; a delay that lasts longer stays.
    fn begin_delay(&mut self, id: u32, lost: &Hold, delay_ms: u64) {
        let until_ms = self.in_ms(delay_ms);
        let held = self.state.objects[id as usize].held();
        let old = held.and_then(|held| held.delay.as_ref());
        let admits_shared = lost.share == Share::Shared;
        let lasts = |old: &Delay| old.until_ms >= until_ms && old.admits_shared <= admits_shared;
        if old.is_some_and(lasts) {
            return;
        }
        self.end_delay(id, true);
        let timer = self.state.lives.insert(until_ms, Due::Delay(id));
        self.state.heap_bytes += text_bytes(&lost.owner);
        let delay = Delay {
            until_ms,
            ms: delay_ms,
            fence: lost.fence,
            owner: lost.owner.clone(),
            admits_shared,
            timer,
        };
        let object = &mut self.state.objects[id as usize];
        self.effects.emit(&delay.as_effect(&object.name));
        if let Some(held) = object.held_mut() {
            held.delay = Some(delay);
        }
    }

    /// Ends the delay of a lock, if there is one, whose timer is still set or not.
    pub(super) fn end_delay(&mut self, id: u32, has_timer: bool) {
        let Some(object) = self.state.objects.get_mut(id as usize) else {
            return;
        };
        let Some(delay) = object.held_mut().and_then(|held| held.delay.take()) else {
            return;
        };
        self.effects.emit(&Coordination::EndDelay {
            db: object.name.db,
            key: &object.name.key,
        });
        self.state.heap_bytes -= text_bytes(&delay.owner);
        if has_timer {
            self.state.lives.remove(delay.timer);
        }
        self.to_pump.push(id);
    }

    /// Forgets a latch, the last meeting of a barrier, that a semaphore was pinned, or a namespace.
    pub(super) fn forget(&mut self, id: u32, has_timer: bool) {
        let mut bytes = 0;
        let object = &mut self.state.objects[id as usize];
        let (timer, is_latch) = match &mut object.body {
            Body::Range(_) | Body::Codes(_) => (None, false),
            Body::Latch(latch) => (Some(latch.timer), true),
            Body::Barrier(barrier) => {
                let tripped = barrier.tripped.take();
                bytes = tripped.as_ref().map_or(0, Tripped::heap_bytes);
                (tripped.map(|tripped| tripped.timer), false)
            }
            Body::Held(held) => {
                if let Some(limit) = &mut held.limit {
                    limit.is_pinned = false;
                }
                (None, false)
            }
        };
        let name = object.name.clone();
        self.state.heap_bytes -= bytes;
        self.effects.emit(&Coordination::Forget {
            db: name.db,
            key: &name.key,
        });
        if let Some(timer) = timer.filter(|_| has_timer) {
            self.state.lives.remove(timer);
        }
        if is_latch {
            self.end_latch(id);
        }
        if self.state.objects[id as usize].is_namespace() {
            self.clear_namespace(id);
        }
        self.touch(id);
        self.to_pump.push(id);
    }

    /// The next fencing token.
    pub(super) fn next_fence(&mut self) -> Option<u64> {
        let state = &mut *self.state;
        if state.fence >= state.fence_max {
            return None;
        }
        state.fence += 1;
        Some(state.fence)
    }

    pub(super) fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.settled.push(Settled { ticket, outcome });
    }

    pub(super) fn conn(&mut self, number: u64) -> &mut Conn {
        self.state.conns.entry(number).or_default()
    }

    pub(super) fn drop_conn_if_empty(&mut self, number: u64) {
        if self.state.conns.get(&number).is_some_and(Conn::is_empty) {
            self.state.conns.remove(&number);
        }
    }

    /// What kind of object a name is.
    #[must_use]
    pub fn kind(&self, name: &Name) -> Option<Kind> {
        let id = self.find(name)?;
        Some(self.state.objects[id as usize].kind())
    }
}

fn is_key(key: Option<(u32, &[u8])>, name: &Name) -> bool {
    key.is_some_and(|(db, key)| db == name.db && *key == *name.key)
}

impl Effects<'_> {
    fn emit(&mut self, change: &Coordination<'_>) {
        self.count += 1;
        if let Some(frame) = self.frame.as_deref_mut() {
            Effect::Coordination(*change).push_to(frame);
        }
    }
}

impl State {
    /// When a hold ends by itself; none for one that its session or connection keeps.
    pub(super) fn hold_ends_ms(&self, hold: &Hold) -> Option<u64> {
        match hold.life {
            Life::Lease { end_ms } => Some(self.at_least(end_ms, hold.ttl_ms)),
            Life::Session { number } => self.session_ends_ms(number),
        }
    }

    /// Gives a hold, whose timer is not set, to its object, its session and the wheel.
    pub(super) fn put_hold(&mut self, id: u32, mut hold: Hold) {
        let fence = hold.fence;
        match hold.life {
            Life::Lease { end_ms } => {
                hold.timer = Some(self.lives.insert(end_ms, Due::Lease(id, fence)));
            }
            Life::Session { number } => self.change_session(number, |session| {
                session.holds.insert((id, fence));
            }),
        }
        self.note_hold(id, &hold.owner, 1);
        self.heap_bytes += hold.heap_bytes();
        if let Some(held) = self.objects[id as usize].held_mut() {
            let before = held.slots_bytes();
            if held.holds.is_empty() {
                // Most have one at a time.
                held.holds.reserve_exact(1);
            }
            held.holds.push(hold);
            self.heap_bytes += held.slots_bytes() - before;
        }
    }

    /// Takes a hold off its object, its session and the wheel.
    pub(super) fn take_hold(&mut self, id: u32, fence: u64) -> Option<Hold> {
        let held = self.objects.get_mut(id as usize)?.held_mut()?;
        let at = held.of_fence(fence)?;
        let hold = held.holds.remove(at);
        self.heap_bytes -= hold.heap_bytes();
        self.note_hold(id, &hold.owner, -1);
        if let Some(timer) = hold.timer {
            self.lives.remove(timer);
        }
        if let Life::Session { number } = hold.life {
            self.change_session(number, |session| {
                session.holds.remove(&(id, fence));
            });
        }
        Some(hold)
    }

    fn clear_hold_timer(&mut self, id: u32, fence: u64) {
        if let Some(hold) = self.hold_mut(id, fence) {
            hold.timer = None;
        }
    }

    pub(super) fn hold_mut(&mut self, id: u32, fence: u64) -> Option<&mut Hold> {
        let held = self.objects.get_mut(id as usize)?.held_mut()?;
        let at = held.of_fence(fence)?;
        held.holds.get_mut(at)
    }

    /// Notes the timer of what was not due after all.
    fn set_timer(&mut self, due: Due, timer: super::wheel::TimerId) {
        match due {
            Due::Lease(id, fence) => {
                if let Some(hold) = self.hold_mut(id, fence) {
                    hold.timer = Some(timer);
                }
            }
            Due::Delay(id) => {
                let held = self.objects[id as usize].held_mut();
                if let Some(delay) = held.and_then(|held| held.delay.as_mut()) {
                    delay.timer = timer;
                }
            }
            Due::Session(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.timer = Some(timer);
                }
            }
            Due::Rest(..) => {}
            Due::Object(id) => match &mut self.objects[id as usize].body {
                Body::Latch(latch) => latch.timer = timer,
                Body::Barrier(barrier) => {
                    if let Some(tripped) = &mut barrier.tripped {
                        tripped.timer = timer;
                    }
                }
                Body::Held(_) | Body::Range(_) | Body::Codes(_) => {}
            },
        }
    }

    /// Gives back the room of a crowd that has gone. It is seen at the end of each turn, and costs
    /// no more than the crowd did.
    fn shrink_if_sparse(&mut self) {
        if is_sparse(self.objects.len(), self.objects.capacity()) && self.objects.is_empty() {
            self.objects.shrink_to_fit();
            self.table.shrink_to(0, |_| 0);
        }
        if is_sparse(self.requests.len(), self.requests.capacity()) && self.requests.is_empty() {
            self.requests.shrink_to_fit();
        }
        self.lives.shrink_if_sparse();
        self.waits.shrink_if_sparse();
        self.looks.shrink_if_sparse();
        shrink_map(&mut self.sessions);
        shrink_map(&mut self.sids);
        shrink_map(&mut self.conns);
        shrink_map(&mut self.waiting);
        shrink_map(&mut self.blocking);
        shrink_map(&mut self.observers);
    }
}

/// Whether so many have far more room than they need.
pub(super) fn is_sparse(count: usize, capacity: usize) -> bool {
    capacity > ROOM_KEPT && capacity / SPARSE_PART > count
}

fn shrink_map<K: Eq + std::hash::Hash, V>(map: &mut std::collections::HashMap<K, V>) {
    if is_sparse(map.len(), map.capacity()) {
        map.shrink_to(ROOM_KEPT.max(2 * map.len()));
    }
}

impl Hold {
    pub(super) fn as_effect<'a>(&'a self, name: &'a Name) -> Coordination<'a> {
        Coordination::Hold {
            db: name.db,
            key: &name.key,
            fence: self.fence,
            owner: &self.owner,
            share: self.share,
            depth: self.depth,
            life: self.life,
            ttl_ms: self.ttl_ms,
            delay_ms: self.delay_ms,
            value: self.value.as_deref(),
            since_ms: self.since_ms,
        }
    }
}

impl Delay {
    pub(super) fn as_effect<'a>(&'a self, name: &'a Name) -> Coordination<'a> {
        Coordination::Delay {
            db: name.db,
            key: &name.key,
            until_ms: self.until_ms,
            ms: self.ms,
            fence: self.fence,
            owner: &self.owner,
            admits_shared: self.admits_shared,
        }
    }
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}
