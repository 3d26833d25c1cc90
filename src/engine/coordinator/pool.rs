//! Pools of workers' numbers: who holds one is the only one of that number.
//!
//! A pool is held like a semaphore of so many permits, and each hold has a number of its own. The
//! number that has not been used for longest comes next, first of all those never used. One whose
//! holder was lost rests a while before it is given out again, for the holder may not know; and
//! whoever gets a number is told the time of day before which it is not to be used: IDs of the one
//! before may carry times up to then.
//!
//! Invariant: each number below `fresh` is held, or rests, or is free. A pool goes with `ID.FORGET`
//! alone.
//!
//! Cost: O(log n) with n numbers used so far; 64 bytes for each.

use super::object::{Body, Held, Hold, Name};
use super::turn::{End, Turn};
use super::{Due, Refusal};
use crate::engine::effect::{BadFrame, Coordination, Share};
use std::collections::{BTreeMap, BTreeSet};

/// What a number takes that has been used.
pub(super) const PAST_BYTES: usize = 64;
/// A number rests at least this long when its holder was lost.
const REST_MS_MIN: u64 = 60_000;

/// The numbers of one pool.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Pool {
    max: u32,
    /// The lowest that was never held.
    fresh: u32,
    /// How the last holds of others ended, those held again among them.
    past: BTreeMap<u32, Past>,
    /// Those to be given out again, by when they were last used.
    free: BTreeSet<(u64, u32)>,
}

/// How the last hold of a number ended.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Engine time.
    ended_ms: u64,
    /// Time of day.
    wall_ms: u64,
    /// Engine time until which it rests; 0 for one that does not, and for one held again: the end
    /// of an earlier rest may come once more, after a restart, and must free nothing.
    until_ms: u64,
}

