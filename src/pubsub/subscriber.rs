//! What one connection subscribes to.

use super::{Hub, Kind, Mailbox};
use crate::engine::usable;
use linchpin_protocol::Version;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The subscriptions of a connection that has had any, and its mailbox.
#[derive(Debug)]
pub struct Subscriber {
    mailbox: Arc<Mailbox>,
    /// By [`Kind`].
    names: [BTreeSet<Box<[u8]>>; 3],
    names_bytes: usize,
}

/// What a subscription takes beside its name: its place in the set of the connection, in the
/// topic, and the topic itself, of which it may be the only one.
const SUBSCRIPTION_BYTES: usize = 320;

impl Subscriber {
    /// Without subscriptions yet.
    #[must_use]
    pub fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            names: Default::default(),
            names_bytes: 0,
        }
    }

    /// Where messages come in.
    #[must_use]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Number of subscriptions of a kind.
    #[must_use]
    pub fn len(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// Number of all subscriptions.
    #[must_use]
    pub fn total(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    /// What a confirmation tells: channels of the shard count for themselves.
    #[must_use]
    pub fn confirmed(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.len(Kind::Shard),
            Kind::Channel | Kind::Pattern => self.len(Kind::Channel) + self.len(Kind::Pattern),
        }
    }

    /// Whether this is subscribed to.
    #[must_use]
    pub fn has(&self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].contains(name)
    }

    /// All that is subscribed to of a kind, in order.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<Box<[u8]>> {
        self.names[kind as usize].iter().cloned().collect()
    }

    /// Subscribes. Messages come in from now on.
    pub fn subscribe(&mut self, hub: &Hub, kind: Kind, name: &[u8]) {
        if self.names[kind as usize].insert(name.into()) {
            self.names_bytes += cost_bytes(name);
            hub.subscribe(kind, name, &self.mailbox);
        }
    }

    /// Ends a subscription, if there is one. Nothing comes in by it from now on.
    pub fn unsubscribe(&mut self, hub: &Hub, kind: Kind, name: &[u8]) {
        if self.names[kind as usize].remove(name) {
            self.names_bytes -= cost_bytes(name);
            hub.unsubscribe(kind, name, self.mailbox.conn());
        }
    }

    /// Ends all of them.
    pub fn leave(&mut self, hub: &Hub) {
        for kind in Kind::ALL {
            for name in std::mem::take(&mut self.names[kind as usize]) {
                hub.unsubscribe(kind, &name, self.mailbox.conn());
            }
        }
        self.names_bytes = 0;
    }

    /// Appends all messages that came in.
    pub fn flush(&self, out: &mut Vec<u8>, version: Version) {
        self.mailbox.take(out, version, usize::MAX);
    }

    /// Bytes held on the heap, near enough. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.names_bytes + self.mailbox.waiting_bytes()
    }
}

/// What one subscription holds: its name stands with the connection and with the topic.
fn cost_bytes(name: &[u8]) -> usize {
    SUBSCRIPTION_BYTES + 2 * usable(name.len())
}
