//! A hierarchical timing wheel: what becomes due when, in milliseconds.
//!
//! ```text
//!   level 0   64 slots of 1 ms        the next 64 ms
//!   level 1   64 slots of 64 ms       ... 4 s
//!   level 2   64 slots of 4 s         ... 4 min
//!   ...       level 8: 64 slots of 8,925 years
//! ```
//!
//! A timer lies in the level of the highest group of six bits in which its time differs from now;
//! when the time gets there, its slot is dealt out to lower levels. Timers of one slot are a
//! doubly linked list through a slab, so one that is taken back is unlinked at once and leaves
//! nothing behind.
//!
//! Invariants:
//! - what is due comes in order of time, and of arrival within a millisecond;
//! - no timer is due before the bound `not_before_ms`: whoever asks too early is answered without a
//!   search. It is lowered with each timer that is set, and found anew by each search.
//!
//! Cost: O(1) to set and to take back; each timer is dealt out at most eight times. 40 bytes a
//! timer beside its payload.

use super::turn::is_sparse;
use slab::Slab;

const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 9;
/// Later than this is not told apart: 2^54 ms are half a million years.
const AT_MS_MAX: u64 = (1 << (LEVEL_BITS * LEVELS as u32)) - 1;
const NONE: u32 = u32::MAX;
/// The level of what waits to be taken out.
const DUE: usize = LEVELS;

