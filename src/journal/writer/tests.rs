//! The writer driven by hand over the simulated disk.

use super::*;
use crate::clock::ManualClock;
use crate::journal::disk::RealDisk;
use crate::journal::disk::sim::{Call, Chance, Fault, SimDisk};
use crate::journal::log::{self, Admission, Needs};
use crate::journal::segment::{LogError, Reader};

const ID: LogId = LogId {
    history: [1; 16],
    secret: 0x1234_5678_9abc_def0,
};
const SMALL_SEGMENT: u64 = 4_096;

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
    writer: Writer,
    told: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn new(segment_bytes_max: u64) -> Self {
        Self::over(SimDisk::new(), &End::default(), segment_bytes_max).expect("an empty disk works")
    }

    fn over(disk: SimDisk, end: &End, segment_bytes_max: u64) -> io::Result<Self> {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        disk.set_clock(Arc::clone(&clock));
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let options = log::Options {
            workers: 2,
            number: end.number,
            policy: Policy::Always,
            backlog_bytes_max: 64 * 1024 * 1024,
        };
        let log = Arc::new(Log::new(options, move |why| {
            tell.lock().push(why.to_owned());
        }));
        let options = Options {
            id: ID,
            segment_bytes_max,
        };
        let of_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let of_disk = Arc::new(disk.clone());
        let writer = Writer::open(Arc::clone(&log), of_disk, of_clock, options, end)?;
        Ok(Self {
            disk,
            clock,
            log,
            writer,
            told,
        })
    }

    /// Turns until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if let Turn::Idle { .. } = self.writer.turn() {
                return;
            }
        }
        panic!("the writer is never done: {:?}", self.log);
    }

    fn commit_and_ask(&mut self, side: usize, payload: &[u8], is_synced: bool) -> u64 {
        let written = self.log.commit(side, payload);
        let synced = if is_synced { written } else { 0 };
        self.log.request(Needs { written, synced });
        written
    }
}

/// The payload of frame `number`, from which what is read back is checked.
fn payload(number: u64) -> Vec<u8> {
    let len = 1 + Chance(number).below(200) as usize;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Reads a log of which every payload is [`payload`] of its number.
fn read(disk: &SimDisk) -> Result<End, LogError> {
    let mut reader = Reader::new(disk, ID)?;
    let mut number = 0;
    while let Some(entry) = reader.next()? {
        if entry.kind == Kind::Effects {
            number += 1;
            assert_eq!(entry.number, number, "a gap");
            assert_eq!(entry.payload, payload(number), "another frame");
        }
    }
    Ok(reader.end().clone())
}

#[test]
fn one_write_and_one_sync_serve_all_that_wait() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    for number in 1..=9 {
        assert_eq!(
            rig.log.commit(number as usize % 2, &payload(number)),
            number
        );
    }
    assert_eq!((rig.log.numbered(), rig.log.written()), (9, 0));
    rig.log.request(Needs {
        written: 9,
        synced: 9,
    });
    rig.settle();
    assert_eq!((rig.log.written(), rig.log.synced()), (9, 9));
    let figures = rig.log.figures();
    assert_eq!((figures.frames, figures.syncs), (9, 1));
    assert_eq!(
        figures.writes, 2,
        "the batch, and the mark that tells of the sync"
    );
    assert_eq!((figures.queued, figures.queued_bytes), (0, 0));
    rig.settle();
    assert_eq!(
        rig.log.figures(),
        figures,
        "the mark causes no sync and no other mark"
    );
    let end = read(&rig.disk.kill()).unwrap();
    let mark = end.mark.unwrap();
    assert_eq!(
        mark.synced, mark.position,
        "all before the mark is known to be safe"
    );
}

#[test]
fn a_sync_is_made_only_where_somebody_waits_for_one() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    assert_eq!((rig.log.written(), rig.log.synced()), (1, 0));
    rig.log.set_policy(Policy::EverySecond);
    rig.writer.shared.sync_every_second();
    assert_eq!(rig.log.synced(), 1);
    rig.settle();
    rig.writer.shared.sync_every_second();
    let figures = rig.log.figures();
    assert_eq!((figures.syncs, figures.writes), (1, 2));
}

