//! Taking a snapshot of an engine that goes on: which shards are cut when.
//!
//! ```text
//!   begin --> cut, write, cut, write ... --> seal --> publish, once the log is safe up to there
//!             |    |
//!             |    disk: may wait               a thread may do both (`step`), or a worker cuts
//!             memory: one batch, bounded        and hands this on to a thread that writes
//! ```
//!
//! Shards are taken by identity of their database, so that SWAPDB meanwhile neither hides one nor
//! shows it twice. Between two calls nothing is locked. At most about 64 KiB and one shard
//! are held in memory, however slow the disk is: nothing is cut before the last was written.
//!
//! `begin` has to be a number that the log had given out before the first cut: every frame up to
//! it was in memory by then, for its number is taken behind the change and under the same locks.
//!
//! Cost: some 100 ns an entry under its shard's lock, one pass of checksum and copy outside.

use super::disk::{Disk, remove_if_there};
use super::error::Error;
use super::identity::Identity;
use super::segment;
use super::snapshot::{self, COORDINATOR, Header, ShardCut, SnapshotWriter, Summary};
use crate::clock::Now;
use crate::engine::{Batch, Engine};
use std::sync::Arc;

/// A cut goes on until it has so many bytes, and then to the end of the shard.
const CUT_BYTES: usize = 64 * 1024;
/// Or, where both are done in one step, until it has looked at so many shards.
const STEP_SHARDS_MAX: usize = 1_024;
/// A buffer that grew beyond this is given back.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A snapshot being taken. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub struct Snapshotting {
    writer: SnapshotWriter,
    header: Header,
    map: Option<(u64, Vec<u32>)>,
    /// The next shard, counted over all databases by identity, of so many.
    next: usize,
    total: usize,
    /// What was cut and not written: each with the end of its effects in `items`.
    parts: Vec<(ShardCut, usize)>,
    items: Vec<u8>,
    sealed: Option<Summary>,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Shards that were cut.
    pub shards_done: usize,
    /// Shards of all databases.
    pub shards: usize,
    /// Bytes written.
    pub bytes_len: u64,
}

/// A snapshot that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name of its file.
    pub name: String,
    /// Frames up to here are of no more use.
    pub begin: u64,
    /// Length of the file, in bytes.
    pub bytes_len: u64,
}

impl Snapshotting {
    /// Begins one. `numbered` is the last frame number that was taken, asked for before this.
    ///
    /// # Errors
    ///
    /// Where the disk fails; here as everywhere the snapshot has then failed and is to be dropped.
    pub fn begin(
        disk: Arc<dyn Disk>,
        identity: &Identity,
        numbered: u64,
        now: Now,
    ) -> Result<Self, Error> {
        let header = Header::new(identity, numbered, now);
        Ok(Self {
            writer: SnapshotWriter::create(disk, &header)?,
            header,
            map: None,
            next: 0,
            total: identity.databases as usize * identity.shards as usize,
            parts: Vec::new(),
            items: Vec::new(),
            sealed: None,
        })
    }

    /// Cuts the shards that come next, at most `shards_max`; answers whether there are more. Waits
    /// for no disk.
    ///
    /// # Panics
    ///
    /// If the engine is not that of the identity.
    pub fn cut(&mut self, batch: &Batch<'_>, shards_max: usize) -> bool {
        let step = batch.step();
        let (ids, map_frame) = step.map();
        let begin = self.header.begin;
        if self.map.is_none() {
            let frame = step.cut_coordinator(&mut self.items);
            let part = ShardCut {
                db: COORDINATOR,
                shard: 0,
                cut: frame.max(begin),
            };
            self.parts.push((part, self.items.len()));
        }
        let shards = self.header.shards as usize;
        assert_eq!(step.shards(), shards, "an engine of this identity");
        assert_eq!(ids.len() * shards, self.total, "an engine of this identity");
        for _ in 0..shards_max {
            if self.next == self.total || self.items.len() >= CUT_BYTES {
                break;
            }
            let (id, shard) = (self.next / shards, self.next % shards);
            let place = ids.iter().position(|at| *at as usize == id);
            let place = place.expect("a database has one place");
            let before = self.items.len();
            let (db, frame) = step.cut(place as u32, shard, &mut self.items);
            if self.items.len() > before || frame > begin {
                let part = ShardCut {
                    db,
                    shard: shard as u32,
                    cut: frame.max(begin),
                };
                self.parts.push((part, self.items.len()));
            }
            self.next += 1;
        }
        self.map.get_or_insert((map_frame.max(begin), ids));
        self.next < self.total
    }

