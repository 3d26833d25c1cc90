//! Databases and their shards.
//!
//! ```text
//!   gate --> layout: [ Arc<Database> ; databases ]      SELECT picks, SWAPDB swaps two,
//!                         |                             FLUSHDB puts a new one in
//!                         +--> [ Mutex<Shard> ; shards ]   made when first used
//! ```
//!
//! A key's shard is decided by bits 32 and up of its hash; the table inside uses the low bits for
//! the bucket and the top seven for the tag, so the three do not disturb each other.

use super::deadlines::Earliest;
use super::ledger::{Ledger, Share, usable, usable_slots};
use super::occupancy::{Kept, Occupancy, Seat};
use super::pool::Pool;
use super::shard::{Census, Shard};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, OnceLock};
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// All databases, by the number `SELECT` knows them by.
pub(crate) type Layout = Arc<[Arc<Database>]>;

/// One database.
#[derive(Debug)]
pub(crate) struct Database {
    /// Identity: stays with the entries when databases change places.
    pub(crate) id: u32,
    shard_count: usize,
    ledger: Arc<Ledger>,
    pool: Arc<Pool>,
    rooms: OnceLock<Rooms>,
    /// The last frame that changed it as a whole.
    since: AtomicU64,
}

/// What a database has once it is used.
#[derive(Debug)]
struct Rooms {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    occupancy: Arc<Occupancy>,
    earliest: Earliest,
    /// The last frame that changed each shard. Close together: most steps ask one of them.
    frames: Box<[AtomicU64]>,
    /// What the lists themselves hold.
    held: Share,
}

impl Database {
    /// An empty database. `shard_count` is a power of two.
    pub(super) fn new(id: u32, shard_count: usize, ledger: &Arc<Ledger>, pool: &Arc<Pool>) -> Self {
        debug_assert!(shard_count.is_power_of_two());
        Self {
            id,
            shard_count,
            ledger: Arc::clone(ledger),
            pool: Arc::clone(pool),
            rooms: OnceLock::new(),
            since: AtomicU64::new(0),
        }
    }

    /// An empty database with the same identity.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.id, self.shard_count, &self.ledger, &self.pool)
    }

    /// The shards. The first call makes them.
    #[inline]
    pub(crate) fn shards(&self) -> &[CachePadded<Mutex<Shard>>] {
        &self.rooms.get_or_init(|| self.furnish()).shards
    }

    fn furnish(&self) -> Rooms {
        let occupancy = Occupancy::new(self.shard_count);
        let shard = |number| {
            let seat = Seat::new(&occupancy, number);
            CachePadded::new(Mutex::new(Shard::new(&self.ledger, &self.pool, seat)))
        };
        let shards = (0..self.shard_count).map(shard).collect();
        let earliest = Earliest::new(self.shard_count);
        let since = self.since.load(Ordering::Relaxed);
        let frames = (0..self.shard_count)
            .map(|_| AtomicU64::new(since))
            .collect();
        let mut held = Share::new(&self.ledger);
        let shards_bytes = usable_slots::<CachePadded<Mutex<Shard>>>(self.shard_count);
        let frames_bytes = usable_slots::<AtomicU64>(self.shard_count);
        let lists_bytes = usable(earliest.heap_bytes()) + occupancy.heap_bytes();
        held.set(shards_bytes + frames_bytes + lists_bytes);
        Rooms {
            shards,
            occupancy,
            earliest,
            frames,
            held,
        }
    }

    /// The shards, if anybody ever used this database.
    pub(crate) fn shards_in_use(&self) -> &[CachePadded<Mutex<Shard>>] {
        self.rooms.get().map_or(&[], |rooms| &rooms.shards)
    }

    /// The earliest deadline of each shard, if anybody ever used this database.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<&Earliest> {
        Some(&self.rooms.get()?.earliest)
    }

    /// Number of shards, made or not.
    pub(super) fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// The last frame that changed this shard. Told by whoever holds the shard, or is alone inside
    /// the gate: its lock orders this, not the number.
    #[inline]
    pub(super) fn frame_of(&self, shard: usize) -> u64 {
        match self.rooms.get() {
            Some(rooms) => rooms.frames[shard].load(Ordering::Relaxed),
            None => self.since.load(Ordering::Relaxed),
        }
    }

    /// Notes that a frame changed this shard. Under the same lock.
    #[inline]
    pub(super) fn note_frame(&self, shard: usize, number: u64) {
        if let Some(rooms) = self.rooms.get() {
            rooms.frames[shard].store(number, Ordering::Relaxed);
        }
    }

    /// Notes that a frame changed the database as a whole. Alone inside the gate.
    pub(super) fn note_frame_of_all(&self, number: u64) {
        self.since.store(number, Ordering::Relaxed);
        let frames = self.rooms.get().map_or(&[][..], |rooms| &rooms.frames);
        for frame in frames {
            frame.store(number, Ordering::Relaxed);
        }
    }

    /// The first shard from `from` on that has such entries.
    pub(super) fn next_occupied(&self, kept: Kept, from: usize) -> Option<usize> {
        self.rooms.get()?.occupancy.next(kept, from)
    }

    /// The number of the shard for a key with this hash.
    #[inline]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shard_count - 1)
    }

    /// What is counted about all shards, one after the other.
    pub(crate) fn census(&self) -> Census {
        let mut sum = Census::default();
        for shard in self.shards_in_use() {
            sum.add(shard.lock().census());
        }
        sum
    }

    /// Gives up the shards of a database that nobody can reach any more.
    pub(crate) fn into_shards(self) -> impl Iterator<Item = Shard> + Send {
        let rooms = self.rooms.into_inner().into_iter();
        rooms.flat_map(|Rooms { shards, held, .. }| {
            shards.into_iter().map(move |shard| {
                // The list's room is held as long as this closure lives: so is the list.
                let _ = &held;
                into_inner(shard.into_inner())
            })
        })
    }
}

#[cfg(not(loom))]
fn into_inner(shard: Mutex<Shard>) -> Shard {
    shard.into_inner()
}

/// loom's mutex cannot be taken apart; models never free a database.
#[cfg(loom)]
fn into_inner(shard: Mutex<Shard>) -> Shard {
    let mut shard = shard.lock();
    let empty = shard.emptied();
    std::mem::replace(&mut *shard, empty)
}
