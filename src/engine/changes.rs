//! Random changes, as commands would make them: what tests of recovery make histories of.

use super::coordinator::{Break, Claim, Claimed, Name, Open, Refusal, Ticket, Turn, Wanted};
use super::effect::Share;
use super::extras::Kind;
use super::ids::code::{ALPHABET_62, Scheme};
use super::step::{Deadline, Free, Slot};
use super::value::ValueRef;
use super::{Engine, Options, Record, Soft};
use crate::clock::Now;
use proptest::prelude::*;

/// Databases that are changed: more than one, and few enough to meet.
pub(crate) const DATABASES: u32 = 3;
/// Shards of each.
pub(crate) const SHARDS: usize = 4;

const KEYS: u8 = 12;
/// Keys from here on are locks, limits, idempotency records.
const LOCKS: u8 = 100;
/// And these namespaces of IDs.
const RANGES: u8 = 120;
const CODES: u8 = 140;
const POOLS: u8 = 160;
/// And these, limits and records.
const LIMITS: u8 = 180;
const RECORDS: u8 = 200;
const SESSION: u64 = 1;

/// How the engine of such a history is made.
pub(crate) fn options(hash_seed: u64) -> Options {
    Options {
        databases: DATABASES,
        shards: SHARDS,
        hash_seed,
        ..Options::default()
    }
}

/// One step of a history. The first number is that of the database.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A text, with a deadline or none.
    Put(u32, u8, Option<u64>),
    /// A number, with the deadline there was.
    PutInt(u32, u8),
    /// To what is there.
    Append(u32, u8),
    /// Into what is there, or behind it.
    Write(u32, u8, usize),
    /// Of what is there.
    Deadline(u32, u8, Option<u64>),
    Remove(u32, u8),
    /// Raises a fence mark, of what is there or not.
    Fence(u32, u8, u64),
    /// A text that goes with a session.
    Tie(u32, u8),
    /// A marker where nothing is. Its object is not there, so it goes when it is next looked at.
    Mark(u32, u8),
    /// A lock with a lease, and its release: of keys of their own.
    Lock(u32, u8, u8),
    Unlock(u32, u8, u8),
    /// Numbers of a range, codes, a worker's number: of keys of their own.
    Numbers(u32, u8, u64),
    Codes(u32, u8),
    Worker(u32, u8, u8),
    /// A limit, full at this millisecond, and an idempotency record, done or not: of keys of their
    /// own.
    Limit(u32, u8, u64),
    Record(u32, u8, u64, bool),
    /// Lets what is there be stale from this time on.
    Soft(u32, u8, u64),
    /// A limit, a record, numbers, codes and a pool go.
    Forget(u32, u8),
    /// Two keys in one step.
    Both(u32, u8, u8),
    Clear(u32),
    Swap(u32, u32),
    /// Two keys and a flush in one step, alone.
    Alone(u32, u8),
}

