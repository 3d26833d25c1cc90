//! Batches, steps and slots: how handlers reach the keyspace, and the typed operations on it.
//!
//! ```text
//!   Batch    one stay inside the gate, shared or alone; one reading of the clock
//!    Step    one command, EXEC or timer's turn: one frame of effects
//!     Locked the shards of the keys it named, locked in order
//!      Slot  one key, past its deadline or not already decided: read, put, append, remove ...
//! ```
//!
//! Invariants:
//! - state changes only through [`Slot`] and the whole-database operations of [`Step`]; each change
//!   leaves one effect in the step's frame and raises the version of a watched key;
//! - a frame goes to the sink while the locks of all that the step touched are held: with a shared
//!   batch when [`Locked`] is dropped, alone when the [`Step`] is dropped;
//! - inside a shared batch a step holds one [`Locked`] at a time (the borrow checker sees to it),
//!   so shards are always locked in ascending (database, index) order;
//! - a slot never shows an entry past its deadline, or one that no longer stands (`extras.rs`):
//!   opening it removes such an entry, and the coordinator ends what is over when it is locked;
//! - who locks keys with [`Step::lock`] and its kin finds strings or nothing;
//! - a panic while shards are locked ends the process: half a change must not be seen.

use super::Engine;
use super::coordinator::{Lost, Name, Outcome, Settled, Turn};
use super::effect::{Effect, VALUE_BYTES_MAX};
use super::entry::Entry;
use super::evict::{Candidate, Fate};
use super::extras::{Extra, Kind, WrongType};
use super::form::{self, Form, Soft};
use super::gate;
use super::idempotency::Record;
use super::ids::{self, Ids};
use super::keyspace::{Database, Layout};
use super::prefetch::prefetch;
use super::record::Parts;
use super::shard::{Census, Expired, Shard};
use super::usage::{Rules, Touch};
use super::value::{Encoding, ValueRef};
use super::watch::Watched;
use crate::clock::Now;
use crate::policy::Policy;
use crate::seeded::{self, Bug};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Keys that [`Batch::fetch`] has fetched at a time: some 200 cache lines are then on their way,
/// more than a core can have under way, and far fewer than the first cache holds.
const FETCHED_MAX: usize = 32;

/// What the removal of a key takes in the log beside the key, at most: a frame of its own.
const REMOVAL_BYTES: usize = 64;

/// A longer frame's room is not kept for the next step.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// The keys [`Batch::fetch_next`] has begun to fetch for, by database and hash: the last one, whose
/// shard is on its way, and the one before, whose place in the table is.
#[derive(Debug, Default)]
pub struct Ahead([Option<(u32, u64)>; 2]);

/// One stay inside the gate. Nothing in it waits for disk, socket, waiter or another worker.
pub struct Batch<'e> {
    engine: &'e Engine,
    hold: Hold<'e>,
    side: usize,
    now: Now,
    rules: Rules,
    recording: bool,
    decides: bool,
    /// Room for frames, lent to one step after the other.
    scratch: RefCell<Vec<u8>>,
}

/// How uses are noted from `now` on.
fn rules(engine: &Engine, now: Now) -> Rules {
    let now_s = u32::try_from(now.engine_ms / 1_000 % (1 << 32)).unwrap_or(0);
    Rules::new(&engine.bound.get(), now_s)
}

enum Hold<'e> {
    Shared(gate::Shared<'e, Layout>),
    Alone(RefCell<gate::Exclusive<'e, Layout>>),
}

/// What only somebody alone inside the gate can do. Erases the lifetime of the hold.
trait Alone {
    fn layout(&self) -> Layout;
    fn replace(&self, layout: &Layout);
}

impl Alone for RefCell<gate::Exclusive<'_, Layout>> {
    fn layout(&self) -> Layout {
        Arc::clone(self.borrow().get())
    }

    fn replace(&self, layout: &Layout) {
        self.borrow_mut().replace(layout);
    }
}

impl<'e> Batch<'e> {
    pub(super) fn shared(engine: &'e Engine, side: usize, now: Now) -> Self {
        let hold = Hold::Shared(engine.gate.shared(side));
        Self::inside(engine, hold, side, now)
    }

    pub(super) fn alone(engine: &'e Engine, now: Now) -> Self {
        let hold = Hold::Alone(RefCell::new(engine.gate.exclusive()));
        Self::inside(engine, hold, 0, now)
    }

    fn inside(engine: &'e Engine, hold: Hold<'e>, side: usize, now: Now) -> Self {
        Self {
            engine,
            hold,
            side,
            now,
            rules: rules(engine, now),
            recording: engine.is_recording(),
            decides: true,
            scratch: RefCell::default(),
        }
    }

    /// The same, for doing again what was done: no entry is removed because it no longer stands.
    pub(super) fn deciding_nothing(mut self) -> Self {
        self.decides = false;
        self
    }

    /// Whether nobody else is inside.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self.hold, Hold::Alone(_))
    }

    /// Has the processor fetch what opening these keys of one database will read: whoever opens
    /// many keys soon waits for memory once instead of once for each. A hint; keys beyond the first
    /// 32 are left out, and so are keys whose shard somebody else holds.
    pub fn fetch<'k>(&self, db: u32, keys: impl Iterator<Item = &'k [u8]>) {
        let engine = self.engine;
        let Hold::Shared(side) = &self.hold else {
            return;
        };
        let database = &side.get()[db as usize];
        let shards = database.shards_in_use();
        if shards.is_empty() {
            return;
        }
        let mut hashes = [0; FETCHED_MAX];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = engine.hasher.hash(key);
            prefetch(&shards[database.shard_of(*hash)]);
            count += 1;
        }
        let hashes = &hashes[..count];
        for stage in [Shard::fetch_table, Shard::fetch_entry] {
            for &hash in hashes {
                if let Some(shard) = shards[database.shard_of(hash)].try_lock() {
                    stage(&shard, hash);
                }
            }
        }
    }

    /// The same for keys that come one by one, each some time before it is opened: begins to fetch
    /// for this one and goes on with those before it.
    pub fn fetch_next(&self, ahead: &mut Ahead, db: u32, key: &[u8]) {
        let Hold::Shared(side) = &self.hold else {
            return;
        };
        let shard_of = |(db, hash): (u32, u64)| {
            let database = &side.get()[db as usize];
            database.shards_in_use().get(database.shard_of(hash))
        };
        let next = (db, self.engine.hasher.hash(key));
        if let Some(shard) = shard_of(next) {
            prefetch(shard);
        }
        let [newer, older] = ahead.0;
        for (name, stage) in [
            (newer, Shard::fetch_table as fn(&Shard, u64)),
            (older, Shard::fetch_entry),
        ] {
            if let Some(shard) = name.and_then(shard_of).and_then(|shard| shard.try_lock())
                && let Some((_, hash)) = name
            {
                stage(&shard, hash);
            }
        }
        ahead.0 = [Some(next), newer];
    }

    /// Begins a step. Alone, its frame is committed when the step is dropped.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        let view = match &self.hold {
            Hold::Shared(side) => View::Shared(side.get()),
            Hold::Alone(sides) => View::Alone(sides, sides.layout()),
        };
        let ctx = Context {
            now: self.now,
            rules: self.rules,
            frame: if self.recording {
                self.scratch.take()
            } else {
                Vec::new()
            },
            recording: self.recording,
            decides: self.decides,
            only_looks: false,
            alone: self.is_alone(),
            side: self.side,
            tally: Tally::default(),
            seen: Cell::new(0),
            changed: Vec::new(),
            changed_bytes: 0,
            coordinated: 0,
            news: None,
            has_settled: false,
            touched: Vec::new(),
        };
        Step {
            engine: self.engine,
            view,
            scratch: &self.scratch,
            ctx,
        }
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("alone", &self.is_alone())
            .finish_non_exhaustive()
    }
}

/// What a step counted, for whoever keeps the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Entries removed because their deadline had passed.
    pub expired: u64,
    /// Entries evicted to make room.
    pub evicted: u64,
    /// Changes made.
    pub changes: u64,
}

