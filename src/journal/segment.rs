//! Segments: the files of the log, what stands at their beginning, and reading them in order.
//!
//! The log is one run of bytes since its history began. A *position* is an offset in that run; a
//! segment is a piece of it, named after the position it begins at:
//!
//! ```text
//!   log-0000000000000000.seg      log-0000000004000112.seg
//!   | header | mark | effects | effects | mark | effects |  | header | mark | effects ...  zeros
//!   ^ position 0                                            ^ position 0x4000112
//!
//!   header, 64 bytes:
//!   0      8     12        16        32       40     48       56       64
//!   | magic | crc | version | history | secret | base | number | synced |
//! ```
//!
//! Numbers are little-endian, the CRC-32C covers what is behind it. `number` is that of the last
//! effects before the segment, `synced` the position that was known to be safe when it was made.
//!
//! Where the log ends: [`Reader`] goes from frame to frame until the first that is not what must
//! come next. All that is behind it is then searched for marks and headers, whose `synced` says
//! what had been safe at the time. If the bad frame lies below the highest of these, safe bytes
//! have changed: corruption, an error. If not, this is the torn tail of a crash, whatever stands
//! in it. A closing record ends its segment: anything but zeros behind it is corruption, too.
//!
//! Cost: one pass over the bytes with a buffer of 256 KiB, or of the largest frame. Room for a
//! frame is found only after comparing its length with what the file has. The search looks for
//! the secret of the history at every byte, 64 MiB in under a tenth of a second.
//!
//! LIMITATIONS: damage to the last batch before a crash cannot be told from a torn tail, for
//! nothing in the log is known to be newer. A log that lost whole frames or files from its end
//! shows it only by the position that a clean stop noted elsewhere (`identity.rs`); after a crash,
//! not.

use super::disk::{self, Access, Disk, FileRef};
use super::error::DIRECTORY;
use super::fields::Fields;
use super::frame::{self, Kind, Mark, NoFrame};
use super::sealed::{self, NoHeader};
use crate::seeded::{self, Bug};
use std::collections::VecDeque;
use std::io;

/// Length of the header of a segment, in bytes.
pub const HEADER_BYTES: usize = 64;
/// The newest format of segments this program knows, and the one it writes.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"LINCHLOG";
const PREFIX: &str = "log-";
const SUFFIX: &str = ".seg";
const READ_BYTES: usize = 256 * 1024;
const SEARCH_BYTES: usize = 1024 * 1024;

/// What tells one log from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId {
    /// The history that the log tells. May be shown to anybody.
    pub history: [u8; 16],
    /// Known to no client, so that no client can store what passes for a mark.
    pub secret: u64,
}

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log it belongs to.
    pub id: LogId,
    /// The position of the header's own first byte.
    pub base: u64,
    /// Number of the last effects before this segment.
    pub number: u64,
    /// Everything before this position was known to be safe when the segment was made.
    pub synced: u64,
}

impl Header {
    /// Its bytes on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields: [&[u8]; 5] = [
            &self.id.history,
            &self.id.secret.to_le_bytes(),
            &self.base.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.synced.to_le_bytes(),
        ];
        sealed::seal(MAGIC, VERSION, &fields)
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// Where there is none, or one of a format that is newer than this program.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(NoHeader::Damaged)?;
        let (_, fields) = sealed::open(bytes, MAGIC, VERSION)?;
        Self::fields(fields).ok_or(NoHeader::Damaged)
    }

    fn fields(mut fields: Fields<'_>) -> Option<Self> {
        let id = LogId {
            history: fields.bytes()?,
            secret: fields.u64()?,
        };
        Some(Self {
            id,
            base: fields.u64()?,
            number: fields.u64()?,
            synced: fields.u64()?,
        })
    }
}

/// A segment, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The position it begins at.
    pub base: u64,
    /// The name of its file.
    pub name: String,
}

/// The name of the segment that begins at this position.
#[must_use]
pub fn name(base: u64) -> String {
    format!("{PREFIX}{base:016x}{SUFFIX}")
}

/// The position that the segment of this name begins at; none where it is no segment's name.
#[must_use]
pub fn parse_name(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let base = u64::from_str_radix(digits, 16).ok()?;
    (name(base) == file_name).then_some(base)
}

