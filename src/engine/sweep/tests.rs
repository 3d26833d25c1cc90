//! Expiry against a plain map of deadlines, whatever happens in between.

use super::*;
use crate::clock::Now;
use crate::engine::{Deadline, Effect, Frame, Options, Recorder, Slot, ValueRef};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const START_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
const WORKERS: usize = 2;

type Key = (u32, u16);

#[derive(Clone, Debug)]
enum Op {
    Put(Key, Option<u64>),
    SetDeadline(Key, Option<u64>),
    Remove(Key),
    /// Somebody asks for the key.
    Open(Key),
    /// So many keys without a deadline come from this one on: tables grow.
    Crowd(Key, u16),
    /// They go: tables shrink.
    Thin(Key, u16),
    Clear(u32),
    Swap,
    /// The clock goes on, or is set.
    Time(u64),
    /// One worker's turn, with this effort.
    Turn(usize, usize),
    /// Full turns of all workers.
    Sweep,
}

fn key() -> impl Strategy<Value = Key> {
    (0u32..2, 0u16..300)
}

/// Times near and far, before the start and after it.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0u64..1_000).prop_map(|ms| START_MS + ms),
        2 => (0u64..200).prop_map(|days| START_MS + days * DAY_MS),
        1 => (0u64..200).prop_map(|days| START_MS - days * DAY_MS),
        1 => prop_oneof![Just(0), Just(1), Just(1 << 48), Just(i64::MAX as u64)],
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (key(), prop::option::of(time())).prop_map(|(key, at)| Op::Put(key, at)),
        3 => (key(), prop::option::of(time())).prop_map(|(key, at)| Op::SetDeadline(key, at)),
        2 => key().prop_map(Op::Remove),
        2 => key().prop_map(Op::Open),
        1 => (key(), 100u16..400).prop_map(|(key, count)| Op::Crowd(key, count)),
        1 => (key(), 100u16..400).prop_map(|(key, count)| Op::Thin(key, count)),
        1 => (0u32..2).prop_map(Op::Clear),
        1 => Just(Op::Swap),
        3 => time().prop_map(Op::Time),
        2 => (0..WORKERS, 0usize..60).prop_map(|(worker, effort)| Op::Turn(worker, effort)),
        2 => Just(Op::Sweep),
    ];
    prop::collection::vec(op, 1..120)
}

/// An engine and what it should hold.
struct Stage {
    engine: Engine,
    recorder: Arc<Recorder>,
    sweepers: [Sweeper; WORKERS],
    now_ms: u64,
    /// Keys by the identity of their database.
    naive: BTreeMap<Key, Option<u64>>,
    /// Identities of the databases, by number.
    ids: [u32; 2],
}

impl Stage {
    fn new(shards: usize) -> Self {
        let recorder = Arc::new(Recorder::new());
        let options = Options {
            databases: 2,
            workers: WORKERS,
            shards,
            hash_seed: 1,
        };
        Self {
            engine: Engine::new(options, Some(Box::new(Arc::clone(&recorder)))),
            recorder,
            sweepers: std::array::from_fn(|worker| Sweeper::new(worker, WORKERS)),
            now_ms: START_MS,
            naive: BTreeMap::new(),
            ids: [0, 1],
        }
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: self.now_ms,
            ..Now::default()
        }
    }

    /// Opens a key, and takes what has passed its deadline from the naive side as well.
    fn open<R>(&mut self, (db, number): Key, act: impl FnOnce(&mut Slot<'_>) -> R) {
        let name = (self.ids[db as usize], number);
        if self.naive.get(&name).is_some_and(|at| self.is_due(*at)) {
            self.naive.remove(&name);
        }
        let batch = self.engine.shared(0, self.now());
        let mut step = batch.step();
        let key = number.to_be_bytes();
        act(&mut step.lock_any(db, &key).slot(db, &key));
    }

    fn is_due(&self, deadline_ms: Option<u64>) -> bool {
        deadline_ms.is_some_and(|at| at <= self.now_ms)
    }

    fn put(&mut self, key: Key, at: Option<u64>) {
        let deadline = at.map_or(Deadline::None, Deadline::At);
        self.open(key, |slot| slot.put(ValueRef::Int(1), deadline));
        self.naive.insert((self.ids[key.0 as usize], key.1), at);
    }

    fn remove(&mut self, key: Key) {
        self.open(key, |slot| slot.remove());
        self.naive.remove(&(self.ids[key.0 as usize], key.1));
    }

    /// A turn of one worker: answers what it said, having checked what it removed.
    fn turn(&mut self, worker: usize, effort_max: usize) -> Swept {
        drop(self.recorder.take());
        let mut tally = Tally::default();
        let batch = self.engine.shared(worker, self.now());
        let swept = self.sweepers[worker].run(&batch, effort_max, &mut tally);
        drop(batch);
        let frames = self.recorder.take();
        let effects = frames.iter().flat_map(Frame::effects);
        let removed: Vec<Key> = effects.map(name_of).collect();
        assert_eq!(removed.len() as u64, tally.expired);
        for name in removed {
            let at = self.naive.remove(&name).expect("removed what is not there");
            assert!(self.is_due(at), "removed too early");
        }
        swept
    }

    /// A full turn removes all that is due, and knows what comes next.
    fn sweep(&mut self) {
        let next_ms: Vec<u64> = (0..WORKERS)
            .map(|worker| {
                let swept = self.turn(worker, usize::MAX);
                assert!(!swept.is_cut_short());
                swept.next_ms
            })
            .collect();
        let left = self.naive.values().flatten().copied().min();
        let left = left.unwrap_or(NEVER_MS);
        assert!(left > self.now_ms, "something due is left");
        let next_ms = next_ms.into_iter().min().expect("a worker");
        assert!(next_ms <= left, "would sleep too long");
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Put(key, at) => self.put(key, at),
            Op::SetDeadline(key, at) => {
                let mut is_there = false;
                self.open(key, |slot| {
                    is_there = slot.exists();
                    if is_there {
                        slot.set_deadline(at);
                    }
                });
                if is_there {
                    self.naive.insert((self.ids[key.0 as usize], key.1), at);
                }
            }
            Op::Remove(key) => self.remove(key),
            Op::Open(key) => self.open(key, |slot| slot.exists()),
            Op::Crowd((db, first), count) => {
                (first..first + count).for_each(|number| self.put((db, number), None));
            }
            Op::Thin((db, first), count) => {
                (first..first + count).for_each(|number| self.remove((db, number)));
            }
            Op::Clear(db) => {
                let batch = self.engine.alone(self.now());
                batch.step().clear(db, crate::engine::Free::Now);
                let id = self.ids[db as usize];
                self.naive.retain(|name, _| name.0 != id);
            }
            Op::Swap => {
                let batch = self.engine.alone(self.now());
                batch.step().swap(0, 1);
                self.ids.swap(0, 1);
            }
            Op::Time(now_ms) => self.now_ms = now_ms,
            Op::Turn(worker, effort_max) => drop(self.turn(worker, effort_max)),
            Op::Sweep => self.sweep(),
        }
    }

    /// Every bound is a bound, up to the earliest of each shard.
    fn check(&self) {
        let batch = self.engine.shared(0, self.now());
        let step = batch.step();
        for db in 0..2 {
            let database = step.database(db);
            for (number, shard) in database.shards_in_use().iter().enumerate() {
                let earliest_ms = shard.lock().check_bounds();
                let known_ms = database.earliest().expect("it is used").get(number);
                assert!(
                    known_ms <= earliest_ms,
                    "a deadline that nobody will look for"
                );
            }
        }
    }
}

