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
//! `free`; `open` are the made chunks with free pages, `empty` is the one of which all are free,
//! `unmade` are numbers that stand for no chunk. There are never two empty chunks.
//!
//! Chunks are made only when no page is free, so they never take more than the pages that were once
//! in use together, and one chunk. A chunk that becomes empty stays for whoever needs a page next,
//! until arenas settle or another becomes empty: pages that come and go make no chunk each time.
//!
//! Cost: taking and giving back a page is one lock and O(log chunks); chunks are made and freed
//! outside the lock. Free pages are up to a sixty-fourth of those in use and one chunk, once arenas
//! have settled. The lists of a chunk's pages take 2 KiB a chunk and count as store.
//!
//! LIMITATIONS: `open` and `unmade` are not counted: at most some 20 bytes a chunk.

use super::ledger::{Account, Ledger, SPARE_BYTES, SPARE_PART, Share, usable, usable_slots};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a page of the pool.
pub(super) const PAGE_BYTES: usize = 4_096;
/// Two under loom: a model is to reach the ends of a chunk in a few steps.
const PAGES_PER_CHUNK: usize = if cfg!(loom) {
    2
} else {
    SPARE_BYTES / PAGE_BYTES
};
/// What the pages of a chunk have in common: where it is, its size, how many there are.
const SHARED_BYTES: usize = 40;
/// Bytes that a chunk takes beside its pages.
const LIST_BYTES: usize = usable_slots::<BytesMut>(PAGES_PER_CHUNK) + usable(SHARED_BYTES);
/// The chunk of a page that is no part of one.
const NO_CHUNK: u32 = u32::MAX;

/// The free pages of a chunk, with room for all of them.
type Chunk = Vec<BytesMut>;

/// A chunk of which all pages are free.
fn make_chunk() -> Chunk {
    let mut bytes = BytesMut::zeroed(PAGES_PER_CHUNK * PAGE_BYTES);
    let page = |_| bytes.split_to(PAGE_BYTES);
    (0..PAGES_PER_CHUNK).map(page).collect()
}

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

#[derive(Debug)]
struct Chunks {
    free: Vec<Chunk>,
    open: BTreeSet<u32>,
    unmade: BTreeSet<u32>,
    empty: Option<u32>,
    used: usize,
    /// What the lists hold.
    held: Share,
}

impl Chunks {
    fn made(&self) -> usize {
        self.free.len() - self.unmade.len()
    }

    fn wanted(&self) -> usize {
        let least = self.used.div_ceil(PAGES_PER_CHUNK);
        least + least / SPARE_PART
    }

    fn is_scattered(&self) -> bool {
        self.made() > self.wanted()
    }

    fn free_bytes(&self) -> usize {
        (self.made() * PAGES_PER_CHUNK - self.used) * PAGE_BYTES
    }

    /// The first chunk beyond those wanted. O(unmade chunks before it).
    fn limit(&self) -> u32 {
        let mut limit = u32::try_from(self.wanted()).unwrap_or(u32::MAX);
        for unmade in &self.unmade {
            if *unmade > limit {
                break;
            }
            limit += 1;
        }
        limit
    }

    fn count_lists(&mut self) {
        let list = usable_slots::<Chunk>(self.free.capacity());
        self.held.set(list + self.made() * LIST_BYTES);
    }

    /// Adds a chunk of which all pages are free.
    fn add(&mut self, chunk: Chunk) -> u32 {
        let number = self.unmade.pop_first().unwrap_or_else(|| {
            self.free.push(Chunk::new());
            u32::try_from(self.free.len() - 1).expect("fewer than 2^32 chunks")
        });
        self.free[number as usize] = chunk;
        self.open.insert(number);
        self.empty = Some(number);
        self.count_lists();
        number
    }

    /// Takes out an empty chunk, to be freed by the caller.
    fn remove(&mut self, number: u32) -> Chunk {
        self.open.remove(&number);
        self.unmade.insert(number);
        let chunk = std::mem::take(&mut self.free[number as usize]);
        self.count_lists();
        chunk
    }

    /// Takes out the empty chunk if there are more than wanted.
    fn remove_surplus(&mut self) -> Option<Chunk> {
        if !self.is_scattered() {
            return None;
        }
        let empty = self.empty.take()?;
        Some(self.remove(empty))
    }

