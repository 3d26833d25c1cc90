//! Giving memory back, a little at a time: moving pages out of chunks that are to be emptied, and
//! closing gaps where `MEMORY PURGE` asked for it.
//!
//! ```text
//!   round:  database 0: shard 0 | shard 1 | shard 2 ...   database 1: ...
//!                       pages     pages  ^
//!                                        cursor: here the next call goes on
//! ```
//!
//! Chunks can become more than the pages in use want (`pool.rs`). A [`Settler`] then goes round the
//! pages of all shards and moves those that lie in the last chunks. Whoever settles has one of its
//! own: the task that tidies, and each side of the gate for when memory is short (`evict.rs`). The
//! cursor of a purge is the engine's, since a command begins what that task does.
//!
//! Invariant: a call locks one shard at a time, and goes on where the last one stopped, so that a
//! round looks at each page once.
//!
//! Cost: where there is nothing to do one load, or one lock for a purge. Else a call is bounded by
//! its effort, and a round is O(pages).
//!
//! LIMITATIONS: what changes behind the cursor waits for the next round. So a settler that was left
//! in the middle of a round, when memory was no longer short, may later end that round and leave
//! some pages to the one after it.

use super::Step;
use super::shard::Shard;
use crate::sync::Mutex;

/// What moving a page counts as, beside looking at it: 4 KiB are copied, and mostly from memory.
pub(super) const MOVE_EFFORT: usize = 128;
/// What a visit of a shard counts as.
const VISIT_EFFORT: usize = 16;

/// A shard, by its database and its number.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    db: u32,
    shard: usize,
}

impl Cursor {
    /// The shard it is at, or the next one there is; `None` at the end.
    fn shard<'s>(&mut self, step: &'s Step<'_>) -> Option<&'s Mutex<Shard>> {
        while self.db < step.databases() {
            let shards = step.database(self.db).shards_in_use();
            if let Some(shard) = shards.get(self.shard) {
                return Some(shard);
            }
            *self = Self {
                db: self.db + 1,
                shard: 0,
            };
        }
        None
    }
}

/// What looking at some pages of an arena came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// One for each page looked at, and [`MOVE_EFFORT`] for each one moved.
    pub(super) effort: usize,
    /// Whether any was moved.
    pub(super) moved: bool,
    /// The page to look at next, unless that was the last.
    pub(super) next: Option<usize>,
}

/// Goes round all pages and moves those that keep memory from being given back.
#[derive(Debug, Default)]
pub struct Settler {
    at: Cursor,
    page: usize,
    /// Whether this round has moved any.
    moved: bool,
}

impl Settler {
    /// Goes on with the round until pages looked at and, counting 128 each, pages moved come to
    /// about `effort_max`; answers whether there is more to do. A round that moved nothing is the
    /// last: what is left then belongs to databases that were flushed.
    pub fn run(&mut self, step: &Step<'_>, effort_max: usize) -> bool {
        let Some(limit) = step.engine().pool.limit() else {
            *self = Self::default();
            return false;
        };
        let mut effort = 0;
        while effort < effort_max {
            let Some(shard) = self.at.shard(step) else {
                return std::mem::take(self).moved;
            };
            let left = effort_max - effort;
            let settled = shard.lock().settle(self.page, limit, left);
            effort += VISIT_EFFORT + settled.effort;
            self.moved |= settled.moved;
            self.page = settled.next.unwrap_or(0);
            if settled.next.is_none() {
                self.at.shard += 1;
            }
        }
        true
    }
}

/// The shard that a purge has come to, while one is under way.
#[derive(Debug)]
pub(super) struct Purge(Mutex<Option<Cursor>>);

impl Purge {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }
}

impl Step<'_> {
    /// Asks for a round of [`Self::purge_some`] over all shards, anew if one is under way. O(1).
    pub fn ask_purge(&self) {
        *self.engine().purge.0.lock() = Some(Cursor::default());
    }

    /// Goes on with the purge that was asked for, if any was: in up to `shards_max` shards moves
    /// the records of the page with most holes, so that the page is given back. Answers whether
    /// there is more to do. Moves up to 4 KiB a shard, and looks at all of its pages.
    pub fn purge_some(&self, shards_max: usize) -> bool {
        let engine = self.engine();
        let Some(mut at) = engine.purge.0.lock().take() else {
            return false;
        };
        for _ in 0..shards_max {
            let Some(shard) = at.shard(self) else {
                // Unless it was asked for anew.
                return engine.purge.0.lock().is_some();
            };
            shard.lock().purge(&engine.hasher);
            at.shard += 1;
        }
        engine.purge.0.lock().get_or_insert(at);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
