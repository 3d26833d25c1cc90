//! The driver of one connection: moves bytes between a socket and a session.
//!
//! ```text
//!        +-----------------------------------------------------------+
//!        v                                                           |
//!     posts? time-out? --> send what is unsent --> limits --> execute or read
//!        | ends                | socket full: wait    | over: end      | nothing: wait
//! ```
//!
//! Requests are parsed where they were read, in the worker's buffer, and replies are made in
//! another buffer of the worker; only what is left over, half a request or unsent replies, moves
//! into buffers of the connection's own. An idle connection has none.
//!
//! A connection that has executed what it read gives way to the others that are ready, once, before
//! it sends: see `docs/decisions/0015-replies.md`.
//!
//! One that has handed a lock over gives way as well: whoever has it now, and is ready to go on,
//! learns of it before its last holder learns that it gave it back.
//!
//! With a journal, replies leave once what they tell is in it (`session/held.rs`). Requests go on
//! being executed meanwhile, up to a bound.
//!
//! Invariants:
//! - input is read only when the session can do nothing with what it has, so at most one incomplete
//!   request, and what one read brought behind it, is held;
//! - no input is read or executed while the unsent output is at or above the soft limit;
//! - however the task ends, a panic included, dropping the connection gives back what it held.

use super::local::{Local, OUTPUT_KEPT_BYTES_MAX, Stuck};
use super::stream::{Peer, Stream};
use super::timers::{Expired, Watch};
use super::worker::Presence;
use crate::command::{Park, error};
use crate::config::OutputLimit;
use crate::engine::usable;
use crate::journal::{Log, Needs};
use crate::session::held::Held;
use crate::session::outbox::Post;
use crate::session::registry::Origin;
use crate::session::{BufferUse, Ran, Session, Stop};
use crate::sync::{Mutex, Wake};
use linchpin_protocol::Writer;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A client that has not authenticated may leave this much unread.
const UNAUTHENTICATED_OUTPUT_BYTES_MAX: usize = 1 << 10;
/// And send this much without a complete request in it.
const UNAUTHENTICATED_INPUT_BYTES_MAX: usize = 64 << 10;
/// Input pauses here where the settings know no soft limit.
const PAUSE_OUTPUT_BYTES: usize = 64 << 20;

/// This much output may wait for the journal before input pauses.
const HELD_OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Messages are taken from the mailbox while less than so much is unsent: there they are shared.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Output that was sent is taken out of the buffer when there is so much of it.
const SENT_KEPT_BYTES_MAX: usize = 64 << 10;

/// When the server stops, a connection ends once it has been silent for so long: a pipeline may
/// still lie in the buffers of the peer's kernel, which sends on as we make room.
const STOP_QUIET_MS: u64 = 50;
/// And this long after the stop at the latest, or a client that never pauses would hold it.
const STOP_GRACE_MS: u64 = 1_000;

/// What a connection takes besides its buffers: its task, and what that shares with the worker and
/// the event loop. Measured on idle connections.
const FIXED_BYTES: usize = usable(size_of::<Connection>()) + 768;

/// What one read brought is kept until the other ready connections are read, if it is this short:
/// copying it costs less than waiting for the memory that a request or two touch. Longer input is
/// a pipeline, which looks ahead by itself.
const ANNOUNCED_BYTES_MAX: usize = 256;

/// Reads whose input is thrown away when a connection is closed.
const DISCARDED_READS_MAX: usize = 16;

/// Wakes the connection's task from other threads.
#[derive(Debug)]
struct TaskWaker(Mutex<Option<Waker>>);

impl Wake for TaskWaker {
    fn wake(&self) {
        if let Some(waker) = &*self.0.lock() {
            waker.wake_by_ref();
        }
    }
}

