//! The bound on memory, and making room below it by eviction.
//!
//! The engine is told its bound and may be asked, before a command that needs memory, to make room.
//! What the bound is compared with is the ledger: everything held, not only what stands in shards.
//!
//! ```text
//!   hand -->  shard 17: | bucket | bucket | bucket ...     `maxmemory-samples` entries at a time
//!               |
//!               v rank (usage.rs)
//!             pool: the 16 highest met so far  -->  the highest, if it is still what it was: out
//! ```
//!
//! HOW IT WORKS: a *hand* goes through bucket after bucket, shard after shard, database after
//! database. Keys stand in the order of their hash, which is a random one, so a few neighbours are
//! a random sample; and since the hand comes back to no entry before it has met all others, each is
//! looked at several times while the cache turns over once. What ranks highest of all that was met
//! lately stays in the *pool*. Before an entry goes it is looked at again: one that was used since
//! takes its new rank.
//!
//! ROOM: small records live in pages, so one that goes frees nothing by itself. The shard that it
//! left gives back a page as soon as its holes can take up the emptiest one (`arena.rs`), and as
//! the hand stays in a shard for a while, so do the holes.
//!
//! Each side of the gate has its hand and pool, starting at places of their own, so two workers
//! that make room at once share nothing but the shards they lock, one at a time.
//!
//! Cost: asking whether there is room reads a line that only a change of settings writes and, where
//! there is a bound, the ledger's. An eviction looks at `maxmemory-samples` entries, at a few
//! buckets for each, and locks two shards. A call evicts until enough is given back: seldom more
//! than a page of 4 KiB holds, unless a command took more. That, and what a lowered bound makes too
//! much, is worked off in steps of 512 entries, one for each command and more by the worker.
//!
//! Invariant: what is held above the bound when a command runs is, with what that command needs, no
//! more than what one command took while nothing was, or than it may take by itself, or than what
//! was there when the bound was lowered. Each worker may be one command ahead of that.
//!
//! LIMITATIONS: a command that needs more than is allowed, or whose need its arguments do not tell,
//! evicts until it may run, however long that takes; so does any after replies that took much while
//! more was held than the bound. Where few of many keys have a deadline, the volatile policies pass
//! all those without, a thousand buckets at a time. In a cache of fewer entries than there are
//! shards, a shard gives its page back only when its last entry goes.

use super::effect::FRAME_BYTES_MAX;
use super::entry::Entry;
use super::occupancy::Kept;
use super::usage::{Draws, Usage};
use super::{Engine, Settler, Step};
use crate::policy::{Order, Policy};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// Candidates kept from one eviction to the next. Redis keeps as many.
const POOL: usize = 16;
/// Buckets looked at before what has been found must do.
const BUCKETS_MAX: usize = 1_024;
/// Effort of settling between two looks at the ledger: some 64 pages moved.
const SETTLING_EFFORT: usize = 8_192;
/// Entries that go between two looks whether pages have to be moved.
const EVICTIONS_PER_SETTLING: usize = 512;
/// Shards of flushed databases freed between two looks at the ledger.
const FREED_SHARDS: usize = 1;
/// Entries that go before a command in any case: about a millisecond's work. More go only where
/// what is held above the bound is more than is allowed there.
const STEP_EVICTIONS: usize = 512;
/// What a command takes beside its arguments: pages, a small entry's record.
const COMMAND_BYTES: u64 = 8 << 10;

/// What a command may take, as far as it can be told before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes that may come on top of what is counted now.
    to_come: u64,
    /// Bytes that it may take from its arrival until it has run.
    worth: u64,
}

impl Need {
    /// Nothing will be taken.
    pub const NOTHING: Self = Self {
        to_come: 0,
        worth: 0,
    };
    /// It cannot be told: nothing may be held above the bound before.
    pub const UNFORESEEN: Self = Self {
        to_come: u64::MAX,
        worth: 0,
    };

    /// That of a command with so many bytes of arguments, which are held twice: as they arrived and
    /// as they are kept. `counted_bytes` of what arrived are counted as its client's already.
    #[must_use]
    pub fn of(args_bytes: usize, counted_bytes: usize) -> Self {
        let worth = 2 * args_bytes as u64 + COMMAND_BYTES;
        Self {
            to_come: worth - counted_bytes.min(args_bytes) as u64,
            worth,
        }
    }
}

/// How much may be held, and what goes when it is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The most bytes to hold; 0 for no bound.
    pub bytes_max: u64,
    /// What is evicted.
    pub policy: Policy,
    /// Entries compared to choose one, at least 1.
    pub samples: u32,
    /// How much rarer each further count of a use is.
    pub lfu_log_factor: u32,
    /// Minutes after which a count of uses is one less; 0: it never falls.
    pub lfu_decay_min: u32,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            bytes_max: 0,
            policy: Policy::NoEviction,
            samples: 5,
            lfu_log_factor: 10,
            lfu_decay_min: 1,
        }
    }
}

