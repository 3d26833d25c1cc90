//! The engine: all state, and the only ways to change it.
//!
//! Pure: no socket, no clock, no global, nothing of the protocol. Time and randomness are
//! arguments; what happened is told as effects to a [`Sink`]. `step.rs` is the door: a [`Batch`]
//! enters the gate, a [`Step`] is one command, a [`Slot`] one key.
//!
//! Lock order, never back: gate (`gate.rs`), evictor of the own side (`evict.rs`), shards by
//! (database, index), coordinator (`coordinator.rs`), remains of flushed databases (`sweep.rs`),
//! pool of pages, watches, sink; the cursor of a purge beside nothing else.

mod alarm;
mod arena;
#[cfg(all(test, not(loom)))]
pub(crate) mod changes;
pub mod coordinator;
mod cut;
mod deadlines;
mod effect;
mod entry;
mod evict;
mod extras;
mod flight;
mod form;
mod gate;
mod gcra;
mod hash;
mod idempotency;
pub mod ids;
mod index;
mod keyspace;
mod large;
mod ledger;
mod occupancy;
mod pool;
mod prefetch;
mod record;
mod replay;
mod settle;
mod shard;
mod step;
mod sweep;
mod usage;
mod value;
mod walk;
mod watch;

pub use effect::{
    BadFrame, Coordination, Effect, Effects, FRAME_BYTES_MAX, Frame, Life, Recorder, Share, Sink,
    VALUE_BYTES_MAX,
};
pub use evict::{Bound, Need};
pub use extras::{Kind, WrongType};
pub use flight::{Ask, Spent, Wants};
pub use form::Soft;
pub use gcra::{Change, Rate, Verdict, whole_seconds};
pub use idempotency::Record;
pub use ledger::{Account, Ledger, usable, usable_slots};
pub use replay::{Cuts, Replay};
pub use settle::Settler;
pub use shard::Census;
pub use step::{Ahead, Batch, Deadline, Free, Locked, Slot, Step, Tally};
pub use sweep::{Sweeper, Swept};
pub use value::{Encoding, IntText, Value, ValueRef};
pub use walk::Met;
pub use watch::{WatchName, Watched};

use crate::clock::Now;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use alarm::Alarms;
use coordinator::{Callers, Coordinator};
use evict::{AgeClock, BoundCell, Evictors};
use gate::Gate;
use hash::KeyHasher;
use keyspace::{Database, Layout};
use pool::Pool;
use settle::Purge;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use watch::Watches;

/// Shards per database unless told otherwise.
pub const SHARDS_DEFAULT: usize = 1_024;

/// How an engine is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of databases, at least 1.
    pub databases: u32,
    /// Number of workers: the sides of the gate.
    pub workers: usize,
    /// Shards per database: a power of two, at most 1,024.
    pub shards: usize,
    /// Seed of the key hash. Random wherever strangers choose keys.
    pub hash_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            databases: 16,
            workers: 1,
            shards: SHARDS_DEFAULT,
            hash_seed: 0,
        }
    }
}

/// What is left of a flushed database.
type Remains = Box<dyn Iterator<Item = shard::Shard> + Send>;

/// All databases and what is watched in them.
pub struct Engine {
    gate: Gate<Layout>,
    workers: usize,
    hasher: KeyHasher,
    watches: Watches,
    ledger: Arc<Ledger>,
    pool: Arc<Pool>,
    purge: Purge,
    bound: BoundCell,
    age: AgeClock,
    evictors: Evictors,
    alarms: Alarms,
    sink: OnceLock<Box<dyn Sink>>,
    /// Whether effects are told to the sink. Changed by who is alone inside the gate.
    recording: AtomicBool,
    /// The last frame that changed which database stands where. Under the gate, too.
    map_frame: AtomicU64,
    coordinator: Coordinator,
    ids: ids::Ids,
    /// Whether any key may have a token of who fills it. Relaxed: only a hint where to look.
    has_tokens: AtomicBool,
    /// Who takes what the coordinator has for connections.
    callers: OnceLock<Box<dyn Callers>>,
    discarded: Mutex<VecDeque<Remains>>,
}

