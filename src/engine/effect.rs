//! Effects: what a step did, resolved, so that it can be done again without deciding anything.
//!
//! Every change of state is one effect naming one key (or one whole database), complete in itself:
//! `INCRBYFLOAT` leaves the number it arrived at, a rename the value under its new name and a
//! removal, a relative time to live an absolute deadline. Applying the effects of a history in
//! order to an empty engine gives the same state. The effects of one step travel together as one
//! *frame*: their bytes, one behind the other.
//!
//! FORMAT: bincode's, with its variable-length integers, written by wincode; this is the only
//! module that knows. The first integer of an effect is the number of its variant, so variants keep
//! their order and new ones come last. The bytes are pinned by tests below: files are made of them.
//!
//! Cost: writing an effect is one copy of key and value; reading borrows them. A write behind the
//! end of a value makes zeros that no byte of a frame stands for: what would make a value of more
//! than [`VALUE_BYTES_MAX`] is no effect.

mod coordination;

pub use coordination::{Coordination, Life, Share};

use super::idempotency::Record;
use super::value::ValueRef;
use wincode::config::Configuration;
use wincode::{SchemaRead, SchemaWrite};

/// No value is longer, in bytes. `proto-max-bulk-len`, which bounds what commands make, is no more.
pub const VALUE_BYTES_MAX: u64 = 512 << 20;

/// One change of state. Databases are named by identity, not by the number `SELECT` knows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Effect<'a> {
    /// The key has these bytes as its value and this deadline, whatever it had before.
    PutBytes {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The whole value.
        bytes: &'a [u8],
        /// Unix milliseconds, or none.
        deadline_ms: Option<u64>,
    },
    /// The key has this number as its value and this deadline, whatever it had before.
    PutInt {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The whole value.
        number: i64,
        /// Unix milliseconds, or none.
        deadline_ms: Option<u64>,
    },
    /// The key, which is there, has these bytes at the end of its value as well.
    Append {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// What was added.
        suffix: &'a [u8],
    },
    /// The key, which is there, has these bytes at this place of its value.
    WriteRange {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// First byte written.
        offset: u64,
        /// What was written.
        bytes: &'a [u8],
    },
    /// The key, which is there, has this deadline.
    Deadline {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Unix milliseconds, or none.
        deadline_ms: Option<u64>,
    },
    /// The key is gone: deleted, renamed, evicted, or past its deadline.
    Remove {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
    },
    /// The database is empty.
    Clear {
        /// Identity of the database.
        db: u32,
    },
    /// The two databases have changed places.
    Swap {
        /// Identity of one.
        a: u32,
        /// Identity of the other.
        b: u32,
    },
    /// Things changed before this of which no frame tells: what follows builds on a state that is
    /// in no log. Alone in its frame.
    Unrecorded,
    /// The key, which if it was not there is there without a value, has this fence mark.
    Fence {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The highest number that a write of it was fenced with, below 2^53.
        fence: u64,
    },
    /// The key, which is there, goes when this session ends.
    Tie {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Number of the session.
        session: u64,
    },
    /// Something that the coordinator keeps has changed.
    Coordination(Coordination<'a>),
    /// The key, whatever it was before, is a limit whose bucket is full again at this time.
    Limit {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Nanoseconds of engine time.
        full_ns: u64,
    },
    /// The key, whatever it was before, is this idempotency record.
    Idempotency {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The whole record.
        record: Record<'a>,
    },
    /// The key, which is there, is a cached string.
    Soft {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// From this Unix time in milliseconds on it is stale.
        at_ms: u64,
        /// What it cost to make, in milliseconds.
        cost_ms: u32,
    },
}

/// The most bytes that a frame may have. What a step adds is bounded before it runs; removals that
/// nobody can foresee come on top, and the length of a frame is kept in 32 bits.
pub const FRAME_BYTES_MAX: usize = 2 << 30;

/// Bytes that are no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame holds something that is no effect of this version")]
pub struct BadFrame;

type Format = Configuration<
    true,
    { wincode::config::PREALLOCATION_SIZE_LIMIT_DISABLED },
    wincode::len::BincodeLen,
    wincode::int_encoding::LittleEndian,
    wincode::int_encoding::VarInt,
>;

/// Lengths need no bound of their own: keys and values are borrowed from what is there.
const FORMAT: Format = Configuration::default()
    .with_varint_encoding()
    .disable_preallocation_size_limit();

impl<'a> Effect<'a> {
    /// The effect of giving a key a value.
    #[must_use]
    #[inline]
    pub fn put(db: u32, key: &'a [u8], value: ValueRef<'a>, deadline_ms: Option<u64>) -> Self {
        match value {
            ValueRef::Bytes(bytes) => Self::PutBytes {
                db,
                key,
                bytes,
                deadline_ms,
            },
            ValueRef::Int(number) => Self::PutInt {
                db,
                key,
                number,
                deadline_ms,
            },
        }
    }

