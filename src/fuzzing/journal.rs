//! Bytes as the files of a data directory, and what may become of them.
//!
//! The first byte says whether checksums count: with an odd one every header, frame and chunk is
//! given the checksum that fits it before anything is read, so that what is behind checksums is
//! reached as well. That is done to the bytes, here; nothing in a server leaves a checksum out.
//!
//! LIMITATIONS: a write behind the end of a value makes zeros that no byte of the log stands for.
//! What is further out than any value is refused; below that, a few such writes at different keys
//! ask for more than a fuzzer may take, as the clients of a server may up to its `maxmemory`.
//! Inputs in which one is further out than [`HOLE_BYTES_MAX`], and possible, are passed over.

use crate::clock::Now;
use crate::engine::{Effect, Effects, Engine, Options};
use crate::journal::check::check;
use crate::journal::disk::Disk;
use crate::journal::disk::sim::SimDisk;
use crate::journal::error::Error;
use crate::journal::frame::{self, Kind};
use crate::journal::identity::{self, Identity, Random, Shape};
use crate::journal::recover::{Found, recover};
use crate::journal::segment::{self, Reader};
use crate::journal::snapshot::{self, Part, SnapshotReader};
use crate::journal::snapshotting::Snapshotting;
use std::sync::Arc;

/// What begins a file in an input; the byte behind it says which.
pub(super) const FILE: &[u8] = b"\xff\xffFILE";
/// Shards that are cut at a time, when a snapshot is written again.
const SHARDS_AT_ONCE: usize = 16;
const HOLE_BYTES_MAX: u64 = 1 << 20;
/// More than this nobody needs to find a mistake, and an engine of so many takes long to make.
const DATABASES_MAX: u32 = 1_024;

/// Where checksums stand, as the formats have it.
const CRC_AT: usize = 8;
const COVERED_AT: usize = 12;
const SNAPSHOT_HEADER_BYTES: usize = 76;
const CHUNK_HEADER_BYTES: usize = 9;
const CHUNK_END: u8 = 4;

/// Takes `input` as the files of a data directory, and starts on it:
///
/// ```text
///   n          odd: every checksum is made to fit
///   FILE i     what follows is the identity
///   FILE l     a segment of the log, named as its header says
///   FILE n     a segment of the log, named as if it went on where the one before it ends
///   FILE s     a snapshot, named as its header says
///   FILE t     a snapshot that was not finished
/// ```
///
/// # Panics
///
/// When recovery ends neither with a state nor with an error; when it changes anything before it
/// fails; when a second one finds another state than the first; when the offline check changes
/// anything, or calls a directory damaged on which a server starts; and when that cannot start, or
/// not be looked at again, which a repair has made fit to.
pub fn journal_recover(input: &[u8]) {
    let Some((&mode, files)) = input.split_first() else {
        return;
    };
    let disk = directory(files, mode % 2 == 1);
    if is_passed_over(&disk) {
        return;
    }
    let before = contents(&disk);
    let looked = check(&disk, false);
    assert!(contents(&disk) == before, "a look changes nothing");
    repair(&disk.kill());
    match open(&disk) {
        Ok((found, state)) => {
            let is_fine = looked.as_ref().is_ok_and(|report| report.can_start);
            assert!(is_fine, "it starts, and is called damaged: {looked:?}");
            let (again, same) = open(&disk).expect("what was recovered is sound");
            assert_eq!((again.end.number, again.end.torn), (found.end.number, None));
            assert_eq!(same, state, "another state");
        }
        Err(error) => {
            assert!(matches!(error.exit_code(), 65 | 78), "{error}");
            assert!(contents(&disk) == before, "changed: {error}");
        }
    }
}

/// Takes `input` as a snapshot of a directory that has nothing else, and starts on it. Its first
/// byte is that of [`journal_recover`].
///
/// # Panics
///
/// As [`journal_recover`]; and when the state that was loaded, written as a snapshot again and
/// loaded, is another.
pub fn snapshot_load(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    let identity = an_identity();
    let disk = with_identity(&identity);
    let mut bytes = bytes.to_vec();
    put_snapshot(&disk, &mut bytes, mode % 2 == 1);
    if is_passed_over(&disk) {
        return;
    }
    let Ok((found, state)) = open(&disk) else {
        return;
    };
    let again = with_identity(&identity);
    let (engine, _) = start(&disk).expect("it could be loaded before");
    let begin = found.end.number;
    let written = write_snapshot(&again, &identity, &engine, begin);
    written.expect("a disk in memory takes it");
    let (_, same) = open(&again).expect("what was written is sound");
    assert_eq!(same, state, "another state");
}

