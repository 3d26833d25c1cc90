//! What tests of the keyspace put into a coordinator: objects and sessions that came from nowhere.

use super::object::{Barrier, Body, Held, Hold, Latch, Name};
use super::{Coordinator, Due, Kind, Open};
use crate::clock::Now;
use crate::engine::effect::{Life, Share};

const FAR_MS: u64 = 1 << 40;

impl Coordinator {
    /// Makes an object, in the place of one that may be there.
    pub(in crate::engine) fn make(&self, db: u32, key: &[u8], kind: Kind, in_use: bool) {
        self.remove(db, key);
        let mut turn = self.turn_without_time(Now::default(), None);
        let hold = |share| Hold {
            owner: b"o"[..].into(),
            fence: 0,
            share,
            depth: 1,
            life: Life::Lease { end_ms: FAR_MS },
            ttl_ms: FAR_MS,
            delay_ms: 0,
            value: None,
            since_ms: 0,
            conn: 0,
            timer: None,
        };
        let id = turn.state.objects.vacant_key() as u32;
        let body = match kind {
            Kind::Lock
            | Kind::Fence
            | Kind::IdRange
            | Kind::IdShort
            | Kind::IdWorker
            | Kind::Limit
            | Kind::Idempotency => {
                let mut held = Held::of_lock();
                held.holds.extend(in_use.then(|| hold(Share::Exclusive)));
                Body::Held(held)
            }
            Kind::Semaphore => {
                let mut held = Held::of_semaphore(1);
                let share = Share::Permits { count: 1, limit: 1 };
                held.holds.extend(in_use.then(|| hold(share)));
                Body::Held(held)
            }
            Kind::Latch => Body::Latch(Latch {
                remaining: 1,
                counted: Vec::new(),
                end_ms: FAR_MS,
                timer: turn.state.lives.insert(FAR_MS, Due::Object(id)),
            }),
            Kind::Barrier => Body::Barrier(Barrier {
                parties: 1,
                tripped: None,
            }),
        };
        turn.object(&Name::new(db, key), || body);
    }

    /// Takes an object away.
    pub(in crate::engine) fn remove(&self, db: u32, key: &[u8]) {
        let mut state = self.0.lock();
        let Some(id) = state.find(db, key) else {
            return;
        };
        let object = state.objects.remove(id as usize);
        state.heap_bytes -= object.name.heap_bytes();
        if let Ok(place) = state.table.find_entry(object.hash, |other| *other == id) {
            place.remove();
        }
    }

    /// Opens a session of this number, if it is not open.
    pub(in crate::engine) fn open(&self, sid: &[u8], number: u64) {
        if self.is_open(number) {
            return;
        }
        let mut turn = self.turn_without_time(Now::default(), None);
        turn.state.session = number - 1;
        turn.open_session(&Open {
            sid,
            name: b"",
            ttl_ms: FAR_MS,
            grace_ms: FAR_MS,
            delay_ms: 0,
            is_bound: false,
            conn: 0,
        });
    }

    /// Ends a session.
    pub(in crate::engine) fn close(&self, number: u64) {
        let mut state = self.0.lock();
        if let Some(session) = state.sessions.remove(&number) {
            state.heap_bytes -= session.heap_bytes();
        }
        state.sids.retain(|_, other| *other != number);
    }

    /// The keys that go with a session, by identity of the database.
    pub(in crate::engine) fn tied(&self, number: u64) -> Vec<(u32, Box<[u8]>)> {
        let state = self.0.lock();
        let session = state.sessions.get(&number);
        let keys = session.into_iter().flat_map(|session| &session.keys);
        keys.map(|name| (name.db, name.key.clone())).collect()
    }
}
