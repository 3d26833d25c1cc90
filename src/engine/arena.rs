//! Room for small records, in pages, in steps of eight bytes, named by 32-bit handles.
//!
//! ```text
//!   page 3   +--------+----+---------+------+--------------------------+
//!            | record |hole| record  | hole |  not yet used            |
//!            +--------+----+---------+------+--------------------------+
//!            0                             top                        end
//!   handle = page number << 9 | offset / 8
//! ```
//!
//! A record's room is a hole of exactly its size where there is one, else it is cut from the top of
//! the *active* page, else from a larger hole, else from a new page. A freed record becomes a hole;
//! holes of one size form a list through their own bytes. Where holes make up more than a sixth,
//! the emptiest page is *evacuated*: its records move elsewhere and the page goes back to the pool
//! (`pool.rs`). When memory is short that happens as soon as the holes of the others have room for
//! its records. Since only the shard's table refers to a record, moving one costs one look-up.
//!
//! Invariants:
//! - from 0 to `top` a page is records and holes without gaps, so it can be walked;
//! - `live` of a page is the sum of its records; a page without records is given back;
//! - every hole of at least two steps is in the list of its size, exactly once.
//!
//! Cost: on average 4 bytes per record for rounding up; at most a fifth of the room is holes (a
//! sixth, plus the page being filled); pages have 256 bytes to 2 KiB in small arenas, else 4 KiB.
//!
//! LIMITATIONS: 2^22 pages, so up to 16 GiB of records in one arena; beyond that `alloc` panics.

use super::ledger::{usable, usable_slots};
use super::pool::{PAGE_BYTES, Pool, Room};
use super::prefetch::prefetch;
use super::record::{BYTES_MAX, HOLE, Record};
use super::settle::{MOVE_EFFORT, Settled};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The step in which room is given.
const STEP_BYTES: usize = 8;
const OFFSET_BITS: u32 = 9;
const PAGE_BYTES_MIN: usize = 256;
/// While an arena has less than this, its pages are not the pool's, but smaller ...
const ARENA_BYTES_SMALL: usize = 16 << 10;
/// ... a quarter of it, and at most this, unless a record needs more.
const PAGE_BYTES_SMALL_MAX: usize = 2_048;
/// Shorter lists of pages are left as they are.
const LISTED_MIN: usize = 64;
/// A hole holds its size and two links.
const STEPS_MIN: usize = 2;
/// With fewer steps of holes than this nothing is evacuated.
const SPARSE_STEPS_MIN: usize = 256;
/// An arena is sparse when more than one step in so many is a hole.
const SPARSE_PART: usize = 6;
const NIL: u32 = u32::MAX;
const LINE_BYTES: usize = 64;
/// Longer lists of pages are not fetched ahead: most of what came would not be needed.
const FETCHED_PAGES_MAX: usize = 16;

const _: () = assert!(usable(PAGE_BYTES_MIN) == PAGE_BYTES_MIN);
const _: () = assert!(PAGE_BYTES == STEP_BYTES << OFFSET_BITS);

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    /// Handles of an arena are below this.
    pub(super) const LIMIT: u32 = 1 << 31;

    fn new(page: usize, step: usize) -> Self {
        let page = u32::try_from(page).expect("an arena has at most 2^22 pages");
        assert!(
            page < Self::LIMIT >> OFFSET_BITS,
            "an arena has at most 2^22 pages"
        );
        Self(page << OFFSET_BITS | step as u32)
    }

    fn page(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    fn step(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }
}

#[derive(Debug)]
struct Page {
    room: Room,
    /// Steps in use, holes among them.
    top: u16,
    /// Steps of records.
    live: u16,
}

impl Page {
    fn steps(&self) -> usize {
        self.room.bytes.len() / STEP_BYTES
    }

    fn top(&self) -> usize {
        self.top.into()
    }

    fn live(&self) -> usize {
        self.live.into()
    }

    /// Steps that were not yet used.
    fn idle_steps(&self) -> usize {
        self.steps() - self.top()
    }
}