/// Mends the directory, and starts on it where that is said to be possible.
fn repair(disk: &SimDisk) {
    let Ok(report) = check(disk, true) else {
        return;
    };
    if !report.can_start {
        return;
    }
    // Whether an effect is one on this state is only seen by doing it.
    match open(disk) {
        Err(Error::Corrupt { reason, .. }) => {
            assert!(
                reason.contains("no effect"),
                "mended, and damaged: {reason}"
            );
        }
        Err(error) => panic!("mended, and does not start: {error}"),
        Ok(_) => {}
    }
    let again = check(disk, false).expect("it could be read before");
    assert!(again.can_start, "mended, and damaged: {again:?}");
}

/// The engine that a start makes of a directory; one that is new has an identity by then.
fn start(disk: &SimDisk) -> Result<(Engine, Found), Error> {
    let identity = Identity::load(disk)?.unwrap_or_else(an_identity);
    let options = Options {
        databases: identity.databases,
        shards: identity.shards as usize,
        hash_seed: identity.hash_seed,
        ..Options::default()
    };
    let engine = Engine::new(options, None);
    let found = recover(disk, &identity, &engine, identity.databases, &mut |_| {})?;
    Ok((engine, found))
}

/// What a start finds, and the hash of the state.
fn open(disk: &SimDisk) -> Result<(Found, u128), Error> {
    let (engine, found) = start(disk)?;
    Ok((found, engine.state_hash()))
}

/// An identity like any other, but small: few shards, few databases.
pub(super) fn an_identity() -> Identity {
    let shape = Shape {
        shards: 4,
        databases: 3,
    };
    Identity::new(Random::FIXED, shape)
}

fn with_identity(identity: &Identity) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(identity::NAME, &identity.encode());
    disk
}

fn write_snapshot(
    disk: &SimDisk,
    identity: &Identity,
    engine: &Engine,
    begin: u64,
) -> Result<(), Error> {
    let now = Now::default();
    let to = Arc::new(disk.clone());
    let mut snapshotting = Snapshotting::begin(to, identity, begin, now)?;
    while snapshotting.cut(&engine.shared(0, now), SHARDS_AT_ONCE) {
        snapshotting.write()?;
    }
    snapshotting.write()?;
    let highest = snapshotting.seal()?;
    snapshotting.publish(disk, identity, highest)?;
    Ok(())
}

/// Every file with its bytes.
fn contents(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let mut names = disk.list().expect("a disk in memory can be read");
    names.sort();
    let with_bytes = |name: String| (name.clone(), disk.contents(&name));
    names.into_iter().map(with_bytes).collect()
}

/// The files of an input.
fn directory(input: &[u8], is_sealed: bool) -> SimDisk {
    let disk = SimDisk::new();
    let mut secret = an_identity().secret.to_le_bytes();
    let mut position = 0;
    for file in split(input) {
        let Some((kind, bytes)) = file.split_first() else {
            continue;
        };
        let mut bytes = bytes.to_vec();
        match kind {
            b'i' => {
                if is_sealed {
                    seal_covered(&mut bytes, usize::MAX);
                }
                secret = field(&bytes, 44).unwrap_or(secret);
                disk.put(identity::NAME, &bytes);
            }
            b'l' | b'n' => {
                let own = field(&bytes, 40).map(u64::from_le_bytes);
                let base = own.filter(|_| *kind == b'l').unwrap_or(position);
                if is_sealed {
                    seal_segment(&mut bytes, secret);
                }
                position = base.saturating_add(bytes.len() as u64);
                disk.put(&segment::name(base), &bytes);
            }
            b's' => put_snapshot(&disk, &mut bytes, is_sealed),
            b't' => disk.put(&format!("{}.tmp", snapshot::name(0)), &bytes),
            _ => {}
        }
    }
    disk
}

/// What stands behind each [`FILE`].
fn split(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_start = |at: &usize| input.get(*at..).is_some_and(|rest| rest.starts_with(FILE));
    let starts: Vec<usize> = (0..input.len()).filter(is_start).collect();
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .copied()
        .chain([input.len()])
        .collect();
    let file = |(start, end): (usize, usize)| input.get(start.saturating_add(FILE.len())..end);
    starts.into_iter().zip(ends).filter_map(file)
}