/// The bound in force, to be read without a lock. Its parts are read one by one: who reads while it
/// changes may see the old of one and the new of another, each of which was in force.
#[derive(Debug)]
pub(super) struct BoundCell {
    parts: CachePadded<Parts>,
    /// Bytes that may be held above the bound while they are worked off; 0: nothing was.
    allowed: CachePadded<AtomicU64>,
}

#[derive(Debug)]
struct Parts {
    bytes_max: AtomicU64,
    policy: AtomicU32,
    samples: AtomicU32,
    lfu_log_factor: AtomicU32,
    lfu_decay_min: AtomicU32,
}

impl BoundCell {
    pub(super) fn new(bound: Bound) -> Self {
        Self {
            parts: CachePadded::new(Parts {
                bytes_max: AtomicU64::new(bound.bytes_max),
                policy: AtomicU32::new(bound.policy as u32),
                samples: AtomicU32::new(bound.samples),
                lfu_log_factor: AtomicU32::new(bound.lfu_log_factor),
                lfu_decay_min: AtomicU32::new(bound.lfu_decay_min),
            }),
            allowed: CachePadded::new(AtomicU64::new(0)),
        }
    }

    pub(super) fn get(&self) -> Bound {
        let order = Ordering::Relaxed;
        Bound {
            bytes_max: self.parts.bytes_max.load(order),
            policy: Policy::ALL[self.parts.policy.load(order) as usize],
            samples: self.parts.samples.load(order),
            lfu_log_factor: self.parts.lfu_log_factor.load(order),
            lfu_decay_min: self.parts.lfu_decay_min.load(order),
        }
    }

    fn bytes_max(&self) -> u64 {
        self.parts.bytes_max.load(Ordering::Relaxed)
    }

    fn set(&self, bound: Bound) {
        let order = Ordering::Relaxed;
        self.parts.bytes_max.store(bound.bytes_max, order);
        self.parts.policy.store(bound.policy as u32, order);
        self.parts.samples.store(bound.samples.max(1), order);
        self.parts.lfu_log_factor.store(bound.lfu_log_factor, order);
        self.parts.lfu_decay_min.store(bound.lfu_decay_min, order);
    }
}

impl Engine {
    /// Puts another bound in force, from the next command on. What is held above it goes bit by
    /// bit, whenever a command asks for room.
    pub fn set_bound(&self, bound: Bound) {
        if bound == self.bound.get() {
            return;
        }
        self.bound.set(bound);
        self.bound.allowed.store(self.excess(), Ordering::Relaxed);
    }

    /// Bytes held above the bound.
    fn excess(&self) -> u64 {
        match self.bound.bytes_max() {
            0 => 0,
            bytes_max => (self.ledger.bounded() as u64).saturating_sub(bytes_max),
        }
    }

