//! Log lines that a stranger could cause at will, written at most once a minute.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The least time between two lines, in milliseconds.
const PAUSE_MS: u64 = 60_000;
const NEVER: u64 = u64::MAX;

/// When a line was last written.
#[derive(Debug)]
pub struct Rarely {
    last_ms: AtomicU64,
}

impl Rarely {
    /// For a line that was never written.
    #[must_use]
    pub fn new() -> Self {
        Self {
            last_ms: AtomicU64::new(NEVER),
        }
    }

    /// Whether the line may be written now, `now_ms` being on a clock that does not go back.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> bool {
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let due = last_ms == NEVER || now_ms.saturating_sub(last_ms) >= PAUSE_MS;
        due && self
            .last_ms
            .compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Default for Rarely {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute() {
        let line = Rarely::new();
        assert!(line.due(0));
        assert!(!line.due(59_999));
        assert!(line.due(60_000));
        assert!(!line.due(60_001));
    }
}
