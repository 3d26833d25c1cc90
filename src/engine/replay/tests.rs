//! Whole histories done again, from the beginning and from what was cut out of them on the way.

use super::*;
use crate::engine::changes::{self, Change, DATABASES, SHARDS};
use crate::engine::{Frame, Options, Recorder};
use proptest::prelude::*;
use std::sync::Arc;

const HASH_SEED: u64 = 5;

fn options() -> Options {
    changes::options(HASH_SEED)
}

/// What happens to one engine.
#[derive(Clone, Debug)]
enum Op {
    Change(Change),
    Time(u64),
    /// The next shard is cut.
    Cut,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        34 => Change::any().prop_map(Op::Change),
        2 => (1u64..40).prop_map(Op::Time),
        8 => Just(Op::Cut),
    ];
    prop::collection::vec(op, 1..160)
}

/// An engine with its history, and a snapshot that is being cut out of it.
struct Stage {
    engine: Engine,
    recorder: Arc<Recorder>,
    now_ms: u64,
    frames: Vec<Frame>,
    cuts: Cuts,
    /// Shards that were cut, by identity of their database, of which some move meanwhile.
    parts: Vec<(u32, usize, Vec<u8>)>,
    map: Option<Vec<u32>>,
}

impl Stage {
    fn new() -> Self {
        let recorder = Arc::new(Recorder::new());
        let engine = Engine::new(options(), Some(Box::new(Arc::clone(&recorder))));
        let cuts = Cuts::new(DATABASES, SHARDS, HASH_SEED);
        Self {
            engine,
            recorder,
            now_ms: 0,
            frames: Vec::new(),
            cuts,
            parts: Vec::new(),
            map: None,
        }
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: self.now_ms,
            // Slower, so that what ends by it is looked at too early.
            engine_ms: self.now_ms / 2,
            ..Now::default()
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Change(change) => change.make(&self.engine, self.now(), self.frames.len() as u64),
            Op::Time(ms) => self.now_ms += ms,
            Op::Cut => self.cut(),
        }
        self.frames.extend(self.recorder.take());
    }

    /// Cuts the map first, and then one shard at a time; each database by its identity, for it may
    /// stand elsewhere by now.
    fn cut(&mut self) {
        let batch = self.engine.shared(0, self.now());
        let step = batch.step();
        let (ids, frame) = step.map();
        if self.map.is_none() {
            self.cuts.set_map(frame);
            self.map = Some(ids);
            return;
        }
        let next = self.parts.len();
        let (id, shard) = (next / SHARDS, next % SHARDS);
        let Some(place) = (0..DATABASES).find(|place| ids[*place as usize] == id as u32) else {
            return;
        };
        let mut part = Vec::new();
        let (id, frame) = step.cut(place, shard, &mut part);
        assert!(self.cuts.set(id, shard, frame));
        self.parts.push((id, shard, part));
    }

    fn finish_cutting(&mut self) {
        while self.map.is_none() || self.parts.len() < DATABASES as usize * SHARDS {
            self.cut();
        }
    }
}

