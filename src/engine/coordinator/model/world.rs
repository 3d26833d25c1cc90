//! A state of the model: the coordinator, and what callers know of it.

use super::judge::{Fault, Seen, circle};
use super::{
    Act, Caller, Event, FOREVER_MS, GRACE_MS, LEASE_GRACE_MS, LOCKS, Life, Protocol, STALL_MS,
    TTL_MS,
};
use crate::clock::Now;
use crate::engine::coordinator::{
    Bounds, Claim, Claimed, Coordinator, Extended, Name, Open, Outcome, Refusal, Released, Settled,
    Ticket, Turn, Wanted,
};
use crate::engine::effect::{Effect, Effects};
use crate::engine::ledger::Ledger;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, Wake};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The secret name of the only session.
pub(super) const SID: &[u8] = b"sid";
/// More rounds than there can be waiters before one another.
const ROUNDS_MAX: usize = 12;

/// Rings where the task that ends what is due sleeps.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) ask: usize,
    pub(super) number: u64,
    /// Monotonic milliseconds.
    pub(super) until_ms: u64,
}

/// How long a hold must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// Until this engine time.
    Until(u64),
    /// As long as the session.
    Session,
    /// As long as the connection of this caller.
    Conn(usize),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) coordinator: Coordinator,
    pub(super) now: Now,
    bell: Arc<Bell>,
    /// Monotonic milliseconds until which the task sleeps, unless it is woken.
    sleeps_until_ms: u64,
    /// By caller.
    pub(super) calls: Vec<Option<Call>>,
    /// Callers that wait at each lock, in the order that they were promised.
    pub(super) lines: [Vec<usize>; LOCKS],
    /// What the coordinator has, as last seen.
    pub(super) seen: Seen,
    /// The highest fence that anybody was told.
    pub(super) fence: u64,
    /// Who lost each lock last, and the fence it had.
    pub(super) stale: [Option<(Box<[u8]>, u64)>; LOCKS],
    pub(super) lasts: BTreeMap<(usize, u64), Lasts>,
    /// Until when nobody may have a lock alone.
    pub(super) delays_ms: [u64; LOCKS],
    /// Until when the session must last, while there is one.
    pub(super) session_ms: Option<u64>,
    /// The caller that it is bound to.
    pub(super) bound: Option<usize>,
    /// Holds that this step may end, though their time is not over.
    pub(super) excused: Vec<(usize, u64)>,
    /// Calls that waited and were granted in this step.
    granted: Vec<u64>,
    calls_made: u64,
    pub(super) fault: Option<Fault>,
    print: Vec<u8>,
}

pub(super) fn lock_name(lock: usize) -> Name {
    Name::new(0, &[b'x' + lock as u8])
}

/// Connections are numbered from 1.
fn conn(caller: usize) -> u64 {
    caller as u64 + 1
}

impl World {
    pub(super) fn new(callers: usize) -> Self {
        let mut world = Self {
            coordinator: Coordinator::new(1, &Arc::new(Ledger::new())),
            now: Now {
                wall_ms: 9_000,
                wall_sub_us: 0,
                engine_ms: 1_000,
                mono_us: 1_000_000,
            },
            bell: Arc::default(),
            sleeps_until_ms: u64::MAX,
            calls: vec![None; callers],
            lines: Default::default(),
            seen: Seen::default(),
            fence: 0,
            stale: Default::default(),
            lasts: BTreeMap::new(),
            delays_ms: [0; LOCKS],
            session_ms: None,
            bound: None,
            excused: Vec::new(),
            granted: Vec::new(),
            calls_made: 0,
            fault: None,
            print: Vec::new(),
        };
        world.bounds();
        world.begin_task();
        world
    }

    fn bounds(&self) {
        self.coordinator.set_bounds(Bounds {
            lease_grace_ms: LEASE_GRACE_MS,
            ..Bounds::default()
        });
    }

    /// The task that ends what is due begins to sleep.
    fn begin_task(&mut self) {
        let sleeper = Arc::clone(&self.bell) as Arc<dyn Wake>;
        self.coordinator.set_sleeper(sleeper);
        self.sleep();
    }

