//! Bringing a data directory back into an engine: the newest snapshot, and the log behind it.
//!
//! ```text
//!   this thread      engine <-- replay <--+----------- progress
//!                                         | blocks, a few at a time
//!   another          disk --> checksums --+
//! ```
//!
//! What is read is checked in a thread of its own, ahead of what is done. Nothing is done that was
//! not found sound; where something is not, the engine is worth nothing and is to be dropped.
//!
//! The disk is changed at the end, when all has been understood: what a crash left unfinished or
//! not yet removed goes, and a torn tail is cut.
//!
//! Invariants, each an error if it does not hold:
//! - the log begins at or before the cuts of the snapshot, or with frame 1;
//! - it reaches up to where it was closed, if it was, unless what is behind is of no use;
//! - it reaches up to the highest of them: a snapshot stands only when the log is safe up to there;
//! - no effect is of a database that the directory never had, or of a key that is not there.
//!
//! Cost: one look-up an effect, a copy of keys and values; memory of a few blocks of 256 KiB, or of
//! the largest frames, or the largest shards of the snapshot.

use super::disk::{Disk, remove_if_there};
use super::error::{DIRECTORY, Error};
use super::frame::Kind;
use super::identity::Identity;
use super::segment::{self, End, Reader, Segment};
use super::snapshot::{self, COORDINATOR, Named, Part, SnapshotReader};
use super::snapshotting;
use crate::clock::Now;
use crate::engine::{BadFrame, Cuts, Effects, Engine};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

/// How many blocks may wait to be done.
const BLOCKS_AHEAD: usize = 4;
/// A block of frames is handed on when it has so many bytes,
const BLOCK_BYTES: usize = 256 * 1024;
/// or so many frames.
const BLOCK_FRAMES: usize = 4_096;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of snapshot and log that are done.
    pub bytes_done: u64,
    /// All of them.
    pub bytes_total: u64,
}

/// What was found in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The snapshot, if there was one.
    pub snapshot: Option<Loaded>,
    /// Where the log ends: the writer goes on there, with the next number. What was torn behind it
    /// has been cut.
    pub end: End,
    /// Frames of the log that were done again, in whole or in part.
    pub frames: u64,
    /// Bytes of the log that is needed besides the snapshot.
    pub log_bytes: u64,
    /// The log ended before frames that build on changes that are in none: the journal had been
    /// switched on, and no snapshot was written after that.
    pub has_gap: bool,
    /// Whether the log was closed before, or never begun.
    pub is_clean: bool,
    /// Engine time never stood above this, in milliseconds, but for what the log had no mark of.
    pub engine_ms: u64,
    /// The latest Unix time known, in milliseconds.
    pub wall_ms: u64,
}

/// A snapshot that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The name of its file.
    pub name: String,
    /// Length of the file, in bytes.
    pub bytes_len: u64,
    /// The last frame taken before the first cut.
    pub begin: u64,
    /// The highest cut.
    pub highest: u64,
    /// Unix time when it was begun, in milliseconds.
    pub wall_ms: u64,
    /// Engine time when it was begun, in milliseconds.
    pub engine_ms: u64,
}

