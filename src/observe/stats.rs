//! Counters: each worker adds to its own, readers add them up.
//!
//! Cost: a worker touches its counters once per batch, on a cache line no other worker writes.

use crate::engine::Tally;
use crate::sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// Declares the counters once: as atomics of a worker and as plain sums.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one worker counted.
        #[derive(Debug, Default)]
        struct Counters { $($name: AtomicU64),* }

        /// Counts, of one batch or of all workers added up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64),* }

        impl Counters {
            fn add(&self, counts: &Counts) {
                $(if counts.$name > 0 {
                    self.$name.fetch_add(counts.$name, Ordering::Relaxed);
                })*
            }

            fn add_to(&self, sum: &mut Counts) {
                $(sum.$name += self.$name.load(Ordering::Relaxed);)*
            }
        }

        impl Counts {
            /// What was counted since `base`, an earlier reading.
            #[must_use]
            pub fn since(&self, base: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(base.$name)),* }
            }
        }
    };
}

counters! {
    /// Commands run, those inside EXEC among them.
    commands,
    /// Connections accepted.
    connections,
    /// Connections turned away.
    rejected_connections,
    /// Bytes received.
    input_bytes,
    /// Bytes sent.
    output_bytes,
    /// Reads that found their key.
    hits,
    /// Reads that did not.
    misses,
    /// Keys removed because their deadline had passed.
    expired,
    /// Changes of state.
    changes,
    /// Error replies.
    errors,
    /// Calls refused before they ran: unknown, wrong arity, not authenticated.
    rejected_calls,
    /// Wrong passwords.
    denied_logins,
    /// Connections closed because their unsent replies passed a limit.
    output_limit_disconnections,
    /// Connections closed because their unexecuted requests passed a limit.
    query_limit_disconnections,
    /// Connections closed by a panic in their task.
    panics,
}

impl Counts {
    /// Adds what a step counted.
    pub fn add_tally(&mut self, tally: &Tally) {
        self.hits += tally.hits;
        self.misses += tally.misses;
        self.expired += tally.expired;
        self.changes += tally.changes;
    }
}

/// The counters of all workers.
#[derive(Debug)]
pub struct Stats {
    workers: Box<[CachePadded<Counters>]>,
    /// The sums at the last `CONFIG RESETSTAT`.
    base: crate::sync::Mutex<Counts>,
}

impl Stats {
    /// Counters for this many workers, all zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let counters = std::iter::repeat_with(CachePadded::<Counters>::default);
        Self {
            workers: counters.take(workers.max(1)).collect(),
            base: crate::sync::Mutex::new(Counts::default()),
        }
    }

    /// Adds what a worker counted in one batch.
    pub fn add(&self, worker: usize, counts: &Counts) {
        self.workers[worker % self.workers.len()].add(counts);
    }

    /// What was counted since the last reset.
    #[must_use]
    pub fn sum(&self) -> Counts {
        self.total().since(&self.base.lock())
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        *self.base.lock() = self.total();
    }

    fn total(&self) -> Counts {
        let mut sum = Counts::default();
        for worker in &self.workers {
            worker.add_to(&mut sum);
        }
        sum
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_workers_and_since_the_reset() {
        let stats = Stats::new(2);
        stats.add(0, &Counts { commands: 2, ..Counts::default() });
        stats.add(1, &Counts { commands: 3, errors: 1, ..Counts::default() });
        assert_eq!(stats.sum(), Counts { commands: 5, errors: 1, ..Counts::default() });
        stats.reset();
        stats.add(1, &Counts { commands: 1, ..Counts::default() });
        assert_eq!(stats.sum(), Counts { commands: 1, ..Counts::default() });
    }
}
