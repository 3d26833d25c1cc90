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
        let clock = ManualClock::at(1_700_000_000_000);
        Self::over_with(disk, clock, end, segment_bytes_max)
    }

    fn over_with(
        disk: SimDisk,
        clock: ManualClock,
        end: &End,
        segment_bytes_max: u64,
    ) -> io::Result<Self> {
        let clock = Arc::new(clock);
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

    /// From now on the test is the thread that syncs, by `sync_if_due`.
    fn with_syncer(self) -> Self {
        let syncer = &self.writer.shared.syncer;
        syncer.get_or_init(std::thread::current);
        self
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
    assert_eq!(rig.writer.shared.sync_if_due(), SECOND_US);
    assert_eq!(rig.log.synced(), 0, "not before the second is over");
    rig.clock.advance_ms(1_000);
    assert_eq!(rig.writer.shared.sync_if_due(), SECOND_US);
    assert_eq!(rig.log.synced(), 1);
    rig.settle();
    rig.clock.advance_ms(5_000);
    rig.writer.shared.sync_if_due();
    rig.settle();
    let figures = rig.log.figures();
    assert_eq!((figures.syncs, figures.writes), (1, 2));
}

/// The second runs from the oldest write that is not safe, however long the sync before it took.
#[test]
fn a_second_is_counted_from_the_oldest_unsynced_write() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.log.set_policy(Policy::EverySecond);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    rig.clock.advance_ms(400);
    assert_eq!(rig.writer.shared.sync_if_due(), 600_000);
    rig.clock.advance_ms(600);
    let (shared, log) = (Arc::clone(&rig.writer.shared), Arc::clone(&rig.log));
    let mut writer = rig.writer;
    rig.disk.during_sync(move || {
        let written = writer.shared.log.commit(0, &payload(2));
        writer.shared.log.request(Needs::written(written));
        writer.turn();
    });
    rig.disk.fail(Call::Sync, 0, Fault::Slow(700));
    assert_eq!(shared.sync_if_due(), 300_000, "0.7 s of it are over");
    assert_eq!((log.written(), log.synced()), (2, 1));
    rig.clock.advance_ms(300);
    shared.sync_if_due();
    assert_eq!(log.synced(), 2);
}

/// Under `everysec` a reply needs no sync: one that somebody waits for is made beside the writing.
#[test]
fn the_writer_makes_no_sync_that_only_some_wait_for() {
    for policy in [Policy::EverySecond, Policy::No] {
        let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT).with_syncer();
        rig.log.set_policy(policy);
        rig.disk.fail(Call::Sync, 0, Fault::Slow(10_000));
        let before_us = rig.clock.mono_us();
        rig.commit_and_ask(0, &payload(1), true);
        rig.settle();
        assert_eq!((rig.log.written(), rig.log.synced()), (1, 0), "{policy:?}");
        assert_eq!(
            rig.clock.mono_us(),
            before_us,
            "the writer waited for a sync"
        );
        rig.writer.shared.sync_if_due();
        assert_eq!(rig.log.synced(), 1);
        assert_eq!(rig.clock.mono_us(), before_us + 10_000_000);
    }
}

/// The same with the two threads: writes go on in the midst of a sync that somebody waits for, over
/// several segments, and what it makes safe is what was written before it.
#[test]
fn writes_go_on_in_the_midst_of_a_sync() {
    let rig = Rig::new(SMALL_SEGMENT);
    let log = Arc::clone(&rig.log);
    log.set_policy(Policy::EverySecond);
    let threads = spawn(rig.writer).unwrap();
    let reached = |mark: &dyn Fn() -> u64, number: u64| {
        let is_reached = || mark() >= number;
        (0..5_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            is_reached()
        })
    };
    let (during, seen) = std::sync::mpsc::channel();
    let inside = Arc::clone(&log);
    rig.disk.during_sync(move || {
        let is_written = (2..=100).all(|number| {
            inside.commit(0, &payload(number));
            inside.request(Needs::written(number));
            reached(&|| inside.written(), number)
        });
        during.send((is_written, inside.synced())).unwrap();
    });
    log.commit(0, &payload(1));
    log.request(Needs::synced(1));
    assert_eq!(seen.recv(), Ok((true, 0)), "a sync held up the writes");
    log.request(Needs::synced(100));
    let last = Arc::clone(&log);
    assert!(reached(&|| last.synced(), 100));
    assert!(segment::list(&rig.disk).unwrap().len() > 1);
    assert_eq!(read(&rig.disk.crash(5)).unwrap().number, 100);
    threads.close().unwrap();
}