    /// Writes what was cut.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn write(&mut self) -> Result<(), Error> {
        let mut start = 0;
        for (part, end) in self.parts.drain(..) {
            self.writer.push_shard(part, &self.items[start..end])?;
            start = end;
        }
        self.items.clear();
        self.items.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }

    /// Cuts what comes next, through side `side` of the gate, and writes it; answers whether there
    /// is more.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn step(&mut self, engine: &Engine, side: usize, now: Now) -> Result<bool, Error> {
        let has_more = self.cut(&engine.shared(side, now), STEP_SHARDS_MAX);
        self.write()?;
        Ok(has_more)
    }

    /// Ends the file when all shards were cut and written, and makes it safe; answers the number up
    /// to which the log has to be safe before the snapshot may stand. May be called again.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    ///
    /// # Panics
    ///
    /// If there are shards left.
    pub fn seal(&mut self) -> Result<u64, Error> {
        assert!(self.next == self.total && self.parts.is_empty());
        if let Some(summary) = self.sealed {
            return Ok(summary.highest);
        }
        if let Some((cut, ids)) = &self.map {
            self.writer.push_map(*cut, ids)?;
        }
        let summary = self.writer.seal()?;
        self.sealed = Some(summary);
        Ok(summary.highest)
    }

    /// Lets the snapshot stand, and removes what it replaces; none, and nothing done, while the log
    /// is not yet safe up to its highest cut.
    ///
    /// # Errors
    ///
    /// Where the disk fails. If that was after the snapshot got its name, it counts all the same
    /// when the directory is opened next.
    pub fn publish(
        &mut self,
        disk: &dyn Disk,
        identity: &Identity,
        synced: u64,
    ) -> Result<Option<Published>, Error> {
        if self.sealed.is_none_or(|sealed| sealed.highest > synced) {
            return Ok(None);
        }
        self.writer.publish()?;
        let published = Published {
            name: snapshot::name(self.header.begin),
            begin: self.header.begin,
            bytes_len: self.writer.bytes_len(),
        };
        remove_replaced(disk, identity, published.begin)?;
        Ok(Some(published))
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            shards_done: self.next,
            shards: self.total,
            bytes_len: self.writer.bytes_len(),
        }
    }
}

/// Removes what a snapshot that stands, and begins at `begin`, makes useless: older snapshots, and
/// segments that end before it. May be done again after a crash.
///
/// # Errors
///
/// Where the disk fails.
pub fn remove_replaced(disk: &dyn Disk, identity: &Identity, begin: u64) -> Result<(), Error> {
    for older in snapshot::list(disk)? {
        if older.begin < begin {
            remove_if_there(disk, &older.name).map_err(|source| Error::io(&older.name, source))?;
        }
    }
    let segments =
        segment::list(disk).map_err(|source| Error::io(super::error::DIRECTORY, source))?;
    let covered = segment::covered(disk, identity.log_id(), &segments, begin)?;
    for segment in segments.iter().take(covered) {
        remove_if_there(disk, &segment.name).map_err(|source| Error::io(&segment.name, source))?;
    }
    disk.sync_dir()
        .map_err(|source| Error::io(super::error::DIRECTORY, source))
}