impl Tally {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.changes += other.changes;
    }
}

enum View<'b> {
    Shared(&'b Layout),
    Alone(&'b dyn Alone, Layout),
}

impl View<'_> {
    fn layout(&self) -> &Layout {
        match self {
            View::Shared(layout) => layout,
            View::Alone(_, layout) => layout,
        }
    }
}

/// What the operations of one step share.
struct Context {
    now: Now,
    rules: Rules,
    /// The effects that are not yet committed.
    frame: Vec<u8>,
    recording: bool,
    /// Whether entries that no longer stand are removed.
    decides: bool,
    /// The step only looks: what is due and finds no room in the log is passed over.
    only_looks: bool,
    alone: bool,
    side: usize,
    tally: Tally,
    /// The highest frame that this step made, or that changed something it looked at.
    seen: Cell<u64>,
    /// Alone: what the frame changed.
    changed: Vec<Changed>,
    /// Bytes of the frame whose changes are listed there.
    changed_bytes: usize,
    /// The frame that a turn of the coordinator took along what was done with the shards that are
    /// held; 0: none did.
    coordinated: u64,
    /// Alone: what the coordinator has for connections once the frame has a number.
    news: Option<Box<News>>,
    /// A call that waited was told what came of it.
    has_settled: bool,
    /// Keys that were changed while somebody waits for them, with the numbers of their databases.
    touched: Vec<(u32, Box<[u8]>)>,
}

/// What turns of the coordinator left for connections.
#[derive(Default)]
struct News {
    settled: Vec<Settled>,
    lost: Vec<Lost>,
}

/// Something a frame changed. Databases by their identity.
#[derive(Clone, Copy, Debug)]
enum Changed {
    Shard(u32, usize),
    Database(u32),
    Map,
    Coordinator,
}

impl Context {
    #[inline]
    fn emit(&mut self, effect: &Effect<'_>) {
        self.tally.changes += 1;
        if self.recording {
            effect.push_to(&mut self.frame);
        }
    }

    /// Whether the log has room for one more key to be removed.
    #[cold]
    fn has_room(&self, engine: &Engine, key_len: usize) -> bool {
        let bytes = self.frame.len() + key_len + REMOVAL_BYTES;
        let sink = engine.sink.get().filter(|_| self.recording);
        sink.is_none_or(|sink| sink.has_room(bytes))
    }

    /// Hands the frame over, if there is one; answers its number.
    #[inline]
    fn commit(&mut self, engine: &Engine) -> Option<u64> {
        if self.frame.is_empty() {
            return None;
        }
        let sink = engine.sink.get()?;
        let number = sink.commit(self.side, &self.frame);
        self.frame.clear();
        self.see(number);
        Some(number)
    }

    /// Lets the coordinator take a turn. What the step did so far goes with its frame, but alone.
    fn coordinate<R>(
        &mut self,
        engine: &Engine,
        layout: &Layout,
        act: impl FnOnce(&mut Turn<'_>) -> R,
    ) -> R {
        self.coordinate_key(engine, layout, None, act).0
    }

    /// The same while the entry of a key is held, which is left to the caller: answers also of what
    /// kind the key is then, and whether its watchers are to know of a change.
    fn coordinate_key<R>(
        &mut self,
        engine: &Engine,
        layout: &Layout,
        key: Option<(u32, &[u8])>,
        act: impl FnOnce(&mut Turn<'_>) -> R,
    ) -> (R, (Option<Kind>, bool)) {
        let (side, is_alone) = (self.side, self.alone);
        let frame = self.recording.then_some(&mut self.frame);
        let mut turn = engine.coordinator.turn(self.now, frame);
        turn.hold_key(key);
        let answer = act(&mut turn);
        let mut committed = 0;
        let left = turn.finish(|frame| {
            let sink = engine.sink.get().filter(|_| !is_alone)?;
            let number = sink.commit(side, frame);
            frame.clear();
            committed = number;
            Some(number)
        });
        self.coordinated = self.coordinated.max(committed);
        self.tally.changes += left.changes;
        if is_alone && left.changes > 0 {
            self.changed.push(Changed::Coordinator);
        }
        self.see(left.frame);
        for name in &left.touched {
            let place = layout.iter().position(|database| database.id == name.db);
            if let Some(place) = place.and_then(|place| u32::try_from(place).ok()) {
                engine.watches.note_change(place, &name.key);
            }
        }
        if !left.settled.is_empty() || !left.lost.is_empty() {
            let news = self.news.get_or_insert_default();
            news.settled.extend(left.settled);
            news.lost.extend(left.lost);
        }
        if !is_alone {
            self.deliver(engine, left.frame);
        }
        (answer, left.key)
    }

    /// Has the coordinator end what is over at the time of the step, so that whoever looks at what
    /// it has does not find that still there.
    fn keep_time(&mut self, engine: &Engine, layout: &Layout) {
        if self.decides && engine.coordinator.is_behind(self.now) {
            self.coordinate(engine, layout, |_| ());
        }
    }

    /// Hands over what the coordinator has for connections.
    #[cold]
    fn deliver(&mut self, engine: &Engine, frame: u64) {
        let Some(news) = self.news.take() else {
            return;
        };
        let Some(callers) = engine.callers.get() else {
            return;
        };
        self.has_settled |= !news.settled.is_empty();
        for settled in news.settled {
            // A grant is of use to nobody but who asked for it.
            let grant = match &settled.outcome {
                Outcome::Granted { names, fence } => Some((names.clone(), *fence)),
                _ => None,
            };
            let conn = settled.ticket.conn;
            if !callers.settle(settled, frame)
                && let Some((names, fence)) = grant
            {
                engine.coordinator.return_grant(conn, names, fence);
            }
        }
        for lost in news.lost {
            callers.tell(lost, frame);
        }
    }

    #[inline]
    fn see(&self, number: u64) {
        self.seen.set(self.seen.get().max(number));
    }

    /// Commits what was done with a shard that is held, and notes in it which frame that was; or
    /// notes which frame it was in before. Alone, the frame goes on.
    #[inline]
    fn settle(&mut self, engine: &Engine, layout: &Layout, places: &[Place]) {
        if self.alone && self.frame.len() > self.changed_bytes {
            self.changed_bytes = self.frame.len();
            let changed = |place: &Place| Changed::Shard(layout[place.0 as usize].id, place.1);
            self.changed.extend(places.iter().map(changed));
        }
        let is_late = self.alone || seeded::has(Bug::NumberAfterUnlock);
        let number = if is_late { None } else { self.commit(engine) };
        let coordinated = std::mem::take(&mut self.coordinated);
        let number = number.or((coordinated > 0).then_some(coordinated));
        for &(db, shard) in places {
            let database = &layout[db as usize];
            match number {
                Some(number) => database.note_frame(shard, number),
                None => self.see(database.frame_of(shard)),
            }
        }
    }
}

/// A shard: the database as `SELECT` numbers it, and the number in it.
type Place = (u32, usize);

/// One unit of change: a command, an EXEC, a timer's turn.
pub struct Step<'b> {
    engine: &'b Engine,
    view: View<'b>,
    scratch: &'b RefCell<Vec<u8>>,
    ctx: Context,
}

/// When the memory of a flushed database is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// Before the call returns: O(entries).
    Now,
    /// In bounded steps, by [`Engine::free_some`].
    Later,
}

impl<'b> Step<'b> {
    /// The time of this step, the same for all it does.
    #[must_use]
    pub fn now(&self) -> Now {
        self.ctx.now
    }

