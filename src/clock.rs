//! Time, read once per batch and handed down as an argument.
//!
//! Two readings travel together. *Wall* is Unix time: deadlines of ordinary keys live on it, so
//! downtime counts and a stepped system clock moves them, as in Redis. *Engine* time only ever goes
//! forward and counts only time in which the server could act: a gap of more than one second
//! between two readings (SIGSTOP, a suspended machine) counts as one second. Leases live on it.
//!
//! This is the only module that asks the operating system for the time.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest gap between two readings that counts in full as engine time, in milliseconds.
const GAP_MS_MAX: u64 = 1_000;

/// One reading of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds.
    pub wall_ms: u64,
    /// The microseconds after `wall_ms`, below 1,000: for telling the time, never for deadlines.
    pub wall_sub_us: u16,
    /// Monotonic milliseconds in which the server ran. They begin when those of `mono_us` do.
    pub engine_ms: u64,
    /// Monotonic microseconds since the clock was made: for measuring, never for deadlines.
    pub mono_us: u64,
}

impl Now {
    /// Unix time in microseconds.
    #[must_use]
    pub const fn wall_us(&self) -> u64 {
        self.wall_ms
            .saturating_mul(1_000)
            .saturating_add(self.wall_sub_us as u64)
    }

    /// Engine time in milliseconds, rounded up. What is given a number of milliseconds from here
    /// ends when engine time has reached the sum, and never has less.
    #[must_use]
    pub const fn engine_ms_up(&self) -> u64 {
        let is_between = !self.mono_us.is_multiple_of(1_000);
        self.engine_ms.saturating_add(is_between as u64)
    }

    /// Monotonic time in milliseconds, rounded up in the same way.
    #[must_use]
    pub const fn mono_ms_up(&self) -> u64 {
        self.mono_us.div_ceil(1_000)
    }

    /// What is left until an engine time that has not come, in milliseconds: whole ones, but 1 in
    /// the last.
    #[must_use]
    pub const fn left_ms(&self, ends_ms: u64) -> u64 {
        let left_ms = ends_ms.saturating_sub(self.engine_ms_up());
        if left_ms == 0 { 1 } else { left_ms }
    }
}

/// A source of time. The server has a [`SystemClock`], tests a [`ManualClock`].
pub trait Clock: Send + Sync {
    /// The time now. Costs two system clock reads on the real clock, about 50 ns.
    fn now(&self) -> Now;

    /// Monotonic microseconds since the clock was made. Costs one system clock read.
    fn mono_us(&self) -> u64;

