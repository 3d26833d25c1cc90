//! Entries with extras: how they come, how they go, and who sees them.

use super::*;
use crate::clock::Now;
use crate::engine::{
    Account, Batch, Bound, Deadline, Effect, Engine, Frame, Free, Need, Options, Recorder, Slot,
    Sweeper, Tally, ValueRef,
};
use crate::policy::Policy;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const SESSION: u64 = 7;

/// An engine that records what it does.
struct Stage {
    engine: Engine,
    recorder: Arc<Recorder>,
}

impl Stage {
    fn new() -> Self {
        let options = Options {
            databases: 2,
            shards: 2,
            ..Options::default()
        };
        let recorder = Arc::new(Recorder::new());
        let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
        engine.coordinator.open(b"sid", SESSION);
        Self { engine, recorder }
    }

    fn at(&self, wall_ms: u64) -> Batch<'_> {
        let now = Now {
            wall_ms,
            ..Now::default()
        };
        self.engine.shared(0, now)
    }

    fn on<R>(&self, key: &[u8], act: impl FnOnce(&mut Slot<'_>) -> R) -> R {
        let batch = self.at(1);
        let mut step = batch.step();
        act(&mut step.lock_any(0, key).slot(0, key))
    }

    /// A key of this session.
    fn tie(&self, key: &[u8]) {
        self.on(key, |slot| {
            slot.put(ValueRef::Bytes(b"v"), Deadline::None);
            slot.tie(SESSION);
        });
    }

    /// A key of an object that the coordinator has.
    fn mark(&self, key: &[u8], kind: Kind, in_use: bool) {
        self.engine.coordinator.make(0, key, kind, in_use);
        self.on(key, |slot| slot.mark(kind));
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let batch = self.at(1);
        batch.step().each_key(0, |key| keys.push(key.to_vec()));
        keys.sort();
        keys
    }

    fn is_string(&self, key: &[u8]) -> bool {
        let batch = self.at(1);
        batch.step().lock(0, key).is_ok()
    }

    fn removals(&self) -> usize {
        let frames = self.recorder.take();
        let effects = frames.iter().flat_map(Frame::effects);
        effects
            .filter(|effect| matches!(effect, Effect::Remove { .. }))
            .count()
    }

    /// An engine with the same history.
    fn twin(&self) -> Engine {
        let options = Options {
            databases: 2,
            shards: 2,
            ..Options::default()
        };
        let twin = Engine::new(options, None);
        for frame in self.recorder.take() {
            twin.apply(frame.bytes())
                .expect("an engine reads what it wrote");
        }
        twin
    }
}

/// Goes red when `remove` does not shrink the table, or counts a key or a deadline wrong.
#[test]
fn what_went_leaves_no_room_and_no_count_behind() {
    let name = |number: u64| (number << 57 | number, number.to_le_bytes());
    let mut extras = Extras::default();
    for number in 0..3_000 {
        let extra = Extra {
            fence: Some(number),
            ..Extra::default()
        };
        let (hash, key) = name(number);
        extras.set(hash, &key, extra, number % 2 == 0);
    }
    assert_eq!((extras.spared(), extras.volatile()), (3_000, 1_500));
    let (hash, key) = name(1);
    extras.note_deadline(hash, &key, true);
    extras.set(hash, &key, extras.get(hash, &key), false);
    assert_eq!(extras.volatile(), 1_501);
    for number in 0..3_000 {
        let (hash, key) = name(number);
        let extra = extras.remove(hash, &key);
        assert_eq!(extra.and_then(|extra| extra.fence), Some(number));
    }
    assert_eq!(
        (extras.spared(), extras.volatile(), extras.key_bytes),
        (0, 0, 0)
    );
    assert!(extras.table.capacity() <= SHRINK_PLACES_MIN);
}

