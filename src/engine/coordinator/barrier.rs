//! Barriers: a number of parties that go on together when the last one has arrived.

use super::Kind;
use super::object::{Barrier, Body, Name, Tripped};
use super::queue::{Request, Wants};
use super::turn::{Outcome, Ticket, Turn};
use super::{Due, Refusal};
use crate::engine::effect::Coordination;

/// For how long a meeting is remembered.
const REMEMBERED_MS: u64 = 60_000;

/// A party that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrive<'a> {
    /// The call.
    pub ticket: Ticket,
    /// Who arrives.
    pub owner: &'a [u8],
    /// How many there are.
    pub parties: u32,
    /// The last meeting it knows of: a later one that it was part of is answered again.
    pub after: Option<u64>,
    /// How long it waits at most, in milliseconds.
    pub wait_ms: u64,
}

/// What is told of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierInfo {
    /// How many parties there are.
    pub parties: u32,
    /// How many wait.
    pub waiting: usize,
    /// The number of the last meeting, while it is remembered.
    pub generation: Option<u64>,
}

impl Turn<'_> {
    /// A party arrives; answers at once where it is the last, or was part of a meeting already.
    ///
    /// # Errors
    /// Where the key is something else, or the barrier has another number of parties.
    pub fn arrive(&mut self, name: &Name, arrive: &Arrive<'_>) -> Result<Option<Outcome>, Refusal> {
        if self.kind(name).is_some_and(|kind| kind != Kind::Barrier) {
            return Err(Refusal::WrongKind);
        }
        if let Some(again) = self.met_before(name, arrive)? {
            return Ok(Some(again));
        }
        let parties = arrive.parties;
        let is_last = |waiting: usize| waiting + 1 >= parties as usize;
        let found = self.state.find(name.db, &name.key);
        let waiting = found.map_or(0, |id| {
            let others = self.state.objects[id as usize].queue.len();
            others - usize::from(self.queued(id, arrive.owner).is_some())
        });
        if !is_last(waiting) && (arrive.wait_ms == 0 || !self.has_room_to_wait(&[])) {
            if let Some(id) = found {
                self.take_over(&[id], arrive.owner);
            }
            return Ok(Some(Outcome::Nothing));
        }
        let id = self.object(name, || {
            Body::Barrier(Barrier {
                parties,
                tripped: None,
            })
        });
        self.to_pump.push(id);
        if is_last(waiting) {
            self.take_over(&[id], arrive.owner);
            return self.trip(id, arrive).map(Some);
        }
        let places = self.places(&[id], arrive.owner);
        self.take_over(&[id], arrive.owner);
        let request = Request {
            ticket: arrive.ticket,
            owner: arrive.owner.into(),
            wants: Wants::Barrier(id),
            session: None,
            timer: None,
            since_ms: self.now.mono_us / 1_000,
            place: 0,
            inherited: places,
        };
        self.park(request, arrive.wait_ms);
        Ok(None)
    }

    /// What is to be known of a barrier.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn barrier_info(&self, name: &Name) -> Result<Option<BarrierInfo>, Refusal> {
        let Some(id) = self.state.find(name.db, &name.key) else {
            return Ok(None);
        };
        let object = &self.state.objects[id as usize];
        let Body::Barrier(barrier) = &object.body else {
            return Err(Refusal::WrongKind);
        };
        Ok(Some(BarrierInfo {
            parties: barrier.parties,
            waiting: object.queue.len(),
            generation: barrier.tripped.as_ref().map(|tripped| tripped.generation),
        }))
    }

    /// A meeting that the owner was part of, and does not know of.
    fn met_before(&self, name: &Name, arrive: &Arrive<'_>) -> Result<Option<Outcome>, Refusal> {
        let Some(id) = self.state.find(name.db, &name.key) else {
            return Ok(None);
        };
        let object = &self.state.objects[id as usize];
        let Body::Barrier(barrier) = &object.body else {
            return Err(Refusal::WrongKind);
        };
        if barrier.parties != arrive.parties {
            return Err(Refusal::Limit(barrier.parties));
        }
        let tripped = barrier.tripped.as_ref();
        let tripped =
            tripped.filter(|met| arrive.after.is_some_and(|after| met.generation > after));
        Ok(tripped.and_then(|met| {
            let index = met
                .owners
                .iter()
                .position(|owner| **owner == *arrive.owner)?;
            Some(Outcome::Met {
                generation: met.generation,
                index: index as u64,
            })
        }))
    }

    /// All are there: they go on together.
    fn trip(&mut self, id: u32, last: &Arrive<'_>) -> Result<Outcome, Refusal> {
        let generation = self.next_fence().ok_or(Refusal::NotReserved)?;
        let waiting = self.state.objects[id as usize].queue.values();
        let waiting: Vec<u32> = waiting.copied().collect();
        let mut owners = Vec::new();
        for (index, request) in (0..).zip(waiting) {
            let request = self.take_request(request);
            owners.push(request.owner);
            self.settle(request.ticket, Outcome::Met { generation, index });
        }
        let index = owners.len() as u64;
        owners.push(last.owner.into());
        let until_ms = self.in_ms(REMEMBERED_MS);
        let name = self.state.objects[id as usize].name.clone();
        self.emit(&Coordination::Trip {
            db: name.db,
            key: &name.key,
            parties: last.parties,
            generation,
            until_ms,
        });
        for owner in &owners {
            self.emit(&Coordination::Arrival {
                db: name.db,
                key: &name.key,
                owner,
            });
        }
        self.put_tripped(id, generation, owners, until_ms);
        self.touch(id);
        Ok(Outcome::Met { generation, index })
    }

    pub(super) fn put_tripped(
        &mut self,
        id: u32,
        generation: u64,
        owners: Vec<Box<[u8]>>,
        until_ms: u64,
    ) {
        let state = &mut *self.state;
        let timer = state.lives.insert(until_ms, Due::Object(id));
        let tripped = Tripped {
            generation,
            owners,
            until_ms,
            timer,
        };
        let Body::Barrier(barrier) = &mut state.objects[id as usize].body else {
            state.lives.remove(timer);
            return;
        };
        state.heap_bytes += tripped.heap_bytes();
        if let Some(old) = barrier.tripped.replace(tripped) {
            state.lives.remove(old.timer);
            state.heap_bytes -= old.heap_bytes();
        }
    }
}