/// Puts the state of the directory into `engine`, which is new and made with the identity's number
/// of databases, shards and hash seed. `databases` is what the settings say: those that have keys
/// must be among them. The caller owns the directory; the engine does not record.
///
/// # Errors
///
/// Where the directory is damaged, newer than this program, or holds more than the settings allow,
/// or the disk fails. Snapshots and log are then what they were.
pub fn recover(
    disk: &dyn Disk,
    identity: &Identity,
    engine: &Engine,
    databases: u32,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Found, Error> {
    let snapshot = snapshot::list(disk)?.pop();
    let mut recovery = Recovery {
        disk,
        identity,
        engine,
        // Frames up to the snapshot's begin are left out anyhow.
        cuts: Cuts::new(
            identity.databases,
            identity.shards as usize,
            identity.hash_seed,
        ),
        progress: Progress::default(),
        on_progress,
    };
    recovery.progress.bytes_total = bytes_total(disk, snapshot.as_ref())?;
    let loaded = match &snapshot {
        Some(named) => Some(recovery.load(named)?),
        None => None,
    };
    let begin = loaded.as_ref().map_or(0, |loaded| loaded.begin);
    let segments = list_segments(disk)?;
    let covered = segment::covered(disk, identity.log_id(), &segments, begin)?;
    let segments = segments.get(covered..).unwrap_or_default();
    let first = segments.first().map(|segment| segment.base);
    let replayed = recovery.replay_log(segments, loaded.as_ref())?;
    drop(recovery);
    let end = &replayed.end;
    let log_bytes = first.map_or(0, |base| end.position.saturating_sub(base));
    refuse_databases_beyond(engine, databases)?;
    tidy(disk, identity, loaded.as_ref(), end)?;
    Ok(found(identity, loaded, replayed, log_bytes))
}

/// What came of the log.
struct Replayed {
    end: End,
    frames: u64,
    /// It ends before frames that build on changes that are in none.
    has_gap: bool,
}

fn found(identity: &Identity, loaded: Option<Loaded>, replayed: Replayed, log_bytes: u64) -> Found {
    let Replayed {
        end,
        frames,
        has_gap,
    } = replayed;
    let mark = end.mark.unwrap_or_default();
    let (taken_ms, taken_wall_ms, begin) = loaded.as_ref().map_or((0, 0, 0), |loaded| {
        (loaded.engine_ms, loaded.wall_ms, loaded.begin)
    });
    let is_new = end.position == 0 && end.torn.is_none();
    Found {
        frames,
        log_bytes,
        has_gap,
        is_clean: end.is_closed || is_new,
        end: End {
            number: end.number.max(begin),
            ..end
        },
        engine_ms: mark.engine_ms.max(taken_ms).max(identity.engine_ms),
        wall_ms: mark.wall_ms.max(taken_wall_ms),
        snapshot: loaded,
    }
}

fn list_segments(disk: &dyn Disk) -> Result<Vec<Segment>, Error> {
    segment::list(disk).map_err(|source| Error::io(DIRECTORY, source))
}

fn bytes_total(disk: &dyn Disk, snapshot: Option<&Named>) -> Result<u64, Error> {
    let names = list_segments(disk)?.into_iter().map(|segment| segment.name);
    let names = names.chain(snapshot.map(|named| named.name.clone()));
    let mut sum = 0u64;
    for name in names {
        let len = disk
            .open(&name, super::disk::Access::Read)
            .and_then(|file| file.len())
            .map_err(|source| Error::io(&name, source))?;
        sum = sum.saturating_add(len);
    }
    Ok(sum)
}

fn refuse_databases_beyond(engine: &Engine, databases: u32) -> Result<(), Error> {
    let census = engine.shared(0, Now::default()).step().census();
    let used = census.iter().rposition(|census| census.keys > 0);
    let used = used.map_or(0, |last| last.saturating_add(1));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    if used > databases {
        let configured = databases;
        return Err(Error::TooFewDatabases { configured, used });
    }
    Ok(())
}

/// Removes what is of no use and cuts what is torn.
fn tidy(
    disk: &dyn Disk,
    identity: &Identity,
    loaded: Option<&Loaded>,
    end: &End,
) -> Result<(), Error> {
    for name in snapshot::unfinished(disk)? {
        remove_if_there(disk, &name).map_err(|source| Error::io(&name, source))?;
    }
    if let Some(loaded) = loaded {
        snapshotting::remove_replaced(disk, identity, loaded.begin)?;
    }
    if end.position < identity.closed_at {
        // What was closed behind a gap is cut: not before it is known to be of no use.
        let opened = Identity {
            closed_at: 0,
            ..*identity
        };
        opened.store(disk)?;
    }
    Ok(segment::cut(disk, end.position)?)
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    identity: &'a Identity,
    engine: &'a Engine,
    cuts: Cuts,
    progress: Progress,
    on_progress: &'a mut dyn FnMut(Progress),
}

/// Some frames of the log, one behind the other.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    frames: Vec<Piece>,
    /// How much of the log was read for it.
    read_len: u64,
}

