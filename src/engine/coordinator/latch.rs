//! Latches: a count that is taken down to zero once, and those who wait for that.

use super::Kind;
use super::object::{Body, Latch, Name};
use super::queue::{Request, Wants};
use super::room::{join, push_text};
use super::turn::{Outcome, Ticket, Turn};
use super::{Due, Refusal};
use crate::engine::effect::Coordination;

impl Turn<'_> {
    /// Makes a latch that is forgotten after `lease_ms`; answers whether there was none.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn set_latch(&mut self, name: &Name, count: u32, lease_ms: u64) -> Result<bool, Refusal> {
        match self.kind(name) {
            None => {}
            Some(Kind::Latch) => return Ok(false),
            Some(_) => return Err(Refusal::WrongKind),
        }
        let end_ms = self.in_ms(lease_ms);
        let id = self.put_latch(name, count, end_ms);
        self.emit(&Coordination::Latch {
            db: name.db,
            key: &name.key,
            remaining: count,
            end_ms,
        });
        self.touch(id);
        Ok(true)
    }

    pub(super) fn put_latch(&mut self, name: &Name, remaining: u32, end_ms: u64) -> u32 {
        // Its number is known before it is there.
        let id = self.state.objects.vacant_key() as u32;
        let timer = self.state.lives.insert(end_ms, Due::Object(id));
        let latch = Latch {
            remaining,
            counted: Vec::new(),
            end_ms,
            timer,
        };
        self.object(name, || Body::Latch(latch))
    }

    /// An owner counts a latch down by `count`, once; answers what remains, or none where there is
    /// no latch.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn count_down(
        &mut self,
        name: &Name,
        owner: &[u8],
        count: u32,
    ) -> Result<Option<u32>, Refusal> {
        let Some(id) = self.latch(name)? else {
            return Ok(None);
        };
        let Body::Latch(latch) = &mut self.state.objects[id as usize].body else {
            return Ok(None);
        };
        if latch.remaining == 0 || latch.counted.iter().any(|other| **other == *owner) {
            return Ok(Some(latch.remaining));
        }
        latch.remaining = latch.remaining.saturating_sub(count);
        let remaining = latch.remaining;
        self.state.heap_bytes += push_text(&mut latch.counted, owner);
        self.emit(&Coordination::CountDown {
            db: name.db,
            key: &name.key,
            owner,
            remaining,
        });
        self.touch(id);
        if remaining == 0 {
            self.answer_observers(name, |wants| match wants {
                Wants::Latch(_) => Some(Outcome::Opened),
                _ => None,
            });
        }
        Ok(Some(remaining))
    }

    /// Waits until a latch is open: at once where it is. Answers whether it is.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn await_latch(
        &mut self,
        name: &Name,
        ticket: Ticket,
        wait_ms: u64,
    ) -> Result<Option<bool>, Refusal> {
        if let Some(id) = self.latch(name)?
            && let Body::Latch(latch) = &self.state.objects[id as usize].body
            && latch.remaining == 0
        {
            return Ok(Some(true));
        }
        if wait_ms == 0 || !self.has_room_to_wait(&[]) {
            return Ok(Some(false));
        }
        self.park_observer(Wants::Latch(name.clone()), name, ticket, wait_ms);
        Ok(None)
    }

    /// What remains of a latch and how many owners have counted.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn latch_info(&self, name: &Name) -> Result<Option<(u32, usize, u64)>, Refusal> {
        let Some(id) = self.latch(name)? else {
            return Ok(None);
        };
        let Body::Latch(latch) = &self.state.objects[id as usize].body else {
            return Ok(None);
        };
        let left_ms = self.now.left_ms(latch.end_ms);
        Ok(Some((latch.remaining, latch.counted.len(), left_ms)))
    }

    /// The latch is forgotten: those who wait for it are told so if it was not open.
    pub(super) fn end_latch(&mut self, id: u32) {
        let object = &mut self.state.objects[id as usize];
        let name = object.name.clone();
        // A lock that nobody holds is nothing.
        let nothing = Body::Held(super::object::Held::of_lock());
        if let Body::Latch(latch) = std::mem::replace(&mut object.body, nothing) {
            self.state.heap_bytes -= latch.heap_bytes();
        }
        self.answer_observers(&name, |wants| match wants {
            Wants::Latch(_) => Some(Outcome::Nothing),
            _ => None,
        });
    }

    fn latch(&self, name: &Name) -> Result<Option<u32>, Refusal> {
        match self.kind(name) {
            None => Ok(None),
            Some(Kind::Latch) => Ok(self.state.find(name.db, &name.key)),
            Some(_) => Err(Refusal::WrongKind),
        }
    }

    /// Parks a call that waits for what becomes of a name.
    pub(super) fn park_observer(
        &mut self,
        wants: Wants,
        name: &Name,
        ticket: Ticket,
        wait_ms: u64,
    ) {
        let request = Request {
            ticket,
            owner: Box::default(),
            wants,
            session: None,
            timer: None,
            since_ms: self.now.mono_us / 1_000,
            place: 0,
            inherited: Vec::new(),
        };
        let id = self.park(request, wait_ms);
        let place = self.state.requests[id as usize].place;
        let observers = self.state.observers.entry(name.clone()).or_default();
        let is_first = observers.is_empty();
        let name_bytes = if is_first { name.heap_bytes() } else { 0 };
        self.state.heap_bytes += join(observers, place, id) + name_bytes;
    }

    /// Answers those who wait for what becomes of a name, as far as `answer` says.
    pub(super) fn answer_observers(
        &mut self,
        name: &Name,
        answer: impl Fn(&Wants) -> Option<Outcome>,
    ) {
        let Some(ids) = self.state.observers.get(name) else {
            return;
        };
        let requests = &self.state.requests;
        let answers: Vec<(u32, Outcome)> = ids
            .values()
            .filter_map(|id| Some((*id, answer(&requests[*id as usize].wants)?)))
            .collect();
        for (id, outcome) in answers {
            let request = self.take_request(id);
            self.settle(request.ticket, outcome);
        }
    }
}
