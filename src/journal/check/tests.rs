//! What a look through a directory finds, and what a repair leaves.

use super::*;
use crate::clock::Now;
use crate::engine::{Effect, Engine, Options, ValueRef};
use crate::journal::disk::sim::SimDisk;
use crate::journal::frame::Mark;
use crate::journal::identity::{Random, Shape};
use crate::journal::recover::recover;
use crate::journal::snapshot::{Header, ShardCut, SnapshotWriter};
use std::sync::Arc;

const SHAPE: Shape = Shape {
    shards: 1,
    databases: 1,
};

fn put(key: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    let key = key.to_le_bytes();
    Effect::put(0, &key, ValueRef::Int(1), None).push_to(&mut payload);
    payload
}

/// A directory whose log has two segments, frames 1 to 4 and 5 to 8, all of it safe but frame 8.
fn directory() -> (SimDisk, Identity) {
    let disk = SimDisk::new();
    let identity = Identity::new(Random::FIXED, SHAPE);
    identity.store(&disk).unwrap();
    let mut base = 0;
    for first in [0, 4] {
        let mut bytes = segment(&identity, base, first);
        if first == 4 {
            push_frame(&mut bytes, 8);
        }
        disk.put(&segment::name(base), &bytes);
        base += bytes.len() as u64;
    }
    (disk, identity)
}

fn segment(identity: &Identity, base: u64, first: u64) -> Vec<u8> {
    let id = identity.log_id();
    let header = segment::Header {
        id,
        base,
        number: first,
        synced: base,
    };
    let mut bytes = header.encode().to_vec();
    let last = if first == 0 { 4 } else { 7 };
    for number in first + 1..=last {
        push_frame(&mut bytes, number);
    }
    let position = base + bytes.len() as u64;
    let mark = Mark {
        secret: id.secret,
        position,
        synced: position,
        ..Mark::default()
    };
    frame::push_mark(&mut bytes, last, Kind::Mark, &mark);
    bytes
}

fn push_frame(bytes: &mut Vec<u8>, number: u64) {
    push_payload(bytes, number, &put(number));
}

fn push_payload(bytes: &mut Vec<u8>, number: u64, payload: &[u8]) {
    let start = bytes.len();
    frame::push_unsealed(bytes, number, payload);
    frame::seal(&mut bytes[start..]);
}

/// The same directory, and in the log a frame 9 with this effect, and a frame 10.
fn directory_with(effect: &Effect<'_>) -> (SimDisk, Identity) {
    let (disk, identity) = directory();
    let last = segment::list(&disk).unwrap().pop().unwrap().name;
    let mut bytes = disk.contents(&last).unwrap();
    let mut payload = Vec::new();
    effect.push_to(&mut payload);
    push_payload(&mut bytes, 9, &payload);
    push_frame(&mut bytes, 10);
    disk.put(&last, &bytes);
    (disk, identity)
}

/// A snapshot of the state behind frame `begin + 1`.
fn add_snapshot(disk: &SimDisk, identity: &Identity, begin: u64) -> Named {
    let header = Header::new(identity, begin, Now::default());
    let mut writer = SnapshotWriter::create(Arc::new(disk.clone()), &header).unwrap();
    let part = ShardCut {
        db: 0,
        shard: 0,
        cut: begin + 1,
    };
    let items: Vec<u8> = (1..=begin + 1).flat_map(put).collect();
    writer.push_shard(part, &items).unwrap();
    writer.push_map(begin, &[0]).unwrap();
    writer.seal().unwrap();
    writer.publish().unwrap();
    snapshot::list(disk).unwrap().pop().unwrap()
}

fn flip(disk: &SimDisk, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 1;
    disk.put(name, &bytes);
}

