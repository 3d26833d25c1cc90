//! The corpora, replayed; and the seeds in them, made by a journal as a server has it.

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::engine::{Deadline, Free, ValueRef};
use crate::journal::log::{self, Log, Needs, Policy};
use crate::journal::segment::End;
use crate::journal::writer::{self, Turn, Writer};
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("fuzz/corpus").join(target)
}

/// Calls the target with every file of its corpus; answers how many there are.
fn replay(target: &str, body: fn(&[u8])) -> usize {
    let files = std::fs::read_dir(corpus(target)).expect("the corpus lies in the repository");
    let paths = files.map(|file| file.unwrap().path());
    paths
        .map(|path| {
            let input = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| body(&input));
            assert!(outcome.is_ok(), "{}", path.display());
        })
        .count()
}

#[test]
fn journal_recover() {
    assert!(replay("journal_recover", super::journal_recover) > 10);
}

#[test]
fn snapshot_load() {
    assert!(replay("snapshot_load", super::snapshot_load) > 2);
}

/// A seed's files come to the disk as they were packed; one that counts no checksums is as sound
/// with all of them wrong.
#[test]
fn what_is_packed_is_unpacked_and_sealed() {
    let disk = history(40, Ending::Killed);
    let input = pack(&disk, 0);
    assert_eq!(contents(&directory(&input[1..], false)), contents(&disk));
    let (_, state) = open(&disk.kill()).expect("it is sound");
    let (_, same) = open(&directory(&input[1..], true)).expect("it is sound");
    assert_eq!(same, state);
    let mut wrong = input;
    let sums: Vec<usize> = checksums(&wrong).collect();
    assert!(sums.len() > 20, "{}", sums.len());
    sums.iter().for_each(|at| wrong[*at] ^= 0x55);
    assert!(open(&directory(&wrong[1..], false)).is_err());
    let (_, same) = open(&directory(&wrong[1..], true)).expect("the checksums were mended");
    assert_eq!(same, state);
}

/// Where in an input headers and frames of effects have their checksums.
fn checksums(input: &[u8]) -> impl Iterator<Item = usize> {
    let headers = input.windows(FILE.len() + 7).enumerate();
    let headers = headers.filter(|(_, bytes)| bytes.starts_with(FILE));
    let headers = headers.filter(|(_, bytes)| bytes[FILE.len() + 1..].starts_with(b"LINCHL"));
    let base = FILE.len() + 1;
    headers.flat_map(move |(at, _)| {
        let header = at + base;
        let frames = input
            .get(header + segment::HEADER_BYTES..)
            .unwrap_or_default();
        let mut offset = 0;
        let in_frames = std::iter::from_fn(move || {
            let rest = frames.get(offset..)?;
            let start = offset;
            let is_frame = frame::parse(rest).is_ok();
            offset += frame::peek(rest).filter(|_| is_frame)?.1;
            Some(header + segment::HEADER_BYTES + start)
        });
        in_frames.chain([header + CRC_AT])
    })
}

/// How a history ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The log was closed.
    Closed,
    /// All that was written is there.
    Killed,
    /// The last write is cut.
    Torn,
}

/// A server's journal over a disk in memory, and an engine that tells it of changes.
struct Stage {
    disk: SimDisk,
    identity: Identity,
    log: Arc<Log>,
    writer: Writer,
    engine: Engine,
}

impl Stage {
    fn new() -> Self {
        let identity = an_identity();
        let disk = with_identity(&identity);
        let (engine, _) = start(&disk).expect("a new directory");
        let options = log::Options {
            workers: 1,
            number: 0,
            policy: Policy::EverySecond,
            backlog_bytes_max: 1 << 20,
        };
        let log = Arc::new(Log::new(options, |why| panic!("{why}")));
        engine.set_sink(Box::new(Arc::clone(&log)), true);
        let options = writer::Options {
            id: identity.log_id(),
            segment_bytes_max: 600,
        };
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let to = Arc::new(disk.clone()) as Arc<dyn Disk>;
        let writer = Writer::open(Arc::clone(&log), to, clock, options, &End::default());
        Self {
            disk,
            identity,
            log,
            writer: writer.expect("a disk in memory takes it"),
            engine,
        }
    }

    /// The `n`-th change of a history.
    fn change(&self, n: u8) {
        let (db, key) = (u32::from(n % 3), &[b'a' + n % 5][..]);
        let text = [n; 40];
        if n % 17 == 16 {
            self.engine.alone(Now::default()).step().swap(0, 2);
        } else if n % 23 == 22 {
            self.engine.alone(Now::default()).step().clear(1, Free::Now);
        }
        let batch = self.engine.shared(0, Now::default());
        let mut step = batch.step();
        let mut locked = step.lock_any(db, key);
        let mut slot = locked.slot(db, key);
        match n % 7 {
            _ if !slot.exists() => slot.put(ValueRef::Bytes(&text[..9]), Deadline::None),
            0 => slot.put(ValueRef::Int(i64::from(n)), Deadline::Keep),
            1 => slot.put(ValueRef::Bytes(&text), Deadline::At(1_000)),
            2 => {
                slot.append(&text[..5]);
            }
            3 => {
                slot.write_range(usize::from(n), b"range");
            }
            4 => slot.set_deadline(Some(2_000)),
            5 => slot.set_deadline(None),
            _ => {
                slot.remove();
            }
        }
    }

