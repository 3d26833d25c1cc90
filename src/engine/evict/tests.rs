//! Each policy on its own, a property against a naive model, and hit ratios on recorded traces.

use super::*;
use crate::clock::Now;
use crate::engine::{Account, Deadline, Effect, Frame, Options, Recorder, ValueRef};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Long enough for an entry to have an allocation of its own: one that goes is seen at once.
const VALUE: [u8; 2_048] = [b'v'; 2_048];

/// An engine under a bound, and the time it is given.
struct Stage {
    engine: Engine,
    frames: Arc<Recorder>,
    now_ms: u64,
}

impl Stage {
    fn new(policy: Policy, shards: usize) -> Self {
        let frames = Arc::new(Recorder::new());
        let options = Options {
            databases: 2,
            shards,
            hash_seed: 7,
            ..Options::default()
        };
        let engine = Engine::new(options, Some(Box::new(Arc::clone(&frames))));
        let stage = Self {
            engine,
            frames,
            now_ms: 1_000_000,
        };
        stage.bound(policy, 0);
        stage
    }

    fn bound(&self, policy: Policy, bytes_max: u64) {
        self.engine.set_bound(Bound {
            bytes_max,
            policy,
            samples: 64,
            ..Bound::default()
        });
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: self.now_ms,
            engine_ms: self.now_ms,
            ..Now::default()
        }
    }

    fn with<R>(&self, run: impl FnOnce(&mut Step<'_>) -> R) -> R {
        let batch = self.engine.shared(0, self.now());
        let mut step = batch.step();
        run(&mut step)
    }

    fn put(&self, key: &str, ttl_ms: Option<u64>) {
        let deadline = ttl_ms.map_or(Deadline::None, |ttl| Deadline::At(self.now_ms + ttl));
        self.with(|step| {
            let mut locked = step.lock_any(0, key.as_bytes());
            let mut slot = locked.slot(0, key.as_bytes());
            slot.put(ValueRef::Bytes(&VALUE), deadline);
        });
    }

    fn read(&self, key: &str) -> bool {
        self.with(|step| {
            let mut locked = step.lock_any(0, key.as_bytes());
            locked.slot(0, key.as_bytes()).read().is_some()
        })
    }

    fn exists(&self, key: &str) -> bool {
        self.with(|step| {
            step.lock_any(0, key.as_bytes())
                .slot(0, key.as_bytes())
                .exists()
        })
    }

    /// Lets one entry go; answers its key, or `None` if none may go.
    fn evict(&self) -> Option<String> {
        let policy = self.engine.bound().policy;
        let _ = self.frames.take();
        self.bound(policy, self.engine.ledger().held() as u64 - 1);
        let made = self.with(|step| step.make_room(Need::NOTHING));
        self.bound(policy, 0);
        let frames = self.frames.take();
        assert_eq!(made, !frames.is_empty(), "one goes, or there is no room");
        let effects: Vec<Effect<'_>> = frames.iter().flat_map(Frame::effects).collect();
        match effects.as_slice() {
            [Effect::Remove { key, .. }] => Some(String::from_utf8_lossy(key).into_owned()),
            [] => None,
            more => panic!("one entry was enough: {more:?}"),
        }
    }

    fn evict_all(&self) -> Vec<String> {
        std::iter::from_fn(|| self.evict()).collect()
    }
}

/// Four keys put a second apart, the first and then the third read in between.
fn four(policy: Policy) -> Stage {
    let mut stage = Stage::new(policy, 4);
    for (key, ttl_s) in [("a", 900), ("b", 600), ("c", 700), ("d", 800)] {
        stage.now_ms += 1_000;
        stage.put(key, Some(ttl_s * 1_000));
    }
    for key in ["a", "c", "c", "c"] {
        stage.now_ms += 1_000;
        assert!(stage.read(key));
    }
    stage
}

#[test]
fn the_least_recently_used_goes_first() {
    for policy in [Policy::AllKeysLru, Policy::VolatileLru] {
        assert_eq!(four(policy).evict_all(), ["b", "d", "a", "c"], "{policy:?}");
    }
}

/// Three candidates are left over from the first eviction; the next of them is used.
#[test]
fn a_candidate_that_was_used_since_it_was_met_is_ranked_anew() {
    let mut stage = four(Policy::AllKeysLru);
    assert_eq!(stage.evict().as_deref(), Some("b"));
    stage.now_ms += 60_000;
    assert!(stage.read("d"));
    assert_eq!(stage.evict_all(), ["a", "c", "d"]);
}

