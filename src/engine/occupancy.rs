//! Which shards of a database have entries that may be evicted, and which have such entries with a
//! deadline: two bits each.
//!
//! Who looks for entries to evict reads these instead of locking a thousand shards that have none.
//!
//! The bits of a shard are written under its lock, so they follow each other; they are read without
//! it, relaxed. A reader may see the bit of a moment ago: then it locks an empty shard in vain, or
//! passes one that was filled just now. Both cost nothing but that look.

use super::ledger::{usable, usable_slots};
use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const WORD_BITS: usize = u64::BITS as usize;

/// Which entries somebody looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Any,
    Volatile,
}

/// The bits of all shards of one database.
#[derive(Debug)]
pub(super) struct Occupancy {
    shards: usize,
    any: Box<[AtomicU64]>,
    volatile: Box<[AtomicU64]>,
}

impl Occupancy {
    /// The bits of so many empty shards.
    pub(super) fn new(shards: usize) -> Arc<Self> {
        let words = || {
            std::iter::repeat_with(|| AtomicU64::new(0))
                .take(shards.div_ceil(WORD_BITS))
                .collect()
        };
        Arc::new(Self {
            shards,
            any: words(),
            volatile: words(),
        })
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        // The counts of the shared pointer stand before it.
        let shared = usable(size_of::<Self>() + 2 * size_of::<usize>());
        shared + 2 * usable_slots::<AtomicU64>(self.any.len())
    }

    /// The first shard from `from` on that has such entries.
    pub(super) fn next(&self, kept: Kept, from: usize) -> Option<usize> {
        let words = self.words(kept);
        let mut at = from;
        while at < self.shards {
            let word = words[at / WORD_BITS].load(Ordering::Relaxed) >> (at % WORD_BITS);
            if word != 0 {
                return Some(at + word.trailing_zeros() as usize);
            }
            at = (at / WORD_BITS + 1) * WORD_BITS;
        }
        None
    }

    fn words(&self, kept: Kept) -> &[AtomicU64] {
        match kept {
            Kept::Any => &self.any,
            Kept::Volatile => &self.volatile,
        }
    }

    fn set(&self, kept: Kept, shard: usize, has: bool) {
        let (word, bit) = (
            &self.words(kept)[shard / WORD_BITS],
            1 << (shard % WORD_BITS),
        );
        if has {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// The place of one shard among the others, through which it says what it has.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    occupancy: Arc<Occupancy>,
    number: usize,
    has_any: bool,
    has_volatile: bool,
}

impl Seat {
    /// The place of an empty shard.
    pub(super) fn new(occupancy: &Arc<Occupancy>, number: usize) -> Self {
        Self {
            occupancy: Arc::clone(occupancy),
            number,
            has_any: false,
            has_volatile: false,
        }
    }

    /// The number of this shard.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The number of shards there are.
    pub(super) fn shards(&self) -> usize {
        self.occupancy.shards
    }

    /// Says how many entries that may be evicted the shard now has. Writes nothing shared unless it
    /// is the first or the last.
    #[inline]
    pub(super) fn report(&mut self, entries: usize, volatile: usize) {
        if self.has_any != (entries > 0) {
            self.has_any = entries > 0;
            self.occupancy.set(Kept::Any, self.number, self.has_any);
        }
        if self.has_volatile != (volatile > 0) {
            self.has_volatile = volatile > 0;
            let has = self.has_volatile;
            self.occupancy.set(Kept::Volatile, self.number, has);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn occupied_shards_are_found_in_order() {
        let occupancy = Occupancy::new(256);
        let mut seats: Vec<Seat> = (0..256).map(|n| Seat::new(&occupancy, n)).collect();
        for (number, volatile) in [(3, 0), (64, 1), (255, 2)] {
            seats[number].report(2, volatile);
        }
        let all = |kept| -> Vec<usize> {
            let next = |from: &usize| occupancy.next(kept, from + 1);
            std::iter::successors(occupancy.next(kept, 0), next).collect()
        };
        assert_eq!(all(Kept::Any), [3, 64, 255]);
        assert_eq!(all(Kept::Volatile), [64, 255]);
        seats[64].report(1, 0);
        seats[3].report(0, 0);
        assert_eq!(all(Kept::Any), [64, 255]);
        assert_eq!(all(Kept::Volatile), [255]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;

    /// Two shards whose bits share a word come and go at once. Goes red when `set` reads the word
    /// and writes it back.
    #[test]
    fn shards_do_not_undo_each_others_bits() {
        loom::model(|| {
            let occupancy = Occupancy::new(2);
            let shards = [0, 1].map(|number| {
                let mut seat = Seat::new(&occupancy, number);
                thread::spawn(move || {
                    seat.report(1, 0);
                    seat.report(0, 0);
                    seat.report(2, 1);
                })
            });
            for shard in shards {
                shard.join().unwrap();
            }
            for kept in [Kept::Any, Kept::Volatile] {
                let found = [0, 1].map(|from| occupancy.next(kept, from));
                assert_eq!(found, [Some(0), Some(1)], "{kept:?}");
            }
        });
    }
}
