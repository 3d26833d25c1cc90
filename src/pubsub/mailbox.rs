//! The mailbox of one subscriber: messages that its connection has yet to send.
//!
//! ```text
//!   publisher:  push under the lock; if the box was quiet, mark it and have the task woken
//!   connection: unmark; take what there is room for, under the lock; mark again if some is left
//! ```
//!
//! Invariant: a message that lies in the box of a connection that sleeps has had it woken, unless
//! the connection knows that some is left.
//!
//! Bound: what waits here and what the connection has not sent count together. Above
//! `client-output-buffer-limit pubsub` the box is emptied and the connection ends: what it missed
//! could not be told from what there never was.

use super::Frame;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, Wake};
use linchpin_protocol::Version;
use std::collections::VecDeque;
use std::sync::Arc;

/// A connection is woken each time that so many bytes more have come for it while it did not look:
/// it then tells what it holds.
const REPORT_BYTES: usize = 256 << 10;

/// Messages for one connection.
pub struct Mailbox {
    conn: u64,
    worker: usize,
    task: Arc<dyn Wake>,
    queue: Mutex<Queue>,
    /// There may be messages that the connection has not seen.
    marked: AtomicBool,
    /// Bytes in the queue, for those who only look.
    waiting_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// What the connection had taken and not sent when it last told.
    unsent_bytes: usize,
    /// The connection is woken when there are so many.
    report_bytes: usize,
    /// More came than may wait.
    is_cut_off: bool,
}

impl Mailbox {
    /// Of connection `conn` of a worker, whose task `task` wakes.
    pub(crate) fn new(conn: u64, worker: usize, task: Arc<dyn Wake>) -> Self {
        Self {
            conn,
            worker,
            task,
            queue: Mutex::new(Queue {
                frames: VecDeque::new(),
                bytes: 0,
                unsent_bytes: 0,
                report_bytes: REPORT_BYTES,
                is_cut_off: false,
            }),
            marked: AtomicBool::new(false),
            waiting_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn conn(&self) -> u64 {
        self.conn
    }

    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// Leaves a message; answers whether the connection is to be woken. What comes after the one
    /// that was too much is dropped.
    pub(super) fn post(&self, frame: &Frame, unsent_bytes_max: usize) -> bool {
        let mut queue = self.queue.lock();
        if queue.is_cut_off {
            return false;
        }
        let bytes = queue.bytes + frame.cost_bytes();
        if bytes.saturating_add(queue.unsent_bytes) > unsent_bytes_max {
            queue.is_cut_off = true;
            queue.set_bytes(self, 0);
            queue.frames = VecDeque::new();
            drop(queue);
            self.marked.store(true, Ordering::Release);
            return true;
        }
        queue.frames.push_back(frame.clone());
        queue.set_bytes(self, bytes);
        let has_grown = bytes >= queue.report_bytes;
        if has_grown {
            queue.report_bytes = bytes + REPORT_BYTES;
        }
        drop(queue);
        !self.marked.swap(true, Ordering::AcqRel) || has_grown
    }

    /// Whether there may be messages.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// Appends messages to the output until it is `len_max` long or there is none left. Called by
    /// the connection alone. Costs one load where there is nothing.
    pub fn take(&self, out: &mut Vec<u8>, version: Version, len_max: usize) {
        if !self.is_marked() || out.len() >= len_max {
            return;
        }
        // Before looking: what comes after the look marks again.
        self.marked.store(false, Ordering::Release);
        let mut queue = self.queue.lock();
        let mut bytes = queue.bytes;
        while out.len() < len_max
            && let Some(frame) = queue.frames.pop_front()
        {
            bytes -= frame.cost_bytes();
            frame.write(out, version);
        }
        queue.set_bytes(self, bytes);
        queue.report_bytes = bytes + REPORT_BYTES;
        if queue.frames.is_empty() {
            // A subscriber that was slow once does not keep the room.
            queue.frames.shrink_to(FRAMES_KEPT);
        } else {
            self.marked.store(true, Ordering::Release);
        }
        if queue.is_cut_off {
            self.marked.store(true, Ordering::Release);
        }
    }

    /// Notes what the connection has in its own output.
    pub fn note_unsent(&self, bytes: usize) {
        self.queue.lock().unsent_bytes = bytes;
    }

    /// Whether more came than may wait: the connection is to end.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.is_marked() && self.queue.lock().is_cut_off
    }

    /// Bytes of the messages that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }
}

/// Places for messages that an empty box may keep.
const FRAMES_KEPT: usize = 64;

impl Queue {
    fn set_bytes(&mut self, mailbox: &Mailbox, bytes: usize) {
        self.bytes = bytes;
        mailbox.waiting_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("conn", &self.conn)
            .finish_non_exhaustive()
    }
}