#[test]
fn what_was_used_again_goes_last_under_2q() {
    for policy in [Policy::AllKeys2q, Policy::Volatile2q] {
        assert_eq!(four(policy).evict_all(), ["b", "d", "a", "c"], "{policy:?}");
    }
}

#[test]
fn the_least_recently_changed_goes_first() {
    for policy in [Policy::AllKeysLrm, Policy::VolatileLrm] {
        let mut stage = four(policy);
        stage.now_ms += 1_000;
        stage.put("b", Some(1_000));
        assert_eq!(stage.evict_all(), ["a", "c", "d", "b"], "{policy:?}");
    }
}

#[test]
fn the_nearest_deadline_goes_first() {
    assert_eq!(four(Policy::VolatileTtl).evict_all(), ["b", "c", "d", "a"]);
}

#[test]
fn the_least_frequently_used_goes_first() {
    for policy in [Policy::AllKeysLfu, Policy::VolatileLfu] {
        let mut stage = four(policy);
        for (key, uses) in [("b", 2_000), ("d", 200)] {
            for _ in 0..uses {
                stage.read(key);
            }
        }
        let order = stage.evict_all();
        assert_eq!(order[2..], ["d", "b"], "{policy:?}");

        stage.put("old", Some(90_000_000));
        assert!((0..2_000).all(|_| stage.read("old")));
        stage.now_ms += 60_000 * 200;
        stage.put("new", Some(90_000_000));
        assert_eq!(stage.evict().as_deref(), Some("old"), "uses are forgotten");
    }
}

#[test]
fn chance_lets_every_entry_go_and_in_no_order() {
    for policy in [Policy::AllKeysRandom, Policy::VolatileRandom] {
        let stage = Stage::new(policy, 16);
        let keys: Vec<String> = (0..200).map(|n| format!("key:{n:03}")).collect();
        keys.iter().for_each(|key| stage.put(key, Some(1_000)));
        let mut order = stage.evict_all();
        let early: BTreeSet<_> = order[..100].iter().cloned().collect();
        let old = keys[..100].iter().filter(|key| early.contains(*key));
        assert!((30..70).contains(&old.count()), "age decides, not chance");
        order.sort();
        assert_eq!(order, keys);
    }
}

/// Only one of the databases has keys, and each shard more buckets than are looked at in one go.
#[test]
fn chance_meets_every_part_of_a_large_database() {
    let stage = Stage::new(Policy::AllKeysRandom, 2);
    (0..4_096).for_each(|number| small(&stage, number, 8));
    let lens = || {
        let len = |at: usize| stage.with(|step| step.database(0).shards()[at].lock().len());
        [len(0), len(1)]
    };
    let mut before = lens();
    stage.bound(Policy::AllKeysRandom, 1);
    for _ in 0..6 {
        assert!(
            stage.with(|step| step.make_room(Need::NOTHING)),
            "the bound was lowered"
        );
        let after = lens();
        let went = [before[0] - after[0], before[1] - after[1]];
        assert!(
            went.iter().all(|&one| one >= STEP_EVICTIONS / 4),
            "{went:?} went"
        );
        before = after;
    }
}

#[test]
fn nothing_goes_under_noeviction_nor_without_a_deadline_under_volatile() {
    for policy in Policy::ALL
        .iter()
        .filter(|policy| **policy != Policy::NoEviction)
    {
        let stage = Stage::new(*policy, 4);
        (0..20).for_each(|n| stage.put(&n.to_string(), None));
        assert_eq!(stage.evict().is_none(), policy.is_volatile(), "{policy:?}");
        stage.put("volatile", Some(1_000));
        assert!(stage.evict().is_some(), "{policy:?}");
    }
    let stage = Stage::new(Policy::NoEviction, 4);
    stage.put("key", Some(1_000));
    assert_eq!(stage.evict(), None);
}

#[test]
fn what_is_past_its_deadline_goes_before_all_and_counts_as_expired() {
    for policy in Policy::ALL
        .iter()
        .filter(|policy| **policy != Policy::NoEviction)
    {
        let mut stage = Stage::new(*policy, 4);
        (0..12).for_each(|n| stage.put(&n.to_string(), Some(5_000)));
        stage.put("due", Some(1_000));
        stage.now_ms += 2_000;
        if policy.order() == Order::Random {
            continue;
        }
        stage.bound(*policy, stage.engine.ledger().held() as u64 - 1);
        let tally = stage.with(|step| {
            assert!(step.make_room(Need::NOTHING));
            step.tally()
        });
        assert_eq!((tally.expired, tally.evicted), (1, 0), "{policy:?}");
    }
}