fn name_of(effect: Effect<'_>) -> Key {
    let Effect::Remove { db, key } = effect else {
        panic!("expiry leaves {effect:?}");
    };
    (db, u16::from_be_bytes(key.try_into().expect("a key")))
}

proptest! {
    /// Goes red when `Bounds::rebuild` does nothing, when `Shard::replace` or `set_deadline_ms`
    /// leave out `lower_bound`, when `Slot::note_deadline` is left out, and when a turn that was
    /// cut short forgets where it was.
    #[test]
    fn a_turn_removes_what_is_due_and_nothing_else(ops in ops(), shards in 0u32..4) {
        let mut stage = Stage::new(1 << shards);
        for op in &ops {
            stage.apply(op);
            stage.check();
        }
        stage.sweep();
    }
}

/// A million at once is only more of the same: a turn does what it was allowed to, the next goes
/// on, and what was left of the table goes with its entries.
#[test]
fn many_at_once_go_in_bounded_steps_and_their_memory_with_them() {
    const EFFORT_MAX: usize = 256;
    let mut stage = Stage::new(4);
    let bytes = |stage: &Stage| {
        let batch = stage.engine.shared(0, stage.now());
        batch.step().census()[0].bytes
    };
    for number in 0..20_000 {
        let stays = number % 100 == 0;
        stage.put((0, number), (!stays).then_some(START_MS + 5));
    }
    let full = bytes(&stage);
    stage.now_ms += 5;
    let mut turns = 0;
    for worker in 0..WORKERS {
        let before = stage.naive.len();
        while stage.turn(worker, EFFORT_MAX).is_cut_short() {
            turns += 1;
        }
        assert!(before - stage.naive.len() > 9_000, "half of the shards");
    }
    assert_eq!(stage.naive.len(), 200);
    assert!(turns > 20_000 / EFFORT_MAX, "{turns} turns");
    let left = bytes(&stage);
    assert!(left * 15 < full, "{left} bytes of {full} are left");
    let keys: BTreeSet<u16> = stage.naive.keys().map(|name| name.1).collect();
    assert!(keys.iter().all(|number| number % 100 == 0));
}

/// A client that sets deadlines long past does not make every look a look at everything.
#[test]
fn deadlines_long_past_cost_one_block() {
    let mut stage = Stage::new(1);
    for number in 0..10_000 {
        stage.put((0, number), Some(START_MS + 5));
    }
    stage.put((0, 10_000), Some(1));
    // The first ever may: nothing is known of the time before.
    while stage.turn(0, usize::MAX).is_cut_short() {}
    for _ in 0..10 {
        stage.put((0, 10_000), Some(1));
        assert!(!stage.turn(0, 64).is_cut_short());
    }
}
