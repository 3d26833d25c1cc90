//! Publish and subscribe: who listens to what, and how a message gets to all of them.
//!
//! ```text
//!   PUBLISH --> Directory (channels, by name) ---+--> Topic --> Mailbox of each subscriber
//!           --> Patterns (by literal ends) ------+                 |
//!                                                                  | quiet until now
//!   end of the publisher's batch: Rings --> Bell of each worker <--+
//!                                             | rings once
//!                                             +--> relay of that worker wakes its connections
//! ```
//!
//! A message is encoded once, whatever the number and the protocol versions of its subscribers,
//! and shared by their mailboxes ([`Frame`]). A connection empties its mailbox between its own
//! requests, so a message never stands inside a reply.
//!
//! Invariants:
//! - messages of one publisher reach each subscriber in their order: a publish has left its message
//!   in every mailbox before it answers;
//! - nothing is left for a subscription after [`Hub::unsubscribe`] has returned: mailboxes are
//!   filled while the topic is locked;
//! - whoever finds a mailbox quiet has its connection woken, after the batch at the latest;
//! - locks are taken in one order: a part of a directory or the patterns, a topic, a mailbox or a
//!   bell. Nothing is encoded while one is held.
//!
//! Cost: a publish is one look-up of the channel, one for each length of literal ends among the
//! patterns, an allocation for each encoded form and a short lock for each subscriber.
//!
//! LIMITATIONS: nobody but the subscribers of the moment gets a message, and one that is cut off or
//! restarts loses what it was not sent; what is published is in no journal.

mod bell;
mod directory;
mod frame;
#[cfg(all(test, loom))]
mod loom_tests;
mod mailbox;
mod patterns;
mod slow;
mod subscriber;
mod topic;

pub use bell::{Bell, Rings};
pub use frame::Frame;
pub use mailbox::Mailbox;
pub use slow::{Losses, SlowPolicy};
pub use subscriber::Subscriber;

use crate::sync::atomic::{AtomicUsize, Ordering};
use directory::Directory;
use linchpin_protocol::Version;
use patterns::Patterns;
use std::sync::Arc;

/// Parts of a directory, each with a lock of its own.
const PARTS: usize = 64;

/// The longest name of a channel, and the longest pattern, that can be subscribed to, in bytes.
pub const TOPIC_LEN_MAX: usize = 64 << 10;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel.
    Channel,
    /// A channel of the shard, which is another one than the channel of the same name.
    Shard,
    /// All channels whose names match.
    Pattern,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Shard, Self::Pattern];
}

/// All subscriptions of a server.
#[derive(Debug)]
pub struct Hub {
    channels: Directory,
    shards: Directory,
    patterns: Patterns,
    bells: Box<[Bell]>,
    /// What may wait for one subscriber, in bytes.
    unsent_bytes_max: AtomicUsize,
    losses: Losses,
}

impl Hub {
    /// Of a server with so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self::with_parts(workers, PARTS)
    }

    /// The same with directories in so many parts.
    fn with_parts(workers: usize, parts: usize) -> Self {
        Self {
            channels: Directory::new(parts),
            shards: Directory::new(parts),
            patterns: Patterns::new(),
            bells: (0..workers).map(|_| Bell::new()).collect(),
            unsent_bytes_max: AtomicUsize::new(usize::MAX),
            losses: Losses::new(),
        }
    }

    /// What slow subscribers were not sent.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Limits, from now on, what may wait for one subscriber.
    pub fn limit_unsent(&self, bytes_max: usize) {
        self.unsent_bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// The bell of a worker.
    #[must_use]
    pub fn bell(&self, worker: usize) -> &Bell {
        &self.bells[worker]
    }

    /// Subscribes; whoever is already subscribed stays it. O(log N) with N subscribers.
    pub fn subscribe(&self, kind: Kind, name: &[u8], mailbox: &Arc<Mailbox>) {
        match kind {
            Kind::Channel => self.channels.subscribe(name, mailbox),
            Kind::Shard => self.shards.subscribe(name, mailbox),
            Kind::Pattern => self.patterns.subscribe(name, mailbox),
        }
    }

    /// Ends a subscription, if there is one: nothing more comes by it. O(log N) with N subscribers.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], conn: u64) {
        match kind {
            Kind::Channel => self.channels.unsubscribe(name, conn),
            Kind::Shard => self.shards.unsubscribe(name, conn),
            Kind::Pattern => self.patterns.unsubscribe(name, conn),
        }
    }

    /// Sends a message to a channel; answers to how many subscriptions. Connections that are to be
    /// woken are put into `rings`.
    pub fn publish(&self, channel: &[u8], payload: &[u8], rings: &Rings) -> usize {
        let mut receivers = 0;
        if let Some(topic) = self.channels.find(channel) {
            let frame = Frame::message(channel, payload);
            receivers += topic.post(&frame, self.room(), rings);
        }
        for pattern in self.patterns.matching(channel) {
            let frame = Frame::matched(pattern.name(), channel, payload);
            receivers += pattern.post(&frame, self.room(), rings);
        }
        receivers
    }

    /// The same for a channel of the shard.
    pub fn publish_to_shard(&self, channel: &[u8], payload: &[u8], rings: &Rings) -> usize {
        self.shards.find(channel).map_or(0, |topic| {
            let frame = Frame::of_shard(channel, payload);
            topic.post(&frame, self.room(), rings)
        })
    }

    /// Has the connections in `rings` woken: each worker is rung for once.
    pub fn ring(&self, rings: &Rings) {
        rings.ring(&self.bells);
    }

    /// Channels or patterns that have subscribers.
    #[must_use]
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.len(),
            Kind::Shard => self.shards.len(),
            Kind::Pattern => self.patterns.len(),
        }
    }

    /// The channels that have subscribers and match, in order. O(channels).
    #[must_use]
    pub fn channels(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        match kind {
            Kind::Channel => self.channels.names(pattern),
            Kind::Shard => self.shards.names(pattern),
            Kind::Pattern => Vec::new(),
        }
    }

    /// How many subscribe to this channel by its name.
    #[must_use]
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        let topic = match kind {
            Kind::Channel => self.channels.find(name),
            Kind::Shard => self.shards.find(name),
            Kind::Pattern => None,
        };
        topic.map_or(0, |topic| topic.len())
    }

    fn room(&self) -> Room<'_> {
        Room {
            bytes_max: self.unsent_bytes_max.load(Ordering::Relaxed),
            losses: &self.losses,
        }
    }
}

/// How much may wait for a subscriber, and where it is counted what may not.
#[derive(Clone, Copy, Debug)]
struct Room<'a> {
    bytes_max: usize,
    losses: &'a Losses,
}

/// How the message of a push begins in a protocol version.
fn push_tag(version: Version) -> u8 {
    match version {
        Version::Resp2 => b'*',
        Version::Resp3 => b'>',
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