/// All segments in order of position.
///
/// # Errors
///
/// Where the directory cannot be listed.
pub fn list(disk: &dyn Disk) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = disk
        .list()?
        .into_iter()
        .filter_map(|name| {
            Some(Segment {
                base: parse_name(&name)?,
                name,
            })
        })
        .collect();
    segments.sort_unstable();
    Ok(segments)
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file, or what stands for the directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that had been safe are not what was written.
    #[error(
        "{file}: damaged at byte {offset}: {reason}. Everything before log position {synced} had \
         been saved, and this is position {position}"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Where in the log: everything before it is sound.
        position: u64,
        /// The highest position known to have been safe.
        synced: u64,
        /// What is wrong there.
        reason: Reason,
    },
    /// A newer program wrote this.
    #[error(
        "{file}: format version {version} at byte {offset} is newer than this program, which \
         knows up to {known}"
    )]
    Newer {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// The version it has.
        version: u32,
        /// The newest version known.
        known: u32,
    },
    /// A file of another history.
    #[error("{file}: belongs to another history than this directory's identity")]
    Foreign {
        /// The file.
        file: String,
    },
}

/// What is wrong with the bytes at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// They are no frame.
    #[error("{0}")]
    NoFrame(NoFrame),
    /// They are a frame that does not come next.
    #[error("frame {found} where {expected} comes next")]
    Number {
        /// The number it has.
        found: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// They are a mark of another place or history.
    #[error("a mark that belongs elsewhere")]
    Misplaced,
    /// They are no header of the segment that begins here.
    #[error("no header of a segment that begins here")]
    NoHeader,
    /// The next segment does not begin where this one ends.
    #[error("the next segment begins at position {base}")]
    Gap {
        /// Where it begins.
        base: u64,
    },
    /// Something follows the closing record.
    #[error("bytes behind the closing record")]
    BehindClose,
}

/// One frame of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number, or that of the last effects before it.
    pub number: u64,
    /// Where it begins.
    pub position: u64,
    /// What it carries.
    pub kind: Kind,
    /// The mark it carries, if it does.
    pub mark: Option<Mark>,
    /// What it carries, encoded.
    pub payload: &'a [u8],
}

/// Where a log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Behind the last sound frame.
    pub position: u64,
    /// Number of the last effects.
    pub number: u64,
    /// Whether the log was closed, and not opened since.
    pub is_closed: bool,
    /// The last mark.
    pub mark: Option<Mark>,
    /// What has to be cut for the log to end here.
    pub torn: Option<Torn>,
}

/// The torn tail of a crash: bytes that nobody was told were safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file in which it begins.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Its length up to the last byte that is not zero, over all files.
    pub bytes_len: u64,
    /// What is wrong with its first bytes.
    pub reason: Reason,
}

/// Reads the frames of all segments in order.
#[derive(Debug)]
pub struct Reader<'d> {
    disk: &'d dyn Disk,
    id: LogId,
    /// Those not yet opened.
    segments: VecDeque<Segment>,
    open: Option<Open>,
    first_number: Option<u64>,
    end: End,
    is_done: bool,
}

/// The segment being read.
#[derive(Debug)]
struct Open {
    segment: Segment,
    file: FileRef,
    bytes_len: u64,
    /// Bytes of the file from `buffer_offset` on; those before `at` are done with.
    buffer: Vec<u8>,
    buffer_offset: u64,
    at: usize,
}

/// A frame that was looked at and not yet taken.
#[derive(Clone, Copy)]
struct Seen {
    number: u64,
    kind: Kind,
    mark: Option<Mark>,
    bytes_len: usize,
}

/// What a look at the next bytes came to.
enum Look {
    Frame(Seen),
    /// The file ends here.
    Over,
    Bad(Reason),
}

impl<'d> Reader<'d> {
    /// Begins at the oldest segment.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be listed.
    pub fn new(disk: &'d dyn Disk, id: LogId) -> Result<Self, LogError> {
        let segments = list(disk).map_err(|source| io_error(DIRECTORY, source))?;
        Ok(Self::over(disk, id, segments))
    }

    /// Reads these segments, in order of position and without a gap: the newest of all, or some.
    #[must_use]
    pub fn over(disk: &'d dyn Disk, id: LogId, segments: Vec<Segment>) -> Self {
        let position = segments.first().map_or(0, |segment| segment.base);
        Self {
            disk,
            id,
            segments: segments.into(),
            open: None,
            first_number: None,
            end: End {
                position,
                ..End::default()
            },
            is_done: false,
        }
    }

