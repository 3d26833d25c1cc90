//! What must be the case after every step of the model.

use super::world::{Lasts, World, lock_name};
use super::{Event, LOCKS, Protocol};
use crate::engine::coordinator::object::{Hold, Object};
use crate::engine::effect::{Life, Share};

/// A promise that a step broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TwoHolders,
    FenceReused,
    Overtaken,
    NotWoken,
    Unknown,
    Early,
    Late,
    StaleOwner,
    Circle,
}

/// What the coordinator has, taken from its state: a turn would end first what is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) locks: [SeenLock; LOCKS],
    has_session: bool,
    /// Engine time.
    session_ms: Option<u64>,
    /// Until when nothing ends that is given a time now.
    grace_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SeenLock {
    pub(super) holds: Vec<SeenHold>,
    /// Until when, and whether those who share are let in.
    delay: Option<(u64, bool)>,
    /// Callers that wait, in order.
    queue: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct SeenHold {
    pub(super) owner: Box<[u8]>,
    pub(super) fence: u64,
    share: Share,
    pub(super) is_lease: bool,
    pub(super) delay_ms: u64,
    ends_ms: Option<u64>,
}

impl Seen {
    fn of(world: &World) -> Self {
        let state = world.coordinator.0.lock();
        let mut seen = Self {
            grace_ms: state.resumed_ms + super::LEASE_GRACE_MS,
            ..Self::default()
        };
        let hold = |hold: &Hold| SeenHold {
            owner: hold.owner.clone(),
            fence: hold.fence,
            share: hold.share,
            is_lease: matches!(hold.life, Life::Lease { .. }),
            delay_ms: hold.delay_ms,
            ends_ms: state.hold_ends_ms(hold),
        };
        for (lock, seen) in seen.locks.iter_mut().enumerate() {
            let name = lock_name(lock);
            let Some(id) = state.find(name.db, &name.key) else {
                continue;
            };
            let object: &Object = &state.objects[id as usize];
            let held = object.held().expect("nobody asks for anything else");
            seen.holds = held.holds.iter().map(hold).collect();
            seen.holds.sort_unstable_by_key(|hold| hold.fence);
            let delay = held.delay.as_ref();
            seen.delay = delay.map(|delay| {
                let until_ms = state.at_least(delay.until_ms, delay.ms);
                (until_ms, delay.admits_shared)
            });
            let caller = |id: &u32| state.requests[*id as usize].ticket.conn as usize - 1;
            seen.queue = object.queue.values().map(caller).collect();
        }
        let number = state.sids.get(super::world::SID);
        seen.has_session = number.is_some();
        seen.session_ms = number.and_then(|number| state.session_ends_ms(*number));
        seen
    }

    pub(super) fn is_held(&self) -> bool {
        self.locks.iter().any(|lock| !lock.holds.is_empty())
    }

    /// The fence by which an owner holds a lock.
    pub(super) fn holder(&self, lock: usize, owner: &str) -> Option<u64> {
        let holds = self.locks[lock].holds.iter();
        let mut own = holds.filter(|hold| *hold.owner == *owner.as_bytes());
        own.next().map(|hold| hold.fence)
    }

    pub(super) fn holders(&self) -> Vec<(usize, Box<[u8]>)> {
        let mut holders = Vec::new();
        for (number, lock) in self.locks.iter().enumerate() {
            let owners = lock.holds.iter().map(|hold| hold.owner.clone());
            holders.extend(owners.map(|owner| (number, owner)));
        }
        holders
    }

    /// For telling states apart.
    pub(super) fn print(&self, now_ms: u64) -> Vec<u8> {
        let left = |until_ms: u64| until_ms.saturating_sub(now_ms).min(9) as u8;
        let mut print = vec![
            left(self.grace_ms),
            u8::from(self.has_session),
            self.session_ms.map_or(255, left),
        ];
        for lock in &self.locks {
            for hold in &lock.holds {
                print.extend([hold.owner[0], u8::from(hold.share == Share::Shared)]);
                print.extend([hold.ends_ms.map_or(255, left), hold.delay_ms as u8]);
                print.push(u8::from(hold.is_lease));
            }
            print.push(254);
            let delay = lock
                .delay
                .map(|(until_ms, admits)| (left(until_ms), admits));
            print.push(delay.map_or(255, |(left, admits)| 2 * left + u8::from(admits)));
            print.extend(lock.queue.iter().map(|caller| *caller as u8));
        }
        print
    }
}

impl SeenLock {
    fn admits(&self, share: Share) -> bool {
        let is_shared = share == Share::Shared;
        let is_delayed = self.delay.is_some_and(|(_, admits)| !(admits && is_shared));
        let conflicts = |hold: &SeenHold| !is_shared || hold.share != Share::Shared;
        !is_delayed && !self.holds.iter().any(conflicts)
    }
}

impl World {
    /// Looks at what has become of the coordinator, and compares it with what was before and with
    /// what the callers know.
    pub(super) fn judge(&mut self, protocol: &Protocol, before: &Self) {
        self.seen = Seen::of(self);
        self.judge_session(protocol);
        for lock in 0..LOCKS {
            self.judge_grants(protocol, before, lock);
        }
        let fences = self.seen.locks.iter().flat_map(|lock| &lock.holds);
        let highest = fences.map(|hold| hold.fence).max();
        self.fence = self.fence.max(highest.unwrap_or(0));
        for lock in 0..LOCKS {
            self.judge_ends(protocol, before, lock);
            self.judge_line(protocol, lock);
        }
        self.judge_lateness();
        if circle(protocol, self, &self.seen) {
            self.blame(Fault::Circle);
        }
    }

    /// Holds that are new: one at a time, with fences that rise, over nobody's head.
    fn judge_grants(&mut self, protocol: &Protocol, before: &Self, lock: usize) {
        let seen = self.seen.locks[lock].clone();
        if seen.holds.len() > 1 {
            protocol.note(Event::SharedByTwo);
            if seen.holds.iter().any(|hold| hold.share != Share::Shared) {
                self.blame(Fault::TwoHolders);
            }
        }
        for hold in &seen.holds {
            let is_same = |old: &&SeenHold| old.fence == hold.fence;
            let old = before.seen.locks[lock].holds.iter().find(is_same);
            if old.is_some_and(|old| old.owner == hold.owner) {
                continue;
            }
            if hold.fence <= before.fence {
                self.blame(Fault::FenceReused);
            }
            let is_shared = hold.share == Share::Shared;
            if self.now.engine_ms < before.delays_ms[lock] && !is_shared {
                self.blame(Fault::Early);
            } else if before.delays_ms[lock] > 0 {
                protocol.note(Event::DelayWaitedOut);
            }
            let is_own = |caller: &usize| {
                let owner = protocol.callers[*caller].owner;
                *owner.as_bytes() == *hold.owner
            };
            let line = &before.lines[lock];
            let place = line.iter().position(is_own).unwrap_or(line.len());
            let is_passed = |caller: &usize| {
                let share = self.share_of(protocol, *caller);
                let conflicts = !is_shared || share != Some(Share::Shared);
                self.lines[lock].contains(caller) && conflicts
            };
            if line[..place].iter().any(is_passed) {
                self.blame(Fault::Overtaken);
            }
        }
    }

    fn share_of(&self, protocol: &Protocol, caller: usize) -> Option<Share> {
        let call = self.calls[caller]?;
        Some(protocol.callers[caller].asks[call.ask].share)
    }

    /// Holds that are gone: there was a reason.
    fn judge_ends(&mut self, protocol: &Protocol, before: &Self, lock: usize) {
        for old in &before.seen.locks[lock].holds {
            let which = (lock, old.fence);
            let holds = &self.seen.locks[lock].holds;
            if holds.iter().any(|hold| hold.fence == old.fence) {
                continue;
            }
            let lasts = self.lasts.remove(&which);
            self.stale[lock] = Some((old.owner.clone(), old.fence));
            if self.excused.contains(&which) {
                continue;
            }
            let is_over = match lasts {
                Some(Lasts::Until(until_ms)) => until_ms <= self.now.engine_ms,
                Some(Lasts::Session) => self.session_ms.is_none(),
                Some(Lasts::Conn(_)) | None => false,
            };
            if !is_over {
                self.blame(Fault::Early);
            }
            protocol.note(Event::LostToTime);
            if old.delay_ms > 0 {
                self.delays_ms[lock] = self.now.engine_ms + old.delay_ms;
            }
        }
        if self.delays_ms[lock] + 1 < self.now.engine_ms {
            self.delays_ms[lock] = 0;
        }
    }

    /// The session is gone for a reason, or it is there.
    fn judge_session(&mut self, protocol: &Protocol) {
        if self.seen.has_session || self.session_ms.is_none() {
            return;
        }
        protocol.note(Event::SessionLost);
        let waits = |caller: usize| {
            let call = self.calls[caller];
            let ask = call.map(|call| &protocol.callers[caller].asks[call.ask]);
            ask.is_some_and(|ask| ask.life == super::Life::Session)
        };
        let is_kept = (0..self.calls.len()).any(waits);
        if is_kept || self.session_ms > Some(self.now.engine_ms) {
            self.blame(Fault::Early);
        }
        (self.session_ms, self.bound) = (None, None);
    }

    /// Who waits is who should, in this order, and none of them could have what it wants.
    fn judge_line(&mut self, protocol: &Protocol, lock: usize) {
        if self.seen.locks[lock].queue != self.lines[lock] {
            self.blame(Fault::Unknown);
            return;
        }
        let can_have = |caller: usize, lock: usize| {
            let Some(share) = self.share_of(protocol, caller) else {
                return false;
            };
            let line = self.lines[lock].iter();
            let mut ahead = line.take_while(|other| **other != caller);
            let is_first = match share {
                Share::Shared => {
                    ahead.all(|other| self.share_of(protocol, *other) == Some(Share::Shared))
                }
                _ => ahead.next().is_none(),
            };
            is_first && self.seen.locks[lock].admits(share)
        };
        let is_forgotten = |caller: &usize| {
            self.calls[*caller].is_some_and(|call| {
                let locks = protocol.callers[*caller].asks[call.ask].locks;
                locks.iter().all(|lock| can_have(*caller, *lock))
            })
        };
        if self.lines[lock].iter().any(is_forgotten) {
            self.blame(Fault::NotWoken);
        }
    }

    /// Nothing is there whose time is over: whoever is to end it was woken.
    fn judge_lateness(&mut self) {
        let (now_ms, mono_ms) = (self.now.engine_ms, self.now.mono_us / 1_000);
        let is_over = |until_ms: Option<u64>| until_ms.is_some_and(|until| until <= now_ms);
        let is_late = |lock: &SeenLock| {
            let mut holds = lock.holds.iter();
            holds.any(|hold| is_over(hold.ends_ms)) || is_over(lock.delay.map(|delay| delay.0))
        };
        let mut calls = self.calls.iter().flatten();
        if self.seen.locks.iter().any(is_late)
            || is_over(self.seen.session_ms)
            || calls.any(|call| call.until_ms <= mono_ms)
        {
            self.blame(Fault::Late);
        }
    }
}

/// Whether owners wait for one another in a circle.
pub(super) fn circle(protocol: &Protocol, world: &World, seen: &Seen) -> bool {
    let number = |owner: &[u8]| owner[0] as usize % 8;
    let mut waits_for = [0u8; 8];
    for (lock, line) in world.lines.iter().enumerate() {
        let mut ahead: Option<usize> = None;
        for &caller in line {
            let own = number(protocol.callers[caller].owner.as_bytes());
            let is_shared = world.share_of(protocol, caller) == Some(Share::Shared);
            for hold in &seen.locks[lock].holds {
                if !is_shared || hold.share != Share::Shared {
                    waits_for[own] |= 1 << number(&hold.owner);
                }
            }
            if let Some(ahead) = ahead {
                waits_for[own] |= 1 << number(protocol.callers[ahead].owner.as_bytes());
            }
            ahead = Some(caller);
        }
    }
    for through in 0..8 {
        for from in 0..8 {
            if waits_for[from] & (1 << through) != 0 {
                waits_for[from] |= waits_for[through];
            }
        }
    }
    (0..8).any(|owner| waits_for[owner] & (1 << owner) != 0)
}