    pub(super) fn engine(&self) -> &'b Engine {
        self.engine
    }

    /// Says that this step changes nothing but to remove what is due, and that only where the log
    /// has room for it: what finds none is passed over.
    pub fn only_look(&mut self) {
        self.ctx.only_looks = true;
    }

    /// The side of the gate it is on.
    pub(super) fn side(&self) -> usize {
        self.ctx.side
    }

    /// How uses are noted and entries compared.
    pub(super) fn rules(&self) -> &Rules {
        &self.ctx.rules
    }

    /// The hash of a key.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.engine.hasher.hash(key)
    }

    /// Number of databases.
    #[must_use]
    pub fn databases(&self) -> u32 {
        u32::try_from(self.view.layout().len()).unwrap_or(u32::MAX)
    }

    /// What the step counted so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.ctx.tally
    }

    /// What the step counted so far, starting anew.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.ctx.tally)
    }

    /// Whether a call that waited, maybe of another connection, was told what came of it.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.ctx.has_settled
    }

    /// Commits what the step did, if it did not go with the locks, and answers the highest frame
    /// that it made or that changed something it looked at: whoever is told of this step is told of
    /// that frame. 0 where nothing is recorded.
    #[inline]
    pub fn commit(&mut self) -> u64 {
        if !self.ctx.recording {
            self.deliver(0);
            return 0;
        }
        if let Some(number) = self.ctx.commit(self.engine) {
            for changed in std::mem::take(&mut self.ctx.changed) {
                self.note_frame(changed, number);
            }
            self.ctx.changed_bytes = 0;
        }
        self.deliver(self.ctx.seen.get());
        self.ctx.seen.get()
    }

    /// Hands over what the coordinator has for connections, which is seldom anything.
    #[inline]
    fn deliver(&mut self, frame: u64) {
        if self.ctx.news.is_some() {
            self.ctx.deliver(self.engine, frame);
        }
    }

    fn note_frame(&self, changed: Changed, number: u64) {
        let layout = self.view.layout();
        let find = |id| layout.iter().find(|database| database.id == id);
        match changed {
            Changed::Shard(id, shard) => {
                if let Some(database) = find(id) {
                    database.note_frame(shard, number);
                }
            }
            Changed::Database(id) => {
                if let Some(database) = find(id) {
                    database.note_frame_of_all(number);
                }
            }
            Changed::Map => self.engine.map_frame.store(number, Ordering::Relaxed),
            Changed::Coordinator => self.engine.coordinator.note_frame(number),
        }
    }

    /// Notes that the step looked at a shard.
    #[inline]
    pub(super) fn see(&self, db: u32, shard: usize) {
        if self.ctx.recording {
            self.ctx.see(self.database(db).frame_of(shard));
        }
    }

    /// Notes that the step looked at a whole database.
    fn see_all(&self, db: u32) {
        (0..self.database(db).shard_count()).for_each(|shard| self.see(db, shard));
    }

    /// Lets the coordinator take a turn, with no shard held.
    pub fn coordinate<R>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let answer = self.ctx.coordinate(self.engine, self.view.layout(), act);
        self.ctx.coordinated = 0;
        answer
    }

    /// Has the coordinator end what is over at the time of the step, with no shard held: what is
    /// looked at without opening keys is then true.
    pub(super) fn keep_time(&mut self) {
        self.ctx.keep_time(self.engine, self.view.layout());
        self.ctx.coordinated = 0;
    }

    /// The identity of the database that `SELECT db` picks.
    #[must_use]
    pub fn db_id(&self, db: u32) -> u32 {
        self.database(db).id
    }

    /// Locks the shard of one key, which is to be a string if it is there.
    ///
    /// # Errors
    /// [`WrongType`]: it is none.
    #[inline]
    pub fn lock(&mut self, db: u32, key: &[u8]) -> Result<Locked<'_>, WrongType> {
        let locked = self.lock_object(db, key);
        if locked.has_extras() {
            return locked.if_string(db, key);
        }
        Ok(locked)
    }

    /// Locks the shard of one key of any type.
    #[inline]
    pub fn lock_any(&mut self, db: u32, key: &[u8]) -> Locked<'_> {
        let mut locked = self.lock_object(db, key);
        if locked.has_extras() {
            locked.keep_time(std::iter::once((db, key)));
        }
        locked
    }

    /// The same for who lets the coordinator take a turn on the key and does nothing before: what
    /// is over ends in that.
    #[inline]
    pub fn lock_object(&mut self, db: u32, key: &[u8]) -> Locked<'_> {
        self.lock_hash(db, self.engine.hasher.hash(key))
    }

    /// Locks the shard of the key with this hash.
    #[inline]
    pub(super) fn lock_hash(&mut self, db: u32, hash: u64) -> Locked<'_> {
        let layout = self.view.layout();
        let database = &layout[db as usize];
        let number = database.shard_of(hash);
        let shard = database.shards()[number].lock();
        Locked {
            engine: self.engine,
            layout,
            held: Held::One(shard, hash, (db, number)),
            ctx: &mut self.ctx,
        }
    }

    /// Locks the shards of several keys of one database, which are to be strings if they are there.
    ///
    /// # Errors
    /// [`WrongType`]: one is none.
    pub fn lock_all<'k>(
        &mut self,
        db: u32,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Result<Locked<'_>, WrongType> {
        self.lock_each(keys.map(|key| (db, key)))
    }

    /// The same for keys in any databases.
    ///
    /// # Errors
    /// As [`Step::lock_all`].
    pub fn lock_each<'k>(
        &mut self,
        mut keys: impl Iterator<Item = (u32, &'k [u8])> + Clone,
    ) -> Result<Locked<'_>, WrongType> {
        let locked = self.lock_any_each(keys.clone());
        if locked.has_extras() {
            keys.try_for_each(|(db, key)| locked.expect_string(db, key))?;
        }
        Ok(locked)
    }

    /// Locks the shards of several keys of one database, of any type.
    pub fn lock_any_all<'k>(
        &mut self,
        db: u32,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Locked<'_> {
        self.lock_any_each(keys.map(|key| (db, key)))
    }

    /// Locks the shards of keys in any databases, in ascending order, each once.
    fn lock_any_each<'k>(
        &mut self,
        keys: impl Iterator<Item = (u32, &'k [u8])> + Clone,
    ) -> Locked<'_> {
        let layout = self.view.layout();
        let place = |(db, key): (u32, &[u8])| {
            (
                db,
                layout[db as usize].shard_of(self.engine.hasher.hash(key)),
            )
        };
        let mut places: Vec<Place> = keys.clone().map(place).collect();
        places.sort_unstable();
        places.dedup();
        let lock = |&(db, number): &Place| layout[db as usize].shards()[number].lock();
        let shards = places.iter().map(lock).collect();
        let mut locked = Locked {
            engine: self.engine,
            layout,
            held: Held::Many(shards, places),
            ctx: &mut self.ctx,
        };
        if locked.has_extras() {
            locked.keep_time(keys);
        }
        locked
    }

    /// Worker `worker` is about to look for the deadlines that come next.
    pub(super) fn rise(&self, worker: usize) {
        self.engine.rise(worker);
    }

    /// Locks one shard by its number and takes out what is due in it, as [`Shard::expire`] does.
    pub(super) fn expire(&mut self, db: u32, shard: usize, effort_max: usize) -> Expired {
        let layout = self.view.layout();
        let guard = layout[db as usize].shards()[shard].lock();
        let mut locked = Locked {
            engine: self.engine,
            layout,
            held: Held::Whole(guard, (db, shard)),
            ctx: &mut self.ctx,
        };
        locked.expire(effort_max)
    }

    /// The database that `SELECT db` picks.
    pub(super) fn database(&self, db: u32) -> &Database {
        &self.view.layout()[db as usize]
    }

    /// Number of keys in a database, those due but not yet removed among them.
    #[must_use]
    pub fn len(&self, db: u32) -> usize {
        let mut keys = 0;
        self.each_shard(db, |shard| keys += shard.len());
        keys
    }

    /// Bytes of the text of a key's value, one past its deadline too, without a trace; 0 where
    /// there is none. Nothing may be locked.
    #[must_use]
    pub fn value_bytes(&self, db: u32, key: &[u8]) -> usize {
        let hash = self.hash(key);
        let Some(database) = self.view.layout().get(db as usize) else {
            return 0;
        };
        let shards = database.shards_in_use();
        let Some(shard) = shards.get(database.shard_of(hash)) else {
            return 0;
        };
        let shard = shard.lock();
        let entry = shard.find(hash, key).and_then(|bucket| shard.at(bucket));
        entry.map_or(0, |entry| entry.value().text_bytes())
    }

    /// Bytes of what the step did and has not committed yet.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.ctx.frame.len()
    }

    /// What is counted about each database, by its `SELECT` number.
    #[must_use]
    pub fn census(&self) -> Vec<Census> {
        let census_of = |db| {
            let mut sum = Census::default();
            self.each_shard(db, |shard| sum.add(shard.census()));
            sum
        };
        (0..self.databases()).map(census_of).collect()
    }

    /// The same for figures in which nobody finds a change: who is told of them need not wait for
    /// what was changed last.
    #[must_use]
    pub fn census_unsettled(&self) -> Vec<Census> {
        let databases = self.view.layout().iter();
        databases.map(|database| database.census()).collect()
    }

    /// Visits the shards of a database, locked one after the other, and notes that the step looked
    /// at them. Each frame is noted with the shard locked: what comes later is not seen either.
    fn each_shard(&self, db: u32, mut visit: impl FnMut(&Shard)) {
        let shards = self.database(db).shards_in_use();
        if shards.is_empty() {
            self.see(db, 0);
        }
        for (number, shard) in shards.iter().enumerate() {
            let shard = shard.lock();
            self.see(db, number);
            visit(&shard);
        }
    }

    /// Whether nobody else is inside the gate: what changes whole databases needs it.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.ctx.alone
    }

    /// Empties a database; answers how many locks and permits were broken for it.
    ///
    /// # Panics
    /// If the batch is not alone inside the gate.
    pub fn clear(&mut self, db: u32, free: Free) -> usize {
        // Whoever is told that it is empty is told of what emptied it.
        self.see_all(db);
        let old = Arc::clone(&self.view.layout()[db as usize]);
        let shards = old.shards_in_use();
        shards.iter().for_each(|shard| shard.lock().drop_tokens());
        if self.ctx.decides {
            self.coordinate(|turn| turn.dismiss_all_of(old.id));
        }
        if old.census().keys == 0 {
            return 0;
        }
        self.note_changes_of_watched(&[db]);
        self.untie_all(&old);
        // What is done again says by itself what became of them.
        let broken = if self.ctx.decides && self.engine.coordinator.is_used(old.id) {
            self.coordinate(|turn| turn.break_all(old.id))
        } else {
            0
        };
        let fresh = Arc::new(old.emptied());
        self.replace_layout(|databases| databases[db as usize] = fresh);
        self.ctx.emit(&Effect::Clear { db: old.id });
        self.ctx.changed.push(Changed::Database(old.id));
        self.mark_all(Some(old.id));
        match free {
            Free::Now => drop(old),
            Free::Later => self.engine.discard(old),
        }
        broken
    }

    /// Gives every object of the coordinator, or those of one database, its marker.
    pub(super) fn mark_all(&mut self, only: Option<u32>) {
        for (name, kind) in self.engine.coordinator.names(only) {
            let layout = self.view.layout();
            let place = layout.iter().position(|database| database.id == name.db);
            let Some(db) = place.and_then(|place| u32::try_from(place).ok()) else {
                continue;
            };
            self.lock_any(db, &name.key).slot(db, &name.key).mark(kind);
        }
    }

    /// Removes entries of objects that are gone and of keys whose session has ended, at most `max`;
    /// answers whether there may be more.
    pub fn drop_loose(&mut self, max: usize) -> bool {
        let names = self.engine.coordinator.take_loose(max);
        let has_more = names.len() == max;
        for name in names {
            let layout = self.view.layout();
            let place = layout.iter().position(|database| database.id == name.db);
            if let Some(db) = place.and_then(|place| u32::try_from(place).ok()) {
                // Opening it removes what does not stand.
                self.lock_any(db, &name.key).slot(db, &name.key);
            }
        }
        has_more
    }

    /// Lets two databases change places.
    ///
    /// # Panics
    /// If the batch is not alone inside the gate.
    pub fn swap(&mut self, a: u32, b: u32) {
        if a == b {
            return;
        }
        self.note_changes_of_watched(&[a, b]);
        let (a_id, b_id) = (self.database(a).id, self.database(b).id);
        self.replace_layout(|databases| databases.swap(a as usize, b as usize));
        if self.ctx.decides {
            self.coordinate(|turn| [a_id, b_id].map(|id| turn.tell_all_of(id)));
        }
        self.ctx.emit(&Effect::Swap { a: a_id, b: b_id });
        let changed = [a_id, b_id].map(Changed::Database);
        self.ctx.changed.extend(changed);
        self.ctx.changed.push(Changed::Map);
    }

    /// The tied keys of a database that is emptied no longer go with their sessions.
    fn untie_all(&self, database: &Database) {
        for shard in database.shards_in_use() {
            for (key, extra) in shard.lock().extras() {
                if let Some(session) = extra.session {
                    self.engine.coordinator.untie(database.id, key, session);
                }
            }
        }
    }

    /// Who gives out IDs.
    #[must_use]
    pub fn ids(&self) -> &'b Ids {
        &self.engine.ids
    }

    /// Ends the wait of a call for IDs, as `CLIENT UNBLOCK` does; answers whether it waited.
    pub fn unblock_ids(&mut self, conn: u64, is_error: bool) -> bool {
        let Some(ticket) = self.engine.ids.withdraw(conn) else {
            return false;
        };
        let outcome = if is_error {
            Outcome::Unblocked
        } else {
            Outcome::Ids(Err(ids::Refusal::UsedUp(0)))
        };
        let news = self.ctx.news.get_or_insert_default();
        news.settled.push(Settled { ticket, outcome });
        true
    }

    /// The session that this text names, if it is open.
    #[must_use]
    pub fn session_of(&mut self, sid: &[u8]) -> Option<u64> {
        self.keep_time();
        self.engine.coordinator.session_of(sid)
    }

    /// Whether a database has anything that is neither a string nor nothing. O(shards) and one look
    /// at each entry that has extras.
    #[must_use]
    pub fn has_kinds(&mut self, db: u32) -> bool {
        self.keep_time();
        let database = self.database(db);
        self.see_all(db);
        let has_kind = |shard: &Shard| {
            let mut extras = shard.extras();
            shard.has_kept() || extras.any(|(_, extra)| extra.kind == Some(Kind::Fence))
        };
        let mut shards = database.shards_in_use().iter();
        let coordinator = &self.engine.coordinator;
        coordinator.is_used(database.id)
            || coordinator.is_watched(database.id)
            || shards.any(|shard| has_kind(&shard.lock()))
    }

    /// Whether what the entry with this key has beside its value still stands.
    pub(super) fn stands(&self, db: u32, shard: &Shard, key: &[u8]) -> bool {
        let extra = shard.extra_of(key, &self.engine.hasher);
        !self.ctx.decides || extra.stands(&self.engine.coordinator, self.database(db).id, key)
    }

    /// Whether any of these keys changed since it was watched. Opens each key first, so one that
    /// has passed its deadline in between has changed.
    #[must_use]
    pub fn any_changed<'w>(&mut self, watched: impl IntoIterator<Item = &'w Watched>) -> bool {
        watched.into_iter().any(|watch| {
            let (db, key) = watch.name();
            self.lock_any(*db, key).slot(*db, key);
            self.engine.watches.changed(watch)
        })
    }

    /// Ends a watch.
    pub fn unwatch(&self, watched: Watched) {
        self.engine.unwatch(watched);
    }

    /// A watched key changes if it is there before or after these databases are emptied or change
    /// places. Opening it in each lets it go first where it is past its deadline: one that was
    /// there when it was watched has changed, one that would only come has not.
    fn note_changes_of_watched(&mut self, databases: &[u32]) {
        let engine = self.engine;
        for (db, key) in engine.watches.names(databases) {
            let mut exists = |&db: &u32| self.lock_any(db, &key).slot(db, &key).exists();
            if databases.iter().any(&mut exists) {
                engine.watches.note_change(db, &key);
            }
        }
    }

    fn replace_layout(&mut self, change: impl FnOnce(&mut Vec<Arc<Database>>)) {
        let View::Alone(alone, layout) = &mut self.view else {
            panic!("whole databases change only with the gate held alone");
        };
        let mut databases = layout.to_vec();
        change(&mut databases);
        *layout = databases.into();
        alone.replace(layout);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        abort_if_panicking_with(!self.ctx.frame.is_empty() || self.ctx.alone);
        if !self.ctx.recording {
            self.deliver(0);
            return;
        }
        // With a shared batch the frame went with the locks; what is left is that of a step alone.
        self.commit();
        if self.ctx.frame.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch.replace(std::mem::take(&mut self.ctx.frame));
        }
    }
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("now", &self.ctx.now)
            .finish_non_exhaustive()
    }
}

