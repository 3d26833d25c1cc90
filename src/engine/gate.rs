//! The gate: many workers inside at once, or one alone.
//!
//! ```text
//!    worker 0        worker 1        worker 2
//!   +--------+      +--------+      +--------+
//!   | side 0 |      | side 1 |      | side 2 |     one mutex each, on a cache line of its own
//!   +--------+      +--------+      +--------+
//!    shared: lock my own side        exclusive: lock them all, in order
//! ```
//!
//! A worker's batch holds its own side, which no other worker touches unless somebody wants to be
//! alone: sharing costs one uncontended lock per batch and no traffic between cores. Being alone
//! costs one lock per worker. Each side also carries its own copy of the protected value (a cheap
//! clone, an `Arc` in practice), so that reading it shares nothing either.
//!
//! Invariants:
//! - all sides hold equal values whenever nobody is alone;
//! - who waits for a side holds none of another number above it (ascending order, no cycle);
//! - a thread waits holding nothing: [`Shared`] cannot be upgraded, it is dropped first.
//!
//! LIMITATIONS: waiting is fair only as far as the mutexes are (`parking_lot` hands over after
//! half a millisecond at the latest); batches are kept to about a millisecond for that reason.

use crate::sync::{Mutex, MutexGuard};
use crossbeam_utils::CachePadded;

/// A value that many read at once and one replaces, alone.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    sides: Box<[CachePadded<Mutex<T>>]>,
}

/// Proof that nobody is alone inside; gives the value as it is.
#[derive(Debug)]
pub(crate) struct Shared<'g, T> {
    side: MutexGuard<'g, T>,
}

/// Proof of being alone inside.
#[derive(Debug)]
pub(crate) struct Exclusive<'g, T> {
    sides: Vec<MutexGuard<'g, T>>,
}

impl<T: Clone> Gate<T> {
    /// A gate with `sides` sides (at least one), each with its copy of `value`.
    pub(crate) fn new(sides: usize, value: &T) -> Self {
        let side = || CachePadded::new(Mutex::new(value.clone()));
        Self {
            sides: std::iter::repeat_with(side).take(sides.max(1)).collect(),
        }
    }

    /// Enters beside others, through side `side`. Waits while somebody is alone inside, or holds
    /// the same side.
    pub(crate) fn shared(&self, side: usize) -> Shared<'_, T> {
        Shared {
            side: self.sides[side % self.sides.len()].lock(),
        }
    }

    /// Enters alone: waits until every side is free. The caller holds no side.
    pub(crate) fn exclusive(&self) -> Exclusive<'_, T> {
        Exclusive {
            sides: self.sides.iter().map(|side| side.lock()).collect(),
        }
    }
}

impl<T> Shared<'_, T> {
    /// The value. It stays the same as long as this hold lives.
    pub(crate) fn get(&self) -> &T {
        &self.side
    }
}

impl<T: Clone> Exclusive<'_, T> {
    /// The value.
    pub(crate) fn get(&self) -> &T {
        &self.sides[0]
    }

    /// Replaces the value on every side.
    pub(crate) fn replace(&mut self, value: &T) {
        for side in &mut self.sides {
            (**side).clone_from(value);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;
    use std::sync::Arc;

    /// Somebody is inside while another believes to be alone. Goes red when `exclusive` leaves out
    /// one side. The counter is relaxed: what orders it is the gate and nothing else.
    #[test]
    fn nobody_is_inside_beside_the_one_who_is_alone() {
        loom::model(|| {
            let gate = Arc::new((Gate::new(2, &()), AtomicUsize::new(0)));
            let share = |side| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    let _hold = gate.0.shared(side);
                    gate.1.fetch_add(1, Ordering::Relaxed);
                    gate.1.fetch_sub(1, Ordering::Relaxed);
                })
            };
            let sharers = [share(0), share(1)];
            {
                let _hold = gate.0.exclusive();
                assert_eq!(gate.1.load(Ordering::Relaxed), 0, "somebody is inside");
                gate.1.store(10, Ordering::Relaxed);
                assert_eq!(gate.1.load(Ordering::Relaxed), 10, "somebody came in");
                gate.1.store(0, Ordering::Relaxed);
            }
            for sharer in sharers {
                sharer.join().unwrap();
            }
        });
    }

    /// Two replace the value at once while a third enters by one side after the other. Goes red
    /// when `replace` leaves out a side (a sharer sees the value go back), and when two replacers
    /// lock the sides in different orders (they wait for each other).
    #[test]
    fn a_replaced_value_is_seen_through_every_side() {
        loom::model(|| {
            let gate = Arc::new(Gate::new(2, &0));
            let replace = |gate: &Gate<u32>| {
                let mut hold = gate.exclusive();
                let next = *hold.get() + 1;
                hold.replace(&next);
            };
            let replacers = [(); 2].map(|()| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || replace(&gate))
            });
            let seen = [1, 0, 1].map(|side| *gate.shared(side).get());
            assert!(seen.is_sorted(), "the value went back: {seen:?}");
            for replacer in replacers {
                replacer.join().unwrap();
            }
            assert_eq!([0, 1].map(|side| *gate.shared(side).get()), [2, 2]);
        });
    }
}
