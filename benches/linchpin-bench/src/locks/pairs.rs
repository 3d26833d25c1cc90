//! A lock that nobody else wants: taken and given back by one connection at a time.

use anyhow::{Context as _, bail};
use linchpin_protocol::Reply;

use super::Bench;
use crate::check::Line;
use crate::compare::load::{interleave, load, warm_up};
use crate::fleet::{Fleet, Shape};
use crate::keys::Pattern;
use crate::process::Server;
use crate::report::{Cell, CellRounds, Figures, ServerRounds};
use crate::workload::{Command, Workload, WorkloadOptions};

/// Locks that are taken in turn: as many as a ring has pairs, so that no connection meets another.
const LOCKS: u64 = 200_000;
const CONNECTIONS: usize = 50;
/// The lease of each, in milliseconds: none ends by itself.
const LEASE_MS: &str = "60000";
/// Who takes them: as long as a random token of 128 bits.
const OWNER: &str = "0123456789abcdef0123456789abcdef";
/// Deletes a key whose value is the owner's, as the manual of Redis has it done.
pub(super) const COMPARE_AND_DELETE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
     return redis.call('DEL', KEYS[1]) else return 0 end";

const fn line(start: &'static str, is_open: bool, is_last: bool) -> Line {
    Line {
        start,
        is_open,
        is_last,
    }
}

/// Granted with some fence for the rest of the lease, and then freed.
const LINCHPIN_REPLIES: &[Line] = &[
    line("*4", false, false),
    line(":1", false, false),
    line(":", true, false),
    line(":", true, false),
    line("$32", false, false),
    line(OWNER, false, true),
    line(":1", false, true),
];
const REDIS_REPLIES: &[Line] = &[line("+OK", false, true), line(":1", false, true)];

/// Both servers, one request at a time and sixteen.
pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<Vec<CellRounds>> {
    let workloads = [linchpin()?, redis(&bench.servers[1])?];
    let mut cells = Vec::new();
    for pipeline in [1, 16] {
        (bench.say)(&format!("acquire and release, pipeline {pipeline}"));
        let shape = Shape {
            connections: CONNECTIONS,
            pipeline,
            threads: 1,
        };
        let fleets = bench.servers.iter().zip(&workloads);
        let fleets = fleets.map(|(server, sent)| Fleet::connect(server.address(), shape, sent));
        let mut fleets: Vec<Fleet> = fleets.collect::<Result<_, _>>()?;
        let (options, servers) = (bench.options, &bench.servers);
        let rounds = interleave(options.rounds, &bench.launches, &mut bench.rng, |at| {
            let (fleet, sent) = (&mut fleets[at], &workloads[at]);
            warm_up(fleet, sent, options.time)?;
            let none = std::time::Duration::ZERO;
            Ok(by_pair(load(
                &servers[at],
                fleet,
                sent,
                options.time,
                none,
            )?))
        })?;
        let named = bench.launches.iter().zip(rounds);
        let servers = named.map(|(launch, rounds)| ServerRounds {
            server: launch.name.clone(),
            rounds,
        });
        cells.push(CellRounds {
            cell: Cell {
                command: "acquire + release".to_owned(),
                pipeline,
                connections: CONNECTIONS,
                keys: LOCKS,
            },
            servers: servers.collect(),
        });
    }
    Ok(cells)
}

/// Figures of requests as those of pairs; latencies stay those of a request.
fn by_pair(figures: Figures) -> Figures {
    Figures {
        operations: figures.operations / 2,
        operations_per_s: figures.operations_per_s / 2.0,
        cpu_ns: figures.cpu_ns * 2.0,
        ..figures
    }
}

fn linchpin() -> anyhow::Result<Workload> {
    let acquire = ["LOCK.ACQUIRE", "{key}", OWNER, "PX", LEASE_MS];
    let release = ["LOCK.RELEASE", "{key}", OWNER];
    workload(&acquire, &release, LINCHPIN_REPLIES)
}

fn redis(server: &Server) -> anyhow::Result<Workload> {
    let script = load_script(server)?;
    let acquire = ["SET", "{key}", OWNER, "NX", "PX", LEASE_MS];
    let release = ["EVALSHA", &script, "1", "{key}", OWNER];
    workload(&acquire, &release, REDIS_REPLIES)
}

/// Gives redis-server the script; answers its name.
pub(super) fn load_script(server: &Server) -> anyhow::Result<String> {
    match server.ask(&["SCRIPT", "LOAD", COMPARE_AND_DELETE])? {
        Reply::Bulk(name) => String::from_utf8(name).context("the name of a script"),
        other => bail!("SCRIPT LOAD answered {other:?}"),
    }
}

fn workload(
    acquire: &[&str],
    release: &[&str],
    replies: &'static [Line],
) -> anyhow::Result<Workload> {
    Ok(Workload::new(&WorkloadOptions {
        command: Command::pair(acquire, release, replies)?,
        keys: LOCKS,
        // Connections begin far from each other, and none overtakes another.
        pattern: Pattern::Sequential(0),
        value_bytes: 1,
        seed: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_costs_two_requests() {
        let pair = by_pair(Figures {
            operations: 10,
            operations_per_s: 1_000.0,
            cpu_ns: 700.0,
            p50_us: 3.0,
            ..Figures::default()
        });
        assert_eq!((pair.operations, pair.operations_per_s), (5, 500.0));
        assert_eq!((pair.cpu_ns, pair.p50_us), (1_400.0, 3.0));
    }
}
