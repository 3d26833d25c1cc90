//! Logs cut, filled up and damaged at every place: what is read is a prefix, and what had been safe
//! is never silently cut.

use super::*;
use crate::journal::disk::sim::{Chance, SimDisk};

const ID: LogId = LogId {
    history: [7; 16],
    secret: 0x5ec2_e75e_c2e7_5ec2,
};

/// A log in the making: what the writer leaves on disk, with `synced` as the test wants it.
struct Builder {
    segments: Vec<(u64, Vec<u8>)>,
    number: u64,
    synced: u64,
}

impl Builder {
    fn new() -> Self {
        let mut builder = Self {
            segments: Vec::new(),
            number: 0,
            synced: 0,
        };
        builder.segment(0);
        builder
    }

    fn segment(&mut self, base: u64) {
        let header = Header {
            id: ID,
            base,
            number: self.number,
            synced: self.synced,
        };
        self.segments.push((base, header.encode().to_vec()));
    }

    fn position(&self) -> u64 {
        let (base, bytes) = self.segments.last().unwrap();
        base + bytes.len() as u64
    }

    fn mark(&mut self, kind: Kind) -> &mut Self {
        let mark = Mark {
            secret: ID.secret,
            position: self.position(),
            synced: self.synced,
            engine_ms: self.number,
            wall_ms: 1,
        };
        let (_, bytes) = self.segments.last_mut().unwrap();
        frame::push_mark(bytes, self.number, kind, &mark);
        self
    }

    fn effects(&mut self, payload: &[u8]) -> &mut Self {
        self.number += 1;
        let (_, bytes) = self.segments.last_mut().unwrap();
        let start = bytes.len();
        frame::push_unsealed(bytes, self.number, payload);
        frame::seal(&mut bytes[start..]);
        self
    }

    fn synced(&mut self) -> &mut Self {
        self.synced = self.position();
        self
    }

    fn rotate(&mut self) -> &mut Self {
        self.segment(self.position());
        self
    }

    fn last(&mut self) -> &mut Vec<u8> {
        &mut self.segments.last_mut().unwrap().1
    }

    fn disk(&self) -> SimDisk {
        let disk = SimDisk::new();
        for (base, bytes) in &self.segments {
            disk.put(&name(*base), bytes);
        }
        disk
    }
}

/// Two batches that were safe, in two segments, and one that was not: frames 1 to 7.
fn sample() -> Builder {
    let mut log = Builder::new();
    log.mark(Kind::Mark)
        .effects(b"one")
        .effects(b"two")
        .synced();
    log.mark(Kind::Mark).effects(b"three").rotate();
    log.mark(Kind::Mark).effects(&[4; 300]).synced();
    log.mark(Kind::Mark)
        .effects(b"five")
        .effects(b"six")
        .effects(b"seven");
    log
}

/// Everything that can be read: the payloads of the effects, and where it ended.
fn read(disk: &SimDisk) -> Result<(Vec<Vec<u8>>, End), LogError> {
    let mut reader = Reader::new(disk, ID)?;
    let mut payloads = Vec::new();
    while let Some(entry) = reader.next()? {
        if entry.kind == Kind::Effects {
            payloads.push(entry.payload.to_vec());
            assert_eq!(entry.number, payloads.len() as u64);
        }
    }
    Ok((payloads, reader.end().clone()))
}

/// What is read is a prefix of what was written; after the cut it is all, and nothing is torn.
fn check_prefix(disk: &SimDisk, whole: &[Vec<u8>]) -> (usize, End) {
    let (payloads, end) = read(disk).expect("it is a torn tail");
    assert!(
        whole.starts_with(&payloads),
        "frames that were never written"
    );
    cut(disk, end.position).unwrap();
    let (again, healed) = read(disk).expect("it was cut");
    assert_eq!(again, payloads);
    assert_eq!((healed.position, healed.number), (end.position, end.number));
    assert_eq!(healed.torn, None);
    (payloads.len(), end)
}

#[test]
fn a_header_has_these_bytes() {
    let header = Header {
        id: LogId {
            history: std::array::from_fn(|n| n as u8),
            secret: 0x1122_3344_5566_7788,
        },
        base: 0x0400_0112,
        number: 7,
        synced: 0x0400_00ff,
    };
    let bytes = header.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = "4c494e43484c4f4733a45eea01000000000102030405060708090a0b0c0d0e0f\
                    887766554433221112010004000000000700000000000000ff00000400000000";
    assert_eq!(hex, expected);
    assert_eq!(Header::parse(&bytes), Ok(header));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::parse(&flipped), Err(NoHeader::Damaged), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert_eq!(Header::parse(&bytes[..len]), Err(NoHeader::Damaged));
    }
}

#[test]
fn names_are_read_back_and_others_ignored() {
    assert_eq!(name(0x0400_0112), "log-0000000004000112.seg");
    assert_eq!(parse_name("log-0000000004000112.seg"), Some(0x0400_0112));
    let strange = [
        "log-.seg",
        "log-4000112.seg",
        "log-000000000400011G.seg",
        "identity",
        "log-0000000004000112.seg.tmp",
        "log-+00000000400011A.seg",
        "log-000000000400011A.seg",
    ];
    for strange in strange {
        assert_eq!(parse_name(strange), None, "{strange}");
    }
}