    /// Tells that a command is arriving, of which so many bytes are counted as its client's. They
    /// are there whatever goes, so as much is allowed above the bound: the commands in between need
    /// not make up for them at once. Two loads where nothing is being worked off.
    pub fn allow_arrival(&self, bytes: usize) {
        let allowed = &self.bound.allowed;
        if self.is_over_bound() && allowed.load(Ordering::Relaxed) > 0 {
            allowed.fetch_max(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Whether a command may run although there is no room: with what it needs, no more is held
    /// above the bound than was allowed, or than it may take by itself. `excess_before` was held
    /// above it when room was asked for; if nothing was the last time, one command took it.
    ///
    /// What is allowed falls to what was granted. Who grants at the same time grants one command
    /// more: as many as there are workers may.
    fn grant(&self, need: Need, excess_before: u64) -> bool {
        let allowed = self.bound.allowed.load(Ordering::Relaxed);
        let most = if allowed == 0 { excess_before } else { allowed };
        let granted = self.excess().saturating_add(need.to_come);
        if granted > most.max(need.worth) {
            return false;
        }
        let order = Ordering::Relaxed;
        let _ = self
            .bound
            .allowed
            .compare_exchange(allowed, granted, order, order);
        true
    }

    /// Nothing is held above the bound: what comes to be is one command's again.
    fn settle_excess(&self) {
        if self.bound.allowed.load(Ordering::Relaxed) > 0 {
            self.bound.allowed.store(0, Ordering::Relaxed);
        }
    }

    /// The bound in force.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound.get()
    }

    /// Whether more is held than the bound allows. One load where there is none, else five of lines
    /// that are seldom written.
    #[must_use]
    #[inline]
    pub fn is_over_bound(&self) -> bool {
        let bytes_max = self.bound.bytes_max();
        bytes_max > 0 && self.ledger.bounded() as u64 > bytes_max
    }
}

/// The clock that recency is told by: it rises with insertions (`usage.rs`).
///
/// Relaxed: it is a number to compare other numbers with, and publishes nothing. Who reads it while
/// it rises may note a use one tick too early.
#[derive(Debug)]
pub(super) struct AgeClock(CachePadded<AtomicU32>);

impl AgeClock {
    pub(super) fn new() -> Self {
        Self(CachePadded::new(AtomicU32::new(0)))
    }

    /// The time, of which marks keep the lower 14 bits.
    #[inline]
    pub(super) fn now(&self) -> u16 {
        self.0.load(Ordering::Relaxed) as u16
    }

    pub(super) fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Hand, pool and settler of each side of the gate.
#[derive(Debug)]
pub(super) struct Evictors(Box<[CachePadded<Mutex<Evictor>>]>);

impl Evictors {
    /// Those of so many sides, starting at places that follow from `seed`.
    pub(super) fn new(sides: usize, seed: u64) -> Self {
        let evictor = |side: usize| {
            let draws = Draws::seeded(seed ^ side as u64);
            CachePadded::new(Mutex::new(Evictor::new(draws)))
        };
        Self((0..sides.max(1)).map(evictor).collect())
    }

    fn of_side(&self, side: usize) -> &Mutex<Evictor> {
        &self.0[side % self.0.len()]
    }
}

#[derive(Debug)]
struct Evictor {
    hand: Hand,
    /// Whose candidates the pool has.
    policy: Policy,
    pool: Vec<Candidate>,
    settler: Settler,
    draws: Draws,
}

/// Where the next entry is looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Hand {
    db: u32,
    shard: usize,
    bucket: usize,
}

/// An entry that may go, as it was when it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The database as `SELECT` numbers it.
    db: u32,
    hash: u64,
    usage: Usage,
    deadline_ms: Option<u64>,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It went.
    Went,
    /// It was not there any more, or may not go.
    Spared,
    /// It was used since, and now is this.
    Changed(Candidate),
}

impl Candidate {
    pub(super) fn new(db: u32, hash: u64, entry: Entry<'_>) -> Self {
        Self {
            db,
            hash,
            usage: entry.usage(),
            deadline_ms: entry.deadline_ms(),
        }
    }

    pub(super) fn db(&self) -> u32 {
        self.db
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|at| at <= now_ms)
    }

    /// Whether the policy lets it go.
    pub(super) fn may_go(&self, policy: Policy) -> bool {
        self.deadline_ms.is_some() || !policy.is_volatile()
    }
}

impl Evictor {
    fn new(mut draws: Draws) -> Self {
        let hand = Hand {
            db: 0,
            shard: (draws.next() % super::walk::SHARDS_MAX as u64) as usize,
            bucket: 0,
        };
        Self {
            hand,
            policy: Policy::NoEviction,
            pool: Vec::new(),
            settler: Settler::default(),
            draws,
        }
    }

    /// Lets one entry go, one past its deadline first; answers whether there was any.
    fn evict_one(&mut self, step: &mut Step<'_>, bound: &Bound) -> bool {
        if self.policy != bound.policy {
            self.policy = bound.policy;
            self.pool.clear();
        }
        loop {
            let found = self.sample(step, bound.samples as usize);
            while let Some(candidate) = self.take_highest(step) {
                match step
                    .lock_hash(candidate.db, candidate.hash)
                    .evict(&candidate, bound.policy)
                {
                    Fate::Went => return true,
                    Fate::Spared => {}
                    Fate::Changed(now) => self.pool.push(now),
                }
            }
            if !found {
                return false;
            }
        }
    }

    /// Moves the hand on over so many entries that may go, fewer where they are far apart, and puts
    /// the highest of them into the pool. Answers whether there may be any more than it saw.
    fn sample(&mut self, step: &Step<'_>, samples: usize) -> bool {
        let kept = if self.policy.is_volatile() {
            Kept::Volatile
        } else {
            Kept::Any
        };
        if self.policy.order() == Order::Random {
            self.jump(step, kept);
        }
        let (mut seen, mut looked, mut laps) = (0, 0, 0);
        while seen < samples && looked < BUCKETS_MAX {
            let database = step.database(self.hand.db);
            let Some(number) = database.next_occupied(kept, self.hand.shard) else {
                self.next_database(step.databases());
                laps += u32::from(self.hand.db == 0);
                if laps > 1 {
                    return seen > 0;
                }
                continue;
            };
            if number != self.hand.shard {
                (self.hand.shard, self.hand.bucket) = (number, 0);
            }
            let shard = database.shards()[number].lock();
            let has_extras = shard.has_extras();
            while seen < samples && looked < BUCKETS_MAX && self.hand.bucket < shard.buckets() {
                if let Some(entry) = shard.at(self.hand.bucket) {
                    let hasher = &step.engine().hasher;
                    let is_spared = has_extras && shard.is_spared(entry, hasher);
                    seen += usize::from(!is_spared && self.meet(step, entry));
                }
                (self.hand.bucket, looked) = (self.hand.bucket + 1, looked + 1);
            }
            if self.hand.bucket >= shard.buckets() {
                (self.hand.shard, self.hand.bucket) = (number + 1, 0);
            }
        }
        true
    }

