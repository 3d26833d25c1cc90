//! The envelope of a frame on disk.
//!
//! ```text
//!   0        4          8        16        17     18
//!   | crc    | length   | number | version | kind | payload ...
//!   | u32    | u32      | u64    | u8      | u8   | `length` bytes
//! ```
//!
//! All numbers are little-endian. The CRC-32C covers everything behind itself, so it is computed
//! over one run of bytes. Layout and meaning of the first 18 bytes hold for every version: a frame
//! that is newer than this program is recognised as such, and not taken for a damaged one.
//!
//! Kinds: [`Kind::Effects`] has a number of its own, one more than the last; its payload is the
//! engine's. [`Kind::Mark`] and [`Kind::Close`] carry the number of the last effects before them,
//! and a [`Mark`].
//!
//! A mark also says where in the log it stands and repeats the secret of its history. Without
//! these a client could store a value that looks like a mark and, behind a torn tail, be believed.

use std::fmt;

/// Length of the envelope in front of the payload, in bytes.
pub const HEADER_BYTES: usize = 18;
/// The newest format this program knows, and the one it writes.
pub const VERSION: u8 = 1;
/// Length of the payload of a mark, in bytes.
pub const MARK_BYTES: usize = 40;
/// Length of a whole frame that carries a mark, in bytes.
pub const MARK_FRAME_BYTES: usize = HEADER_BYTES + MARK_BYTES;

const CRC_BYTES: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The effects of one step.
    Effects,
    /// The header of a batch: a [`Mark`].
    Mark,
    /// The end of a log that was closed: a [`Mark`]. Nothing follows it in its segment.
    Close,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Effects => 1,
            Self::Mark => 2,
            Self::Close => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Effects),
            2 => Some(Self::Mark),
            3 => Some(Self::Close),
            _ => None,
        }
    }
}

/// What the writer knew when it wrote a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The secret of the history this log belongs to.
    pub secret: u64,
    /// Where the frame that carries this mark begins.
    pub position: u64,
    /// Everything before this position was known to be safe.
    pub synced: u64,
    /// Engine time, in milliseconds.
    pub engine_ms: u64,
    /// Unix time, in milliseconds.
    pub wall_ms: u64,
}

impl Mark {
    fn encode(&self) -> [u8; MARK_BYTES] {
        let fields = [
            self.secret,
            self.position,
            self.synced,
            self.engine_ms,
            self.wall_ms,
        ];
        let mut bytes = [0; MARK_BYTES];
        for (into, field) in bytes.chunks_exact_mut(8).zip(fields) {
            into.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads the payload of a mark; none where it has another length.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; MARK_BYTES] = payload.try_into().ok()?;
        let mut fields = payload
            .as_chunks::<8>()
            .0
            .iter()
            .map(|field| u64::from_le_bytes(*field));
        Some(Self {
            secret: fields.next()?,
            position: fields.next()?,
            synced: fields.next()?,
            engine_ms: fields.next()?,
            wall_ms: fields.next()?,
        })
    }
}

/// A frame as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number, or that of the last effects before it.
    pub number: u64,
    /// What it carries.
    pub kind: Kind,
    /// What it carries, encoded.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Its length on disk, in bytes.
    #[must_use]
    pub fn bytes_len(&self) -> u64 {
        (HEADER_BYTES as u64).saturating_add(self.payload.len() as u64)
    }

    /// The mark it carries, if it does.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        (self.kind != Kind::Effects)
            .then(|| Mark::parse(self.payload))
            .flatten()
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// Fewer bytes than a frame of this length needs; the header itself may be cut.
    Short {
        /// How many it needs, as far as can be told.
        bytes_needed: u64,
    },
    /// The checksum does not fit.
    Checksum,
    /// A sound frame of a format this program does not know.
    Newer {
        /// Its version.
        version: u8,
    },
    /// A sound frame of a kind, or with a mark, that its version does not have.
    Unknown,
}

