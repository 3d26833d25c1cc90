//! What some entries have beside value and deadline: a kind that is no string, a fence mark, a tie
//! to a session. Limits and idempotency records have it in the entry itself (`form.rs`), and are
//! only counted here.
//!
//! ```text
//!   shard --- table ---> entry                      record: key, value, deadline, last use
//!     |                    .
//!     +--- extras -------> same key ---> kind      what it is, if it is no string
//!          (most shards                  fence     the highest number that a write was fenced with
//!           have none)                   session   it goes when this session ends
//! ```
//!
//! A *marker* is the entry of a lock, semaphore, latch or barrier: it has an empty value and stands
//! in the keyspace so that the key has a type and is there. The object itself is the coordinator's,
//! so a marker is derived: it leaves no effect and is in no snapshot, and counts only as long as
//! the coordinator has the object. Likewise a tied entry counts as long as its session is open.
//! Opening a key removes an entry that no longer *stands*, as it removes one past its deadline;
//! when it is locked, the coordinator ends what is over by then, so that no end shows late. A
//! *bare fence* is a fence mark without a value; it is state of its own and always stands.
//!
//! Invariants: who has extras has an entry, and both go together, however the entry goes; an extra
//! says something, or is not there; a shard without extras has no table for them.
//!
//! Cost: a shard without extras pays one look at a pointer for each key opened. With extras, each
//! key that is there costs a comparison of hashes, and where there are several extras one probe of
//! a hash table by the hash that is known already; 64 bytes and the key for each extra.

use super::coordinator::Coordinator;
use super::flight::Flights;
use super::ledger::usable;
use hashbrown::HashTable;

/// What a key holds that is no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lock.
    Lock,
    /// A semaphore.
    Semaphore,
    /// A latch.
    Latch,
    /// A barrier.
    Barrier,
    /// A fence mark without a value.
    Fence,
    /// A range of numbers.
    IdRange,
    /// Short codes.
    IdShort,
    /// A pool of workers' numbers.
    IdWorker,
    /// A rate limit.
    Limit,
    /// An idempotency record.
    Idempotency,
}

impl Kind {
    /// The word `TYPE` answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Semaphore => "semaphore",
            Self::Latch => "latch",
            Self::Barrier => "barrier",
            Self::Fence => "fence",
            Self::IdRange => "idrange",
            Self::IdShort => "idshort",
            Self::IdWorker => "idworker",
            Self::Limit => "limit",
            Self::Idempotency => "idempotency",
        }
    }

    /// Whether the object is the coordinator's, and its entry no more than a marker.
    pub(super) const fn is_marked(self) -> bool {
        match self {
            Self::Lock
            | Self::Semaphore
            | Self::Latch
            | Self::Barrier
            | Self::IdRange
            | Self::IdShort
            | Self::IdWorker => true,
            Self::Fence | Self::Limit | Self::Idempotency => false,
        }
    }
}

/// A string was expected, and the key holds something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key holds no string")]
pub struct WrongType;

/// What one entry has beside value and deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// What it is, if it is no string.
    pub(super) kind: Option<Kind>,
    /// The highest number that a write of it was fenced with.
    pub(super) fence: Option<u64>,
    /// The session it goes with.
    pub(super) session: Option<u64>,
}

impl Extra {
    /// Whether it says nothing.
    fn is_void(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the entry is a marker.
    pub(super) fn is_marker(&self) -> bool {
        self.kind.is_some_and(Kind::is_marked)
    }

    /// Whether it is the coordinator that knows if the entry still stands.
    pub(super) fn is_coordinated(&self) -> bool {
        self.session.is_some() || self.is_marker()
    }

    /// Whether the entry is still what this says. One look at the coordinator for a marker, and one
    /// for a tie.
    pub(super) fn stands(&self, coordinator: &Coordinator, db_id: u32, key: &[u8]) -> bool {
        let is_kept = self
            .session
            .is_none_or(|number| coordinator.is_open(number));
        is_kept && (!self.is_marker() || coordinator.kind_of(db_id, key) == self.kind)
    }
}

/// The extras of one shard: at least one, or a kept entry, or a flight.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Any one of them: most shards that have any have one lock that is held.
    first: Option<Held>,
    /// All others.
    table: HashTable<Held>,
    /// Kept entries, which have a deadline and are in no table here.
    kept: usize,
    /// What is known of keys that may not be there.
    pub(super) flights: Flights,
    /// Bytes that the keys take.
    key_bytes: usize,
    /// How many are of entries with a deadline.
    volatile: usize,
}

