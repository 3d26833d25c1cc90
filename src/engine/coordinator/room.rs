//! What the coordinator holds in memory.
//!
//! What hangs below objects, requests and sessions is added when it comes and taken off when it
//! goes (`State::heap_bytes`); what the tables take follows from their capacities, and is added up
//! anew when one of those has changed.
//!
//! LIMITATIONS: how full the nodes of a tree are is not known, so that they are counted as a little
//! more than half full, as those are that grow at one end.

use super::object::{Held, Hold, Latch, Line, Name, Object, Tripped};
use super::queue::{Request, Wants};
use super::sessions::Session;
use super::{Conn, State};
use crate::engine::ledger::{usable, usable_map, usable_slots};

/// What is held is reported in steps of so many bytes.
const REPORT_STEP_BYTES: usize = 4 << 10;
/// Entries that a node of a tree has room for, and how many are used.
const NODE_ENTRIES: usize = 11;
const NODE_USED: usize = 6;
/// What a node has beside its entries.
const NODE_HEAD_BYTES: usize = 16;

/// Bytes that a text takes.
pub(super) const fn text_bytes(text: &[u8]) -> usize {
    usable(text.len())
}

/// Bytes that a list of texts takes that has room for so many. O(texts).
fn list_bytes(texts: &[Box<[u8]>], capacity: usize) -> usize {
    let each = texts.iter().map(|text| text_bytes(text));
    usable_slots::<Box<[u8]>>(capacity) + each.sum::<usize>()
}

/// Bytes of the nodes of a tree with so many entries.
const fn tree_bytes<K, V>(entries: usize) -> usize {
    let node_bytes = usable(NODE_ENTRIES * (size_of::<K>() + size_of::<V>()) + NODE_HEAD_BYTES);
    entries.div_ceil(NODE_USED) * node_bytes
}

/// Bytes that a queue of so many takes.
const fn line_bytes(entries: usize) -> usize {
    tree_bytes::<u64, u32>(entries)
}

/// Adds a text to a list; answers how many bytes more that takes.
pub(super) fn push_text(texts: &mut Vec<Box<[u8]>>, text: &[u8]) -> usize {
    let slots_before = usable_slots::<Box<[u8]>>(texts.capacity());
    texts.push(text.into());
    usable_slots::<Box<[u8]>>(texts.capacity()) - slots_before + text_bytes(text)
}

impl Name {
    pub(super) fn heap_bytes(&self) -> usize {
        text_bytes(&self.key)
    }
}

impl Hold {
    /// Without its slot in the list of its object.
    pub(super) fn heap_bytes(&self) -> usize {
        text_bytes(&self.owner) + self.value.as_deref().map_or(0, text_bytes)
    }
}

impl Request {
    /// Without what its place in queues takes.
    pub(super) fn heap_bytes(&self) -> usize {
        let wants = match &self.wants {
            Wants::Hold { objects, value, .. } => {
                usable_slots::<u32>(objects.capacity()) + value.as_deref().map_or(0, text_bytes)
            }
            Wants::Latch(name) | Wants::Observe(name, _) => name.heap_bytes(),
            Wants::Look(name, ask) => name.heap_bytes() + ask.heap_bytes(),
            Wants::Barrier(_) => 0,
        };
        let inherited = usable_slots::<(u32, u64)>(self.inherited.capacity());
        text_bytes(&self.owner) + wants + inherited
    }
}

impl Tripped {
    pub(super) fn heap_bytes(&self) -> usize {
        list_bytes(&self.owners, self.owners.capacity())
    }
}

impl Latch {
    pub(super) fn heap_bytes(&self) -> usize {
        list_bytes(&self.counted, self.counted.capacity())
    }
}

impl Held {
    /// Of the list of holds, without what hangs below them.
    pub(super) fn slots_bytes(&self) -> usize {
        usable_slots::<Hold>(self.holds.capacity())
    }
}

impl Session {
    /// O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        // Its secret name is also what it is found by.
        let texts = 2 * text_bytes(&self.sid) + text_bytes(&self.name);
        let holds = usable_map::<(u32, u64), ()>(self.holds.capacity());
        let keys = tree_bytes::<Name, ()>(self.keys.len()) + self.key_bytes;
        texts + holds + keys + line_bytes(self.waiting.len())
    }
}

/// Puts a request into a line; answers how many bytes more that takes.
pub(super) fn join(line: &mut Line, place: u64, request: u32) -> usize {
    let before = line_bytes(line.len());
    line.insert(place, request);
    line_bytes(line.len()) - before
}

/// Takes a request out of a line; answers how many bytes less that takes.
pub(super) fn leave(line: &mut Line, place: u64) -> usize {
    let before = line_bytes(line.len());
    line.remove(&place);
    before - line_bytes(line.len())
}

impl State {
    /// Changes a session, if there is one of this number, and counts what it takes then.
    pub(super) fn change_session(&mut self, number: u64, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&number) {
            let before = session.heap_bytes();
            change(session);
            self.heap_bytes = self.heap_bytes + session.heap_bytes() - before;
        }
    }

    /// Tells the ledger what is held, in steps: most turns change little, and all share the sum.
    pub(super) fn report(&mut self) {
        let capacities = self.objects.capacity()
            + self.requests.capacity()
            + self.table.capacity()
            + self.sessions.capacity()
            + self.sids.capacity()
            + self.conns.capacity()
            + self.waiting.capacity()
            + self.blocking.capacity()
            + self.observers.capacity();
        if capacities != self.tables.capacities {
            self.tables = Tables {
                capacities,
                bytes: self.tables_bytes(),
            };
        }
        let wheels = self.lives.heap_bytes() + self.waits.heap_bytes() + self.looks.heap_bytes();
        let bytes = self.tables.bytes + wheels + self.heap_bytes;
        self.room.set(bytes.next_multiple_of(REPORT_STEP_BYTES));
    }

    #[cold]
    fn tables_bytes(&self) -> usize {
        usable_slots::<Entry<Object>>(self.objects.capacity())
            + usable_slots::<Entry<Request>>(self.requests.capacity())
            + usable(self.table.allocation_size())
            + usable_map::<u64, Session>(self.sessions.capacity())
            + usable_map::<Box<[u8]>, u64>(self.sids.capacity())
            + usable_map::<u64, Conn>(self.conns.capacity())
            + usable_map::<Box<[u8]>, Line>(self.waiting.capacity())
            + usable_map::<Box<[u8]>, u32>(self.blocking.capacity())
            + usable_map::<Name, Line>(self.observers.capacity())
    }
}

/// What the tables took when their capacities added up to this.
#[cfg_attr(test, derive(Clone))]
#[derive(Debug, Default)]
pub(super) struct Tables {
    capacities: usize,
    bytes: usize,
}

/// What a place of a slab is like.
enum Entry<T> {
    #[expect(dead_code, reason = "only its size counts")]
    Vacant(usize),
    #[expect(dead_code, reason = "only its size counts")]
    Occupied(T),
}
