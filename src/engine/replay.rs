//! Doing a history again from its effects, and telling whether two engines hold the same state.

use super::effect::Effect;
use super::step::{Deadline, Free, Slot, Step};
use super::value::{Value, ValueRef};
use super::{Encoding, Engine};
use crate::clock::Now;
use xxhash_rust::xxh3::xxh3_128;

impl Engine {
    /// Applies one frame, as recorded by another engine, through the same operations that made it.
    /// Nothing is decided here: no deadline is compared with any clock.
    pub fn apply(&self, frame: &[Effect]) {
        let batch = self.alone(Now::default());
        let mut step = batch.step();
        for effect in frame {
            apply_one(&mut step, effect);
        }
    }

    /// A hash of everything that a restart has to bring back: keys, types, values, deadlines, and
    /// which database stands where. Order of insertion and access times do not count.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        let batch = self.alone(Now::default());
        let step = batch.step();
        let mut sum = 0u128;
        for db in 0..step.databases() {
            let database = step.database(db);
            for shard in database.shards_in_use() {
                shard.lock().walk(0, usize::MAX, |entry| {
                    let place = (db, database.id);
                    let value = (entry.value(), entry.encoding());
                    sum = sum.wrapping_add(hash(place, entry.key(), value, entry.deadline_ms()));
                });
            }
        }
        sum
    }
}

/// The hash of one entry. The sum over all entries does not depend on their order.
fn hash(
    (db, id): (u32, u32),
    key: &[u8],
    (value, encoding): (ValueRef<'_>, Encoding),
    deadline_ms: Option<u64>,
) -> u128 {
    let mut bytes = Vec::with_capacity(64 + key.len());
    bytes.extend_from_slice(&db.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&deadline_ms.map_or(u64::MAX, |at| at).to_le_bytes());
    bytes.extend_from_slice(encoding.name().as_bytes());
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value.text(&mut super::IntText::default()));
    xxh3_128(&bytes)
}

fn apply_one(step: &mut Step<'_>, effect: &Effect) {
    match effect {
        Effect::Put {
            db,
            key,
            value,
            deadline_ms,
        } => {
            let deadline = deadline_ms.map_or(Deadline::None, Deadline::At);
            on_key(step, *db, key, |slot| {
                slot.put(Value::as_ref(value), deadline);
            });
        }
        Effect::Append { db, key, suffix } => {
            on_key(step, *db, key, |slot| {
                slot.append(suffix);
            });
        }
        Effect::WriteRange {
            db,
            key,
            offset,
            bytes,
        } => {
            on_key(step, *db, key, |slot| {
                slot.write_range(*offset, bytes);
            });
        }
        Effect::Deadline {
            db,
            key,
            deadline_ms,
        } => {
            on_key(step, *db, key, |slot| slot.set_deadline(*deadline_ms));
        }
        Effect::Remove { db, key } => {
            on_key(step, *db, key, |slot| {
                slot.remove();
            });
        }
        Effect::Clear { db } => {
            let place = place_of(step, *db);
            step.clear(place, Free::Now);
        }
        Effect::Swap { a, b } => {
            let (a, b) = (place_of(step, *a), place_of(step, *b));
            step.swap(a, b);
        }
    }
}

fn on_key(step: &mut Step<'_>, id: u32, key: &[u8], change: impl FnOnce(&mut Slot<'_>)) {
    let db = place_of(step, id);
    change(&mut step.lock(db, key).slot(db, key));
}

/// The number under which `SELECT` finds the database with this identity.
fn place_of(step: &Step<'_>, id: u32) -> u32 {
    (0..step.databases())
        .find(|&db| step.database(db).id == id)
        .expect("an effect names a database of this engine")
}