    /// Whether the engine could have made it.
    fn is_possible(&self) -> bool {
        match self {
            Self::WriteRange { offset, bytes, .. } => offset
                .checked_add(bytes.len() as u64)
                .is_some_and(|end| end <= VALUE_BYTES_MAX),
            _ => true,
        }
    }

    /// Adds the effect to a frame.
    #[inline]
    pub fn push_to(&self, frame: &mut Vec<u8>) {
        wincode::config::serialize_into(frame, self, FORMAT)
            .expect("a vector takes whatever is written to it");
    }
}

/// Adds what is kept as the value of an entry to `bytes`, in the same format.
pub(super) fn to_bytes(bytes: &mut Vec<u8>, record: &Record<'_>) {
    wincode::config::serialize_into(bytes, record, FORMAT)
        .expect("a vector takes whatever is written to it");
}

/// Reads it back.
pub(super) fn from_bytes(mut bytes: &[u8]) -> Result<Record<'_>, BadFrame> {
    <Record<'_> as SchemaRead<'_, Format>>::get(&mut bytes).map_err(|_| BadFrame)
}

/// The effects of a frame, in order. Ends with the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Effects<'a>(&'a [u8]);

impl<'a> Effects<'a> {
    /// Whether a frame says that the ones behind it do not build on those before it.
    #[must_use]
    pub fn tell_of_a_gap(frame: &'a [u8]) -> bool {
        Self::of(frame).next() == Some(Ok(Effect::Unrecorded))
    }

    /// Those of this frame.
    #[must_use]
    pub fn of(frame: &'a [u8]) -> Self {
        Self(frame)
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let effect = <Effect<'a> as SchemaRead<'a, Format>>::get(&mut self.0)
            .ok()
            .filter(Effect::is_possible)
            .ok_or(BadFrame);
        if effect.is_err() {
            self.0 = &[];
        }
        Some(effect)
    }
}

/// Takes the frames of an engine, in the order in which they became visible to others.
pub trait Sink: Send + Sync {
    /// Takes one frame, never an empty one, from whoever is inside through this side of the gate;
    /// answers its number, one higher than that of the frame before. Called while the locks of all
    /// that the step read or changed are still held, so it must not wait for anything.
    fn commit(&self, side: usize, frame: &[u8]) -> u64;

    /// Whether there is room for a frame of so many bytes that nobody asked for. Called with locks
    /// held, so it must not wait for anything.
    fn has_room(&self, bytes: usize) -> bool {
        let _ = bytes;
        true
    }
}

/// A sink that keeps every frame: what tests replay into a second engine.
#[derive(Debug)]
pub struct Recorder {
    frames: crate::sync::Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    frames: Vec<Frame>,
    taken: u64,
}

/// A frame that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its effects.
    ///
    /// # Panics
    /// If it was not an engine that recorded it.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect<'_>> {
        Effects::of(&self.0)
            .collect::<Result<_, _>>()
            .expect("an engine writes what it can read")
    }
}

impl Recorder {
    /// A recorder without frames.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frames: crate::sync::Mutex::new(Recorded::default()),
        }
    }

    /// The number of the last frame.
    #[must_use]
    pub fn numbered(&self) -> u64 {
        let recorded = self.frames.lock();
        recorded.taken + recorded.frames.len() as u64
    }

    /// Takes out what was recorded since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Frame> {
        let mut recorded = self.frames.lock();
        recorded.taken += recorded.frames.len() as u64;
        std::mem::take(&mut recorded.frames)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Recorder {
    fn commit(&self, _: usize, frame: &[u8]) -> u64 {
        let mut recorded = self.frames.lock();
        recorded.frames.push(Frame(frame.to_vec()));
        recorded.taken + recorded.frames.len() as u64
    }
}

impl<S: Sink + ?Sized> Sink for std::sync::Arc<S> {
    fn commit(&self, side: usize, frame: &[u8]) -> u64 {
        (**self).commit(side, frame)
    }