#[test]
fn a_marker_stands_as_long_as_its_object_and_leaves_no_effect() {
    let stage = Stage::new();
    stage.mark(b"k", Kind::Lock, true);
    assert_eq!(
        stage.on(b"k", |slot| (slot.kind(), slot.type_name())),
        (Some(Kind::Lock), Some("lock"))
    );
    assert!(!stage.is_string(b"k"));
    assert_eq!(stage.keys(), [b"k"]);
    stage.engine.coordinator.remove(0, b"k");
    assert!(stage.is_string(b"k"), "nothing is there");
    assert!(stage.keys().is_empty());
    assert!(!stage.on(b"k", |slot| slot.exists()));
    stage.mark(b"k", Kind::Latch, false);
    stage.on(b"k", |slot| slot.unmark());
    stage.mark(b"k", Kind::Latch, false);
    assert!(stage.recorder.take().is_empty());
    assert!(stage.on(b"k", |slot| slot.remove()));
    assert_eq!(
        stage.engine.coordinator.kind_of(0, b"k"),
        None,
        "the object went too"
    );
    assert_eq!(stage.recorder.take().len(), 1, "and that is told");
    assert_eq!(stage.engine.state_hash(), Stage::new().engine.state_hash());
}

#[test]
fn an_object_of_another_kind_is_not_the_one_that_was_marked() {
    let stage = Stage::new();
    stage.mark(b"k", Kind::Lock, false);
    stage.engine.coordinator.make(0, b"k", Kind::Barrier, false);
    assert!(!stage.on(b"k", |slot| slot.exists()));
}

#[test]
fn one_object_in_use_among_many_keys_is_found() {
    let stage = Stage::new();
    stage.mark(b"held", Kind::Semaphore, true);
    stage.mark(b"free", Kind::Semaphore, false);
    let batch = stage.at(1);
    let mut step = batch.step();
    let keys = [&b"none"[..], b"free", b"held"];
    let mut locked = step.lock_any_all(0, keys.into_iter());
    assert!(locked.is_any_in_use(0, keys.into_iter()));
    assert!(!locked.is_any_in_use(0, keys[..2].iter().copied()));
}

#[test]
fn the_keys_of_a_session_are_gone_when_it_ends() {
    let stage = Stage::new();
    stage.tie(b"a");
    stage.tie(b"b");
    stage.tie(b"c");
    stage.on(b"c", |slot| slot.put(ValueRef::Int(1), Deadline::None));
    stage.engine.coordinator.close(SESSION);
    assert_eq!(stage.keys(), [b"c"]);
    let batch = stage.at(1);
    let random = batch.step().random_key(0, || 5);
    assert_eq!(random.as_deref(), Some(&b"c"[..]));
    let mut met = 0;
    while batch.step().scan(0, 0, 100, |_| met += 1) != 0 {}
    assert_eq!(met, 1);
    drop(batch);
    assert_eq!(stage.removals(), 0, "nobody opened one yet");
    assert!(!stage.on(b"a", |slot| slot.exists()));
    assert_eq!(stage.removals(), 1);
}

