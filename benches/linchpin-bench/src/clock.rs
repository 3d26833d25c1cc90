//! The one place that reads a clock: here time is what is measured, not an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time now. About 25 ns.
#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Unix time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "deadlines are on the wall clock")]
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// CPU time that the calling thread has used, kernel included.
#[must_use]
pub fn thread_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}
