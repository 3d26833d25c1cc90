//! Histories that are cut short in every way, and what is found afterwards: always a state that the
//! history went through, and never one before what was safe.

use super::*;
use crate::clock::ManualClock;
use crate::engine::changes::{Change, DATABASES, SHARDS};
use crate::engine::{Options, Sink, ValueRef};
use crate::journal::disk::RealDisk;
use crate::journal::disk::sim::SimDisk;
use crate::journal::identity::{Random, Shape};
use crate::journal::log::{self, Log, Needs, Policy};
use crate::journal::snapshotting::Snapshotting;
use crate::journal::writer::{self, Turn, Writer};
use proptest::prelude::*;
use std::sync::Arc;

const SHAPE: Shape = Shape {
    shards: SHARDS as u32,
    databases: DATABASES,
};

fn engine(identity: &Identity, sink: Option<Box<dyn Sink>>) -> Engine {
    let options = Options {
        databases: identity.databases,
        shards: identity.shards as usize,
        hash_seed: identity.hash_seed,
        ..Options::default()
    };
    Engine::new(options, sink)
}

/// What happens.
#[derive(Clone, Debug)]
enum Op {
    Change(Change),
    /// The writer's turn.
    Turn,
    /// All is made safe.
    Sync,
    /// A snapshot is begun, cut by so many shards, or finished.
    Snapshot(usize),
    /// The process is killed: what was written stays.
    Kill,
    /// The power goes: what was synced stays, and some of the rest.
    Crash(u64),
    /// The process ends as it should.
    Stop,
}

fn ops(power: bool) -> impl Strategy<Value = Vec<Op>> {
    let power = u32::from(power);
    let op = prop_oneof![
        27 => Change::any().prop_map(Op::Change),
        6 => Just(Op::Turn),
        2 => Just(Op::Sync),
        8 => (1usize..6).prop_map(Op::Snapshot),
        1 => Just(Op::Kill),
        power => any::<u64>().prop_map(Op::Crash),
        1 => Just(Op::Stop),
    ];
    prop::collection::vec(op, 1..200)
}

/// An engine with its journal on a disk, and every state it went through.
struct Stage {
    disk: Arc<dyn Disk>,
    identity: Identity,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
    writer: Writer,
    engine: Engine,
    snapshotting: Option<Snapshotting>,
    /// The hash of the state behind each frame.
    states: Vec<u128>,
}

/// Recovers into an engine that is thrown away.
fn look(disk: &dyn Disk) -> Result<(Found, u128), Error> {
    let identity = Identity::load(disk)?.expect("it was made");
    let engine = engine(&identity, None);
    let found = recover(disk, &identity, &engine, DATABASES, &mut |_| {})?;
    Ok((found, engine.state_hash()))
}

impl Stage {
    fn new(disk: Arc<dyn Disk>) -> Self {
        Self::open(disk, Vec::new()).expect("a new directory")
    }