/// Names a timer until it is due or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId(u32);

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Wheel<T> {
    timers: Slab<Timer<T>>,
    slots: Box<[[List; SLOTS]; LEVELS]>,
    /// For each level, the slots that are not empty.
    used: [u64; LEVELS],
    /// What is due, in order.
    due: List,
    /// Everything before this has been dealt out.
    now_ms: u64,
    /// Nothing is due before this.
    not_before_ms: u64,
    arrivals: u64,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Timer<T> {
    at_ms: u64,
    arrival: u64,
    prev: u32,
    next: u32,
    level: u8,
    payload: T,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List {
    first: NONE,
    last: NONE,
};

impl<T> Wheel<T> {
    pub(super) fn new() -> Self {
        Self {
            timers: Slab::new(),
            slots: Box::new([[EMPTY; SLOTS]; LEVELS]),
            used: [0; LEVELS],
            due: EMPTY,
            now_ms: 0,
            not_before_ms: u64::MAX,
            arrivals: 0,
        }
    }

    /// Number of timers.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.timers.len()
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let slot_bytes = size_of::<Timer<T>>() + size_of::<usize>();
        self.timers.capacity() * slot_bytes + size_of::<[[List; SLOTS]; LEVELS]>()
    }

    /// Gives back the room of a crowd of timers once the last of it has gone.
    pub(super) fn shrink_if_sparse(&mut self) {
        if self.timers.is_empty() && is_sparse(0, self.timers.capacity()) {
            self.timers.shrink_to_fit();
        }
    }

    /// Sets a timer. One whose time has passed is due at once.
    pub(super) fn insert(&mut self, at_ms: u64, payload: T) -> TimerId {
        self.arrivals += 1;
        let timer = Timer {
            at_ms: at_ms.min(AT_MS_MAX),
            arrival: self.arrivals,
            prev: NONE,
            next: NONE,
            level: 0,
            payload,
        };
        self.not_before_ms = self.not_before_ms.min(timer.at_ms);
        let id = self.timers.insert(timer) as u32;
        self.link(id);
        TimerId(id)
    }

    /// Takes a timer back that is not yet due or has not been taken out.
    pub(super) fn remove(&mut self, id: TimerId) -> T {
        self.unlink(id.0);
        let payload = self.timers.remove(id.0 as usize).payload;
        if self.timers.is_empty() && self.timers.capacity() > SLOTS {
            self.timers.shrink_to_fit();
        }
        payload
    }

    /// The time of the next timer that is due at `now_ms`. `now_ms` never falls; one that does
    /// counts as the latest.
    #[inline]
    pub(super) fn first_due_ms(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.not_before_ms && self.due.first == NONE {
            return None;
        }
        self.find_due_ms(now_ms)
    }

    fn find_due_ms(&mut self, now_ms: u64) -> Option<u64> {
        if self.due.first == NONE {
            self.advance(now_ms.min(AT_MS_MAX));
        }
        if self.due.first == NONE {
            self.bound();
            return None;
        }
        Some(self.timers[self.due.first as usize].at_ms)
    }

    /// Takes out the next timer that is due at `now_ms`, with its time.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<(u64, T)> {
        let at_ms = self.first_due_ms(now_ms)?;
        Some((at_ms, self.remove(TimerId(self.due.first))))
    }

    /// No timer is due before this; none where there is none. It may be earlier than the next, and
    /// is the bound from now on.
    pub(super) fn next_ms(&mut self) -> Option<u64> {
        self.bound();
        (self.not_before_ms < u64::MAX).then_some(self.not_before_ms)
    }

    /// No timer is due before this, `u64::MAX` where there is none: without a search, so it may be
    /// that of a timer which was taken back.
    pub(super) fn not_before_ms(&self) -> u64 {
        self.not_before_ms
    }

    /// Raises the bound to where the next slot begins, if that is later: one far away is coarse.
    fn bound(&mut self) {
        let bound_ms = if self.due.first == NONE {
            self.next_slot()
                .map_or(u64::MAX, |(_, _, starts_ms)| starts_ms)
        } else {
            self.now_ms
        };
        self.not_before_ms = self.not_before_ms.max(bound_ms);
    }

    /// Moves on until something is due, or to `now_ms`.
    fn advance(&mut self, now_ms: u64) {
        while self.due.first == NONE {
            let Some((level, slot, starts_ms)) = self.next_slot() else {
                break;
            };
            if starts_ms > now_ms {
                break;
            }
            self.now_ms = starts_ms;
            self.deal_out(level, slot);
        }
        if self.due.first == NONE {
            self.now_ms = self.now_ms.max(now_ms);
        }
    }

    /// Empties a slot into lower levels, or into what is due.
    fn deal_out(&mut self, level: usize, slot: usize) {
        let mut ids = Vec::new();
        let mut at = self.slots[level][slot].first;
        while at != NONE {
            ids.push(at);
            at = self.timers[at as usize].next;
        }
        self.slots[level][slot] = EMPTY;
        self.used[level] &= !(1 << slot);
        if level == 0 {
            // Some came straight here, others by way of higher levels.
            ids.sort_unstable_by_key(|id| self.timers[*id as usize].arrival);
            for id in ids {
                self.push(id, DUE, 0);
            }
        } else {
            for id in ids {
                self.link(id);
            }
        }
    }

    /// The slot that comes next, and when it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let in_level = |level: usize| {
            let shift = LEVEL_BITS * level as u32;
            let here = (self.now_ms >> shift) as u32 % SLOTS as u32;
            let ahead = self.used[level].rotate_right(here).trailing_zeros();
            if ahead == u64::BITS {
                return None;
            }
            let starts_ms = ((self.now_ms >> shift) + u64::from(ahead)) << shift;
            let slot = (here + ahead) as usize % SLOTS;
            Some((level, slot, starts_ms.max(self.now_ms)))
        };
        // A lower level is dealt out last: what falls into its slot from above must be there.
        let all = (0..LEVELS).rev().filter_map(in_level);
        all.min_by_key(|(level, _, starts_ms)| (*starts_ms, LEVELS - level))
    }

    fn link(&mut self, id: u32) {
        let at_ms = self.timers[id as usize].at_ms;
        if at_ms < self.now_ms {
            self.push(id, DUE, 0);
            return;
        }
        let differs = (at_ms ^ self.now_ms) | 1;
        let level = (63 - differs.leading_zeros()) / LEVEL_BITS;
        let slot = (at_ms >> (LEVEL_BITS * level)) as usize % SLOTS;
        self.push(id, level as usize, slot);
    }

    fn list(&mut self, level: usize, slot: usize) -> &mut List {
        if level == DUE {
            &mut self.due
        } else {
            &mut self.slots[level][slot]
        }
    }

    fn push(&mut self, id: u32, level: usize, slot: usize) {
        let list = self.list(level, slot);
        let last = std::mem::replace(&mut list.last, id);
        if last == NONE {
            list.first = id;
        }
        if level < LEVELS {
            self.used[level] |= 1 << slot;
        }
        if let Some(last) = self.timers.get_mut(last as usize) {
            last.next = id;
        }
        let timer = &mut self.timers[id as usize];
        (timer.level, timer.prev, timer.next) = (level as u8, last, NONE);
    }

    fn unlink(&mut self, id: u32) {
        let timer = &self.timers[id as usize];
        let (level, prev, next) = (usize::from(timer.level), timer.prev, timer.next);
        let slot = (timer.at_ms >> (LEVEL_BITS * u32::from(timer.level))) as usize % SLOTS;
        if let Some(prev) = self.timers.get_mut(prev as usize) {
            prev.next = next;
        }
        if let Some(next) = self.timers.get_mut(next as usize) {
            next.prev = prev;
        }
        let list = self.list(level, slot);
        if prev == NONE {
            list.first = next;
        }
        if next == NONE {
            list.last = prev;
        }
        if list.first == NONE && level < LEVELS {
            self.used[level] &= !(1 << slot);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(usize),
        Pass(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let ahead = prop_oneof![0u64..3, 0u64..200, 0u64..100_000, 0u64..1 << 50];
        let op = prop_oneof![
            4 => ahead.clone().prop_map(Op::Insert),
            2 => any::<usize>().prop_map(Op::Remove),
            2 => prop_oneof![0u64..3, 0u64..70, 0u64..5_000, 0u64..1 << 40].prop_map(Op::Pass),
        ];
        prop::collection::vec(op, 0..200)
    }

    proptest! {
        /// The same as a sorted map of (time, arrival) does.
        #[test]
        fn timers_come_in_order_of_time_and_arrival(ops in ops()) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let (mut now, mut arrival) = (0u64, 0u64);
            for op in ops {
                match op {
                    Op::Insert(ahead) => {
                        arrival += 1;
                        let at = now + ahead;
                        let id = wheel.insert(at, arrival);
                        model.insert((at, arrival), id);
                    }
                    Op::Remove(which) if !model.is_empty() => {
                        let (&name, &id) = model.iter().nth(which % model.len()).unwrap();
                        model.remove(&name);
                        prop_assert_eq!(wheel.remove(id), name.1);
                    }
                    Op::Remove(_) => {}
                    Op::Pass(ms) => {
                        now += ms;
                        if let Some(next) = wheel.next_ms() {
                            let first = model.first_key_value().unwrap().0.0;
                            prop_assert!(next <= first.max(now - ms), "{next} {first}");
                        }
                        while let Some(at_ms) = wheel.first_due_ms(now) {
                            let (at, arrival) = wheel.pop(now).unwrap();
                            prop_assert_eq!(at, at_ms);
                            let first = *model.first_key_value().unwrap().0;
                            prop_assert_eq!((at, arrival), first);
                            model.remove(&first);
                        }
                        let left = model.first_key_value().map(|(name, _)| name.0);
                        prop_assert!(left.is_none_or(|at| at > now), "{:?} is due", left);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.first_key_value().map(|(name, _)| name.0);
                prop_assert!(first.is_none_or(|at| wheel.not_before_ms() <= at.max(now)));
                prop_assert_eq!(wheel.next_ms().is_none(), model.is_empty());
            }
        }
    }

    #[test]
    fn what_is_late_is_due_at_once() {
        let mut wheel = Wheel::new();
        wheel.insert(1_000, 'a');
        assert_eq!(wheel.pop(2_000), Some((1_000, 'a')));
        assert_eq!(wheel.pop(2_000), None);
        wheel.insert(500, 'b');
        assert_eq!(wheel.next_ms(), Some(2_000));
        assert_eq!(wheel.pop(2_000), Some((500, 'b')));
    }
}
