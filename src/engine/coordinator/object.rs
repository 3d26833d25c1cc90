//! What the coordinator keeps of a key: who holds it, who waits for it, and what keeps all out.

use super::namespace::{Codes, Numbers};
use super::pool::Pool;
use super::wheel::TimerId;
use crate::engine::effect::{Life, Share};
use crate::engine::extras::Kind;
use std::collections::BTreeMap;

/// A key of a database, which is named by its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Identity of the database.
    pub db: u32,
    /// The key.
    pub key: Box<[u8]>,
}

impl Name {
    /// This key of this database.
    #[must_use]
    pub fn new(db: u32, key: &[u8]) -> Self {
        Self {
            db,
            key: key.into(),
        }
    }
}

/// Requests in order, by the places they took. O(log n) to join, to leave and to look before a
/// place.
pub(super) type Line = BTreeMap<u64, u32>;

/// One key and all that is known of it.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Object {
    pub(super) name: Name,
    pub(super) hash: u64,
    pub(super) body: Body,
    /// Requests in their order. Those of a latch or barrier have no order of their own.
    pub(super) queue: Line,
    /// Grants made, requests that had to wait, and those that went without: since it came to be.
    pub(super) contention: Contention,
}

/// What happened to an object since it came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contention {
    /// Grants.
    pub grants: u64,
    /// Requests that were parked.
    pub waits: u64,
    /// Requests that ended without a grant, tries among them.
    pub refusals: u64,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum Body {
    /// A lock or a semaphore.
    Held(Held),
    Latch(Latch),
    Barrier(Barrier),
    /// Numbers that come once.
    Range(Numbers),
    /// Short codes that come once.
    Codes(Box<Codes>),
}

/// What can be held.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Held {
    /// Of a semaphore.
    pub(super) limit: Option<Limit>,
    pub(super) holds: Vec<Hold>,
    pub(super) delay: Option<Delay>,
    /// Of a pool of workers.
    pub(super) pool: Option<Box<Pool>>,
}

/// How many permits there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) permits: u32,
    /// Set by `SEM.RESIZE`: it stays, whoever comes.
    pub(super) is_pinned: bool,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Hold {
    pub(super) owner: Box<[u8]>,
    pub(super) fence: u64,
    pub(super) share: Share,
    pub(super) depth: u32,
    pub(super) life: Life,
    /// What its lease was given when its end was last set.
    pub(super) ttl_ms: u64,
    pub(super) delay_ms: u64,
    pub(super) value: Option<Box<[u8]>>,
    /// Engine time of the grant.
    pub(super) since_ms: u64,
    /// The connection that last acquired or extended; 0 where that was before a restart.
    pub(super) conn: u64,
    pub(super) timer: Option<TimerId>,
}

/// What keeps others out after an unclean loss.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Delay {
    /// Engine time.
    pub(super) until_ms: u64,
    pub(super) ms: u64,
    /// Of the hold that was lost.
    pub(super) fence: u64,
    pub(super) owner: Box<[u8]>,
    /// Whether only exclusive requests are kept out.
    pub(super) admits_shared: bool,
    pub(super) timer: TimerId,
}

/// A count that has not reached zero, or has and is kept for those who come late.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Latch {
    pub(super) remaining: u32,
    /// Who has counted down.
    pub(super) counted: Vec<Box<[u8]>>,
    /// Engine time.
    pub(super) end_ms: u64,
    pub(super) timer: TimerId,
}

/// Those who have arrived are the requests in its queue.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Barrier {
    pub(super) parties: u32,
    pub(super) tripped: Option<Tripped>,
}

/// The last time all had arrived.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Tripped {
    pub(super) generation: u64,
    /// In the order of their arrival.
    pub(super) owners: Vec<Box<[u8]>>,
    /// Engine time until when it can be asked for.
    pub(super) until_ms: u64,
    pub(super) timer: TimerId,
}

impl Object {
    pub(super) fn kind(&self) -> Kind {
        match &self.body {
            Body::Held(held) if held.pool.is_some() => Kind::IdWorker,
            Body::Held(held) if held.limit.is_none() => Kind::Lock,
            Body::Held(_) => Kind::Semaphore,
            Body::Latch(_) => Kind::Latch,
            Body::Barrier(_) => Kind::Barrier,
            Body::Range(_) => Kind::IdRange,
            Body::Codes(_) => Kind::IdShort,
        }
    }