    fn sleep(&mut self) {
        self.bell.0.store(false, Ordering::Relaxed);
        let sleep_ms = self.coordinator.sleep_ms(self.now);
        let mono_ms = self.now.mono_us / 1_000;
        self.sleeps_until_ms = sleep_ms.map_or(u64::MAX, |ms| mono_ms + ms);
    }

    /// What the task does when it is woken, or has slept enough.
    fn run_task(&mut self, protocol: &Protocol) {
        let mono_ms = self.now.mono_us / 1_000;
        while self.bell.0.load(Ordering::Relaxed) || self.sleeps_until_ms <= mono_ms {
            self.turn(protocol, |_| ());
            self.sleep();
            if self.sleeps_until_ms <= mono_ms {
                // It would go round for ever.
                self.blame(Fault::Late);
                break;
            }
        }
    }

    pub(super) fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn is_idle(&self, caller: usize) -> bool {
        self.calls[caller].is_none()
    }

    /// All that may happen next.
    pub(super) fn list_acts(&self, protocol: &Protocol, acts: &mut Vec<Act>) {
        for (number, caller) in protocol.callers.iter().enumerate() {
            if self.is_idle(number) {
                let asks = 0..caller.asks.len();
                acts.extend(asks.map(|ask| Act::Ask {
                    caller: number,
                    ask,
                }));
                if caller.has_session {
                    acts.push(match self.session_ms {
                        None => Act::Open(number),
                        Some(_) => Act::KeepAlive(number),
                    });
                    acts.extend(self.session_ms.map(|_| Act::Bind(number)));
                    acts.extend(self.session_ms.map(|_| Act::Close));
                }
            } else {
                acts.push(Act::Unblock(number));
            }
            let is_kept = |lasts: &Lasts| *lasts == Lasts::Conn(number);
            let has_more = self.bound == Some(number) || self.lasts.values().any(is_kept);
            if !self.is_idle(number) || has_more {
                acts.push(Act::Leave(number));
            }
        }
        for lock in 0..LOCKS {
            self.list_acts_of(protocol, lock, acts);
        }
        acts.extend([Act::Tick, Act::Restart]);
        // Leases alone a stall treats as a restart does.
        if self.seen.is_held() && protocol.callers.iter().any(|caller| caller.has_session) {
            acts.push(Act::Stall);
        }
    }

    fn list_acts_of(&self, protocol: &Protocol, lock: usize, acts: &mut Vec<Act>) {
        let mut owners: Vec<&str> = Vec::new();
        for caller in protocol.callers {
            let is_in_line = self.lines[lock]
                .iter()
                .any(|other| protocol.callers[*other].owner == caller.owner);
            let is_holder = self.seen.holder(lock, caller.owner).is_some();
            if (is_in_line || is_holder) && !owners.contains(&caller.owner) {
                owners.push(caller.owner);
                let owner = caller.owner;
                acts.push(Act::Release { owner, lock });
            }
        }
        if self.stale[lock].is_some() {
            acts.push(Act::Stale { lock });
        }
        if self.seen.locks[lock]
            .holds
            .first()
            .is_some_and(|hold| hold.is_lease)
        {
            acts.push(Act::Extend { lock });
        }
    }

    /// The state after something has happened.
    pub(super) fn after(&self, protocol: &Protocol, act: Act) -> Self {
        let mut next = self.clone();
        next.excused.clear();
        next.granted.clear();
        match act {
            Act::Ask { caller, ask } => next.ask(protocol, caller, ask),
            Act::Release { owner, lock } => next.release(protocol, owner, lock),
            Act::Stale { lock } => next.act_stale(protocol, lock),
            Act::Extend { lock } => next.extend(protocol, lock),
            Act::Leave(caller) => next.leave(protocol, caller),
            Act::Unblock(caller) => {
                let unblocked = next.turn(protocol, |turn| turn.unblock(conn(caller), true));
                if !unblocked || !next.is_idle(caller) {
                    next.blame(Fault::Unknown);
                }
            }
            Act::Open(_) | Act::KeepAlive(_) | Act::Bind(_) | Act::Close => {
                next.act_on_session(protocol, act);
            }
            Act::Tick => {
                next.now.engine_ms += 1;
                next.now.mono_us += 1_000;
            }
            Act::Stall => {
                next.now.engine_ms += 1;
                next.now.mono_us += (1 + STALL_MS) * 1_000;
                next.grant_grace();
            }
            Act::Restart => next.restart(protocol),
        }
        next.run_task(protocol);
        next.judge(protocol, self);
        next.fingerprint();
        next
    }