/// The pages of one shard.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Arena {
    pages: Vec<Option<Page>>,
    /// Numbers of pages that were given back, and of some that are beyond the list by now.
    vacant: BinaryHeap<Reverse<u32>>,
    /// Number of pages.
    in_use: usize,
    active: Option<usize>,
    /// The first hole of each size, by steps.
    holes: Vec<u32>,
    /// Steps of all holes.
    hole_steps: usize,
    /// Steps of all pages.
    page_steps: usize,
    /// Bytes held, to be had without adding up.
    heap_bytes: usize,
    /// With fewer steps of holes than this no page can be given back, as far as is known.
    give_back_steps: usize,
    /// Where pages come from and go.
    pool: Arc<Pool>,
}

/// A page taken out of the arena; its records are to be moved.
pub(super) struct Evacuated {
    number: usize,
    page: Page,
    /// What the arena had before.
    page_steps: usize,
}

const fn steps(bytes: usize) -> usize {
    let steps = bytes.div_ceil(STEP_BYTES);
    if steps < STEPS_MIN { STEPS_MIN } else { steps }
}

impl Arena {
    /// An arena without records, whose pages come from `pool`.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            pages: Vec::new(),
            vacant: BinaryHeap::new(),
            in_use: 0,
            active: None,
            holes: Vec::new(),
            hole_steps: 0,
            page_steps: 0,
            heap_bytes: 0,
            give_back_steps: 0,
            pool: Arc::clone(pool),
        }
    }

    /// Where pages come from.
    #[cfg(loom)]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        let pool = Arc::clone(&self.pool);
        *self = Self::new(&pool);
    }

    /// Looks at pages from number `from` on and moves those that lie in chunks from `limit` on,
    /// which are to be emptied, until the effort has come to `effort_max`.
    pub(super) fn settle(&mut self, from: usize, limit: u32, effort_max: usize) -> Settled {
        let (mut effort, mut moved) = (0, false);
        for (number, page) in self.pages.iter_mut().enumerate().skip(from) {
            if effort >= effort_max {
                let next = Some(number);
                return Settled {
                    effort,
                    moved,
                    next,
                };
            }
            effort += 1;
            if let Some(page) = page
                && page.room.is_beyond(limit)
                && let Some(mut better) = self.pool.take_before(limit)
            {
                better.bytes.copy_from_slice(&page.room.bytes);
                self.pool
                    .give_back(std::mem::replace(&mut page.room, better));
                effort += MOVE_EFFORT;
                moved = true;
            }
        }
        let next = None;
        Settled {
            effort,
            moved,
            next,
        }
    }

    /// The record at `handle`, and what follows it.
    #[inline]
    pub(super) fn get(&self, handle: Handle) -> &[u8] {
        &self.page(handle.page()).room.bytes[handle.step() * STEP_BYTES..]
    }

    /// Has the list of pages fetched from memory, unless it is long.
    #[inline]
    pub(super) fn fetch_pages(&self) {
        if self.pages.len() <= FETCHED_PAGES_MAX {
            self.pages.iter().for_each(prefetch);
        }
    }

    /// Has the first two cache lines of the record at `handle` fetched from memory.
    #[inline]
    pub(super) fn fetch(&self, handle: Handle) {
        let bytes = self.get(handle);
        prefetch(bytes);
        if let Some(second) = bytes.get(LINE_BYTES) {
            prefetch(second);
        }
    }

    /// The record at `handle`, and what follows it, to be changed within its room.
    #[inline]
    pub(super) fn get_mut(&mut self, handle: Handle) -> &mut [u8] {
        &mut self.page_mut(handle.page()).room.bytes[handle.step() * STEP_BYTES..]
    }

    /// Whether records of these lengths take the same room.
    pub(super) fn same_room(a: usize, b: usize) -> bool {
        steps(a) == steps(b)
    }

    /// Bytes of the room of a record of this length.
    pub(super) fn room_bytes_of(record_bytes: usize) -> usize {
        steps(record_bytes) * STEP_BYTES
    }

    /// Bytes of the rooms of all records. O(pages).
    pub(super) fn room_bytes(&self) -> usize {
        let pages = self.pages.iter().flatten();
        pages.map(Page::live).sum::<usize>() * STEP_BYTES
    }

    /// Bytes held on the heap.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// Counts anew what is held, after a page or a list has come, grown or gone. The sizes of pages
    /// are size classes, so that their sum needs no rounding.
    fn count_heap_bytes(&mut self) {
        self.heap_bytes = self.page_steps * STEP_BYTES
            + usable_slots::<Option<Page>>(self.pages.capacity())
            + usable_slots::<u32>(self.vacant.capacity())
            + usable_slots::<u32>(self.holes.capacity());
    }

    /// Room for a record of `bytes` bytes, at most [`BYTES_MAX`]. Amortised O(1).
    pub(super) fn alloc(&mut self, bytes: usize) -> Handle {
        debug_assert!(bytes <= BYTES_MAX);
        let steps = steps(bytes);
        let hole = self.holes.get(steps).copied().unwrap_or(NIL);
        let handle = if hole == NIL {
            self.cut(steps)
        } else {
            self.unlink(Handle(hole), steps);
            Handle(hole)
        };
        self.page_mut(handle.page()).live += steps as u16;
        handle
    }

    /// Gives back the room of the record at `handle`, which is `bytes` long. Amortised O(1).
    pub(super) fn free(&mut self, handle: Handle, bytes: usize) {
        let (number, steps) = (handle.page(), steps(bytes));
        let is_active = self.active == Some(number);
        let page = self.page_mut(number);
        page.live -= steps as u16;
        if page.live == 0 {
            self.unlink_all(number);
            self.page_mut(number).top = 0;
            if !is_active {
                self.drop_page(number);
            }
            self.drop_last_page();
        } else if is_active && handle.step() + steps == page.top() {
            page.top -= steps as u16;
        } else {
            self.link(handle, steps);
        }
    }

    /// Whether holes take so much that a page should be evacuated, and the last try, if it gained
    /// nothing, is long enough ago: where three records fill a page and leave a quarter of it,
    /// there are many holes that no record fits.
    pub(super) fn is_sparse(&self) -> bool {
        if self.hole_steps < self.give_back_steps {
            return false;
        }
        if self.hole_steps > SPARSE_STEPS_MIN && self.hole_steps * SPARSE_PART > self.page_steps {
            return true;
        }
        // A page made when the arena was larger, of which little is used.
        let idle_steps = self.idle_steps();
        idle_steps > SPARSE_STEPS_MIN
            && (self.hole_steps + idle_steps) * SPARSE_PART > self.page_steps
    }

    /// Steps of the active page that were not yet used.
    fn idle_steps(&self) -> usize {
        self.active
            .map_or(0, |number| self.page(number).idle_steps())
    }

    /// Whether there are holes at all.
    pub(super) fn has_holes(&self) -> bool {
        self.hole_steps > 0
    }

    /// Bytes of all holes.
    pub(super) fn hole_bytes(&self) -> usize {
        self.hole_steps * STEP_BYTES
    }

    /// Whether the emptiest page can be given back by moving its records into the holes of others.
    /// O(1), and O(pages) where holes have become enough for another look. An active page without
    /// records goes at once.
    pub(super) fn can_give_back(&mut self) -> bool {
        self.drop_idle_page();
        if self.hole_steps < self.give_back_steps {
            return false;
        }
        let Some(number) = self.emptiest() else {
            return false;
        };
        let own = self.page(number);
        // Its own holes are no room for its records; the unused end of another page is.
        let other = self.active.filter(|active| *active != number);
        let idle_steps = other.map_or(0, |active| self.page(active).idle_steps());
        let (needed, room) = (own.top(), self.hole_steps + idle_steps);
        let fits = needed <= room && own.steps() < self.page_steps;
        if !fits {
            self.give_back_steps = self.hole_steps + needed.saturating_sub(room).max(1);
        }
        fits
    }

    /// The page that has most holes for its size. Where the list of pages has become mostly vacant,
    /// the last that has any: once its number is vacant as well, the list can end before it.
    fn emptiest(&self) -> Option<usize> {
        if self.pages.len() > LISTED_MIN && self.pages.len() > 2 * self.in_use {
            let has_holes = |page: &Page| page.top > page.live;
            return self
                .pages
                .iter()
                .rposition(|page| page.as_ref().is_some_and(has_holes));
        }
        let pages = self.pages.iter().enumerate();
        let in_use = pages.filter_map(|(number, page)| Some((number, page.as_ref()?)));
        // The active page may be the emptiest of all, and have no hole.
        let holed = in_use.filter(|(_, page)| page.top > page.live);
        let emptiest = holed.min_by_key(|(_, page)| page.live() * 1_024 / page.steps());
        emptiest.map(|(number, _)| number)
    }

    /// Takes out the page that has most holes for its size. O(pages), and O(page).
    pub(super) fn evacuate(&mut self) -> Option<Evacuated> {
        let number = self.emptiest()?;
        if self.active == Some(number) {
            self.active = None;
        }
        self.unlink_all(number);
        let (page, page_steps) = (self.pages[number].take()?, self.page_steps);
        self.page_steps -= page.steps();
        self.in_use -= 1;
        self.count_heap_bytes();
        Some(Evacuated {
            number,
            page,
            page_steps,
        })
    }

    /// Gives back a page whose records have been moved. Not before: its handles must stay unlike
    /// those of new records as long as the table still has them.
    pub(super) fn retire(&mut self, evacuated: Evacuated) {
        let Evacuated {
            number,
            page,
            page_steps,
        } = evacuated;
        // Where no hole fitted the records it took another page to move them: the next try waits
        // until there are holes for as much again.
        self.give_back_steps = if self.page_steps < page_steps {
            0
        } else {
            self.hole_steps + page.steps()
        };
        self.pool.give_back(page.room);
        self.vacate(number);
    }

    /// Lets another page have the number of one that is gone. The list ends with its last page.
    fn vacate(&mut self, number: usize) {
        self.vacant.push(Reverse(number as u32));
        while matches!(self.pages.last(), Some(None)) {
            self.pages.pop();
        }
        if self.pages.len() * 4 < self.pages.capacity() {
            self.pages.shrink_to(self.pages.len() * 2);
            let len = self.pages.len() as u32;
            self.vacant.retain(|Reverse(number)| *number < len);
            self.vacant.shrink_to(self.vacant.len() * 2);
        }
        self.count_heap_bytes();
    }

    /// Cuts room from the top of the active page, or of a new one.
    fn cut(&mut self, steps: usize) -> Handle {
        if let Some(number) = self.active {
            let page = self.page_mut(number);
            if page.top() + steps <= page.steps() {
                let handle = Handle::new(number, page.top());
                page.top += steps as u16;
                return handle;
            }
            // What is left over may fit a smaller record.
            let (top, left) = (page.top(), page.idle_steps());
            if left >= STEPS_MIN {
                page.top += left as u16;
                self.link(Handle::new(number, top), left);
            }
        }
        if let Some(handle) = self.split(steps) {
            return handle;
        }
        let number = self.add_page(steps);
        self.active = Some(number);
        self.page_mut(number).top = steps as u16;
        Handle::new(number, 0)
    }

    /// Cuts room from the smallest hole of which another hole is left over. O(sizes), at most 192.
    fn split(&mut self, steps: usize) -> Option<Handle> {
        let larger = self.holes.iter().enumerate().skip(steps + STEPS_MIN);
        let (size, hole) = larger.into_iter().find(|(_, hole)| **hole != NIL)?;
        let hole = Handle(*hole);
        self.unlink(hole, size);
        self.link(Handle::new(hole.page(), hole.step() + steps), size - steps);
        Some(hole)
    }

    /// A new page, with room for at least one record of `steps`.
    fn add_page(&mut self, steps: usize) -> usize {
        let arena = self.page_steps * STEP_BYTES;
        let room = if arena < ARENA_BYTES_SMALL {
            let part = (arena / 4).clamp(PAGE_BYTES_MIN, PAGE_BYTES_SMALL_MAX);
            Room::own(part.max(steps * STEP_BYTES).next_power_of_two())
        } else {
            self.pool.take()
        };
        let page = Page {
            room,
            top: 0,
            live: 0,
        };
        self.page_steps += page.steps();
        self.give_back_steps = 0;
        self.in_use += 1;
        let number = match self.vacant.pop() {
            Some(Reverse(number)) if (number as usize) < self.pages.len() => number as usize,
            _ => {
                self.vacant.clear();
                self.pages.push(None);
                self.pages.len() - 1
            }
        };
        self.pages[number] = Some(page);
        self.count_heap_bytes();
        number
    }

    /// Gives back the active page if it has no records.
    fn drop_idle_page(&mut self) {
        if let Some(number) = self.active
            && self.page(number).live == 0
        {
            self.active = None;
            self.drop_page(number);
        }
    }

    fn drop_page(&mut self, number: usize) {
        if let Some(page) = self.pages[number].take() {
            self.page_steps -= page.steps();
            self.in_use -= 1;
            self.pool.give_back(page.room);
            self.vacate(number);
        }
    }

    /// Drops an active page that is the only one left, and empty: in an arena that was large it is
    /// far larger than what may come. The smallest stays, for arenas that come and go.
    fn drop_last_page(&mut self) {
        let Some(number) = self.active else {
            return;
        };
        let page = self.page(number);
        let is_last = page.steps() == self.page_steps;
        if is_last && page.live == 0 && page.room.bytes.len() > PAGE_BYTES_MIN {
            self.active = None;
            self.drop_page(number);
        }
    }

    #[inline]
    fn page(&self, number: usize) -> &Page {
        self.pages[number]
            .as_ref()
            .expect("a handle is of a page in use")
    }

    #[inline]
    fn page_mut(&mut self, number: usize) -> &mut Page {
        self.pages[number]
            .as_mut()
            .expect("a handle is of a page in use")
    }

    // --- holes: [HOLE, size in steps: u16, -, previous: u32, next: u32, ...]

    fn link(&mut self, handle: Handle, steps: usize) {
        if self.holes.len() <= steps {
            self.holes.resize(steps + 1, NIL);
            self.count_heap_bytes();
        }
        let next = std::mem::replace(&mut self.holes[steps], handle.0);
        let bytes = self.get_mut(handle);
        bytes[0] = HOLE;
        bytes[1..3].copy_from_slice(&(steps as u16).to_le_bytes());
        bytes[4..8].copy_from_slice(&NIL.to_le_bytes());
        bytes[8..12].copy_from_slice(&next.to_le_bytes());
        if next != NIL {
            self.get_mut(Handle(next))[4..8].copy_from_slice(&handle.0.to_le_bytes());
        }
        self.hole_steps += steps;
    }

    fn unlink(&mut self, handle: Handle, steps: usize) {
        let bytes = self.get(handle);
        debug_assert_eq!((bytes[0], hole_steps(bytes)), (HOLE, steps));
        let (previous, next) = (link_at(bytes, 4), link_at(bytes, 8));
        if previous == NIL {
            self.holes[steps] = next;
        } else {
            self.get_mut(Handle(previous))[8..12].copy_from_slice(&next.to_le_bytes());
        }
        if next != NIL {
            self.get_mut(Handle(next))[4..8].copy_from_slice(&previous.to_le_bytes());
        }
        self.hole_steps -= steps;
    }

    /// Takes all holes of a page out of the lists. O(page).
    fn unlink_all(&mut self, number: usize) {
        let mut step = 0;
        while step < self.page(number).top() {
            let handle = Handle::new(number, step);
            let bytes = self.get(handle);
            if bytes[0] == HOLE {
                let steps = hole_steps(bytes);
                self.unlink(handle, steps);
                step += steps;
            } else {
                step += steps(Record(bytes).len());
            }
        }
    }
}

fn hole_steps(bytes: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([bytes[1], bytes[2]]))
}

fn link_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Evacuated {
    /// The records that stood on the page, with their old handles.
    pub(super) fn records(&self) -> impl Iterator<Item = (Handle, &[u8])> {
        let mut step = 0;
        std::iter::from_fn(move || {
            while step < self.page.top() {
                let (handle, bytes) = (
                    Handle::new(self.number, step),
                    &self.page.room.bytes[step * STEP_BYTES..],
                );
                if bytes[0] == HOLE {
                    step += hole_steps(bytes);
                    continue;
                }
                let len = Record(bytes).len();
                step += steps(len);
                return Some((handle, &bytes[..len]));
            }
            None
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for page in self.pages.drain(..).flatten() {
            self.pool.give_back(page.room);
        }
    }
}