/// The log tells a recovery no less than the writer believes it does.
#[test]
fn a_sync_that_ends_while_a_batch_is_written_is_told_of() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.log.set_policy(Policy::EverySecond);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    rig.commit_and_ask(0, &payload(2), false);
    rig.writer.gather.collect(&rig.log);
    rig.writer.fill_batch();
    let safe = rig.writer.shared.unsynced.lock().position;
    let one_at_a_time = rig.writer.shared.syncing.lock();
    rig.writer.shared.sync_all(&one_at_a_time);
    drop(one_at_a_time);
    assert!(rig.writer.write_batch(0));
    rig.settle();
    assert_eq!(read(&rig.disk.kill()).unwrap().mark.unwrap().synced, safe);
}

/// A mark that found no room is told later, and nobody is refused for its sake.
#[test]
fn a_mark_without_room_is_written_when_there_is_some() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.log.set_policy(Policy::EverySecond);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    rig.clock.advance_ms(1_000);
    rig.writer.shared.sync_if_due();
    rig.disk.fail(Call::Write, 0, Fault::Full);
    rig.settle();
    assert_eq!(rig.log.stuck_since_us(), None);
    assert_eq!(rig.log.figures().writes, 1);
    rig.settle();
    assert_eq!(rig.log.figures().writes, 1, "once a second");
    rig.clock.advance_ms(1_000);
    rig.settle();
    assert_eq!(rig.log.figures().writes, 2, "it tells of the sync then");
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
    let woken = Arc::new(AtomicU64::new(0));
    let bell = Arc::clone(&woken);
    rig.log.watch_writer(move || {
        bell.fetch_add(1, Ordering::Relaxed);
    });
    rig.log.doze();
    rig.log.expect_lazy(0);
    assert_eq!(
        woken.load(Ordering::Relaxed),
        0,
        "there is nothing to write"
    );
    rig.log.commit(0, &payload(2));
    rig.log.expect_lazy(0);
    assert_eq!(
        woken.load(Ordering::Relaxed),
        1,
        "a writer that sleeps is told"
    );
    for number in 3..=1_000 {
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
    while let Some(entry) = reader.next().unwrap() {
        if entry.kind == Kind::Effects {
            assert_eq!(entry.payload, large);
        }
    }
    assert_eq!(reader.end().number, number);
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
    rig.writer.shared.sync_if_due();
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
        rig.clock.advance_ms(1_000);
        rig.writer.shared.sync_if_due();
        check_broken(&mut rig, 2, 1);
    }
}