#[test]
fn frames_nobody_waits_for_are_written_soon() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.log.commit(0, &payload(1));
    rig.log.request(Needs::default());
    assert_eq!(rig.writer.turn(), Turn::Idle { pause_us: 10_000 });
    rig.clock.advance_ms(9);
    assert_eq!(rig.writer.turn(), Turn::Idle { pause_us: 1_000 });
    rig.clock.advance_ms(1);
    assert_eq!(rig.writer.turn(), Turn::Busy);
    assert_eq!(rig.log.written(), 1);
    for number in 2..=1_000 {
        rig.log.commit(0, &payload(number));
    }
    assert_eq!(rig.writer.turn(), Turn::Busy, "64 KiB do not wait");
    assert_eq!(rig.log.written(), 1_000);
}

#[test]
fn segments_follow_each_other_and_a_new_start_begins_one() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    for number in 1..=300 {
        rig.commit_and_ask(0, &payload(number), number % 7 == 0);
        rig.settle();
    }
    assert!(segment::list(&rig.disk).unwrap().len() > 5);
    let disk = rig.disk.kill();
    let end = read(&disk).unwrap();
    assert_eq!((end.number, end.position), (300, rig.writer.position()));
    let mut again = Rig::over(disk, &end, SMALL_SEGMENT).unwrap();
    assert_eq!((again.log.written(), again.log.synced()), (300, 300));
    assert_eq!(again.commit_and_ask(1, &payload(301), true), 301);
    again.settle();
    assert_eq!(read(&again.disk.crash(1)).unwrap().number, 301);
}

#[test]
fn a_frame_larger_than_a_batch_and_a_segment_goes_through() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    let large = vec![5; 3 * BATCH_BYTES_MAX];
    let number = rig.commit_and_ask(0, &large, true);
    rig.settle();
    assert_eq!(rig.log.synced(), number);
    let disk = rig.disk.crash(0);
    let mut reader = Reader::new(&disk, ID).unwrap();
    reader.next().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().payload, large);
}

/// A disk fills up: writes are refused before they are done, small ones later than large ones, and
/// within a second of new room all is as before.
#[test]
fn a_full_disk_refuses_writes_before_they_are_done_and_heals() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.disk.set_space(4 * 1024 * 1024);
    assert_eq!(
        rig.log.admit(8 * 1024 * 1024),
        Admission::Behind,
        "the disk is asked first"
    );
    rig.settle();
    assert_eq!(rig.log.admit(8 * 1024 * 1024), Admission::Full);
    let (mut number, mut refused) = (0, false);
    for _ in 0..100_000 {
        match rig.log.admit(200) {
            Admission::Ok => {
                number += 1;
                rig.commit_and_ask(0, &payload(number), true);
                rig.settle();
                assert_eq!(rig.log.synced(), number, "what is admitted is done");
            }
            Admission::Behind => rig.settle(),
            other => {
                refused = other == Admission::Full;
                break;
            }
        }
        rig.clock.advance_ms(1);
    }
    assert!(refused, "the disk never filled up");
    assert!(rig.disk.allocated() <= 4 * 1024 * 1024);
    assert_eq!(rig.log.stuck_since_us(), None);
    rig.disk.set_space(u64::MAX);
    rig.clock.advance_ms(1_000);
    rig.settle();
    assert_eq!(rig.log.admit(200), Admission::Ok);
    assert_eq!(read(&rig.disk.kill()).unwrap().number, number);
}

#[test]
fn where_room_cannot_be_reserved_frames_wait_in_memory() {
    let disk = SimDisk::new();
    disk.set_can_reserve(false);
    let mut rig = Rig::over(disk, &End::default(), SEGMENT_BYTES_DEFAULT).unwrap();
    rig.disk.set_space(rig.disk.allocated() + 500);
    let mut number = 0;
    while rig.log.stuck_since_us().is_none() {
        assert_eq!(rig.log.admit(200), Admission::Ok);
        number += 1;
        rig.commit_and_ask(0, &payload(number), true);
        rig.clock.advance_ms(1);
        rig.settle();
    }
    let written = rig.log.written();
    assert!(written < number, "this one found no room");
    assert_eq!(rig.log.stuck_since_us(), Some(rig.clock.mono_us()));
    assert_eq!(rig.log.admit(1), Admission::Full);
    let end = read(&rig.disk.kill()).unwrap();
    assert_eq!(
        (end.number, end.torn),
        (written, None),
        "cut back to the last whole frame"
    );
    rig.clock.advance_ms(500);
    rig.disk.set_space(u64::MAX);
    rig.settle();
    assert_eq!(rig.log.written(), written, "tried again every second");
    rig.clock.advance_ms(500);
    rig.settle();
    assert_eq!((rig.log.synced(), rig.log.stuck_since_us()), (number, None));
    assert_eq!(read(&rig.disk.crash(3)).unwrap().number, number);
}