    fn sync(&mut self) {
        self.log.request(Needs::synced(self.log.numbered()));
        while self.writer.turn() == Turn::Busy {}
    }

    fn snapshot(&self) {
        let begin = self.log.numbered();
        let written = write_snapshot(&self.disk, &self.identity, &self.engine, begin);
        written.expect("a disk in memory takes it");
    }
}

/// A directory after so many changes, with a snapshot after every thirtieth.
fn history(changes: u8, ending: Ending) -> SimDisk {
    let mut stage = Stage::new();
    for n in 1..=changes {
        stage.change(n);
        if n % 3 == 0 {
            stage.sync();
        }
        if n % 30 == 0 {
            stage.snapshot();
        }
    }
    let disk = stage.disk.clone();
    if ending == Ending::Closed {
        stage.writer.close().expect("a disk in memory takes it");
        return disk;
    }
    stage.log.request(Needs::written(stage.log.numbered()));
    while stage.writer.turn() == Turn::Busy {}
    let last = segment::list(&disk).unwrap().pop().expect("there is a log");
    let mut bytes = disk.contents(&last.name).unwrap();
    if ending == Ending::Torn {
        bytes.truncate(bytes.len() - 7);
    }
    disk.put(&last.name, &bytes);
    disk
}

/// A directory whose log ends with a frame that has this effect.
fn with_frame(effect: &Effect<'_>) -> SimDisk {
    let disk = history(5, Ending::Killed);
    let last = segment::list(&disk).unwrap().pop().expect("there is a log");
    let mut bytes = disk.contents(&last.name).unwrap();
    let (found, _) = open(&disk.kill()).expect("it is sound");
    let number = found.end.number;
    bytes.truncate((found.end.position - last.base) as usize);
    let mut payload = Vec::new();
    effect.push_to(&mut payload);
    let start = bytes.len();
    frame::push_unsealed(&mut bytes, number + 1, &payload);
    frame::seal(&mut bytes[start..]);
    disk.put(&last.name, &bytes);
    disk
}

/// The files of a directory as an input.
fn pack(disk: &SimDisk, mode: u8) -> Vec<u8> {
    let mut input = vec![mode];
    for (name, bytes) in contents(disk) {
        let kind = match name.as_str() {
            identity::NAME => b'i',
            name if segment::parse_name(name).is_some() => b'l',
            name if snapshot::parse_name(name).is_some() => b's',
            _ => b't',
        };
        input.extend_from_slice(FILE);
        input.push(kind);
        input.extend(bytes.unwrap_or_default());
    }
    input
}

/// Writes the seeds of both corpora anew, after a change of a format:
/// `cargo test -p linchpin-server --lib write_seeds -- --ignored`.
#[test]
#[ignore = "changes the checkout"]
fn write_seeds() {
    let write = |target: &str, name: &str, input: &[u8]| {
        std::fs::write(corpus(target).join(name), input).unwrap();
    };
    for (mode, counted) in [(0, "checked"), (1, "sealed")] {
        for (changes, what) in [(2, "short"), (25, "log"), (45, "snapshot_and_log")] {
            for (ending, how) in [
                (Ending::Closed, "closed"),
                (Ending::Killed, "killed"),
                (Ending::Torn, "torn"),
            ] {
                let disk = history(changes, ending);
                let name = format!("{what}_{how}_{counted}");
                write("journal_recover", &name, &pack(&disk, mode));
            }
        }
        let disk = history(30, Ending::Killed);
        disk.put("snapshot-0000000000000000.snap.tmp", b"unfinished");
        write(
            "journal_recover",
            &format!("unfinished_{counted}"),
            &pack(&disk, mode),
        );
        let far_out = with_frame(&Effect::WriteRange {
            db: 0,
            key: b"a",
            offset: u64::MAX - 1,
            bytes: b"x",
        });
        let gap = with_frame(&Effect::Unrecorded);
        for (what, disk) in [("write_far_out", far_out), ("gap", gap)] {
            write(
                "journal_recover",
                &format!("{what}_{counted}"),
                &pack(&disk, mode),
            );
        }
        for (changes, what) in [(1, "small"), (29, "all"), (90, "large")] {
            let mut stage = Stage::new();
            (1..=changes).for_each(|n| stage.change(n));
            stage.sync();
            stage.snapshot();
            let named = snapshot::list(&stage.disk).unwrap().pop().unwrap();
            let bytes = stage.disk.contents(&named.name).unwrap();
            let input = [&[mode][..], &bytes].concat();
            write("snapshot_load", &format!("{what}_{counted}"), &input);
        }
    }
}
