//! Pages of 4 KiB for all shards, cut from chunks of 256 KiB.
//!
//! ```text
//!   chunk 0  |####|####|####|####|      in use
//!   chunk 1  |####|    |####|####|  <-- a page is taken from the first chunk that has one
//!   chunk 2  |    |####|    |    |  <-- beyond what is wanted: its page is to move
//! ```
//!
//! An allocator that hands out pages of a shard's size one by one cannot give memory back to the
//! system while among the neighbours of each free page one is in use, and after nine of ten keys
//! are deleted at random that is nearly always so. Here free pages are taken from the front, and
//! where chunks have become more than the pages in use want, those in the chunks at the end are
//! moved to the front ([`Arena::settle`](super::arena::Arena::settle)). A page is named by its
//! number in its arena, so moving one is a copy and nothing else learns of it. A chunk without
//! pages in use is freed.
//!
//! Invariants: `used` pages are outside; a chunk that is made has all its pages outside or in
//! `free`; `open` are the made chunks with free pages, `unmade` numbers that stand for no chunk.
//!
//! Chunks are made only when no page is free, so they never take more than the pages that were once
//! in use together, and one chunk.
//!
//! Cost: taking and giving back a page is one lock and O(log chunks). Free pages are up to a
//! sixty-fourth of those in use and one chunk, once arenas have settled.

use super::ledger::{Account, Ledger, SPARE_BYTES, SPARE_PART};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a page of the pool.
pub(super) const PAGE_BYTES: usize = 4_096;
const PAGES_PER_CHUNK: usize = SPARE_BYTES / PAGE_BYTES;
/// The chunk of a page that is no part of one.
const NO_CHUNK: u32 = u32::MAX;

/// The bytes of a page.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) bytes: BytesMut,
    chunk: u32,
}

impl Room {
    /// Room of its own, for a page that is smaller or larger than the pool's.
    pub(super) fn own(bytes: usize) -> Self {
        Self {
            bytes: BytesMut::zeroed(bytes),
            chunk: NO_CHUNK,
        }
    }

    /// Whether it should move, where chunks from `limit` on are to be emptied.
    pub(super) fn is_beyond(&self, limit: u32) -> bool {
        self.chunk != NO_CHUNK && self.chunk >= limit
    }
}

/// The chunks, shared by all shards of an engine.
#[derive(Debug)]
pub(super) struct Pool {
    ledger: Arc<Ledger>,
    chunks: Mutex<Chunks>,
    /// There are more chunks than wanted. Changed under the lock.
    scattered: AtomicBool,
}

#[derive(Debug, Default)]
struct Chunks {
    free: Vec<Vec<BytesMut>>,
    open: BTreeSet<u32>,
    unmade: BTreeSet<u32>,
    used: usize,
}

impl Chunks {
    fn made(&self) -> usize {
        self.free.len() - self.unmade.len()
    }

    fn wanted(&self) -> usize {
        let least = self.used.div_ceil(PAGES_PER_CHUNK);
        least + least / SPARE_PART
    }

    fn make(&mut self) -> u32 {
        let number = self.unmade.pop_first().unwrap_or_else(|| {
            self.free.push(Vec::new());
            u32::try_from(self.free.len() - 1).expect("fewer than 2^32 chunks")
        });
        let mut chunk = BytesMut::zeroed(PAGES_PER_CHUNK * PAGE_BYTES);
        let page = |_| chunk.split_to(PAGE_BYTES);
        self.free[number as usize] = (0..PAGES_PER_CHUNK).map(page).collect();
        self.open.insert(number);
        number
    }

    fn free_bytes(&self) -> usize {
        (self.made() * PAGES_PER_CHUNK - self.used) * PAGE_BYTES
    }

    fn take(&mut self, chunk: u32) -> Room {
        let free = &mut self.free[chunk as usize];
        let bytes = free.pop().expect("an open chunk has a free page");
        if free.is_empty() {
            self.open.remove(&chunk);
        }
        self.used += 1;
        Room { bytes, chunk }
    }

    fn give_back(&mut self, room: Room) {
        let free = &mut self.free[room.chunk as usize];
        free.push(room.bytes);
        self.used -= 1;
        if free.len() < PAGES_PER_CHUNK {
            self.open.insert(room.chunk);
        } else {
            *free = Vec::new();
            self.open.remove(&room.chunk);
            self.unmade.insert(room.chunk);
        }
    }
}

