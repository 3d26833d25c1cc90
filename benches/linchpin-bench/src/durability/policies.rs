//! What each policy costs: CPU under `everysec`, throughput under `always`.

use std::time::Duration;

use super::Bench;
use super::syncs::syncs;
use crate::compare::load::{connect, interleave, load, warm_up};
use crate::process::{Launch, Server};
use crate::report::{Cell, Figures, markdown, median, ratio, thousands};

const EVERYSEC: &str = "everysec";
const KEYS: u64 = 100_000;
/// What a server is given to sync what it wrote last, which it does once a second.
const SETTLE: Duration = Duration::from_millis(1_100);

/// CPU for each operation without a log, with one, and Redis' with one.
pub(super) fn everysec(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let without = Launch {
        name: "linchpin, appendonly no".to_owned(),
        ..bench.linchpin.clone()
    };
    let mut launches = bench.both(EVERYSEC);
    launches.insert(0, without);
    let servers = bench.start_all(&launches)?;
    let mut rows = Vec::new();
    for command in ["SET", "INCR"] {
        let cell = Cell {
            command: command.to_owned(),
            pipeline: 16,
            connections: 50,
            keys: KEYS,
        };
        (bench.say)(&format!("everysec: {command}, pipeline 16"));
        let rounds = rounds(bench, &cell, &launches, &servers, SETTLE)?;
        rows.extend(everysec_rows(command, &launches, &rounds));
    }
    let header = [
        "command",
        "server",
        "CPU ns/op",
        "to appendonly no",
        "to redis-server",
        "ops/s",
    ];
    Ok(format!(
        "CPU under `everysec`, 50 connections, pipeline 16:\n\n{}",
        markdown(&header, 2, &rows)
    ))
}

/// Rows of one command; the first server is the one without a log, the last is Redis.
fn everysec_rows(command: &str, launches: &[Launch], rounds: &[Vec<Round>]) -> Vec<Vec<String>> {
    let cpu = |round: &Round| round.figures.cpu_ns;
    let rows = launches.iter().zip(rounds).map(|(launch, own)| {
        let to = |base: Option<&Vec<Round>>| {
            base.map_or_else(|| "-".to_owned(), |base| ratio(own, base, cpu))
        };
        vec![
            command.to_owned(),
            launch.name.clone(),
            thousands(median(own.iter().map(cpu))),
            to(rounds.first()),
            to(rounds.last()),
            thousands(median(own.iter().map(|r| r.figures.operations_per_s))),
        ]
    });
    rows.collect()
}

/// Throughput when every reply waits for the disk, and how many writes share a sync.
pub(super) fn always(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let launches = bench.both("always");
    let servers = bench.start_all(&launches)?;
    let mut rows = Vec::new();
    for pipeline in [1, 16] {
        let cell = Cell {
            command: "SET".to_owned(),
            pipeline,
            connections: 64,
            keys: KEYS,
        };
        (bench.say)(&format!("always: SET, pipeline {pipeline}"));
        let rounds = rounds(bench, &cell, &launches, &servers, Duration::ZERO)?;
        rows.extend(always_rows(pipeline, &launches, &rounds));
    }
    let header = [
        "pipeline",
        "server",
        "ops/s",
        "ops ratio",
        "p50 us",
        "p99 us",
        "CPU ns/op",
        "writes per fdatasync",
    ];
    Ok(format!(
        "SET under `always`, 64 connections; ratios are to redis-server:\n\n{}",
        markdown(&header, 2, &rows)
    ))
}

/// Rows of one pipeline; the last server is Redis.
fn always_rows(pipeline: u64, launches: &[Launch], rounds: &[Vec<Round>]) -> Vec<Vec<String>> {
    let speed = |round: &Round| round.figures.operations_per_s;
    let rows = launches.iter().zip(rounds).map(|(launch, own)| {
        let middle = |figure: fn(&Round) -> f64| thousands(median(own.iter().map(figure)));
        let base = rounds.last();
        vec![
            pipeline.to_string(),
            launch.name.clone(),
            middle(speed),
            base.map_or_else(|| "-".to_owned(), |base| ratio(own, base, speed)),
            middle(|round| round.figures.p50_us),
            middle(|round| round.figures.p99_us),
            middle(|round| round.figures.cpu_ns),
            middle(|round| round.writes_per_sync),
        ]
    });
    rows.collect()
}

/// One round of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    figures: Figures,
    writes_per_sync: f64,
}

fn rounds(
    bench: &mut Bench<'_>,
    cell: &Cell,
    launches: &[Launch],
    servers: &[Server],
    settle: Duration,
) -> anyhow::Result<Vec<Vec<Round>>> {
    let (rounds, time) = (bench.options.rounds, bench.options.time);
    let (workload, mut fleets) = connect(cell, bench.options.seed, servers)?;
    interleave(rounds, launches, &mut bench.rng, |at| {
        let (server, fleet) = (&servers[at], &mut fleets[at]);
        warm_up(fleet, &workload, time)?;
        let before = syncs(server)?;
        let figures = load(server, fleet, &workload, time, settle)?;
        let syncs = syncs(server)?.saturating_sub(before);
        Ok(Round {
            figures,
            writes_per_sync: figures.operations as f64 / syncs.max(1) as f64,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launches(names: &[&str]) -> Vec<Launch> {
        let launch = |name: &&str| Launch {
            name: (*name).to_owned(),
            program: "server".into(),
            args: Vec::new(),
            cores: Vec::new(),
        };
        names.iter().map(launch).collect()
    }

    fn rounds(of: &[(f64, f64, f64)]) -> Vec<Round> {
        let round = |(operations_per_s, cpu_ns, writes_per_sync): &(f64, f64, f64)| Round {
            figures: Figures {
                operations_per_s: *operations_per_s,
                cpu_ns: *cpu_ns,
                ..Figures::default()
            },
            writes_per_sync: *writes_per_sync,
        };
        of.iter().map(round).collect()
    }

    #[test]
    fn cpu_is_held_against_both() {
        let launches = launches(&["without", "own", "redis"]);
        let results = [
            rounds(&[(3e6, 400.0, 1.0), (3e6, 500.0, 1.0)]),
            rounds(&[(2e6, 500.0, 1.0), (2e6, 500.0, 1.0)]),
            rounds(&[(1e6, 1_000.0, 1.0), (1e6, 2_000.0, 1.0)]),
        ];
        let rows = everysec_rows("SET", &launches, &results);
        assert_eq!(rows[0][3], "1");
        assert_eq!(
            rows[1][2..5],
            ["500", "1.12 (1.00-1.25)", "0.38 (0.25-0.50)"]
        );
        assert_eq!(rows[2][4], "1");
    }

    #[test]
    fn throughput_is_held_against_the_last() {
        let launches = launches(&["own", "redis"]);
        let results = [
            rounds(&[(20_000.0, 1.0, 32.0)]),
            rounds(&[(10_000.0, 1.0, 48.0)]),
        ];
        let rows = always_rows(16, &launches, &results);
        assert_eq!(rows[0][2..4], ["20,000", "2.00 (2.00-2.00)"]);
        assert_eq!(rows[0][7], "32.0");
        assert_eq!(rows[1][3], "1");
        assert_eq!(rows[1][7], "48.0");
    }
}