    /// Whether there is nothing to be known of it.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.has_state()
    }

    /// Whether it would be there after a restart.
    pub(super) fn has_state(&self) -> bool {
        match &self.body {
            Body::Held(held) => {
                let is_pinned = held.limit.is_some_and(|limit| limit.is_pinned);
                let is_pool = held.pool.is_some();
                !held.holds.is_empty() || held.delay.is_some() || is_pinned || is_pool
            }
            Body::Latch(_) | Body::Range(_) | Body::Codes(_) => true,
            Body::Barrier(barrier) => barrier.tripped.is_some(),
        }
    }

    /// Whether it stays until it is forgotten by name.
    pub(super) fn is_namespace(&self) -> bool {
        match &self.body {
            Body::Range(_) | Body::Codes(_) => true,
            Body::Held(held) => held.pool.is_some(),
            Body::Latch(_) | Body::Barrier(_) => false,
        }
    }

    /// Bytes on the heap of what is known of a namespace.
    pub(super) fn namespace_bytes(&self) -> usize {
        match &self.body {
            Body::Codes(codes) => codes.heap_bytes(),
            Body::Held(held) => held.pool.as_ref().map_or(0, |pool| pool.heap_bytes()),
            _ => 0,
        }
    }

    pub(super) fn numbers(&self) -> Option<&Numbers> {
        match &self.body {
            Body::Range(numbers) => Some(numbers),
            Body::Codes(codes) => Some(&codes.numbers),
            _ => None,
        }
    }

    pub(super) fn numbers_mut(&mut self) -> Option<&mut Numbers> {
        match &mut self.body {
            Body::Range(numbers) => Some(numbers),
            Body::Codes(codes) => Some(&mut codes.numbers),
            _ => None,
        }
    }

    /// The request that comes next.
    pub(super) fn head(&self) -> Option<u32> {
        self.queue.first_key_value().map(|(_, id)| *id)
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match &self.body {
            Body::Held(held) => Some(held),
            _ => None,
        }
    }

    pub(super) fn held_mut(&mut self) -> Option<&mut Held> {
        match &mut self.body {
            Body::Held(held) => Some(held),
            _ => None,
        }
    }
}

impl Held {
    pub(super) fn of_lock() -> Self {
        Self {
            limit: None,
            holds: Vec::new(),
            delay: None,
            pool: None,
        }
    }

    pub(super) fn of_semaphore(permits: u32) -> Self {
        let limit = Limit {
            permits,
            is_pinned: false,
        };
        Self {
            limit: Some(limit),
            ..Self::of_lock()
        }
    }

    /// What such a share can be had of.
    pub(super) fn of_share(share: Share) -> Self {
        match share {
            Share::Permits { limit, .. } => Self::of_semaphore(limit),
            Share::Exclusive | Share::Shared => Self::of_lock(),
            Share::Number { of, .. } => Self::of_pool(of),
        }
    }

    pub(super) fn of_owner(&self, owner: &[u8]) -> Option<&Hold> {
        self.holds.iter().find(|hold| &*hold.owner == owner)
    }

    pub(super) fn of_fence(&self, fence: u64) -> Option<usize> {
        self.holds.iter().position(|hold| hold.fence == fence)
    }

    /// Permits that nobody has; negative after `SEM.RESIZE` took some away that were out.
    pub(super) fn free(&self) -> i64 {
        let limit = self.limit.map_or(0, |limit| i64::from(limit.permits));
        let out = |hold: &Hold| match hold.share {
            Share::Permits { count, .. } => i64::from(count),
            Share::Exclusive | Share::Shared | Share::Number { .. } => 0,
        };
        limit - self.holds.iter().map(out).sum::<i64>()
    }

    /// Whether a request for this share could be granted as far as holds and delay go.
    pub(super) fn admits(&self, share: Share) -> bool {
        let is_delayed = self
            .delay
            .as_ref()
            .is_some_and(|delay| !(delay.admits_shared && share == Share::Shared));
        !is_delayed
            && match share {
                Share::Exclusive => self.holds.is_empty(),
                Share::Shared => self.holds.iter().all(|hold| hold.share == Share::Shared),
                Share::Permits { count, .. } => i64::from(count) <= self.free(),
                Share::Number { .. } => self.pool.as_ref().is_some_and(|pool| pool.has_free()),
            }
    }

    /// Whether this hold is in the way of a request for this share.
    pub(super) fn blocks(hold: &Hold, share: Share) -> bool {
        share != Share::Shared || hold.share != Share::Shared
    }
}