#[derive(Debug)]
struct Held {
    hash: u64,
    key: Box<[u8]>,
    extra: Extra,
    /// Whether the entry has a deadline.
    is_volatile: bool,
}

impl Held {
    fn is_of(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }
}

/// Of fewer places a table is not worth shrinking.
const SHRINK_PLACES_MIN: usize = 16;
/// A table is shrunk when fewer than one in this many of its places is used.
const SHRINK_BELOW: usize = 8;

impl Extras {
    /// What the entry with this key has.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Extra {
        let first = self.first.as_ref();
        let held = first.filter(|held| held.is_of(hash, key));
        let held = held.or_else(|| self.table.find(hash, |held| held.is_of(hash, key)));
        held.map(|held| held.extra).unwrap_or_default()
    }

    fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Held> {
        let first = self.first.as_mut();
        let held = first.filter(|held| held.is_of(hash, key));
        held.or_else(|| self.table.find_mut(hash, |held| held.is_of(hash, key)))
    }

    /// The entry with this key, which has a deadline or not, has this from now on.
    pub(super) fn set(&mut self, hash: u64, key: &[u8], extra: Extra, is_volatile: bool) {
        if extra.is_void() {
            self.remove(hash, key);
        } else if let Some(held) = self.get_mut(hash, key) {
            held.extra = extra;
        } else {
            let key: Box<[u8]> = key.into();
            self.key_bytes += usable(key.len());
            self.volatile += usize::from(is_volatile);
            let held = Held {
                hash,
                key,
                extra,
                is_volatile,
            };
            if self.first.is_none() {
                self.first = Some(held);
            } else {
                self.table.insert_unique(hash, held, |held| held.hash);
            }
        }
    }

    /// Notes whether the entry with this key, if it has extras, has a deadline.
    pub(super) fn note_deadline(&mut self, hash: u64, key: &[u8], is_volatile: bool) {
        if let Some(held) = self.get_mut(hash, key) {
            let was_volatile = std::mem::replace(&mut held.is_volatile, is_volatile);
            self.volatile -= usize::from(was_volatile);
            self.volatile += usize::from(is_volatile);
        }
    }

    /// Takes out what the entry with this key has.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Extra> {
        let held = if self
            .first
            .as_ref()
            .is_some_and(|held| held.is_of(hash, key))
        {
            self.first.take()?
        } else {
            let held = self.table.find_entry(hash, |held| held.is_of(hash, key));
            held.ok()?.remove().0
        };
        self.key_bytes -= usable(held.key.len());
        self.volatile -= usize::from(held.is_volatile);
        let (used, places) = (self.table.len(), self.table.capacity());
        if places > SHRINK_PLACES_MIN && used < places / SHRINK_BELOW {
            self.table.shrink_to(used * 2, |held| held.hash);
        }
        Some(held.extra)
    }

    /// Whether there is nothing to know of any entry.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.kept == 0 && self.flights.is_empty()
    }

    /// Number of entries that are not evicted.
    pub(super) fn spared(&self) -> usize {
        self.len() + self.kept
    }

    /// Number of entries that have any.
    fn len(&self) -> usize {
        self.table.len() + usize::from(self.first.is_some())
    }

    /// Number of those that have a deadline.
    pub(super) fn volatile(&self) -> usize {
        self.volatile + self.kept
    }

    /// Number of kept entries.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// Notes that a kept entry came (1) or went (-1).
    pub(super) fn note_kept(&mut self, step: isize) {
        self.kept = self.kept.saturating_add_signed(step);
    }

    /// Each key that has any, with what it has.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Extra)> {
        let all = self.first.iter().chain(&self.table);
        all.map(|held| (&*held.key, &held.extra))
    }

    /// Bytes held on the heap, its own among them. O(1).
    pub(super) fn heap_bytes(&self) -> usize {
        usable(size_of::<Self>())
            + usable(self.table.allocation_size())
            + self.key_bytes
            + self.flights.heap_bytes()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