/// The shards of the keys a step named, locked.
pub struct Locked<'s> {
    engine: &'s Engine,
    layout: &'s Layout,
    held: Held<'s>,
    ctx: &'s mut Context,
}

enum Held<'s> {
    /// One shard, and the hash of the key it was locked for.
    One(MutexGuard<'s, Shard>, u64, Place),
    Many(Vec<MutexGuard<'s, Shard>>, Vec<Place>),
    /// One shard, for the sake of no key in particular.
    Whole(MutexGuard<'s, Shard>, Place),
}

impl Held<'_> {
    fn places(&self) -> &[Place] {
        match self {
            Self::One(_, _, place) | Self::Whole(_, place) => std::slice::from_ref(place),
            Self::Many(_, places) => places,
        }
    }

    #[inline]
    fn has_extras(&self) -> bool {
        match self {
            Self::One(shard, ..) | Self::Whole(shard, _) => shard.has_extras(),
            Self::Many(shards, _) => shards.iter().any(|shard| shard.has_extras()),
        }
    }
}

impl Locked<'_> {
    /// Opens a key that was named when locking. An entry past its deadline, or one that no longer
    /// stands, is removed first.
    ///
    /// # Panics
    /// If the key's shard is not among the locked ones.
    #[inline]
    pub fn slot<'l>(&'l mut self, db: u32, key: &'l [u8]) -> Slot<'l> {
        let mut slot = self.open(db, key);
        if slot.shard.has_extras() && slot.exists() {
            slot.remove_fallen();
        }
        slot
    }

    /// The same, but that an entry may be there which no longer stands.
    #[inline]
    fn open<'l>(&'l mut self, db: u32, key: &'l [u8]) -> Slot<'l> {
        let database = &self.layout[db as usize];
        let (shard, hash) = match &mut self.held {
            Held::One(shard, hash, _) => {
                debug_assert_eq!(
                    *hash,
                    self.engine.hasher.hash(key),
                    "this key was not named"
                );
                (&mut **shard, *hash)
            }
            Held::Many(shards, places) => {
                let hash = self.engine.hasher.hash(key);
                let at = places.binary_search(&(db, database.shard_of(hash)));
                (&mut *shards[at.expect("this key was not named")], hash)
            }
            Held::Whole(..) => panic!("this key was not named"),
        };
        let bucket = shard.find(hash, key);
        let engine = self.engine;
        let mut slot = Slot {
            engine,
            shard,
            bucket,
            hash,
            key,
            db,
            database,
            layout: self.layout,
            ctx: self.ctx,
        };
        slot.expire();
        slot
    }

    /// Lets the coordinator take a turn while a key is held that was named when locking, and the
    /// key be the marker of what became of it.
    ///
    /// # Errors
    /// [`WrongType`], before anything changes: the key is neither an object nor nothing.
    ///
    /// # Panics
    /// If the key's shard is not among the locked ones.
    pub fn coordinate_key<R>(
        &mut self,
        db: u32,
        key: &[u8],
        act: impl FnOnce(&mut Turn<'_>) -> R,
    ) -> Result<R, WrongType> {
        let mut slot = self.open(db, key);
        let mut extra = slot.extra_if_there();
        if !extra.is_marker() && slot.exists() {
            if extra.is_coordinated() {
                slot.ctx.keep_time(slot.engine, slot.layout);
            }
            slot.remove_fallen();
            if slot.exists() {
                return Err(WrongType);
            }
            extra = Extra::default();
        }
        // A marker need not stand: it is made to fit below.
        Ok(slot.take_turn(extra, act))
    }

    /// Lets the coordinator take a turn while the shards of these keys are held, and each of them
    /// be the marker of what became of it.
    ///
    /// # Errors
    /// [`WrongType`], before anything changes: one of the keys is neither an object nor nothing.
    pub fn coordinate<'k, R>(
        &mut self,
        db: u32,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        act: impl FnOnce(&mut Turn<'_>) -> R,
    ) -> Result<R, WrongType> {
        let mut others = keys.clone();
        if !others.all(|key| self.slot(db, key).is_for_coordinator()) {
            return Err(WrongType);
        }
        let answer = self.ctx.coordinate(self.engine, self.layout, act);
        for key in keys {
            let id = self.layout[db as usize].id;
            let kind = self.engine.coordinator.kind_of(id, key);
            let mut slot = self.slot(db, key);
            match kind {
                Some(kind) => slot.mark(kind),
                None => slot.unmark(),
            }
        }
        Ok(answer)
    }

    /// Whether any entry of the locked shards has extras.
    #[inline]
    fn has_extras(&self) -> bool {
        self.held.has_extras()
    }

    /// Itself, if this key is a string or not there. Apart, so that it is not in the way of keys
    /// in shards without extras.
    #[cold]
    fn if_string(mut self, db: u32, key: &[u8]) -> Result<Self, WrongType> {
        self.keep_time(std::iter::once((db, key)));
        self.expect_string(db, key).map(|()| self)
    }

    /// Whether a key that was named when locking is a string, or not there.
    ///
    /// # Errors
    /// [`WrongType`]: neither.
    ///
    /// # Panics
    /// If the key's shard is not among the locked ones.
    pub fn expect_string(&self, db: u32, key: &[u8]) -> Result<(), WrongType> {
        let id = self.layout[db as usize].id;
        let (shard, hash) = self.shard_of(db, key);
        let extra = shard.extra(hash, key);
        match extra.kind {
            Some(_) if extra.stands(&self.engine.coordinator, id, key) => Err(WrongType),
            _ if shard.is_kept(hash, key, self.ctx.now) => Err(WrongType),
            _ => Ok(()),
        }
    }

    /// What a key that was named when locking has beside its value.
    fn extra(&self, db: u32, key: &[u8]) -> Extra {
        let (shard, hash) = self.shard_of(db, key);
        shard.extra(hash, key)
    }

    /// The shard of a key that was named when locking, and the key's hash.
    fn shard_of(&self, db: u32, key: &[u8]) -> (&Shard, u64) {
        let hash = self.engine.hasher.hash(key);
        let shard = match &self.held {
            Held::One(shard, ..) | Held::Whole(shard, _) => shard,
            Held::Many(shards, places) => {
                let number = self.layout[db as usize].shard_of(hash);
                let at = places.binary_search(&(db, number));
                &shards[at.expect("this key was not named")]
            }
        };
        (shard, hash)
    }

    /// Has the coordinator end what is over at the time of the step, if it is to be asked about one
    /// of these keys: what is over by then shows nowhere. Before anything has changed, so that no
    /// change comes to be in two frames.
    #[cold]
    fn keep_time<'k>(&mut self, mut keys: impl Iterator<Item = (u32, &'k [u8])>) {
        if keys.any(|(db, key)| self.extra(db, key).is_coordinated()) {
            self.ctx.keep_time(self.engine, self.layout);
        }
    }

    /// Whether any of these keys, named when locking, is an object that may not be deleted.
    ///
    /// # Panics
    /// If the shard of one is not among the locked ones.
    pub fn is_any_in_use<'k>(&mut self, db: u32, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        self.has_extras() && keys.any(|key| self.slot(db, key).is_in_use())
    }

    /// Begins to watch a key that was named when locking, of any type.
    pub fn watch(&mut self, db: u32, key: &[u8]) -> Watched {
        self.slot(db, key);
        self.engine.watches.add(db, key)
    }

    fn expire(&mut self, effort_max: usize) -> Expired {
        let Held::Whole(shard, (db, number)) = &mut self.held else {
            unreachable!("expiry locks a whole shard");
        };
        let (db, number) = (*db, *number);
        let database = &self.layout[db as usize];
        let (engine, ctx) = (self.engine, &mut *self.ctx);
        let now = ctx.now;
        let expired = shard.expire(now, effort_max, &engine.hasher, |key, extra| {
            note_expired(engine, ctx, db, database.id, key);
            if let Some(extra) = extra {
                untie(engine, database.id, key, extra);
            }
        });
        if let Some(earliest) = database.earliest() {
            earliest.set(number, expired.earliest_ms);
        }
        expired
    }

    /// Lets an entry go whose shard was locked by its hash, if it is there and still what it was.
    /// One past its deadline counts as expired.
    pub(super) fn evict(&mut self, candidate: &Candidate, policy: Policy) -> Fate {
        let Held::One(shard, hash, _) = &mut self.held else {
            unreachable!("an eviction locks one shard");
        };
        let (engine, ctx, hash) = (self.engine, &mut *self.ctx, *hash);
        let Some(bucket) = shard.find_hash(hash, &engine.hasher) else {
            return Fate::Spared;
        };
        let entry = shard.at(bucket).expect("an entry was found there");
        let now = Candidate::new(candidate.db(), hash, entry);
        let (db, id) = (now.db(), self.layout[now.db() as usize].id);
        if entry.is_due(ctx.now) {
            note_expired(engine, ctx, db, id, entry.key());
            untie(engine, id, entry.key(), shard.extra(hash, entry.key()));
        } else if !now.may_go(policy) || shard.is_spared(entry, &engine.hasher) {
            return Fate::Spared;
        } else if now != *candidate {
            return Fate::Changed(now);
        } else {
            ctx.tally.evicted += 1;
            note_removed(engine, ctx, db, id, entry.key());
        }
        shard.evict(bucket, hash, &ctx.rules, &engine.hasher);
        Fate::Went
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        abort_if_panicking_with(true);
        if !self.ctx.touched.is_empty() {
            self.hand_over_touched();
        }
        if self.ctx.recording {
            let (engine, layout) = (self.engine, self.layout);
            self.ctx.settle(engine, layout, self.held.places());
        }
    }
}

