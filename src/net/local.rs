//! What the connections of one worker share. All of it belongs to one thread.

use super::journal::Waits;
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
    /// Buffers in which replies are made before they are sent.
    pub(super) outputs: Spares,
    /// Buffers in which short requests wait until the other connections are read.
    pub(super) inputs: Spares,
    /// Bytes of both when they were last counted.
    spares_bytes: Cell<usize>,
    pub(super) watches: Watches,
    /// Connections of this worker.
    pub(super) open: Cell<usize>,
    /// What its connections counted and nobody was told yet.
    pub(super) counts: RefCell<Counts>,
    /// Monotonic milliseconds, as of the last reading.
    pub(super) now_ms: Cell<u64>,
    /// Its connections that wait for the journal.
    pub(super) journal_waits: Waits,
    /// The journal has not come on for so long that nobody is to wait any more.
    pub(super) journal_stuck: Cell<Stuck>,
}

/// Who is not to wait for the journal any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stuck {
    /// Who waits for the kernel.
    pub(super) writes: bool,
    /// Who waits for the disk.
    pub(super) syncs: bool,
}

/// What a worker reads from one socket at a time.
const READ_BYTES: usize = 64 << 10;
/// Buffers kept between batches: as many as connections are ready at once, in most cases.
const SPARES_MAX: usize = 64;
/// Larger ones go back to the allocator.
pub(super) const OUTPUT_KEPT_BYTES_MAX: usize = 64 << 10;
/// The same for buffers of short requests.
const INPUT_KEPT_BYTES_MAX: usize = 1 << 10;

/// Empty buffers that connections borrow while they need one.
#[derive(Debug)]
pub(super) struct Spares {
    kept: RefCell<Vec<Vec<u8>>>,
    bytes_max: usize,
}

impl Spares {
    /// None yet. Larger ones than this are not kept.
    fn new(bytes_max: usize) -> Self {
        Self {
            kept: RefCell::new(Vec::new()),
            bytes_max,
        }
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.kept.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a buffer that is done with.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut kept = self.kept.borrow_mut();
        if (1..=self.bytes_max).contains(&buffer.capacity()) && kept.len() < SPARES_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }

    /// Bytes of those that are here.
    fn heap_bytes(&self) -> usize {
        let kept = self.kept.borrow();
        kept.iter().map(|buffer| usable(buffer.capacity())).sum()
    }
}

impl Local {
    /// What worker `index` of `server` begins with.
    pub(super) fn new(index: usize, server: Arc<Server>) -> Self {
        Self {
            worker: RefCell::new(Worker::new(index, Arc::clone(&server))),
            server,
            index,
            input: RefCell::new(vec![0; READ_BYTES].into()),
            outputs: Spares::new(OUTPUT_KEPT_BYTES_MAX),
            inputs: Spares::new(INPUT_KEPT_BYTES_MAX),
            spares_bytes: Cell::new(0),
            watches: Watches::default(),
            open: Cell::new(0),
            counts: RefCell::new(Counts::default()),
            now_ms: Cell::new(0),
            journal_waits: Waits::default(),
            journal_stuck: Cell::default(),
        }
    }

    /// Tells the ledger what the kept buffers hold. The larger ones stay here, so that nothing is
    /// told while they come and go.
    pub(super) fn report(&self) {
        let bytes = self.outputs.heap_bytes() + self.inputs.heap_bytes();
        let before = self.spares_bytes.replace(bytes);
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