/// The last frame that a start finds, and its number of keys; or its exit code.
fn start(disk: &SimDisk) -> Result<(u64, u64), u8> {
    let disk = disk.kill();
    let identity = Identity::load(&disk).unwrap().unwrap();
    let engine = Engine::new(
        Options {
            databases: 1,
            shards: 1,
            hash_seed: identity.hash_seed,
            ..Options::default()
        },
        None,
    );
    match recover(&disk, &identity, &engine, 1, &mut |_| {}) {
        Ok(found) => {
            let census = engine.shared(0, Now::default()).step().census();
            Ok((found.end.number, census[0].keys as u64))
        }
        Err(error) => Err(error.exit_code()),
    }
}

fn all(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    let with = |name: String| (name.clone(), disk.contents(&name));
    names.into_iter().map(with).collect()
}

fn texts(report: &Report) -> String {
    let line = |finding: &Finding| format!("{:?} {}\n", finding.grade, finding.text);
    report.findings.iter().map(line).collect()
}

/// Looks, which must change nothing and say what a start says; then repairs. Answers what both
/// said, and what a start finds then.
fn look_and_repair(disk: &SimDisk) -> (Report, Report, Result<(u64, u64), u8>) {
    let before = all(disk);
    let looked = check(disk, false).unwrap();
    assert_eq!(all(disk), before, "a look changes nothing");
    let started = start(disk);
    assert_eq!(looked.can_start, started.is_ok(), "{}", texts(&looked));
    let repaired = check(disk, true).unwrap();
    let after = start(disk);
    assert_eq!(repaired.can_start, after.is_ok(), "{}", texts(&repaired));
    if !repaired.can_start {
        assert_eq!(all(disk), before, "what cannot be repaired stays");
    }
    (looked, repaired, after)
}

/// Whatever is missing of the end, what is left is sound in itself.
#[test]
fn a_log_that_ends_before_it_was_closed_is_damaged_until_that_is_accepted() {
    let cut_last = |disk: &SimDisk, by: u64| {
        let last = segment::list(disk).unwrap().pop().unwrap();
        let bytes = disk.contents(&last.name).unwrap();
        disk.put(&last.name, &bytes[..bytes.len() - by as usize]);
    };
    let frame_len = {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, 8);
        bytes.len() as u64
    };
    for (segments_left, cut, keys) in [(2, 0, 8), (2, frame_len, 7), (1, 0, 4), (0, 0, 0)] {
        let (disk, mut identity) = directory();
        let last = segment::list(&disk).unwrap().pop().unwrap();
        let bytes_len = disk.contents(&last.name).unwrap().len() as u64;
        identity.closed_at = last.base + bytes_len;
        identity.store(&disk).unwrap();
        while segment::list(&disk).unwrap().len() > segments_left {
            let newest = segment::list(&disk).unwrap().pop().unwrap();
            disk.remove(&newest.name).unwrap();
        }
        if cut > 0 {
            cut_last(&disk, cut);
        }
        let is_whole = keys == 8;
        let found = if is_whole { Ok((8, 8)) } else { Err(65) };
        assert_eq!(start(&disk), found, "{keys} keys are left");
        let (looked, _, after) = look_and_repair(&disk);
        assert_eq!(looked.can_start, is_whole, "{}", texts(&looked));
        assert_eq!(texts(&looked).contains("was closed at"), !is_whole);
        assert_eq!(after, Ok((keys, keys)));
    }
}

#[test]
fn a_sound_directory_is_told_of_and_left_alone() {
    let (disk, identity) = directory();
    add_snapshot(&disk, &identity, 2);
    let (looked, _, after) = look_and_repair(&disk);
    let grades = looked.findings.iter().map(|finding| finding.grade);
    assert!(grades.eq([Grade::Sound; 3]), "{}", texts(&looked));
    assert_eq!((looked.exit_code(), after), (0, Ok((8, 8))));
    let text = texts(&looked);
    assert!(text.contains("cut from frame 2 to 3"), "{text}");
    assert!(text.contains("8 frames behind frame 0 up to 8"), "{text}");
}

#[test]
fn an_unused_directory_is_fine() {
    assert!(check(&SimDisk::new(), true).unwrap().can_start);
}