    /// Opens a directory whose history went through `states`.
    fn open(disk: Arc<dyn Disk>, mut states: Vec<u128>) -> Result<Self, Error> {
        let identity = Identity::begin(&*disk, Random::FIXED, SHAPE)?;
        let engine = engine(&identity, None);
        let found = recover(&*disk, &identity, &engine, DATABASES, &mut |_| {})?;
        identity.store(&*disk)?;
        let clock = Arc::new(ManualClock::default());
        let options = log::Options {
            workers: 1,
            number: found.end.number,
            policy: Policy::No,
            backlog_bytes_max: 1 << 20,
        };
        let log = Arc::new(Log::new(options, |_| {}));
        engine.set_sink(Box::new(Arc::clone(&log)), true);
        let options = writer::Options {
            id: identity.log_id(),
            segment_bytes_max: 512,
        };
        let dyn_clock = Arc::clone(&clock) as Arc<dyn crate::clock::Clock>;
        let (own_log, own_disk) = (Arc::clone(&log), Arc::clone(&disk));
        let writer = Writer::open(own_log, own_disk, dyn_clock, options, &found.end)
            .map_err(|source| Error::io("the log", source))?;
        states.truncate(found.end.number as usize);
        states.resize(found.end.number as usize, 0);
        states.push(engine.state_hash());
        Ok(Self {
            disk,
            identity,
            clock,
            log,
            writer,
            engine,
            snapshotting: None,
            states,
        })
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Turn => {
                self.clock.advance_ms(20);
                self.writer.turn();
            }
            Op::Sync => self.sync(),
            Op::Snapshot(shards) => {
                // It may fail once the power is off; it then leaves what it leaves.
                let _ = self.snapshot(*shards);
            }
            Op::Kill | Op::Crash(_) | Op::Stop => unreachable!("ends the process"),
            Op::Change(change) => {
                let number = self.log.numbered();
                change.make(&self.engine, Now::default(), number);
                let number = self.log.numbered() as usize;
                self.states.resize(number, 0);
                self.states.push(self.engine.state_hash());
            }
        }
    }

    /// Brings all to the disk and makes it safe, as far as that goes.
    fn sync(&mut self) {
        let numbered = self.log.numbered();
        self.log.request(Needs {
            written: numbered,
            synced: numbered,
        });
        while self.writer.turn() == Turn::Busy {}
    }

    /// Goes on with a snapshot, or begins one.
    fn snapshot(&mut self, shards: usize) -> Result<(), Error> {
        let Some(snapshotting) = &mut self.snapshotting else {
            let (disk, numbered) = (Arc::clone(&self.disk), self.log.numbered());
            let begun = Snapshotting::begin(disk, &self.identity, numbered, Now::default());
            self.snapshotting = Some(begun?);
            return Ok(());
        };
        let has_more = snapshotting.cut(&self.engine.shared(0, Now::default()), shards);
        snapshotting.write()?;
        if has_more {
            return Ok(());
        }
        let highest = snapshotting.seal()?;
        let synced = self.log.synced();
        let published = snapshotting.publish(&*self.disk, &self.identity, synced)?;
        assert_eq!(published.is_some(), synced >= highest);
        if published.is_some() {
            self.snapshotting = None;
        }
        Ok(())
    }

    /// What is found on a disk that this one left; answers the number of the last frame.
    fn check(&self, disk: &dyn Disk) -> u64 {
        let (found, hash) = look(disk).expect("nothing is damaged");
        let number = found.end.number;
        assert_eq!(
            Some(&hash),
            self.states.get(number as usize),
            "frame {number}"
        );
        let (again, _) = look(disk).expect("nothing is damaged");
        assert_eq!(
            (again.end.number, again.end.torn),
            (number, None),
            "it was cut"
        );
        assert_eq!(snapshot::unfinished(disk).unwrap(), [""; 0]);
        assert!(snapshot::list(disk).unwrap().len() <= 1);
        number
    }
}

proptest! {
    /// Goes red when a snapshot is published before the log is safe up to it, when shards or the
    /// map are taken to be cut earlier or later than they were, when a shard that was emptied is
    /// left out, and when file or directory are not synced before older snapshots and segments go.
    #[test]
    fn whatever_happens_a_state_of_the_history_is_found(ops in ops(true)) {
        let mut sim = SimDisk::new();
        let mut stage = Stage::new(Arc::new(sim.clone()));
        for op in &ops {
            let after = match op {
                Op::Kill => sim.kill(),
                Op::Crash(seed) => sim.crash(*seed),
                Op::Stop => {
                    stage.sync();
                    sim.clone()
                }
                op => {
                    stage.run(op);
                    continue;
                }
            };
            let least = match op {
                Op::Crash(_) => stage.log.synced(),
                _ => stage.log.written(),
            };
            let Stage { log, writer, states, engine, snapshotting, .. } = stage;
            drop(snapshotting);
            if matches!(op, Op::Stop) {
                prop_assert!(writer.close().is_ok());
                prop_assert_eq!(log.synced(), log.numbered());
                let (found, hash) = look(&after).expect("it was closed");
                prop_assert!(found.is_clean);
                prop_assert_eq!(hash, engine.state_hash());
            }
            sim = after;
            let behind = states.clone();
            stage = Stage::open(Arc::new(sim.clone()), states).expect("nothing is damaged");
            let number = stage.log.numbered();
            prop_assert!(number >= least, "{number} < {least}");
            prop_assert_eq!(stage.states.last(), behind.get(number as usize));
        }
    }

}