/// Two threads use the disk. When it fails one of them, the other may be in the midst of a call
/// that succeeds: that raises no mark either.
#[test]
fn after_a_failure_the_other_thread_acknowledges_nothing() {
    let rig = Rig::new(SEGMENT_BYTES_DEFAULT).with_syncer();
    rig.log.set_policy(Policy::EverySecond);
    let (shared, log) = (Arc::clone(&rig.writer.shared), Arc::clone(&rig.log));
    let (disk, mut writer) = (rig.disk.clone(), rig.writer);
    log.commit(0, &payload(1));
    log.request(Needs::synced(1));
    writer.turn();
    rig.disk.during_sync(move || {
        disk.fail(Call::Write, 0, Fault::Io);
        writer.shared.log.commit(0, &payload(2));
        writer.shared.log.request(Needs::written(2));
        writer.turn();
        assert!(writer.shared.log.is_broken());
    });
    shared.sync_if_due();
    assert_eq!(
        (log.written(), log.synced()),
        (1, 0),
        "a sync that ended too late"
    );
    log.raise_written(2, 0);
    assert_eq!(log.written(), 1, "a write that ended too late");
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

/// Whatever fails for want of room while a segment is begun, in whatever order, the log goes on in
/// the old one, and no crash brings back a file that passes for a segment.
#[test]
fn a_segment_that_was_given_up_is_in_nobodys_way() {
    for seed in seeds() {
        let mut chance = Chance(seed);
        let mut rig = Rig::new(SMALL_SEGMENT);
        if chance.below(2) == 0 {
            rig.log.set_policy(Policy::EverySecond);
        }
        let mut number = 0;
        for _ in 0..60 {
            number += 1;
            rig.commit_and_ask(0, &payload(number), chance.below(3) == 0);
            if chance.below(3) == 0 {
                let calls = [
                    Call::Create,
                    Call::Write,
                    Call::Truncate,
                    Call::Reserve,
                    Call::Remove,
                ];
                let call = calls[chance.below(5) as usize];
                rig.disk.fail(call, chance.below(3), Fault::Full);
            }
            if chance.below(4) == 0 {
                rig.disk.fail(
                    Call::Write,
                    chance.below(3),
                    Fault::Short(40 + chance.below(60) as usize),
                );
            }
            rig.settle();
            rig.writer.shared.sync_if_due();
            rig.clock.advance_ms(chance.below(1_100));
        }
        assert_eq!(*rig.told.lock(), Vec::<String>::new(), "seed {seed}");
        let (written, synced) = (rig.log.written(), rig.log.synced());
        let end = read(&rig.disk.kill()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(
            end.number >= written,
            "seed {seed}: {written} were written, {end:?}"
        );
        let end = read(&rig.disk.crash(chance.draw()));
        let end = end.unwrap_or_else(|error| panic!("seed {seed}, crash: {error}"));
        assert!(
            end.number >= synced,
            "seed {seed}: {synced} were safe, {end:?}"
        );
    }
}

/// What was admitted has room at any moment of a rotation.
#[test]
fn a_new_segment_has_room_for_what_was_admitted_before_the_old_one_is_cut() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.log.set_policy(Policy::EverySecond);
    while rig.writer.position() - rig.writer.base < SMALL_SEGMENT {
        let number = rig.log.numbered() + 1;
        rig.commit_and_ask(0, &payload(number), false);
        rig.settle();
    }
    let number = rig.log.numbered() + 1;
    assert_eq!(rig.log.admit(200), Admission::Ok);
    rig.commit_and_ask(0, &payload(number), false);
    // Others have taken what there was.
    rig.disk.set_space(rig.disk.allocated() + 2 * HEAD_BYTES);
    rig.settle();
    assert_eq!(
        (rig.log.written(), rig.log.stuck_since_us()),
        (number, None)
    );
    assert_eq!(
        segment::list(&rig.disk).unwrap().len(),
        1,
        "it goes on in the old one"
    );
    rig.disk.set_space(u64::MAX);
    rig.clock.advance_ms(1_000);
    rig.commit_and_ask(0, &payload(number + 1), false);
    rig.settle();
    assert_eq!(segment::list(&rig.disk).unwrap().len(), 2);
}

/// Files of full segments do not stay open without a bound, and a slow sync does not make more.
#[test]
fn full_segments_are_synced_under_every_policy() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.log.set_policy(Policy::No);
    let mut number = 0;
    let mut grow = |rig: &mut Rig| {
        for _ in 0..1_000 {
            number += 1;
            rig.commit_and_ask(0, &payload(number), false);
            rig.settle();
        }
        rig.writer.shared.unsynced.lock().older.len()
    };
    assert_eq!(grow(&mut rig), OLDER_MAX);
    rig.writer.shared.sync_if_due();
    assert_eq!(rig.writer.shared.unsynced.lock().older.len(), 0);
    assert_eq!(rig.log.synced(), 1_000);
    assert_eq!(grow(&mut rig), OLDER_MAX);
    assert_eq!(read(&rig.disk.kill()).unwrap().number, 2_000);
}