#[test]
fn a_torn_tail_is_told_in_bytes() {
    let (disk, _) = directory();
    let last = segment::list(&disk).unwrap().pop().unwrap().name;
    let bytes = disk.contents(&last).unwrap();
    disk.put(&last, &bytes[..bytes.len() - 3]);
    let (looked, repaired, after) = look_and_repair(&disk);
    assert!(
        texts(&looked).contains("a torn tail of"),
        "{}",
        texts(&looked)
    );
    assert!(texts(&repaired).contains("was cut"));
    assert_eq!(after, Ok((7, 7)));
}

#[test]
fn damage_in_the_log_is_cut_only_when_told_and_kept() {
    let (disk, _) = directory();
    let first = segment::name(0);
    // In the payload of frame 2.
    let frame_len = (disk.contents(&first).unwrap().len() - 64 - frame::MARK_FRAME_BYTES) / 4;
    flip(&disk, &first, 64 + frame_len + 20);
    let (looked, repaired, after) = look_and_repair(&disk);
    assert!(!looked.can_start && looked.exit_code() == 65);
    let text = texts(&repaired);
    assert!(
        text.contains("cut behind frame 1: 6 sound frames and"),
        "{text}"
    );
    assert_eq!(after, Ok((1, 1)));
    let lost = disk.list().unwrap();
    let lost = lost.iter().find(|name| name.starts_with("lost-")).unwrap();
    assert!(disk.contents(lost).unwrap().len() > 6 * frame_len);
}

/// A segment that found no room for its header was given up, and the log went on past the place
/// it is named for; damage behind that place is cut and kept all the same.
#[test]
fn damage_behind_a_segment_that_was_given_up_is_kept_too() {
    let (disk, _) = directory();
    let first = segment::name(0);
    let frame_len = (disk.contents(&first).unwrap().len() - 64 - frame::MARK_FRAME_BYTES) / 4;
    disk.put(&segment::name(70), b"LINCH");
    flip(&disk, &first, 64 + 2 * frame_len + 20);
    let (_, repaired, after) = look_and_repair(&disk);
    let text = texts(&repaired);
    assert!(
        text.contains("cut behind frame 2: 5 sound frames and"),
        "{text}"
    );
    assert_eq!(after, Ok((2, 2)));
}

/// What a start cuts without a word from `--repair` is told of by a look.
#[test]
fn frames_that_build_on_changes_in_no_log_are_told_of() {
    let (disk, _) = directory_with(&Effect::Unrecorded);
    let (looked, repaired, after) = look_and_repair(&disk);
    let text = texts(&looked);
    assert!(
        looked.can_start && text.contains("Leftover log-") && text.contains("from frame 9 on"),
        "{text}"
    );
    assert!(text.contains("has the state of frame 8"), "{text}");
    assert!(texts(&repaired).contains("was cut behind frame 8"));
    assert_eq!(after, Ok((8, 8)));
    assert!(!texts(&check(&disk, false).unwrap()).contains("builds on changes"));
}

#[test]
fn a_snapshot_behind_them_makes_them_needless() {
    let (disk, identity) = directory_with(&Effect::Unrecorded);
    add_snapshot(&disk, &identity, 9);
    let (looked, _, after) = look_and_repair(&disk);
    assert!(
        !texts(&looked).contains("builds on changes"),
        "{}",
        texts(&looked)
    );
    assert_eq!(after, Ok((10, 10)));
}

/// It would take memory without bound, and no command leaves it.
#[test]
fn a_write_behind_the_longest_value_is_damage() {
    let (db, key) = (0, &8u64.to_le_bytes()[..]);
    let (disk, _) = directory_with(&Effect::WriteRange {
        db,
        key,
        offset: 1 << 44,
        bytes: b"x",
    });
    assert_eq!(start(&disk), Err(65));
    let (looked, repaired, after) = look_and_repair(&disk);
    assert!(
        !looked.can_start && texts(&looked).contains("no effect"),
        "{}",
        texts(&looked)
    );
    assert!(texts(&repaired).contains("cut behind frame 8: 2 sound frames"));
    assert_eq!(after, Ok((8, 8)));
}