impl std::fmt::Debug for Locked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}

/// Nobody may go on with a state that a panic left half changed.
fn abort_if_panicking_with(changing: bool) {
    if changing && std::thread::panicking() {
        std::process::abort();
    }
}

fn note_expired(engine: &Engine, ctx: &mut Context, db: u32, id: u32, key: &[u8]) {
    ctx.tally.expired += 1;
    note_removed(engine, ctx, db, id, key);
}

fn note_removed(engine: &Engine, ctx: &mut Context, db: u32, id: u32, key: &[u8]) {
    ctx.emit(&Effect::Remove { db: id, key });
    engine.watches.note_change(db, key);
}

/// What went no longer goes with its session.
fn untie(engine: &Engine, id: u32, key: &[u8], extra: Extra) {
    if let Some(session) = extra.session {
        engine.coordinator.untie(id, key, session);
    }
}

/// One key of the keyspace, its shard locked, its deadline looked at.
pub struct Slot<'l> {
    engine: &'l Engine,
    shard: &'l mut Shard,
    bucket: Option<usize>,
    hash: u64,
    key: &'l [u8],
    /// The database as `SELECT` numbers it.
    db: u32,
    database: &'l Database,
    layout: &'l Layout,
    ctx: &'l mut Context,
}

/// What becomes of a key's deadline when its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It stays.
    Keep,
    /// The key lives until it is removed.
    None,
    /// The key is gone from this Unix time in milliseconds on.
    At(u64),
}

