//! The bytes of snapshots: what is written is read, and nothing else is.

use super::*;
use crate::engine::{Effect, ValueRef};
use crate::journal::disk::sim::SimDisk;
use crate::journal::identity::{Random, Shape};

fn identity() -> Identity {
    let shape = Shape {
        shards: 4,
        databases: 2,
    };
    Identity::new(Random::FIXED, shape)
}

fn now() -> Now {
    Now {
        engine_ms: 5,
        wall_ms: 6,
        ..Now::default()
    }
}

fn part(db: u32, shard: u32, cut: u64) -> ShardCut {
    ShardCut { db, shard, cut }
}

fn item(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut items = Vec::new();
    Effect::put(0, key, ValueRef::Bytes(value), None).push_to(&mut items);
    items
}

type Parts = Vec<(Part, Vec<u8>)>;

/// A snapshot of two shards and the map; its name, bytes and parts.
fn small(disk: &SimDisk) -> (Named, Vec<u8>, Parts) {
    let header = Header::new(&identity(), 258, now());
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), &header).unwrap();
    let parts = vec![
        (Part::Shard(part(0, 1, 259)), item(b"k", b"v")),
        (Part::Shard(part(1, 3, 260)), Vec::new()),
        (
            Part::Map {
                cut: 258,
                ids: vec![1, 0],
            },
            Vec::new(),
        ),
    ];
    for (part, items) in &parts {
        match part {
            Part::Shard(part) => writer.push_shard(*part, items).unwrap(),
            Part::Map { cut, ids } => writer.push_map(*cut, ids).unwrap(),
        }
    }
    let summary = writer.seal().unwrap();
    let expected = Summary {
        parts: 3,
        items_bytes: 7,
        highest: 260,
    };
    assert_eq!(summary, expected);
    writer.publish().unwrap();
    let named = list(disk).unwrap().pop().unwrap();
    let bytes = disk.contents(&named.name).unwrap();
    assert_eq!(writer.bytes_len(), bytes.len() as u64);
    (named, bytes, parts)
}

fn read(disk: &SimDisk, named: &Named) -> Result<(Parts, Summary), Error> {
    let mut reader = SnapshotReader::open(disk, named, &identity())?;
    let (mut parts, mut items) = (Vec::new(), Vec::new());
    while let Some(part) = reader.next(&mut items)? {
        parts.push((part, items.clone()));
    }
    assert!(matches!(reader.next(&mut items), Ok(None)));
    Ok((parts, reader.summary()))
}

#[test]
fn the_bytes_are_these() {
    let disk = SimDisk::new();
    let (named, bytes, parts) = small(&disk);
    assert_eq!(named.name, "snapshot-0000000000000102.snap");
    assert_eq!(read(&disk, &named).unwrap().0, parts);
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(text, GOLDEN.concat());
}

/// Header; shard, items; shard; map; end.
const GOLDEN: &[&str] = &[
    "4c494e434850534e0074873f01000000abababababababababababababababababababab",
    "04000000020000000700000000000000020100000000000005000000000000000600000000000000",
    "1e2aa7301800000001000000000100000003010000000000000700000000000000",
    "57ba6e8c07000000020000016b017600",
    "f6cecacb1800000001010000000300000004010000000000000000000000000000",
    "8b379631100000000302010000000000000100000000000000",
    "8ba9ae501c000000040300000000000000070000000000000004010000000000005fe31258",
];

#[test]
fn what_is_larger_than_a_chunk_is_cut_into_chunks() {
    let disk = SimDisk::new();
    let header = Header::new(&identity(), 0, now());
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), &header).unwrap();
    let mut written = Vec::new();
    for len in [
        0,
        1,
        CHUNK_BYTES_MAX - 1,
        CHUNK_BYTES_MAX,
        3 * CHUNK_BYTES_MAX + 5,
    ] {
        let items: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let part = part(0, 0, len as u64);
        writer.push_shard(part, &items).unwrap();
        written.push((Part::Shard(part), items));
    }
    writer.push_map(0, &[0, 1]).unwrap();
    let summary = writer.seal().unwrap();
    writer.publish().unwrap();
    let named = list(&disk).unwrap().pop().unwrap();
    let (mut parts, found) = read(&disk, &named).unwrap();
    parts.pop();
    assert!(parts == written);
    assert_eq!(found, summary);
    assert_eq!(unfinished(&disk).unwrap(), [""; 0]);
}