#[test]
fn what_comes_back_soon_after_it_went_is_known_under_2q() {
    let stage = Stage::new(Policy::AllKeys2q, 1);
    (0..64).for_each(|n| stage.put(&n.to_string(), None));
    let went = stage.evict().expect("there are entries");
    stage.put(&went, None);
    (64..96).for_each(|n| stage.put(&n.to_string(), None));
    let order = stage.evict_all();
    let place = order.iter().position(|key| *key == went);
    assert!(place > Some(80), "it went as number {place:?}");
}

#[test]
fn an_eviction_changes_a_watched_key() {
    let stage = four(Policy::AllKeysLru);
    let watch =
        |key: &str| stage.with(|step| step.lock_any(0, key.as_bytes()).watch(0, key.as_bytes()));
    let (b, c) = (watch("b"), watch("c"));
    assert_eq!(stage.evict().as_deref(), Some("b"));
    stage.with(|step| {
        assert!(step.any_changed([&b]));
        assert!(!step.any_changed([&c]));
        step.unwatch(b);
        step.unwatch(c);
    });
}

/// What remains of a flushed database is held until it is freed: it goes before any key.
#[test]
fn a_flushed_database_is_freed_before_any_key_goes() {
    let stage = four(Policy::AllKeysLru);
    stage.engine.alone(stage.now()).step().swap(0, 1);
    stage.put("other", None);
    stage
        .engine
        .alone(stage.now())
        .step()
        .clear(1, crate::engine::Free::Later);
    let _ = stage.frames.take();
    stage.bound(Policy::AllKeysLru, stage.engine.ledger().held() as u64 - 1);
    assert!(stage.with(|step| step.make_room(Need::NOTHING)));
    assert!(stage.frames.take().is_empty(), "a key went");
    assert!(stage.exists("other"));
}

#[test]
fn a_lowered_bound_is_reached_in_steps() {
    let stage = Stage::new(Policy::AllKeysLru, 16);
    (0..2_000).for_each(|n| stage.put(&n.to_string(), None));
    stage.bound(Policy::AllKeysLru, stage.engine.ledger().held() as u64 / 4);
    let mut left = vec![2_000];
    while stage.engine.is_over_bound() {
        assert!(
            stage.with(|step| step.make_room(Need::NOTHING)),
            "no command is refused"
        );
        left.push(stage.with(|step| step.len(0)));
        assert!(left.len() < 9, "it goes on: {left:?}");
        // What came in between goes as well.
        stage.put("new", None);
    }
    let steps = left.windows(2).map(|pair| pair[0] - pair[1]);
    assert!(left.len() > 3 && steps.max() <= Some(513), "{left:?}");
}

/// A full cache of small entries, one value as large as most of it, then small writes and some of
/// 20 KB: each command lets few entries go, and what is above the bound only falls.
#[test]
fn what_one_command_took_goes_in_steps() {
    const LARGE_BYTES: usize = 6 << 20;
    let stage = Stage::new(Policy::AllKeysLru, 16);
    let bytes_max = 8 << 20;
    stage.bound(Policy::AllKeysLru, bytes_max);
    let mut number = 0;
    // Answers how many entries went, and how much was held above the bound after the write.
    let mut write = |len: usize, counted_bytes: usize| {
        let value = vec![b'v'; len];
        let went = stage.with(|step| {
            assert!(step.make_room(Need::of(len, counted_bytes)));
            step.tally().evicted as usize
        });
        number += 1;
        let key = format!("key:{number}");
        stage.with(|step| {
            let mut locked = step.lock_any(0, key.as_bytes());
            locked
                .slot(0, key.as_bytes())
                .put(ValueRef::Bytes(&value), Deadline::None);
        });
        (went, stage.engine.excess())
    };
    let mut full = 0;
    while full < 1_000 {
        let (went, excess) = write(20, 0);
        assert!(excess < 64 << 10, "{excess} bytes above the bound");
        full += went;
    }
    let (_, peak) = write(LARGE_BYTES, 0);
    assert!(peak > 5 << 20, "{peak} bytes above the bound");
    let (mut last, mut steps) = (peak, 0);
    while last > 0 {
        let len = if steps % 8 == 7 { 20_000 } else { 20 };
        let (went, excess) = write(len, 0);
        // Before one of 20 KB that much goes, and as much again.
        let most = STEP_EVICTIONS + len / 10 + 1;
        assert!(went <= most, "{went} entries went for {len} bytes");
        assert!(excess < last, "{excess} bytes after {last}");
        (last, steps) = (excess, steps + 1);
    }
    assert!(steps > 20, "all went in {steps} steps");
    // The value is as large as what went for it, so it stays.
    assert!(stage.engine.ledger().held() > LARGE_BYTES);
}

