//! A lane: some of a fleet's connections and the event loop of the one thread that drives them.
//!
//! Requests go out as slices of the workload's ring, from the loop itself; epoll is asked about a
//! socket's room only after it had none. One read per event: with batches that fit the buffer, the
//! generator makes two system calls a batch and its share of one `epoll_wait`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::check::Check;
use crate::clock::{now, thread_cpu};
use crate::fleet::{Limit, LoadError, Outcome, Pace};
use crate::workload::Workload;

/// How long a server may leave every request unanswered.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const INPUT_BYTES: usize = 64 << 10;
const EVENTS_MAX: usize = 256;
/// Latencies above this count as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;
/// Precision of latencies, in decimal digits.
const LATENCY_DIGITS: u8 = 3;

/// Which of a fleet's connections a lane has: `first`, and every `step`th after it.
pub(crate) struct LaneShape {
    pub(crate) first: usize,
    pub(crate) step: usize,
    /// Of the whole fleet.
    pub(crate) connections: usize,
    pub(crate) pipeline: u64,
}

#[derive(Debug)]
pub(crate) struct Lane {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    pipeline: u64,
    input: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    check: Check,
    /// Where in the ring of requests it began, in bytes.
    first_byte: u64,
    /// Bytes sent.
    sent: u64,
    /// Requests that may be sent.
    released: u64,
    /// `released` when the run began; all of them had been answered then.
    base: u64,
    /// When the batch under way was released.
    batch_at: Instant,
    /// Whether epoll is to say when there is room for more.
    is_blocked: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn connect(
        address: SocketAddr,
        shape: &LaneShape,
        workload: &Workload,
    ) -> Result<Self, LoadError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll"))?;
        let mut connections = Vec::new();
        for number in (shape.first..shape.connections).step_by(shape.step) {
            let stream = TcpStream::connect(address).map_err(failed("connect"))?;
            stream.set_nodelay(true).map_err(failed("TCP_NODELAY"))?;
            stream.set_nonblocking(true).map_err(failed("O_NONBLOCK"))?;
            let token = epoll::EventData::new_u64(connections.len() as u64);
            epoll::add(&epoll, &stream, token, epoll::EventFlags::IN).map_err(failed("epoll"))?;
            let first = workload.first_of(number, shape.connections);
            connections.push(Connection {
                stream,
                check: Check::new(&workload.expected, first),
                first_byte: workload.bytes_until(first),
                sent: 0,
                released: 0,
                base: 0,
                batch_at: now(),
                is_blocked: false,
            });
        }
        Ok(Self {
            epoll,
            connections,
            pipeline: shape.pipeline,
            input: vec![0; INPUT_BYTES],
        })
    }

    pub(crate) fn run(
        &mut self,
        workload: &Workload,
        pace: Pace,
        limit: Limit,
    ) -> Result<Outcome, LoadError> {
        let cpu = thread_cpu();
        for connection in &mut self.connections {
            connection.base = connection.released;
        }
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        let run = Run {
            workload,
            lane: self,
            pace,
            limit,
            start: now(),
            released: 0,
            answered: 0,
            latency_ns: latency_ns.expect("the bounds are in order"),
            late_max: Duration::ZERO,
        };
        let mut outcome = run.finish()?;
        outcome.cpu = thread_cpu().saturating_sub(cpu);
        Ok(outcome)
    }
}

/// A run under way.
struct Run<'a> {
    workload: &'a Workload,
    lane: &'a mut Lane,
    pace: Pace,
    limit: Limit,
    start: Instant,
    /// Requests of this run that were let go.
    released: u64,
    answered: u64,
    latency_ns: Histogram<u64>,
    late_max: Duration,
}