/// A write that finds no room although some was reserved, as when workers were admitted at once.
#[test]
fn a_write_without_room_in_spite_of_a_reserve_waits_too() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.commit_and_ask(0, &payload(1), true);
    rig.disk.fail(Call::Write, 0, Fault::Full);
    rig.settle();
    assert!(rig.log.stuck_since_us().is_some());
    rig.clock.advance_ms(1_000);
    rig.settle();
    assert_eq!((rig.log.synced(), rig.log.stuck_since_us()), (1, None));
}

/// What was reserved for heavy traffic is too much for what follows, and then just a step of it.
#[test]
fn traffic_that_becomes_light_needs_no_more_room_than_there_is() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    for bytes_len in [5_000_000, 300_000] {
        for _ in 0..40 {
            rig.commit_and_ask(0, &vec![1; bytes_len], true);
            rig.settle();
        }
    }
    assert_eq!(*rig.told.lock(), Vec::<String>::new());
    assert_eq!(rig.log.synced(), 80);
}

fn check_broken(rig: &mut Rig, written: u64, synced: u64) {
    assert!(rig.log.is_broken());
    assert_eq!((rig.log.written(), rig.log.synced()), (written, synced));
    let calls = rig.disk.calls();
    let number = rig.log.numbered() + 1;
    rig.commit_and_ask(1, &payload(number), true);
    rig.clock.advance_ms(5_000);
    rig.settle();
    rig.log.set_policy(Policy::EverySecond);
    rig.writer.shared.sync_every_second();
    assert_eq!(rig.disk.calls(), calls, "nothing is tried again");
    assert_eq!((rig.log.written(), rig.log.synced()), (written, synced));
    assert_eq!(rig.log.admit(1), Admission::Broken);
    assert_eq!(rig.told.lock().len(), 1, "told once");
    assert!(
        rig.log.wait(
            0,
            Needs {
                written: 9,
                synced: 9
            }
        ),
        "nobody sleeps on a broken log"
    );
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.commit_and_ask(0, &payload(1), true);
    rig.settle();
    rig.disk.fail(Call::Write, 0, Fault::Io);
    rig.commit_and_ask(0, &payload(2), true);
    rig.settle();
    check_broken(&mut rig, 1, 1);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    for policy in [Policy::Always, Policy::EverySecond] {
        let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
        rig.log.set_policy(policy);
        rig.commit_and_ask(0, &payload(1), true);
        rig.settle();
        rig.disk.fail(Call::Sync, 0, Fault::Io);
        rig.commit_and_ask(0, &payload(2), policy == Policy::Always);
        rig.settle();
        rig.writer.shared.sync_every_second();
        check_broken(&mut rig, 2, 1);
    }
}

#[test]
fn a_segment_that_cannot_be_made_breaks_the_log_or_waits_for_room() {
    for call in [Call::Create, Call::SyncDir, Call::Truncate] {
        let mut rig = Rig::new(1);
        rig.commit_and_ask(0, &payload(1), true);
        rig.disk.fail(call, 0, Fault::Io);
        rig.settle();
        assert!(rig.log.is_broken(), "{call:?}");
        assert_eq!(rig.log.synced(), 0);
    }
    for (call, nth) in [(Call::Create, 0), (Call::Write, 0)] {
        let mut rig = Rig::new(1);
        // Otherwise the first write is of zeros, ahead.
        rig.log.set_policy(Policy::EverySecond);
        rig.disk.fail(call, nth, Fault::Full);
        rig.commit_and_ask(0, &payload(1), true);
        rig.settle();
        assert_eq!(
            rig.log.synced(),
            1,
            "{call:?}: it goes on in the old segment"
        );
        rig.clock.advance_ms(1_000);
        rig.commit_and_ask(0, &payload(2), true);
        rig.settle();
        assert_eq!(segment::list(&rig.disk).unwrap().len(), 2);
        assert_eq!(read(&rig.disk.crash(2)).unwrap().number, 2);
    }
}