/// One connection. The future ends when the connection does.
pub(super) struct Connection {
    stream: Stream,
    session: Session,
    local: Rc<Local>,
    watch: Rc<Watch>,
    waker: Arc<TaskWaker>,
    /// Half a request, or requests that wait for the output to drain.
    input: Vec<u8>,
    input_at: usize,
    /// Replies the socket has not taken.
    output: Vec<u8>,
    output_at: usize,
    /// Those among them that wait for the journal.
    held: Held,
    /// This task is woken when the journal has come on so far.
    awaits: Option<Needs>,
    /// The next request waits until the journal has room for it ...
    journal_behind: bool,
    /// ... and this task is woken when it may have: it is then told here.
    awaits_room: bool,
    room: Option<Rc<Cell<bool>>>,
    /// The last request waits for something.
    parked: bool,
    /// The socket takes no more at the moment: the output stays with this connection.
    unsent_is_own: bool,
    /// How much of it others were told of who have messages for this connection.
    unsent_told: Cell<usize>,
    /// There may be complete requests in `input`.
    runnable: bool,
    /// What is in `input` was read by the poll before this one.
    announced: bool,
    /// What ran told others to go on, who go first.
    gives_way: bool,
    /// Nothing more will be read.
    draining: bool,
    /// A reply did not fit: what there is of it is not sent.
    overflowed: bool,
    /// Since the server stops: when a look at the socket first found nothing more to read.
    quiet_since_ms: Option<u64>,
    /// Those who may wake this task know how.
    introduced: bool,
    /// Last, so that it ends when all else of the connection has.
    _presence: Presence,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finished,
    Killed,
    Broken,
    TimedOut(Expired),
    OutputLimit,
    InputLimit,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        origin: Origin,
        local: Rc<Local>,
        presence: Presence,
    ) -> Self {
        let waker = Arc::new(TaskWaker(Mutex::new(None)));
        let now_ms = local.read_clock();
        let registry = local.server.registry();
        let client = registry.open(origin, now_ms, local.index, waker.clone());
        let session = Session::new(client, local.worker.borrow_mut().settings());
        let watch = Rc::new(Watch::default());
        watch.opened_ms.set(now_ms);
        watch.active_ms.set(now_ms);
        watch.authenticated.set(session.is_authenticated());
        local.watches.add(Rc::clone(&watch));
        Self {
            stream,
            session,
            local,
            watch,
            waker,
            input: Vec::new(),
            input_at: 0,
            output: Vec::new(),
            output_at: 0,
            held: Held::default(),
            awaits: None,
            journal_behind: false,
            awaits_room: false,
            room: None,
            parked: false,
            unsent_is_own: false,
            unsent_told: Cell::new(0),
            runnable: false,
            announced: false,
            introduced: false,
            gives_way: false,
            draining: false,
            overflowed: false,
            quiet_since_ms: None,
            _presence: presence,
        }
    }

    /// Goes on until there is nothing to do but wait.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.take_posts() {
                return Poll::Ready(End::Killed);
            }
            if let Some(expired) = self.watch.expired() {
                return Poll::Ready(End::TimedOut(expired));
            }
            if self.take_messages() || self.overflowed {
                return Poll::Ready(End::OutputLimit);
            }
            if std::mem::take(&mut self.gives_way) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.send(cx).is_err() {
                return Poll::Ready(End::Broken);
            }
            if self.settle_messages() {
                // After the other connections, and after the requests of this one.
                cx.waker().wake_by_ref();
            }
            if let Some(blocked) = self
                .blocked_by_journal(cx)
                .or_else(|| self.blocked_by_output())
            {
                return blocked;
            }
            if self.runnable {
                self.run_held();
                continue;
            }
            if self.parked {
                match self.resumes(cx) {
                    true => continue,
                    false => return self.poll_wait(cx),
                }
            }
            // What is held now is part of one command: those behind a whole one do not count.
            if self.input.len() - self.input_at > self.input_bytes_max() {
                return Poll::Ready(End::InputLimit);
            }
            let stop_ms = self.local.server.stopping_since_ms();
            if stop_ms.is_some_and(|since_ms| {
                self.local.read_clock().saturating_sub(since_ms) >= STOP_GRACE_MS
            }) {
                self.draining = true;
                continue;
            }
            match self.read(cx) {
                Poll::Pending if stop_ms.is_none() || self.may_hear_more() => {
                    return Poll::Pending;
                }
                Poll::Pending => self.draining = true,
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(())) => {
                    self.quiet_since_ms = None;
                    let waits = self.announced || !self.output.is_empty() && !self.runnable;
                    if waits && !self.draining {
                        // The others that are ready go first, then all replies are sent: their
                        // readers wake up together, and come back together.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Whether, while the server stops, the socket has not been silent for long: what is on its way
    /// is waited for, and the tick wakes this task. Only looks at the socket count; since the last
    /// read a busy machine may have let any time pass.
    fn may_hear_more(&mut self) -> bool {
        let now_ms = self.local.read_clock();
        let since_ms = *self.quiet_since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) < STOP_QUIET_MS
    }

    /// Takes what others posted; answers whether the connection is to end.
    fn take_posts(&mut self) -> bool {
        let mut is_over = false;
        for post in self.session.client().outbox().take() {
            is_over |= post == Post::Close;
            if self.output.is_empty() {
                self.output = self.local.outputs.take();
            }
            let start = self.output.len();
            let needs = self.session.note_post(post, &mut self.output);
            if let Some(needs) = needs {
                self.hold(start, 0, needs);
            }
        }
        is_over
    }

    /// Takes messages that came in, as far as there is room; answers whether more came than may
    /// wait. What waits for the journal goes first: none is taken meanwhile.
    fn take_messages(&mut self) -> bool {
        let Some(mailbox) = self.session.mailbox() else {
            return false;
        };
        if mailbox.is_cut_off() {
            return true;
        }
        if mailbox.is_marked() && self.may_take() {
            if self.output.is_empty() {
                self.output = self.local.outputs.take();
            }
            let len_max = self.output_at + MESSAGE_BYTES_MAX;
            self.session.take_messages(&mut self.output, len_max);
        }
        false
    }

    /// Whether there is room in the output for messages.
    fn may_take(&self) -> bool {
        self.held.is_empty() && self.output.len() - self.output_at < MESSAGE_BYTES_MAX
    }

    /// Tells others how much is unsent after some was sent; answers whether more messages can be
    /// taken now.
    fn settle_messages(&mut self) -> bool {
        let Some(mailbox) = self.session.mailbox() else {
            return false;
        };
        let unsent = self.output.len() - self.output_at;
        if self.unsent_told.replace(unsent) != unsent {
            mailbox.note_unsent(unsent);
        }
        let is_more = mailbox.is_marked() && self.may_take();
        if mailbox.waiting_bytes() > 0 {
            self.report();
        }
        is_more
    }

    /// Whether the connection has to wait for the journal before it reads and executes more. Sees
    /// to it that it is woken if it waits at all.
    fn blocked_by_journal(&mut self, cx: &mut Context<'_>) -> Option<Poll<End>> {
        let local = Rc::clone(&self.local);
        let log = local.server.journal()?;
        if let Some(first) = self.held.first()
            && self.awaits.is_none_or(|needs| log.is_met(needs))
        {
            self.awaits = Some(first);
            local.journal_waits.add(first, cx.waker());
        }
        if self.room.as_ref().is_some_and(|is_there| !is_there.get()) && !self.awaits_room {
            return Some(self.poll_wait(cx));
        }
        self.room = self.room.take().filter(|_| self.awaits_room);
        if std::mem::take(&mut self.journal_behind) {
            self.runnable = true;
            // Tried once more after it was made sure that this task is woken.
            self.awaits_room = !self.awaits_room;
            if !self.awaits_room {
                return Some(self.poll_wait(cx));
            }
            self.room = Some(local.journal_waits.add_behind(log, cx.waker()));
        } else {
            (self.awaits_room, self.room) = (false, None);
        }
        if self.held.is_empty() {
            return None;
        }
        let held = self.output.len() - self.ripe();
        let is_blocked = held >= HELD_OUTPUT_BYTES_MAX || self.draining;
        is_blocked.then(|| self.poll_wait(cx))
    }

    /// Waits for what the server does, unless the client has gone: nothing is read meanwhile, so
    /// nothing else would tell.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let is_left = match self.stream.poll_peer(cx) {
            Peer::There => false,
            Peer::Finished => self.session.parked().is_some_and(Park::may_last),
            Peer::Gone => self.session.parked().is_none_or(Park::is_for_reply),
        };
        if is_left {
            return Poll::Ready(End::Broken);
        }
        self.watch.waits.set(true);
        Poll::Pending
    }

    /// Whether the call that waits can go on. Else this task is woken when it can, or by the tick.
    fn resumes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.may_resume(&self.local.worker.borrow()) {
            (self.parked, self.runnable) = (false, true);
            self.awaits = None;
            // From now on it is the client's turn.
            self.watch.active_ms.set(self.local.read_clock());
            return true;
        }
        if let Some(needs) = self.session.parked_needs()
            && self.awaits != Some(needs)
        {
            self.awaits = Some(needs);
            self.local.journal_waits.add(needs, cx.waker());
        }
        false
    }

    /// How much of the output may be sent by now.
    fn ripe(&mut self) -> usize {
        match self.local.server.journal() {
            Some(log) if !self.held.is_empty() => {
                self.held.ripe(self.output.len(), |needs| log.is_met(needs))
            }
            _ => self.output.len(),
        }
    }

    /// The same, where replies that tell of time tell it as it is now.
    fn ripe_as_of_now(&mut self) -> usize {
        let ripe = self.ripe();
        let worker = self.local.worker.borrow();
        let stretches = self.session.rewrite_grants(&mut self.output, ripe, &worker);
        drop(worker);
        if stretches.is_empty() {
            return ripe;
        }
        for stretch in stretches {
            self.held.stretch(stretch.from, stretch.to);
        }
        self.ripe()
    }

    /// Where the journal does not come on for too long, says so instead of the replies that wait.
    fn give_up_if_stuck(&mut self) {
        let stuck = self.local.journal_stuck.get();
        if self.held.is_empty() || stuck == Stuck::default() {
            return;
        }
        self.ripe();
        let is_stuck = |needs: Needs| stuck.writes || (stuck.syncs && needs.synced > 0);
        if !self.held.first().is_some_and(is_stuck) {
            return;
        }
        let mut line = Vec::new();
        Writer::new(&mut line, self.session.resp()).error_bytes(&error::JOURNAL_STUCK.line());
        self.held.give_up(&mut self.output, &line);
    }

    /// Whether what is unsent ends the connection, or keeps it from reading and executing more.
    fn blocked_by_output(&mut self) -> Option<Poll<End>> {
        // What waits for the journal is not the client's fault.
        // Nor are messages, where they are dropped before they are too many.
        let mailbox = self.session.mailbox();
        let mailbox = mailbox.filter(|_| self.session.ends_when_slow());
        let waiting = mailbox.map(|mailbox| mailbox.waiting_bytes());
        let unsent = self.ripe() - self.output_at + waiting.unwrap_or(0);
        let limit = self.output_limit();
        if limit.exceeded(unsent) {
            return Some(Poll::Ready(End::OutputLimit));
        }
        if self.draining {
            return Some(match self.output.len() - self.output_at {
                0 => Poll::Ready(End::Finished),
                _ => Poll::Pending,
            });
        }
        if unsent >= limit.pause_bytes {
            let since_ms = self.watch.over_soft_since_ms.get();
            let since_ms = since_ms.unwrap_or_else(|| self.local.read_clock());
            self.watch.over_soft_since_ms.set(Some(since_ms));
            return Some(Poll::Pending);
        }
        self.watch.over_soft_since_ms.set(None);
        None
    }

    /// Reads once and executes what is complete.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let local = Rc::clone(&self.local);
        let mut buffer = local.input.borrow_mut();
        let read = match self.stream.poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Broken)),
            Poll::Ready(Ok(0)) => {
                self.draining = true;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(read)) => read,
        };
        local.counts.borrow_mut().reads += 1;
        self.watch.active_ms.set(local.read_clock());
        let bytes = &buffer[..read];
        if self.input.is_empty() && read <= ANNOUNCED_BYTES_MAX && self.output.is_empty() {
            self.announce(bytes);
        } else if self.input.is_empty() {
            self.run_read(bytes);
        } else {
            self.input.extend_from_slice(bytes);
            self.runnable = self.input.len() - self.input_at >= self.session.input_needed();
            self.watch
                .note_partial(self.input.len(), false, local.now_ms.get());
            let (held_bytes, input_bytes) = (self.held_bytes(), self.input.capacity());
            self.session
                .report_arrival(&local.worker.borrow(), held_bytes, input_bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps short requests until the other connections that are ready have been read. Meanwhile
    /// what they will touch comes from memory.
    fn announce(&mut self, bytes: &[u8]) {
        self.input = self.local.inputs.take();
        self.input.extend_from_slice(bytes);
        self.session
            .announce(bytes, &mut self.local.worker.borrow_mut());
        (self.runnable, self.announced) = (true, true);
    }

    /// Executes requests in place and keeps what is left of them.
    fn run_read(&mut self, bytes: &[u8]) {
        let Ran { consumed, stop, .. } = self.run(bytes);
        self.input.extend_from_slice(&bytes[consumed..]);
        self.after_run(stop, consumed > 0);
    }

    /// Executes requests that were kept.
    fn run_held(&mut self) {
        let input = std::mem::take(&mut self.input);
        let Ran { consumed, stop, .. } = self.run(&input[self.input_at..]);
        self.input = input;
        self.input_at += consumed;
        self.announced = false;
        if self.input_at == self.input.len() {
            self.input_at = 0;
            self.local.inputs.give_back(std::mem::take(&mut self.input));
        } else if self.input_at > self.input.len() / 2 {
            self.input.drain(..self.input_at);
            self.input_at = 0;
        }
        self.after_run(stop, consumed > 0);
    }

    fn after_run(&mut self, stop: Stop, progressed: bool) {
        self.runnable = stop == Stop::OutputFull;
        self.journal_behind = stop == Stop::JournalBehind;
        self.parked = stop == Stop::Parked;
        self.draining |= stop == Stop::Close;
        self.overflowed |= stop == Stop::Overflow;
        let waiting = if stop == Stop::NeedsInput {
            self.input.len() - self.input_at
        } else {
            0
        };
        self.watch
            .note_partial(waiting, progressed, self.local.now_ms.get());
        self.watch
            .authenticated
            .set(self.session.is_authenticated());
        self.watch.subscribed.set(self.session.is_subscribed());
        self.watch.ends_when_slow.set(self.session.ends_when_slow());
        let buffers = BufferUse {
            held_bytes: self.held_bytes(),
            input_bytes: self.input.len() - self.input_at,
            input_capacity: self.input.capacity(),
            output_bytes: self.output.len() - self.output_at,
            output_capacity: self.output.capacity(),
        };
        let local = Rc::clone(&self.local);
        self.session
            .refresh(&local.worker.borrow(), self.watch.active_ms.get(), buffers);
    }

    /// Bytes held for this connection alone. Replies that may yet go out at once, in a buffer that
    /// the worker would keep, count as the worker's.
    fn held_bytes(&self) -> usize {
        let output = self.output.capacity();
        let own = self.unsent_is_own || output > OUTPUT_KEPT_BYTES_MAX;
        let output = if own { usable(output) } else { 0 };
        FIXED_BYTES + usable(self.input.capacity()) + output + self.held.heap_bytes()
    }

    /// Tells what the connection holds, if that may have changed since it last ran.
    fn report(&mut self) {
        let local = Rc::clone(&self.local);
        let held_bytes = self.held_bytes();
        self.session.report(&local.worker.borrow(), held_bytes);
    }

    /// Lets the session run. Replies go behind those unsent, or else into a buffer of the worker's,
    /// which becomes this connection's until it is sent.
    fn run(&mut self, input: &[u8]) -> Ran {
        if self.output.is_empty() {
            self.output = self.local.outputs.take();
        }
        let start = self.output.len();
        let mut worker = self.local.worker.borrow_mut();
        let ran = self.session.run(input, &mut self.output, &mut worker);
        drop(worker);
        self.gives_way = ran.has_settled;
        self.hold(start, ran.replies, ran.needs);
        ran
    }

    /// Holds the output from `start` on, so many replies, until the journal has what they need.
    fn hold(&mut self, start: usize, replies: u32, needs: Needs) {
        let is_met = |log: &Log| log.is_met(needs);
        if !self.held.is_empty() || !self.local.server.journal().is_none_or(is_met) {
            let end = self.output.len();
            self.held.push(start, end, replies, needs);
        } else {
            self.session.finalize_output();
        }
    }

    /// Sends until everything that may be sent is, or the socket takes no more.
    fn send(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        self.give_up_if_stuck();
        let ripe = self.ripe_as_of_now();
        while self.output_at < ripe {
            match self
                .stream
                .poll_write(cx, &self.output[self.output_at..ripe])
            {
                Poll::Pending => {
                    self.unsent_is_own = true;
                    self.report();
                    return Ok(());
                }
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => {
                    self.output_at += sent;
                    let mut counts = self.local.counts.borrow_mut();
                    counts.writes += 1;
                    counts.output_bytes += sent as u64;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        // A part without bytes may wait as well: what comes behind it must.
        if self.output.capacity() > 0 && ripe == self.output.len() && self.held.is_empty() {
            self.give_back_output();
        }
        if self.output_at >= SENT_KEPT_BYTES_MAX && self.output_at * 2 >= self.output.len() {
            // Where something always waits the buffer is never done with as a whole.
            self.output.drain(..self.output_at);
            self.held.shift(self.output_at);
            self.session.shift_output(self.output_at);
            self.output_at = 0;
        }
        Ok(())
    }

    /// The buffer goes back to the worker, unless it has grown too large to keep.
    fn give_back_output(&mut self) {
        self.output_at = 0;
        self.session.shift_output(self.output.len());
        let output = std::mem::take(&mut self.output);
        let counted = self.unsent_is_own || output.capacity() > OUTPUT_KEPT_BYTES_MAX;
        self.unsent_is_own = false;
        self.local.outputs.give_back(output);
        if counted {
            self.report();
        }
    }

    fn input_bytes_max(&self) -> usize {
        if !self.session.is_authenticated() {
            return UNAUTHENTICATED_INPUT_BYTES_MAX;
        }
        let settings = Arc::clone(self.local.worker.borrow_mut().settings());
        usize::try_from(settings.client_query_buffer_limit).unwrap_or(usize::MAX)
    }

    fn output_limit(&self) -> Limit {
        if !self.session.is_authenticated() {
            let hard_bytes = UNAUTHENTICATED_OUTPUT_BYTES_MAX;
            return Limit {
                hard_bytes,
                pause_bytes: hard_bytes + 1,
            };
        }
        Limit::from(
            self.local
                .worker
                .borrow_mut()
                .settings()
                .client_output_buffer_limit
                .of(self.session.ends_when_slow()),
        )
    }

    /// Says that nothing more comes, then takes what has arrived unread off the socket: closing
    /// over it would reset the connection, and the peer might lose replies that are on their way.
    fn hang_up(&mut self, cx: &mut Context<'_>) {
        // First, so that whoever sees the end of this connection does not find it listed.
        self.close_session();
        self.stream.finish_sending(cx);
        let local = Rc::clone(&self.local);
        let mut buffer = local.input.borrow_mut();
        for _ in 0..DISCARDED_READS_MAX {
            if !matches!(self.stream.poll_read(cx, &mut buffer), Poll::Ready(Ok(1..))) {
                break;
            }
        }
    }

    fn close_session(&mut self) {
        let local = &self.local;
        self.session
            .close(&local.server, local.index, self.output_at);
    }

    fn note_end(&mut self, end: End) {
        match end {
            End::Finished | End::Killed | End::Broken => {}
            End::OutputLimit | End::TimedOut(Expired::SlowReader) => {
                self.local.counts.borrow_mut().output_limit_disconnections += 1;
                self.note_cut_off("client-output-buffer-limit");
            }
            End::InputLimit => {
                self.local.counts.borrow_mut().query_limit_disconnections += 1;
                self.note_cut_off("client-query-buffer-limit");
            }
            End::TimedOut(_) => {}
        }
        tracing::debug!(
            client_id = self.session.client().id(),
            ?end,
            "connection closed"
        );
    }

    fn note_cut_off(&self, limit: &str) {
        self.local.server.note_cut_off(self.session.client(), limit);
    }
}

/// How much unsent output a connection may have.
struct Limit {
    /// More than this ends the connection.
    hard_bytes: usize,
    /// At this much, input pauses.
    pause_bytes: usize,
}

impl Limit {
    fn exceeded(&self, unsent: usize) -> bool {
        unsent > self.hard_bytes
    }
}

impl From<OutputLimit> for Limit {
    fn from(limit: OutputLimit) -> Self {
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let hard_bytes = if limit.hard_bytes == 0 {
            usize::MAX
        } else {
            bytes(limit.hard_bytes)
        };
        let soft_bytes = if limit.soft_bytes == 0 {
            PAUSE_OUTPUT_BYTES
        } else {
            bytes(limit.soft_bytes)
        };
        Self {
            hard_bytes,
            pause_bytes: soft_bytes.min(hard_bytes),
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.introduced {
            // Once: a task is woken in the same way all its life.
            self.introduced = true;
            self.watch.set_waker(cx.waker());
            *self.waker.0.lock() = Some(cx.waker().clone());
        }
        self.watch.waits.set(false);
        let polled = self.drive(cx);
        if let Poll::Ready(end) = polled {
            self.note_end(end);
        }
        self.local.settle_counts();
        // Last, so that whoever sees the end of this connection finds it counted and logged.
        polled.map(|_| self.hang_up(cx))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close_session();
        self.local.settle_counts();
    }
}