    /// A turn of the coordinator; what it settles reaches the callers at once.
    fn turn<R>(&mut self, protocol: &Protocol, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let mut turn = self.coordinator.turn(self.now, None);
        let answer = act(&mut turn);
        let left = turn.finish(|_| None);
        for settled in left.settled {
            self.settle(protocol, &settled);
        }
        answer
    }

    /// A call that waited is answered.
    fn settle(&mut self, protocol: &Protocol, settled: &Settled) {
        let caller = settled.ticket.conn as usize - 1;
        let call = self.calls[caller].take();
        let Some(call) = call.filter(|call| call.number == settled.ticket.call) else {
            self.blame(Fault::Unknown);
            return;
        };
        for line in &mut self.lines {
            line.retain(|other| *other != caller);
        }
        let ask = &protocol.callers[caller].asks[call.ask];
        if ask.life == Life::Session {
            // A call that waits keeps its session alive.
            self.note_sign_of_life();
        }
        match &settled.outcome {
            Outcome::Granted { names, fence } => {
                protocol.note(Event::GrantAfterWait);
                self.granted.push(call.number);
                let wanted: Vec<Name> = ask.locks.iter().map(|lock| lock_name(*lock)).collect();
                if *names != wanted {
                    self.blame(Fault::Unknown);
                }
                self.note_grant(caller, ask.locks, ask.life, *fence);
            }
            Outcome::Refused { .. } if call.until_ms <= self.now.mono_us / 1_000 => {}
            Outcome::NoSession if self.session_ms.is_none() => {}
            // A later call took its place, its owner withdrew it, or an operator ended it; each of
            // them says so where it happens.
            Outcome::Refused { .. } | Outcome::Unblocked => {}
            _ => self.blame(Fault::Unknown),
        }
    }

    fn note_sign_of_life(&mut self) {
        if let Some(until_ms) = &mut self.session_ms
            && self.bound.is_none()
        {
            *until_ms = self.now.engine_ms + TTL_MS;
        }
    }

    /// An owner has what it wanted, or had it before.
    fn note_grant(&mut self, caller: usize, locks: &[usize], life: Life, fence: u64) {
        for &lock in locks {
            let lasts = match life {
                Life::Lease => {
                    let until_ms = self.now.engine_ms + TTL_MS;
                    let old = self.lasts.get(&(lock, fence));
                    match old {
                        Some(Lasts::Until(old)) => Lasts::Until(until_ms.max(*old)),
                        _ => Lasts::Until(until_ms),
                    }
                }
                Life::Session => Lasts::Session,
                Life::Conn => Lasts::Conn(caller),
            };
            self.lasts.insert((lock, fence), lasts);
        }
        if life == Life::Session {
            self.note_sign_of_life();
        }
    }

    fn ask(&mut self, protocol: &Protocol, caller: usize, number: usize) {
        let Caller { owner, asks, .. } = protocol.callers[caller];
        let ask = &asks[number];
        let lines = self.lines.clone();
        self.calls_made += 1;
        let call = Call {
            ask: number,
            number: self.calls_made,
            until_ms: self.now.mono_us / 1_000 + ask.wait_ms,
        };
        let claim = Claim {
            ticket: Ticket {
                conn: conn(caller),
                call: call.number,
            },
            owner: owner.as_bytes(),
            share: ask.share,
            life: match ask.life {
                Life::Lease => Wanted::Lease(TTL_MS),
                Life::Session => Wanted::Session(SID),
                Life::Conn => Wanted::Conn,
            },
            delay_ms: ask.delay_ms,
            value: None,
            depth: None,
            wait_ms: ask.wait_ms,
        };
        let names: Vec<Name> = ask.locks.iter().map(|lock| lock_name(*lock)).collect();
        let claimed = self.turn(protocol, |turn| match &names[..] {
            [name] => turn.acquire(name, &claim),
            several => turn.acquire_all(several, &claim),
        });
        match claimed {
            Ok(Claimed::Parked) => self.join(protocol, caller, call, lines),
            Ok(Claimed::Granted { fence }) => {
                if ask.locks.len() > 1 {
                    protocol.note(Event::SeveralAtOnce);
                }
                self.note_grant(caller, ask.locks, ask.life, fence);
            }
            Ok(Claimed::Again { fence }) => {
                protocol.note(Event::Again);
                if fence > self.fence {
                    self.blame(Fault::FenceReused);
                }
                self.note_grant(caller, ask.locks, ask.life, fence);
            }
            Ok(Claimed::Refused { .. }) => {
                if self.lines.iter().any(|line| line.contains(&caller)) {
                    self.blame(Fault::Unknown);
                }
            }
            Err(Refusal::Deadlock(_)) => {
                protocol.note(Event::Deadlock);
                let is_unchanged = self.lines == lines;
                self.join(protocol, caller, call, lines.clone());
                let has_circle = circle(protocol, self, &self.seen);
                (self.lines, self.calls[caller]) = (lines, None);
                if !has_circle || !is_unchanged {
                    self.blame(Fault::Circle);
                }
            }
            Err(Refusal::NoSession) if self.session_ms.is_none() => {}
            Err(Refusal::HeldInPart | Refusal::Upgrade) => {}
            Err(_) => self.blame(Fault::Unknown),
        }
    }

