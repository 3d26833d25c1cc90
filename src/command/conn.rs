//! What commands know and change of the connection that calls them.
//!
//! A plain struct, owned by the session and handed down: nothing here does I/O.

use super::grants::Grants;
use super::host::Clients;
use super::looking::Looking;
use super::spec::Spec;
use crate::engine::{WatchName, Watched, usable, usable_slots};
use crate::pubsub::{Kind, SlowPolicy, Subscriber};
use linchpin_protocol::{Request, Version};
use std::collections::BTreeSet;

/// The state of one connection, as far as commands are concerned.
#[derive(Debug)]
pub struct Conn {
    /// Unique for the life of the server, rising.
    pub id: u64,
    /// The database `SELECT` picked.
    pub db: u32,
    /// The protocol version `HELLO` picked.
    pub resp: Version,
    /// Whether commands other than `AUTH` and its like may run.
    pub authenticated: bool,
    /// What the client calls itself.
    pub names: Names,
    /// `names` changed since the registry last saw them.
    pub names_changed: bool,
    /// The commands queued since `MULTI`.
    pub multi: Option<Multi>,
    /// The keys watched for the next `EXEC`.
    pub watched: WatchedKeys,
    /// What it listens to, and where messages come in; `None` where neither is anything.
    pub subscriber: Option<Box<Subscriber>>,
    /// What happens to messages that it is too slow for.
    pub slow_policy: SlowPolicy,
    /// `CLIENT NO-EVICT`: it is not disconnected for the memory it holds.
    pub no_evict: bool,
    /// Which replies are sent.
    pub replies: Replies,
    /// The connection ends once what has been written so far is sent.
    pub closing: bool,
    /// The last frame in which it changed something.
    pub frame: u64,
    /// The last call that the coordinator knows of.
    pub calls: u64,
    /// Whether the coordinator may know of the connection.
    pub is_coordinated: bool,
    /// Grants whose reply may not have reached the client.
    pub grants: Grants,
    /// The call that waits for a key, if one does.
    pub looking: Option<Box<Looking>>,
}

/// What a client calls itself, and what it says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: Box<str>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Box<str>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_ver: Box<str>,
}

/// `CLIENT REPLY`: which commands are answered. Asked when a reply is complete, for each of those
/// that `EXEC` gathers too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// None is.
    off: bool,
    /// This one is not.
    skip: bool,
    /// The request after this one is not.
    skip_next: bool,
}

impl Replies {
    /// A request begins.
    pub fn begin(&mut self) {
        self.skip = std::mem::take(&mut self.skip_next);
    }

    /// `ON`. A skip that is still to come stays, as in Redis.
    pub fn turn_on(&mut self) {
        (self.off, self.skip) = (false, false);
    }

    /// `OFF`.
    pub fn turn_off(&mut self) {
        self.off = true;
    }

    /// `SKIP`. Nothing to skip where nothing is answered.
    pub fn skip_next(&mut self) {
        self.skip_next |= !self.off;
    }

    /// Whether the reply of the command that runs is not to be sent.
    #[must_use]
    pub fn silences(self) -> bool {
        self.off || self.skip
    }
}

/// Commands queued since `MULTI`.
#[derive(Debug, Default)]
pub struct Multi {
    /// The commands with their arguments, in order.
    pub queue: Vec<(&'static Spec, Request)>,
    /// Bytes of all of them.
    pub queue_bytes: usize,
    /// Bytes that `EXEC` may add to the journal: so much room was there when it was let in.
    pub admitted_bytes: usize,
    /// A command could not be queued: `EXEC` will refuse.
    pub failed: bool,
    request_bytes: usize,
}

impl Multi {
    /// Puts a command at the end of the queue.
    pub fn push(&mut self, spec: &'static Spec, request: Request) {
        let allocations = request.allocations();
        self.request_bytes += allocations.into_iter().map(usable).sum::<usize>();
        self.queue.push((spec, request));
    }

    /// Bytes the queue holds on the heap. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        usable_slots::<(&Spec, Request)>(self.queue.capacity()) + self.request_bytes
    }
}

/// The keys a connection watches, by their names.
#[derive(Debug, Default)]
pub struct WatchedKeys {
    set: BTreeSet<Watched>,
    key_bytes: usize,
}

/// A node of the set, with room for eleven; at least five of them are used in all but the first.
const NODE_BYTES: usize = usable(11 * size_of::<Watched>() + 16);
const NODE_USED: usize = 6;

impl WatchedKeys {
    /// Adds a key that is not there yet.
    pub fn insert(&mut self, watched: Watched) {
        self.key_bytes += usable(watched.name().1.len());
        self.set.insert(watched);
    }

    /// Whether this key is watched.
    #[must_use]
    pub fn contains(&self, name: &WatchName) -> bool {
        self.set.contains(name)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether no key is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.set.iter()
    }

    /// Takes all keys out, to be given back to the engine.
    #[must_use]
    pub fn take(&mut self) -> BTreeSet<Watched> {
        std::mem::take(self).set
    }

    /// Bytes held on the heap, near enough: how full the nodes of the set are is not known. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.set.len().div_ceil(NODE_USED) * NODE_BYTES + self.key_bytes
    }
}

/// The most commands one `MULTI` can queue.
pub const MULTI_COMMANDS_MAX: usize = 100_000;
/// The most bytes one `MULTI` can queue.
pub const MULTI_BYTES_MAX: usize = 64 << 20;
/// The most keys one connection can watch.
pub const WATCHED_KEYS_MAX: usize = 10_000;

impl Conn {
    /// Says what happens to messages that it is too slow for; nothing is said twice.
    pub fn set_slow_policy(&mut self, policy: SlowPolicy, clients: &dyn Clients) {
        if std::mem::replace(&mut self.slow_policy, policy) != policy
            && let Some(mailbox) = clients.mailbox(self.id)
        {
            mailbox.set_policy(policy);
        }
    }

    /// Whether it listens to anything.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        let subscriber = self.subscriber.as_ref();
        subscriber.is_some_and(|subscriber| subscriber.total() > 0)
    }

    /// How many subscriptions it has, by their kinds.
    #[must_use]
    pub fn subscriptions(&self) -> [usize; 3] {
        let subscriber = self.subscriber.as_ref();
        subscriber.map_or([0; 3], |known| Kind::ALL.map(|kind| known.len(kind)))
    }

    /// Notes the frame of a call that changed something.
    pub fn note_frame(&mut self, changes: u64, frame: u64) {
        if changes > 0 {
            self.frame = frame;
        }
    }

    /// A connection as it is when it opens.
    #[must_use]
    pub fn new(id: u64, authenticated: bool) -> Self {
        Self {
            id,
            db: 0,
            resp: Version::Resp2,
            authenticated,
            names: Names::default(),
            names_changed: false,
            multi: None,
            watched: WatchedKeys::default(),
            subscriber: None,
            slow_policy: SlowPolicy::default(),
            no_evict: false,
            replies: Replies::default(),
            closing: false,
            frame: 0,
            calls: 0,
            is_coordinated: false,
            grants: Grants::default(),
            looking: None,
        }
    }
}
