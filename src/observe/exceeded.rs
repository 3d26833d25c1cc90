//! How long more was held than `maxmemory` allows although room was asked for.

use crate::sync::Mutex;

/// The time above the bound, in monotonic microseconds.
#[derive(Debug)]
pub struct Exceeded(Mutex<Times>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    since_us: Option<u64>,
    total_us: u64,
}

impl Exceeded {
    /// No time yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Times::default()))
    }

    /// Room was asked for at this time, or looked for: was it there?
    pub fn note(&self, now_us: u64, is_over: bool) {
        let mut times = self.0.lock();
        match times.since_us {
            None if is_over => times.since_us = Some(now_us),
            Some(since_us) if !is_over => {
                times.total_us += now_us.saturating_sub(since_us);
                times.since_us = None;
            }
            _ => {}
        }
    }

    /// Milliseconds in all, and without a break until now.
    #[must_use]
    pub fn ms(&self, now_us: u64) -> (u64, u64) {
        let times = *self.0.lock();
        let current_us = times
            .since_us
            .map_or(0, |since_us| now_us.saturating_sub(since_us));
        ((times.total_us + current_us) / 1_000, current_us / 1_000)
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.0.lock().total_us = 0;
    }
}

impl Default for Exceeded {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stretches_add_up() {
        let exceeded = Exceeded::new();
        exceeded.note(1_000, false);
        exceeded.note(2_000, true);
        exceeded.note(4_000, true);
        assert_eq!(exceeded.ms(7_000), (5, 5));
        exceeded.note(8_000, false);
        assert_eq!(exceeded.ms(9_000), (6, 0));
        exceeded.note(10_000, true);
        assert_eq!(exceeded.ms(12_000), (8, 2));
        exceeded.reset();
        assert_eq!(exceeded.ms(12_000), (2, 2));
    }
}