    fn take(&mut self, chunk: u32) -> Room {
        let free = &mut self.free[chunk as usize];
        let bytes = free.pop().expect("an open chunk has a free page");
        if free.is_empty() {
            self.open.remove(&chunk);
        }
        if self.empty == Some(chunk) {
            self.empty = None;
        }
        self.used += 1;
        Room { bytes, chunk }
    }

    fn take_first(&mut self) -> Option<Room> {
        let first = self.open.first().copied()?;
        Some(self.take(first))
    }

    /// Takes a page back. Where there are two empty chunks then, the one at the end is the
    /// caller's, to be freed.
    fn give_back(&mut self, room: Room) -> Option<Chunk> {
        let number = room.chunk;
        let free = &mut self.free[number as usize];
        free.push(room.bytes);
        let is_empty = free.len() == PAGES_PER_CHUNK;
        self.used -= 1;
        self.open.insert(number);
        if !is_empty {
            return None;
        }
        let kept = self.empty.map_or(number, |other| number.min(other));
        let other = self.empty.replace(kept)?;
        Some(self.remove(number.max(other)))
    }
}

impl Pool {
    /// A pool without chunks, whose free pages and lists are told to `ledger`.
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        let chunks = Chunks {
            free: Vec::new(),
            open: BTreeSet::new(),
            unmade: BTreeSet::new(),
            empty: None,
            used: 0,
            held: Share::new(ledger),
        };
        Self {
            ledger: Arc::clone(ledger),
            chunks: Mutex::new(chunks),
            scattered: AtomicBool::new(false),
        }
    }

    /// A page, of what bytes whatsoever.
    pub(super) fn take(&self) -> Room {
        if let Some(room) = self.change(Chunks::take_first) {
            return room;
        }
        // While it was made somebody may have given a page back: then it is dropped, unlocked.
        let mut chunk = make_chunk();
        self.change(|chunks| {
            let first = chunks.open.first().copied();
            let number = first.unwrap_or_else(|| chunks.add(std::mem::take(&mut chunk)));
            chunks.take(number)
        })
    }

    /// Changes the chunks, and tells the ledger what is free now.
    fn change<R>(&self, change: impl FnOnce(&mut Chunks) -> R) -> R {
        let mut chunks = self.chunks.lock();
        let before = chunks.free_bytes();
        let result = change(&mut chunks);
        self.scattered
            .store(chunks.is_scattered(), Ordering::Relaxed);
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
        let chunk = self.change(|chunks| chunks.give_back(room));
        // Not before: freeing a chunk is a call into the system.
        drop(chunk);
    }

    /// The first chunk that is to be emptied, if there are more than wanted. Frees the empty one
    /// first. One load where there are not more, else one lock and O(free chunks).
    pub(super) fn limit(&self) -> Option<u32> {
        if !self.scattered.load(Ordering::Relaxed) {
            return None;
        }
        let (limit, chunk) = self.change(|chunks| {
            let chunk = chunks.remove_surplus();
            (chunks.is_scattered().then(|| chunks.limit()), chunk)
        });
        drop(chunk);
        limit
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
            prop_assert_eq!(pool.limit(), None);
            prop_assert_eq!(pool.free_bytes(), 0);
        }
    }

    /// Goes red when a chunk that becomes empty is freed at once.
    #[test]
    fn pages_that_come_and_go_at_the_end_of_a_chunk_make_no_chunk_each_time() {
        let pool = Pool::test();
        let rooms: Vec<Room> = (0..PAGES_PER_CHUNK).map(|_| pool.take()).collect();
        let made = || pool.chunks.lock().made();
        assert_eq!(made(), 1);
        for pages in (1..=PAGES_PER_CHUNK).cycle().take(1_000) {
            let more: Vec<Room> = (0..pages).map(|_| pool.take()).collect();
            assert_eq!(made(), 2);
            more.into_iter().for_each(|room| pool.give_back(room));
            assert_eq!(made(), 2, "it was freed, and must be made again");
        }
        assert_eq!(pool.limit(), None, "nothing is to move");
        assert_eq!((made(), pool.free_bytes()), (1, 0), "settled");
        rooms.into_iter().for_each(|room| pool.give_back(room));
    }

    /// Goes red when the second chunk that becomes empty stays as well.
    #[test]
    fn one_empty_chunk_stays_and_it_is_the_first() {
        let pool = Pool::test();
        let rooms: Vec<Room> = (0..3 * PAGES_PER_CHUNK).map(|_| pool.take()).collect();
        for room in rooms {
            pool.give_back(room);
            assert!(pool.free_bytes() < 3 * PAGES_PER_CHUNK * PAGE_BYTES);
        }
        assert_eq!(pool.free_bytes(), PAGES_PER_CHUNK * PAGE_BYTES);
        assert_eq!(pool.take().chunk, 0);
    }

    #[test]
    fn lists_of_pages_count_as_store() {
        let pool = Pool::test();
        let rooms: Vec<Room> = (0..10 * PAGES_PER_CHUNK).map(|_| pool.take()).collect();
        let lists = pool.ledger.bytes(Account::Store);
        assert!((10 * 2_048..11 * 2_300).contains(&lists), "{lists} bytes");
        rooms.into_iter().for_each(|room| pool.give_back(room));
        assert_eq!(pool.limit(), None);
        let left = pool.ledger.bytes(Account::Store);
        assert!(left < 1_024, "{left} bytes");
        let ledger = Arc::clone(&pool.ledger);
        drop(pool);
        assert_eq!(ledger.total(), 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;

    /// Takes a page, puts a mark on it and finds that mark alone there.
    fn use_page(pool: &Pool, mark: u8) -> Room {
        let mut room = pool.take();
        room.bytes.fill(mark);
        room
    }

    fn give_back(pool: &Pool, room: Room, mark: u8) {
        assert!(room.bytes.iter().all(|byte| *byte == mark), "two have it");
        pool.give_back(room);
    }

    fn check(pool: &Pool) {
        let chunks = pool.chunks.lock();
        let is_empty = |free: &&Chunk| free.len() == PAGES_PER_CHUNK;
        let empty = chunks.free.iter().filter(is_empty).count();
        assert!(empty <= 1, "two empty chunks");
        assert_eq!(empty == 1, chunks.empty.is_some());
        let is_told = pool.scattered.load(Ordering::Relaxed);
        assert_eq!(chunks.is_scattered(), is_told, "nobody will settle");
    }

    /// Goes red when `scattered` is changed after the lock is let go of ("nobody will settle"), and
    /// when a chunk made outside the lock is added without another look ("two empty chunks").
    #[test]
    fn takers_and_givers_leave_one_empty_chunk_and_say_so() {
        loom::model(|| {
            let pool = Arc::new(Pool::new(&Arc::new(Ledger::new())));
            let other = Arc::clone(&pool);
            let thread = thread::spawn(move || {
                let room = use_page(&other, 1);
                give_back(&other, room, 1);
            });
            let room = use_page(&pool, 2);
            give_back(&pool, room, 2);
            thread.join().unwrap();
            check(&pool);
            assert_eq!(pool.limit(), None, "there is nothing to move");
            assert_eq!(pool.chunks.lock().made(), 0, "an empty chunk was kept");
        });
    }

    /// One settles while the other takes and gives back. Goes red when `scattered` is changed after
    /// the lock is let go of, and when `limit` leaves the empty chunk.
    #[test]
    fn a_page_moves_while_others_come_and_go() {
        loom::model(|| {
            let pool = Arc::new(Pool::new(&Arc::new(Ledger::new())));
            let mut rooms: Vec<Room> = (0..3).map(|_| use_page(&pool, 1)).collect();
            let moving = rooms.pop().unwrap();
            give_back(&pool, rooms.pop().unwrap(), 1);
            let other = Arc::clone(&pool);
            let thread = thread::spawn(move || {
                let room = use_page(&other, 2);
                give_back(&other, room, 2);
            });
            let moved = settle(&pool, moving);
            thread.join().unwrap();
            check(&pool);
            let moved = settle(&pool, moved);
            assert_eq!(pool.limit(), None, "settled");
            assert_eq!(pool.chunks.lock().made(), 1, "two pages take one chunk");
            give_back(&pool, moved, 1);
            give_back(&pool, rooms.pop().unwrap(), 1);
        });
    }

    /// What an arena does with one page.
    fn settle(pool: &Pool, room: Room) -> Room {
        let better = pool
            .limit()
            .filter(|limit| room.is_beyond(*limit))
            .and_then(|limit| pool.take_before(limit));
        let Some(mut better) = better else {
            return room;
        };
        better.bytes.copy_from_slice(&room.bytes);
        give_back(pool, room, 1);
        better
    }
}