    /// A call has begun to wait, where its owner waited before or at the end; `lines` are those
    /// before it came.
    fn join(
        &mut self,
        protocol: &Protocol,
        caller: usize,
        call: Call,
        mut lines: [Vec<usize>; LOCKS],
    ) {
        let owner = protocol.callers[caller].owner;
        let mut displaced = Vec::new();
        for &lock in protocol.callers[caller].asks[call.ask].locks {
            let is_own = |other: &usize| protocol.callers[*other].owner == owner;
            match lines[lock].iter().position(is_own) {
                Some(place) => {
                    displaced.push(lines[lock][place]);
                    lines[lock][place] = caller;
                }
                None => lines[lock].push(caller),
            }
        }
        for line in &mut lines {
            line.retain(|other| !displaced.contains(other));
        }
        if !displaced.is_empty() {
            protocol.note(Event::PlaceTakenOver);
        }
        // Who was settled meanwhile has left.
        for line in &mut lines {
            line.retain(|other| *other == caller || self.calls[*other].is_some());
        }
        self.lines = lines;
        self.calls[caller] = Some(call);
    }

    fn release(&mut self, protocol: &Protocol, owner: &'static str, lock: usize) {
        let holder = self.seen.holder(lock, owner);
        self.excused.extend(holder.map(|fence| (lock, fence)));
        let released = self.turn(protocol, |turn| {
            turn.release(&lock_name(lock), owner.as_bytes(), None, None)
        });
        let is_in_line = |caller: &usize| protocol.callers[*caller].owner == owner;
        let was_held = released == Released::Freed;
        if was_held != holder.is_some() || (!was_held && self.lines[lock].iter().any(is_in_line)) {
            self.blame(Fault::Unknown);
        }
    }

    fn act_stale(&mut self, protocol: &Protocol, lock: usize) {
        let Some((owner, fence)) = self.stale[lock].clone() else {
            return;
        };
        let name = lock_name(lock);
        let released = self.turn(protocol, |turn| {
            turn.release(&name, &owner, Some(fence), None)
        });
        let extended = self.turn(protocol, |turn| {
            turn.extend(&name, &owner, FOREVER_MS, Some(fence), 0)
        });
        if released != Released::NotHeld || extended != Ok(Extended::NotHeld) {
            self.blame(Fault::StaleOwner);
        }
    }

    fn extend(&mut self, protocol: &Protocol, lock: usize) {
        let Some(hold) = self.seen.locks[lock].holds.first().cloned() else {
            return;
        };
        let extended = self.turn(protocol, |turn| {
            turn.extend(&lock_name(lock), &hold.owner, TTL_MS, Some(hold.fence), 0)
        });
        if extended != Ok(Extended::Done) {
            self.blame(Fault::Early);
        }
        let until = Lasts::Until(self.now.engine_ms + TTL_MS);
        self.lasts.insert((lock, hold.fence), until);
    }

