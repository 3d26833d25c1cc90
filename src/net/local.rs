//! What the connections of one worker share. All of it belongs to one thread.

use super::timers::Watches;
use crate::session::Worker;
use crate::session::server::Server;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// The worker's own state, its buffers, its connections' time-outs.
pub(super) struct Local {
    pub(super) worker: RefCell<Worker>,
    pub(super) server: Arc<Server>,
    pub(super) index: usize,
    /// Where sockets are read into: an idle connection has no buffer.
    pub(super) input: RefCell<Box<[u8]>>,
    /// Where replies are made before they are sent.
    pub(super) output: RefCell<Vec<u8>>,
    pub(super) watches: Watches,
    /// Monotonic milliseconds, as of the last reading.
    pub(super) now_ms: Cell<u64>,
}

impl Local {
    /// Reads the clock.
    pub(super) fn read_clock(&self) -> u64 {
        let now_ms = self.server.clock().mono_us() / 1_000;
        self.now_ms.set(now_ms);
        now_ms
    }
}