impl Pool {
    /// A pool without chunks, whose free pages are told to `ledger`.
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            chunks: Mutex::new(Chunks::default()),
            scattered: AtomicBool::new(false),
        }
    }

    /// A page, of what bytes whatsoever.
    pub(super) fn take(&self) -> Room {
        self.change(|chunks| {
            let open = chunks.open.first().copied();
            let chunk = open.unwrap_or_else(|| chunks.make());
            chunks.take(chunk)
        })
    }

    /// Changes the chunks, and tells the ledger what is free now.
    fn change<R>(&self, change: impl FnOnce(&mut Chunks) -> R) -> R {
        let mut chunks = self.chunks.lock();
        let before = chunks.free_bytes();
        let result = change(&mut chunks);
        let scattered = chunks.made() > chunks.wanted();
        self.scattered.store(scattered, Ordering::Relaxed);
        self.ledger
            .change(Account::Spare, before, chunks.free_bytes());
        result
    }

    /// A page of a chunk before `limit`, if there is one.
    pub(super) fn take_before(&self, limit: u32) -> Option<Room> {
        self.change(|chunks| {
            let first = chunks.open.first().copied();
            let chunk = first.filter(|chunk| *chunk < limit)?;
            Some(chunks.take(chunk))
        })
    }

    /// Takes a page back, or frees room that was never the pool's.
    pub(super) fn give_back(&self, room: Room) {
        if room.chunk == NO_CHUNK {
            return;
        }
        self.change(|chunks| chunks.give_back(room));
    }

    /// The first chunk that is to be emptied, if there are more than wanted. O(chunks) then.
    pub(super) fn limit(&self) -> Option<u32> {
        if !self.scattered.load(Ordering::Relaxed) {
            return None;
        }
        let chunks = self.chunks.lock();
        let numbers = 0..u32::try_from(chunks.free.len()).unwrap_or(u32::MAX);
        let mut made = numbers.filter(|number| !chunks.unmade.contains(number));
        made.nth(chunks.wanted())
    }

    /// A pool of nobody else.
    #[cfg(all(test, not(loom)))]
    pub(super) fn test() -> Arc<Self> {
        Arc::new(Self::new(&Arc::new(Ledger::new())))
    }

    /// Bytes of free pages.
    #[cfg(all(test, not(loom)))]
    pub(super) fn free_bytes(&self) -> usize {
        self.chunks.lock().free_bytes()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Pages are distinct room, and those in use never want more chunks than promised once all
        /// that lie beyond the limit have moved.
        #[test]
        fn chunks_are_given_back_once_pages_have_moved(
            ops in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..600),
        ) {
            let (pool, mut rooms) = (Pool::test(), Vec::new());
            for (number, (take, at)) in ops.into_iter().enumerate() {
                if take || rooms.is_empty() {
                    let mut room = pool.take();
                    room.bytes.fill(number as u8);
                    rooms.push((room, number as u8));
                } else {
                    let (room, mark) = rooms.swap_remove(at.index(rooms.len()));
                    prop_assert!(room.bytes.iter().all(|byte| *byte == mark));
                    pool.give_back(room);
                }
            }
            while let Some(limit) = pool.limit() {
                for (room, _) in &mut rooms {
                    if room.is_beyond(limit) {
                        let mut better = pool.take_before(limit).expect("there is room before");
                        better.bytes.copy_from_slice(&room.bytes);
                        pool.give_back(std::mem::replace(room, better));
                    }
                }
            }
            let chunks = rooms.len().div_ceil(PAGES_PER_CHUNK);
            let slack = (chunks / SPARE_PART + 1) * PAGES_PER_CHUNK * PAGE_BYTES;
            prop_assert!(pool.free_bytes() <= slack);
            prop_assert_eq!(pool.free_bytes(), pool.ledger.bytes(Account::Spare));
            for (room, mark) in rooms {
                prop_assert!(room.bytes.iter().all(|byte| *byte == mark));
                pool.give_back(room);
            }
            prop_assert_eq!(pool.free_bytes(), 0);
        }
    }
}
