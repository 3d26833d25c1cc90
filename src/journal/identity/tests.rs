//! The identity of a directory, and its one owner.

use super::*;
use crate::journal::disk::sim::{Call, Fault, SimDisk};

const SHAPE: Shape = Shape {
    shards: 4,
    databases: 2,
};

/// A process begins.
fn begin_as(disk: &SimDisk, random: Random, shape: Shape) -> Result<Identity, Error> {
    let identity = Identity::begin(disk, random, shape)?;
    identity.store(disk)?;
    Ok(identity)
}

fn begin(disk: &SimDisk) -> Identity {
    begin_as(disk, Random::FIXED, SHAPE).unwrap()
}

#[test]
fn the_bytes_are_these() {
    let identity = Identity {
        run: 3,
        engine_ms: 258,
        closed_at: 772,
        fence_max: 1_029,
        ids_max_ms: 1_286,
        snowflake: Some(Layout {
            worker: 9,
            epoch_ms: 1_543,
            ..Layout::default()
        }),
        ..Identity::new(Random::FIXED, SHAPE)
    };
    let bytes = identity.encode();
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let (head, rest) = text.split_at(24);
    assert_eq!(&head[..16], "4c494e4348504944");
    assert_eq!(
        rest,
        "03000000abababababababababababababababababababab0400000002000000887766554433\
         22110700000000000000030000000000000002010000000000000403000000000000\
         05040000000000000605000000000000290a0c00090000000706000000000000"
    );
    assert_eq!(Identity::parse(&bytes), Ok(identity));
    assert_eq!(identity.history_text(), "ab".repeat(20));
}

/// Version 1 said nothing of where the log was closed, nor of fencing tokens, version 2 of IDs.
#[test]
fn an_older_format_is_read() {
    let identity = Identity {
        closed_at: 772,
        fence_max: 1_029,
        ..Identity::new(Random::FIXED, SHAPE)
    };
    let older = |version: u8, len: usize| {
        let mut bytes = identity.encode();
        bytes.truncate(len);
        bytes[12] = version;
        let crc = crate::journal::frame::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    let expected = Identity::new(Random::FIXED, SHAPE);
    assert_eq!(Identity::parse(&older(1, 76)), Ok(expected));
    assert_eq!(Identity::parse(&older(2, 92)), Ok(identity));
}

#[test]
fn each_start_counts_and_the_rest_is_for_life() {
    let disk = SimDisk::new();
    let first = begin(&disk);
    assert_eq!((first.run, first.databases), (1, 2));
    let other = Random {
        history: [1; 20],
        secret: 1,
        hash_seed: 1,
    };
    let more = Shape {
        shards: 8,
        databases: 5,
    };
    let second = begin_as(&disk, other, more).unwrap();
    let expected = Identity {
        run: 2,
        databases: 5,
        ..first
    };
    assert_eq!(second, expected, "more databases come, shards stay");
    let third = begin(&disk);
    assert_eq!((third.run, third.databases), (3, 5), "none goes");
}

#[test]
fn any_flipped_bit_and_any_cut_is_found() {
    let disk = SimDisk::new();
    begin(&disk);
    let bytes = disk.contents(NAME).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(NAME, &flipped);
        let error = Identity::begin(&disk, Random::FIXED, SHAPE).unwrap_err();
        assert_eq!(error.exit_code(), 65, "bit {bit}: {error}");
        assert_eq!(disk.contents(NAME).unwrap(), flipped, "untouched");
    }
    for len in 0..bytes.len() {
        assert_eq!(Identity::parse(&bytes[..len]), Err(NoHeader::Damaged));
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(Identity::parse(&longer), Err(NoHeader::Damaged));
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let disk = SimDisk::new();
    let mut bytes = begin(&disk).encode();
    bytes[12] = 4;
    let crc = crate::journal::frame::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.put(NAME, &bytes);
    let error = Identity::begin(&disk, Random::FIXED, SHAPE).unwrap_err();
    assert_eq!(error.exit_code(), 78, "{error}");
    assert!(error.to_string().contains("version 4"), "{error}");
    assert_eq!(disk.contents(NAME).unwrap(), bytes);
}

#[test]
fn a_directory_that_lost_its_identity_is_not_new() {
    for name in [segment::name(0), snapshot::name(9)] {
        let disk = SimDisk::new();
        disk.put(&name, b"");
        let error = Identity::begin(&disk, Random::FIXED, SHAPE).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(disk.list().unwrap(), [name]);
    }
}

#[test]
fn a_crash_at_any_call_leaves_the_old_or_the_new() {
    for seed in 0..20 {
        for call in 1.. {
            let disk = SimDisk::new();
            let old = begin(&disk);
            disk.power_off_at(disk.calls() + call);
            let new = begin_as(&disk, Random::FIXED, SHAPE);
            let after = disk.crash(seed);
            let found = Identity::load(&after).unwrap().expect("one of the two");
            let runs = [old.run, old.run + 1];
            assert!(runs.contains(&found.run), "call {call}: {found:?}");
            if let Ok(new) = new {
                assert_eq!(found, new, "what was answered is safe");
                break;
            }
        }
    }
}

#[test]
fn errors_of_the_system_have_their_codes() {
    let disk = SimDisk::new();
    disk.fail(Call::Sync, 0, Fault::Io);
    let error = begin_as(&disk, Random::FIXED, SHAPE).unwrap_err();
    assert_eq!(error.exit_code(), 74, "{error}");
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    assert_eq!(Error::io("x", denied).exit_code(), 77);
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let path = std::env::temp_dir().join(format!("linchpin-owner-{}", std::process::id()));
    let disk = open_directory(&path).unwrap();
    let owner = Owner::take(&disk, 4_711).unwrap();
    let error = Owner::take(&disk, 4_712).unwrap_err();
    assert!(matches!(error, Error::Owned { pid: Some(4_711) }));
    assert_eq!(error.exit_code(), 73);
    assert_eq!(Owner::take_to_read(&disk).unwrap_err().exit_code(), 73);
    drop(owner);
    drop(Owner::take(&disk, 4_712).unwrap());
    assert!(Owner::take_to_read(&disk).unwrap().is_some());
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn engine_time_goes_on_and_never_back() {
    let mut identity = Identity::new(Random::FIXED, SHAPE);
    let before_ms = identity.engine_ms;
    identity.resume_at(before_ms + 7);
    assert_eq!(identity.engine_ms, before_ms + 7);
    identity.resume_at(before_ms);
    assert_eq!(identity.engine_ms, before_ms + 7);
}