proptest! {
    /// Goes red when `apply` takes no notice of the cuts, when `Clear` empties what was cut after
    /// it, when `note_frame_of_all` is left out of SWAPDB or FLUSHDB, when a step alone does not
    /// note what it changed, and when `cut` leaves out that a value grew.
    #[test]
    fn a_snapshot_and_the_frames_behind_it_are_the_state(ops in ops()) {
        let mut stage = Stage::new();
        ops.iter().for_each(|op| stage.run(op));
        stage.finish_cutting();
        let twin = Engine::new(options(), None);
        let mut replay = twin.replay();
        for (_, _, part) in &stage.parts {
            prop_assert_eq!(replay.apply_all(part), Ok(()));
        }
        prop_assert_eq!(replay.arrange(stage.map.as_deref().unwrap_or_default()), Ok(()));
        for (number, frame) in (1..).zip(&stage.frames) {
            prop_assert_eq!(replay.apply(number, frame.bytes(), &stage.cuts), Ok(()));
        }
        drop(replay);
        prop_assert_eq!(twin.state_hash(), stage.engine.state_hash());
    }

    #[test]
    fn all_frames_are_the_state(ops in ops()) {
        let mut stage = Stage::new();
        ops.iter().for_each(|op| stage.run(op));
        let twin = Engine::new(options(), None);
        for frame in &stage.frames {
            prop_assert_eq!(twin.apply(frame.bytes()), Ok(()));
        }
        prop_assert_eq!(twin.state_hash(), stage.engine.state_hash());
    }

    /// Whatever a frame holds, it is done or refused.
    #[test]
    fn no_frame_does_harm(
        effects in prop::collection::vec((0u8..10, 0u32..5, any::<u8>()), 1..20),
    ) {
        let twin = Engine::new(options(), None);
        let mut frame = Vec::new();
        for (kind, db, byte) in effects {
            let key: &[u8] = &[byte % 3];
            let effect = match kind {
                0 => Effect::put(db, key, ValueRef::Int(1), None),
                1 => Effect::Append { db, key, suffix: b"s" },
                2 => Effect::WriteRange { db, key, offset: u64::from(byte), bytes: b"r" },
                3 => Effect::WriteRange { db, key, offset: u64::MAX, bytes: b"r" },
                4 => Effect::Deadline { db, key, deadline_ms: None },
                5 => Effect::Remove { db, key },
                6 => Effect::Clear { db },
                7 => Effect::Fence { db, key, fence: u64::from(byte) << 56 },
                8 => Effect::Tie { db, key, session: 9 },
                _ => Effect::Swap { a: db, b: u32::from(byte) },
            };
            effect.push_to(&mut frame);
        }
        let _ = twin.apply(&frame);
    }
}

