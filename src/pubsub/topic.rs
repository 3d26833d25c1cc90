//! A channel or a pattern, and who subscribes to it.

use super::{Frame, Mailbox, Rings, Room};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something subscribed to.
#[derive(Debug)]
pub(super) struct Topic {
    name: Arc<[u8]>,
    /// By the numbers of their connections, so that one is found among many.
    subscribers: Mutex<BTreeMap<u64, Arc<Mailbox>>>,
}

impl Topic {
    /// Without a subscriber yet.
    pub(super) fn new(name: Arc<[u8]>) -> Self {
        Self {
            name,
            subscribers: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of subscribers.
    pub(super) fn len(&self) -> usize {
        self.subscribers.lock().len()
    }

    pub(super) fn add(&self, mailbox: &Arc<Mailbox>) {
        let mut subscribers = self.subscribers.lock();
        subscribers.insert(mailbox.conn(), Arc::clone(mailbox));
    }

    /// Takes a subscriber out; answers whether none is left.
    pub(super) fn remove(&self, conn: u64) -> bool {
        let mut subscribers = self.subscribers.lock();
        subscribers.remove(&conn);
        subscribers.is_empty()
    }

    /// Leaves a message with every subscriber; answers how many they are.
    pub(super) fn post(&self, frame: &Frame, room: Room<'_>, rings: &Rings) -> usize {
        // Locked until the last has it: who has unsubscribed gets nothing more.
        let subscribers = self.subscribers.lock();
        for mailbox in subscribers.values() {
            if mailbox.post(frame, room) {
                rings.add(mailbox);
            }
        }
        subscribers.len()
    }
}