    /// Puts an entry into the pool if it ranks high enough; answers whether it may go at all.
    fn meet(&mut self, step: &Step<'_>, entry: Entry<'_>) -> bool {
        let mut candidate = Candidate::new(self.hand.db, 0, entry);
        if !candidate.may_go(self.policy) {
            return false;
        }
        if self.pool.len() >= POOL {
            let rank = |at: &usize| step.rank(&self.pool[*at]);
            let lowest = (0..self.pool.len()).min_by_key(rank);
            let Some(lowest) = lowest.filter(|at| rank(at) < step.rank(&candidate)) else {
                return true;
            };
            self.pool.swap_remove(lowest);
        }
        candidate.hash = step.hash(entry.key());
        let known = |other: &Candidate| other.hash == candidate.hash && other.db == candidate.db;
        if !self.pool.iter().any(known) {
            self.pool.push(candidate);
        }
        true
    }

    fn take_highest(&mut self, step: &Step<'_>) -> Option<Candidate> {
        let highest = (0..self.pool.len()).max_by_key(|at| step.rank(&self.pool[*at]))?;
        Some(self.pool.swap_remove(highest))
    }

    fn next_database(&mut self, databases: u32) {
        self.hand = Hand {
            db: (self.hand.db + 1) % databases,
            ..Hand::default()
        };
    }

    /// Puts the hand anywhere in the next database that has such entries, if any has.
    fn jump(&mut self, step: &Step<'_>, kept: Kept) {
        for _ in 0..step.databases() {
            self.next_database(step.databases());
            let database = step.database(self.hand.db);
            if database.next_occupied(kept, 0).is_some() {
                let shards = database.shards();
                self.hand.shard = (self.draws.next() % shards.len() as u64) as usize;
                let buckets = shards[self.hand.shard].lock().buckets() as u64;
                self.hand.bucket = (self.draws.next() % buckets.max(1)) as usize;
                return;
            }
        }
    }
}

impl Step<'_> {
    /// Whether no more is held than the bound allows.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        !self.engine().is_over_bound()
    }

    /// Evicts until no more is held than the bound allows, as far as the policy lets; answers
    /// whether a command with this need may run. Once some hundred entries went it may also where
    /// that is still above the bound, if what it needs does not raise what is held beyond what one
    /// command took, or what was there when the bound was lowered. What is left of flushed
    /// databases goes before any key. To be called between commands, with nothing locked.
    pub fn make_room(&mut self, need: Need) -> bool {
        let engine = self.engine();
        let excess_before = engine.excess();
        while engine.is_over_bound() && engine.free_some(FREED_SHARDS) {}
        let mut evictor = engine.evictors.of_side(self.side()).lock();
        while engine.is_over_bound() && evictor.settler.run(self, SETTLING_EFFORT) {}
        let bound = engine.bound();
        if bound.policy == Policy::NoEviction {
            self.drop_tokens_over_bound();
            return !engine.is_over_bound();
        }
        let mut went = 0;
        while engine.is_over_bound() {
            if went >= STEP_EVICTIONS && engine.grant(need, excess_before) {
                return true;
            }
            let is_frame_full = self.frame_bytes() >= FRAME_BYTES_MAX;
            if is_frame_full || !evictor.evict_one(self, &bound) {
                self.drop_tokens_over_bound();
                return !engine.is_over_bound();
            }
            went += 1;
            // Evicting frees pages, and too many free pages are memory that is held.
            if went % EVICTIONS_PER_SETTLING == 0 {
                evictor.settler.run(self, SETTLING_EFFORT);
            }
        }
        engine.settle_excess();
        true
    }

    /// Where nothing may be evicted, tokens of fillers go before a command is refused.
    fn drop_tokens_over_bound(&mut self) {
        if self.engine().is_over_bound() {
            self.drop_tokens();
        }
    }

    /// How early an entry goes: the highest first, one past its deadline before all.
    fn rank(&self, candidate: &Candidate) -> u64 {
        if candidate.is_due(self.now().wall_ms) {
            return u64::MAX;
        }
        let age = self.engine().age.now();
        self.rules()
            .rank(candidate.usage, candidate.deadline_ms, age)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