/// What cannot be told waits until nothing is above the bound.
#[test]
fn a_command_that_may_take_anything_waits_for_all() {
    let stage = Stage::new(Policy::AllKeysLru, 16);
    (0..4_000).for_each(|n| stage.put(&n.to_string(), None));
    stage.bound(Policy::AllKeysLru, stage.engine.ledger().held() as u64 / 4);
    assert!(stage.with(|step| step.make_room(Need::NOTHING)));
    assert!(stage.engine.is_over_bound());
    assert!(stage.with(|step| step.make_room(Need::UNFORESEEN)));
    assert!(!stage.engine.is_over_bound());
}

/// A second large command makes up for the first before it runs; one that has arrived already has
/// its own arrival allowed.
#[test]
fn no_more_than_one_command_is_held_above_the_bound() {
    let stage = Stage::new(Policy::AllKeysLru, 16);
    (0..4_000).for_each(|n| stage.put(&n.to_string(), None));
    let held = stage.engine.ledger().held();
    stage.bound(Policy::AllKeysLru, held as u64);
    let arrived = 2 << 20;
    stage.engine.ledger().change(Account::Clients, 0, arrived);
    let went = |need: Need| {
        stage.with(|step| {
            assert!(step.make_room(need));
            step.tally().evicted as usize
        })
    };
    assert_eq!(went(Need::of(arrived, arrived)), STEP_EVICTIONS);
    // Another arrives while the first is worked off: small commands need not make up for it.
    stage
        .engine
        .ledger()
        .change(Account::Clients, arrived, 2 * arrived);
    stage.engine.allow_arrival(2 * arrived);
    assert_eq!(went(Need::of(20, 0)), STEP_EVICTIONS);
    // It is to be kept: as much must go as the first one took.
    assert!(went(Need::of(arrived, 0)) > STEP_EVICTIONS);
}

// --- small entries: room is in pages

fn small(stage: &Stage, number: usize, len: usize) {
    let key = format!("small:{number}");
    stage.with(|step| {
        let mut locked = step.lock_any(0, key.as_bytes());
        let mut slot = locked.slot(0, key.as_bytes());
        slot.put(ValueRef::Bytes(&VALUE[..len]), Deadline::None);
    });
}

/// 60,000 small entries through room for some 20,000: never more than one write above the bound,
/// and the room is put to use.
#[test]
fn small_entries_give_their_room_back() {
    for lens in [[20, 20, 20, 20], [10, 30, 100, 400]] {
        let stage = Stage::new(Policy::AllKeysLru, 16);
        let write = |number: usize| small(&stage, number, lens[number % 4]);
        (0..20_000).for_each(write);
        let bytes_max = stage.engine.ledger().held();
        stage.bound(Policy::AllKeysLru, bytes_max as u64);
        let full = stage.with(|step| step.len(0));
        let (mut most, mut taken) = (0, 0);
        for number in 20_000..60_000 {
            let before = stage.with(|step| step.len(0));
            assert!(stage.with(|step| step.make_room(Need::NOTHING)));
            most = most.max(before - stage.with(|step| step.len(0)));
            let held = stage.engine.ledger().held();
            assert!(held <= bytes_max + taken, "{held} after writes of {taken}");
            write(number);
            taken = taken.max(stage.engine.ledger().held().saturating_sub(held));
        }
        let left = stage.with(|step| step.len(0));
        assert!(left * 10 > full * 9, "{left} of {full} entries are left");
        assert!(
            most < 2 * STEP_EVICTIONS,
            "{most} entries went for one of {taken} bytes at most"
        );
    }
}

// --- a property