/// Goes red when one of the ways a tied key goes, or is written, does not tell the coordinator.
#[test]
fn a_key_written_otherwise_or_gone_no_longer_goes_with_its_session() {
    type Act = fn(&mut Slot<'_>);
    let acts: [Act; 5] = [
        |slot| slot.put(ValueRef::Int(1), Deadline::Keep),
        |slot| {
            slot.append(b"x");
        },
        |slot| {
            slot.write_range(0, b"x");
        },
        |slot| {
            slot.remove();
        },
        |slot| slot.set_deadline(Some(0)),
    ];
    for (nth, act) in acts.iter().enumerate() {
        let stage = Stage::new();
        stage.tie(b"k");
        assert_eq!(stage.engine.coordinator.tied(SESSION).len(), 1);
        stage.on(b"k", act);
        stage.on(b"k", |_| {});
        assert!(
            stage.engine.coordinator.tied(SESSION).is_empty(),
            "act {nth}"
        );
    }
    for free in [Free::Now, Free::Later] {
        let stage = Stage::new();
        stage.tie(b"k");
        stage.engine.alone(Now::default()).step().clear(0, free);
        assert!(stage.engine.coordinator.tied(SESSION).is_empty(), "a flush");
    }
    let stage = Stage::new();
    stage.tie(b"k");
    stage.on(b"k", |slot| slot.set_deadline(Some(5)));
    Sweeper::new(0, 1).run(&stage.at(6), usize::MAX, &mut Tally::default());
    assert!(
        stage.engine.coordinator.tied(SESSION).is_empty(),
        "the sweeper"
    );
}

#[test]
fn memory_comes_back_when_extras_go() {
    let stage = Stage::new();
    let held = || stage.engine.ledger().bytes(Account::Store);
    stage.on(b"other", |slot| slot.put(ValueRef::Int(1), Deadline::None));
    stage.on(b"k", |slot| slot.put(ValueRef::Int(1), Deadline::None));
    let before = held();
    stage.on(b"k", |slot| slot.tie(SESSION));
    assert!(held() >= before + 64, "{} {before}", held());
    stage.on(b"k", |slot| slot.put(ValueRef::Int(1), Deadline::None));
    assert_eq!(held(), before);
}

/// Goes red when extras do not spare their entries, and does not end when shards with nothing but
/// such entries count as occupied.
#[test]
fn what_has_extras_is_not_evicted() {
    for policy in [
        Policy::AllKeysLru,
        Policy::AllKeysRandom,
        Policy::VolatileTtl,
    ] {
        let stage = Stage::new();
        for number in 0u64..2_000 {
            let key = number.to_le_bytes();
            stage.on(&key, |slot| {
                if number % 2 == 0 {
                    slot.put(ValueRef::Bytes(&[b'v'; 100]), Deadline::At(1 << 40));
                }
                slot.raise_fence(number);
            });
        }
        stage.on(b"plain", |slot| {
            slot.put(ValueRef::Int(1), Deadline::At(1 << 40));
        });
        stage.engine.set_bound(Bound {
            bytes_max: 1,
            policy,
            ..Bound::default()
        });
        let batch = stage.at(1);
        assert!(!batch.step().make_room(Need::UNFORESEEN));
        assert_eq!(batch.step().len(0), 2_000);
    }
}

#[test]
fn a_watched_key_changes_with_its_marks() {
    let stage = Stage::new();
    type Act = fn(&Stage);
    let acts: [Act; 5] = [
        |stage| stage.on(b"k", |slot| slot.raise_fence(3)),
        |stage| stage.tie(b"k"),
        |stage| {
            stage.on(b"k", |slot| slot.remove());
        },
        |stage| stage.mark(b"k", Kind::Lock, true),
        |stage| stage.engine.coordinator.remove(0, b"k"),
    ];
    for (nth, act) in acts.iter().enumerate() {
        let watched = stage.at(1).step().lock_any(0, b"k").watch(0, b"k");
        assert!(!stage.at(1).step().any_changed([&watched]));
        act(&stage);
        assert!(stage.at(1).step().any_changed([&watched]), "act {nth}");
        stage.at(1).step().unwatch(watched);
    }
}

/// Several raise the fence of one key to numbers of their own, as fast as they can: it is never
/// seen to go down, and its frames rise.
#[test]
fn a_fence_never_goes_down_under_many_threads() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 5_000;
    let recorder = Arc::new(Recorder::new());
    let options = Options {
        workers: THREADS as usize,
        ..Options::default()
    };
    let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
    let fenced_write = |side: u64, fence: u64, seen: &mut u64| {
        let batch = engine.shared(side as usize, Now::default());
        let mut step = batch.step();
        let mut locked = step.lock_any(0, b"k");
        let mut slot = locked.slot(0, b"k");
        let before = slot.fence().unwrap_or(0);
        assert!(before >= *seen, "the fence went down");
        if fence >= before {
            slot.put(ValueRef::Int(fence.cast_signed()), Deadline::None);
            slot.raise_fence(fence);
        }
        *seen = slot.fence().unwrap_or(0);
    };
    std::thread::scope(|scope| {
        for side in 0..THREADS {
            let fenced_write = &fenced_write;
            scope.spawn(move || {
                let mut seen = 0;
                (1..ROUNDS).for_each(|round| fenced_write(side, round * THREADS + side, &mut seen));
            });
        }
    });
    let frames = recorder.take();
    let mut last = 0;
    for effect in frames.iter().flat_map(Frame::effects) {
        if let Effect::Fence { fence, .. } = effect {
            assert!(fence > last, "a fence out of order");
            last = fence;
        }
    }
    assert_eq!(last, (ROUNDS - 1) * THREADS + THREADS - 1);
}

