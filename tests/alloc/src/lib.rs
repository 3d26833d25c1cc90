//! The server's allocator, counting what it sets aside: the judge of what the server says about its
//! memory.
//!
//! A block counts with all of its usable bytes, those that the allocator rounded up to among them.
//! The count is of the whole process, so a test that asks for it runs alone.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

/// mimalloc with a count beside it.
#[derive(Debug)]
pub struct Counting {
    bytes: AtomicUsize,
    peak: AtomicUsize,
}

impl Counting {
    /// An allocator that has given out nothing.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "`Default` is not const")]
    pub const fn new() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Usable bytes of all blocks in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most they were since [`Self::reset_peak`].
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Begins to look for the peak anew.
    pub fn reset_peak(&self) {
        self.peak.store(self.bytes(), Ordering::Relaxed);
    }

    /// # Safety
    /// `block` is one that mimalloc gave out and has not taken back, or null.
    unsafe fn add(&self, block: *mut u8) {
        // SAFETY: by this function's own contract; of null there is nothing usable.
        let usable = unsafe { libmimalloc_sys::mi_usable_size(block.cast()) };
        let bytes = self.bytes.fetch_add(usable, Ordering::Relaxed) + usable;
        self.peak.fetch_max(bytes, Ordering::Relaxed);
    }

    /// # Safety
    /// As [`Self::add`].
    unsafe fn subtract(&self, block: *mut u8) {
        // SAFETY: by this function's own contract.
        let usable = unsafe { libmimalloc_sys::mi_usable_size(block.cast()) };
        self.bytes.fetch_sub(usable, Ordering::Relaxed);
    }
}

// SAFETY: every block comes from mimalloc and goes back to it, with the layout it was asked for;
// counting touches no block.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout has a size above 0, as mimalloc wants it; what it gave out is
        // what `add` wants.
        unsafe {
            let block = MiMalloc.alloc(layout);
            self.add(block);
            block
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            let block = MiMalloc.alloc_zeroed(layout);
            self.add(block);
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `block` is in use until `realloc` takes it back; if that fails it stays in use.
        unsafe {
            self.subtract(block);
            let moved = MiMalloc.realloc(block, layout, size);
            self.add(if moved.is_null() { block } else { moved });
            moved
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block that `alloc` gave out, with its layout.
        unsafe {
            self.subtract(block);
            MiMalloc.dealloc(block, layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_count_while_they_are_in_use_and_with_what_is_rounded_up() {
        let counting = Counting::new();
        let layout = Layout::from_size_align(1_000, 8).expect("a layout");
        // SAFETY: the layout has a size; every block is given back with the layout it has by then.
        unsafe {
            let block = counting.alloc(layout);
            let rounded = counting.bytes();
            assert!((1_000..=1_280).contains(&rounded), "{rounded}");
            let zeroed = counting.alloc_zeroed(layout);
            assert_eq!((*zeroed, counting.bytes()), (0, 2 * rounded));
            let block = counting.realloc(block, layout, 100_000);
            assert!(counting.bytes() >= 100_000 + rounded);
            let large = Layout::from_size_align(100_000, 8).expect("a layout");
            counting.dealloc(block, large);
            assert_eq!(counting.bytes(), rounded);
            counting.dealloc(zeroed, layout);
        }
        assert_eq!(counting.bytes(), 0);
        assert!(counting.peak() >= 100_000);
        counting.reset_peak();
        assert_eq!(counting.peak(), 0);
    }
}
