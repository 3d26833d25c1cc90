//! Counters: each worker adds to its own, readers add them up.
//!
//! Cost: a worker touches its counters once per batch, on a cache line no other worker writes.

use crate::engine::Tally;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;

/// Declares the counters once: as atomics of a worker and as plain sums.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one worker counted.
        #[derive(Debug, Default)]
        struct Counters { $($name: AtomicU64,)* step_us_max: AtomicU64 }

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
    /// Reads from sockets.
    reads,
    /// Writes to sockets.
    writes,
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
    /// Times that expiry rested, its share of the time used up, with more to do.
    expiry_pauses,
    /// Microseconds that expiry took.
    expiry_us,
    /// Keys evicted to make room.
    evicted,
    /// Connections ended because all held more than they may.
    evicted_clients,
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
        self.evicted += tally.evicted;
        self.changes += tally.changes;
    }
}

/// What happened per second, averaged over the last second and a half.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Commands.
    pub commands: f64,
    /// Bytes received.
    pub input_bytes: f64,
    /// Bytes sent.
    pub output_bytes: f64,
}

/// The counters of all workers.
#[derive(Debug)]
pub struct Stats {
    workers: Box<[CachePadded<Counters>]>,
    /// The sums at the last `CONFIG RESETSTAT`.
    base: Mutex<Counts>,
    /// Sums of late with their times in monotonic microseconds, oldest first.
    samples: Mutex<VecDeque<(u64, Counts)>>,
}

/// Samples kept: at ten a second, what [`Stats::rates`] averages over.
const SAMPLES: usize = 16;

impl Stats {
    /// Counters for this many workers, all zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let counters = std::iter::repeat_with(CachePadded::<Counters>::default);
        Self {
            workers: counters.take(workers.max(1)).collect(),
            base: Mutex::new(Counts::default()),
            samples: Mutex::new(VecDeque::with_capacity(SAMPLES)),
        }
    }

    /// Adds what a worker counted in one batch.
    pub fn add(&self, worker: usize, counts: &Counts) {
        self.workers[worker % self.workers.len()].add(counts);
    }

    /// Notes how long a worker was busy with something that it finishes before it looks at its
    /// connections again: a batch of commands, a turn of expiry.
    #[inline]
    pub fn note_step(&self, worker: usize, us: u64) {
        let longest = &self.workers[worker % self.workers.len()].step_us_max;
        if us > longest.load(Ordering::Relaxed) {
            longest.fetch_max(us, Ordering::Relaxed);
        }
    }

    /// The longest of those since the last reset, in microseconds.
    #[must_use]
    pub fn step_us_max(&self) -> u64 {
        let longest = |worker: &CachePadded<Counters>| worker.step_us_max.load(Ordering::Relaxed);
        self.workers.iter().map(longest).max().unwrap_or(0)
    }

    /// What was counted since the last reset.
    #[must_use]
    pub fn sum(&self) -> Counts {
        self.total().since(&self.base.lock())
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        *self.base.lock() = self.total();
        for worker in &self.workers {
            worker.step_us_max.store(0, Ordering::Relaxed);
        }
    }

    /// Changes of state since the server began, whatever was reset since.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.total().changes
    }

    /// Notes the sums of this moment. To be called about ten times a second.
    pub fn sample(&self, mono_us: u64) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((mono_us, self.total()));
    }

    /// What happened per second, averaged over the samples kept.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let samples = self.samples.lock();
        let (Some((from_us, from)), Some((to_us, to))) = (samples.front(), samples.back()) else {
            return Rates::default();
        };
        let seconds = to_us.saturating_sub(*from_us) as f64 / 1e6;
        let counts = to.since(from);
        let per_s = |n: u64| {
            if seconds > 0.0 {
                n as f64 / seconds
            } else {
                0.0
            }
        };
        Rates {
            commands: per_s(counts.commands),
            input_bytes: per_s(counts.input_bytes),
            output_bytes: per_s(counts.output_bytes),
        }
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
        stats.add(
            0,
            &Counts {
                commands: 2,
                ..Counts::default()
            },
        );
        stats.add(
            1,
            &Counts {
                commands: 3,
                errors: 1,
                ..Counts::default()
            },
        );
        assert_eq!(
            stats.sum(),
            Counts {
                commands: 5,
                errors: 1,
                ..Counts::default()
            }
        );
        stats.reset();
        stats.add(
            1,
            &Counts {
                commands: 1,
                ..Counts::default()
            },
        );
        assert_eq!(
            stats.sum(),
            Counts {
                commands: 1,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn the_longest_step_is_that_of_all_workers_since_the_reset() {
        let stats = Stats::new(2);
        stats.note_step(0, 7);
        stats.note_step(1, 9);
        stats.note_step(1, 8);
        assert_eq!(stats.step_us_max(), 9);
        stats.reset();
        assert_eq!(stats.step_us_max(), 0);
    }

    #[test]
    fn rates_are_over_the_last_samples() {
        let stats = Stats::new(1);
        assert_eq!(stats.rates(), Rates::default());
        for tenth in 0..40 {
            stats.sample(tenth * 100_000);
            stats.add(
                0,
                &Counts {
                    commands: 7,
                    ..Counts::default()
                },
            );
        }
        assert_eq!(
            stats.rates(),
            Rates {
                commands: 70.0,
                ..Rates::default()
            }
        );
    }
}
