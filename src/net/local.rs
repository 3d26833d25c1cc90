//! What the connections of one worker share. All of it belongs to one thread.

use super::timers::Watches;
use crate::engine::{Account, usable};
use crate::observe::stats::Counts;
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
    /// Buffers in which replies are made before they are sent, empty.
    outputs: RefCell<Vec<Vec<u8>>>,
    /// Bytes of those when they were last counted.
    outputs_bytes: Cell<usize>,
    pub(super) watches: Watches,
    /// Connections of this worker.
    pub(super) open: Cell<usize>,
    /// What its connections counted and nobody was told yet.
    pub(super) counts: RefCell<Counts>,
    /// Monotonic milliseconds, as of the last reading.
    pub(super) now_ms: Cell<u64>,
}

/// What a worker reads from one socket at a time.
const READ_BYTES: usize = 64 << 10;
/// Output buffers kept between batches: as many as connections are ready at once, in most cases.
const OUTPUTS_KEPT_MAX: usize = 64;
/// Larger ones go back to the allocator.
pub(super) const OUTPUT_KEPT_BYTES_MAX: usize = 64 << 10;

impl Local {
    /// What worker `index` of `server` begins with.
    pub(super) fn new(index: usize, server: Arc<Server>) -> Self {
        Self {
            worker: RefCell::new(Worker::new(index, Arc::clone(&server))),
            server,
            index,
            input: RefCell::new(vec![0; READ_BYTES].into()),
            outputs: RefCell::new(Vec::new()),
            outputs_bytes: Cell::new(0),
            watches: Watches::default(),
            open: Cell::new(0),
            counts: RefCell::new(Counts::default()),
            now_ms: Cell::new(0),
        }
    }

    /// An empty buffer for replies.
    pub(super) fn spare_output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back whose replies are sent.
    pub(super) fn keep_output(&self, mut output: Vec<u8>) {
        let mut kept = self.outputs.borrow_mut();
        if output.capacity() <= OUTPUT_KEPT_BYTES_MAX && kept.len() < OUTPUTS_KEPT_MAX {
            output.clear();
            kept.push(output);
        }
    }

    /// Tells the ledger what the kept buffers hold. The larger ones stay here, so that nothing is
    /// told while they come and go.
    pub(super) fn report(&self) {
        let outputs = self.outputs.borrow();
        let bytes = outputs.iter().map(|output| usable(output.capacity())).sum();
        let before = self.outputs_bytes.replace(bytes);
        self.server
            .engine()
            .ledger()
            .change(Account::Fixed, before, bytes);
    }

    /// Tells what the connections counted.
    pub(super) fn settle_counts(&self) {
        let counts = self.counts.take();
        self.server.stats().add(self.index, &counts);
    }

    /// Reads the clock.
    pub(super) fn read_clock(&self) -> u64 {
        let now_ms = self.server.clock().mono_us() / 1_000;
        self.now_ms.set(now_ms);
        now_ms
    }
}