#[test]
fn a_sound_log_is_read_over_its_segments() {
    let log = sample();
    let (payloads, end) = read(&log.disk()).unwrap();
    assert_eq!(payloads.len(), 7);
    assert_eq!(payloads[3], [4; 300]);
    assert_eq!((end.position, end.number), (log.position(), 7));
    assert_eq!((end.is_closed, end.torn), (false, None));
    assert_eq!(end.mark.unwrap().engine_ms, 4);
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let (payloads, end) = read(&SimDisk::new()).unwrap();
    assert_eq!((payloads.len(), end), (0, End::default()));
}

#[test]
fn a_frame_larger_than_the_buffer_is_read() {
    let mut log = Builder::new();
    let large = vec![9; 3 * READ_BYTES + 17];
    log.mark(Kind::Mark).effects(&large).effects(b"behind");
    let (payloads, _) = read(&log.disk()).unwrap();
    assert_eq!(payloads, [large, b"behind".to_vec()]);
}

#[test]
fn a_tail_cut_at_any_byte_of_the_last_batch_is_torn() {
    let whole = read(&sample().disk()).unwrap().0;
    let safe_len = (sample().synced - sample().segments[1].0) as usize;
    let full_len = sample().last().len();
    for len in safe_len..full_len {
        let mut log = sample();
        log.last().truncate(len);
        let (count, end) = check_prefix(&log.disk(), &whole);
        assert!((4..7).contains(&count), "{count} frames of {len} bytes");
        let told = end.torn.map_or(0, |torn| torn.bytes_len);
        let zeros = log
            .last()
            .iter()
            .rev()
            .take_while(|byte| **byte == 0)
            .count() as u64;
        assert!(
            end.position + told >= log.position() - zeros,
            "every byte cut is told"
        );
    }
}

#[test]
fn zeros_behind_the_end_are_no_damage_and_garbage_is_a_torn_tail() {
    let whole = read(&sample().disk()).unwrap().0;
    for len in [1, 17, 18, 58, 512, 4_096] {
        let mut log = sample();
        log.last().extend(vec![0; len]);
        let (count, end) = check_prefix(&log.disk(), &whole);
        assert_eq!((count, end.torn), (7, None), "{len} zeros");
        for seed in 0..20 {
            let mut log = sample();
            let position = log.position();
            let mut chance = Chance(seed);
            log.last().extend((0..len).map(|_| chance.draw() as u8 | 1));
            let (count, end) = check_prefix(&log.disk(), &whole);
            assert_eq!((count, end.position), (7, position));
            assert_eq!(end.torn.unwrap().bytes_len, len as u64);
        }
    }
}

/// Flips every bit of the log: a frame that differs is never handed out, and the log ends with an
/// error exactly where bytes that some later mark knows to be safe have changed.
#[test]
fn a_flipped_bit_is_damage_below_what_was_safe_and_a_torn_tail_above() {
    let whole = read(&sample().disk()).unwrap().0;
    let safe = sample().synced;
    for segment in 0..2 {
        for bit in 0..sample().segments[segment].1.len() * 8 {
            let mut log = sample();
            let (base, bytes) = &mut log.segments[segment];
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (base, position) = (*base, *base + bit as u64 / 8);
            let disk = log.disk();
            if position < safe {
                let error = read(&disk).expect_err("what was safe has changed");
                let LogError::Corrupt {
                    file,
                    offset,
                    synced,
                    ..
                } = error
                else {
                    panic!("{error} for bit {bit} of {segment}");
                };
                assert_eq!((file, synced), (name(base), safe));
                assert!(offset <= bit as u64 / 8);
            } else {
                check_prefix(&disk, &whole);
            }
        }
    }
}

#[test]
fn what_a_mark_alone_says_was_safe_is_protected() {
    let mut log = sample();
    log.synced().mark(Kind::Mark);
    let at = log.last().len() - frame::MARK_FRAME_BYTES - 1;
    log.last()[at] ^= 1;
    assert!(matches!(read(&log.disk()), Err(LogError::Corrupt { .. })));
}

#[test]
fn damage_after_a_clean_stop_is_found() {
    let mut closed = sample();
    closed.synced().mark(Kind::Close);
    let (payloads, end) = read(&closed.disk()).unwrap();
    assert_eq!((payloads.len(), end.is_closed), (7, true));
    let close_at = closed.last().len() - frame::MARK_FRAME_BYTES;
    for at in HEADER_BYTES..close_at {
        let bytes = closed.last();
        bytes[at] ^= 0x40;
        assert!(
            matches!(read(&closed.disk()), Err(LogError::Corrupt { .. })),
            "byte {at}"
        );
        closed.last()[at] ^= 0x40;
    }
    closed.last().extend([0; 100]);
    assert_eq!(
        read(&closed.disk()).unwrap().1.torn,
        None,
        "zeros written ahead"
    );
    closed.last().push(1);
    let error = read(&closed.disk()).unwrap_err();
    assert!(matches!(
        error,
        LogError::Corrupt {
            reason: Reason::BehindClose,
            ..
        }
    ));
}