impl Run<'_> {
    fn finish(mut self) -> Result<Outcome, LoadError> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_MAX);
        let mut last_event = self.start;
        if self.pace == Pace::Closed {
            (0..self.lane.connections.len()).try_for_each(|at| self.next_batch(at, self.start))?;
        }
        loop {
            let due = self.release_due()?;
            if due.is_none() && self.answered == self.released {
                break;
            }
            events.clear();
            let timeout = Timespec::try_from(self.pause(due)).expect("a pause is short");
            let buffer = spare_capacity(&mut events);
            match epoll::wait(&self.lane.epoll, buffer, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("epoll")(error)),
            }
            if !events.is_empty() {
                last_event = now();
            } else if self.answered < self.released && last_event.elapsed() > SILENCE_MAX {
                let waiting = self.released - self.answered;
                return Err(LoadError::Silent(SILENCE_MAX, waiting));
            }
            for event in &events {
                let at = event.data.u64() as usize;
                let flags = event.flags;
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(at)?;
                }
                if flags.intersects(!epoll::EventFlags::OUT) {
                    self.receive(at)?;
                }
            }
        }
        Ok(Outcome {
            operations: self.answered,
            elapsed: self.start.elapsed(),
            latency_ns: self.latency_ns,
            cpu: Duration::ZERO,
            late_max: self.late_max,
        })
    }

    /// How long to wait for events when the next batch is due at `due`. An open loop does not sleep
    /// through the last millisecond: it would wake up late.
    fn pause(&self, due: Option<Instant>) -> Duration {
        match due {
            None => SILENCE_MAX,
            Some(due) => {
                let left = due.saturating_duration_since(now());
                Duration::from_millis(left.as_millis().saturating_sub(1) as u64)
            }
        }
    }

    /// When batch `number` of this run is due in an open loop.
    fn due_at(&self, number: u64, requests_per_s: f64) -> Instant {
        let requests = (number * self.lane.pipeline) as f64;
        self.start + Duration::from_secs_f64(requests / requests_per_s)
    }

    /// Open loop: lets go all batches that are due, and answers when the next one is. None is when
    /// all have been let go, or when the loop is closed.
    fn release_due(&mut self) -> Result<Option<Instant>, LoadError> {
        let Pace::Open { requests_per_s } = self.pace else {
            return Ok(None);
        };
        loop {
            let number = self.released / self.lane.pipeline;
            let due = self.due_at(number, requests_per_s);
            let now = now();
            if due > now {
                let is_last = self.batch_len(due) == 0;
                return Ok((!is_last).then_some(due));
            }
            let len = self.batch_len(due);
            if len == 0 {
                return Ok(None);
            }
            self.late_max = self.late_max.max(now - due);
            let at = (number % self.lane.connections.len() as u64) as usize;
            self.release(at, len, now)?;
        }
    }

    /// Requests in a batch that is let go at `at`; 0 when the run lets go no more.
    fn batch_len(&self, at: Instant) -> u64 {
        match self.limit {
            Limit::Time(time) if at.saturating_duration_since(self.start) < time => {
                self.lane.pipeline
            }
            Limit::Time(_) => 0,
            Limit::Requests(all) => self.lane.pipeline.min(all - self.released),
        }
    }

    /// Closed loop: lets connection `at` go on. Requests that take turns end with the last of them.
    fn next_batch(&mut self, at: usize, now: Instant) -> Result<(), LoadError> {
        let released = self.lane.connections[at].released;
        match self.batch_len(now) {
            0 => match self.workload.left_of_turn(released) {
                0 => Ok(()),
                left => self.release(at, left, now),
            },
            len => self.release(at, len, now),
        }
    }

    fn release(&mut self, at: usize, len: u64, now: Instant) -> Result<(), LoadError> {
        self.released += len;
        let connection = &mut self.lane.connections[at];
        connection.released += len;
        connection.batch_at = now;
        if connection.is_blocked {
            return Ok(());
        }
        self.flush(at)
    }

    /// Sends what connection `at` may send.
    fn flush(&mut self, at: usize) -> Result<(), LoadError> {
        let connection = &mut self.lane.connections[at];
        let end = self.workload.bytes_until(connection.released);
        let mut is_blocked = false;
        while connection.sent < end && !is_blocked {
            let position = connection.first_byte + connection.sent;
            let bytes = self.workload.slice(position, end - connection.sent);
            match connection.stream.write(bytes) {
                Ok(len) => connection.sent += len as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LoadError::Io("send", error)),
            }
        }
        if is_blocked != connection.is_blocked {
            connection.is_blocked = is_blocked;
            let mut wanted = epoll::EventFlags::IN;
            wanted.set(epoll::EventFlags::OUT, is_blocked);
            let token = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.lane.epoll, &connection.stream, token, wanted)
                .map_err(failed("epoll"))?;
        }
        Ok(())
    }

    /// Reads once from connection `at`.
    fn receive(&mut self, at: usize) -> Result<(), LoadError> {
        let connection = &mut self.lane.connections[at];
        let len = match connection.stream.read(&mut self.lane.input) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(LoadError::Io("receive", error)),
        };
        let now = now();
        let before = connection.check.replies();
        let input = &self.lane.input[..len];
        connection.check.take(&self.workload.expected, input)?;
        let (after, released) = (connection.check.replies(), connection.released);
        if after > released {
            return Err(LoadError::Wrong(crate::WrongReply {
                expected: format!("{released} replies"),
                got: format!("{after}"),
            }));
        }
        self.answered += after - before;
        let base = connection.base;
        match self.pace {
            Pace::Closed => {
                let waited = now - connection.batch_at;
                record(&mut self.latency_ns, waited, after - before);
                if after == released && after > before {
                    self.next_batch(at, now)?;
                }
            }
            Pace::Open { requests_per_s } => {
                self.record_open(at as u64, before - base..after - base, now, requests_per_s);
            }
        }
        Ok(())
    }

    /// Records the replies to those requests of connection `at`, counted from the run's beginning.
    fn record_open(
        &mut self,
        at: u64,
        requests: std::ops::Range<u64>,
        now: Instant,
        requests_per_s: f64,
    ) {
        let (pipeline, lanes) = (self.lane.pipeline, self.lane.connections.len() as u64);
        let mut next = requests.start;
        while next < requests.end {
            let batch = next / pipeline;
            let end = requests.end.min((batch + 1) * pipeline);
            let due = self.due_at(batch * lanes + at, requests_per_s);
            let waited = now.saturating_duration_since(due);
            record(&mut self.latency_ns, waited, end - next);
            next = end;
        }
    }
}

fn record(latency_ns: &mut Histogram<u64>, waited: Duration, count: u64) {
    let waited_ns = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
    if count > 0 {
        latency_ns.saturating_record_n(waited_ns.clamp(1, LATENCY_NS_MAX), count);
    }
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> LoadError {
    move |error| LoadError::Io(what, error.into())
}
