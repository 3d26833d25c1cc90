//! Locks and semaphores: acquiring, releasing, extending, breaking.
//!
//! An owner has one hold on an object. Asking again for what is held is no second grant: the fence
//! stays, and the hold lives by what the last call named.

use super::Kind;
use super::object::{Body, Held, Hold, Limit, Name};
use super::queue::{Asked, Request, Wants};
use super::turn::{End, Ticket, Turn};
use super::{Refusal, State};
use crate::clock::Now;
use crate::engine::effect::{Coordination, Life, Share};
use crate::seeded::{self, Bug};

/// What a hold is asked to live by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A lease of so many milliseconds.
    Lease(u64),
    /// The session with this secret name.
    Session(&'a [u8]),
    /// The connection that asks.
    Conn,
}

/// A request for a hold.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The call that asks.
    pub ticket: Ticket,
    /// Who is to hold it.
    pub owner: &'a [u8],
    /// How much.
    pub share: Share,
    /// What the hold lives by.
    pub life: Wanted<'a>,
    /// For how long others are kept out if it is lost, in milliseconds.
    pub delay_ms: u64,
    /// What the owner proclaims.
    pub value: Option<&'a [u8]>,
    /// The depth that this entry makes, if it is named.
    pub depth: Option<u32>,
    /// How long the call waits at most, in milliseconds; 0: it does not.
    pub wait_ms: u64,
}

/// What an owner is granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) owner: &'a [u8],
    pub(super) conn: u64,
    pub(super) share: Share,
    pub(super) life: Asked,
    pub(super) delay_ms: u64,
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Claim<'a> {
    fn terms(&self, life: Asked) -> Terms<'a> {
        Terms {
            owner: self.owner,
            conn: self.ticket.conn,
            share: self.share,
            life,
            delay_ms: self.delay_ms,
            value: self.value,
        }
    }
}

/// What came of a request for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It was granted now.
    Granted {
        /// The fencing token.
        fence: u64,
    },
    /// The owner has held it before.
    Again {
        /// The fencing token.
        fence: u64,
    },
    /// It was not granted.
    Refused {
        /// That of the hold in the way that lasts longest; 0 where only the queue is in the way.
        fence: u64,
        /// What is left of it, in milliseconds; none where its connection keeps it.
        ttl_ms: Option<u64>,
        /// Whose it is, or who heads the queue.
        owner: Box<[u8]>,
        /// Which of the objects that were named.
        index: usize,
        /// Whether it is a lock-delay that is in the way.
        is_delayed: bool,
    },
    /// The call waits; its ticket is told.
    Parked,
}

/// What came of giving back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is free of this owner.
    Freed,
    /// The owner holds it still.
    DepthRemains,
    /// The owner does not hold it.
    NotHeld,
}

/// What came of extending a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// It ends then.
    Done,
    /// The owner does not hold it.
    NotHeld,
}

/// Which hold an operator ends.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// Only that with this fence.
    pub fence: Option<u64>,
    /// For how long all are kept out then, in milliseconds.
    pub delay_ms: u64,
}

