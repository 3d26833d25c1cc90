//! Calls, failures and time of each command, and how often each error code was answered.
//!
//! The clock is not read for every command: a worker notes the calls it makes and, when a batch
//! begins or its turn is over, divides the time since the last reading evenly among them. What INFO
//! says of a command is therefore
//!
//! - exact in its calls, failures, refusals and errors;
//! - exact in its time where clients do not pipeline;
//! - a mean over the commands that ran along with it where they do, EXEC and what it ran alike.
//!
//! The time is that of a request from the start of its batch: parsing, execution and writing of
//! the reply.
//!
//! ```text
//! worker:  [row] calls, nanoseconds, rejected, failed --> histogram, made by its first call
//!          errors: code -> count
//! ```
//!
//! Cost: a comparison for a call of the same command as the one before; for each different command
//! between two readings one search in the table and three additions to the worker's own counters.
//! Memory: 40 bytes a row and worker, and 2,056 bytes more for each command that a worker ran.
//!
//! LIMITATIONS
//! - Redis measures a command alone, without parsing it. The numbers here are somewhat larger.
//! - A reset and calls that end in the same moment may leave one of them counted in part.

use crate::command::spec::Spec;
use crate::command::table;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Each power of two of a histogram has so many buckets: a percentile is at most 1/16 too high.
const BUCKETS_PER_DOUBLING: u64 = 16;
/// Latencies above a second count as a second, as in Redis; those below a microsecond as one.
const LATENCY_US_MAX: u64 = 1 << 20;
const BUCKETS: usize = bucket(LATENCY_US_MAX) + 1;

/// How often calls took how long.
type Histogram = [u64; BUCKETS];

/// The bucket of a latency: exact below 16 µs, then 16 for each doubling.
const fn bucket(latency_us: u64) -> usize {
    let doublings = latency_us
        .ilog2()
        .saturating_sub(BUCKETS_PER_DOUBLING.ilog2()) as u64;
    (doublings * BUCKETS_PER_DOUBLING + (latency_us >> doublings)) as usize
}

/// The highest latency that falls into a bucket, in microseconds.
const fn highest_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / BUCKETS_PER_DOUBLING).saturating_sub(1);
    ((bucket - doublings * BUCKETS_PER_DOUBLING + 1) << doublings) - 1
}

/// The calls of one worker between two readings of the clock.
#[derive(Debug, Default)]
pub struct Pending {
    since_us: u64,
    /// Commands with their calls; as many at most as the table has rows.
    calls: Vec<(&'static Spec, u64)>,
}

impl Pending {
    /// A command was called, and has run.
    #[inline]
    pub fn note(&mut self, spec: &'static Spec) {
        match self.calls.last_mut() {
            Some((last, calls)) if std::ptr::eq(*last, spec) => *calls += 1,
            _ => self.note_other(spec),
        }
    }

    fn note_other(&mut self, spec: &'static Spec) {
        let mut known = self.calls.iter_mut();
        match known.find(|(other, _)| std::ptr::eq(*other, spec)) {
            Some((_, calls)) => *calls += 1,
            None => self.calls.push((spec, 1)),
        }
    }

    /// Whether no call waits for its time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

/// What was counted of one command.
#[derive(Debug, Default)]
struct Row {
    calls: AtomicU64,
    time_ns: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    latencies: OnceLock<Box<[AtomicU64]>>,
}

impl Row {
    fn add(&self, calls: u64, time_ns: u64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.time_ns.fetch_add(time_ns, Ordering::Relaxed);
        let zeros = || std::iter::repeat_with(AtomicU64::default);
        let latencies = self
            .latencies
            .get_or_init(|| zeros().take(BUCKETS).collect());
        let latency_us = (time_ns / calls / 1_000).clamp(1, LATENCY_US_MAX);
        latencies[bucket(latency_us)].fetch_add(calls, Ordering::Relaxed);
    }