/// A frame of a block.
#[derive(Clone, Copy, Debug)]
struct Piece {
    number: u64,
    position: u64,
    /// Where it ends in the block.
    end: usize,
}

/// A part of a snapshot, with its effects.
#[derive(Debug)]
struct Portion {
    part: Part,
    items: Vec<u8>,
    offset: u64,
    read_len: u64,
}

impl Recovery<'_> {
    fn load(&mut self, named: &Named) -> Result<Loaded, Error> {
        let reader = SnapshotReader::open(self.disk, named, self.identity)?;
        let (header, bytes_len) = (*reader.header(), reader.bytes_len());
        let (to_do, portions) = sync_channel(BLOCKS_AHEAD);
        let (done, emptied) = channel();
        let summary = thread::scope(|scope| {
            let reading = scope.spawn(move || read_parts(reader, &to_do, &emptied));
            let mut outcome = Ok(());
            for portion in portions {
                outcome = self.do_part(&portion).map_err(|BadFrame| {
                    Error::corrupt(&named.name, portion.offset, BadFrame.to_string())
                });
                if outcome.is_err() {
                    break;
                }
                self.advance(portion.read_len);
                // Nobody takes it back once all is read.
                let _ = done.send(portion.items);
            }
            let summary = joined(reading.join());
            outcome.and(summary)
        })?;
        Ok(Loaded {
            name: named.name.clone(),
            bytes_len,
            begin: header.begin,
            highest: summary.highest,
            wall_ms: header.wall_ms,
            engine_ms: header.engine_ms,
        })
    }

    fn do_part(&mut self, portion: &Portion) -> Result<(), BadFrame> {
        match &portion.part {
            Part::Shard(part) if part.db == COORDINATOR => {
                self.cuts.set_coordinator(part.cut);
                self.engine.replay().apply_all(&portion.items)
            }
            Part::Shard(part) => {
                if !self.cuts.set(part.db, part.shard as usize, part.cut) {
                    return Err(BadFrame);
                }
                self.engine.replay().apply_all(&portion.items)
            }
            Part::Map { cut, ids } => {
                self.cuts.set_map(*cut);
                // Databases that were added since stand where they were made.
                let known = u32::try_from(ids.len()).map_err(|_| BadFrame)?;
                let all: Vec<u32> = ids
                    .iter()
                    .copied()
                    .chain(known..self.identity.databases)
                    .collect();
                self.engine.replay().arrange(&all)
            }
        }
    }

    fn replay_log(
        &mut self,
        segments: &[Segment],
        loaded: Option<&Loaded>,
    ) -> Result<Replayed, Error> {
        let (begin, highest) = loaded.map_or((0, 0), |loaded| (loaded.begin, loaded.highest));
        let mut reader = Reader::over(self.disk, self.identity.log_id(), segments.to_vec());
        let (to_do, blocks) = sync_channel(BLOCKS_AHEAD);
        let (done, emptied) = channel();
        let mut frames = 0u64;
        let reading = thread::scope(|scope| {
            let reader = &mut reader;
            let reading = scope.spawn(move || read_frames(reader, begin, &to_do, &emptied));
            let mut outcome = Ok(());
            for block in blocks {
                outcome = self
                    .do_block(&block, highest)
                    .map_err(|position| bad_frame(segments, position));
                if outcome.is_err() {
                    break;
                }
                frames = frames.saturating_add(block.frames.len() as u64);
                self.advance(block.read_len);
                let _ = done.send(block);
            }
            outcome.and(joined(reading.join()))
        });
        let gap = reading?;
        let has_gap = gap.is_some();
        if !has_gap {
            self.identity.check_end(segments, reader.end().position)?;
        }
        let end = gap.unwrap_or_else(|| reader.end().clone());
        if end.number.max(begin) < highest || (end.number < begin && !segments.is_empty()) {
            let needed = highest;
            let reason = format!(
                "the log ends with frame {}, and the snapshot needs it up to {needed}",
                end.number
            );
            return Err(Error::corrupt(&segment::name(end.position), 0, reason));
        }
        Ok(Replayed {
            end,
            frames,
            has_gap,
        })
    }

    /// Does the frames of a block; where one cannot be done, answers its position.
    fn do_block(&mut self, block: &Block, highest: u64) -> Result<(), u64> {
        let mut start = 0;
        // Let go between two blocks, so that others can look at what is there.
        let mut replay = self.engine.replay();
        for piece in &block.frames {
            let frame = block.bytes.get(start..piece.end).unwrap_or_default();
            start = piece.end;
            let outcome = if piece.number > highest {
                replay.apply_all(frame)
            } else {
                replay.apply(piece.number, frame, &self.cuts)
            };
            outcome.map_err(|BadFrame| piece.position)?;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        let done = self.progress.bytes_done.saturating_add(bytes);
        self.progress.bytes_done = done.min(self.progress.bytes_total);
        (self.on_progress)(self.progress);
    }
}

