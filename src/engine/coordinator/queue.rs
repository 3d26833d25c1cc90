//! Requests that wait: their places, handing over to them, and who waits for whom.
//!
//! Order: nobody overtakes. A freed object goes to the head of its queue; if that shares it, to all
//! who share it up to the next who does not. A request for several locks stands in all their queues
//! and is granted when it heads them all; until then it holds nothing.
//!
//! Cost: beginning a wait, granting it and ending it cost O(log n) for each queue, wherever it
//! stands. The look for a circle is O(requests in the way), and is made only when a call
//! begins to wait whose owner itself is in somebody's way.

use super::held::Terms;
use super::object::{Held, Line, Name, Object};
use super::room::{join, leave, text_bytes};
use super::turn::{Outcome, Ticket, Turn};
use super::wheel::TimerId;
use super::{Kind, State};
use crate::engine::effect::{Life, Share};
use crate::engine::flight::Ask;
use crate::seeded::{self, Bug};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// So many owners of a circle are named.
const CIRCLE_SHOWN_MAX: usize = 8;

/// A call that waits.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) owner: Box<[u8]>,
    pub(super) wants: Wants,
    /// The session it waits for, or by.
    pub(super) session: Option<u64>,
    /// The end of the wait; none while it is being taken out of the wheel.
    pub(super) timer: Option<TimerId>,
    /// Monotonic time at which it began to wait.
    pub(super) since_ms: u64,
    /// Where it stands, given when it is parked: behind all that were parked before.
    pub(super) place: u64,
    /// Places that an earlier request of its owner had at these objects, and left to it.
    pub(super) inherited: Vec<(u32, u64)>,
}

/// Owners of whom each waits for the next, and the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The first of them, beginning with the one that asked.
    pub shown: Vec<Box<[u8]>>,
    /// How many there are.
    pub owners: usize,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum Wants {
    /// To hold these objects, all at once.
    Hold {
        objects: Vec<u32>,
        share: Share,
        life: Asked,
        delay_ms: u64,
        value: Option<Box<[u8]>>,
    },
    /// That a latch is open.
    Latch(Name),
    /// That all parties of a barrier are there.
    Barrier(u32),
    /// To see a hold with a fence above this.
    Observe(Name, u64),
    /// To be told to look at a key that is none of the coordinator's.
    Look(Name, Arc<Ask>),
}

/// What a hold is to live by, once it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Lease(u64),
    Session(u64),
}

impl Asked {
    /// Of a lease, what it is given; 0 for what lives by something else.
    pub(super) fn lease_ms(self) -> u64 {
        match self {
            Self::Lease(ms) => ms,
            Self::Session(_) => 0,
        }
    }

    pub(super) fn session(self) -> Option<u64> {
        match self {
            Self::Lease(_) => None,
            Self::Session(number) => Some(number),
        }
    }
}

impl Request {
    pub(super) fn objects(&self) -> &[u32] {
        match &self.wants {
            Wants::Hold { objects, .. } => objects,
            Wants::Barrier(object) => std::slice::from_ref(object),
            Wants::Latch(_) | Wants::Observe(..) | Wants::Look(..) => &[],
        }
    }

    /// Where it stands at one of its objects.
    fn place_at(&self, object: u32) -> u64 {
        let mut inherited = self.inherited.iter();
        let own = inherited.find(|(other, _)| *other == object);
        own.map_or(self.place, |(_, place)| *place)
    }

    fn share(&self) -> Option<Share> {
        match &self.wants {
            Wants::Hold { share, .. } => Some(*share),
            _ => None,
        }
    }
}

impl Circle {
    /// That of the first on a path, who waits for the one at `last`: each comes with the place of
    /// who waits for it.
    fn of(path: &[(&[u8], usize)], last: usize) -> Self {
        let waits_for = |at: &usize| Some(path[*at].1).filter(|_| *at > 0);
        let mut circle: Vec<usize> = std::iter::successors(Some(last), waits_for).collect();
        circle.reverse();
        let shown = circle.iter().take(CIRCLE_SHOWN_MAX);
        Self {
            shown: shown.map(|at| path[*at].0.into()).collect(),
            owners: circle.len(),
        }
    }
}

