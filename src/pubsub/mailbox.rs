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
//! Bound: what waits here and what the connection has not sent count together. What happens at
//! `client-output-buffer-limit pubsub` says the connection's [`SlowPolicy`]: the box is emptied and
//! the connection ends, or messages are dropped and counted. Dropping costs O(1) for each message,
//! taken over many: conflating looks at all, and frees half of the room.

use super::{Frame, Room, SlowPolicy};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, Wake};
use linchpin_protocol::{Version, Writer};
use std::collections::{HashSet, VecDeque};
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
    policy: SlowPolicy,
    /// Messages that were dropped, and those of them that the connection knows of.
    dropped: u64,
    told: u64,
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
                policy: SlowPolicy::default(),
                dropped: 0,
                told: 0,
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

    /// Leaves a message, if it is not dropped; answers whether the connection is to be woken.
    pub(super) fn post(&self, frame: &Frame, room: Room<'_>) -> bool {
        let mut queue = self.queue.lock();
        if queue.is_cut_off {
            return false;
        }
        if !queue.make_room(frame, room) {
            self.show_bytes(&queue);
            let is_cut_off = queue.is_cut_off;
            drop(queue);
            self.marked.fetch_or(is_cut_off, Ordering::AcqRel);
            return is_cut_off;
        }
        let bytes = queue.bytes + frame.cost_bytes();
        queue.frames.push_back(frame.clone());
        queue.bytes = bytes;
        self.show_bytes(&queue);
        let has_grown = bytes >= queue.report_bytes;
        if has_grown {
            queue.report_bytes = bytes + REPORT_BYTES;
        }
        drop(queue);
        !self.marked.swap(true, Ordering::AcqRel) || has_grown
    }

    fn show_bytes(&self, queue: &Queue) {
        self.waiting_bytes.store(queue.bytes, Ordering::Relaxed);
    }

    /// Says what is to happen at the limit.
    pub fn set_policy(&self, policy: SlowPolicy) {
        self.queue.lock().policy = policy;
    }

    /// Messages that were dropped since the connection opened.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
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
        queue.tell_dropped(out, version);
        let mut bytes = queue.bytes;
        while out.len() < len_max
            && let Some(frame) = queue.frames.pop_front()
        {
            bytes -= frame.cost_bytes();
            frame.write(out, version);
        }
        queue.bytes = bytes;
        self.show_bytes(&queue);
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
    /// Makes room for a message, as the policy says; answers whether it is to be kept.
    fn make_room(&mut self, frame: &Frame, room: Room<'_>) -> bool {
        let bytes_max = room.bytes_max.saturating_sub(self.unsent_bytes);
        let bytes_max = bytes_max.saturating_sub(frame.cost_bytes());
        let is_whole = room.bytes_max >= self.unsent_bytes.saturating_add(frame.cost_bytes());
        if is_whole && self.bytes <= bytes_max {
            return true;
        }
        let before = self.frames.len() as u64;
        match self.policy {
            SlowPolicy::Disconnect => {
                self.is_cut_off = true;
                self.bytes = 0;
                self.frames = VecDeque::new();
                room.losses.note_cut_off();
                return false;
            }
            SlowPolicy::DropNewest => {}
            SlowPolicy::DropOldest => self.drop_oldest(bytes_max),
            SlowPolicy::Conflate => {
                self.conflate(frame);
                self.drop_oldest(bytes_max.min(room.bytes_max / 2));
            }
        }
        let is_kept = is_whole && self.bytes <= bytes_max;
        let dropped = before - self.frames.len() as u64 + u64::from(!is_kept);
        self.dropped += dropped;
        room.losses.note_dropped(self.policy, dropped);
        is_kept
    }

    /// Drops the oldest messages until no more than so many bytes are left.
    fn drop_oldest(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= frame.cost_bytes();
        }
    }

    /// Drops all messages that have a newer one behind them, `next` among those.
    fn conflate(&mut self, next: &Frame) {
        let frames = std::mem::take(&mut self.frames);
        let mut newer: HashSet<&[u8]> = HashSet::from([next.place()]);
        for frame in frames.iter().rev() {
            if newer.insert(frame.place()) {
                self.frames.push_front(frame.clone());
            }
        }
        self.bytes = self.frames.iter().map(Frame::cost_bytes).sum();
    }

    /// Says how many messages were dropped since that was last said, in a push.
    fn tell_dropped(&mut self, out: &mut Vec<u8>, version: Version) {
        let dropped = self.dropped - std::mem::replace(&mut self.told, self.dropped);
        if dropped > 0 && version == Version::Resp3 {
            let mut out = Writer::new(out, version);
            out.push(2);
            out.bulk(b"dropped");
            out.integer(i64::try_from(dropped).unwrap_or(i64::MAX));
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("conn", &self.conn)
            .finish_non_exhaustive()
    }
}