#[test]
fn segments_that_overlap_are_cut() {
    let (disk, identity) = directory();
    disk.put(&segment::name(70), &segment(&identity, 70, 4));
    let (looked, _, after) = look_and_repair(&disk);
    assert!(!looked.can_start, "{}", texts(&looked));
    assert_eq!(after, Ok((4, 4)));
}

#[test]
fn a_damaged_snapshot_that_the_log_replaces_is_put_aside() {
    let (disk, identity) = directory();
    let named = add_snapshot(&disk, &identity, 2);
    flip(&disk, &named.name, 90);
    let (looked, repaired, after) = look_and_repair(&disk);
    assert!(!looked.can_start);
    assert!(texts(&repaired).contains("the log replaces it"));
    assert_eq!(after, Ok((8, 8)));
    assert!(disk.contents(&format!("{}.damaged", named.name)).is_some());
}

/// As after a crash between a snapshot's getting its name and the removal of the one before it.
#[test]
fn a_damaged_snapshot_that_a_newer_one_replaces_is_no_damage() {
    let (disk, identity) = directory();
    let older = add_snapshot(&disk, &identity, 2);
    add_snapshot(&disk, &identity, 5);
    flip(&disk, &older.name, 90);
    let (looked, _, after) = look_and_repair(&disk);
    assert_eq!((looked.exit_code(), after), (0, Ok((8, 8))));
    let is_damage = |finding: &Finding| finding.grade == Grade::Damage;
    assert!(!looked.findings.iter().any(is_damage), "{}", texts(&looked));
    assert!(disk.contents(&older.name).is_none());
}

#[test]
fn what_a_crash_left_of_snapshots_goes() {
    let (disk, identity) = directory();
    add_snapshot(&disk, &identity, 2);
    add_snapshot(&disk, &identity, 5);
    disk.put("snapshot-0000000000000009.snap.tmp", b"x");
    let (looked, _, after) = look_and_repair(&disk);
    assert!(texts(&looked).contains("not finished"));
    assert!(texts(&looked).contains("1 segments that the snapshot replaces"));
    assert_eq!(after, Ok((8, 8)));
    assert_eq!(disk.list().unwrap().len(), 3, "identity, snapshot, segment");
}

#[test]
fn what_cannot_be_repaired_is_left_alone() {
    let (disk, identity) = directory();
    let named = add_snapshot(&disk, &identity, 6);
    disk.remove(&segment::name(0)).unwrap();
    flip(&disk, &named.name, 90);
    let (_, repaired, after) = look_and_repair(&disk);
    assert!(texts(&repaired).contains("cannot be repaired"));
    assert_eq!(after, Err(65));
    let (disk, _) = directory();
    flip(&disk, NAME, 20);
    let report = check(&disk, true).unwrap();
    assert!(!report.can_start && texts(&report).contains("cannot be repaired"));
}

/// Every bit of log and snapshot, one at a time: the look says what a start says, and a repair
/// either starts with a state of the history or leaves everything alone.
#[test]
fn any_flipped_byte_is_repaired_or_left_alone() {
    let (disk, identity) = directory();
    add_snapshot(&disk, &identity, 2);
    for (name, bytes) in all(&disk) {
        if name == NAME {
            continue;
        }
        for at in 0..bytes.unwrap().len() {
            let fresh = disk.kill();
            flip(&fresh, &name, at);
            let (_, _, after) = look_and_repair(&fresh);
            if let Ok((number, keys)) = after {
                assert_eq!(number, keys, "{name} {at}: each frame made one key");
            }
        }
    }
}

#[test]
fn a_newer_program_s_files_are_left_alone() {
    let (disk, _) = directory();
    let name = segment::name(0);
    let mut bytes = disk.contents(&name).unwrap();
    bytes[12] = 2;
    let crc = frame::crc32c(&bytes[12..64]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.put(&name, &bytes);
    let before = all(&disk);
    assert_eq!(check(&disk, true).unwrap_err().exit_code(), 78);
    assert_eq!(all(&disk), before);
}