impl Engine {
    /// An engine with empty databases, telling its effects to `sink`.
    #[must_use]
    pub fn new(options: Options, sink: Option<Box<dyn Sink>>) -> Self {
        let shards = options
            .shards
            .clamp(1, walk::SHARDS_MAX)
            .next_power_of_two();
        let ledger = Arc::new(Ledger::new());
        let pool = Arc::new(Pool::new(&ledger));
        let database = |id| Arc::new(Database::new(id, shards, &ledger, &pool));
        let layout: Layout = (0..options.databases.max(1)).map(database).collect();
        Self {
            // One more, for whoever works in the background.
            gate: Gate::new(options.workers + 1, &layout),
            workers: options.workers,
            hasher: KeyHasher::seeded(options.hash_seed),
            watches: Watches::new(&ledger),
            ledger: Arc::clone(&ledger),
            pool,
            purge: Purge::new(),
            bound: BoundCell::new(Bound::default()),
            age: AgeClock::new(),
            evictors: Evictors::new(options.workers, options.hash_seed),
            alarms: Alarms::new(options.workers),
            recording: AtomicBool::new(sink.is_some()),
            map_frame: AtomicU64::new(0),
            coordinator: Coordinator::new(options.hash_seed, &ledger),
            ids: ids::Ids::new(),
            has_tokens: AtomicBool::new(false),
            callers: OnceLock::new(),
            sink: sink.map_or_else(OnceLock::new, OnceLock::from),
            discarded: Mutex::new(VecDeque::new()),
        }
    }

    /// Enters the gate beside others, through side `side`: a worker's own. The thread holds no
    /// other batch.
    #[must_use]
    pub fn shared(&self, side: usize, now: Now) -> Batch<'_> {
        Batch::shared(self, side, now)
    }

    /// The side that is no worker's: of a thread in the background, which nobody waits behind.
    #[must_use]
    pub fn background_side(&self) -> usize {
        self.workers
    }

    /// Enters the gate alone. The thread holds no other batch.
    #[must_use]
    pub fn alone(&self, now: Now) -> Batch<'_> {
        Batch::alone(self, now)
    }

    /// Begins to tell effects to the sink, or ends it: between two steps, whoever is inside.
    /// The first frame then says that what came before may be in none; only [`Engine::set_sink`]
    /// begins without.
    pub fn set_recording(&self, on: bool) {
        let _alone = self.gate.exclusive();
        let Some(sink) = self.sink.get() else {
            return;
        };
        let was_on = self.recording.swap(on, Ordering::AcqRel);
        if on && !was_on {
            let mut frame = Vec::new();
            Effect::Unrecorded.push_to(&mut frame);
            sink.commit(0, &frame);
        }
    }

    /// Gives an engine a sink that knows all that is in it, and begins to tell it effects if
    /// `recording`. An engine has one sink: a second one is not taken.
    pub fn set_sink(&self, sink: Box<dyn Sink>, recording: bool) {
        let _alone = self.gate.exclusive();
        if self.sink.set(sink).is_ok() {
            self.recording.store(recording, Ordering::Release);
        }
    }

    /// Says who takes what the coordinator has for connections. The first call counts.
    pub fn set_callers(&self, callers: Box<dyn Callers>) {
        // An engine has one server around it.
        let _ = self.callers.set(callers);
    }

    /// The coordinator: its bounds, its fences, its sleeper.
    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Who gives out IDs.
    pub fn ids(&self) -> &ids::Ids {
        &self.ids
    }

    /// Serves calls that wait for IDs, as far as can be; `chance` is random.
    pub(crate) fn serve_ids(&self, now: Now, chance: &mut dyn FnMut() -> u64) {
        for settled in self.ids.serve(now, chance) {
            // IDs that nobody takes are of no use to anybody else.
            let _ = self.callers.get().map(|callers| callers.settle(settled, 0));
        }
    }

    /// Whether effects are told to the sink. Inside the gate it stays what it is.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Acquire)
    }

    /// Ends a watch.
    pub fn unwatch(&self, watched: Watched) {
        self.watches.drop_one(watched);
    }

    /// Number of distinct keys that connections watch.
    #[must_use]
    pub fn watched_keys(&self) -> usize {
        self.watches.keys()
    }

    /// What is held, by everybody.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn discard(&self, database: Arc<Database>) {
        if let Some(database) = Arc::into_inner(database) {
            self.discarded
                .lock()
                .push_back(Box::new(database.into_shards()));
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