#[test]
fn a_log_opened_after_a_clean_stop_goes_on_in_a_segment_of_its_own() {
    let mut log = sample();
    log.synced().mark(Kind::Close).synced().rotate();
    let torn_header = log.last().len() - 10;
    let whole = read(&log.disk()).unwrap().0;
    log.last().truncate(torn_header);
    let (count, end) = check_prefix(&log.disk(), &whole);
    assert_eq!(count, 7);
    assert_eq!(
        end.position, log.segments[2].0,
        "the new segment goes as a whole"
    );
    log.segments.pop();
    log.rotate().mark(Kind::Mark).effects(b"eight");
    let (payloads, end) = read(&log.disk()).unwrap();
    assert_eq!((payloads.len(), end.is_closed), (8, false));
}

#[test]
fn frames_out_of_order_are_not_accepted() {
    let mut log = Builder::new();
    log.mark(Kind::Mark).effects(b"one");
    log.number = 2;
    log.effects(b"three");
    let (payloads, end) = read(&log.disk()).unwrap();
    assert_eq!(payloads.len(), 1);
    let reason = end.torn.unwrap().reason;
    assert_eq!(
        reason,
        Reason::Number {
            found: 3,
            expected: 2
        }
    );
}

/// A client may store any bytes; a mark among them must not be believed, nor make a torn tail look
/// like damage.
#[test]
fn a_mark_inside_a_value_counts_for_nothing() {
    let mut forged = Vec::new();
    for secret in [0, ID.secret] {
        let mark = Mark {
            secret,
            position: 1,
            synced: u64::MAX,
            engine_ms: 0,
            wall_ms: 0,
        };
        frame::push_mark(&mut forged, 5, Kind::Mark, &mark);
    }
    let mut log = sample();
    log.effects(&forged);
    let len = log.last().len();
    log.last()[len - forged.len() - 1] ^= 1;
    let (payloads, end) = read(&log.disk()).unwrap();
    assert_eq!(payloads.len(), 7);
    assert!(end.torn.is_some());
}

#[test]
fn a_missing_segment_is_damage_and_a_newer_or_foreign_one_is_refused() {
    let disk = sample().disk();
    disk.remove(&name(0)).unwrap();
    let (payloads, end) = {
        let mut reader = Reader::new(&disk, ID).unwrap();
        let first = reader.next().unwrap().map(|entry| entry.kind);
        assert_eq!(reader.first_number(), Some(3));
        (first, reader.end().clone())
    };
    assert_eq!(
        (payloads, end.number),
        (Some(Kind::Mark), 3),
        "old segments may be gone"
    );

    let mut log = sample();
    log.rotate().mark(Kind::Mark);
    log.segments.remove(1);
    assert!(matches!(
        read(&log.disk()),
        Err(LogError::Corrupt {
            reason: Reason::Gap { .. },
            ..
        })
    ));

    let other = LogId { secret: 1, ..ID };
    let foreign = Reader::new(&sample().disk(), other)
        .unwrap()
        .next()
        .map(|_| ());
    assert!(matches!(foreign, Err(LogError::Foreign { .. })));

    let mut log = sample();
    let bytes = log.last();
    bytes[12] = 2;
    let crc = frame::crc32c(&bytes[12..HEADER_BYTES]).to_le_bytes();
    bytes[8..12].copy_from_slice(&crc);
    assert!(matches!(
        read(&log.disk()),
        Err(LogError::Newer {
            version: 2,
            offset: 0,
            ..
        })
    ));

    let mut log = sample();
    let at = log.last().len();
    log.effects(b"from the future");
    log.last()[at + 16] = 9;
    frame::seal(&mut log.last()[at..]);
    assert!(matches!(
        read(&log.disk()),
        Err(LogError::Newer { version: 9, .. })
    ));
}

/// A segment that found no room for its header is given up; its name may come back in a crash.
#[test]
fn a_segment_without_a_header_that_the_log_went_past_is_passed_over_and_removed() {
    let log = sample();
    let whole = read(&log.disk()).unwrap().0;
    for junk in [&b""[..], b"LINC", &[0; 64]] {
        let disk = log.disk();
        disk.put(&name(log.position() - 20), junk);
        let (count, end) = check_prefix(&disk, &whole);
        assert_eq!((count, end.torn, end.position), (7, None, log.position()));
        assert_eq!(list(&disk).unwrap().len(), 2);
    }
    let mut between = sample();
    between.rotate().mark(Kind::Mark).effects(b"eight");
    let disk = between.disk();
    disk.put(&name(log.position() - 20), b"LINC");
    assert_eq!(read(&disk).unwrap().0.len(), 8);
}

#[test]
fn zeros_left_in_a_segment_whose_cut_was_lost_are_passed_over() {
    let mut log = sample();
    log.segments[0].1.extend([0; 4_096]);
    let (payloads, end) = read(&log.disk()).unwrap();
    assert_eq!((payloads.len(), end.torn), (7, None));
}
