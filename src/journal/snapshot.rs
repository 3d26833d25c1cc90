//! Snapshots: the state of an engine in one file, written while the engine goes on.
//!
//! ```text
//!   snapshot-00000000000004d2.snap          named after `begin`, in hexadecimal
//!   | header | shard | items | items | shard | items | ... | map | end |
//!
//!   header, 76 bytes:
//!   0       8     12        16        36       40          44          52      60       68
//!   | magic | crc | version | history | shards | databases | hash seed | begin | engine | wall |
//!
//!   everything behind it is a chunk:
//!   0     4        8      9
//!   | crc | length | kind | `length` bytes, at most 1 MiB
//!     shard  database u32, shard u32, cut u64, length of its items u64
//!            (database ffffffff, shard 0: what the coordinator keeps)
//!     items  effects (`engine/effect.rs`), a piece of those of the shard before
//!     map    cut u64, then the identity of each database as u32
//!     end    parts u64, bytes of items u64, highest cut u64, chain u32
//! ```
//!
//! Numbers are little-endian. Each CRC-32C covers what is behind it in its header or chunk; the
//! *chain* is the checksum of them all in order, so no chunk can be missing, doubled or another's.
//!
//! A *cut* is the number of a frame: that frame and all before it are in the part, none behind it.
//! `begin` is the last number that was taken before the first part was cut; what is not there is
//! empty, and was cut at `begin`. So the log is needed from `begin` on, and at least up to the
//! highest cut: only then do all parts show one moment. A snapshot gets its name when the log is
//! safe up to there, never before.
//!
//! Invariants: a file of that name is whole, for it is synced under a temporary name first; it is
//! never changed; it is removed only when a newer one stands.
//!
//! Cost: writing holds one buffer of a chunk, beside the items of the part. Reading holds a chunk,
//! and the items of one part, which grow by what was read and found sound.
//!
//! LIMITATIONS: a database's shard is one part, in memory as a whole on both ways.

use super::disk::{self, Access, Disk, FileRef, remove_if_there};
use super::error::{DIRECTORY, Error};
use super::fields::Fields;
use super::frame;
use super::identity::Identity;
use super::sealed::{self, COVERED_AT, NoHeader};
use crate::clock::Now;
use std::sync::Arc;

/// The newest format this program knows, and the one it writes.
pub const VERSION: u32 = 1;
/// What a chunk carries at most, in bytes.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

const MAGIC: [u8; 8] = *b"LINCHPSN";
const HEADER_BYTES: usize = 76;
const CHUNK_HEADER_BYTES: usize = 9;
const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".snap";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// After so many bytes the device is told to take them: a sync at the end that has all to write
/// would hold up those of the log.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

const SHARD: u8 = 1;
const ITEMS: u8 = 2;
const MAP: u8 = 3;
const END: u8 = 4;

/// What stands at the beginning of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The history it belongs to.
    pub history: [u8; 20],
    /// Shards of each database.
    pub shards: u32,
    /// Databases.
    pub databases: u32,
    /// Seed of the hash of keys.
    pub hash_seed: u64,
    /// The last frame number that was taken before the first part was cut.
    pub begin: u64,
    /// Engine time when it was begun, in milliseconds.
    pub engine_ms: u64,
    /// Unix time when it was begun, in milliseconds.
    pub wall_ms: u64,
}

impl Header {
    /// Of a snapshot begun now.
    #[must_use]
    pub fn new(identity: &Identity, begin: u64, now: Now) -> Self {
        Self {
            history: identity.history,
            shards: identity.shards,
            databases: identity.databases,
            hash_seed: identity.hash_seed,
            begin,
            engine_ms: now.engine_ms,
            wall_ms: now.wall_ms,
        }
    }

    /// Its bytes on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields: [&[u8]; 7] = [
            &self.history,
            &self.shards.to_le_bytes(),
            &self.databases.to_le_bytes(),
            &self.hash_seed.to_le_bytes(),
            &self.begin.to_le_bytes(),
            &self.engine_ms.to_le_bytes(),
            &self.wall_ms.to_le_bytes(),
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
        let (version, fields) = sealed::open(bytes, MAGIC, VERSION)?;
        let header = Self::fields(fields).filter(|_| version == VERSION);
        header.ok_or(NoHeader::Damaged)
    }

    fn fields(mut fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            history: fields.bytes()?,
            shards: fields.u32()?,
            databases: fields.u32()?,
            hash_seed: fields.u64()?,
            begin: fields.u64()?,
            engine_ms: fields.u64()?,
            wall_ms: fields.u64()?,
        })
    }
}