    /// The next frame; none at the end, of which [`end`](Self::end) then tells.
    ///
    /// # Errors
    ///
    /// Where the log is damaged, newer or foreign, or the disk fails. There is no way on.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry borrows the reader's buffer"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, LogError> {
        let seen = loop {
            if self.is_done {
                return Ok(None);
            }
            match self.look()? {
                Look::Frame(seen) => break seen,
                Look::Over => self.enter_next()?,
                Look::Bad(reason) => self.stop(reason)?,
            }
        };
        let position = self.end.position;
        self.end.position = position.saturating_add(seen.bytes_len as u64);
        self.end.number = seen.number;
        self.end.is_closed = seen.kind == Kind::Close;
        self.end.mark = seen.mark.or(self.end.mark);
        let payload = self
            .open
            .as_mut()
            .map_or(&[][..], |open| open.take(seen.bytes_len));
        Ok(Some(Entry {
            number: seen.number,
            position,
            kind: seen.kind,
            mark: seen.mark,
            payload,
        }))
    }

    /// Number of the last effects before the oldest segment; none where there is no segment, or
    /// `next` was not called.
    #[must_use]
    pub fn first_number(&self) -> Option<u64> {
        self.first_number
    }

    /// The segment that was read last.
    #[must_use]
    pub fn open_segment(&self) -> Option<&Segment> {
        self.open.as_ref().map(|open| &open.segment)
    }

    /// The segments behind that one.
    pub fn unopened(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Where the log ends, once `next` answered none; how far it was read, before that.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Where the log ends if the frame of effects that was read last, with this position and
    /// number, is not to be in it.
    #[must_use]
    pub fn end_before(&self, position: u64, number: u64) -> End {
        End {
            position,
            number: number.saturating_sub(1),
            is_closed: false,
            mark: self.end.mark,
            torn: None,
        }
    }

    /// Looks at the bytes at the end of what was read.
    fn look(&mut self) -> Result<Look, LogError> {
        let Some(open) = &mut self.open else {
            return Ok(Look::Over);
        };
        loop {
            let bytes = open.unread();
            let no_frame = match frame::parse(bytes) {
                Ok(frame) => {
                    let seen = Seen {
                        number: frame.number,
                        kind: frame.kind,
                        mark: frame.mark(),
                        bytes_len: bytes.len().min(frame::HEADER_BYTES + frame.payload.len()),
                    };
                    return Ok(self.judge(seen));
                }
                Err(no_frame) => no_frame,
            };
            let rest_len = open.bytes_len.saturating_sub(open.offset());
            match no_frame {
                _ if rest_len == 0 => return Ok(Look::Over),
                NoFrame::Short { bytes_needed } if bytes_needed <= rest_len => {
                    open.fill(bytes_needed)?;
                }
                NoFrame::Newer { version } => {
                    return Err(LogError::Newer {
                        file: open.segment.name.clone(),
                        offset: open.offset(),
                        version: u32::from(version),
                        known: u32::from(frame::VERSION),
                    });
                }
                bad => return Ok(Look::Bad(Reason::NoFrame(bad))),
            }
        }
    }

    /// Whether a sound frame is the one that comes next.
    fn judge(&self, seen: Seen) -> Look {
        if self.end.is_closed && self.is_inside_segment() {
            return Look::Bad(Reason::BehindClose);
        }
        let step = u64::from(seen.kind == Kind::Effects);
        let expected = self.end.number.saturating_add(step);
        if seen.number != expected {
            let found = seen.number;
            return Look::Bad(Reason::Number { found, expected });
        }
        let position = self.end.position;
        let is_own = |mark: Mark| mark.secret == self.id.secret && mark.position == position;
        if seen.mark.is_some_and(|mark| !is_own(mark)) {
            return Look::Bad(Reason::Misplaced);
        }
        Look::Frame(seen)
    }

    /// Whether a frame of the open segment has been read.
    fn is_inside_segment(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.offset() > HEADER_BYTES as u64)
    }

    /// Goes on to the next segment, at the end of the open one.
    fn enter_next(&mut self) -> Result<(), LogError> {
        let Some(segment) = self.segments.front() else {
            self.is_done = true;
            return Ok(());
        };
        let base = segment.base;
        if base < self.end.position && !has_header(self.disk, segment)? {
            self.segments.pop_front();
            return Ok(());
        }
        if base != self.end.position {
            return self.stop(Reason::Gap { base });
        }
        let Some(segment) = self.segments.pop_front() else {
            return Ok(());
        };
        let mut open = Open::new(self.disk, segment)?;
        open.fill(open.bytes_len.min(HEADER_BYTES as u64))?;
        let header = Header::parse(open.unread());
        let expected_number = self.first_number.map(|_| self.end.number);
        let header = match header {
            Ok(header) => header,
            Err(NoHeader::Newer { version }) => return Err(newer_segment(&open, version)),
            Err(NoHeader::Damaged) => {
                self.open = Some(open);
                return self.stop(Reason::NoHeader);
            }
        };
        if header.id != self.id {
            let file = open.segment.name.clone();
            self.open = Some(open);
            return Err(LogError::Foreign { file });
        }
        let comes_next = expected_number.is_none_or(|number| number == header.number);
        let is_own = header.base == open.segment.base && comes_next;
        if is_own {
            open.take(HEADER_BYTES);
            self.end.position = self.end.position.saturating_add(HEADER_BYTES as u64);
            self.end.number = header.number;
            self.first_number.get_or_insert(header.number);
            self.end.is_closed = false;
        }
        self.open = Some(open);
        if is_own {
            Ok(())
        } else {
            self.stop(Reason::NoHeader)
        }
    }

    /// Nothing sound comes next: this is the end of the log, its torn tail, or damage.
    fn stop(&mut self, reason: Reason) -> Result<(), LogError> {
        let rest = self.search()?;
        let position = self.end.position;
        let (file, offset) = match &self.open {
            Some(open) => (open.segment.name.clone(), open.offset()),
            None => (name(position), 0),
        };
        if rest.nonzero_len_here == 0 && self.next_begins_here() {
            // The writer cut this file, and the cut was lost: zeros it had written ahead are left.
            return self.enter_next();
        }
        let is_behind_close =
            self.end.is_closed && self.is_inside_segment() && rest.nonzero_len_here > 0;
        let is_overlap = self.is_overlapped()?;
        let is_passed_over = seeded::has(Bug::CutInTheMiddle);
        if !is_passed_over && (rest.synced > position || is_behind_close || is_overlap) {
            return Err(LogError::Corrupt {
                file,
                offset,
                position,
                synced: rest.synced.max(position),
                reason: if is_behind_close {
                    Reason::BehindClose
                } else {
                    reason
                },
            });
        }
        let bytes_len = rest.nonzero_len_here.saturating_add(rest.later_len);
        self.end.torn = (bytes_len > 0).then_some(Torn {
            file,
            offset,
            bytes_len,
            reason,
        });
        self.is_done = true;
        Ok(())
    }

    /// Whether a segment begins before the end of what was read, and was not given up.
    fn is_overlapped(&self) -> Result<bool, LogError> {
        let early = |segment: &&Segment| segment.base < self.end.position;
        for segment in self.segments.iter().take_while(early) {
            if has_header(self.disk, segment)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_begins_here(&self) -> bool {
        self.segments
            .front()
            .is_some_and(|next| next.base == self.end.position)
    }

    /// Looks through all that was not read for what was known to be safe.
    fn search(&self) -> Result<Rest, LogError> {
        let mut rest = Rest::default();
        if let Some(open) = &self.open {
            rest.nonzero_len_here = self.search_file(open, open.offset(), &mut rest.synced)?;
        }
        for segment in &self.segments {
            let open = Open::new(self.disk, segment.clone())?;
            self.search_file(&open, 0, &mut rest.synced)?;
            rest.later_len = rest.later_len.saturating_add(open.bytes_len);
        }
        Ok(rest)
    }

    /// Raises `synced` to the highest that any mark or header of this file from `offset` on knows;
    /// answers how far it is from there to the last byte that is not zero.
    fn search_file(&self, open: &Open, offset: u64, synced: &mut u64) -> Result<u64, LogError> {
        let mut nonzero_len = 0;
        let rest_len = open.bytes_len.saturating_sub(offset).saturating_add(1);
        let window_len = usize::try_from(rest_len).unwrap_or(SEARCH_BYTES);
        let mut window = vec![0; window_len.clamp(2 * frame::MARK_FRAME_BYTES, SEARCH_BYTES)];
        let mut from = offset;
        loop {
            let read = disk::read_full_at(&*open.file, from, &mut window)
                .map_err(|source| io_error(&open.segment.name, source))?;
            let bytes = window.get(..read).unwrap_or(&[]);
            let base = open.segment.base.saturating_add(from);
            if let Some(found) = self.search_bytes(bytes, base) {
                *synced = found.max(*synced);
            }
            if from == 0 {
                match Header::parse(bytes) {
                    Ok(header) if header.id == self.id && header.base == base => {
                        *synced = header.synced.max(*synced);
                    }
                    Err(NoHeader::Newer { version }) => return Err(newer_segment(open, version)),
                    _ => {}
                }
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                let distance = from.saturating_sub(offset);
                nonzero_len = distance.saturating_add(last as u64).saturating_add(1);
            }
            if read < window.len() {
                return Ok(nonzero_len);
            }
            // A mark across the border is whole in the next window.
            from = from.saturating_add((read.saturating_sub(frame::MARK_FRAME_BYTES)) as u64);
        }
    }

    /// The highest synced position in any sound mark of ours among `bytes`, which stand at the
    /// position `base`.
    fn search_bytes(&self, bytes: &[u8], base: u64) -> Option<u64> {
        let secret = self.id.secret.to_le_bytes();
        let frames = bytes.windows(frame::MARK_FRAME_BYTES).enumerate();
        let is_near = |bytes: &[u8]| {
            bytes
                .get(frame::HEADER_BYTES..)
                .is_some_and(|payload| payload.starts_with(&secret))
        };
        frames
            .filter(|(_, bytes)| is_near(bytes))
            .filter_map(|(at, bytes)| {
                let mark = frame::parse(bytes).ok()?.mark()?;
                let is_own = mark.position == base.saturating_add(at as u64);
                is_own.then_some(mark.synced)
            })
            .max()
    }
}

/// What lies behind the end of what was read.
#[derive(Default)]
struct Rest {
    /// The highest position known to have been safe.
    synced: u64,
    /// From the end to the last byte of the open file that is not zero.
    nonzero_len_here: u64,
    /// Length of all later segments.
    later_len: u64,
}

impl Open {
    fn new(disk: &dyn Disk, segment: Segment) -> Result<Self, LogError> {
        let opened = disk.open(&segment.name, Access::Read);
        let with_len = opened.and_then(|file| Ok((file.len()?, file)));
        let (bytes_len, file) = with_len.map_err(|source| io_error(&segment.name, source))?;
        Ok(Self {
            segment,
            file,
            bytes_len,
            buffer: Vec::new(),
            buffer_offset: 0,
            at: 0,
        })
    }

    /// Where in the file the unread bytes begin.
    fn offset(&self) -> u64 {
        self.buffer_offset.saturating_add(self.at as u64)
    }

    /// What was read from the file and not taken.
    fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or(&[])
    }

    /// Takes a frame off the unread bytes; answers its payload.
    fn take(&mut self, bytes_len: usize) -> &[u8] {
        let from = self.at.saturating_add(frame::HEADER_BYTES);
        self.at = self.at.saturating_add(bytes_len).min(self.buffer.len());
        self.buffer.get(from..self.at).unwrap_or(&[])
    }

    /// Reads on until at least so many bytes are unread. The file has them, or had a moment ago.
    fn fill(&mut self, bytes_needed: u64) -> Result<(), LogError> {
        let offset = self.offset();
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.buffer_offset = offset;
        self.at = 0;
        let rest_len = self.bytes_len.saturating_sub(offset);
        let wanted = bytes_needed.max(READ_BYTES as u64).min(rest_len);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let have = self.buffer.len();
        self.buffer.resize(wanted.max(have), 0);
        let into = self.buffer.get_mut(have..).unwrap_or(&mut []);
        let from = offset.saturating_add(have as u64);
        let read = disk::read_full_at(&*self.file, from, into)
            .map_err(|source| io_error(&self.segment.name, source))?;
        self.buffer.truncate(have.saturating_add(read));
        if self.buffer.len() < wanted {
            // Shorter than it was: what is there now counts.
            self.bytes_len = offset.saturating_add(self.buffer.len() as u64);
        }
        Ok(())
    }
}