/// The frame that made it, of whoever looks at a key.
fn seen(engine: &Engine, act: impl FnOnce(&mut Step<'_>)) -> u64 {
    let batch = engine.shared(0, Now::default());
    let mut step = batch.step();
    act(&mut step);
    step.commit()
}

fn put(step: &mut Step<'_>, db: u32, key: &[u8]) {
    let value = ValueRef::Int(1);
    step.lock_any(db, key)
        .slot(db, key)
        .put(value, Deadline::None);
}

fn look(step: &mut Step<'_>, db: u32, key: &[u8]) {
    let _ = step.lock_any(db, key).slot(db, key).peek();
}

#[test]
fn whoever_looks_is_told_of_the_last_frame_of_what_it_saw_and_of_no_later_one() {
    let recorder = Arc::new(Recorder::new());
    let engine = Engine::new(options(), Some(Box::new(Arc::clone(&recorder))));
    assert_eq!(seen(&engine, |step| look(step, 0, b"a")), 0);
    assert_eq!(seen(&engine, |step| put(step, 0, b"a")), 1);
    let shard_of = |key: &[u8]| {
        let hash = engine.hasher.hash(key);
        engine
            .shared(0, Now::default())
            .step()
            .database(0)
            .shard_of(hash)
    };
    let elsewhere = (0u8..).find(|key| shard_of(&[*key]) != shard_of(b"a"));
    let elsewhere = &[elsewhere.unwrap_or_default()][..];
    assert_eq!(seen(&engine, |step| put(step, 0, elsewhere)), 2);
    assert_eq!(seen(&engine, |step| look(step, 0, b"a")), 1);
    assert_eq!(seen(&engine, |step| look(step, 0, elsewhere)), 2);
    assert_eq!(seen(&engine, |step| look(step, 1, elsewhere)), 0);
    assert_eq!(seen(&engine, |step| assert_eq!(step.len(0), 2)), 2);
    let alone = |act: &dyn Fn(&mut Step<'_>)| {
        let batch = engine.alone(Now::default());
        let mut step = batch.step();
        act(&mut step);
        step.commit()
    };
    assert_eq!(alone(&|step| look(step, 0, b"a")), 1);
    assert_eq!(alone(&|step| put(step, 1, b"a")), 3);
    assert_eq!(seen(&engine, |step| look(step, 1, b"a")), 3);
    assert_eq!(seen(&engine, |step| look(step, 0, b"a")), 1);
    assert_eq!(alone(&|step| _ = step.clear(0, Free::Now)), 4);
    // There was nothing to clear: that is because of frame 4.
    assert_eq!(alone(&|step| _ = step.clear(0, Free::Now)), 4);
    assert_eq!(seen(&engine, |step| look(step, 0, b"a")), 4);
    assert_eq!(seen(&engine, |step| look(step, 1, b"a")), 3);
    assert_eq!(alone(&|step| step.swap(1, 2)), 5);
    assert_eq!(seen(&engine, |step| look(step, 2, elsewhere)), 5);
    assert_eq!(recorder.take().len(), 5);
}

/// Also of what came while it looked. Goes red when the frame is noted before the shard is locked.
#[test]
fn whoever_is_told_of_a_key_is_told_of_its_frame() {
    let recorder = Arc::new(Recorder::new());
    let options = Options {
        workers: 2,
        shards: 1,
        ..options()
    };
    let engine = Engine::new(options, Some(Box::new(recorder)));
    assert_eq!(seen(&engine, |step| put(step, 0, b"a")), 1);
    let told = seen(&engine, |step| {
        let mut is_replaced = false;
        let key = step.random_key(0, || {
            if !std::mem::replace(&mut is_replaced, true) {
                let batch = engine.shared(1, Now::default());
                let mut other = batch.step();
                assert!(other.lock_any(0, b"a").slot(0, b"a").remove());
                put(&mut other, 0, b"b");
            }
            0
        });
        assert_eq!(key.as_deref(), Some(&b"b"[..]));
    });
    assert_eq!(told, 3);
    let count = |step: &mut Step<'_>| assert_eq!(step.census()[0].keys, 1);
    assert_eq!(seen(&engine, count), 3);
    let estimate = |step: &mut Step<'_>| assert_eq!(step.census_unsettled()[0].keys, 1);
    assert_eq!(seen(&engine, estimate), 0);
}

/// Several count on the same keys at once, each under the key's lock: in the order of the frames
/// the counts of a key rise one by one. Goes red when a frame is numbered behind the lock.
#[test]
fn frames_of_many_threads_stand_in_the_order_of_what_they_did() {
    const THREADS: usize = 4;
    const STEPS: usize = 20_000;
    let recorder = Arc::new(Recorder::new());
    let options = Options {
        workers: THREADS,
        ..options()
    };
    let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
    std::thread::scope(|scope| {
        for side in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || (0..STEPS).for_each(|round| count(engine, side, round % 2)));
        }
    });
    let frames = recorder.take();
    let mut counts = [0; 2];
    for effect in frames.iter().flat_map(Frame::effects) {
        let Effect::PutInt { key, number, .. } = effect else {
            panic!("no step here leaves {effect:?}");
        };
        let before = &mut counts[usize::from(key[0])];
        assert_eq!(number, *before + 1, "a frame out of order");
        *before = number;
    }
    assert_eq!(counts.iter().sum::<i64>(), (THREADS * STEPS) as i64);
}

/// A step that adds one to the number at a key.
fn count(engine: &Engine, side: usize, key: usize) {
    let key = &[key as u8];
    let batch = engine.shared(side, Now::default());
    let mut step = batch.step();
    let mut locked = step.lock_any(0, key);
    let mut slot = locked.slot(0, key);
    let before = match slot.value() {
        Some(ValueRef::Int(number)) => number,
        _ => 0,
    };
    slot.put(ValueRef::Int(before + 1), Deadline::None);
}

#[test]
fn many_databases_cost_no_room_for_cuts_before_one_is_cut() {
    let mut cuts = Cuts::new(65_536, 1_024, 0);
    assert!(cuts.frames.iter().all(Vec::is_empty));
    assert!(cuts.set(65_535, 1_023, 7) && !cuts.set(65_536, 0, 7) && !cuts.set(0, 1_024, 7));
    cuts.set_map(9);
    assert_eq!(cuts.lowest(), 0);
}
