//! How long a server keeps its clients waiting while it grows, and while many keys expire at once.
//!
//! One connection, the *probe*, sends a PING at a fixed rate and notes how long after it was due
//! each was answered; another fills the server meanwhile. What the probe sees of an idle server is
//! the machine's share, and is taken off. The server's own word is `longest_step_us` of its INFO:
//! the longest it was busy without looking at its connections.
//!
//! # LIMITATIONS
//!
//! Where one core is left for both, whoever fills takes it from the probe: it runs at the lowest
//! priority, and still its turns are part of what is seen.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use linchpin_protocol::Reply;
use rustix::process::nice;

use crate::clock::{now, wall_ms};
use crate::compare::linchpin;
use crate::cores;
use crate::fleet::fill;
use crate::process::Server;
use crate::workload::Lifetime;

const VALUE_BYTES: usize = 16;
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PONG: &[u8; 7] = b"+PONG\r\n";
const BETWEEN_PINGS: Duration = Duration::from_micros(500);
/// The probe looks up after so many PINGs whether the work is done.
const LOOK_UP_PINGS: u64 = 500;
/// Precision of latencies, in decimal digits.
const LATENCY_DIGITS: u8 = 3;
/// One in 10,000 waits longer.
const SHARE: f64 = 0.9999;
/// How long an idle server is looked at: 10,000 PINGs.
const IDLE: Duration = Duration::from_secs(5);
/// Keys that are to expire at once do so this long after the last was set, at least.
const EXPIRY_AFTER_MS: u64 = 1_500;
/// And are set within this.
const EXPIRY_FILL_MS: u64 = 6_000;
/// How long the removal of all is looked at.
const EXPIRY: Duration = Duration::from_secs(4);

/// What to look at.
#[derive(Clone, Debug)]
pub struct StallOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Keys that the server grows to.
    pub keys: u64,
    /// Keys that expire at once.
    pub expiring: u64,
    /// Rounds, each with a server of its own.
    pub rounds: usize,
}

/// What one round found, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    idle_us: f64,
    growth: Phase,
    expiry: Phase,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    probe_us: f64,
    step_us: u64,
}

/// Looks; answers a table in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin, a server that fails, or a wrong reply.
pub fn stalls(options: &StallOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let all = cores::available().context("reading the cores")?;
    let (server_core, left) = all.split_last().context("there is no core")?;
    let launch = linchpin(options.linchpin.as_deref(), &[*server_core])?;
    cores::pin(if left.is_empty() { &all } else { left })?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        say(&format!("round {number} of {}", options.rounds));
        let server = Server::start(&launch)?;
        rounds.push(round(options, &server)?);
    }
    cores::pin(&all)?;
    Ok(table(options, &rounds))
}

fn round(options: &StallOptions, server: &Server) -> anyhow::Result<Round> {
    let idle_us = probe(server, |probed| probed >= IDLE)?;
    let growth = phase(server, || {
        fill(
            server.address(),
            0..options.keys,
            VALUE_BYTES,
            Lifetime::Endless,
        )
    })?;
    server.ask(&["FLUSHALL", "SYNC"])?;
    let due_ms = wall_ms() + EXPIRY_FILL_MS;
    let until = Lifetime::UntilMs(due_ms);
    fill(server.address(), 0..options.expiring, VALUE_BYTES, until)?;
    if wall_ms() + EXPIRY_AFTER_MS > due_ms {
        bail!(
            "{} keys were not set within {EXPIRY_FILL_MS} ms",
            options.expiring
        );
    }
    let expiry = phase(server, || {
        thread::sleep(Duration::from_millis(due_ms.saturating_sub(wall_ms())) + EXPIRY);
        Ok(())
    })?;
    match server.ask(&["DBSIZE"])? {
        Reply::Integer(0) => {}
        other => bail!("after {EXPIRY:?} DBSIZE answers {other:?}"),
    }
    Ok(Round {
        idle_us,
        growth,
        expiry,
    })
}

/// Probes the server while `work` goes on beside it.
fn phase(
    server: &Server,
    work: impl FnOnce() -> Result<(), crate::fleet::LoadError> + Send,
) -> anyhow::Result<Phase> {
    server.ask(&["CONFIG", "RESETSTAT"])?;
    let probe_us = thread::scope(|scope| {
        let work = scope.spawn(|| {
            // Of this thread alone; where it is refused, the probe sees more of the machine.
            let _ = nice(19);
            work()
        });
        let probe_us = probe(server, |_| work.is_finished());
        work.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        probe_us
    })?;
    Ok(Phase {
        probe_us,
        step_us: longest_step_us(server)?,
    })
}

/// Sends PINGs until `is_enough`, which is asked now and then how long it has been; answers the
/// latency that all but one in 10,000 stayed below, in microseconds. It sleeps in between, so that
/// whoever fills the server has the core.
fn probe(server: &Server, is_enough: impl Fn(Duration) -> bool) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    let mut latency_ns = Histogram::<u64>::new(LATENCY_DIGITS)?;
    let (begun, mut due, mut reply) = (now(), Duration::ZERO, [0; PONG.len()]);
    while latency_ns.len() % LOOK_UP_PINGS != 0 || due.is_zero() || !is_enough(due) {
        due += BETWEEN_PINGS;
        thread::sleep(due.saturating_sub(begun.elapsed()));
        stream.write_all(PING)?;
        stream.read_exact(&mut reply)?;
        if reply != *PONG {
            bail!("PING was answered {:?}", String::from_utf8_lossy(&reply));
        }
        let late = begun.elapsed().saturating_sub(due);
        latency_ns.record(u64::try_from(late.as_nanos())?)?;
    }
    Ok(latency_ns.value_at_quantile(SHARE) as f64 / 1_000.0)
}

fn longest_step_us(server: &Server) -> anyhow::Result<u64> {
    server.info_number("stats", "longest_step_us")
}

fn table(options: &StallOptions, rounds: &[Round]) -> String {
    let mut text = format!(
        "Medians of {} rounds, in milliseconds. The probe is a PING every {BETWEEN_PINGS:?}; \
         an idle server's p99.99, {:.2}, is taken off.\n\n\
         | while | longest step, inside | PING p99.99, outside |\n| --- | ---: | ---: |\n",
        rounds.len(),
        median(rounds, |round| round.idle_us) / 1_000.0,
    );
    let mut row = |what: &str, phase: fn(&Round) -> Phase| {
        let step_ms = median(rounds, |round| phase(round).step_us as f64) / 1_000.0;
        let outside = |round: &Round| (phase(round).probe_us - round.idle_us).max(0.0);
        let outside_ms = median(rounds, outside) / 1_000.0;
        let _ = writeln!(text, "| {what} | {step_ms:.2} | {outside_ms:.2} |");
    };
    row(&format!("growing to {} keys", options.keys), |r| r.growth);
    row(&format!("{} keys expire at once", options.expiring), |r| {
        r.expiry
    });
    text
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