fn newer_segment(open: &Open, version: u32) -> LogError {
    LogError::Newer {
        file: open.segment.name.clone(),
        offset: 0,
        version,
        known: VERSION,
    }
}

fn io_error(file: &str, source: io::Error) -> LogError {
    let file = file.to_owned();
    LogError::Io { file, source }
}

/// How many of the first of these segments hold nothing but frames up to `number`: a sound one
/// stands behind them and says so.
///
/// # Errors
///
/// Where the disk fails.
pub fn covered(
    disk: &dyn Disk,
    id: LogId,
    segments: &[Segment],
    number: u64,
) -> Result<usize, LogError> {
    let mut count = 0;
    for (before, segment) in segments.iter().enumerate() {
        let mut bytes = [0; HEADER_BYTES];
        let read = disk
            .open(&segment.name, Access::Read)
            .and_then(|file| disk::read_full_at(&*file, 0, &mut bytes))
            .map_err(|source| io_error(&segment.name, source))?;
        let is_behind = |header: Header| {
            header.id == id && header.base == segment.base && header.number <= number
        };
        if Header::parse(bytes.get(..read).unwrap_or(&[])).is_ok_and(is_behind) {
            count = before;
        }
    }
    Ok(count)
}

/// Whether the file begins as a segment does. One that found no room for its header was given up,
/// and the log went on in the segment before it; a crash may have brought it back.
fn has_header(disk: &dyn Disk, segment: &Segment) -> Result<bool, LogError> {
    let mut open = Open::new(disk, segment.clone())?;
    open.fill(open.bytes_len.min(HEADER_BYTES as u64))?;
    Ok(Header::parse(open.unread()) != Err(NoHeader::Damaged))
}

