//! Kept entries end by engine time, whatever the system's clock does, and are never evicted.

use super::*;
use crate::engine::{Bound, Engine, Need, Options, Record, Sweeper, Tally};
use crate::policy::Policy;

const WALL_MS: u64 = 1_700_000_000_000;
const ENGINE_MS: u64 = 5_000;

fn engine() -> Engine {
    let options = Options {
        databases: 1,
        shards: 1,
        ..Options::default()
    };
    Engine::new(options, None)
}

fn at(wall_ms: u64, engine_ms: u64) -> Now {
    Now {
        wall_ms,
        engine_ms,
        ..Now::default()
    }
}

fn limit(engine: &Engine, now: Now, key: &[u8], full_ms: u64) {
    let batch = engine.shared(0, now);
    let mut step = batch.step();
    let mut locked = step.lock_any(0, key);
    locked.slot(0, key).set_limit(full_ms * NS_PER_MS);
}

fn exists(engine: &Engine, now: Now, key: &[u8]) -> bool {
    engine
        .shared(0, now)
        .step()
        .lock_any(0, key)
        .slot(0, key)
        .exists()
}

fn sweep(engine: &Engine, now: Now) -> (u64, u64) {
    let mut tally = Tally::default();
    let batch = engine.shared(0, now);
    let swept = Sweeper::new(0, 1).run(&batch, usize::MAX, &mut tally);
    (tally.expired, swept.next_ms)
}

fn keys(engine: &Engine, now: Now) -> usize {
    let mut keys = 0;
    engine.shared(0, now).step().each_key(0, |_| keys += 1);
    keys
}

#[test]
fn a_limit_goes_in_the_millisecond_in_which_its_bucket_is_full() {
    let engine = engine();
    limit(&engine, at(WALL_MS, ENGINE_MS), b"k", ENGINE_MS + 100);
    assert!(exists(&engine, at(WALL_MS + 99, ENGINE_MS + 99), b"k"));
    assert_eq!(keys(&engine, at(WALL_MS + 100, ENGINE_MS + 100)), 0);
    assert!(!exists(&engine, at(WALL_MS + 100, ENGINE_MS + 100), b"k"));
}

/// Goes red when expiry believes the deadline in the record.
#[test]
fn a_clock_that_is_set_ends_nothing_early() {
    let engine = engine();
    limit(&engine, at(WALL_MS, ENGINE_MS), b"k", ENGINE_MS + 100);
    let later = at(WALL_MS + 1_000_000, ENGINE_MS + 40);
    assert!(exists(&engine, later, b"k"));
    assert_eq!(keys(&engine, later), 1);
    // It is looked at in vain, and then when its time has come by what is known now.
    assert_eq!(sweep(&engine, later), (0, later.wall_ms + 60));
    let over = at(WALL_MS + 1_000_060, ENGINE_MS + 100);
    assert_eq!(sweep(&engine, over), (1, u64::MAX));
    assert_eq!(engine.ledger().total(), self::engine_after_use());
}

/// What an engine holds that had a limit and lost it.
fn engine_after_use() -> usize {
    let engine = engine();
    limit(&engine, at(WALL_MS, ENGINE_MS), b"k", ENGINE_MS + 1);
    sweep(&engine, at(WALL_MS + 1, ENGINE_MS + 1));
    engine.ledger().total()
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_from_who_asks() {
    let engine = engine();
    limit(&engine, at(WALL_MS, ENGINE_MS), b"k", ENGINE_MS + 100);
    assert!(!exists(
        &engine,
        at(WALL_MS - 1_000_000, ENGINE_MS + 100),
        b"k"
    ));
}

#[test]
fn a_limit_in_use_keeps_its_hint_and_gets_a_new_one_when_it_is_met() {
    let engine = engine();
    limit(&engine, at(WALL_MS, ENGINE_MS), b"k", ENGINE_MS + 100);
    limit(
        &engine,
        at(WALL_MS + 50, ENGINE_MS + 50),
        b"k",
        ENGINE_MS + 150,
    );
    assert_eq!(
        sweep(&engine, at(WALL_MS + 50, ENGINE_MS + 50)),
        (0, WALL_MS + 100)
    );
    assert_eq!(
        sweep(&engine, at(WALL_MS + 100, ENGINE_MS + 100)),
        (0, WALL_MS + 150)
    );
    // One that comes to an end sooner is looked at sooner.
    limit(
        &engine,
        at(WALL_MS + 100, ENGINE_MS + 100),
        b"k",
        ENGINE_MS + 120,
    );
    assert_eq!(
        sweep(&engine, at(WALL_MS + 120, ENGINE_MS + 120)),
        (1, u64::MAX)
    );
}

/// Goes red when kept entries are counted among those that may go: the hand then looks for one
/// for ever.
#[test]
fn kept_entries_are_never_evicted() {
    let engine = engine();
    let now = at(WALL_MS, ENGINE_MS);
    for number in 0..100_u8 {
        limit(&engine, now, &[number], ENGINE_MS + 10_000);
        let batch = engine.shared(0, now);
        let mut step = batch.step();
        let key = [200, number];
        step.lock_any(0, &key).slot(0, &key).set_record(&Record {
            end_ms: ENGINE_MS + 10_000,
            token: 1,
            is_retry: false,
            owner: b"",
            fingerprint: b"f",
            response: None,
        });
    }
    for policy in [
        Policy::AllKeysLru,
        Policy::VolatileTtl,
        Policy::AllKeysRandom,
    ] {
        engine.set_bound(Bound {
            bytes_max: 1,
            policy,
            ..Bound::default()
        });
        let batch = engine.shared(0, now);
        assert!(
            !batch.step().make_room(Need::NOTHING),
            "there is no room to be made"
        );
    }
    assert_eq!(keys(&engine, now), 200);
}