/// Engine time as a start would find it, where a snapshot covers everything up to `number`.
fn engine_ms_found(disk: &SimDisk, number: u64) -> u64 {
    let segments = segment::list(disk).unwrap();
    let covered = segment::covered(disk, ID, &segments, number).unwrap();
    let mut reader = Reader::over(disk, ID, segments[covered..].to_vec());
    while reader.next().unwrap().is_some() {}
    reader.end().mark.map_or(0, |mark| mark.engine_ms)
}

#[test]
fn engine_time_is_noted_every_second_while_anything_depends_on_it() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.log.set_policy(Policy::EverySecond);
    rig.commit_and_ask(0, &payload(1), false);
    rig.settle();
    rig.clock.advance_ms(5_000);
    rig.settle();
    assert_eq!(rig.log.figures().writes, 1, "nothing does yet");
    rig.log.set_keeps_time(true);
    for _ in 0..50 {
        let pause_us = match rig.writer.turn() {
            Turn::Busy => 0,
            Turn::Idle { pause_us } => pause_us,
        };
        let found = engine_ms_found(&rig.disk.kill(), 0);
        let now_ms = rig.clock.now().engine_ms;
        assert!(found + 1_000 >= now_ms, "{found} {now_ms}");
        let sync_us = rig.writer.shared.sync_if_due();
        let found = engine_ms_found(&rig.disk.crash(1), 0);
        assert!(
            found + 3_000 >= now_ms,
            "after a power cut: {found} {now_ms}"
        );
        rig.clock.advance_ms(pause_us.min(sync_us).div_ceil(1_000));
    }
    rig.log.set_keeps_time(false);
    rig.settle();
    rig.clock.advance_ms(1_000);
    rig.writer.shared.sync_if_due();
    rig.settle();
    let calls = rig.disk.calls();
    rig.clock.advance_ms(60_000);
    rig.writer.shared.sync_if_due();
    rig.settle();
    assert_eq!(
        rig.disk.calls(),
        calls,
        "an idle server leaves the disk alone"
    );
}

/// A snapshot may cover every segment but one that nothing was written to yet.
#[test]
fn a_new_segment_knows_the_time_of_those_before_it() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.commit_and_ask(0, &payload(1), true);
    rig.settle();
    rig.clock.advance_ms(7_000);
    let disk = rig.disk.clone();
    rig.writer.close().unwrap();
    let end = read(&disk).unwrap();
    assert_eq!(engine_ms_found(&disk, 1), 7_000);
    let clock = ManualClock::at(1_700_000_000_000);
    clock.advance_ms(7_000);
    let again = Rig::over_with(disk.kill(), clock, &end, SEGMENT_BYTES_DEFAULT).unwrap();
    assert_eq!(engine_ms_found(&again.disk.kill(), 1), 7_000);
    assert_eq!(engine_ms_found(&again.disk.crash(3), 1), 7_000);
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