impl fmt::Display for NoFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { bytes_needed } => write!(f, "the file ends within {bytes_needed} bytes"),
            Self::Checksum => f.write_str("the checksum does not fit"),
            Self::Newer { version } => {
                write!(
                    f,
                    "format version {version}, this program knows up to {VERSION}"
                )
            }
            Self::Unknown => f.write_str("no such kind of frame"),
        }
    }
}

/// Reads the frame at the start of `bytes`, which may go on behind it. Costs one pass over the
/// frame for its checksum, and copies nothing.
///
/// # Errors
///
/// Where the bytes are no frame. `Short` is only said of a length, which may itself be garbage:
/// who reads a file compares it with what the file has before finding room for it.
pub fn parse(bytes: &[u8]) -> Result<Frame<'_>, NoFrame> {
    let short = |bytes_needed| NoFrame::Short { bytes_needed };
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(short(HEADER_BYTES as u64))?;
    let [
        c0,
        c1,
        c2,
        c3,
        l0,
        l1,
        l2,
        l3,
        n0,
        n1,
        n2,
        n3,
        n4,
        n5,
        n6,
        n7,
        version,
        kind,
    ] = *header;
    let payload_len = u32::from_le_bytes([l0, l1, l2, l3]);
    let frame_len = (HEADER_BYTES as u64).saturating_add(u64::from(payload_len));
    let whole = usize::try_from(frame_len)
        .ok()
        .and_then(|len| bytes.get(..len));
    let whole = whole.ok_or(short(frame_len))?;
    let (_, covered) = whole.split_at_checked(CRC_BYTES).ok_or(short(frame_len))?;
    let (_, payload) = whole
        .split_at_checked(HEADER_BYTES)
        .ok_or(short(frame_len))?;
    if !is_sound(u32::from_le_bytes([c0, c1, c2, c3]), covered) {
        return Err(NoFrame::Checksum);
    }
    if version > VERSION {
        return Err(NoFrame::Newer { version });
    }
    let kind = Kind::from_code(kind).ok_or(NoFrame::Unknown)?;
    let has_mark = kind != Kind::Effects;
    if version == 0 || (has_mark && payload.len() != MARK_BYTES) {
        return Err(NoFrame::Unknown);
    }
    Ok(Frame {
        number: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
        kind,
        payload,
    })
}

/// Whether this is the CRC-32C of `covered`.
pub(super) fn is_sound(crc: u32, covered: &[u8]) -> bool {
    crc == crc_fast::crc32_iscsi(covered)
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Puts a frame of effects behind what `out` holds, without its checksum: [`seal`] adds it. The
/// payload is at most `u32::MAX` bytes.
pub fn push_unsealed(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    push_header(out, number, Kind::Effects, payload.len());
    out.extend_from_slice(payload);
}

/// Puts a frame with a mark behind what `out` holds.
pub fn push_mark(out: &mut Vec<u8>, number: u64, kind: Kind, mark: &Mark) {
    debug_assert!(
        kind != Kind::Effects,
        "a mark travels in a frame of its own"
    );
    let start = out.len();
    push_header(out, number, kind, MARK_BYTES);
    out.extend_from_slice(&mark.encode());
    seal(&mut out[start..]);
}

fn push_header(out: &mut Vec<u8>, number: u64, kind: Kind, payload_len: usize) {
    let payload_len = u32::try_from(payload_len).expect("a frame is smaller than 4 GiB");
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&payload_len.to_le_bytes());
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16] = VERSION;
    header[17] = kind.code();
    out.extend_from_slice(&header);
}

/// Gives the one frame that `frame` is its checksum.
pub fn seal(frame: &mut [u8]) {
    if let Some((crc, covered)) = frame.split_first_chunk_mut::<CRC_BYTES>() {
        *crc = crc32c(covered).to_le_bytes();
    }
}