impl Pool {
    fn new(max: u32) -> Self {
        Self {
            max,
            fresh: 0,
            past: BTreeMap::new(),
            free: BTreeSet::new(),
        }
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    pub(super) fn has_free(&self) -> bool {
        self.fresh < self.max || !self.free.is_empty()
    }

    /// Bytes on the heap, near enough.
    pub(super) fn heap_bytes(&self) -> usize {
        self.past.len() * PAST_BYTES
    }

    /// The number that was not used for longest.
    fn take(&mut self) -> Option<u32> {
        if self.fresh < self.max {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        let &(_, number) = self.free.first()?;
        self.note_held(number);
        Some(number)
    }

    /// This number is held.
    fn note_held(&mut self, number: u32) {
        self.fresh = self.fresh.max(number.saturating_add(1));
        if let Some(past) = self.past.get_mut(&number) {
            past.until_ms = 0;
            self.free.remove(&(past.ended_ms, number));
        }
    }
}

impl Held {
    pub(super) fn of_pool(max: u32) -> Self {
        Self {
            pool: Some(Box::new(Pool::new(max))),
            ..Self::of_lock()
        }
    }
}

impl Turn<'_> {
    /// Gives a hold of a pool its number; what lives by a session rests as long as that would have
    /// lived.
    pub(super) fn number_hold(&mut self, id: u32, hold: &mut Hold) {
        if let crate::engine::effect::Life::Session { number } = hold.life
            && let Some(session) = self.state.sessions.get(&number)
        {
            hold.ttl_ms = session.ttl_ms;
        }
        let Some(pool) = self.state.pool_mut(id) else {
            return;
        };
        if let Some(number) = pool.take() {
            let of = pool.max;
            hold.share = Share::Number { number, of };
        }
    }

    /// A hold of a pool has ended: its number rests, or is free.
    pub(super) fn rest_number(&mut self, id: u32, hold: &Hold, end: End) {
        let Share::Number { number, of } = hold.share else {
            return;
        };
        let now = self.now;
        let until_ms = match end {
            End::Clean => 0,
            End::Lost { .. } | End::Broken { .. } => self.in_ms(hold.ttl_ms.max(REST_MS_MIN)),
        };
        let past = Past {
            ended_ms: now.engine_ms,
            wall_ms: now.wall_ms,
            until_ms,
        };
        self.put_past(id, number, past);
        let name = self.state.objects[id as usize].name.clone();
        self.emit(&Coordination::Rest {
            db: name.db,
            key: &name.key,
            of,
            number,
            ended_ms: past.ended_ms,
            wall_ms: past.wall_ms,
            until_ms,
        });
    }

    fn put_past(&mut self, id: u32, number: u32, past: Past) {
        let Some(pool) = self.state.pool_mut(id) else {
            return;
        };
        pool.note_held(number);
        let is_new = pool.past.insert(number, past).is_none();
        if past.until_ms == 0 {
            pool.free.insert((past.ended_ms, number));
        } else {
            let due = Due::Rest(id, number);
            self.state.lives.insert(past.until_ms, due);
        }
        if is_new {
            self.state.heap_bytes += PAST_BYTES;
        }
    }

    /// A number has rested, if it has.
    pub(super) fn end_rest(&mut self, id: u32, number: u32) {
        let now_ms = self.now.engine_ms;
        let Some(pool) = self.state.pool_mut(id) else {
            return;
        };
        if let Some(past) = pool.past.get(&number)
            && past.until_ms > 0
            && past.until_ms <= now_ms
        {
            pool.free.insert((past.ended_ms, number));
            self.to_pump.push(id);
        }
    }

    /// The number of a hold of a pool, and the Unix milliseconds before which it is not to be used.
    #[must_use]
    pub fn number(&self, name: &Name, fence: u64) -> Option<(u32, u64)> {
        let id = self.state.find(name.db, &name.key)?;
        let held = self.state.objects[id as usize].held()?;
        let hold = held.holds.get(held.of_fence(fence)?)?;
        let Share::Number { number, .. } = hold.share else {
            return None;
        };
        let past = held.pool.as_ref()?.past.get(&number);
        let bound_ms = self.state.bounds.id_bound_ms;
        let not_before_ms = past.map_or(0, |past| past.wall_ms.saturating_add(bound_ms));
        Some((number, not_before_ms))
    }

    /// Does again that a number was given back.
    pub(super) fn apply_rest(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        let Coordination::Rest {
            db,
            key,
            of,
            number,
            ended_ms,
            wall_ms,
            until_ms,
        } = *change
        else {
            return Err(BadFrame);
        };
        let id = self.object(&Name::new(db, key), || Body::Held(Held::of_pool(of)));
        let pool = self.state.pool_mut(id).ok_or(BadFrame)?;
        if number >= pool.max {
            return Err(BadFrame);
        }
        let past = Past {
            ended_ms,
            wall_ms,
            until_ms,
        };
        self.put_past(id, number, past);
        Ok(())
    }

    /// Does again that a number is held.
    pub(super) fn apply_number(&mut self, id: u32, share: Share) -> Result<(), BadFrame> {
        let Share::Number { number, .. } = share else {
            return Ok(());
        };
        let pool = self.state.pool_mut(id).ok_or(BadFrame)?;
        pool.note_held(number);
        Ok(())
    }
}

impl super::State {
    fn pool_mut(&mut self, id: u32) -> Option<&mut Pool> {
        let held = self.objects.get_mut(id as usize)?.held_mut()?;
        held.pool.as_deref_mut()
    }
}

impl Held {
    /// Tells what a restart has to bring back of a pool, but for its holds.
    pub(super) fn tell_pool(&self, name: &Name, tell: &mut dyn FnMut(&Coordination<'_>)) {
        let Some(pool) = &self.pool else { return };
        for (&number, past) in &pool.past {
            tell(&Coordination::Rest {
                db: name.db,
                key: &name.key,
                of: pool.max,
                number,
                ended_ms: past.ended_ms,
                wall_ms: past.wall_ms,
                until_ms: past.until_ms,
            });
        }
    }

    /// Whether a share of a pool of so many can be asked of it.
    ///
    /// # Errors
    /// Where it is something else, or has another size.
    pub(super) fn check_pool(&self, of: u32) -> Result<(), Refusal> {
        let pool = self.pool.as_ref().ok_or(Refusal::WrongKind)?;
        if pool.max() == of {
            Ok(())
        } else {
            Err(Refusal::Limit(pool.max()))
        }
    }
}