    /// A reading that changes every few milliseconds: cheap enough to ask after every command
    /// whether it is time to ask [`mono_us`](Self::mono_us), about 5 ns. Not comparable with
    /// anything but an earlier reading of its own.
    fn coarse(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// The newest monotonic reading anybody took, in milliseconds.
    seen_ms: AtomicU64,
    /// How much of the monotonic time did not count as engine time, in milliseconds.
    lost_ms: AtomicU64,
    gap: Mutex<()>,
    /// Engine time that had passed before the clock was made, in milliseconds.
    resumed_ms: AtomicU64,
}

impl SystemClock {
    /// A clock whose engine time starts at 0 now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where time comes from"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            seen_ms: AtomicU64::new(0),
            lost_ms: AtomicU64::new(0),
            gap: Mutex::new(()),
            resumed_ms: AtomicU64::new(0),
        }
    }

    /// Lets engine time go on where it stopped when another process ended: neither the time between
    /// counts nor what has passed since this clock was made, in which the server loaded. To be
    /// called before anything depends on engine time: what was read before is not comparable.
    pub fn resume_engine_at(&self, engine_ms: u64) {
        self.resume(engine_ms, millis(self.start.elapsed()));
    }

    /// Lets engine time go on from `engine_ms` at this monotonic reading.
    fn resume(&self, engine_ms: u64, mono_ms: u64) {
        let _one_at_a_time = self.gap.lock();
        self.seen_ms.fetch_max(mono_ms, Ordering::AcqRel);
        self.lost_ms.store(mono_ms, Ordering::Release);
        self.resumed_ms.store(engine_ms, Ordering::Release);
    }

    /// Engine time for a monotonic reading: what exceeds [`GAP_MS_MAX`] since the last one is lost.
    fn engine_ms(&self, mono_ms: u64) -> u64 {
        let seen = self.seen_ms.load(Ordering::Acquire);
        if mono_ms.saturating_sub(seen) > GAP_MS_MAX {
            let _one_at_a_time = self.gap.lock();
            let seen = self.seen_ms.load(Ordering::Acquire);
            let lost = mono_ms.saturating_sub(seen).saturating_sub(GAP_MS_MAX);
            // Before `seen_ms`, so that whoever sees the new reading sees the loss as well.
            self.lost_ms.fetch_add(lost, Ordering::Release);
            self.seen_ms.fetch_max(mono_ms, Ordering::AcqRel);
        } else if mono_ms > seen {
            self.seen_ms.fetch_max(mono_ms, Ordering::AcqRel);
        }
        let here_ms = mono_ms.saturating_sub(self.lost_ms.load(Ordering::Acquire));
        here_ms.saturating_add(self.resumed_ms.load(Ordering::Acquire))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where time comes from"
    )]
    fn now(&self) -> Now {
        let mono = self.start.elapsed();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Now {
            wall_ms: millis(wall),
            wall_sub_us: (wall.subsec_micros() % 1_000) as u16,
            engine_ms: self.engine_ms(millis(mono)),
            mono_us: micros(mono),
        }
    }

    fn mono_us(&self) -> u64 {
        micros(self.start.elapsed())
    }

    fn coarse(&self) -> u64 {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        (now.tv_sec.cast_unsigned() << 30) | now.tv_nsec.cast_unsigned()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    engine_ms: AtomicU64,
}

impl ManualClock {
    /// A clock standing at this Unix time, engine time 0.
    #[must_use]
    pub fn at(wall_ms: u64) -> Self {
        Self {
            wall_ms: AtomicU64::new(wall_ms),
            engine_ms: AtomicU64::new(0),
        }
    }

    /// Lets both clocks run on by `ms`.
    pub fn advance_ms(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.engine_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or NTP would; engine time stands still.
    pub fn step_wall_to(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let engine_ms = self.engine_ms.load(Ordering::SeqCst);
        Now {
            wall_ms: self.wall_ms.load(Ordering::SeqCst),
            wall_sub_us: 0,
            engine_ms,
            mono_us: engine_ms.saturating_mul(1_000),
        }
    }

    fn mono_us(&self) -> u64 {
        self.now().mono_us
    }

    fn coarse(&self) -> u64 {
        self.now().mono_us
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_counts_as_one_second() {
        let clock = SystemClock::new();
        assert_eq!(clock.engine_ms(900), 900);
        assert_eq!(
            clock.engine_ms(1_900),
            1_900,
            "a gap of a second counts in full"
        );
        assert_eq!(
            clock.engine_ms(61_900),
            2_900,
            "a minute's stop counts as one second"
        );
        assert_eq!(clock.engine_ms(61_950), 2_950);
        assert_eq!(
            clock.engine_ms(61_940),
            2_940,
            "a late reader is not thrown back by the loss"
        );
    }

    #[test]
    fn engine_time_goes_on_where_it_stopped() {
        let clock = SystemClock::new();
        assert_eq!(clock.engine_ms(10), 10);
        // What was read took a while, in which nobody looked at times.
        clock.resume(5_000, 20_010);
        assert_eq!(clock.engine_ms(20_010), 5_000, "loading counts as time");
        assert_eq!(clock.engine_ms(20_012), 5_002);
        assert_eq!(
            clock.engine_ms(20_011),
            5_001,
            "a late reader is not thrown back"
        );
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(1_000);
        assert_eq!(
            clock.now(),
            Now {
                wall_ms: 1_000,
                wall_sub_us: 0,
                engine_ms: 0,
                mono_us: 0
            }
        );
        clock.advance_ms(5);
        clock.step_wall_to(10);
        assert_eq!(
            clock.now(),
            Now {
                wall_ms: 10,
                wall_sub_us: 0,
                engine_ms: 5,
                mono_us: 5_000
            }
        );
    }
}
