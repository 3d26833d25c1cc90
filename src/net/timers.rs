//! Time-outs of connections, looked at by their worker's tick.
//!
//! A connection notes what its limits are about in a few cells; the tick goes over all of them.
//! That costs no timer per connection and is as exact as a tick, a tenth of a second.

use crate::config::Settings;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

/// A client has this long to authenticate, in milliseconds.
const AUTH_MS_MAX: u64 = 10_000;
/// A command once begun has this long to arrive, or to bring [`PROGRESS_BYTES`] more.
const PARTIAL_MS_MAX: u64 = 30_000;
/// Bytes that buy a half-sent command another [`PARTIAL_MS_MAX`]: large values may come slowly, one
/// byte at a time may not.
const PROGRESS_BYTES: usize = 64 << 10;

/// What the tick must know of a connection. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) opened_ms: Cell<u64>,
    pub(super) active_ms: Cell<u64>,
    pub(super) authenticated: Cell<bool>,
    /// Since when the unsent output has been at or above the soft limit.
    pub(super) over_soft_since_ms: Cell<Option<u64>>,
    /// It listens to channels ...
    pub(super) subscribed: Cell<bool>,
    /// ... and its output is limited as that of subscribers.
    pub(super) ends_when_slow: Cell<bool>,
    /// It waits for the server: until some time has passed, or its client has gone.
    pub(super) waits: Cell<bool>,
    partial_since_ms: Cell<Option<u64>>,
    partial_bytes: Cell<usize>,
    expired: Cell<Option<Expired>>,
    waker: RefCell<Option<Waker>>,
}

/// Which time-out ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// `timeout` seconds without a command, while it was the client's turn; of one that listens to
    /// nothing.
    Idle,
    /// No password in time.
    Unauthenticated,
    /// A command that did not arrive whole in time.
    HalfSent,
    /// Replies not read for too long.
    SlowReader,
}

impl Watch {
    /// The time-out that has ended the connection, if one has.
    pub(super) fn expired(&self) -> Option<Expired> {
        self.expired.get()
    }

    /// Whom to wake when a time-out ends the connection.
    pub(super) fn set_waker(&self, waker: &Waker) {
        self.waker.borrow_mut().get_or_insert_with(|| waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Notes that `bytes` of a command that is not whole have arrived; 0: none are waiting.
    /// `progressed`: the waiting bytes begin another command than before.
    pub(super) fn note_partial(&self, bytes: usize, progressed: bool, now_ms: u64) {
        if bytes == 0 {
            self.partial_since_ms.set(None);
            return;
        }
        let grown = bytes >= self.partial_bytes.get() + PROGRESS_BYTES;
        if progressed || grown || self.partial_since_ms.get().is_none() {
            self.partial_since_ms.set(Some(now_ms));
            self.partial_bytes.set(bytes);
        }
    }

    fn check(&self, settings: &Settings, now_ms: u64) -> Option<Expired> {
        let past = |since_ms: u64, limit_ms: u64| now_ms.saturating_sub(since_ms) >= limit_ms;
        let limits = &settings.client_output_buffer_limit;
        let soft_s = limits.of(self.ends_when_slow.get()).soft_s;
        let idle_ms = settings.timeout_s * 1_000;
        let is_excused = self.waits.get() || self.subscribed.get();
        if !self.authenticated.get() && past(self.opened_ms.get(), AUTH_MS_MAX) {
            Some(Expired::Unauthenticated)
        } else if self
            .partial_since_ms
            .get()
            .is_some_and(|at| past(at, PARTIAL_MS_MAX))
        {
            Some(Expired::HalfSent)
        } else if self
            .over_soft_since_ms
            .get()
            .is_some_and(|at| past(at, soft_s * 1_000))
        {
            Some(Expired::SlowReader)
        } else if idle_ms > 0 && !is_excused && past(self.active_ms.get(), idle_ms) {
            Some(Expired::Idle)
        } else {
            None
        }
    }
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: RefCell<Vec<Rc<Watch>>>,
}

impl Watches {
    pub(super) fn add(&self, watch: Rc<Watch>) {
        self.watches.borrow_mut().push(watch);
    }

    /// Lets every connection look around. O(connections).
    pub(super) fn wake_all(&self) {
        for watch in &*self.watches.borrow() {
            watch.wake();
        }
    }

    /// Ends connections whose time is up and forgets those that have gone. O(connections).
    pub(super) fn tick(&self, settings: &Settings, now_ms: u64) {
        self.watches.borrow_mut().retain(|watch| {
            if let Some(expired) = watch.check(settings, now_ms) {
                watch.expired.set(Some(expired));
                watch.wake();
            } else if watch.waits.get() {
                watch.wake();
            }
            // The other owner is the connection itself.
            Rc::strong_count(watch) > 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_drips_in_is_cut_and_one_that_flows_is_not() {
        let (settings, watch) = (Settings::default(), Watch::default());
        watch.authenticated.set(true);
        watch.note_partial(1, true, 1_000);
        for second in 1..30 {
            watch.note_partial(1 + second, false, 1_000 + second as u64 * 1_000);
        }
        assert_eq!(watch.check(&settings, 30_999), None);
        assert_eq!(watch.check(&settings, 31_000), Some(Expired::HalfSent));
        watch.note_partial(31 + PROGRESS_BYTES, false, 31_000);
        assert_eq!(watch.check(&settings, 60_999), None);
        watch.note_partial(0, true, 61_000);
        assert_eq!(watch.check(&settings, 1_000_000), None);
    }

    #[test]
    fn who_does_not_authenticate_is_cut_after_ten_seconds() {
        let (settings, watch) = (Settings::default(), Watch::default());
        assert_eq!(watch.check(&settings, 9_999), None);
        assert_eq!(
            watch.check(&settings, 10_000),
            Some(Expired::Unauthenticated)
        );
    }

    #[test]
    fn idle_connections_live_for_ever_unless_told() {
        let mut settings = Settings::default();
        let watch = Watch::default();
        watch.authenticated.set(true);
        assert_eq!(watch.check(&settings, u64::MAX), None);
        settings.timeout_s = 5;
        watch.active_ms.set(100);
        assert_eq!(watch.check(&settings, 5_099), None);
        assert_eq!(watch.check(&settings, 5_100), Some(Expired::Idle));
        watch.waits.set(true);
        assert_eq!(watch.check(&settings, 5_100), None, "it is not its turn");
    }
}