impl Slot<'_> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.shard.at(self.bucket?)
    }

    /// Removes an entry that has passed its deadline. Whoever only looks, while the log has no room
    /// for the removal, does not see it: nobody asked for that frame, and so many of them may come
    /// that a full disk has no room for them.
    #[inline]
    fn expire(&mut self) {
        let is_due = self.entry().is_some_and(|entry| entry.is_due(self.ctx.now));
        if let Some(bucket) = self.bucket.filter(|_| is_due) {
            self.bucket = None;
            if self.ctx.only_looks && !self.ctx.has_room(self.engine, self.key.len()) {
                return;
            }
            if self.shard.has_extras() {
                untie(self.engine, self.database.id, self.key, self.extra());
            }
            self.shard.remove(bucket, &self.engine.hasher);
            note_expired(self.engine, self.ctx, self.db, self.database.id, self.key);
        }
    }

    /// Removes an entry that no longer stands: a marker without its object, which leaves no effect,
    /// or a key whose session has ended.
    #[cold]
    fn remove_fallen(&mut self) {
        let (extra, id) = (self.extra(), self.database.id);
        if !self.ctx.decides || extra.stands(&self.engine.coordinator, id, self.key) {
            return;
        }
        let Some(bucket) = self.bucket.take() else {
            return;
        };
        self.shard.remove(bucket, &self.engine.hasher);
        if extra.is_marker() {
            self.note_change();
        } else {
            note_removed(self.engine, self.ctx, self.db, id, self.key);
            untie(self.engine, id, self.key, extra);
        }
    }

    /// Removes a string whose session is over, which nothing has ended yet: the key was locked
    /// without a look at the time.
    #[cold]
    fn drop_overdue(&mut self) {
        if self.extra().session.is_some() {
            self.ctx.keep_time(self.engine, self.layout);
            self.remove_fallen();
        }
    }

    /// What the key has beside value and deadline.
    fn extra(&self) -> Extra {
        self.shard.extra(self.hash, self.key)
    }

    /// The same, without a look where there is nothing.
    #[inline]
    fn extra_if_there(&self) -> Extra {
        if self.shard.has_extras() && self.exists() {
            return self.extra();
        }
        Extra::default()
    }

    /// What the key is, if it is there and no string.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Option<Kind> {
        let entry = || self.entry().and_then(Entry::kind);
        let kind = self.extra_if_there().kind;
        kind.or_else(|| self.shard.has_extras().then(entry).flatten())
    }

    /// The word `TYPE` answers for a key that is there.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        let string = self.encoding()?.type_name();
        Some(self.kind().map_or(string, Kind::name))
    }

    /// The word `OBJECT ENCODING` answers for a key that is there.
    #[must_use]
    pub fn encoding_name(&self) -> Option<&'static str> {
        let string = self.encoding()?.name();
        Some(self.kind().map_or(string, Kind::name))
    }

    /// The fence mark: the highest number that a write of the key was fenced with.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.extra().fence
    }

    /// Whether the key is an object of the coordinator's that may not be deleted.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        let is_marker = self.kind().is_some_and(Kind::is_marked);
        is_marker
            && self
                .engine
                .coordinator
                .is_in_use(self.database.id, self.key)
    }

    /// Milliseconds of engine time that what is no string has left, if its time is bounded.
    #[must_use]
    pub fn object_ttl_ms(&self) -> Option<u64> {
        let (db, now) = (self.database.id, self.ctx.now);
        if let Some(at) = self.entry().and_then(Entry::lapse_ms) {
            return Some(at.saturating_sub(now.engine_ms));
        }
        self.engine.coordinator.ttl_ms(db, self.key, now)
    }

    /// The time of the step.
    #[must_use]
    pub fn now(&self) -> Now {
        self.ctx.now
    }

    /// The identity of the key's database.
    #[must_use]
    pub fn db_id(&self) -> u32 {
        self.database.id
    }

    /// Whether the key is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.bucket.is_some()
    }

    /// The value, counted as a read: a hit or a miss, and a use of the key.
    #[inline]
    pub fn read(&mut self) -> Option<ValueRef<'_>> {
        if let Some(bucket) = self.bucket {
            self.touch(bucket, Touch::Read);
        }
        self.peek()
    }

    /// The value, counted as a hit or a miss, but not as a use of the key.
    #[inline]
    pub fn peek(&mut self) -> Option<ValueRef<'_>> {
        if self.exists() {
            self.ctx.tally.hits += 1;
        } else {
            self.ctx.tally.misses += 1;
        }
        self.value()
    }

    /// The value, without a trace.
    #[must_use]
    pub fn value(&self) -> Option<ValueRef<'_>> {
        self.entry().map(Entry::value)
    }

    /// The deadline of a key that is there and has one: Unix milliseconds.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.entry().and_then(Entry::deadline_ms)
    }

    /// How the value is held.
    #[must_use]
    pub fn encoding(&self) -> Option<Encoding> {
        self.entry().map(Entry::encoding)
    }

    /// Bytes the key takes in memory: its own, and its share of what the keys of its shard take
    /// together. O(pages of the shard).
    #[must_use]
    pub fn memory_bytes(&self) -> Option<usize> {
        self.bucket.map(|bucket| self.shard.entry_bytes(bucket))
    }

    /// Seconds since the key was last used, or under lrm changed. `None` under the lfu policies.
    #[must_use]
    pub fn idle_s(&self) -> Option<u32> {
        self.ctx.rules.idle_s(self.entry()?.usage())
    }

    /// How often the key is used, from 0 to 255 on a logarithmic scale. `None` under other policies
    /// than lfu.
    #[must_use]
    pub fn frequency(&self) -> Option<u8> {
        self.ctx.rules.frequency(self.entry()?.usage())
    }

    /// Gives the key, a string or not there, a value that is stale before its deadline.
    pub(super) fn put_cached(&mut self, value: ValueRef<'_>, deadline_ms: u64, soft: Soft) {
        if self.shard.has_extras() {
            self.make_plain();
        }
        self.store(value, Form::Cached(soft), Some(deadline_ms));
        self.note_deadline(Some(deadline_ms));
        let (db, key, Soft { at_ms, cost_ms }) = (self.database.id, self.key, soft);
        self.ctx
            .emit(&Effect::put(db, key, value, Some(deadline_ms)));
        self.ctx.emit(&Effect::Soft {
            db,
            key,
            at_ms,
            cost_ms,
        });
        self.note_change();
    }

    /// Gives the key this value: it is a string then, keeps its fence mark and goes with no
    /// session. A deadline already passed is stored as it is; the next to look finds the key gone.
    pub fn put(&mut self, value: ValueRef<'_>, deadline: Deadline) {
        let deadline_ms = match deadline {
            Deadline::Keep => self.deadline_ms(),
            Deadline::None => None,
            Deadline::At(at) => Some(at),
        };
        if self.shard.has_extras() {
            self.make_plain();
        }
        self.store(value, Form::Plain, deadline_ms);
        self.note_deadline(deadline_ms);
        let (db, key) = (self.database.id, self.key);
        self.ctx.emit(&Effect::put(db, key, value, deadline_ms));
        self.note_change();
    }

    /// The key is a string from now on, and goes with no session.
    #[cold]
    fn make_plain(&mut self) {
        let extra = self.extra();
        self.set_extra(Extra {
            fence: extra.fence,
            ..Extra::default()
        });
        untie(self.engine, self.database.id, self.key, extra);
    }

    /// Gives a key that is there these extras.
    fn set_extra(&mut self, extra: Extra) {
        if let Some(bucket) = self.bucket
            && extra != self.extra()
        {
            self.shard.set_extra(bucket, self.hash, self.key, extra);
        }
    }

    /// Makes an entry of a key without a value, if the key is not there.
    #[cold]
    fn make_bare(&mut self) {
        if self.bucket.is_none() {
            self.store(ValueRef::Bytes(b""), Form::Plain, None);
        }
    }

    #[inline]
    fn store(&mut self, value: ValueRef<'_>, form: Form, deadline_ms: Option<u64>) {
        let (age, rules) = (self.engine.age.now(), &self.ctx.rules);
        let usage = self.shard.written(self.bucket, self.hash, rules, age);
        let (key, hasher) = (self.key, &self.engine.hasher);
        let parts = Parts {
            key,
            value,
            form,
            deadline_ms,
            usage,
        };
        match self.bucket {
            Some(bucket) => self.shard.replace(bucket, &parts, hasher),
            None => {
                self.bucket = Some(self.shard.insert(self.hash, &parts, hasher));
                if self.shard.ticks() {
                    self.engine.age.tick();
                }
            }
        }
    }

    /// Makes the key, which is a limit or not there, a limit whose bucket is full at this
    /// nanosecond of engine time.
    pub fn set_limit(&mut self, full_ns: u64) {
        let value = ValueRef::Int(full_ns.cast_signed());
        self.keep(value, Form::Limit);
        let (db, key) = (self.database.id, self.key);
        self.ctx.emit(&Effect::Limit { db, key, full_ns });
        self.note_change();
    }

    /// When the bucket of a limit is full again, in nanoseconds of engine time; none where the key
    /// is not there.
    ///
    /// # Errors
    /// [`WrongType`]: it is something else.
    pub fn limit(&self) -> Result<Option<u64>, WrongType> {
        match self.entry() {
            None => Ok(None),
            Some(entry) => match (entry.form(), entry.value()) {
                (Form::Limit, ValueRef::Int(full_ns)) => Ok(Some(full_ns.cast_unsigned())),
                _ => Err(WrongType),
            },
        }
    }

    /// Makes the key, which is a record or not there, this idempotency record.
    pub fn set_record(&mut self, record: &Record<'_>) {
        self.keep(ValueRef::Bytes(&record.bytes()), Form::Idempotency);
        let (db, key, record) = (self.database.id, self.key, *record);
        self.ctx.emit(&Effect::Idempotency { db, key, record });
        self.note_change();
    }

    /// The idempotency record that the key is; none where it is not there.
    ///
    /// # Errors
    /// [`WrongType`]: it is something else.
    pub fn record(&self) -> Result<Option<Record<'_>>, WrongType> {
        match self.entry() {
            None => Ok(None),
            Some(entry) => match (entry.form(), entry.value()) {
                (Form::Idempotency, ValueRef::Bytes(bytes)) => {
                    Record::of(bytes).map(Some).map_err(|_| WrongType)
                }
                _ => Err(WrongType),
            },
        }
    }

    /// Whether the key is a limit or a record.
    pub(super) fn is_kept(&self) -> bool {
        self.entry().is_some_and(Entry::is_kept)
    }

    /// Stores a kept entry. A hint that is early enough stays, so that a limit in use is not moved
    /// from deadline to deadline with every call.
    #[inline]
    fn keep(&mut self, value: ValueRef<'_>, form: Form) {
        if self.shard.has_extras() && self.kind() != form.kind() {
            self.make_plain();
        }
        let lapse_ms = form::lapse_ms(form, value).unwrap_or(u64::MAX);
        let hint_ms = form::hint_ms(lapse_ms, self.ctx.now);
        let hint_ms = self.deadline_ms().map_or(hint_ms, |old| old.min(hint_ms));
        self.store(value, form, Some(hint_ms));
        self.note_deadline(Some(hint_ms));
    }

    /// Makes the key, which is a string that is there, a cached one.
    ///
    /// # Panics
    /// If the key is not there.
    pub fn set_soft(&mut self, soft: Soft) {
        let bucket = self.bucket.expect("the key is there");
        self.shard
            .set_form(bucket, Form::Cached(soft), &self.engine.hasher);
        let (db, key, Soft { at_ms, cost_ms }) = (self.database.id, self.key, soft);
        self.ctx.emit(&Effect::Soft {
            db,
            key,
            at_ms,
            cost_ms,
        });
        self.note_change();
    }

    /// What makes the key a cached string, if it is one.
    #[must_use]
    pub fn soft(&self) -> Option<Soft> {
        match self.entry()?.form() {
            Form::Cached(soft) => Some(soft),
            _ => None,
        }
    }

    /// Raises the fence mark to this number, which is below 2^53, if it is lower or there is none.
    /// A key that is not there becomes a bare fence.
    pub fn raise_fence(&mut self, fence: u64) {
        let mut extra = self.extra();
        if extra.fence >= Some(fence) {
            return;
        }
        if self.bucket.is_none() {
            self.make_bare();
            extra.kind = Some(Kind::Fence);
        }
        extra.fence = Some(fence);
        self.set_extra(extra);
        let (db, key) = (self.database.id, self.key);
        self.ctx.emit(&Effect::Fence { db, key, fence });
        self.note_change();
    }

    /// Lets a key that is there go when this session ends.
    ///
    /// # Panics
    /// If the key is not there.
    pub fn tie(&mut self, session: u64) {
        assert!(self.exists(), "the key is there");
        let (db, key, extra) = (self.database.id, self.key, self.extra());
        untie(self.engine, db, key, extra);
        self.set_extra(Extra {
            session: Some(session),
            ..extra
        });
        self.engine.coordinator.tie(db, key, session);
        self.ctx.emit(&Effect::Tie { db, key, session });
        self.note_change();
    }

    /// Whether the key is not there, or an object of the coordinator's.
    #[must_use]
    pub fn is_for_coordinator(&self) -> bool {
        !self.exists() || self.kind().is_some_and(Kind::is_marked)
    }

    /// Lets the coordinator take a turn while the key is held, and the key be the marker of what
    /// became of it.
    ///
    /// # Errors
    /// [`WrongType`], before anything changes: the key is neither an object nor nothing.
    pub fn coordinate<R>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> R) -> Result<R, WrongType> {
        if !self.is_for_coordinator() {
            self.drop_overdue();
        }
        if !self.is_for_coordinator() {
            return Err(WrongType);
        }
        Ok(self.take_turn(self.extra_if_there(), act))
    }

    /// The same for a key that is not there or a marker, and has these extras.
    fn take_turn<R>(&mut self, extra: Extra, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let key = Some((self.database.id, self.key));
        let (engine, layout) = (self.engine, self.layout);
        let (answer, (kind, is_touched)) = self.ctx.coordinate_key(engine, layout, key, act);
        if kind != extra.kind {
            match kind {
                Some(kind) => self.make_marker(kind),
                None => self.remove_marker(),
            }
        }
        if is_touched {
            self.note_change();
        }
        answer
    }

    /// Makes the key, which is not there or a marker already, the marker of an object of this kind;
    /// who watches the key is told if it was none. Leaves no effect.
    pub fn mark(&mut self, kind: Kind) {
        debug_assert!(kind.is_marked(), "a bare fence is made by its fence");
        if self.kind() != Some(kind) {
            self.make_marker(kind);
        }
    }

    fn make_marker(&mut self, kind: Kind) {
        self.make_bare();
        if let Some(bucket) = self.bucket {
            let extra = Extra {
                kind: Some(kind),
                ..Extra::default()
            };
            self.shard.set_extra(bucket, self.hash, self.key, extra);
        }
        self.note_change();
    }

    /// Removes a marker whose object the coordinator has no longer. Leaves no effect.
    pub fn unmark(&mut self) {
        if self.kind().is_some_and(Kind::is_marked) {
            self.remove_marker();
        }
    }

    fn remove_marker(&mut self) {
        if let Some(bucket) = self.bucket.take() {
            self.shard
                .remove_hashed(bucket, self.hash, &self.engine.hasher);
            self.note_change();
        }
    }

    /// Adds bytes to the value of a key that is there, which then goes with no session; answers the
    /// new length.
    ///
    /// # Panics
    /// If the key is not there.
    pub fn append(&mut self, suffix: &[u8]) -> usize {
        let len = self.grow(|text| text.extend_from_slice(suffix));
        let (db, key) = (self.database.id, self.key);
        self.ctx.emit(&Effect::Append { db, key, suffix });
        self.note_change();
        len
    }

    /// Writes bytes at a place in the value of a key that is there, zeros before them where the
    /// value is shorter; answers the new length. The key then goes with no session.
    ///
    /// # Panics
    /// If the key is not there.
    pub fn write_range(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let end = offset + bytes.len();
        debug_assert!(end as u64 <= VALUE_BYTES_MAX, "replay would refuse it");
        let len = self.grow(|text| {
            if text.len() < end {
                text.resize(end, 0);
            }
            text[offset..end].copy_from_slice(bytes);
        });
        let (db, key) = (self.database.id, self.key);
        let offset = offset as u64;
        self.ctx.emit(&Effect::WriteRange {
            db,
            key,
            offset,
            bytes,
        });
        self.note_change();
        len
    }

    /// Sets or takes away the deadline of a key that is there.
    ///
    /// # Panics
    /// If the key is not there.
    pub fn set_deadline(&mut self, deadline_ms: Option<u64>) {
        let bucket = self.bucket.expect("the key is there");
        self.shard
            .set_deadline_ms(bucket, deadline_ms, &self.engine.hasher);
        self.note_deadline(deadline_ms);
        let (db, key) = (self.database.id, self.key);
        self.ctx.emit(&Effect::Deadline {
            db,
            key,
            deadline_ms,
        });
        self.note_change();
    }

    /// Removes the key, and with a marker its object; answers whether it was there.
    pub fn remove(&mut self) -> bool {
        let Some(bucket) = self.bucket.take() else {
            if self.shard.has_flights() {
                self.void_tokens();
            }
            return false;
        };
        let is_marker = self.shard.has_extras() && self.let_go();
        self.shard.remove(bucket, &self.engine.hasher);
        let (db, key) = (self.database.id, self.key);
        if !is_marker {
            self.ctx.emit(&Effect::Remove { db, key });
        }
        self.note_change();
        true
    }

    /// Tells the coordinator that the key is removed; answers whether it is a marker.
    #[cold]
    fn let_go(&mut self) -> bool {
        let (db, key, extra) = (self.database.id, self.key, self.extra());
        untie(self.engine, db, key, extra);
        if extra.is_marker() {
            let name = Name::new(db, key);
            self.ctx
                .coordinate(self.engine, self.layout, |turn| turn.delete(&name));
        }
        extra.is_marker()
    }

    /// Changes the text of the value of a key that is there, a use of the key; answers its length.
    fn grow(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> usize {
        let bucket = self.bucket.expect("the key is there");
        if self.shard.has_extras() {
            self.make_plain();
        }
        let len = self.shard.grow(bucket, &self.engine.hasher, change);
        self.touch(bucket, Touch::Write);
        len
    }

    #[inline]
    fn touch(&mut self, bucket: usize, touch: Touch) {
        let age = self.engine.age.now();
        self.shard.touch(bucket, &self.ctx.rules, touch, age);
    }

    /// Sees to it that expiry comes in time for a deadline of the shard's.
    #[inline]
    fn note_deadline(&self, deadline_ms: Option<u64>) {
        let (Some(at), Some(earliest)) = (deadline_ms, self.database.earliest()) else {
            return;
        };
        let shard = self.database.shard_of(self.hash);
        if earliest.lower(shard, at) {
            self.engine.alarms.ring(shard, at);
        }
    }

    fn note_change(&mut self) {
        self.engine.watches.note_change(self.db, self.key);
        if self.shard.has_flights() {
            self.void_tokens();
        }
    }
}

impl std::fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("exists", &self.exists())
            .finish_non_exhaustive()
    }
}

mod flights;
#[cfg(all(test, loom))]
mod loom_tests;