impl Turn<'_> {
    /// Asks for one object.
    ///
    /// # Errors
    /// What is no ordinary answer; nothing has changed then.
    pub fn acquire(&mut self, name: &Name, claim: &Claim<'_>) -> Result<Claimed, Refusal> {
        let asked = self.asked(claim)?;
        let Some(id) = self.existing(name, claim.owner, claim.share)? else {
            if claim.depth.is_some_and(|depth| depth > 1) {
                return Ok(self.refusal(&[], claim.share));
            }
            self.check_room()?;
            return self.grant_new(name, claim, asked);
        };
        if self.state.hold_of(id, claim.owner).is_some() {
            return self.acquire_again(id, claim, asked);
        }
        if claim.depth.is_some_and(|depth| depth > 1) {
            return Ok(self.refusal(&[id], claim.share));
        }
        self.grant_or_park(&[id], claim, asked)
    }

    /// Asks for several locks, all or none. A name that comes twice counts once.
    ///
    /// # Errors
    /// As for one.
    pub fn acquire_all(&mut self, names: &[Name], claim: &Claim<'_>) -> Result<Claimed, Refusal> {
        let asked = self.asked(claim)?;
        let mut distinct: Vec<&Name> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for name in names {
            self.existing(name, claim.owner, claim.share)?;
            if seen.insert(name) {
                distinct.push(name);
            }
        }
        let fence_of = |name: &&Name| {
            let id = self.find(name)?;
            let hold = self.state.hold_of(id, claim.owner)?;
            (hold.share == Share::Exclusive).then_some(hold.fence)
        };
        let fences: Vec<Option<u64>> = distinct.iter().map(fence_of).collect();
        if let Some(&first) = fences.first()
            && first.is_some()
            && fences.iter().all(|fence| *fence == first)
        {
            for name in distinct {
                if let Some(id) = self.find(name) {
                    self.acquire_again(id, claim, asked)?;
                }
            }
            let fence = first.unwrap_or_default();
            return Ok(Claimed::Again { fence });
        }
        let is_held = |name: &&Name| {
            let id = self.find(name);
            id.is_some_and(|id| self.state.hold_of(id, claim.owner).is_some())
        };
        if distinct.iter().any(is_held) {
            return Err(Refusal::HeldInPart);
        }
        self.check_room()?;
        if self.state.fence >= self.state.fence_max {
            return Err(Refusal::NotReserved);
        }
        let lock = || Body::Held(Held::of_lock());
        let ids: Vec<u32> = distinct
            .iter()
            .map(|name| self.object(name, lock))
            .collect();
        self.to_pump.extend(&ids);
        let claimed = self.grant_or_park(&ids, claim, asked)?;
        Ok(match claimed {
            // Among all that were named.
            Claimed::Refused {
                fence,
                ttl_ms,
                owner,
                index,
                is_delayed,
            } => Claimed::Refused {
                fence,
                ttl_ms,
                owner,
                index: names
                    .iter()
                    .position(|name| name == distinct[index])
                    .unwrap_or(0),
                is_delayed,
            },
            other => other,
        })
    }

    /// Gives back what an owner holds, or withdraws its request.
    pub fn release(
        &mut self,
        name: &Name,
        owner: &[u8],
        fence: Option<u64>,
        depth: Option<u32>,
    ) -> Released {
        let Some(id) = self.find(name) else {
            return Released::NotHeld;
        };
        let Some(hold) = self.state.hold_of(id, owner) else {
            if fence.is_none()
                && let Some(request) = self.queued(id, owner)
            {
                self.refuse(request);
            }
            return Released::NotHeld;
        };
        let is_stale = fence.is_some_and(|fence| fence != hold.fence);
        if is_stale && !seeded::has(Bug::StaleRelease) {
            return Released::NotHeld;
        }
        let (fence, at_depth) = (hold.fence, hold.depth);
        if let Some(depth) = depth
            && (depth != at_depth || depth > 1)
        {
            if depth == at_depth {
                self.change_hold(id, fence, |hold| hold.depth -= 1);
            }
            return Released::DepthRemains;
        }
        self.end_hold(id, fence, End::Clean);
        Released::Freed
    }

    /// Lets the lease of an owner end so many milliseconds from now.
    ///
    /// # Errors
    /// Where it is no lease.
    pub fn extend(
        &mut self,
        name: &Name,
        owner: &[u8],
        lease_ms: u64,
        fence: Option<u64>,
        conn: u64,
    ) -> Result<Extended, Refusal> {
        let id = self.find(name);
        let hold = id.and_then(|id| self.state.hold_of(id, owner));
        let (Some(id), Some(hold)) = (id, hold) else {
            return Ok(Extended::NotHeld);
        };
        if fence.is_some_and(|fence| fence != hold.fence) {
            return Ok(Extended::NotHeld);
        }
        if let Life::Session { number } = hold.life {
            let is_own = self.state.is_of_connection(number);
            let keeper = if is_own { "connection" } else { "session" };
            return Err(Refusal::LivesWith(keeper));
        }
        let fence = hold.fence;
        let end_ms = self.in_ms(lease_ms);
        self.change_hold(id, fence, |hold| {
            hold.life = Life::Lease { end_ms };
            hold.ttl_ms = lease_ms;
            hold.conn = conn;
        });
        Ok(Extended::Done)
    }

    /// Ends holds by force; answers whose they were, with their fencing tokens.
    pub fn break_holds(&mut self, name: &Name, how: Break) -> Vec<(Box<[u8]>, u64)> {
        let Some(id) = self.find(name) else {
            return Vec::new();
        };
        let held = self.state.objects[id as usize].held();
        let holds = held.map_or(&[][..], |held| &held.holds);
        let holds = holds.iter().map(|hold| (hold.owner.clone(), hold.fence));
        let broken: Vec<(Box<[u8]>, u64)> = holds
            .filter(|(_, fence)| how.fence.is_none_or(|only| only == *fence))
            .collect();
        let end = End::Broken {
            delay_ms: how.delay_ms,
        };
        for (_, fence) in &broken {
            self.end_hold(id, *fence, end);
        }
        broken
    }

    /// Ends all that can be held in a database by force, and forgets the rest of it, but for
    /// namespaces of IDs; those who
    /// wait move on. Answers how many holds ended.
    pub fn break_all(&mut self, db: u32) -> usize {
        let objects = self.state.objects.iter();
        let of_db = objects.filter(|(_, object)| object.name.db == db && !object.is_namespace());
        let mut names: Vec<Name> = of_db.map(|(_, object)| object.name.clone()).collect();
        names.sort_unstable();
        let how = Break {
            fence: None,
            delay_ms: 0,
        };
        let mut broken = 0;
        for name in names {
            broken += self.break_holds(&name, how).len();
            self.delete(&name);
        }
        broken
    }

    /// Forgets what is known of an object that nobody holds, but for a namespace of IDs: a delay, a
    /// latch, a meeting, that a semaphore was pinned. Who waits at a latch or a barrier does so in
    /// vain.
    pub fn delete(&mut self, name: &Name) {
        let Some(id) = self.find(name) else {
            return;
        };
        if self.state.objects[id as usize].is_namespace() {
            return;
        }
        self.end_delay(id, true);
        let object = &self.state.objects[id as usize];
        if object.kind() == Kind::Barrier {
            let waiting: Vec<u32> = object.queue.values().copied().collect();
            waiting.into_iter().for_each(|party| self.refuse(party));
        }
        if self.state.objects[id as usize].has_state() {
            self.forget(id, true);
        }
        self.to_pump.push(id);
    }

    /// Gives back a grant that a connection was to be told of, which is gone. Where its owner has
    /// asked for it again on another, that one was told, and the hold stays.
    pub fn give_back(&mut self, name: &Name, fence: u64, conn: u64) {
        let Some(id) = self.find(name) else {
            return;
        };
        let hold = self.state.hold_mut(id, fence);
        if hold.is_some_and(|hold| hold.conn == conn) {
            self.end_hold(id, fence, End::Clean);
        }
    }

    /// Gives a semaphore a limit that stays, whoever comes.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn resize(&mut self, name: &Name, permits: u32) -> Result<(), Refusal> {
        if self.kind(name).is_some_and(|kind| kind != Kind::Semaphore) {
            return Err(Refusal::WrongKind);
        }
        let id = self.object(name, || Body::Held(Held::of_semaphore(permits)));
        let object = &mut self.state.objects[id as usize];
        if let Some(held) = object.held_mut() {
            let is_pinned = true;
            held.limit = Some(Limit { permits, is_pinned });
        }
        self.emit(&Coordination::Pin {
            db: name.db,
            key: &name.key,
            limit: permits,
        });
        self.touch(id);
        self.to_pump.push(id);
        Ok(())
    }

    /// Resolves what a hold is to live by.
    fn asked(&mut self, claim: &Claim<'_>) -> Result<Asked, Refusal> {
        match claim.life {
            Wanted::Lease(ms) => Ok(Asked::Lease(ms)),
            Wanted::Session(sid) => {
                let number = self.state.sids.get(sid);
                number
                    .map(|number| Asked::Session(*number))
                    .ok_or(Refusal::NoSession)
            }
            Wanted::Conn => Ok(Asked::Session(self.session_of_conn(claim.ticket.conn))),
        }
    }

    /// The object of a name, if there is one; it must be of the kind that has such shares.
    fn existing(&self, name: &Name, owner: &[u8], share: Share) -> Result<Option<u32>, Refusal> {
        let Some(id) = self.find(name) else {
            return match share {
                Share::Permits { count, limit } if count > limit => Err(Refusal::TooMany),
                _ => Ok(None),
            };
        };
        let object = &self.state.objects[id as usize];
        let held = object.held().ok_or(Refusal::WrongKind)?;
        match (share, held.limit) {
            (Share::Permits { count, limit }, Some(has)) => {
                if !has.is_pinned && has.permits != limit {
                    return Err(Refusal::Limit(has.permits));
                }
                // Who has them already may have more than there are now.
                let is_new = held.of_owner(owner).is_none();
                if count > limit || (count > has.permits && is_new) {
                    return Err(Refusal::TooMany);
                }
                Ok(Some(id))
            }
            (Share::Exclusive | Share::Shared, None) if held.pool.is_none() => Ok(Some(id)),
            (Share::Number { of, .. }, None) => held.check_pool(of).map(|()| Some(id)),
            _ => Err(Refusal::WrongKind),
        }
    }

    fn grant_new(
        &mut self,
        name: &Name,
        claim: &Claim<'_>,
        asked: Asked,
    ) -> Result<Claimed, Refusal> {
        let fence = self.next_fence().ok_or(Refusal::NotReserved)?;
        let id = self.object(name, || Body::Held(Held::of_share(claim.share)));
        self.grant_each(&[id], &claim.terms(asked), fence);
        Ok(Claimed::Granted { fence })
    }

    /// Gives objects, which are free for it, to an owner.
    pub(super) fn grant_each(&mut self, ids: &[u32], terms: &Terms<'_>, fence: u64) {
        for &id in ids {
            let hold = Hold {
                owner: terms.owner.into(),
                fence,
                share: terms.share,
                depth: 1,
                life: self.life(terms.life),
                ttl_ms: terms.life.lease_ms(),
                delay_ms: terms.delay_ms,
                value: terms.value.map(Box::from),
                since_ms: self.now.engine_ms,
                conn: terms.conn,
                timer: None,
            };
            self.grant(id, hold);
        }
        if let Some(session) = terms.life.session() {
            self.renew(session);
        }
    }

    fn grant_or_park(
        &mut self,
        ids: &[u32],
        claim: &Claim<'_>,
        asked: Asked,
    ) -> Result<Claimed, Refusal> {
        let share = claim.share;
        let places = self.places(ids, claim.owner);
        let before = |id: u32| {
            let place = places.iter().find(|(object, _)| *object == id);
            place.map_or(u64::MAX, |(_, at)| *at)
        };
        let is_free = |id: &u32| {
            let held = self.state.objects[*id as usize].held();
            held.is_some_and(|held| held.admits(share)) && !self.overtakes(*id, share, before(*id))
        };
        let is_free = ids.iter().all(is_free);
        if is_free || claim.wait_ms > 0 {
            self.check_room()?;
        }
        let may_wait = claim.wait_ms > 0 && self.has_room_to_wait(&places);
        if !is_free
            && may_wait
            && matches!(share, Share::Exclusive | Share::Shared)
            && let Some(circle) = self.circle(claim.owner, ids, share)
        {
            return Err(Refusal::Deadlock(circle));
        }
        if is_free {
            let fence = self.next_fence().ok_or(Refusal::NotReserved)?;
            self.take_over(ids, claim.owner);
            self.grant_each(ids, &claim.terms(asked), fence);
            return Ok(Claimed::Granted { fence });
        }
        self.take_over(ids, claim.owner);
        if !may_wait {
            for &id in ids {
                self.state.objects[id as usize].contention.refusals += 1;
            }
            return Ok(self.refusal(ids, share));
        }
        let wants = Wants::Hold {
            objects: ids.to_vec(),
            share,
            life: asked,
            delay_ms: claim.delay_ms,
            value: claim.value.map(Box::from),
        };
        let request = Request {
            ticket: claim.ticket,
            owner: claim.owner.into(),
            wants,
            session: asked.session(),
            timer: None,
            since_ms: self.now.mono_us / 1_000,
            place: 0,
            inherited: places,
        };
        self.park(request, claim.wait_ms);
        Ok(Claimed::Parked)
    }

    /// The owner holds it already.
    fn acquire_again(
        &mut self,
        id: u32,
        claim: &Claim<'_>,
        asked: Asked,
    ) -> Result<Claimed, Refusal> {
        let Some(hold) = self.state.hold_of(id, claim.owner) else {
            return Ok(self.refusal(&[id], claim.share));
        };
        match (hold.share, claim.share) {
            (Share::Shared, Share::Exclusive) => return Err(Refusal::Upgrade),
            (Share::Permits { count: has, .. }, Share::Permits { count, .. }) if has != count => {
                return Err(Refusal::Permits);
            }
            _ => {}
        }
        let (fence, depth) = (hold.fence, hold.depth);
        if claim.depth.is_some_and(|entered| entered > depth + 1) {
            return Ok(self.refusal(&[id], claim.share));
        }
        let life = match (hold.life, self.life(asked)) {
            (Life::Lease { end_ms: old }, Life::Lease { end_ms: new }) if old > new => hold.life,
            (_, new) => new,
        };
        let ttl_ms = match asked {
            Asked::Lease(ms) if life != hold.life || ms > hold.ttl_ms => ms,
            Asked::Lease(_) => hold.ttl_ms,
            Asked::Session(_) if matches!(hold.share, Share::Number { .. }) => hold.ttl_ms,
            Asked::Session(_) => 0,
        };
        let is_deeper = claim.depth == Some(depth + 1);
        self.change_hold(id, fence, |hold| {
            hold.life = life;
            hold.ttl_ms = ttl_ms;
            hold.conn = claim.ticket.conn;
            hold.depth += u32::from(is_deeper);
            if let Some(value) = claim.value {
                hold.value = Some(value.into());
            }
        });
        if claim.value.is_some() {
            self.touch(id);
        }
        if let Some(session) = asked.session() {
            self.renew(session);
        }
        Ok(Claimed::Again { fence })
    }

    /// Changes a hold that is there, and moves it to what it now lives by.
    fn change_hold(&mut self, id: u32, fence: u64, change: impl FnOnce(&mut Hold)) {
        let Some(mut hold) = self.state.take_hold(id, fence) else {
            return;
        };
        change(&mut hold);
        hold.timer = None;
        let name = self.state.objects[id as usize].name.clone();
        self.emit(&hold.as_effect(&name));
        self.state.put_hold(id, hold);
    }

    /// What stands in the way of a request; nothing of one that was only asked for wrongly.
    pub(super) fn refusal(&self, objects: &[u32], share: Share) -> Claimed {
        let state = &*self.state;
        for (index, &id) in objects.iter().enumerate() {
            let Some(held) = state.objects[id as usize].held() else {
                continue;
            };
            if let Some(refused) = state.refusal_by(held, share, self.now, index) {
                return refused;
            }
        }
        let head = |(index, id): (usize, &u32)| {
            let head = state.objects[*id as usize].head()?;
            Some((index, state.requests[head as usize].owner.clone()))
        };
        let (index, owner) = objects
            .iter()
            .enumerate()
            .find_map(head)
            .unwrap_or_default();
        Claimed::Refused {
            fence: 0,
            ttl_ms: Some(0),
            owner,
            index,
            is_delayed: false,
        }
    }
}