/// A snapshot, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// See [`Header::begin`].
    pub begin: u64,
    /// The name of its file.
    pub name: String,
}

/// The name of a snapshot that begins at this number.
#[must_use]
pub fn name(begin: u64) -> String {
    format!("{PREFIX}{begin:016x}{SUFFIX}")
}

/// What the snapshot of this name begins at; none where it is no snapshot's name.
#[must_use]
pub fn parse_name(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let begin = u64::from_str_radix(digits, 16).ok()?;
    (name(begin) == file_name).then_some(begin)
}

/// All snapshots, the newest last.
///
/// # Errors
///
/// Where the directory cannot be listed.
pub fn list(disk: &dyn Disk) -> Result<Vec<Named>, Error> {
    let named = |name: String| parse_name(&name).map(|begin| Named { begin, name });
    let mut found: Vec<Named> = names(disk)?.into_iter().filter_map(named).collect();
    found.sort_unstable();
    Ok(found)
}

/// What is left of snapshots that were not finished.
///
/// # Errors
///
/// Where the directory cannot be listed.
pub fn unfinished(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let mut names = names(disk)?;
    names.retain(|name| name.starts_with(PREFIX) && name.ends_with(TEMPORARY_SUFFIX));
    Ok(names)
}

fn names(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    disk.list().map_err(|source| Error::io(DIRECTORY, source))
}

/// The checksum of the checksums so far and one more.
pub(crate) fn link(chain: u32, crc: u32) -> u32 {
    frame::crc32c(&[chain.to_le_bytes(), crc.to_le_bytes()].concat())
}

/// Stands in the place of a database's identity: the part is what the coordinator keeps, all of it
/// as shard 0. No database has it, for there are fewer.
pub const COORDINATOR: u32 = u32::MAX;

/// One part that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCut {
    /// Identity of the database.
    pub db: u32,
    /// Which of its shards.
    pub shard: u32,
    /// This frame and those before it are in.
    pub cut: u64,
}

/// What a whole snapshot says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Shards and the map.
    pub parts: u64,
    /// Bytes of effects in them.
    pub items_bytes: u64,
    /// The highest cut: the log has to reach up to here.
    pub highest: u64,
}

/// Writes one snapshot under its temporary name. Dropped before it is published, it removes that.
#[derive(Debug)]
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    file: FileRef,
    begin: u64,
    temporary: String,
    /// Not yet written.
    buffer: Vec<u8>,
    /// Bytes written to the file, and those of them that were synced.
    written: u64,
    synced: u64,
    chain: u32,
    summary: Summary,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Sealed,
    Published,
}

impl SnapshotWriter {
    /// Makes the temporary file.
    ///
    /// # Errors
    ///
    /// Where the disk fails; here as everywhere the snapshot has then failed and is to be dropped.
    pub fn create(disk: Arc<dyn Disk>, header: &Header) -> Result<Self, Error> {
        let temporary = name(header.begin) + TEMPORARY_SUFFIX;
        let file = remove_if_there(&*disk, &temporary)
            .and_then(|_| disk.create(&temporary))
            .map_err(|source| Error::io(&temporary, source))?;
        let buffer = header.encode();
        let crc = frame::crc32c(buffer.get(COVERED_AT..).unwrap_or_default());
        let summary = Summary {
            highest: header.begin,
            ..Summary::default()
        };
        Ok(Self {
            disk,
            file,
            begin: header.begin,
            temporary,
            buffer,
            written: 0,
            synced: 0,
            chain: link(0, crc),
            summary,
            state: State::Open,
        })
    }