    fn leave(&mut self, protocol: &Protocol, caller: usize) {
        let ended = self
            .lasts
            .iter()
            .filter(|(_, lasts)| **lasts == Lasts::Conn(caller));
        self.excused.extend(ended.map(|(which, _)| *which));
        self.note_losses();
        self.forget_call(protocol, caller);
        self.turn(protocol, |turn| turn.disconnect(conn(caller)));
        if self.bound == Some(caller) {
            self.bound = None;
            self.session_ms = Some(self.now.engine_ms + GRACE_MS);
        }
    }

    /// Nobody will be told what becomes of the call.
    fn forget_call(&mut self, protocol: &Protocol, caller: usize) {
        let call = self.calls[caller].take();
        for line in &mut self.lines {
            line.retain(|other| *other != caller);
        }
        let kept = |call: Call| protocol.callers[caller].asks[call.ask].life == Life::Session;
        if call.is_some_and(kept) {
            self.note_sign_of_life();
        }
    }

    /// What is excused was lost, so lock-delays begin.
    fn note_losses(&mut self) {
        for &(lock, fence) in &self.excused {
            let hold = self.seen.locks[lock]
                .holds
                .iter()
                .find(|hold| hold.fence == fence);
            let delay_ms = hold.map_or(0, |hold| hold.delay_ms);
            if delay_ms > 0 {
                self.delays_ms[lock] = self.now.engine_ms + delay_ms;
            }
        }
    }

    fn act_on_session(&mut self, protocol: &Protocol, act: Act) {
        let is_right = match act {
            Act::Open(caller) => {
                let open = Open {
                    sid: SID,
                    name: b"",
                    ttl_ms: TTL_MS,
                    grace_ms: GRACE_MS,
                    delay_ms: 0,
                    is_bound: false,
                    conn: conn(caller),
                };
                self.turn(protocol, |turn| turn.open_session(&open));
                self.session_ms = Some(self.now.engine_ms + TTL_MS);
                true
            }
            Act::KeepAlive(caller) => {
                let kept = self.turn(protocol, |turn| turn.keep_alive(SID, conn(caller)));
                self.note_sign_of_life();
                kept.is_ok()
            }
            Act::Bind(caller) => {
                self.bound = Some(caller);
                self.session_ms = Some(u64::MAX);
                self.turn(protocol, |turn| turn.bind(SID, conn(caller)))
                    .is_ok()
            }
            _ => {
                let by_session = |(_, lasts): &(_, &Lasts)| **lasts == Lasts::Session;
                let ended = self.lasts.iter().filter(by_session);
                self.excused.extend(ended.map(|(which, _)| *which));
                (self.session_ms, self.bound) = (None, None);
                let count = self.excused.len();
                self.turn(protocol, |turn| turn.close_session(SID)) == count
            }
        };
        if !is_right {
            self.blame(Fault::Early);
        }
    }

    /// Nothing ends soon after the server stood still.
    fn grant_grace(&mut self) {
        let soonest_ms = self.now.engine_ms + LEASE_GRACE_MS;
        for lasts in self.lasts.values_mut() {
            if let Lasts::Until(until_ms) = lasts {
                *until_ms = (*until_ms).max(soonest_ms);
            }
        }
        self.session_ms = self.session_ms.map(|until_ms| until_ms.max(soonest_ms));
    }

    fn restart(&mut self, protocol: &Protocol) {
        let mut cut = Vec::new();
        self.coordinator.cut(&mut cut);
        self.coordinator = Coordinator::new(1, &Arc::new(Ledger::new()));
        for effect in Effects::of(&cut) {
            let Ok(Effect::Coordination(change)) = effect else {
                panic!("{effect:?}");
            };
            self.coordinator
                .apply(&change)
                .expect("it is what the coordinator told");
        }
        self.bounds();
        self.coordinator.resume(self.now);
        self.begin_task();
        let soonest_ms = self.now.engine_ms + LEASE_GRACE_MS;
        for lasts in self.lasts.values_mut() {
            if let Lasts::Conn(_) = lasts {
                *lasts = Lasts::Until(soonest_ms);
            }
        }
        if self.bound.take().is_some() {
            self.session_ms = Some(soonest_ms);
        }
        self.grant_grace();
        self.calls.fill(None);
        self.lines = Default::default();
        if self.seen.is_held() {
            protocol.note(Event::RestartOfHeld);
        }
    }

