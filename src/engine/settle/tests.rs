//! Rounds in small parts, of settling and of purging.

use super::*;
use crate::clock::Now;
use crate::engine::{Account, Deadline, Engine, Options, ValueRef};

const SHARDS: usize = 4;
const KEYS: u32 = 40_000;
const VALUE: [u8; 100] = [b'v'; 100];

struct Stage(Engine);

impl Stage {
    /// As many keys as fill some hundred pages in each shard of the last of two databases.
    fn new() -> Self {
        let stage = Self(Engine::new(
            Options {
                databases: 2,
                shards: SHARDS,
                ..Options::default()
            },
            None,
        ));
        stage.put(0..KEYS);
        stage
    }

    fn put(&self, keys: impl Iterator<Item = u32>) {
        for key in keys {
            let (batch, key) = (self.0.shared(0, Now::default()), key.to_be_bytes());
            let mut step = batch.step();
            let mut locked = step.lock_any(1, &key);
            locked
                .slot(1, &key)
                .put(ValueRef::Bytes(&VALUE), Deadline::None);
        }
    }

    fn remove(&self, keys: impl Iterator<Item = u32>) {
        for key in keys {
            let (batch, key) = (self.0.shared(0, Now::default()), key.to_be_bytes());
            batch.step().lock_any(1, &key).slot(1, &key).remove();
        }
    }

    fn with<R>(&self, run: impl FnOnce(&Step<'_>) -> R) -> R {
        run(&self.0.shared(0, Now::default()).step())
    }

    fn has(&self, key: u32) -> bool {
        let (batch, key) = (self.0.shared(0, Now::default()), key.to_be_bytes());
        let mut step = batch.step();
        let mut locked = step.lock_any(1, &key);
        locked.slot(1, &key).value() == Some(ValueRef::Bytes(&VALUE))
    }

    fn store_bytes(&self) -> usize {
        self.0.ledger().bytes(Account::Store)
    }

    fn spare_bytes(&self) -> usize {
        self.0.ledger().bytes(Account::Spare)
    }
}

/// Goes red when a call begins at the first page again: it then never comes past the first few.
#[test]
fn a_settler_comes_to_every_page_in_small_parts() {
    const EFFORT: usize = 2 * MOVE_EFFORT;
    let stage = Stage::new();
    stage.remove((0..KEYS).filter(|key| key % 10 != 3));
    let scattered = stage.spare_bytes();
    assert!(scattered > 1 << 20, "{scattered} bytes");
    let mut settler = Settler::default();
    let calls = (1..10_000).find(|_| !stage.with(|step| settler.run(step, EFFORT)));
    assert!(
        stage.spare_bytes() <= 256 << 10,
        "{} bytes",
        stage.spare_bytes()
    );
    // Each page that is left moved once at most, and each was looked at in two rounds or three.
    let pages = stage.store_bytes() / 4_096;
    let effort = pages * MOVE_EFFORT + 3 * (pages + SHARDS * VISIT_EFFORT);
    let calls_max = effort / EFFORT + 3;
    assert!(
        calls.is_some_and(|calls| calls <= calls_max),
        "{calls:?} of {calls_max}"
    );
    assert!((0..KEYS).all(|key| stage.has(key) == (key % 10 == 3)));
}

/// Goes red when a purge does all of it in one call, and when it ends before the last shard.
#[test]
fn a_purge_closes_gaps_shard_by_shard() {
    let stage = Stage::new();
    stage.remove((0..KEYS).filter(|key| key % 10 == 3));
    let mut held = vec![stage.store_bytes()];
    assert!(!stage.with(|step| step.purge_some(1)), "nobody asked");
    stage.with(|step| step.ask_purge());
    assert_eq!(stage.store_bytes(), held[0], "asking does nothing yet");
    while stage.with(|step| step.purge_some(1)) {
        held.push(stage.store_bytes());
    }
    assert_eq!(held.len(), 1 + SHARDS);
    assert!(
        held.is_sorted_by(|before, after| before > after),
        "{held:?}"
    );
    assert!((0..KEYS).all(|key| stage.has(key) == (key % 10 != 3)));
}

/// Goes red when a request changes nothing while a purge is under way.
#[test]
fn a_purge_asked_for_under_way_begins_anew() {
    let stage = Stage::new();
    stage.with(|step| step.ask_purge());
    assert!(stage.with(|step| step.purge_some(SHARDS - 1)));
    stage.with(|step| step.ask_purge());
    assert!(
        stage.with(|step| step.purge_some(SHARDS)),
        "a whole round is left"
    );
    assert!(!stage.with(|step| step.purge_some(SHARDS)));
}