/// What is done to one of a few keys.
#[derive(Clone, Debug)]
enum Op {
    Put(u8, Option<u64>),
    PutFenced(u8, u64),
    PutTied(u8),
    Append(u8),
    Fence(u8, u64),
    Deadline(u8, Option<u64>),
    Remove(u8),
    Clear,
    Time(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || 0u8..4;
    let at = || prop::option::of(1u64..60);
    let op = prop_oneof![
        3 => (key(), at()).prop_map(|(key, at)| Op::Put(key, at)),
        4 => (key(), 0u64..9).prop_map(|(key, fence)| Op::PutFenced(key, fence)),
        3 => key().prop_map(Op::PutTied),
        2 => key().prop_map(Op::Append),
        3 => (key(), 0u64..9).prop_map(|(key, fence)| Op::Fence(key, fence)),
        2 => (key(), at()).prop_map(|(key, at)| Op::Deadline(key, at)),
        2 => key().prop_map(Op::Remove),
        1 => Just(Op::Clear),
        2 => (1u64..20).prop_map(Op::Time),
    ];
    prop::collection::vec(op, 1..80)
}

/// What a key is, in the plainest way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plain {
    value: Option<Vec<u8>>,
    deadline_ms: Option<u64>,
    fence: Option<u64>,
    tied: bool,
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<u8, Plain>,
    now_ms: u64,
}

impl Model {
    fn run(&mut self, op: &Op) {
        match *op {
            Op::Put(key, deadline_ms) => self.put(key, deadline_ms, false),
            Op::PutFenced(key, fence) => {
                self.put(key, None, false);
                self.raise(key, fence);
            }
            Op::PutTied(key) => self.put(key, None, true),
            Op::Append(key) => {
                if let Some(plain) = self.keys.get_mut(&key)
                    && let Some(value) = &mut plain.value
                {
                    value.push(b'+');
                    plain.tied = false;
                }
            }
            Op::Fence(key, fence) => self.raise(key, fence),
            Op::Deadline(key, deadline_ms) => {
                if let Some(plain) = self.keys.get_mut(&key)
                    && plain.value.is_some()
                {
                    plain.deadline_ms = deadline_ms;
                }
            }
            Op::Remove(key) => {
                self.keys.remove(&key);
            }
            Op::Clear => self.keys.clear(),
            Op::Time(ms) => self.now_ms += ms,
        }
        let now_ms = self.now_ms;
        self.keys
            .retain(|_, plain| plain.deadline_ms.is_none_or(|at| at > now_ms));
    }

    fn put(&mut self, key: u8, deadline_ms: Option<u64>, tied: bool) {
        let plain = self.keys.entry(key).or_default();
        (plain.value, plain.deadline_ms, plain.tied) = (Some(b"v".to_vec()), deadline_ms, tied);
    }

    fn raise(&mut self, key: u8, fence: u64) {
        let plain = self.keys.entry(key).or_default();
        plain.fence = plain.fence.max(Some(fence));
    }
}