impl State {
    pub(super) fn hold_of(&self, id: u32, owner: &[u8]) -> Option<&Hold> {
        self.objects.get(id as usize)?.held()?.of_owner(owner)
    }

    /// What of one object stands in the way, but for its queue.
    fn refusal_by(&self, held: &Held, share: Share, now: Now, index: usize) -> Option<Claimed> {
        if held.admits(share) {
            return None;
        }
        let in_the_way = held.holds.iter().filter(|hold| Held::blocks(hold, share));
        let left = |hold: &&Hold| self.hold_ends_ms(hold).unwrap_or(u64::MAX);
        if let Some(longest) = in_the_way.max_by_key(left) {
            let ends_ms = self.hold_ends_ms(longest);
            return Some(Claimed::Refused {
                fence: longest.fence,
                ttl_ms: ends_ms.map(|ends| now.left_ms(ends)),
                owner: longest.owner.clone(),
                index,
                is_delayed: false,
            });
        }
        let delay = held.delay.as_ref()?;
        let ends_ms = self.at_least(delay.until_ms, delay.ms);
        Some(Claimed::Refused {
            fence: delay.fence,
            ttl_ms: Some(now.left_ms(ends_ms)),
            owner: delay.owner.clone(),
            index,
            is_delayed: true,
        })
    }
}