/// Number and length of the frame at the start of `bytes`, unchecked: for frames this process made.
#[must_use]
pub fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    let (_, rest) = bytes.split_first_chunk::<CRC_BYTES>()?;
    let (payload_len, rest) = rest.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    let payload_len = usize::try_from(u32::from_le_bytes(*payload_len)).ok()?;
    Some((
        u64::from_le_bytes(*number),
        payload_len.checked_add(HEADER_BYTES)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark {
        secret: 0x1122_3344_5566_7788,
        position: 64,
        synced: 32,
        engine_ms: 5,
        wall_ms: 1_700_000_000_000,
    };

    fn sealed(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_unsealed(&mut bytes, number, payload);
        seal(&mut bytes);
        bytes
    }

    /// A frame with these header fields and a checksum that fits.
    fn with_header(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = sealed(7, b"payload");
        change(&mut bytes);
        seal(&mut bytes);
        bytes
    }

    #[test]
    fn the_bytes_are_these() {
        assert_eq!(
            crc32c(b"123456789"),
            0xe306_9283,
            "as the catalogues of CRCs have it"
        );
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(&sealed(0x0102, b"abc")),
            "2b3a6ed90300000002010000000000000101616263"
        );
        let mut mark = Vec::new();
        push_mark(&mut mark, 3, Kind::Mark, &MARK);
        assert_eq!(
            hex(&mark),
            "3e5435e92800000003000000000000000102887766554433221140000000000000002000\
             00000000000005000000000000000068e5cf8b010000"
        );
        let mut close = Vec::new();
        push_mark(&mut close, 3, Kind::Close, &MARK);
        assert_eq!(
            hex(&close),
            "ceb1dc502800000003000000000000000103887766554433221140000000000000002000\
             00000000000005000000000000000068e5cf8b010000"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 3, 80, 255, 256, 65_536] {
            let payload: Vec<u8> = (0..len).map(|n: u32| n as u8).collect();
            let mut bytes = sealed(9, &payload);
            let expected = Frame {
                number: 9,
                kind: Kind::Effects,
                payload: &payload,
            };
            assert_eq!(peek(&bytes), Some((9, bytes.len())));
            bytes.extend_from_slice(b"behind");
            let frame = parse(&bytes).unwrap();
            assert_eq!(frame, expected);
            assert_eq!(frame.bytes_len(), bytes.len() as u64 - 6);
        }
        let mut bytes = Vec::new();
        push_mark(&mut bytes, 3, Kind::Close, &MARK);
        let frame = parse(&bytes).unwrap();
        assert_eq!((frame.number, frame.kind), (3, Kind::Close));
        assert_eq!(Mark::parse(frame.payload), Some(MARK));
    }

    #[test]
    fn a_cut_frame_is_short_and_says_what_it_needs() {
        let bytes = sealed(1, b"payload");
        for len in 0..bytes.len() {
            let needed = if len < HEADER_BYTES {
                HEADER_BYTES
            } else {
                bytes.len()
            } as u64;
            let short = NoFrame::Short {
                bytes_needed: needed,
            };
            assert_eq!(parse(&bytes[..len]), Err(short), "{len} bytes");
        }
    }

    #[test]
    fn a_frame_with_any_bit_flipped_is_none() {
        let bytes = sealed(1, b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = parse(&flipped);
            assert!(
                matches!(found, Err(NoFrame::Checksum | NoFrame::Short { .. })),
                "bit {bit}: {found:?}"
            );
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(parse(&[0; 1_024]), Err(NoFrame::Checksum));
    }

    #[test]
    fn sound_frames_of_other_formats_are_told_apart_from_damage() {
        let newer = with_header(|bytes| bytes[16] = VERSION + 1);
        assert_eq!(
            parse(&newer),
            Err(NoFrame::Newer {
                version: VERSION + 1
            })
        );
        assert_eq!(
            parse(&with_header(|bytes| bytes[16] = 0)),
            Err(NoFrame::Unknown)
        );
        assert_eq!(
            parse(&with_header(|bytes| bytes[17] = 0)),
            Err(NoFrame::Unknown)
        );
        assert_eq!(
            parse(&with_header(|bytes| bytes[17] = 4)),
            Err(NoFrame::Unknown)
        );
        let short_mark = with_header(|bytes| bytes[17] = Kind::Mark.code());
        assert_eq!(parse(&short_mark), Err(NoFrame::Unknown));
    }
}
