//! A fleet: connections to one server, dealt to threads, that put it under load again and again.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::check::WrongReply;
use crate::lane::{Lane, LaneShape};
use crate::workload::{Lifetime, Workload};

/// Requests sent at once when keys are set.
const FILL_PIPELINE: u64 = 512;
/// Keys set by one ring of requests.
const FILL_RING: u64 = 1_000_000;

/// How many connections there are, and how they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of connections, at least 1.
    pub connections: usize,
    /// Requests that a connection sends at once, at least 1.
    pub pipeline: u64,
    /// Threads that drive them, at least 1.
    pub threads: usize,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: a connection sends its next batch when the last one is answered. Latency counts
    /// from the sending.
    Closed,
    /// Open loop: so many requests a second in all, above 0, whether answers come or not. Latency
    /// counts from when a request was due, so a server that falls behind cannot hide it.
    Open {
        /// Requests a second, over all connections.
        requests_per_s: f64,
    },
}

/// When a run ends. What is under way then is still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this time.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// What a run saw.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests answered.
    pub operations: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Latency of each request, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// CPU time that the generator's threads used, kernel included.
    pub cpu: Duration,
    /// The longest lateness of a batch behind its due time: what an open loop's own scheduling adds
    /// to latencies. Zero in a closed loop.
    pub late_max: Duration,
}

impl Outcome {
    /// Operations per second.
    #[must_use]
    pub fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that a share of the requests stayed below, in microseconds.
    #[must_use]
    pub fn latency_us(&self, share: f64) -> f64 {
        self.latency_ns.value_at_quantile(share) as f64 / 1_000.0
    }

    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cpu += other.cpu;
        self.late_max = self.late_max.max(other.late_max);
        self.latency_ns
            .add(&other.latency_ns)
            .expect("all histograms have the same bounds");
    }
}

/// Why there was no outcome.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused something.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// The server ended a connection.
    #[error("the server closed a connection")]
    Closed,
    /// The server answered something else than it should.
    #[error(transparent)]
    Wrong(#[from] WrongReply),
    /// Requests stayed without an answer.
    #[error("no reply for {0:?} while {1} requests waited")]
    Silent(Duration, u64),
}

/// Connections to one server.
#[derive(Debug)]
pub struct Fleet {
    lanes: Vec<Lane>,
}

impl Fleet {
    /// Connects. Connections begin at places spread evenly over the ring of requests.
    ///
    /// # Errors
    /// [`LoadError::Io`]: the server cannot be reached, or there are too few file descriptors.
    pub fn connect(
        address: SocketAddr,
        shape: Shape,
        workload: &Workload,
    ) -> Result<Self, LoadError> {
        let threads = shape.threads.clamp(1, shape.connections.max(1));
        let lanes = (0..threads).map(|thread| {
            let lane_shape = LaneShape {
                first: thread,
                step: threads,
                connections: shape.connections.max(1),
                pipeline: shape.pipeline.max(1),
            };
            Lane::connect(address, &lane_shape, workload)
        });
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
        })
    }

    /// Sends requests until `limit`, and waits for all replies. `workload` is the one that the
    /// fleet was connected for.
    ///
    /// # Errors
    /// [`LoadError`]: a wrong reply, none, or a lost connection. The fleet is of no use afterwards.
    pub fn run(
        &mut self,
        workload: &Workload,
        pace: Pace,
        limit: Limit,
    ) -> Result<Outcome, LoadError> {
        let lanes = self.lanes.len() as u64;
        let pace = match pace {
            Pace::Closed => Pace::Closed,
            Pace::Open { requests_per_s } => Pace::Open {
                requests_per_s: requests_per_s / lanes as f64,
            },
        };
        let share = |lane: usize| match limit {
            Limit::Time(time) => Limit::Time(time),
            Limit::Requests(all) => {
                Limit::Requests(all / lanes + u64::from((lane as u64) < all % lanes))
            }
        };
        let outcomes: Vec<Result<Outcome, LoadError>> = thread::scope(|scope| {
            let running: Vec<_> = self
                .lanes
                .iter_mut()
                .enumerate()
                .map(|(number, lane)| {
                    let limit = share(number);
                    scope.spawn(move || lane.run(workload, pace, limit))
                })
                .collect();
            let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
            joined
                .map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut outcomes = outcomes.into_iter();
        let mut sum = outcomes.next().expect("there is a lane")?;
        for outcome in outcomes {
            sum.add(&outcome?);
        }
        Ok(sum)
    }
}

/// Sets the keys `keys`, each once and in order, to live so long. Takes about
/// 100 MiB of memory while it runs.
///
/// # Errors
/// As [`Fleet::run`].
pub fn fill(
    address: SocketAddr,
    keys: Range<u64>,
    value_bytes: usize,
    lifetime: Lifetime,
) -> Result<(), LoadError> {
    // Several connections would each begin at another key.
    let shape = Shape {
        connections: 1,
        pipeline: FILL_PIPELINE,
        threads: 1,
    };
    let mut next = keys.start;
    while next < keys.end {
        let end = keys.end.min(next + FILL_RING);
        let workload = Workload::fill(next, end, value_bytes, lifetime);
        let mut fleet = Fleet::connect(address, shape, &workload)?;
        fleet.run(&workload, Pace::Closed, Limit::Requests(end - next))?;
        next = end;
    }
    Ok(())
}
