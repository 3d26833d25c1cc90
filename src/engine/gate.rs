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