    fn reset(&self) {
        let counters = [&self.calls, &self.time_ns, &self.rejected, &self.failed];
        let latencies = self.latencies.get().into_iter().flat_map(|all| all.iter());
        for counter in counters.into_iter().chain(latencies) {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// One worker's counts.
#[derive(Debug)]
struct Worker {
    /// One for each row of the command table, in its order.
    rows: Box<[Row]>,
    /// By code. The codes are words of ours, so there are few.
    errors: Mutex<Vec<(&'static str, u64)>>,
}

impl Worker {
    fn new() -> Self {
        let rows = std::iter::repeat_with(Row::default);
        Self {
            rows: rows.take(table::all().len()).collect(),
            errors: Mutex::new(Vec::new()),
        }
    }
}

/// What all workers counted of one command.
#[derive(Clone, Debug)]
pub struct CommandCounts {
    /// The command.
    pub spec: &'static Spec,
    /// Calls that ran.
    pub calls: u64,
    /// The time they took.
    pub time_us: u64,
    /// Calls that were refused before they ran.
    pub rejected: u64,
    /// Calls that ran and answered an error.
    pub failed: u64,
    latencies: Box<Histogram>,
}

impl CommandCounts {
    fn new(spec: &'static Spec) -> Self {
        Self {
            spec,
            calls: 0,
            time_us: 0,
            rejected: 0,
            failed: 0,
            latencies: Box::new([0; BUCKETS]),
        }
    }

    /// The mean time of a call, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.time_us as f64 / self.calls.max(1) as f64
    }

    /// The latency that this share of the calls (in thousandths) did not pass, in microseconds, at
    /// most a sixteenth too high. `None` where nothing was called.
    #[must_use]
    pub fn percentile_us(&self, thousandths: u64) -> Option<u64> {
        let all: u64 = self.latencies.iter().sum();
        let wanted = (all * thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        let bucket = self.latencies.iter().position(|calls| {
            seen += calls;
            seen >= wanted
        });
        bucket.map(highest_us)
    }
}

/// The counts of all workers.
#[derive(Debug)]
pub struct CallStats {
    workers: Box<[Worker]>,
}

impl CallStats {
    /// Counters for this many workers, all zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let counters = std::iter::repeat_with(Worker::new);
        Self {
            workers: counters.take(workers.max(1)).collect(),
        }
    }

    fn worker(&self, worker: usize) -> &Worker {
        &self.workers[worker % self.workers.len()]
    }

    /// Divides the time since the last reading among the calls made since. `now_us` is monotonic.
    pub fn settle(&self, worker: usize, pending: &mut Pending, now_us: u64) {
        let since_us = std::mem::replace(&mut pending.since_us, now_us);
        let all: u64 = pending.calls.iter().map(|(_, calls)| calls).sum();
        let time_ns = now_us.saturating_sub(since_us).saturating_mul(1_000);
        for (spec, calls) in pending.calls.drain(..) {
            if let Some(row) = table::row_of(spec) {
                self.worker(worker).rows[row].add(calls, time_ns / all * calls);
            }
        }
    }

    /// A call was refused before it ran; `spec` is its command, if there is one.
    pub fn reject(&self, worker: usize, spec: Option<&Spec>, code: &'static str) {
        if let Some(row) = spec.and_then(table::row_of) {
            let rejected = &self.worker(worker).rows[row].rejected;
            rejected.fetch_add(1, Ordering::Relaxed);
        }
        self.count_error(worker, code);
    }

    /// A call that ran answered an error.
    pub fn fail(&self, worker: usize, spec: &Spec, code: &'static str) {
        if let Some(row) = table::row_of(spec) {
            let failed = &self.worker(worker).rows[row].failed;
            failed.fetch_add(1, Ordering::Relaxed);
        }
        self.count_error(worker, code);
    }

    /// An error was answered to something that is no call.
    pub fn count_error(&self, worker: usize, code: &'static str) {
        let mut errors = self.worker(worker).errors.lock();
        match errors.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => errors.push((code, 1)),
        }
    }

    /// The commands that were called or refused, in the order of the table.
    #[must_use]
    pub fn commands(&self) -> Vec<CommandCounts> {
        let mut counts: Vec<_> = table::all()
            .iter()
            .copied()
            .map(CommandCounts::new)
            .collect();
        for (at, counts) in counts.iter_mut().enumerate() {
            let mut time_ns = 0;
            for row in self.workers.iter().map(|worker| &worker.rows[at]) {
                counts.calls += row.calls.load(Ordering::Relaxed);
                time_ns += row.time_ns.load(Ordering::Relaxed);
                counts.rejected += row.rejected.load(Ordering::Relaxed);
                counts.failed += row.failed.load(Ordering::Relaxed);
                let latencies = row.latencies.get().into_iter().flat_map(|all| all.iter());
                for (sum, calls) in counts.latencies.iter_mut().zip(latencies) {
                    *sum += calls.load(Ordering::Relaxed);
                }
            }
            counts.time_us = time_ns / 1_000;
        }
        counts.retain(|counts| counts.calls + counts.rejected + counts.failed > 0);
        counts
    }

    /// The codes of the errors answered, with how often, in order of the codes.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        let mut sums = std::collections::BTreeMap::new();
        for worker in &self.workers {
            for (code, count) in worker.errors.lock().iter() {
                *sums.entry(*code).or_insert(0) += count;
            }
        }
        sums.into_iter().collect()
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        for worker in &self.workers {
            worker.rows.iter().for_each(Row::reset);
            worker.errors.lock().clear();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn spec(name: &str) -> &'static Spec {
        table::find_full(name.as_bytes()).expect("it is in the table")
    }

    #[test]
    fn every_row_finds_its_place() {
        for (at, spec) in table::all().iter().enumerate() {
            assert_eq!(table::row_of(spec), Some(at), "{}", spec.name);
        }
    }

    #[test]
    fn a_bucket_is_a_sixteenth_wide_at_most() {
        let mut next_us = 0;
        for bucket_at in 0..BUCKETS {
            let last_us = highest_us(bucket_at);
            let width_us = last_us + 1 - next_us;
            assert!(width_us == 1 || width_us * 16 <= next_us, "{next_us}");
            if next_us > 0 {
                assert_eq!((bucket(next_us), bucket(last_us)), (bucket_at, bucket_at));
            }
            next_us = last_us + 1;
        }
        assert!(next_us > LATENCY_US_MAX);
    }

    #[test]
    fn time_is_divided_among_the_calls_between_two_readings() {
        let stats = CallStats::new(2);
        let mut pending = Pending::default();
        stats.settle(1, &mut pending, 100);
        for name in ["get", "set", "get", "config|get"] {
            pending.note(spec(name));
        }
        stats.settle(1, &mut pending, 500);
        assert!(pending.is_empty());
        stats.fail(0, spec("set"), "WRONGTYPE");
        stats.reject(0, Some(spec("get")), "ERR");
        stats.reject(1, None, "ERR");

        let commands = stats.commands();
        let mut seen: Vec<_> = commands
            .iter()
            .map(|c| (c.spec.name, c.calls, c.time_us, c.rejected, c.failed))
            .collect();
        seen.sort_unstable();
        let expect = [
            ("config|get", 1, 100, 0, 0),
            ("get", 2, 200, 1, 0),
            ("set", 1, 100, 0, 1),
        ];
        assert_eq!(seen, expect);
        assert_eq!(stats.errors(), [("ERR", 2), ("WRONGTYPE", 1)]);

        stats.reset();
        assert!(stats.commands().is_empty() && stats.errors().is_empty());
    }

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let stats = CallStats::new(1);
        let mut pending = Pending::default();
        for (calls, latency_us) in [(90, 0), (9, 10), (1, 5_000_000)] {
            for _ in 0..calls {
                let now_us = pending.since_us + latency_us;
                pending.note(spec("get"));
                stats.settle(0, &mut pending, now_us);
            }
        }
        let get = stats.commands().pop().expect("it was called");
        let seen = [500, 900, 990].map(|share| get.percentile_us(share));
        assert_eq!(seen, [Some(1), Some(1), Some(10)]);
        let highest_us = get.percentile_us(999).expect("it was called");
        assert!((LATENCY_US_MAX..=LATENCY_US_MAX * 17 / 16).contains(&highest_us));
        stats.reset();
        stats.reject(0, Some(spec("get")), "ERR");
        assert_eq!(stats.commands()[0].percentile_us(500), None);
    }
}