/// Makes the log end at `position`: cuts the segment that holds it there, removes all that begin
/// at or behind it, and makes that safe. Where the log ends there already, nothing is written.
///
/// # Errors
///
/// Where the disk fails. It may be called again.
pub fn cut(disk: &dyn Disk, position: u64) -> Result<(), LogError> {
    let failed = |source| io_error(DIRECTORY, source);
    let segments = list(disk).map_err(failed)?;
    // The newest go first: a crash in between leaves no gap.
    for segment in segments.iter().rev() {
        if segment.base >= position || !has_header(disk, segment)? {
            disk.remove(&segment.name)
                .and_then(|()| disk.sync_dir())
                .map_err(failed)?;
            continue;
        }
        let shortened = shorten(disk, segment, position.saturating_sub(segment.base));
        // Those before it end where the next begins.
        return shortened.map_err(|source| io_error(&segment.name, source));
    }
    Ok(())
}

/// Makes safe all that was read of the log up to `end`, whatever became of it before. After a sync
/// that failed, what the kernel answers may be nowhere else, and no later sync of it alone would
/// save it: all behind what the last mark knows to be safe is written back first.
///
/// # Errors
///
/// Where the disk fails, or is full and needs room to write over what it has.
pub fn save_again(disk: &dyn Disk, end: &End) -> io::Result<()> {
    let from = end.mark.map_or(0, |mark| mark.synced);
    for segment in list(disk)? {
        let offsets = [from, end.position].map(|at| at.saturating_sub(segment.base));
        write_back(disk, &segment.name, offsets)?;
    }
    Ok(())
}

/// Writes over these bytes of a file what they are, and syncs it.
fn write_back(disk: &dyn Disk, name: &str, [mut offset, end]: [u64; 2]) -> io::Result<()> {
    let file = disk.open(name, Access::Write)?;
    let end = end.min(file.len()?);
    let mut bytes = Vec::new();
    while offset < end {
        let wanted = end.saturating_sub(offset).min(READ_BYTES as u64);
        bytes.resize(usize::try_from(wanted).unwrap_or(READ_BYTES), 0);
        let read = disk::read_full_at(&*file, offset, &mut bytes)?;
        if read == 0 {
            break;
        }
        disk::write_all_at(&*file, offset, bytes.get(..read).unwrap_or_default())?;
        offset = offset.saturating_add(read as u64);
    }
    file.sync()
}

fn shorten(disk: &dyn Disk, segment: &Segment, bytes_len: u64) -> io::Result<()> {
    let file = disk.open(&segment.name, Access::Write)?;
    if file.len()? > bytes_len {
        file.truncate(bytes_len)?;
        file.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