#[test]
fn every_flipped_bit_is_found() {
    let disk = SimDisk::new();
    let (named, bytes, _) = small(&disk);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&named.name, &flipped);
        let error = read(&disk, &named).unwrap_err();
        let Error::Corrupt { file, offset, .. } = &error else {
            panic!("bit {bit}: {error}");
        };
        assert!(*file == named.name && *offset as usize <= bit / 8);
    }
}

#[test]
fn every_cut_and_anything_behind_is_found() {
    let disk = SimDisk::new();
    let (named, bytes, _) = small(&disk);
    for len in 0..bytes.len() {
        disk.put(&named.name, &bytes[..len]);
        assert_eq!(read(&disk, &named).unwrap_err().exit_code(), 65, "{len}");
    }
    disk.put(&named.name, &[&bytes[..], b"\0"].concat());
    assert_eq!(read(&disk, &named).unwrap_err().exit_code(), 65);
}

/// The chunks of a snapshot, each with its checksum.
fn chunks(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut chunks, mut rest) = (Vec::new(), &bytes[HEADER_BYTES..]);
    while let Some(len) = rest.get(4..8) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let (chunk, behind) = rest.split_at(CHUNK_HEADER_BYTES + len);
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}

#[test]
fn chunks_missing_doubled_or_in_another_order_are_found() {
    let disk = SimDisk::new();
    let (named, bytes, _) = small(&disk);
    let whole = chunks(&bytes);
    let refused = |chunks: &[&[u8]]| {
        disk.put(
            &named.name,
            &[&bytes[..HEADER_BYTES], &chunks.concat()].concat(),
        );
        assert_eq!(read(&disk, &named).unwrap_err().exit_code(), 65);
    };
    for at in 0..whole.len() {
        let mut fewer = whole.clone();
        fewer.remove(at);
        refused(&fewer);
        let mut more = whole.clone();
        more.insert(at, whole[at]);
        refused(&more);
        for other in 0..at {
            let mut swapped = whole.clone();
            swapped.swap(at, other);
            refused(&swapped);
        }
    }
    disk.put(&named.name, &bytes);
    read(&disk, &named).unwrap();
}

#[test]
fn a_length_that_is_claimed_takes_no_memory() {
    let disk = SimDisk::new();
    let (named, bytes, _) = small(&disk);
    let mut body = Vec::new();
    for number in [0u64, 300, u64::MAX] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    let mut chunk = [&(body.len() as u32).to_le_bytes()[..], &[SHARD], &body].concat();
    chunk.splice(0..0, frame::crc32c(&chunk).to_le_bytes());
    disk.put(&named.name, &[&bytes[..HEADER_BYTES], &chunk[..]].concat());
    let mut reader = SnapshotReader::open(&disk, &named, &identity()).unwrap();
    let mut items = Vec::new();
    assert_eq!(reader.next(&mut items).unwrap_err().exit_code(), 65);
    assert!(items.capacity() == 0 && reader.buffer.capacity() < 4_096);
    let long = [&[0; 4][..], &u32::MAX.to_le_bytes(), &[ITEMS]].concat();
    disk.put(&named.name, &[&bytes[..HEADER_BYTES], &long[..]].concat());
    let mut reader = SnapshotReader::open(&disk, &named, &identity()).unwrap();
    assert_eq!(reader.next(&mut items).unwrap_err().exit_code(), 65);
}

#[test]
fn a_newer_format_and_another_directory_are_refused() {
    let disk = SimDisk::new();
    let (named, bytes, _) = small(&disk);
    let with = |place: usize| {
        let mut changed = bytes.clone();
        changed[place] += 1;
        let crc = frame::crc32c(&changed[12..HEADER_BYTES]);
        changed[8..12].copy_from_slice(&crc.to_le_bytes());
        disk.put(&named.name, &changed);
        read(&disk, &named).unwrap_err()
    };
    assert_eq!(with(12).exit_code(), 78, "version");
    for (place, what) in [
        (16, "history"),
        (36, "shards"),
        (40, "databases"),
        (44, "seed"),
        (52, "begin"),
        (60, "time: the chain has the header's checksum in it"),
    ] {
        assert_eq!(with(place).exit_code(), 65, "{what}");
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let disk = SimDisk::new();
    let header = Header::new(&identity(), 0, now());
    let writer = SnapshotWriter::create(Arc::new(disk.clone()), &header).unwrap();
    assert_eq!(unfinished(&disk).unwrap().len(), 1);
    drop(writer);
    assert_eq!(disk.list().unwrap(), [""; 0]);
}
