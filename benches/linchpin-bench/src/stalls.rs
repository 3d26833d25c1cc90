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
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::Reply;
use rustix::process::nice;

use crate::clock::wall_ms;
use crate::compare::linchpin;
use crate::cores;
use crate::fleet::{Fleet, Limit, Outcome, Pace, Shape, fill};
use crate::process::Server;
use crate::workload::{Command, Lifetime, Workload, WorkloadOptions};

const VALUE_BYTES: usize = 16;
const PINGS_PER_S: f64 = 2_000.0;
/// One in 10,000 waits longer.
const SHARE: f64 = 0.9999;
/// How long an idle server is looked at: 10,000 PINGs.
const IDLE: Duration = Duration::from_secs(5);
/// The probe looks up after so much time whether the work is done.
const PROBE: Duration = Duration::from_millis(250);
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
    let idle_us = probe(server, |probed| probed >= IDLE)?.latency_us(SHARE);
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
    let outcome = thread::scope(|scope| {
        let work = scope.spawn(|| {
            // Of this thread alone; where it is refused, the probe sees more of the machine.
            let _ = nice(19);
            work()
        });
        let outcome = probe(server, |_| work.is_finished());
        work.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome
    })?;
    Ok(Phase {
        probe_us: outcome.latency_us(SHARE),
        step_us: longest_step_us(server)?,
    })
}

/// Sends PINGs until `is_enough`, which is asked now and then how long it has been.
fn probe(server: &Server, is_enough: impl Fn(Duration) -> bool) -> anyhow::Result<Outcome> {
    let workload = Workload::new(&WorkloadOptions {
        command: Command::from_words(&["PING"])?,
        keys: 1,
        pattern: crate::Pattern::Uniform,
        value_bytes: VALUE_BYTES,
        seed: 1,
    });
    let shape = Shape {
        connections: 1,
        pipeline: 1,
        threads: 1,
    };
    let pace = Pace::Open {
        requests_per_s: PINGS_PER_S,
    };
    let mut fleet = Fleet::connect(server.address(), shape, &workload)?;
    let mut sum = fleet.run(&workload, pace, Limit::Time(PROBE))?;
    let mut probed = PROBE;
    while !is_enough(probed) {
        sum.add(&fleet.run(&workload, pace, Limit::Time(PROBE))?);
        probed += PROBE;
    }
    Ok(sum)
}

fn longest_step_us(server: &Server) -> anyhow::Result<u64> {
    let stats = server.info("stats")?;
    let field = stats
        .lines()
        .find_map(|line| line.strip_prefix("longest_step_us:"));
    let us = field.context("INFO without longest_step_us")?.trim();
    us.parse().context("longest_step_us is no number")
}

fn table(options: &StallOptions, rounds: &[Round]) -> String {
    let mut text = format!(
        "Medians of {} rounds, in milliseconds. The probe is a PING {PINGS_PER_S} times a second; \
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