#[derive(Clone, Debug)]
enum Op {
    Put(u8, usize, Option<u64>),
    Read(u8),
    Remove(u8),
    Pass(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let len = prop_oneof![0usize..100, 0usize..3_000];
    let ttl = prop_oneof![Just(None), (1u64..60_000).prop_map(Some)];
    let op = prop_oneof![
        6 => (any::<u8>(), len, ttl).prop_map(|(key, len, ttl)| Op::Put(key, len, ttl)),
        3 => any::<u8>().prop_map(Op::Read),
        1 => any::<u8>().prop_map(Op::Remove),
        1 => (0u64..20_000).prop_map(Op::Pass),
    ];
    prop::collection::vec(op, 1..300)
}

/// What must be true whatever goes.
#[derive(Default)]
struct Naive {
    /// Keys and their deadlines.
    entries: BTreeMap<u8, Option<u64>>,
}

impl Naive {
    /// Takes over what a command did.
    fn note(&mut self, frames: &[Frame]) {
        for effect in frames.iter().flat_map(Frame::effects) {
            match effect {
                Effect::PutBytes {
                    key, deadline_ms, ..
                } => drop(self.entries.insert(key[0], deadline_ms)),
                Effect::Remove { key, .. } => drop(self.entries.remove(&key[0])),
                other => panic!("no command here does this: {other:?}"),
            }
        }
    }

    fn any_may_go(&self, policy: Policy) -> bool {
        let may_go = |at: &Option<u64>| at.is_some() || !policy.is_volatile();
        policy != Policy::NoEviction && self.entries.values().any(may_go)
    }

