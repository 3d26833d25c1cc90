//! Calls that wait for a key that is none of the coordinator's: for their turn to fill a cache, or
//! to do a request. They wait here as all calls do, in order, with the same end of their wait; when
//! to tell them is for whoever changes the key (`step/flights.rs`).

use super::object::{Line, Name};
use super::queue::{Request, Wants};
use super::turn::{Outcome, Ticket, Turn};
use super::{Coordinator, State};
use crate::engine::flight::{self, Ask};
use std::sync::Arc;

impl Coordinator {
    /// What the call wants that has waited longest for this key.
    pub(in crate::engine) fn first_ask(&self, name: &Name) -> Option<Arc<Ask>> {
        let state = self.0.lock();
        let id = state.lookers(name).next()?;
        match &state.requests[id as usize].wants {
            Wants::Look(_, ask) => Some(Arc::clone(ask)),
            _ => None,
        }
    }

    /// Some keys whose time has come for who waits for them.
    pub(in crate::engine) fn take_due_names(&self, max: usize) -> Vec<Name> {
        let mut state = self.0.lock();
        let mut names = Vec::new();
        let now_ms = state.latest.engine_ms;
        while names.len() < max
            && let Some((_, name)) = state.looks.pop(now_ms)
        {
            names.push(name);
        }
        names
    }
}

impl Turn<'_> {
    /// Parks a call until it is told to look at a key, at most `wait_ms`; answers whether it waits.
    pub(in crate::engine) fn await_key(
        &mut self,
        name: &Name,
        ticket: Ticket,
        ask: &Arc<Ask>,
        wait_ms: u64,
    ) -> bool {
        if wait_ms == 0 || !self.has_room_to_wait(&[]) {
            return false;
        }
        let wants = Wants::Look(name.clone(), Arc::clone(ask));
        self.park_observer(wants, name, ticket, wait_ms);
        true
    }

    /// Has a key looked at, at this engine time in milliseconds.
    pub(in crate::engine) fn look_at(&mut self, name: &Name, at_ms: u64) {
        self.state.looks.insert(at_ms, name.clone());
    }

    /// Tells the call that has waited longest for a key to look; answers whether more wait.
    pub(in crate::engine) fn tell_first(&mut self, name: &Name) -> bool {
        let first = self.state.lookers(name).next();
        if let Some(id) = first {
            self.tell(id);
        }
        self.state.lookers(name).next().is_some()
    }

    /// Tells all that wait for a key to look, in order.
    pub(in crate::engine) fn tell_all(&mut self, name: &Name) {
        let all: Vec<u32> = self.state.lookers(name).collect();
        for id in all {
            self.tell(id);
        }
    }

    /// Tells all that wait for a key of a database to look: another has its place.
    pub(in crate::engine) fn tell_all_of(&mut self, db: u32) {
        self.lookers_of(db).into_iter().for_each(|id| self.tell(id));
    }

    /// Tells all that wait for a key of a database, which was emptied: to look, where it is to be
    /// filled; that there is nothing to wait for, where it was a record.
    pub(in crate::engine) fn dismiss_all_of(&mut self, db: u32) {
        for id in self.lookers_of(db) {
            if self.waits_for_record(id) {
                let request = self.take_request(id);
                self.settle(request.ticket, Outcome::Gone);
            } else {
                self.tell(id);
            }
        }
    }

    /// The requests that wait for keys of a database, in order for each key.
    fn lookers_of(&self, db: u32) -> Vec<u32> {
        let names = self.state.observers.keys();
        let names = names.filter(|name| name.db == db);
        names.flat_map(|name| self.state.lookers(name)).collect()
    }

    fn waits_for_record(&self, id: u32) -> bool {
        let wants = &self.state.requests[id as usize].wants;
        matches!(wants, Wants::Look(_, ask) if matches!(ask.wants, flight::Wants::Begin { .. }))
    }

    fn tell(&mut self, id: u32) {
        let request: Request = self.take_request(id);
        self.settle(request.ticket, Outcome::Look);
    }
}

impl State {
    /// The requests that wait for a key, in order.
    fn lookers(&self, name: &Name) -> impl Iterator<Item = u32> {
        let ids = self
            .observers
            .get(name)
            .into_iter()
            .flat_map(Line::values)
            .copied();
        ids.filter(|id| matches!(self.requests[*id as usize].wants, Wants::Look(..)))
    }
}