    fn has_room(&self, bytes: usize) -> bool {
        (**self).has_room(bytes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One of each, with its bytes: the number of the variant, integers as bincode writes them.
    fn golden() -> Vec<(Effect<'static>, &'static [u8])> {
        let (db, key) = (3, &b"key"[..]);
        let put = Effect::PutBytes {
            db,
            key,
            bytes: b"va",
            deadline_ms: Some(1_700_000_000_000),
        };
        let put_int = Effect::PutInt {
            db,
            key,
            number: -2,
            deadline_ms: None,
        };
        let append = Effect::Append {
            db,
            key,
            suffix: b"",
        };
        let write = Effect::WriteRange {
            db: 300,
            key,
            offset: 70_000,
            bytes: b"x",
        };
        let deadline = Effect::Deadline {
            db,
            key,
            deadline_ms: Some(5),
        };
        let fence = Effect::Fence {
            db,
            key,
            fence: (1 << 53) - 1,
        };
        let tie = Effect::Tie {
            db,
            key,
            session: 7,
        };
        let mut all: Vec<(Effect<'static>, &'static [u8])> = vec![
            (
                put,
                b"\x00\x03\x03key\x02va\x01\xfd\x00\x68\xe5\xcf\x8b\x01\x00\x00",
            ),
            (put_int, b"\x01\x03\x03key\x03\x00"),
            (append, b"\x02\x03\x03key\x00"),
            (write, b"\x03\xfb\x2c\x01\x03key\xfc\x70\x11\x01\x00\x01x"),
            (deadline, b"\x04\x03\x03key\x01\x05"),
            (Effect::Remove { db, key }, b"\x05\x03\x03key"),
            (Effect::Clear { db }, b"\x06\x03"),
            (Effect::Swap { a: 0, b: 15 }, b"\x07\x00\x0f"),
            (Effect::Unrecorded, b"\x08"),
            (
                fence,
                b"\x09\x03\x03key\xfd\xff\xff\xff\xff\xff\xff\x1f\x00",
            ),
            (tie, b"\x0a\x03\x03key\x07"),
        ];
        all.extend(golden_of_kept());
        all
    }

    /// Those of what ends by engine time, or is stale by the system's.
    fn golden_of_kept() -> Vec<(Effect<'static>, &'static [u8])> {
        let (db, key) = (3, &b"key"[..]);
        let limit = Effect::Limit {
            db,
            key,
            full_ns: 1_000_000,
        };
        let record = Effect::Idempotency {
            db,
            key,
            record: Record {
                end_ms: 1_000,
                token: 9,
                is_retry: true,
                owner: b"o",
                fingerprint: b"fp",
                response: Some(b"yes"),
            },
        };
        let soft = Effect::Soft {
            db,
            key,
            at_ms: 1_000,
            cost_ms: 7,
        };
        vec![
            (limit, b"\x0c\x03\x03key\xfc\x40\x42\x0f\x00"),
            (
                record,
                b"\x0d\x03\x03key\xfb\xe8\x03\x09\x01\x01o\x02fp\x01\x03yes",
            ),
            (soft, b"\x0e\x03\x03key\xfb\xe8\x03\x07"),
        ]
    }

    #[test]
    fn the_bytes_of_each_effect_stay_what_they_are() {
        let mut frame = Vec::new();
        for (effect, bytes) in golden() {
            let start = frame.len();
            effect.push_to(&mut frame);
            assert_eq!(&frame[start..], bytes, "{effect:?}");
        }
        let read: Result<Vec<Effect<'_>>, BadFrame> = Effects::of(&frame).collect();
        let written: Vec<Effect<'_>> = golden().into_iter().map(|(effect, _)| effect).collect();
        assert_eq!(read, Ok(written));
    }

    #[test]
    fn a_value_larger_than_any_preallocation_is_written_and_read() {
        let bytes = vec![b'v'; 80 << 20];
        let effect = Effect::put(0, b"k", ValueRef::Bytes(&bytes), None);
        let mut frame = Vec::new();
        effect.push_to(&mut frame);
        assert!(Effects::of(&frame).eq([Ok(effect)]));
    }

    #[test]
    fn what_would_write_behind_the_longest_value_is_no_effect() {
        let read = |offset, bytes: &'static [u8]| {
            let (db, key) = (0, &b"k"[..]);
            let effect = Effect::WriteRange {
                db,
                key,
                offset,
                bytes,
            };
            let mut frame = Vec::new();
            effect.push_to(&mut frame);
            Effects::of(&frame).all(|effect| effect.is_ok())
        };
        assert!(read(VALUE_BYTES_MAX - 1, b"x") && read(VALUE_BYTES_MAX, b""));
        assert!(!read(VALUE_BYTES_MAX, b"x") && !read(VALUE_BYTES_MAX - 1, b"xy"));
        assert!(!read(u64::MAX, b"x") && !read(1 << 44, b""));
    }

    proptest! {
        /// Whatever the bytes are, reading them ends, and gives no more than there is.
        #[test]
        fn what_is_no_effect_is_told(
            noise in prop::collection::vec(any::<u8>(), 0..64),
            number in 0usize..14,
            at in 0usize..32,
            byte: u8,
        ) {
            let read = |bytes: &[u8]| Effects::of(bytes).filter(Result::is_ok).count();
            prop_assert!(read(&noise) <= noise.len());
            let mut bent = golden()[number].1.to_vec();
            let place = at % bent.len();
            bent[place] = byte;
            prop_assert!(read(&bent) <= bent.len());
            let cut = &golden()[number].1[..place];
            prop_assert!(!Effects::of(cut).any(|effect| effect == Ok(golden()[number].0)));
        }
    }
}
