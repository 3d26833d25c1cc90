//! The one place that reads a clock: here time is what is measured, not an argument.

use std::time::{Duration, Instant};

/// The time now. About 25 ns.
#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time that the calling thread has used, kernel included.
#[must_use]
pub fn thread_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}