/// The power goes under `everysec`: what was acknowledged a second before, and the time of its sync
/// and of the one that was under way, is there.
#[test]
fn a_power_cut_under_everysec_costs_no_more_than_the_last_second() {
    for seed in seeds() {
        let mut chance = Chance(seed);
        let rig = Rig::new(SMALL_SEGMENT).with_syncer();
        rig.log.set_policy(Policy::EverySecond);
        rig.log.set_keeps_time(chance.below(2) == 0);
        let step_ms_max = 1 + chance.below(60);
        let sync_ms_max = chance.below(1_500);
        let lasts_ms = chance.below(20_000);
        rig.disk
            .power_off_at(rig.disk.calls() + chance.below(2_500));
        let (disk, clock, shared) = (rig.disk, rig.clock, Arc::clone(&rig.writer.shared));
        let client = Client {
            writer: Arc::new(Mutex::new(rig.writer)),
            acknowledged: Arc::default(),
        };
        let mut sleeps_until_us = 0;
        while clock.now().engine_ms < lasts_ms && !disk.is_off() {
            client.write(chance.below(3));
            if clock.mono_us() >= sleeps_until_us {
                let (busy, count) = (client.clone(), chance.below(3));
                disk.during_sync(move || busy.write(count));
                disk.fail(Call::Sync, 0, Fault::Slow(chance.below(sync_ms_max + 1)));
                sleeps_until_us = shared.sync_if_due() + clock.mono_us();
            }
            clock.advance_ms(1 + chance.below(step_ms_max));
        }
        let bound_ms = 1_000 + 2 * sync_ms_max + step_ms_max;
        let settled = client.acknowledged_before(clock.now().engine_ms, bound_ms);
        let end = read(&disk.crash(chance.draw()));
        let end = end.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(
            end.number >= settled,
            "seed {seed}: {settled} were acknowledged {bound_ms} ms before, {} are left",
            end.number
        );
    }
}