    /// Whether everybody who may wait for ever gets what it waits for while those who hold give
    /// back, and whether nothing is left when all have gone.
    pub(super) fn drains(&self, protocol: &Protocol) -> bool {
        let mono_ms = self.now.mono_us / 1_000;
        let has_time = |call: &&Call| call.until_ms > mono_ms + FOREVER_MS / 2;
        let waiting = self.calls.iter().flatten().filter(has_time);
        let mut waiting: Vec<u64> = waiting.map(|call| call.number).collect();
        let mut world = self.clone();
        for _ in 0..ROUNDS_MAX {
            if waiting.is_empty() {
                break;
            }
            for (lock, holder) in world.seen.holders() {
                let is_it = |caller: &&Caller| *caller.owner.as_bytes() == *holder;
                let Some(Caller { owner, .. }) = protocol.callers.iter().find(is_it) else {
                    return false;
                };
                world = world.after(protocol, Act::Release { owner, lock });
                waiting.retain(|number| !world.granted.contains(number));
            }
            world = world.after(protocol, Act::Tick);
            waiting.retain(|number| !world.granted.contains(number));
        }
        waiting.is_empty() && world.fault.is_none() && world.leaves_nothing(protocol)
    }

    fn leaves_nothing(mut self, protocol: &Protocol) -> bool {
        for (lock, owner) in self.seen.holders() {
            self.turn(protocol, |turn| {
                turn.release(&lock_name(lock), &owner, None, None);
            });
        }
        self.turn(protocol, |turn| turn.close_session(SID));
        for caller in 0..self.calls.len() {
            self.turn(protocol, |turn| turn.disconnect(conn(caller)));
        }
        for _ in 0..LEASE_GRACE_MS + 1 {
            self.now.engine_ms += 1;
            self.now.mono_us += 1_000;
            self.run_task(protocol);
        }
        self.coordinator.totals() == Default::default()
    }
}

impl Clone for World {
    fn clone(&self) -> Self {
        let bell = Arc::new(Bell(AtomicBool::new(self.bell.0.load(Ordering::Relaxed))));
        let mut state = self.coordinator.0.lock().clone();
        state.sleeper = Some(Arc::clone(&bell) as Arc<dyn Wake>);
        Self {
            coordinator: Coordinator(Mutex::new(state)),
            now: self.now,
            bell,
            sleeps_until_ms: self.sleeps_until_ms,
            calls: self.calls.clone(),
            lines: self.lines.clone(),
            seen: self.seen.clone(),
            fence: self.fence,
            stale: self.stale.clone(),
            lasts: self.lasts.clone(),
            delays_ms: self.delays_ms,
            session_ms: self.session_ms,
            bound: self.bound,
            excused: self.excused.clone(),
            granted: self.granted.clone(),
            calls_made: self.calls_made,
            fault: self.fault,
            print: self.print.clone(),
        }
    }
}

// What can still have consequences, with times as they are from now.
impl World {
    fn fingerprint(&mut self) {
        let (now_ms, mono_ms) = (self.now.engine_ms, self.now.mono_us / 1_000);
        let left = |until_ms: u64, now_ms: u64| until_ms.saturating_sub(now_ms).min(9) as u8;
        let mut print = self.seen.print(now_ms);
        for call in &self.calls {
            let left = call.map(|call| left(call.until_ms, mono_ms));
            print.extend(call.map_or([255, 255], |call| [call.ask as u8, left.unwrap_or(0)]));
        }
        for lock in 0..LOCKS {
            print.extend(self.lines[lock].iter().map(|caller| *caller as u8));
            print.extend([255, left(self.delays_ms[lock], now_ms)]);
            let stale = self.stale[lock].as_ref();
            print.extend(stale.map_or(0, |(owner, _)| owner[0]).to_be_bytes());
        }
        for ((lock, _), lasts) in &self.lasts {
            print.push(*lock as u8);
            print.push(match lasts {
                Lasts::Until(until_ms) => left(*until_ms, now_ms),
                Lasts::Session => 10,
                Lasts::Conn(caller) => 11 + *caller as u8,
            });
        }
        print.push(self.session_ms.map_or(255, |until| left(until, now_ms)));
        print.push(self.bound.map_or(255, |caller| caller as u8));
        print.push(u8::from(self.coordinator.fences().0 < self.fence));
        print.push(self.fault.map_or(255, |fault| fault as u8));
        self.print = print;
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}