    /// Takes over what went from a call of `make_room`; it must have been allowed.
    fn follow(&mut self, frames: &[Frame], policy: Policy) {
        for effect in frames.iter().flat_map(Frame::effects) {
            let Effect::Remove { key, .. } = effect else {
                panic!("eviction only removes: {effect:?}");
            };
            let deadline_ms = self.entries.remove(&key[0]).expect("it was there");
            assert!(
                deadline_ms.is_some() || !policy.is_volatile(),
                "it may not go"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_may_go_and_no_more_than_must(
        ops in ops(),
        policy in prop::sample::select(Policy::ALL),
        shards in 0u32..5,
        room in 1_000u64..60_000,
    ) {
        check_ops(&ops, policy, 1 << shards, room);
    }
}

fn check_ops(ops: &[Op], policy: Policy, shards: usize, room: u64) {
    let mut stage = Stage::new(policy, shards);
    stage.put("first", None);
    stage.with(|step| step.lock_any(0, b"first").slot(0, b"first").remove());
    stage.bound(policy, stage.engine.ledger().held() as u64 + room);
    let (mut naive, mut history) = (Naive::default(), stage.frames.take());
    for op in ops {
        let over = stage.engine.is_over_bound();
        let made = stage.with(|step| step.make_room(Need::NOTHING));
        let went = stage.frames.take();
        assert!(over || went.is_empty(), "something went without need");
        assert_eq!(made, !stage.engine.is_over_bound());
        naive.follow(&went, policy);
        assert!(made || !naive.any_may_go(policy), "something could go");
        apply(&mut stage, op);
        let did = stage.frames.take();
        naive.note(&did);
        history.extend(went.into_iter().chain(did));
    }
    let twin = Stage::new(Policy::NoEviction, shards);
    for frame in &history {
        assert_eq!(twin.engine.apply(frame.bytes()), Ok(()));
    }
    assert_eq!(twin.engine.state_hash(), stage.engine.state_hash());
    assert_eq!(stage.with(|step| step.len(0)), naive.entries.len());
}

fn apply(stage: &mut Stage, op: &Op) {
    let now_ms = stage.now_ms;
    match *op {
        Op::Put(key, len, ttl) => stage.with(|step| {
            let deadline = ttl.map_or(Deadline::None, |ttl| Deadline::At(now_ms + ttl));
            let value = ValueRef::Bytes(&[b'x'; 3_000][..len]);
            step.lock_any(0, &[key])
                .slot(0, &[key])
                .put(value, deadline);
        }),
        Op::Read(key) => stage.with(|step| {
            let _ = step.lock_any(0, &[key]).slot(0, &[key]).read();
        }),
        Op::Remove(key) => stage.with(|step| {
            step.lock_any(0, &[key]).slot(0, &[key]).remove();
        }),
        Op::Pass(ms) => stage.now_ms += ms,
    }
}

/// Four threads write beyond the bound: none is ever further above it than what the others may be
/// about to write.
#[test]
fn several_writers_stay_at_the_bound_together() {
    const WRITERS: usize = 4;
    let options = Options {
        databases: 1,
        workers: WRITERS,
        shards: 64,
        ..Options::default()
    };
    let engine = Engine::new(options, None);
    engine
        .shared(0, Now::default())
        .step()
        .lock_any(0, b"first");
    let bytes_max = engine.ledger().held() as u64 + (1 << 20);
    engine.set_bound(Bound {
        bytes_max,
        policy: Policy::AllKeysLru,
        ..Bound::default()
    });
    // The value, its entry, and a shard's table that grows.
    let slack = (WRITERS * (VALUE.len() + 1_024)) as u64;
    let write = |side: usize| {
        let mut draws = Draws::seeded(side as u64);
        for _ in 0..4_000 {
            let batch = engine.shared(side, Now::default());
            let mut step = batch.step();
            assert!(step.make_room(Need::NOTHING));
            let held = engine.ledger().held() as u64;
            assert!(held <= bytes_max + slack, "{held} of {bytes_max}");
            let key = (draws.next() % 20_000).to_le_bytes();
            let value = &VALUE[..draws.next() as usize % VALUE.len()];
            step.lock_any(0, &key)
                .slot(0, &key)
                .put(ValueRef::Bytes(value), Deadline::None);
        }
    };
    let write = &write;
    std::thread::scope(|scope| {
        for side in 0..WRITERS {
            scope.spawn(move || write(side));
        }
    });
    let entries = engine.alone(Now::default()).step().len(0);
    assert!(entries > 500, "{entries} entries are left");
}

// --- hit ratios

const MULTI3: &str = include_str!("../../../tests/data/traces/multi3.trace");
const SPRITE: &str = include_str!("../../../tests/data/traces/sprite.trace");

fn keys(trace: &str) -> impl Iterator<Item = u32> {
    trace.lines().filter_map(|line| line.trim().parse().ok())
}

/// Hits of true LRU with room for `entries`.
fn hits_of_lru(trace: &[u32], entries: usize) -> usize {
    let (mut last, mut order, mut hits) = (HashMap::new(), BTreeMap::new(), 0);
    for (at, key) in trace.iter().enumerate() {
        if let Some(before) = last.insert(*key, at) {
            order.remove(&before);
            hits += 1;
        }
        order.insert(at, *key);
        if order.len() > entries {
            let (_, oldest) = order.pop_first().expect("it is not empty");
            last.remove(&oldest);
        }
    }
    hits
}

/// Hits of the engine with room for `entries`, and how many it really had on average.
fn hits_of(policy: Policy, trace: &[u32], entries: usize, shards: usize) -> (usize, f64) {
    let stage = Stage::new(policy, shards);
    (0..8).for_each(|n| stage.put(&n.to_string(), None));
    let with_eight = stage.engine.ledger().held();
    stage.put("8", None);
    let each = stage.engine.ledger().held() - with_eight;
    let bound = Bound {
        bytes_max: (with_eight + each * entries - each * 8) as u64,
        policy,
        ..Bound::default()
    };
    stage
        .engine
        .alone(stage.now())
        .step()
        .clear(0, crate::engine::Free::Now);
    stage.engine.set_bound(bound);
    let (mut hits, mut held) = (0, 0);
    for key in trace {
        stage.with(|step| step.make_room(Need::NOTHING));
        let key = key.to_string();
        if stage.read(&key) {
            hits += 1;
        } else {
            stage.put(&key, None);
        }
        held += stage.engine.alone(stage.now()).step().len(0);
        let _ = stage.frames.take();
    }
    (hits, held as f64 / trace.len() as f64)
}

/// `allkeys-lru` is within a percentage point of true LRU with as many entries, or above it.
fn check_hits(trace: &[u32]) {
    let distinct = trace.iter().collect::<HashSet<_>>().len();
    for percent in [1, 5, 10, 25] {
        let wanted = distinct * percent / 100;
        let (hits, entries) = hits_of(Policy::AllKeysLru, trace, wanted, 64);
        let lru = hits_of_lru(trace, entries.round() as usize);
        let points = (hits as f64 - lru as f64) * 100.0 / trace.len() as f64;
        assert!(
            points > -1.0,
            "{percent} %: {points:.2} points from true LRU"
        );
        let strays = (entries - wanted as f64).abs() / wanted as f64;
        assert!(strays < 0.06, "{percent} %: {entries} entries for {wanted}");
    }
}

#[test]
fn lru_is_as_good_as_true_lru_on_multi3() {
    check_hits(&keys(MULTI3).collect::<Vec<_>>());
}

#[test]
fn lru_is_as_good_as_true_lru_on_sprite() {
    check_hits(&keys(SPRITE).take(40_000).collect::<Vec<_>>());
}