fn put_snapshot(disk: &SimDisk, bytes: &mut [u8], is_sealed: bool) {
    if is_sealed {
        seal_snapshot(bytes);
    }
    let begin = field(bytes, 52).map_or(0, u64::from_le_bytes);
    disk.put(&snapshot::name(begin), bytes);
}

/// Eight bytes of a header.
fn field(bytes: &[u8], at: usize) -> Option<[u8; 8]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Gives a header of this length, or the whole file where it is shorter, its checksum.
fn seal_covered(bytes: &mut [u8], header_len: usize) {
    let end = bytes.len().min(header_len);
    if let Some(covered) = bytes.get(COVERED_AT..end) {
        let crc = frame::crc32c(covered).to_le_bytes();
        bytes[CRC_AT..COVERED_AT].copy_from_slice(&crc);
    }
}

/// Gives its header, every frame in order, and what may be a mark behind those, a checksum.
fn seal_segment(bytes: &mut [u8], secret: [u8; 8]) {
    seal_covered(bytes, segment::HEADER_BYTES);
    for at in segment::HEADER_BYTES..bytes.len() {
        let mark = bytes.get_mut(at..at.saturating_add(frame::MARK_FRAME_BYTES));
        if let Some(mark) = mark.filter(|mark| mark[frame::HEADER_BYTES..].starts_with(&secret)) {
            frame::seal(mark);
        }
    }
    let mut at = segment::HEADER_BYTES;
    while let Some(rest) = bytes.get_mut(at..) {
        let len = frame::peek(rest).map_or(usize::MAX, |(_, len)| len);
        let Some(whole) = rest.get_mut(..len) else {
            return;
        };
        frame::seal(whole);
        at = at.saturating_add(len);
    }
}

/// Gives its header and every chunk a checksum, and its end the one of them all.
fn seal_snapshot(bytes: &mut [u8]) {
    seal_covered(bytes, SNAPSHOT_HEADER_BYTES);
    let crc_at = |bytes: &[u8], at: usize| {
        let crc = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*crc))
    };
    let header_crc = crc_at(bytes, CRC_AT).unwrap_or(0);
    let mut chain = snapshot::link(0, header_crc);
    let mut at = SNAPSHOT_HEADER_BYTES;
    while let Some(body_len) = crc_at(bytes, at.saturating_add(4)) {
        let end = at
            .saturating_add(CHUNK_HEADER_BYTES)
            .saturating_add(body_len as usize);
        let Some(chunk) = bytes.get_mut(at..end) else {
            return;
        };
        if chunk[8] == CHUNK_END && body_len >= 4 {
            let chain_at = chunk.len() - 4;
            chunk[chain_at..].copy_from_slice(&chain.to_le_bytes());
        }
        frame::seal(chunk);
        chain = snapshot::link(chain, crc_at(chunk, 0).unwrap_or(0));
        at = end;
    }
}

/// Whether a start would need memory, or time, that the input does not stand for.
fn is_passed_over(disk: &SimDisk) -> bool {
    let Ok(identity) = Identity::load(disk).map(|found| found.unwrap_or_else(an_identity)) else {
        return false;
    };
    identity.databases > DATABASES_MAX
        || has_hole_in_log(disk, &identity)
        || has_hole_in_snapshots(disk, &identity)
}

fn has_hole(effects: &[u8]) -> bool {
    Effects::of(effects).any(
        // What is impossible is no effect, and refused without taking memory.
        |effect| matches!(effect, Ok(Effect::WriteRange { offset, .. }) if offset > HOLE_BYTES_MAX),
    )
}

fn has_hole_in_log(disk: &SimDisk, identity: &Identity) -> bool {
    // A log that begins where a snapshot ends is read from there on.
    let segments = segment::list(disk).unwrap_or_default();
    (0..segments.len()).any(|first| {
        let mut reader = Reader::over(disk, identity.log_id(), segments[first..].to_vec());
        while let Ok(Some(entry)) = reader.next() {
            if entry.kind == Kind::Effects && has_hole(entry.payload) {
                return true;
            }
        }
        false
    })
}

fn has_hole_in_snapshots(disk: &SimDisk, identity: &Identity) -> bool {
    let snapshots = snapshot::list(disk).unwrap_or_default();
    snapshots.iter().any(|named| {
        let Ok(mut reader) = SnapshotReader::open(disk, named, identity) else {
            return false;
        };
        let mut items = Vec::new();
        while let Ok(Some(part)) = reader.next(&mut items) {
            if matches!(part, Part::Shard(_)) && has_hole(&items) {
                return true;
            }
        }
        false
    })
}

#[cfg(all(test, not(loom)))]
mod tests;
