//! What the keyspace asks of the coordinator: which objects there are, and which sessions are open.
//!
//! Its lock comes after those of shards.

use super::extras::Kind;
use crate::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Objects by identity of the database and key, sessions by number.
#[derive(Debug)]
pub(super) struct Coordinator {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<u32, HashMap<Box<[u8]>, Object>>,
    sessions: HashMap<Box<[u8]>, u64>,
    ties: BTreeSet<(u64, u32, Box<[u8]>)>,
}

#[derive(Clone, Copy, Debug)]
struct Object {
    kind: Kind,
    in_use: bool,
}

impl Coordinator {
    /// One without objects and sessions.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
        }
    }

    fn object(&self, db_id: u32, key: &[u8]) -> Option<Object> {
        let state = self.state.lock();
        state.objects.get(&db_id)?.get(key).copied()
    }

    /// What object this key is, if it is one.
    pub(super) fn kind_of(&self, db_id: u32, key: &[u8]) -> Option<Kind> {
        self.object(db_id, key).map(|object| object.kind)
    }

    /// Whether the session with this number has not ended.
    pub(super) fn is_open(&self, session: u64) -> bool {
        self.state
            .lock()
            .sessions
            .values()
            .any(|&number| number == session)
    }

    /// The number of the open session that this text names.
    pub(super) fn session_of(&self, sid: &[u8]) -> Option<u64> {
        self.state.lock().sessions.get(sid).copied()
    }

    /// Milliseconds that are left to the object, if its time is bounded.
    pub(super) fn ttl_ms(&self, _db_id: u32, _key: &[u8]) -> Option<u64> {
        None
    }

    /// Whether the object may not be deleted.
    pub(super) fn is_in_use(&self, db_id: u32, key: &[u8]) -> bool {
        self.object(db_id, key).is_some_and(|object| object.in_use)
    }

    /// Whether the database has any object.
    pub(super) fn is_used(&self, db_id: u32) -> bool {
        let state = self.state.lock();
        state
            .objects
            .get(&db_id)
            .is_some_and(|objects| !objects.is_empty())
    }

    /// Deletes an object whose key was deleted.
    pub(super) fn remove(&self, db_id: u32, key: &[u8]) {
        if let Some(objects) = self.state.lock().objects.get_mut(&db_id) {
            objects.remove(key);
        }
    }

    /// A key goes from now on when this session ends.
    pub(super) fn tie(&self, db_id: u32, key: &[u8], session: u64) {
        self.state.lock().ties.insert((session, db_id, key.into()));
    }

    /// A key no longer goes with this session.
    pub(super) fn untie(&self, db_id: u32, key: &[u8], session: u64) {
        self.state.lock().ties.remove(&(session, db_id, key.into()));
    }
}

#[cfg(test)]
impl Coordinator {
    /// Makes an object.
    pub(super) fn make(&self, db_id: u32, key: &[u8], kind: Kind, in_use: bool) {
        let mut state = self.state.lock();
        let objects = state.objects.entry(db_id).or_default();
        objects.insert(key.into(), Object { kind, in_use });
    }

    /// Opens a session.
    pub(super) fn open(&self, sid: &[u8], number: u64) {
        self.state.lock().sessions.insert(sid.into(), number);
    }

    /// Ends a session.
    pub(super) fn close(&self, number: u64) {
        self.state
            .lock()
            .sessions
            .retain(|_, other| *other != number);
    }

    /// The keys that go with a session, by identity of the database.
    pub(super) fn tied(&self, number: u64) -> Vec<(u32, Box<[u8]>)> {
        let state = self.state.lock();
        let of_session = state
            .ties
            .iter()
            .filter(|(session, _, _)| *session == number);
        of_session.map(|(_, db, key)| (*db, key.clone())).collect()
    }
}