fn run(engine: &Engine, now_ms: &mut u64, op: &Op) {
    let now = |wall_ms| Now {
        wall_ms,
        ..Now::default()
    };
    let value = ValueRef::Bytes(b"v");
    let on = |key: u8, act: &mut dyn FnMut(&mut Slot<'_>)| {
        let batch = engine.shared(0, now(*now_ms));
        let mut step = batch.step();
        act(&mut step.lock_any(0, &[key]).slot(0, &[key]));
    };
    let is_string = |slot: &Slot<'_>| slot.exists() && slot.kind().is_none();
    match *op {
        Op::Put(key, at) => on(key, &mut |slot| {
            slot.put(value, at.map_or(Deadline::None, Deadline::At));
        }),
        Op::PutFenced(key, fence) => on(key, &mut |slot| {
            slot.put(value, Deadline::None);
            slot.raise_fence(fence);
        }),
        Op::PutTied(key) => on(key, &mut |slot| {
            slot.put(value, Deadline::None);
            slot.tie(SESSION);
        }),
        Op::Append(key) => on(key, &mut |slot| {
            if is_string(slot) {
                slot.append(b"+");
            }
        }),
        Op::Fence(key, fence) => on(key, &mut |slot| slot.raise_fence(fence)),
        Op::Deadline(key, at) => on(key, &mut |slot| {
            if is_string(slot) {
                slot.set_deadline(at);
            }
        }),
        Op::Remove(key) => on(key, &mut |slot| {
            slot.remove();
        }),
        Op::Clear => {
            engine.alone(now(*now_ms)).step().clear(0, Free::Now);
        }
        Op::Time(ms) => *now_ms += ms,
    }
}

/// What is in the engine, and whether the coordinator knows of the ties.
fn plain(engine: &Engine, now_ms: u64) -> BTreeMap<u8, Plain> {
    let now = Now {
        wall_ms: now_ms,
        ..Now::default()
    };
    let batch = engine.shared(0, now);
    let mut step = batch.step();
    let mut keys = BTreeMap::new();
    for key in 0u8..4 {
        let name = &[key];
        let mut locked = step.lock_any(0, name);
        let slot = locked.slot(0, name);
        if slot.exists() {
            let is_string = slot.kind().is_none();
            let value = slot.value().filter(|_| is_string).map(|value| match value {
                ValueRef::Bytes(bytes) => bytes.to_vec(),
                ValueRef::Int(number) => number.to_string().into_bytes(),
            });
            let tied = engine.coordinator.tied(SESSION);
            let plain = Plain {
                value,
                deadline_ms: slot.deadline_ms(),
                fence: slot.fence(),
                tied: tied.contains(&(0, [key].into())),
            };
            keys.insert(key, plain);
        }
    }
    keys
}

proptest! {
    /// Strings, fences and ties are what a plain model says, in the engine, in one that its
    /// history was done again in, and in one that its snapshot was read into.
    #[test]
    fn random_histories_are_those_of_a_plain_model(ops in ops()) {
        let stage = Stage::new();
        let (mut model, mut now_ms) = (Model::default(), 0);
        for op in &ops {
            model.run(op);
            run(&stage.engine, &mut now_ms, op);
            prop_assert_eq!(&plain(&stage.engine, now_ms), &model.keys);
        }
        let twin = stage.twin();
        twin.coordinator.open(b"sid", SESSION);
        twin.resume_coordinator(Now::default());
        prop_assert_eq!(twin.state_hash(), stage.engine.state_hash());
        let mut cut = Vec::new();
        for shard in 0..2 {
            stage.at(0).step().cut(0, shard, &mut cut);
        }
        let reader = Stage::new().engine;
        prop_assert_eq!(reader.apply(&cut), Ok(()));
        prop_assert_eq!(reader.state_hash(), stage.engine.state_hash());
        prop_assert_eq!(&plain(&twin, now_ms), &model.keys);
        prop_assert_eq!(&plain(&reader, now_ms), &model.keys);
    }
}