impl Change {
    /// Any of them.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let db = || 0..DATABASES;
        let key = || 0..KEYS;
        let at = || prop::option::of(1u64..200);
        prop_oneof![
            6 => (db(), key(), at()).prop_map(|(db, key, at)| Self::Put(db, key, at)),
            2 => (db(), key()).prop_map(|(db, key)| Self::PutInt(db, key)),
            4 => (db(), key()).prop_map(|(db, key)| Self::Append(db, key)),
            3 => (db(), key(), 0usize..300).prop_map(|(db, key, at)| Self::Write(db, key, at)),
            3 => (db(), key(), at()).prop_map(|(db, key, at)| Self::Deadline(db, key, at)),
            3 => (db(), key()).prop_map(|(db, key)| Self::Remove(db, key)),
            3 => (db(), key(), 0u64..50).prop_map(|(db, key, n)| Self::Fence(db, key, n)),
            3 => (db(), key()).prop_map(|(db, key)| Self::Tie(db, key)),
            1 => (db(), key()).prop_map(|(db, key)| Self::Mark(db, key)),
            3 => (db(), key(), key()).prop_map(|(db, a, b)| Self::Both(db, a, b)),
            4 => (db(), key(), 0u8..3).prop_map(|(db, key, owner)| Self::Lock(db, key, owner)),
            3 => (db(), key(), 0u8..3).prop_map(|(db, key, owner)| Self::Unlock(db, key, owner)),
            2 => (db(), key(), 1u64..40).prop_map(|(db, key, n)| Self::Numbers(db, key, n)),
            2 => (db(), key()).prop_map(|(db, key)| Self::Codes(db, key)),
            2 => (db(), key(), 0u8..3).prop_map(|(db, key, owner)| Self::Worker(db, key, owner)),
            3 => (db(), key(), 1u64..9).prop_map(|(db, key, at)| Self::Limit(db, key, at)),
            3 => (db(), key(), 1u64..9, any::<bool>())
                .prop_map(|(db, key, end, done)| Self::Record(db, key, end, done)),
            3 => (db(), key(), 1u64..90).prop_map(|(db, key, at)| Self::Soft(db, key, at)),
            1 => (db(), key()).prop_map(|(db, key)| Self::Forget(db, key)),
            1 => db().prop_map(Self::Clear),
            1 => (db(), db()).prop_map(|(a, b)| Self::Swap(a, b)),
            1 => (db(), key()).prop_map(|(db, key)| Self::Alone(db, key)),
        ]
    }

    /// Makes it in one step; texts are made of `number`, which tells this one from others.
    pub(crate) fn make(&self, engine: &Engine, now: Now, number: u64) {
        let text = number.to_string();
        let value = ValueRef::Bytes(text.as_bytes());
        let deadline = |at: Option<u64>| at.map_or(Deadline::None, Deadline::At);
        let on = |db, key, act: &dyn Fn(&mut Slot<'_>)| on_key(engine, now, (db, key), act);
        let there = |db, key, act: &dyn Fn(&mut Slot<'_>)| on_string(engine, now, (db, key), act);
        match *self {
            Self::Put(db, key, at) => on(db, key, &|slot| slot.put(value, deadline(at))),
            Self::PutInt(db, key) => on(db, key, &|slot| {
                slot.put(ValueRef::Int(-7), Deadline::Keep);
            }),
            Self::Append(db, key) => there(db, key, &|slot| {
                slot.append(text.as_bytes());
            }),
            Self::Write(db, key, at) => there(db, key, &|slot| {
                slot.write_range(at, text.as_bytes());
            }),
            Self::Deadline(db, key, at) => there(db, key, &|slot| slot.set_deadline(at)),
            Self::Remove(db, key) => on(db, key, &|slot| {
                slot.remove();
            }),
            Self::Fence(db, key, fence) => on(db, key, &|slot| slot.raise_fence(fence)),
            Self::Tie(db, key) => {
                open_session(engine, now);
                on(db, key, &|slot| put_tied(slot, value));
            }
            Self::Mark(db, key) => on(db, key, &|slot| {
                if !slot.exists() {
                    slot.mark(Kind::Lock);
                }
            }),
            Self::Limit(..) | Self::Record(..) | Self::Soft(..) => {
                self.make_kept(engine, now, number);
            }
            Self::Forget(..) => {
                self.make_kept(engine, now, number);
                self.make_with_coordinator(engine, now, number);
            }
            Self::Both(db, a, b) => {
                let batch = engine.shared(0, now);
                let mut step = batch.step();
                let (a, b) = (&[a][..], &[b][..]);
                let mut locked = step.lock_any_all(db, [a, b].into_iter());
                locked.slot(db, a).put(value, Deadline::None);
                locked.slot(db, b).put(value, Deadline::Keep);
            }
            Self::Clear(db) => {
                engine.alone(now).step().clear(db, Free::Now);
            }
            Self::Swap(a, b) => engine.alone(now).step().swap(a, b),
            Self::Alone(db, key) => {
                let batch = engine.alone(now);
                let mut step = batch.step();
                let (key, other) = (&[key][..], (db + 1) % DATABASES);
                let put = |slot: &mut Slot<'_>| slot.put(value, Deadline::None);
                put(&mut step.lock_any(db, key).slot(db, key));
                step.clear(other, Free::Now);
                put(&mut step.lock_any(other, key).slot(other, key));
            }
            _ => self.make_with_coordinator(engine, now, number),
        }
    }

    /// The same, of what the coordinator keeps.
    fn make_with_coordinator(&self, engine: &Engine, now: Now, number: u64) {
        let text = number.to_string();
        let on = |db, key, act: &dyn Fn(&mut Slot<'_>)| on_key(engine, now, (db, key), act);
        match *self {
            Self::Lock(db, key, owner) => on(db, LOCKS + key, &|slot| {
                lock(slot, &[LOCKS + key], &[owner], text.as_bytes());
            }),
            Self::Unlock(db, key, owner) => on(db, LOCKS + key, &|slot| {
                unlock(slot, &[LOCKS + key], &[owner]);
            }),
            Self::Numbers(db, key, count) => on_ids(engine, now, db, RANGES + key, |turn, name| {
                turn.take_range(name, count, 2).map(drop)
            }),
            Self::Codes(db, key) => on_ids(engine, now, db, CODES + key, |turn, name| {
                let scheme = Scheme {
                    alphabet: ALPHABET_62.into(),
                    len: 3,
                    is_filtered: false,
                    secret: [number, 7],
                };
                turn.take_codes(name, &scheme, None, 3).map(drop)
            }),
            Self::Worker(db, key, owner) => on_ids(engine, now, db, POOLS + key, |turn, name| {
                take_number(turn, name, owner)
            }),
            Self::Forget(db, key) => {
                for keys in [RANGES, CODES, POOLS] {
                    on_ids(engine, now, db, keys + key, |turn, name| {
                        turn.forget_namespace(name).map(drop)
                    });
                }
            }
            _ => {}
        }
    }
}

/// Does something with a namespace of IDs, which may be refused.
fn on_ids(
    engine: &Engine,
    now: Now,
    db: u32,
    key: u8,
    act: impl FnOnce(&mut Turn<'_>, &Name) -> Result<(), Refusal>,
) {
    let batch = engine.shared(0, now);
    let mut step = batch.step();
    let key = [key];
    let mut locked = step.lock_any(db, &key);
    let mut slot = locked.slot(db, &key);
    let name = Name::new(slot.db_id(), &key);
    // What is refused changes nothing.
    let _ = slot.coordinate(|turn| act(turn, &name));
}

/// Has an owner take a number, or give back the one it has.
fn take_number(turn: &mut Turn<'_>, name: &Name, owner: u8) -> Result<(), Refusal> {
    let claim = Claim {
        ticket: Ticket { conn: 1, call: 1 },
        owner: &[owner],
        share: Share::Number { number: 0, of: 2 },
        life: Wanted::Lease(1 << 40),
        delay_ms: 0,
        value: None,
        depth: None,
        wait_ms: 0,
    };
    match turn.acquire(name, &claim)? {
        Claimed::Again { fence } if fence % 2 == 0 => {
            let (fence, delay_ms) = (Some(fence), 0);
            turn.break_holds(name, Break { fence, delay_ms });
        }
        Claimed::Again { .. } => {
            turn.release(name, &[owner], None, None);
        }
        _ => {}
    }
    Ok(())
}

impl Change {
    /// Makes a change of what ends by engine time, or is stale by the system's.
    fn make_kept(&self, engine: &Engine, now: Now, number: u64) {
        match *self {
            Self::Limit(db, key, at_ms) => on_key(engine, now, (db, LIMITS + key), &|slot| {
                slot.set_limit(at_ms * 1_000_000 - 1);
            }),
            Self::Record(db, key, end_ms, is_done) => {
                let text = number.to_string();
                let record = Record {
                    end_ms,
                    token: number,
                    is_retry: end_ms % 2 == 0,
                    owner: b"owner",
                    fingerprint: text.as_bytes(),
                    response: is_done.then_some(&[7; 16][..usize::from(key)]),
                };
                on_key(engine, now, (db, RECORDS + key), &|slot| {
                    slot.set_record(&record);
                });
            }
            Self::Soft(db, key, at_ms) => on_string(engine, now, (db, key), &|slot| {
                slot.set_soft(Soft { at_ms, cost_ms: 3 });
            }),
            Self::Forget(db, key) => {
                for key in [LIMITS + key, RECORDS + key] {
                    on_key(engine, now, (db, key), &|slot| {
                        slot.remove();
                    });
                }
            }
            _ => unreachable!("the others are made by `make`"),
        }
    }
}

/// Changes a key in one step.
fn on_key(engine: &Engine, now: Now, (db, key): (u32, u8), act: &dyn Fn(&mut Slot<'_>)) {
    let batch = engine.shared(0, now);
    let mut step = batch.step();
    act(&mut step.lock_any(db, &[key]).slot(db, &[key]));
}

/// The same if it is a string.
fn on_string(engine: &Engine, now: Now, name: (u32, u8), act: &dyn Fn(&mut Slot<'_>)) {
    on_key(engine, now, name, &|slot| {
        if slot.exists() && slot.kind().is_none() {
            act(slot);
        }
    });
}

/// Opens the session that keys are tied to, if it is not open.
fn open_session(engine: &Engine, now: Now) {
    if engine.coordinator.is_open(SESSION) {
        return;
    }
    let open = Open {
        sid: b"sid",
        name: b"",
        ttl_ms: 1 << 40,
        grace_ms: 0,
        delay_ms: 0,
        is_bound: false,
        conn: 0,
    };
    engine
        .shared(0, now)
        .step()
        .coordinate(|turn| turn.open_session(&open));
}

/// Has an owner ask for a lock, whoever has it.
fn lock(slot: &mut Slot<'_>, key: &[u8], owner: &[u8], value: &[u8]) {
    let name = Name::new(slot.db_id(), key);
    let claim = Claim {
        ticket: Ticket { conn: 1, call: 1 },
        owner,
        share: Share::Exclusive,
        life: Wanted::Lease(1 << 40),
        delay_ms: 0,
        value: Some(value),
        depth: None,
        wait_ms: 0,
    };
    let claimed = slot.coordinate(|turn| turn.acquire(&name, &claim));
    assert!(
        claimed.is_ok_and(|claimed| claimed.is_ok()),
        "no other type"
    );
}

/// Has an owner release a lock, whether it has it or not.
fn unlock(slot: &mut Slot<'_>, key: &[u8], owner: &[u8]) {
    let name = Name::new(slot.db_id(), key);
    let released = slot.coordinate(|turn| turn.release(&name, owner, None, None));
    assert!(released.is_ok(), "no other type");
}

fn put_tied(slot: &mut Slot<'_>, value: ValueRef<'_>) {
    slot.put(value, Deadline::Keep);
    slot.tie(SESSION);
}