/// Somebody who writes and notes what was acknowledged when; on the writer's thread and, in the
/// midst of a sync, beside the syncer's.
#[derive(Clone)]
struct Client {
    writer: Arc<Mutex<Writer>>,
    /// Frames, each with the engine time at which it was known to be written.
    acknowledged: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Client {
    /// Writes so many frames, and waits for them where the disk works.
    fn write(&self, count: u64) {
        let mut writer = self.writer.lock();
        for _ in 0..count {
            let number = writer.log().numbered() + 1;
            writer.log().commit(number as usize % 2, &payload(number));
            writer.log().request(Needs::written(number));
        }
        while writer.turn() == Turn::Busy {}
        let now_ms = writer.shared.clock.now().engine_ms;
        let written = writer.log().written();
        self.acknowledged.lock().push((written, now_ms));
    }

    /// The last frame that was acknowledged at least so long before.
    fn acknowledged_before(&self, now_ms: u64, bound_ms: u64) -> u64 {
        let all = self.acknowledged.lock();
        let last = all.iter().rfind(|(_, at_ms)| at_ms + bound_ms <= now_ms);
        last.map_or(0, |(number, _)| *number)
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

/// Whoever waits for a call that does not come back can tell since when: for a sync beside the
/// writing only those who need it.
#[test]
fn a_call_that_hangs_is_told_of_while_it_hangs() {
    for (policy, is_written_late) in [(Policy::Always, true), (Policy::EverySecond, false)] {
        let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
        rig.log.set_policy(policy);
        let begun_us = rig.clock.mono_us();
        let (log, clock) = (Arc::clone(&rig.log), Arc::clone(&rig.clock));
        let seen = Arc::new(Mutex::new(None));
        let see = Arc::clone(&seen);
        rig.disk.during_sync(move || {
            clock.advance_ms(30_000);
            let needs = [Needs::written(2), Needs::synced(2)];
            *see.lock() = Some(needs.map(|needs| log.waits_since_us(needs)));
        });
        rig.commit_and_ask(0, &payload(1), policy == Policy::Always);
        rig.settle();
        rig.clock.advance_ms(1_000);
        let begun_us = match is_written_late {
            true => begun_us,
            false => rig.clock.mono_us(),
        };
        rig.writer.shared.sync_if_due();
        let written = is_written_late.then_some(begun_us);
        assert_eq!(*seen.lock(), Some([written, Some(begun_us)]), "{policy:?}");
        assert_eq!(
            rig.log.waits_since_us(Needs::synced(2)),
            None,
            "it came back"
        );
    }
}

/// What was queued behind the failure would go to a new segment.
#[test]
fn a_broken_log_is_left_alone_when_it_is_closed() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.commit_and_ask(0, &vec![1; SMALL_SEGMENT as usize], true);
    rig.settle();
    rig.disk.fail(Call::Sync, 0, Fault::Io);
    rig.commit_and_ask(0, &vec![2; SMALL_SEGMENT as usize], true);
    rig.settle();
    assert!(rig.log.is_broken());
    rig.log.commit(0, &payload(3));
    let (calls, names) = (rig.disk.calls(), rig.disk.list().unwrap());
    assert!(rig.writer.close().is_err());
    assert_eq!(rig.disk.calls(), calls, "nothing is tried again");
    assert_eq!(rig.disk.list().unwrap(), names);
}

/// Two who ask at the same moment are not admitted to the same room, nor is a new segment made that
/// has none for one of them.
#[test]
fn room_is_claimed_until_it_is_used_or_given_back() {
    let mut rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    rig.disk.set_space(rig.disk.allocated());
    assert_eq!(rig.log.claim(8 << 20), (Admission::Behind, 0));
    rig.settle();
    assert_eq!(rig.log.admit(8 << 20), Admission::Full);
    let room = rig.log.figures().reserve_bytes - rig.log.margin();
    let most = (room * 2 / 3) as usize;
    let (admission, claimed) = rig.log.claim(most);
    assert_eq!((admission, claimed), (Admission::Ok, most as u64));
    assert_eq!(rig.log.claim(most), (Admission::Full, 0));
    assert_eq!(rig.log.admit(most), Admission::Full);
    assert!(
        rig.log.under_way_bytes() >= claimed,
        "what a segment has room for"
    );
    rig.log.give_back(claimed);
    assert_eq!(rig.log.claim(most), (Admission::Ok, claimed));
    rig.commit_and_ask(0, &vec![0; most - frame::HEADER_BYTES], true);
    rig.log.give_back(claimed);
    rig.settle();
    assert_eq!((rig.log.synced(), rig.log.stuck_since_us()), (1, None));
    assert_eq!(rig.log.under_way_bytes(), 0);
}

/// Many who hold a small write each, while there is plenty, claim nothing.
#[test]
fn a_small_write_claims_nothing_while_there_is_plenty() {
    let rig = Rig::new(SEGMENT_BYTES_DEFAULT);
    assert_eq!(rig.log.claim(100), (Admission::Ok, 0));
    let large = (rig.log.figures().reserve_bytes / 2) as usize;
    let (admission, claimed) = rig.log.claim(large);
    assert_eq!((admission, claimed), (Admission::Ok, large as u64));
    assert_eq!(
        rig.log.claim(100),
        (Admission::Ok, 100),
        "there is less now"
    );
}

/// After a failed sync the pages count as clean, and a later sync succeeds without saving them. A
/// start that reads them must not vouch for them, or what is acknowledged next is cut off as well.
#[test]
fn a_start_saves_again_what_a_failed_sync_may_have_lost() {
    for seed in 0..32 {
        let mut rig = Rig::new(SMALL_SEGMENT);
        for number in 1..=40 {
            rig.commit_and_ask(0, &payload(number), false);
            rig.settle();
        }
        assert!(rig.log.figures().segments > 1, "one segment shows less");
        rig.disk.fail(Call::Sync, seed % 2, Fault::Io);
        rig.commit_and_ask(0, &payload(41), true);
        rig.settle();
        assert!(rig.log.is_broken());
        let disk = rig.disk.kill();
        let end = read(&disk).expect("the kernel has it all");
        assert_eq!(end.number, 41);
        let mut rig = Rig::over(disk, &end, SMALL_SEGMENT).expect("the disk works");
        rig.commit_and_ask(0, &payload(42), true);
        rig.settle();
        assert_eq!(rig.log.synced(), 42);
        let end = read(&rig.disk.crash(seed)).expect("nothing safe is damaged");
        assert_eq!(end.number, 42, "seed {seed}");
    }
}