impl Turn<'_> {
    /// Parks a call until its wait is over, at most `wait_ms`; it stands at the end of the queues
    /// of its objects, but where it has inherited a place.
    pub(super) fn park(&mut self, mut request: Request, wait_ms: u64) -> u32 {
        let ticket = request.ticket;
        let until_ms = self.now.mono_ms_up().saturating_add(wait_ms);
        let state = &mut *self.state;
        let id = state.requests.vacant_key() as u32;
        state.place += 1;
        request.place = state.place;
        request.timer = Some(state.waits.insert(until_ms, id));
        state.heap_bytes += request.heap_bytes();
        for &object_id in request.objects() {
            state.note_queue(object_id, 1);
            let object = &mut state.objects[object_id as usize];
            state.heap_bytes += join(&mut object.queue, request.place_at(object_id), id);
            object.contention.waits += 1;
        }
        if !request.objects().is_empty() {
            let of_owner = state.waiting.entry(request.owner.clone()).or_default();
            if of_owner.is_empty() {
                state.heap_bytes += text_bytes(&request.owner);
            }
            state.heap_bytes += join(of_owner, request.place, id);
        }
        if let Some(session) = request.session {
            self.keep_alive_while_parked(session, request.place, id);
        }
        self.state.requests.insert(request);
        self.conn(ticket.conn).request = Some(id);
        id
    }

    /// Takes a request out of all that knows of it. Its objects may then go to others.
    pub(super) fn take_request(&mut self, id: u32) -> Request {
        let state = &mut *self.state;
        let request = state.requests.remove(id as usize);
        state.heap_bytes -= request.heap_bytes();
        if let Some(timer) = request.timer {
            state.waits.remove(timer);
        }
        for &object in request.objects() {
            let queue = &mut state.objects[object as usize].queue;
            state.heap_bytes -= leave(queue, request.place_at(object));
            state.note_queue(object, -1);
            self.to_pump.push(object);
        }
        if let Some(of_owner) = state.waiting.get_mut(&request.owner) {
            state.heap_bytes -= leave(of_owner, request.place);
            if of_owner.is_empty() {
                state.heap_bytes -= text_bytes(&request.owner);
                state.waiting.remove(&request.owner);
            }
        }
        if let Wants::Latch(name) | Wants::Observe(name, _) | Wants::Look(name, _) = &request.wants
        {
            self.state.forget_observer(name, request.place);
        }
        if let Some(session) = request.session {
            self.leave_session(session, request.place);
        }
        let conn = request.ticket.conn;
        if let Some(conn) = self.state.conns.get_mut(&conn)
            && conn.request == Some(id)
        {
            conn.request = None;
        }
        self.drop_conn_if_empty(conn);
        request
    }

    /// The time of a request is over: it is answered what a try would be answered now.
    pub(super) fn time_out(&mut self, id: u32) {
        self.state.requests[id as usize].timer = None;
        self.refuse(id);
    }

    /// Ends a wait as its time-out would.
    pub(super) fn refuse(&mut self, id: u32) {
        let request = self.take_request(id);
        let outcome = match &request.wants {
            Wants::Hold { objects, share, .. } => {
                for &object in objects {
                    self.state.objects[object as usize].contention.refusals += 1;
                }
                let first = objects.first().map(|id| &self.state.objects[*id as usize]);
                Outcome::Refused {
                    tried: self.refusal(objects, *share),
                    free: first.and_then(Object::held).map_or(0, Held::free),
                }
            }
            _ => Outcome::Nothing,
        };
        self.settle(request.ticket, outcome);
    }

    /// Looks at the objects that something was taken from until no head can be granted.
    pub(super) fn pump_all(&mut self) {
        while let Some(object) = self.to_pump.pop() {
            self.pump(object);
            self.retire_if_empty(object);
        }
    }

    fn pump(&mut self, object: u32) {
        while let Some(head) = self.grantable_head(object) {
            self.grant_request(head);
        }
    }

    /// The head of a queue, if it can have all that it wants.
    fn grantable_head(&self, object: u32) -> Option<u32> {
        let state = &*self.state;
        let head = state.objects.get(object as usize)?.head()?;
        let request = state.requests.get(head as usize)?;
        let share = request.share()?;
        let is_free = |object: &u32| {
            let object = &state.objects[*object as usize];
            object.head() == Some(head)
                && (object.held().is_some_and(|held| held.admits(share))
                    || seeded::has(Bug::GrantWithoutRecheck))
        };
        request.objects().iter().all(is_free).then_some(head)
    }

    fn grant_request(&mut self, id: u32) {
        let Some(fence) = self.next_fence() else {
            self.refuse(id);
            return;
        };
        let request = self.take_request(id);
        let Wants::Hold {
            objects,
            share,
            life,
            delay_ms,
            value,
        } = request.wants
        else {
            return;
        };
        let terms = Terms {
            owner: &request.owner,
            conn: request.ticket.conn,
            share,
            life,
            delay_ms,
            value: value.as_deref(),
        };
        self.grant_each(&objects, &terms, fence);
        let name = |id: &u32| self.state.objects[*id as usize].name.clone();
        let names = objects.iter().map(name).collect();
        self.settle(request.ticket, Outcome::Granted { names, fence });
    }

    pub(super) fn life(&self, asked: Asked) -> Life {
        match asked {
            Asked::Lease(ms) => Life::Lease {
                end_ms: self.in_ms(ms),
            },
            Asked::Session(number) => Life::Session { number },
        }
    }

    /// The request of an owner in the queue of an object.
    pub(super) fn queued(&self, object: u32, owner: &[u8]) -> Option<u32> {
        let of_owner = self.state.waiting.get(owner)?;
        let is_here = |id: &&u32| {
            let request = &self.state.requests[**id as usize];
            request.objects().contains(&object)
        };
        of_owner.values().find(is_here).copied()
    }

    /// Whether a request for this share that stands at this place would overtake one that it
    /// conflicts with.
    pub(super) fn overtakes(&self, object: u32, share: Share, place: u64) -> bool {
        let queue = &self.state.objects[object as usize].queue;
        let mut queue = queue.range(..place).map(|(_, id)| id);
        if share != Share::Shared {
            return queue.next().is_some();
        }
        let conflicts = |id: &u32| {
            let other = self.state.requests[*id as usize].share();
            other != Some(Share::Shared)
        };
        queue.any(conflicts)
    }

    /// The circle that waiting for these locks would close, if there is one.
    pub(super) fn circle(&self, owner: &[u8], objects: &[u32], share: Share) -> Option<Circle> {
        let state = &*self.state;
        if !state.waiting.contains_key(owner) && !state.blocking.contains_key(owner) {
            return None;
        }
        let mut seen: HashSet<&[u8]> = HashSet::new();
        // Each with the place in `path` of who waits for it.
        let mut path: Vec<(&[u8], usize)> = vec![(owner, 0)];
        let mut next: Vec<(&[u8], usize)> = Vec::new();
        for &object in objects {
            let place = self.place(object, owner).unwrap_or(u64::MAX);
            state.in_the_way(object, share, place, &mut |other| next.push((other, 0)));
        }
        while let Some((other, waits)) = next.pop() {
            if other == owner {
                return Some(Circle::of(&path, waits));
            }
            if !seen.insert(other) {
                continue;
            }
            path.push((other, waits));
            let here = path.len() - 1;
            for &id in state.waiting.get(other).into_iter().flat_map(Line::values) {
                let request = &state.requests[id as usize];
                let Some(share @ (Share::Exclusive | Share::Shared)) = request.share() else {
                    continue;
                };
                for &object in request.objects() {
                    let place = request.place_at(object);
                    state.in_the_way(object, share, place, &mut |owner| {
                        next.push((owner, here));
                    });
                }
            }
        }
        None
    }

    /// Ends the wait of a call, as `CLIENT UNBLOCK` does; answers whether it waited.
    pub fn unblock(&mut self, conn: u64, is_error: bool) -> bool {
        let request = self.state.conns.get(&conn).and_then(|conn| conn.request);
        let Some(id) = request else {
            return false;
        };
        if is_error {
            let request = self.take_request(id);
            self.settle(request.ticket, Outcome::Unblocked);
        } else {
            self.refuse(id);
        }
        true
    }

    /// Ends the wait of a call without an outcome; answers whether it waited.
    pub fn withdraw(&mut self, conn: u64) -> bool {
        let request = self.state.conns.get(&conn).and_then(|conn| conn.request);
        if let Some(id) = request {
            self.take_request(id);
        }
        request.is_some()
    }

    /// The connection is gone: nothing waits on its behalf, and what lives with it ends, or will.
    pub fn disconnect(&mut self, conn: u64) {
        if !seeded::has(Bug::GrantAfterDisconnect) {
            self.withdraw(conn);
        }
        self.end_sessions_of(conn);
    }

    /// The places that an owner has at these objects.
    pub(super) fn places(&self, objects: &[u32], owner: &[u8]) -> Vec<(u32, u64)> {
        let place = |&object: &u32| Some((object, self.place(object, owner)?));
        objects.iter().filter_map(place).collect()
    }

    fn place(&self, object: u32, owner: &[u8]) -> Option<u64> {
        let own = self.queued(object, owner)?;
        Some(self.state.requests[own as usize].place_at(object))
    }

    /// An owner asks again for objects it waits for: the earlier calls are refused.
    pub(super) fn take_over(&mut self, objects: &[u32], owner: &[u8]) {
        for &object in objects {
            if let Some(id) = self.queued(object, owner) {
                self.refuse(id);
            }
        }
    }

    /// Whether one more may wait, that gives up these places.
    pub(super) fn has_room_to_wait(&self, places: &[(u32, u64)]) -> bool {
        !places.is_empty() || self.state.requests.len() < self.state.bounds.waiters
    }
}