#[test]
fn short_writes_are_continued() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    for nth in 0..40 {
        rig.disk
            .fail(Call::Write, nth, Fault::Short(1 + nth as usize * 7));
    }
    for number in 1..=40 {
        rig.commit_and_ask(0, &payload(number), true);
        rig.settle();
    }
    assert_eq!(read(&rig.disk.crash(4)).unwrap().number, 40);
}

#[test]
fn a_slow_sync_is_measured() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.disk.fail(Call::Sync, 0, Fault::Slow(10_000));
    rig.commit_and_ask(0, &payload(1), true);
    rig.settle();
    rig.commit_and_ask(0, &payload(2), true);
    rig.settle();
    let figures = rig.log.figures();
    assert_eq!((figures.sync_us_max, figures.sync_us_last), (10_000_000, 0));
}

#[test]
fn more_than_the_backlog_is_parked_but_one_large_write_is_not() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.disk.set_can_reserve(false);
    let backlog = 64 * 1024 * 1024;
    assert_eq!(
        rig.log.admit(2 * backlog),
        Admission::Behind,
        "room is asked for first"
    );
    rig.settle();
    assert_eq!(rig.log.admit(2 * backlog), Admission::Ok);
    rig.log.commit(0, &vec![0; backlog]);
    assert_eq!(rig.log.admit(1), Admission::Behind);
    rig.settle();
    assert_eq!(rig.log.admit(1), Admission::Ok);
}

#[test]
fn a_closed_log_says_so_and_any_damage_to_it_is_found() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    for number in 1..=3 {
        rig.commit_and_ask(0, &payload(number), false);
        rig.settle();
    }
    rig.log.commit(1, &payload(4));
    let (disk, log) = (rig.disk.clone(), Arc::clone(&rig.log));
    let position = rig.writer.close().unwrap();
    assert_eq!(log.synced(), 4);
    let after = disk.crash(9);
    let end = read(&after).unwrap();
    assert_eq!(
        (end.number, end.is_closed, end.position),
        (4, true, position)
    );
    let sound = after.contents(&segment::name(0)).unwrap();
    assert_eq!(
        sound.len() as u64,
        position,
        "nothing is left behind the closing record"
    );
    for at in 0..sound.len() - frame::MARK_FRAME_BYTES {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        after.put(&segment::name(0), &bytes);
        assert!(
            matches!(read(&after), Err(LogError::Corrupt { .. })),
            "byte {at}"
        );
    }
}

