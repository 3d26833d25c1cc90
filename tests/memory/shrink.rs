//! Memory comes back: after deletions, under churn, and when everything goes.

use crate::stage::{Chance, Stage};

/// A name, and what takes all keys away.
type Way = (&'static str, fn(&mut Stage));

const KEYS: u64 = 100_000;
/// So that a shard has as many keys as it would among 12.8 million.
const SHARDS: usize = 8;

/// As many times more keys and shards, where a chunk of pages that is not yet full would tell.
const LARGER: usize = 4;

/// Nine of ten keys deleted at random: what is held is at most half as much again as a fresh server
/// with the rest would hold, by both counts.
pub(crate) fn after_deleting() {
    let (keys, shards) = (KEYS * LARGER as u64, SHARDS * LARGER);
    let mut chance = Chance(2);
    let len = |key: u64| 16 + (key as usize * 37) % 100;
    // What the test needs for itself is there before the count begins.
    let kept: Vec<u64> = (0..keys).filter(|_| chance.below(10) == 0).collect();
    let mut stage = Stage::with_shards(shards);
    stage.set(0..keys, |key| (len(key), None));
    let is_kept = |key: &u64| kept.binary_search(key).is_ok();
    stage.delete((0..keys).filter(|key| !is_kept(key)));
    let left = stage.growth();
    left.check("deleted");
    drop(stage);

    let mut fresh = Stage::with_shards(shards);
    fresh.set(kept.iter().copied(), |key| (len(key), None));
    let fresh = fresh.growth();
    let times = left.allocated as f64 / fresh.allocated as f64;
    assert!(times <= 1.5, "{times:.2} times what a fresh server holds");
    let times = left.used as f64 / fresh.used as f64;
    assert!(times <= 1.5, "{times:.2} times, by its own count");
}

/// Half of the keys overwritten with values of other lengths, again and again: what is held is at
/// most a quarter more than a fresh server with the same keys would hold.
pub(crate) fn after_churn() {
    let mut chance = Chance(3);
    let mut lens: Vec<usize> = (0..KEYS).map(|_| 10 + chance.below(300) as usize).collect();
    let mut stage = Stage::with_shards(SHARDS);
    stage.set(0..KEYS, |key| (lens[key as usize], None));
    for _ in 0..4 {
        let chosen = (0..KEYS).filter(|_| chance.below(2) == 0);
        let chosen: Vec<u64> = chosen.collect();
        stage.set(chosen.into_iter(), |key| {
            lens[key as usize] = 10 + chance.below(300) as usize;
            (lens[key as usize], None)
        });
    }
    let churned = stage.growth();
    churned.check("churned");
    drop(stage);

    let mut fresh = Stage::with_shards(SHARDS);
    fresh.set(0..KEYS, |key| (lens[key as usize], None));
    let fresh = fresh.growth();
    let times = churned.allocated as f64 / fresh.allocated as f64;
    assert!(times <= 1.25, "{times:.2} times what a fresh server holds");
}

/// Whatever way all keys go, so does their memory, but for a little that each shard keeps.
pub(crate) fn empties() {
    let ways: [Way; 4] = [
        ("deleted", |stage| stage.delete(0..KEYS)),
        ("flushed", |stage| {
            stage.run("FLUSHALL SYNC\r\n");
        }),
        ("flushed later", |stage| {
            stage.run("FLUSHALL ASYNC\r\nMEMORY PURGE\r\n");
        }),
        ("expired", |stage| {
            stage.server.advance_ms(101_000);
            stage.server.sweep();
        }),
    ];
    for (way, empty) in ways {
        let mut stage = Stage::with_shards(SHARDS);
        stage.set(0..KEYS, |_| (100, Some(100)));
        let full = stage.growth();
        empty(&mut stage);
        let left = stage.growth();
        for (left, full) in [(left.used, full.used), (left.allocated, full.allocated)] {
            assert!(left <= full / 5, "{way}: {left} of {full} bytes are left");
        }
    }
}