proptest! {
    // Each waits for the device often.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The same on a file system.
    #[test]
    fn a_killed_process_leaves_a_state_of_its_history(ops in ops(false)) {
        let dir = std::env::temp_dir().join(format!("linchpin-recover-{}", std::process::id()));
        let disk = crate::journal::identity::open_directory(&dir).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let mut stage = Stage::new(Arc::clone(&disk));
        for op in &ops {
            if !matches!(op, Op::Kill | Op::Crash(_) | Op::Stop) {
                stage.run(op);
                continue;
            }
            stage.sync();
            // A process that is killed removes nothing.
            std::mem::forget(stage.snapshotting.take());
            let (numbered, hash) = (stage.log.numbered(), stage.engine.state_hash());
            let states = stage.states;
            drop(stage.writer);
            stage = Stage::open(Arc::clone(&disk), states).expect("nothing is damaged");
            prop_assert_eq!(stage.log.numbered(), numbered);
            prop_assert_eq!(stage.engine.state_hash(), hash);
        }
        drop(stage);
        drop(RealDisk::open(&dir).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// Some history with two snapshots, all of it safe but for what `ending` leaves.
fn history(disk: &SimDisk) -> Stage {
    let mut stage = Stage::new(Arc::new(disk.clone()));
    before_snapshots(&mut stage);
    while snapshots(&mut stage) {}
    stage
}

fn before_snapshots(stage: &mut Stage) {
    for key in 0..12 {
        stage.run(&Op::Change(Change::Put(
            u32::from(key) % DATABASES,
            key,
            None,
        )));
    }
    stage.run(&Op::Change(Change::Swap(0, 1)));
    stage.sync();
}

/// The next thing that happens while snapshots are taken; false when two stand.
fn snapshots(stage: &mut Stage) -> bool {
    let number = stage.log.numbered() as u8;
    let db = u32::from(number) % DATABASES;
    stage.run(&Op::Change(Change::Append(db, number % 12)));
    stage.run(&Op::Change(Change::Both(db, number % 5, number % 7)));
    if number.is_multiple_of(8) {
        stage.run(&Op::Change(Change::Swap(0, 2)));
        stage.run(&Op::Change(Change::Clear(1)));
    }
    if number.is_multiple_of(3) {
        stage.sync();
    }
    stage.run(&Op::Snapshot(2));
    number < 80
}

#[test]
fn power_that_goes_at_any_call_of_a_snapshot_costs_nothing_that_was_safe() {
    for call in 0.. {
        let disk = SimDisk::new();
        let mut stage = Stage::new(Arc::new(disk.clone()));
        before_snapshots(&mut stage);
        disk.power_off_at(disk.calls() + call);
        while !disk.is_off() && snapshots(&mut stage) {}
        if !disk.is_off() {
            assert!(call > 60, "{call} calls are no two snapshots");
            break;
        }
        // Before anything is dropped: a process without power removes nothing.
        for seed in 0..6 {
            let number = stage.check(&disk.crash(seed));
            assert!(number >= stage.log.synced(), "call {call}, seed {seed}");
        }
        let number = stage.check(&disk.kill());
        assert!(number >= stage.log.written(), "call {call}");
    }
}

/// A disk that fails costs the snapshot, never what stands; one that has no room, or writes less
/// than it is told, neither.
#[test]
fn a_snapshot_that_fails_leaves_what_stood_and_nothing_else() {
    use crate::journal::disk::sim::{Call, Fault};
    for call in [
        Call::Create,
        Call::Write,
        Call::Sync,
        Call::Rename,
        Call::SyncDir,
        Call::Remove,
    ] {
        for fault in [Fault::Io, Fault::Full, Fault::Short(3)] {
            let disk = SimDisk::new();
            let mut stage = history(&disk);
            stage.sync();
            stage.snapshotting = None;
            disk.fail(call, 0, fault);
            let outcome: Result<(), Error> = (0..20).try_for_each(|_| stage.snapshot(4));
            assert!(outcome.is_err() || fault != Fault::Io, "{call:?}");
            stage.snapshotting = None;
            assert_eq!(
                snapshot::unfinished(&disk).unwrap(),
                [""; 0],
                "{call:?} {fault:?}"
            );
            assert_eq!(stage.check(&disk.kill()), stage.log.numbered());
            assert_eq!(stage.check(&disk.crash(1)), stage.log.numbered());
        }
    }
}

/// What is found when a file has other bytes: a state of the history, or a refusal that leaves
/// everything as it was.
fn with_bytes(disk: &SimDisk, stage: &Stage, name: &str, bytes: &[u8]) -> Result<u64, u8> {
    disk.put(name, bytes);
    match look(disk) {
        Ok((found, hash)) => {
            let number = found.end.number;
            assert_eq!(Some(&hash), stage.states.get(number as usize));
            Ok(number)
        }
        Err(error) => {
            assert!(error.to_string().contains(name) || error.to_string().contains("log-"));
            assert_eq!(disk.contents(name).unwrap(), bytes, "{error}");
            Err(error.exit_code())
        }
    }
}

#[test]
fn no_flipped_bit_of_snapshot_or_log_shows_a_wrong_value() {
    let disk = SimDisk::new();
    let mut stage = history(&disk);
    stage.sync();
    let names: Vec<String> = disk.list().unwrap();
    let names = names.iter().filter(|name| *name != "identity");
    let (mut refused, mut cut) = (0, 0);
    for name in names {
        let bytes = disk.contents(name).unwrap();
        let bits = bytes.len() * 8;
        // Every bit of the first kilobyte, and 4,096 of the others.
        let stride = (bits / 4_096).max(1);
        for bit in (0..bits).filter(|bit| *bit < 8_192 || bit % stride == 0) {
            let fresh = disk.kill();
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match with_bytes(&fresh, &stage, name, &flipped) {
                Err(65) => refused += 1,
                Err(code) => panic!("bit {bit} of {name}: exit code {code}"),
                Ok(number) => {
                    assert!(name.starts_with("log-"), "bit {bit} of {name}");
                    let synced = stage.log.synced();
                    assert_eq!(number, synced, "bit {bit} of {name}: safe frames are gone");
                    cut += 1;
                }
            }
        }
    }
    assert!(refused > 4_096 && cut < refused, "{refused} {cut}");
}

/// It looks like the torn tail of a crash then, and holds no change.
#[test]
fn damage_to_the_closing_record_costs_nothing() {
    use crate::journal::frame::MARK_FRAME_BYTES;
    let disk = SimDisk::new();
    let stage = history(&disk);
    let (numbered, hash) = (stage.log.numbered(), stage.engine.state_hash());
    stage.writer.close().unwrap();
    let last = segment::list(&disk).unwrap().pop().unwrap().name;
    let bytes = disk.contents(&last).unwrap();
    let (closed, state) = look(&disk.kill()).unwrap();
    assert!(closed.is_clean && state == hash);
    let end = (closed.end.position - segment::parse_name(&last).unwrap()) as usize;
    for bit in (end - MARK_FRAME_BYTES) * 8..end * 8 {
        let fresh = disk.kill();
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fresh.put(&last, &flipped);
        match look(&fresh) {
            Ok((found, state)) => {
                assert_eq!((found.end.number, state), (numbered, hash), "bit {bit}");
                assert!(!found.is_clean && found.end.torn.is_some(), "bit {bit}");
            }
            // It may look like the frame of a newer program.
            Err(error) => assert_eq!(error.exit_code(), 78, "bit {bit}: {error}"),
        }
    }
}

#[test]
fn a_snapshot_cut_anywhere_is_refused_and_so_is_a_log_that_ends_before_it() {
    let disk = SimDisk::new();
    let stage = history(&disk);
    let named = snapshot::list(&disk).unwrap().pop().unwrap();
    let bytes = disk.contents(&named.name).unwrap();
    for len in 0..bytes.len() {
        let fresh = disk.kill();
        let outcome = with_bytes(&fresh, &stage, &named.name, &bytes[..len]);
        assert_eq!(outcome, Err(65), "{len} bytes");
    }
    for segment in segment::list(&disk).unwrap() {
        disk.remove(&segment.name).unwrap();
    }
    let error = look(&disk).unwrap_err();
    assert!(
        error.to_string().contains("the snapshot needs it"),
        "{error}"
    );
}

#[test]
fn a_log_without_the_snapshot_it_needs_is_refused() {
    let disk = SimDisk::new();
    history(&disk);
    let named = snapshot::list(&disk).unwrap().pop().unwrap();
    disk.remove(&named.name).unwrap();
    let error = look(&disk).unwrap_err();
    assert!(error.to_string().contains("begins behind frame"), "{error}");
    assert_eq!(error.exit_code(), 65);
}

#[test]
fn more_databases_are_fine_and_fewer_as_long_as_they_have_no_keys() {
    let disk = SimDisk::new();
    let mut stage = history(&disk);
    stage.run(&Op::Change(Change::Put(1, 3, None)));
    stage.sync();
    let before = stage.engine.state_hash();
    let more = Shape {
        databases: 5,
        ..SHAPE
    };
    let identity = Identity::begin(&disk, Random::FIXED, more).unwrap();
    let with = |databases| {
        let engine = engine(&identity, None);
        recover(&disk, &identity, &engine, databases, &mut |_| {}).map(|_| engine.state_hash())
    };
    assert_eq!(with(5).unwrap(), before);
    assert_eq!(with(DATABASES).unwrap(), before);
    let error = with(1).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert_eq!(
        error.to_string(),
        "databases 1: the data directory has keys in database 2; set databases to at least 3"
    );
}

#[test]
fn progress_ends_with_all() {
    let disk = SimDisk::new();
    let stage = history(&disk);
    let engine = engine(&stage.identity, None);
    let mut last = Progress::default();
    recover(
        &disk,
        &stage.identity,
        &engine,
        DATABASES,
        &mut |progress| {
            assert!(progress.bytes_done >= last.bytes_done);
            last = progress;
        },
    )
    .unwrap();
    assert!(last.bytes_done > 0 && last.bytes_done <= last.bytes_total);
}

/// Fills a directory with a log of `puts` frames, over `keys` keys.
fn log_of(dir: &std::path::Path, puts: u64, keys: u64, value: &[u8]) -> (Arc<dyn Disk>, Identity) {
    use crate::engine::Effect;
    use crate::journal::{frame, identity::open_directory};
    let _ = std::fs::remove_dir_all(dir);
    let disk: Arc<dyn Disk> = Arc::new(open_directory(dir).unwrap());
    let shape = Shape {
        shards: 1_024,
        databases: 16,
    };
    let identity = Identity::begin(&*disk, Random::FIXED, shape).unwrap();
    identity.store(&*disk).unwrap();
    let header = segment::Header {
        id: identity.log_id(),
        base: 0,
        number: 0,
        synced: 0,
    };
    let file = disk.create(&segment::name(0)).unwrap();
    let (mut bytes, mut offset) = (header.encode().to_vec(), 0);
    for number in 1..=puts {
        let key = format!(
            "key:{:012}",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys
        );
        let mut payload = Vec::new();
        Effect::put(0, key.as_bytes(), ValueRef::Bytes(value), None).push_to(&mut payload);
        let start = bytes.len();
        frame::push_unsealed(&mut bytes, number, &payload);
        frame::seal(&mut bytes[start..]);
        if bytes.len() > 1 << 20 || number == puts {
            crate::journal::disk::write_all_at(&*file, offset, &bytes).unwrap();
            offset += bytes.len() as u64;
            bytes.clear();
        }
    }
    (disk, identity)
}

/// Recovers, and prints how long that took.
fn measure(what: &str, disk: &dyn Disk, identity: &Identity) -> Engine {
    use crate::clock::{Clock, SystemClock};
    let engine = engine(identity, None);
    let clock = SystemClock::new();
    let mut bytes = 0;
    let found = recover(disk, identity, &engine, 16, &mut |progress| {
        bytes = progress.bytes_done;
    });
    let us = clock.mono_us() as f64;
    let frames = found.unwrap().frames as f64;
    let line = format!(
        "{what}: {:.2} s, {:.2} M frames/s, {:.0} MB/s\n",
        us / 1e6,
        frames / us,
        bytes as f64 / us
    );
    use std::io::Write;
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    engine
}

/// Measures, in release mode and on a quiet machine: `cargo test --release -p linchpin-server --lib
/// slow_recovery -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and takes gigabytes"]
fn slow_recovery() {
    use crate::clock::{Clock, SystemClock};
    let dir = std::env::temp_dir().join(format!("linchpin-speed-{}", std::process::id()));
    let say = |what: &str, us: u64| {
        use std::io::Write;
        let line = format!("{what}: {:.2} ms\n", us as f64 / 1e3);
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    for (what, puts, keys, value_len) in [
        ("log, small, few keys", 5_000_000, 100_000, 8),
        ("log, 1 KiB", 1_000_000, 1_000_000, 1_024),
        ("log, 1 KiB, few keys", 1_000_000, 10_000, 1_024),
        ("log, small, 5M keys", 5_000_000, 5_000_000, 8),
    ] {
        let (disk, identity) = log_of(&dir, puts, keys, &vec![b'v'; value_len]);
        let engine = measure(what, &*disk, &identity);
        if keys < 5_000_000 {
            continue;
        }
        let clock = SystemClock::new();
        let now = Now::default();
        let begun = Snapshotting::begin(Arc::clone(&disk), &identity, puts, now);
        let mut snapshotting = begun.unwrap();
        let mut longest_us = 0;
        loop {
            let start_us = clock.mono_us();
            let has_more = snapshotting.cut(&engine.shared(0, now), 1);
            longest_us = longest_us.max(clock.mono_us() - start_us);
            snapshotting.write().unwrap();
            if !has_more {
                break;
            }
        }
        snapshotting.seal().unwrap();
        say("snapshot, 5M keys", clock.mono_us());
        say("longest cut", longest_us);
        snapshotting
            .publish(&*disk, &identity, puts)
            .unwrap()
            .unwrap();
        disk.remove(&segment::name(0)).unwrap();
        drop(engine);
        measure("snapshot load, 5M keys", &*disk, &identity);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