/// How many seeds to try: `LINCHPIN_CASES` times as many as usual, from `LINCHPIN_SEED` on.
fn seeds() -> impl Iterator<Item = u64> {
    use std::hash::{BuildHasher, RandomState};
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("LINCHPIN_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let cases = number("LINCHPIN_CASES").unwrap_or(1) * 200;
    (0..cases).map(move |case| seed.wrapping_add(case))
}

/// Commits, asks and waits by chance until the power goes; answers what had been written and what
/// had been synced by then.
fn live(rig: &mut Rig, chance: &mut Chance, first: u64) -> (u64, u64) {
    let mut number = first;
    for _ in 0..60 {
        let count = 1 + chance.below(4);
        for _ in 0..count {
            number += 1;
            rig.log.commit(chance.below(2) as usize, &payload(number));
        }
        let written = if chance.below(4) > 0 { number } else { 0 };
        let synced = if chance.below(2) > 0 { written } else { 0 };
        rig.log.request(Needs { written, synced });
        for _ in 0..chance.below(4) {
            rig.writer.turn();
        }
        rig.clock.advance_ms(chance.below(8));
        if rig.disk.is_off() {
            break;
        }
    }
    (rig.log.written(), rig.log.synced())
}

/// The power goes at any call, and once more after the recovery: what had been synced is there, and
/// what is there is a prefix. Goes red when a sync forgets the segments before the open one, or the
/// directory.
#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_synced() {
    for seed in seeds() {
        let mut chance = Chance(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        rig.disk.power_off_at(rig.disk.calls() + chance.below(250));
        for _ in 0..chance.below(3) {
            rig.disk.fail(
                Call::Write,
                chance.below(40),
                Fault::Short(chance.below(300) as usize),
            );
        }
        let (_, synced) = live(&mut rig, &mut chance, 0);
        let disk = rig.disk.crash(chance.draw());
        let end = read(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(
            end.number >= synced,
            "seed {seed}: {synced} were safe, {} are left",
            end.number
        );

        let mut again = Rig::over(disk, &end, SMALL_SEGMENT).expect("the power is back");
        again
            .disk
            .power_off_at(again.disk.calls() + chance.below(250));
        let (_, synced) = live(&mut again, &mut chance, end.number);
        let disk = again.disk.crash(chance.draw());
        let end = read(&disk).unwrap_or_else(|error| panic!("seed {seed}, again: {error}"));
        assert!(
            end.number >= synced,
            "seed {seed}: after recovery {synced} were safe"
        );
    }
}

/// What is written while a sync runs is not safe by it.
#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    let (shared, log) = (Arc::clone(&rig.writer.shared), Arc::clone(&rig.log));
    let mut writer = rig.writer;
    rig.disk.during_sync(move || {
        let written = writer.shared.log.commit(0, &payload(2));
        writer.shared.log.request(Needs { written, synced: 0 });
        writer.turn();
    });
    shared.sync();
    assert_eq!((log.written(), log.synced()), (2, 1));
    shared.sync();
    assert_eq!(log.synced(), 2);
}

/// The end of the process loses nothing that was written; and what the next process found is safe
/// once anything of its own is, whatever the policy was before.
#[test]
fn a_kill_at_any_call_loses_nothing_that_was_written() {
    for seed in seeds() {
        let mut chance = Chance(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        rig.disk.power_off_at(rig.disk.calls() + chance.below(250));
        let (written, _) = live(&mut rig, &mut chance, 0);
        let end = read(&rig.disk.kill()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(
            end.number >= written,
            "seed {seed}: {written} written, {} left",
            end.number
        );
        let mut again = Rig::over(rig.disk.kill(), &end, SMALL_SEGMENT).expect("the disk works");
        let number = again.commit_and_ask(0, &payload(end.number + 1), true);
        again.settle();
        let end = read(&again.disk.crash(chance.draw()));
        let end = end.unwrap_or_else(|error| panic!("seed {seed}, again: {error}"));
        assert_eq!(
            end.number, number,
            "seed {seed}: what was recovered was not made safe"
        );
    }
}

/// Two workers over the two threads and a real directory.
#[test]
fn the_threads_write_sync_and_close() {
    let path = std::env::temp_dir().join(format!("linchpin-log-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let disk = Arc::new(RealDisk::open(&path).unwrap());
    let options = log::Options {
        workers: 2,
        number: 0,
        policy: Policy::EverySecond,
        backlog_bytes_max: 1 << 26,
    };
    let log = Arc::new(Log::new(options, |why| panic!("{why}")));
    let clock = Arc::new(crate::clock::SystemClock::new());
    let options = Options {
        id: ID,
        segment_bytes_max: 16 * 1024,
    };
    let of_disk = Arc::clone(&disk) as Arc<dyn Disk>;
    let writer = Writer::open(Arc::clone(&log), of_disk, clock, options, &End::default()).unwrap();
    let threads = spawn(writer).unwrap();
    std::thread::scope(|scope| {
        for side in 0..2 {
            let log = Arc::clone(&log);
            scope.spawn(move || {
                let me = std::thread::current();
                log.watch(side, move || me.unpark());
                for round in 0..500 {
                    let written = log.commit(side, b"some effects");
                    let synced = if round % 50 == 0 { written } else { 0 };
                    let needs = Needs { written, synced };
                    log.request(needs);
                    while !log.is_met(needs) {
                        let first = if log.written() >= written {
                            Needs { written: 0, synced }
                        } else {
                            Needs { written, synced: 0 }
                        };
                        if !log.wait(side, first) {
                            std::thread::park();
                        }
                    }
                }
            });
        }
    });
    let position = threads.close().unwrap();
    let mut reader = Reader::new(&*disk, ID).unwrap();
    while reader.next().unwrap().is_some() {}
    let end = reader.end().clone();
    assert_eq!(
        (end.number, end.is_closed, end.position),
        (1_000, true, position)
    );
    assert!(segment::list(&*disk).unwrap().len() > 1);
    std::fs::remove_dir_all(&path).unwrap();
}