impl State {
    /// Notes that an object's queue, which is empty, begins (1) or has come to its end (-1):
    /// whoever holds it comes to be in the way of somebody, or no longer is.
    fn note_queue(&mut self, object: u32, step: i32) {
        let object = &self.objects[object as usize];
        let Some(held) = object.held().filter(|_| object.queue.is_empty()) else {
            return;
        };
        if held.limit.is_none() && held.pool.is_none() {
            for hold in &held.holds {
                let bytes = &mut self.heap_bytes;
                note_blocking(&mut self.blocking, &hold.owner, step, bytes);
            }
        }
    }

    /// Notes that somebody came to hold an object (1), or no longer does (-1).
    pub(super) fn note_hold(&mut self, object: u32, owner: &[u8], step: i32) {
        let object = &self.objects[object as usize];
        if !object.queue.is_empty() && object.kind() == Kind::Lock {
            note_blocking(&mut self.blocking, owner, step, &mut self.heap_bytes);
        }
    }

    /// Tells the owners of what is in the way of a request at an object where it stands at this
    /// place: those of holds, and of the request just ahead.
    fn in_the_way<'s>(
        &'s self,
        object: u32,
        share: Share,
        place: u64,
        tell: &mut dyn FnMut(&'s [u8]),
    ) {
        let object = &self.objects[object as usize];
        let holds = object.held().map_or(&[][..], |held| &held.holds);
        for hold in holds.iter().filter(|hold| Held::blocks(hold, share)) {
            tell(&hold.owner);
        }
        if let Some((_, &ahead)) = object.queue.range(..place).next_back() {
            tell(&self.requests[ahead as usize].owner);
        }
    }

    pub(super) fn forget_observer(&mut self, name: &Name, place: u64) {
        if let Some(ids) = self.observers.get_mut(name) {
            self.heap_bytes -= leave(ids, place);
            if ids.is_empty() {
                self.heap_bytes -= name.heap_bytes();
                self.observers.remove(name);
            }
        }
    }
}

fn note_blocking(
    blocking: &mut HashMap<Box<[u8]>, u32>,
    owner: &[u8],
    step: i32,
    heap_bytes: &mut usize,
) {
    let Some(holds) = blocking.get_mut(owner) else {
        if step > 0 {
            *heap_bytes += text_bytes(owner);
            blocking.insert(owner.into(), 1);
        }
        return;
    };
    *holds = holds.saturating_add_signed(step);
    if *holds == 0 {
        *heap_bytes -= text_bytes(owner);
        blocking.remove(owner);
    }
}
