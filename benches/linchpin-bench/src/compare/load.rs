//! Cells measured in rounds.

use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::{CompareOptions, VALUE_BYTES};
use crate::fleet::{Fleet, Limit, Pace, Shape, fill};
use crate::keys::Pattern;
use crate::process::{Launch, Server};
use crate::report::{Cell, CellRounds, Figures, ServerRounds};
use crate::workload::Lifetime;
use crate::workload::{Command, Workload, WorkloadOptions};

/// The part of a round's time that a server is loaded before it is measured.
const WARM_UP: f64 = 0.2;

/// Measures all `cells`, whose numbers of keys do not go down. Answers also the servers' versions.
pub(super) fn measure(
    options: &CompareOptions,
    cells: &[Cell],
    launches: &[Launch],
    say: &dyn Fn(&str),
) -> anyhow::Result<(Vec<CellRounds>, Vec<String>)> {
    let servers: Vec<Server> = launches
        .iter()
        .map(Server::start)
        .collect::<Result<_, _>>()?;
    let versions = launches.iter().zip(&servers);
    let versions = versions
        .map(|(launch, server)| format!("{} ({})", launch.name, server.version()))
        .collect();
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut filled = 0;
    let mut results = Vec::new();
    for cell in cells {
        if cell.keys > filled {
            say(&format!("setting {} keys", cell.keys));
            for server in &servers {
                fill(
                    server.address(),
                    filled..cell.keys,
                    VALUE_BYTES,
                    Lifetime::Endless,
                )?;
            }
            filled = cell.keys;
        }
        let Cell {
            command, pipeline, ..
        } = cell;
        say(&format!(
            "{command}, pipeline {pipeline}, {} keys",
            cell.keys
        ));
        results.push(rounds(options, cell, launches, &servers, &mut rng)?);
    }
    Ok((results, versions))
}

fn rounds(
    options: &CompareOptions,
    cell: &Cell,
    launches: &[Launch],
    servers: &[Server],
    rng: &mut StdRng,
) -> anyhow::Result<CellRounds> {
    let (workload, mut fleets) = connect(cell, options.seed, servers)?;
    let rounds = interleave(options.rounds, launches, rng, |at| {
        warm_up(&mut fleets[at], &workload, options.time)?;
        let fleet = &mut fleets[at];
        load(&servers[at], fleet, &workload, options.time, Duration::ZERO)
    })?;
    let named = launches.iter().zip(rounds);
    let servers = named.map(|(launch, rounds)| ServerRounds {
        server: launch.name.clone(),
        rounds,
    });
    Ok(CellRounds {
        cell: cell.clone(),
        servers: servers.collect(),
    })
}

/// What a cell sends, and a fleet for each server to send it.
pub(crate) fn connect(
    cell: &Cell,
    seed: u64,
    servers: &[Server],
) -> anyhow::Result<(Workload, Vec<Fleet>)> {
    let workload = Workload::new(&WorkloadOptions {
        command: Command::from_words(&[&cell.command])?,
        keys: cell.keys,
        pattern: Pattern::Uniform,
        value_bytes: VALUE_BYTES,
        seed,
    });
    let shape = Shape {
        connections: cell.connections,
        pipeline: cell.pipeline,
        threads: 1,
    };
    let fleets = servers
        .iter()
        .map(|server| Fleet::connect(server.address(), shape, &workload));
    let fleets = fleets.collect::<Result<_, _>>()?;
    Ok((workload, fleets))
}

/// Measures every server `rounds` times, in each round in a new random order. `measure` is told the
/// number of a server; its answers come back by server, in the order of the rounds.
pub(crate) fn interleave<R>(
    rounds: usize,
    launches: &[Launch],
    rng: &mut StdRng,
    mut measure: impl FnMut(usize) -> anyhow::Result<R>,
) -> anyhow::Result<Vec<Vec<R>>> {
    let mut results: Vec<Vec<R>> = launches.iter().map(|_| Vec::new()).collect();
    let mut order: Vec<usize> = (0..launches.len()).collect();
    for _ in 0..rounds {
        order.shuffle(rng);
        for at in &order {
            let result = measure(*at).with_context(|| launches[*at].name.clone())?;
            results[*at].push(result);
        }
    }
    Ok(results)
}

/// Loads a server before a round of `time` is measured.
pub(crate) fn warm_up(
    fleet: &mut Fleet,
    workload: &Workload,
    time: Duration,
) -> anyhow::Result<()> {
    fleet.run(workload, Pace::Closed, Limit::Time(time.mul_f64(WARM_UP)))?;
    Ok(())
}

/// One round. CPU time is read when the server has had `settle` to finish what it put off.
pub(crate) fn load(
    server: &Server,
    fleet: &mut Fleet,
    workload: &Workload,
    time: Duration,
    settle: Duration,
) -> anyhow::Result<Figures> {
    let before = server.cpu()?;
    let outcome = fleet.run(workload, Pace::Closed, Limit::Time(time))?;
    std::thread::sleep(settle);
    let cpu = server.cpu()?.saturating_sub(before);
    let elapsed_s = outcome.elapsed.as_secs_f64();
    Ok(Figures {
        operations: outcome.operations,
        operations_per_s: outcome.operations_per_s(),
        cpu_ns: cpu.as_nanos() as f64 / outcome.operations as f64,
        p50_us: outcome.latency_us(0.5),
        p99_us: outcome.latency_us(0.99),
        p999_us: outcome.latency_us(0.999),
        server_busy: cpu.as_secs_f64() / elapsed_s,
        generator_busy: outcome.cpu.as_secs_f64() / elapsed_s,
    })
}
