//! Doing a history again from its effects, and telling whether two engines hold the same state.
//!
//! A history may begin with what was *cut* out of another engine (`cut.rs`): shard after shard,
//! each at a moment of its own. An effect is then done again only where its frame is younger than
//! what it would change, so that everything ends at the same moment.
//!
//! Cost: an effect is one look-up, and the copy of key and value. Nothing is decided here: no
//! deadline is compared with any clock.

use super::Engine;
use super::effect::{BadFrame, Coordination, Effect, Effects};
use super::entry::Entry;
use super::extras::{Extra, Kind};
use super::form::{Form, Soft};
use super::hash::KeyHasher;
use super::step::{Batch, Deadline, Free, Slot, Step};
use super::value::ValueRef;
use crate::clock::Now;
use xxhash_rust::xxh3::xxh3_128;

/// The frames at which the parts of a snapshot were cut: what is younger is not in it.
#[derive(Clone, Debug)]
pub struct Cuts {
    hasher: KeyHasher,
    shards: usize,
    /// By identity of the database, and shard; a database of which no shard was cut has none.
    frames: Vec<Vec<u64>>,
    map: u64,
    coordinator: u64,
}

impl Cuts {
    /// Those of a snapshot that holds nothing, of an engine with so many shards to a database and
    /// this seed.
    #[must_use]
    pub fn new(databases: u32, shards: usize, hash_seed: u64) -> Self {
        Self {
            hasher: KeyHasher::seeded(hash_seed),
            shards: shards.next_power_of_two(),
            frames: vec![Vec::new(); databases as usize],
            map: 0,
            coordinator: 0,
        }
    }

    /// Notes where a shard was cut; answers whether there is such a shard.
    #[must_use]
    pub fn set(&mut self, db_id: u32, shard: usize, frame: u64) -> bool {
        let Some(frames) = self.frames.get_mut(db_id as usize) else {
            return false;
        };
        // Only now: there may be many databases, and entries in few of them.
        frames.resize(self.shards, 0);
        let Some(place) = frames.get_mut(shard) else {
            return false;
        };
        *place = frame;
        true
    }

    /// Notes where the map of databases was cut.
    pub fn set_map(&mut self, frame: u64) {
        self.map = frame;
    }

    /// Notes where the coordinator's state was cut.
    pub fn set_coordinator(&mut self, frame: u64) {
        self.coordinator = frame;
    }

    /// The lowest of all: frames up to here are of no use to whoever has the snapshot.
    #[must_use]
    pub fn lowest(&self) -> u64 {
        let of_database = |frames: &Vec<u64>| frames.iter().copied().min().unwrap_or(0);
        let lowest = self.frames.iter().map(of_database).min();
        lowest.unwrap_or(0).min(self.map).min(self.coordinator)
    }

    /// Where the shard of a key was cut.
    fn of_key(&self, db_id: u32, key: &[u8]) -> Option<u64> {
        let shard = (self.hasher.hash(key) >> 32) as usize & (self.shards - 1);
        let frames = self.frames.get(db_id as usize)?;
        Some(frames.get(shard).copied().unwrap_or(0))
    }
}

/// Puts a state into an engine that nobody else uses yet.
pub struct Replay<'e> {
    batch: Batch<'e>,
    places: Vec<u32>,
}

impl Engine {
    /// Begins to put a state into the engine; alone inside the gate. What is done is told to no
    /// sink if [`Engine::set_recording`] says so.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        let batch = self.alone(Now::default()).deciding_nothing();
        let places = places(&batch.step());
        Replay { batch, places }
    }

    /// Applies one frame, as recorded by another engine, through the same operations that made it.
    ///
    /// # Errors
    /// See [`Replay::apply`].
    pub fn apply(&self, frame: &[u8]) -> Result<(), BadFrame> {
        self.replay().apply_all(frame)
    }

    /// Lets what the coordinator keeps go on, once everything was brought back: objects
    /// get their markers, sessions the keys tied to them, and nothing ends soon.
    pub fn resume_coordinator(&self, now: Now) {
        self.coordinator.resume(now);
        let batch = self.alone(now);
        let mut step = batch.step();
        step.mark_all(None);
        for db in 0..step.databases() {
            let database = step.database(db);
            for shard in database.shards_in_use() {
                for (key, extra) in shard.lock().extras() {
                    let Some(session) = extra.session else {
                        continue;
                    };
                    if self.coordinator.is_open(session) {
                        self.coordinator.tie(database.id, key, session);
                    } else {
                        self.coordinator
                            .loosen(super::coordinator::Name::new(database.id, key));
                    }
                }
            }
        }
    }

    /// A hash of everything that a restart has to bring back: keys, types, values, deadlines, fence
    /// marks, ties, and which database stands where. Order of insertion and access times do not
    /// count, nor do markers.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        let batch = self.alone(Now::default());
        let step = batch.step();
        let mut sum = self.coordinator.state_hash();
        for db in 0..step.databases() {
            let database = step.database(db);
            for shard in database.shards_in_use() {
                let shard = shard.lock();
                shard.walk(0, usize::MAX, |entry| {
                    let extra = shard.extra_of(entry.key(), &self.hasher);
                    if !extra.is_marker() {
                        sum = sum.wrapping_add(hash((db, database.id), entry, extra));
                    }
                });
            }
        }
        sum
    }
}

