//! Every interleaving of a few steps: locks, visibility, and the order of frames.
//!
//! Each step adds one byte to the values of the keys it names, so that a value is the history of
//! its key and a frame tells what its step saw.

use super::*;
use crate::engine::{Effect, Frame, Options, Recorder};
use loom::thread;
use std::collections::HashMap;
use std::sync::Arc;

const NOW: Now = Now {
    wall_ms: 1_000,
    wall_sub_us: 0,
    engine_ms: 0,
    mono_us: 0,
};

/// An engine with one database of two shards and a key in each.
struct Stage {
    engine: Engine,
    recorder: Arc<Recorder>,
    a: [u8; 1],
    b: [u8; 1],
}

impl Stage {
    fn new(workers: usize) -> Arc<Self> {
        let recorder = Arc::new(Recorder::new());
        let options = Options {
            databases: 1,
            workers,
            shards: 2,
            hash_seed: 1,
        };
        let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
        let in_shard = |shard| {
            let is_there = |key: &u8| {
                let hash = engine.hasher.hash(&[*key]);
                engine.shared(0, NOW).step().database(0).shard_of(hash) == shard
            };
            [(b'a'..=b'z')
                .find(is_there)
                .expect("a letter for each shard")]
        };
        let (a, b) = (in_shard(0), in_shard(1));
        // Made before there are threads: that a `OnceLock` publishes what it holds, loom does not
        // see.
        engine.shared(0, NOW).step().database(0).shards();
        Arc::new(Self {
            engine,
            recorder,
            a,
            b,
        })
    }

    /// Runs `body` on a thread of its own.
    fn spawn<R: 'static>(
        self: &Arc<Self>,
        body: impl FnOnce(&Self) -> R + 'static,
    ) -> thread::JoinHandle<R> {
        let stage = Arc::clone(self);
        thread::spawn(move || body(&stage))
    }

    /// One step of a shared batch that adds `mark` to all `keys`; answers what they were.
    fn add(&self, side: usize, keys: &[&[u8]], mark: u8) -> Vec<Vec<u8>> {
        let batch = self.engine.shared(side, NOW);
        let mut step = batch.step();
        let mut locked = match keys {
            [key] => step.lock_any(0, key),
            keys => step.lock_any_all(0, keys.iter().copied()),
        };
        let add = |key: &&[u8]| add_mark(&mut locked.slot(0, key), mark);
        keys.iter().map(add).collect()
    }

    /// What `EXEC` does: alone, one key after the other.
    fn add_alone(&self, keys: &[&[u8]], mark: u8) {
        let batch = self.engine.alone(NOW);
        let mut step = batch.step();
        for key in keys {
            add_mark(&mut step.lock_any(0, key).slot(0, key), mark);
        }
    }

    fn value(&self, key: &[u8]) -> Vec<u8> {
        let batch = self.engine.shared(0, NOW);
        let mut step = batch.step();
        text(&step.lock_any(0, key).slot(0, key))
    }

    /// The frames, in the order of the sink, must tell a history in which every step saw exactly
    /// what the frames before its own had left, and which ends at the state that is there.
    fn check_frames(&self) {
        let mut history: HashMap<Box<[u8]>, Vec<u8>> = HashMap::new();
        let frames = self.recorder.take();
        for effect in frames.iter().flat_map(Frame::effects) {
            match effect {
                Effect::PutBytes { key, bytes, .. } => {
                    let before = history.entry(key.into()).or_default();
                    assert_eq!(before[..], bytes[..bytes.len() - 1], "a frame out of order");
                    *before = bytes.into();
                }
                Effect::Clear { .. } => history.clear(),
                other => panic!("no step here leaves {other:?}"),
            }
        }
        for key in [self.a, self.b] {
            assert_eq!(
                self.value(&key),
                history.remove(&key[..]).unwrap_or_default(),
                "the frames do not lead here"
            );
        }
    }
}

fn text(slot: &Slot<'_>) -> Vec<u8> {
    match slot.value() {
        None => Vec::new(),
        Some(ValueRef::Bytes(bytes)) => bytes.to_vec(),
        Some(ValueRef::Int(_)) => unreachable!("only bytes are put here"),
    }
}

fn add_mark(slot: &mut Slot<'_>, mark: u8) -> Vec<u8> {
    let before = text(slot);
    let after = [&before[..], &[mark]].concat();
    slot.put(ValueRef::Bytes(&after), Deadline::Keep);
    before
}

/// Two steps name the same two shards in opposite order while a third changes one of them. Goes red
/// when `lock_each` does not sort (they wait for each other), and when `Locked` unlocks before it
/// commits (frames out of order).
#[test]
fn steps_over_the_same_shards_end_and_their_frames_are_in_order() {
    loom::model(|| {
        let stage = Stage::new(3);
        let ab = stage.spawn(|stage| stage.add(0, &[&stage.a, &stage.b], b'1'));
        let ba = stage.spawn(|stage| stage.add(1, &[&stage.b, &stage.a], b'2'));
        stage.add(2, &[&stage.a], b'3');
        ab.join().unwrap();
        ba.join().unwrap();
        assert_eq!(stage.value(&stage.a).len(), 3, "a step was lost");
        assert_eq!(stage.value(&stage.b).len(), 2, "a step was lost");
        stage.check_frames();
    });
}

/// An `EXEC` locks key by key, alone, while others read and change the same keys in shared batches.
/// Goes red when `Gate::exclusive` leaves out a side (half of the `EXEC` is seen, and its frame,
/// committed when all its shards are unlocked, is out of order).
#[test]
fn an_exec_is_seen_whole_and_its_frame_is_in_order() {
    loom::model(|| {
        let stage = Stage::new(2);
        let exec = stage.spawn(|stage| stage.add_alone(&[&stage.a, &stage.b], b'x'));
        let beside = stage.spawn(|stage| stage.add(0, &[&stage.b], b'1'));
        let seen = stage.add(1, &[&stage.b, &stage.a], b'2');
        let has_exec = |value: &Vec<u8>| value.contains(&b'x');
        assert_eq!(has_exec(&seen[0]), has_exec(&seen[1]), "half an EXEC");
        exec.join().unwrap();
        beside.join().unwrap();
        stage.check_frames();
    });
}

/// A database is emptied while others write into it. Goes red when `Gate::replace` leaves out a
/// side (a write goes into the database that was thrown away).
#[test]
fn no_write_goes_into_a_database_that_was_emptied() {
    loom::model(|| {
        let stage = Stage::new(2);
        let clear = stage.spawn(|stage| {
            let batch = stage.engine.alone(NOW);
            batch.step().clear(0, Free::Now);
        });
        let beside = stage.spawn(|stage| drop(stage.add(0, &[&stage.a], b'1')));
        stage.add(1, &[&stage.a], b'2');
        clear.join().unwrap();
        beside.join().unwrap();
        stage.add(1, &[&stage.a], b'3');
        stage.check_frames();
    });
}