    /// Adds a shard with the effects that bring back its entries.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn push_shard(&mut self, part: ShardCut, items: &[u8]) -> Result<(), Error> {
        let mut body = Vec::with_capacity(24);
        body.extend_from_slice(&part.db.to_le_bytes());
        body.extend_from_slice(&part.shard.to_le_bytes());
        body.extend_from_slice(&part.cut.to_le_bytes());
        body.extend_from_slice(&(items.len() as u64).to_le_bytes());
        self.push_part(SHARD, part.cut, &body)?;
        self.summary.items_bytes += items.len() as u64;
        items
            .chunks(CHUNK_BYTES_MAX)
            .try_for_each(|piece| self.push_chunk(ITEMS, piece))
    }

    /// Adds which database stands where, by identity. Once.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn push_map(&mut self, cut: u64, ids: &[u32]) -> Result<(), Error> {
        let mut body = cut.to_le_bytes().to_vec();
        body.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        self.push_part(MAP, cut, &body)
    }

    fn push_part(&mut self, kind: u8, cut: u64, body: &[u8]) -> Result<(), Error> {
        self.summary.parts += 1;
        self.summary.highest = self.summary.highest.max(cut);
        self.push_chunk(kind, body)
    }

    fn push_chunk(&mut self, kind: u8, body: &[u8]) -> Result<(), Error> {
        debug_assert!(self.state == State::Open && body.len() <= CHUNK_BYTES_MAX);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer
            .extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.buffer.push(kind);
        self.buffer.extend_from_slice(body);
        let crc = frame::crc32c(&self.buffer[start + 4..]);
        self.buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.chain = link(self.chain, crc);
        if self.buffer.len() >= CHUNK_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let io_error = |source| Error::io(&self.temporary, source);
        disk::write_all_at(&*self.file, self.written, &self.buffer).map_err(io_error)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync().map_err(io_error)?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes_len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Ends the file and makes it safe; answers what it holds. Nothing can be added then.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn seal(&mut self) -> Result<Summary, Error> {
        let mut body = Vec::with_capacity(28);
        let Summary {
            parts,
            items_bytes,
            highest,
        } = self.summary;
        for number in [parts, items_bytes, highest] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&self.chain.to_le_bytes());
        self.push_chunk(END, &body)?;
        self.flush()?;
        self.file
            .sync()
            .map_err(|source| Error::io(&self.temporary, source))?;
        self.state = State::Sealed;
        Ok(self.summary)
    }

    /// Gives the sealed file its name, and makes that safe. The log is safe up to the highest cut.
    ///
    /// # Errors
    ///
    /// Where the disk fails. Which name the file has then is not known; older snapshots have to
    /// stay.
    pub fn publish(&mut self) -> Result<(), Error> {
        debug_assert!(self.state == State::Sealed);
        let name = name(self.begin);
        self.disk
            .rename(&self.temporary, &name)
            .and_then(|()| {
                self.state = State::Published;
                self.disk.sync_dir()
            })
            .map_err(|source| Error::io(&name, source))
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.state != State::Published {
            // If not now, then when the directory is opened next.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// Reads a snapshot part by part. Nothing of a chunk is handed out before it was found sound.
#[derive(Debug)]
pub struct SnapshotReader {
    name: String,
    file: FileRef,
    bytes_len: u64,
    header: Header,
    /// Bytes of the file from `buffer_offset` on; those before `at` are done with.
    buffer: Vec<u8>,
    buffer_offset: u64,
    at: usize,
    chain: u32,
    found: Summary,
    has_map: bool,
    is_over: bool,
}

/// One part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A shard; its effects are in the buffer given.
    Shard(ShardCut),
    /// Which database stands where, by identity.
    Map {
        /// This frame and those before it are in.
        cut: u64,
        /// By the number `SELECT` knows.
        ids: Vec<u32>,
    },
}

/// Where in the buffer a chunk's body is.
struct Chunk {
    kind: u8,
    offset: u64,
    body: std::ops::Range<usize>,
}

impl SnapshotReader {
    /// Opens a snapshot of this directory.
    ///
    /// # Errors
    ///
    /// Where its header is damaged, newer or another directory's, or the disk fails.
    pub fn open(disk: &dyn Disk, named: &Named, identity: &Identity) -> Result<Self, Error> {
        let Named { begin, name } = named;
        let io_error = |source| Error::io(name, source);
        let file = disk.open(name, Access::Read).map_err(io_error)?;
        let bytes_len = file.len().map_err(io_error)?;
        let mut bytes = [0; HEADER_BYTES];
        let read = disk::read_full_at(&*file, 0, &mut bytes).map_err(io_error)?;
        let header = match Header::parse(bytes.get(..read).unwrap_or_default()) {
            Ok(header) => header,
            Err(NoHeader::Damaged) => {
                return Err(Error::corrupt(name, 0, "it is no header of a snapshot"));
            }
            Err(NoHeader::Newer { version }) => {
                return Err(Error::Newer {
                    file: name.clone(),
                    version,
                    known: VERSION,
                });
            }
        };
        let is_own = (header.history, header.shards, header.hash_seed)
            == (identity.history, identity.shards, identity.hash_seed);
        if !is_own || header.databases > identity.databases || header.begin != *begin {
            let reason = "it belongs to another data directory, or under another name";
            return Err(Error::corrupt(name, 0, reason));
        }
        let crc = frame::crc32c(bytes.get(COVERED_AT..).unwrap_or_default());
        Ok(Self {
            name: name.clone(),
            file,
            bytes_len,
            header,
            buffer: Vec::new(),
            buffer_offset: HEADER_BYTES as u64,
            at: 0,
            chain: link(0, crc),
            found: Summary {
                highest: header.begin,
                ..Summary::default()
            },
            has_map: false,
            is_over: false,
        })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length of the file, in bytes.
    #[must_use]
    pub fn bytes_len(&self) -> u64 {
        self.bytes_len
    }

    /// Where in the file the next chunk begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.buffer_offset.saturating_add(self.at as u64)
    }

    /// What it holds, once [`next`](Self::next) has answered none.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.found
    }

    /// The next part; the effects of a shard are put into `items`. None when all were read, and
    /// all that the end says of them was found true.
    ///
    /// # Errors
    ///
    /// Where it is damaged, or the disk fails. What was handed out before is then worth nothing.
    pub fn next(&mut self, items: &mut Vec<u8>) -> Result<Option<Part>, Error> {
        items.clear();
        if self.is_over {
            return Ok(None);
        }
        let chain = self.chain;
        let chunk = self.chunk()?;
        let body = self.body(&chunk);
        match chunk.kind {
            SHARD => {
                let found = parse_shard(body, &self.header);
                let (part, items_len) =
                    found.ok_or_else(|| self.bad(&chunk, "it is no shard of these databases"))?;
                self.count(part.cut);
                self.gather(items_len, items)?;
                Ok(Some(Part::Shard(part)))
            }
            MAP => {
                let found = parse_map(body, &self.header).filter(|_| !self.has_map);
                let (cut, ids) =
                    found.ok_or_else(|| self.bad(&chunk, "it is no map of these databases"))?;
                self.has_map = true;
                self.count(cut);
                Ok(Some(Part::Map { cut, ids }))
            }
            END => {
                if !self.has_map || parse_end(body) != Some((self.found, chain)) {
                    return Err(self.bad(&chunk, "parts are missing, or are not its own"));
                }
                if self.offset() != self.bytes_len {
                    return Err(Error::corrupt(
                        &self.name,
                        self.offset(),
                        "something is behind the end",
                    ));
                }
                self.is_over = true;
                Ok(None)
            }
            _ => Err(self.bad(&chunk, "a chunk that does not come next")),
        }
    }

    fn bad(&self, chunk: &Chunk, reason: &str) -> Error {
        Error::corrupt(&self.name, chunk.offset, reason)
    }

    fn body(&self, chunk: &Chunk) -> &[u8] {
        self.buffer.get(chunk.body.clone()).unwrap_or_default()
    }

    fn count(&mut self, cut: u64) {
        self.found.parts = self.found.parts.saturating_add(1);
        self.found.highest = self.found.highest.max(cut);
    }

    /// Puts the pieces that come next, so many bytes together, into `items`.
    fn gather(&mut self, items_len: u64, items: &mut Vec<u8>) -> Result<(), Error> {
        while (items.len() as u64) < items_len {
            let chunk = self.chunk()?;
            let piece = self.body(&chunk);
            let len = (items.len() as u64).saturating_add(piece.len() as u64);
            if chunk.kind != ITEMS || piece.is_empty() || len > items_len {
                return Err(self.bad(&chunk, "the items of a shard do not end where they should"));
            }
            items.extend_from_slice(piece);
        }
        self.found.items_bytes = self.found.items_bytes.saturating_add(items_len);
        Ok(())
    }

    /// Reads the next chunk and takes it off the buffer.
    fn chunk(&mut self) -> Result<Chunk, Error> {
        let offset = self.offset();
        let corrupt = |name: &str, reason: &str| Err(Error::corrupt(name, offset, reason));
        let cut = "the file ends before the snapshot does";
        if !self.fill(CHUNK_HEADER_BYTES)? {
            return corrupt(&self.name, cut);
        }
        let mut fields = Fields::of(self.unread());
        let (Some(crc), Some(body_len)) = (fields.u32(), fields.u32()) else {
            return corrupt(&self.name, cut);
        };
        let body_len = usize::try_from(body_len).unwrap_or(usize::MAX);
        if body_len > CHUNK_BYTES_MAX {
            return corrupt(&self.name, "a chunk longer than any is");
        }
        let whole_len = CHUNK_HEADER_BYTES.saturating_add(body_len);
        if !self.fill(whole_len)? {
            return corrupt(&self.name, cut);
        }
        let whole = self.unread().get(..whole_len).unwrap_or_default();
        let (Some(covered), Some(&[kind])) = (whole.get(4..), whole.get(8..9)) else {
            return corrupt(&self.name, cut);
        };
        if !frame::is_sound(crc, covered) {
            return corrupt(&self.name, "the checksum does not fit");
        }
        self.chain = link(self.chain, crc);
        let body = self.at.saturating_add(CHUNK_HEADER_BYTES);
        self.at = self.at.saturating_add(whole_len);
        Ok(Chunk {
            kind,
            offset,
            body: body..self.at,
        })
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Sees to it that so many bytes are unread, at most a chunk; false where the file ends before.
    fn fill(&mut self, bytes_needed: usize) -> Result<bool, Error> {
        if self.unread().len() >= bytes_needed {
            return Ok(true);
        }
        self.buffer_offset = self.offset();
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        let have = self.buffer.len();
        let rest_len = self.bytes_len.saturating_sub(self.buffer_offset);
        let wanted = rest_len.min((CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX) as u64);
        self.buffer
            .resize(usize::try_from(wanted).unwrap_or(have).max(have), 0);
        let from = self.buffer_offset.saturating_add(have as u64);
        let into = self.buffer.get_mut(have..).unwrap_or_default();
        let read = disk::read_full_at(&*self.file, from, into)
            .map_err(|source| Error::io(&self.name, source))?;
        self.buffer.truncate(have.saturating_add(read));
        Ok(self.buffer.len() >= bytes_needed)
    }
}

fn parse_shard(body: &[u8], header: &Header) -> Option<(ShardCut, u64)> {
    let mut fields = Fields::of(body);
    let part = ShardCut {
        db: fields.u32()?,
        shard: fields.u32()?,
        cut: fields.u64()?,
    };
    let items_len = fields.u64()?;
    let is_coordinator = part.db == COORDINATOR && part.shard == 0;
    let is_there = is_coordinator || (part.db < header.databases && part.shard < header.shards);
    let is_whole = fields.rest().is_empty() && part.cut >= header.begin;
    (is_there && is_whole).then_some((part, items_len))
}

fn parse_map(body: &[u8], header: &Header) -> Option<(u64, Vec<u32>)> {
    let mut fields = Fields::of(body);
    let cut = fields.u64()?;
    let (ids, rest) = fields.rest().as_chunks::<4>();
    let is_whole = rest.is_empty() && ids.len() as u64 == u64::from(header.databases);
    let ids = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
    (is_whole && cut >= header.begin).then_some((cut, ids))
}

fn parse_end(body: &[u8]) -> Option<(Summary, u32)> {
    let mut fields = Fields::of(body);
    let summary = Summary {
        parts: fields.u64()?,
        items_bytes: fields.u64()?,
        highest: fields.u64()?,
    };
    let chain = fields.u32()?;
    fields.rest().is_empty().then_some((summary, chain))
}

#[cfg(test)]
mod tests;