impl Replay<'_> {
    /// Does again what a part of a snapshot, or a frame that nothing was cut from, tells.
    ///
    /// # Errors
    /// [`BadFrame`]: something is no effect, or not one of this engine. What came before it is
    /// done.
    pub fn apply_all(&mut self, effects: &[u8]) -> Result<(), BadFrame> {
        for effect in Effects::of(effects) {
            self.apply_one(&effect?)?;
        }
        Ok(())
    }

    /// Does again what frame `number` tells, where that is younger than what was cut.
    ///
    /// # Errors
    /// As [`Replay::apply_all`].
    pub fn apply(&mut self, number: u64, frame: &[u8], cuts: &Cuts) -> Result<(), BadFrame> {
        for effect in Effects::of(frame) {
            let effect = effect?;
            match effect {
                Effect::Swap { .. } if number <= cuts.map => {}
                Effect::Unrecorded => {}
                Effect::Coordination(change) => {
                    if number > cuts.coordinator {
                        self.coordinate(&change)?;
                    }
                }
                Effect::Clear { db } => self.clear_cut_below(db, number, cuts)?,
                Effect::Swap { .. } => self.apply_one(&effect)?,
                Effect::PutBytes { db, key, .. }
                | Effect::PutInt { db, key, .. }
                | Effect::Append { db, key, .. }
                | Effect::WriteRange { db, key, .. }
                | Effect::Deadline { db, key, .. }
                | Effect::Remove { db, key }
                | Effect::Fence { db, key, .. }
                | Effect::Tie { db, key, .. }
                | Effect::Limit { db, key, .. }
                | Effect::Idempotency { db, key, .. }
                | Effect::Soft { db, key, .. } => {
                    if number > cuts.of_key(db, key).ok_or(BadFrame)? {
                        self.apply_one(&effect)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the databases with these identities, each once, where `SELECT` finds them.
    ///
    /// # Errors
    /// [`BadFrame`]: they are not those of this engine.
    pub fn arrange(&mut self, ids: &[u32]) -> Result<(), BadFrame> {
        if ids.len() != self.places.len() {
            return Err(BadFrame);
        }
        for (place, &id) in (0..).zip(ids) {
            let from = self.place_of(id)?;
            self.swap(place, from);
        }
        Ok(())
    }

    /// A database is emptied where it was cut before that.
    fn clear_cut_below(&mut self, id: u32, number: u64, cuts: &Cuts) -> Result<(), BadFrame> {
        let frames = cuts.frames.get(id as usize).ok_or(BadFrame)?;
        if frames.iter().all(|cut| *cut < number) {
            return self.apply_one(&Effect::Clear { db: id });
        }
        let place = self.place_of(id)?;
        let mut old: Vec<Box<[u8]>> = Vec::new();
        self.batch.step().each_key(place, |key| {
            if cuts.of_key(id, key).is_some_and(|cut| cut < number) {
                old.push(key.into());
            }
        });
        old.iter()
            .try_for_each(|key| self.apply_one(&Effect::Remove { db: id, key }))
    }

    fn apply_one(&mut self, effect: &Effect<'_>) -> Result<(), BadFrame> {
        match *effect {
            Effect::PutBytes {
                db,
                key,
                bytes,
                deadline_ms,
            } => self.put(db, key, ValueRef::Bytes(bytes), deadline_ms),
            Effect::PutInt {
                db,
                key,
                number,
                deadline_ms,
            } => self.put(db, key, ValueRef::Int(number), deadline_ms),
            Effect::Append { db, key, suffix } => self.on_entry(db, key, |slot| {
                slot.append(suffix);
            }),
            Effect::WriteRange {
                db,
                key,
                offset,
                bytes,
            } => {
                let offset = usize::try_from(offset).map_err(|_| BadFrame)?;
                self.on_entry(db, key, |slot| {
                    slot.write_range(offset, bytes);
                })
            }
            Effect::Deadline {
                db,
                key,
                deadline_ms,
            } => self.on_entry(db, key, |slot| slot.set_deadline(deadline_ms)),
            Effect::Remove { db, key } => self.on_key(db, key, |slot| {
                slot.remove();
            }),
            Effect::Clear { db } => {
                let place = self.place_of(db)?;
                self.batch.step().clear(place, Free::Now);
                Ok(())
            }
            Effect::Fence { db, key, fence } => self.on_key(db, key, |slot| {
                if !slot.is_kept() {
                    slot.raise_fence(fence);
                }
            }),
            Effect::Tie { db, key, session } => self.on_entry(db, key, |slot| slot.tie(session)),
            Effect::Limit { db, key, full_ns } => {
                self.on_key(db, key, |slot| slot.set_limit(full_ns))
            }
            Effect::Idempotency { db, key, record } => {
                self.on_key(db, key, |slot| slot.set_record(&record))
            }
            Effect::Soft {
                db,
                key,
                at_ms,
                cost_ms,
            } => self.on_entry(db, key, |slot| slot.set_soft(Soft { at_ms, cost_ms })),
            Effect::Unrecorded => Ok(()),
            Effect::Coordination(change) => self.coordinate(&change),
            Effect::Swap { a, b } => {
                let (a, b) = (self.place_of(a)?, self.place_of(b)?);
                self.swap(a, b);
                Ok(())
            }
        }
    }

    fn put(
        &self,
        db: u32,
        key: &[u8],
        value: ValueRef<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<(), BadFrame> {
        let deadline = deadline_ms.map_or(Deadline::None, Deadline::At);
        self.on_key(db, key, |slot| slot.put(value, deadline))
    }

    fn coordinate(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        self.batch.step().engine().coordinator.apply(change)
    }

    fn swap(&mut self, a: u32, b: u32) {
        let mut step = self.batch.step();
        step.swap(a, b);
        self.places = places(&step);
    }

    fn on_key(
        &self,
        id: u32,
        key: &[u8],
        change: impl FnOnce(&mut Slot<'_>),
    ) -> Result<(), BadFrame> {
        let db = self.place_of(id)?;
        change(&mut self.batch.step().lock_any(db, key).slot(db, key));
        Ok(())
    }

    /// The same, for what can only be done to a string, or its like, that is there.
    fn on_entry(
        &self,
        id: u32,
        key: &[u8],
        change: impl FnOnce(&mut Slot<'_>),
    ) -> Result<(), BadFrame> {
        let mut is_there = true;
        self.on_key(id, key, |slot| {
            is_there = slot.exists() && !slot.is_kept();
            if is_there {
                change(slot);
            }
        })?;
        if is_there { Ok(()) } else { Err(BadFrame) }
    }

    /// The number under which `SELECT` finds the database with this identity.
    fn place_of(&self, id: u32) -> Result<u32, BadFrame> {
        self.places.get(id as usize).copied().ok_or(BadFrame)
    }
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

/// Where the databases stand, by identity.
fn places(step: &Step<'_>) -> Vec<u32> {
    let mut places = vec![0; step.databases() as usize];
    for place in 0..step.databases() {
        places[step.database(place).id as usize] = place;
    }
    places
}

/// The hash of one entry. The sum over all entries does not depend on their order.
fn hash((db, id): (u32, u32), entry: Entry<'_>, extra: Extra) -> u128 {
    let (key, value) = (entry.key(), entry.value());
    // When to look at a kept entry is no state: its end is in its value.
    let deadline_ms = entry.deadline_ms().filter(|_| !entry.is_kept());
    let mut bytes = Vec::with_capacity(64 + key.len());
    bytes.extend_from_slice(&db.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&deadline_ms.map_or(u64::MAX, |at| at).to_le_bytes());
    for number in [extra.fence, extra.session] {
        bytes.push(number.is_some().into());
        bytes.extend_from_slice(&number.unwrap_or(0).to_le_bytes());
    }
    if let Form::Cached(soft) = entry.form() {
        bytes.extend_from_slice(&soft.at_ms.to_le_bytes());
        bytes.extend_from_slice(&soft.cost_ms.to_le_bytes());
    }
    let kind = extra.kind.or(entry.kind());
    let form = kind.map_or(entry.encoding().name(), Kind::name);
    bytes.extend_from_slice(form.as_bytes());
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value.text(&mut super::IntText::default()));
    xxh3_128(&bytes)
}

#[cfg(all(test, not(loom)))]
mod tests;