/// A frame that is sound, and is no effect on this state.
fn bad_frame(segments: &[Segment], position: u64) -> Error {
    let of = segments
        .iter()
        .rfind(|segment| segment.base <= position)
        .map_or(("the log", 0), |segment| (&segment.name, segment.base));
    Error::corrupt(of.0, position.saturating_sub(of.1), BadFrame.to_string())
}

/// What a thread answered; its panic becomes this thread's.
fn joined<T>(answer: thread::Result<T>) -> T {
    answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read_parts(
    mut reader: SnapshotReader,
    to_do: &SyncSender<Portion>,
    emptied: &Receiver<Vec<u8>>,
) -> Result<snapshot::Summary, Error> {
    loop {
        let mut items = emptied.try_recv().unwrap_or_default();
        let offset = reader.offset();
        let Some(part) = reader.next(&mut items)? else {
            return Ok(reader.summary());
        };
        let read_len = reader.offset().saturating_sub(offset);
        let portion = Portion {
            part,
            items,
            offset,
            read_len,
        };
        if to_do.send(portion).is_err() {
            // The other side failed, and says why.
            return Ok(reader.summary());
        }
    }
}

/// Hands on all frames of effects above `begin`, up to one that says that the state it builds on
/// is in no log: answers where the log has to end then.
fn read_frames(
    reader: &mut Reader<'_>,
    begin: u64,
    to_do: &SyncSender<Block>,
    emptied: &Receiver<Block>,
) -> Result<Option<End>, Error> {
    let mut block = Block::default();
    let mut position = reader.end().position;
    let mut gap = None;
    while let Some(entry) = reader.next()? {
        if entry.kind == Kind::Effects && entry.number > begin {
            if Effects::tell_of_a_gap(entry.payload) {
                let (position, number) = (entry.position, entry.number);
                gap = Some(reader.end_before(position, number));
                break;
            }
            block.bytes.extend_from_slice(entry.payload);
            block.frames.push(Piece {
                number: entry.number,
                position: entry.position,
                end: block.bytes.len(),
            });
        }
        if block.bytes.len() >= BLOCK_BYTES || block.frames.len() >= BLOCK_FRAMES {
            let read_to = reader.end().position;
            block.read_len = read_to.saturating_sub(position);
            position = read_to;
            connects(reader, begin)?;
            let mut next = emptied.try_recv().unwrap_or_default();
            next.bytes.clear();
            next.bytes.shrink_to(4 * BLOCK_BYTES);
            next.frames.clear();
            if to_do.send(std::mem::replace(&mut block, next)).is_err() {
                // The other side failed, and says why.
                return Ok(None);
            }
        }
    }
    connects(reader, begin)?;
    block.read_len = reader.end().position.saturating_sub(position);
    let _ = to_do.send(block);
    Ok(gap)
}

/// An error if frames are missing between what ends with `begin` and what was read of the log.
fn connects(reader: &Reader<'_>, begin: u64) -> Result<(), Error> {
    match reader.first_number() {
        Some(first) if first > begin => {
            let reason = format!("the log begins behind frame {first}, not behind {begin}");
            Err(Error::corrupt("the log", 0, reason))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
