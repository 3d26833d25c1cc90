//! IDs beside counters: what one costs, and how fast a thousand at a time are.
//!
//! The row of redis-server is its `INCR`, which is what IDs are made of there, and Linchpin's own
//! `INCR` stands beside it. Servers are pinned, loaded in turn and in random order as in
//! [`crate::compare`]; none keeps anything on disk but what IDs reserve.
//!
//! # LIMITATIONS
//!
//! Replies are only looked at for errors: that no ID comes twice is shown by the tests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::compare::Split;
use crate::compare::load::{interleave, load, warm_up};
use crate::compare::servers::{self, REFERENCE};
use crate::cores;
use crate::fleet::{Fleet, Shape};
use crate::keys::Pattern;
use crate::process::{Launch, Server};
use crate::report::{Cell, CellRounds, Figures, ServerRounds, load_table};
use crate::workload::{Command, Workload, WorkloadOptions};

const CONNECTIONS: usize = 50;
/// Those that ask for a thousand at a time: replies are long.
const CONNECTIONS_FEW: usize = 4;
/// IDs of one call.
const COUNT: f64 = 1_000.0;

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct IdOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Rounds of each row.
    pub rounds: usize,
    /// How long a server is loaded in a round.
    pub time: Duration,
    /// What the order of servers follows from.
    pub seed: u64,
}

/// One row: what is sent to which server.
struct Row {
    name: &'static str,
    is_reference: bool,
    words: &'static [&'static str],
}

const ONE: &[Row] = &[
    row("linchpin INCR", &["INCR", "{counter}"]),
    row("linchpin ID.NEXT SNOWFLAKE", &["ID.NEXT", "SNOWFLAKE"]),
    row("linchpin ID.NEXT UUID7", &["ID.NEXT", "UUID7"]),
    row("linchpin ID.RANGE", &["ID.RANGE", "range"]),
    row("linchpin ID.SHORT", &["ID.SHORT", "codes"]),
    Row {
        name: REFERENCE,
        is_reference: true,
        words: &["INCR", "{counter}"],
    },
];
const MANY: &[Row] = &[
    row(
        "linchpin SNOWFLAKE",
        &["ID.NEXT", "SNOWFLAKE", "COUNT", "1000"],
    ),
    row("linchpin UUID7", &["ID.NEXT", "UUID7", "COUNT", "1000"]),
    row("linchpin ULID", &["ID.NEXT", "ULID", "COUNT", "1000"]),
    row("linchpin KSUID", &["ID.NEXT", "KSUID", "COUNT", "1000"]),
    row("linchpin ID.SHORT", &["ID.SHORT", "codes", "COUNT", "1000"]),
    row("linchpin ID.RANGE", &["ID.RANGE", "range", "COUNT", "1000"]),
];

const fn row(name: &'static str, words: &'static [&'static str]) -> Row {
    Row {
        name,
        is_reference: false,
        words,
    }
}

/// Compares; answers tables in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a server that fails, an error for a reply.
pub fn ids(options: &IdOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let split = Split::of(1)?;
    let (found, _) = servers::find(options.linchpin.as_deref(), None, &[1], &split.server)?;
    let find = |name: &str| {
        let launch = found.iter().find(|launch| launch.name == name);
        launch.cloned().context("a server is missing")
    };
    let launches = [find("linchpin")?, find(REFERENCE)?];
    let [linchpin, reference] = &launches;
    let servers = [Server::start(linchpin)?, Server::start(reference)?];
    let named = launches.iter().zip(&servers);
    let mut text: String = named
        .map(|(launch, server)| format!("- {} ({})\n", launch.name, server.version()))
        .collect();
    text += &format!(
        "- {split}; {} rounds of {:?}, seed {}\n",
        options.rounds, options.time, options.seed
    );
    let mut rng = StdRng::seed_from_u64(options.seed);
    let tables = || -> anyhow::Result<String> {
        let mut one = Vec::new();
        for pipeline in [1, 16] {
            say(&format!("one ID, pipeline {pipeline}"));
            one.push(measure(
                options,
                &servers,
                ONE,
                By::one(pipeline),
                &mut rng,
            )?);
        }
        say("a thousand IDs at a time");
        let many = measure(options, &servers, MANY, By::thousand(), &mut rng)?;
        Ok(format!(
            "\nOne ID for each request, ratios are to {REFERENCE}'s INCR:\n\n{}\nA thousand at a \
             time; an operation is one ID, ratios are to SNOWFLAKE, of which there are no more \
             than its layout has:\n\n{}",
            load_table(&one, REFERENCE),
            load_table(&[many], MANY[0].name),
        ))
    };
    text += &cores::pinned(&split.generator, tables)??;
    Ok(text)
}

/// How servers are loaded.
#[derive(Clone, Copy)]
struct By {
    connections: usize,
    pipeline: u64,
    /// IDs of one request.
    ids: f64,
}

impl By {
    const fn one(pipeline: u64) -> Self {
        Self {
            connections: CONNECTIONS,
            pipeline,
            ids: 1.0,
        }
    }

    const fn thousand() -> Self {
        Self {
            connections: CONNECTIONS_FEW,
            pipeline: 1,
            ids: COUNT,
        }
    }
}

/// Loads servers with the commands of `rows`.
fn measure(
    options: &IdOptions,
    servers: &[Server; 2],
    rows: &[Row],
    by: By,
    rng: &mut StdRng,
) -> anyhow::Result<CellRounds> {
    let By {
        connections,
        pipeline,
        ids,
    } = by;
    let shape = Shape {
        connections,
        pipeline,
        threads: 1,
    };
    let server = |row: &Row| &servers[usize::from(row.is_reference)];
    let workloads: Vec<Workload> = rows.iter().map(workload).collect::<Result<_, _>>()?;
    let fleets = rows.iter().zip(&workloads);
    let fleets = fleets.map(|(row, sent)| Fleet::connect(server(row).address(), shape, sent));
    let mut fleets: Vec<Fleet> = fleets.collect::<Result<_, _>>()?;
    let launch = |row: &Row| Launch {
        name: row.name.to_owned(),
        program: PathBuf::new(),
        args: Vec::new(),
        cores: Vec::new(),
    };
    let launches: Vec<Launch> = rows.iter().map(launch).collect();
    let rounds = interleave(options.rounds, &launches, rng, |at| {
        let (fleet, sent) = (&mut fleets[at], &workloads[at]);
        warm_up(fleet, sent, options.time)?;
        let figures = load(server(&rows[at]), fleet, sent, options.time, Duration::ZERO)?;
        Ok(by_id(figures, ids))
    })?;
    let named = rows.iter().zip(rounds);
    let servers = named.map(|(row, rounds)| ServerRounds {
        server: row.name.to_owned(),
        rounds,
    });
    Ok(CellRounds {
        cell: Cell {
            command: if ids > 1.0 { "COUNT 1000" } else { "one" }.to_owned(),
            pipeline,
            connections,
            keys: 1,
        },
        servers: servers.collect(),
    })
}

/// Figures of requests as those of IDs; latencies stay those of a request.
fn by_id(figures: Figures, ids: f64) -> Figures {
    Figures {
        operations: figures.operations * ids as u64,
        operations_per_s: figures.operations_per_s * ids,
        cpu_ns: figures.cpu_ns / ids,
        ..figures
    }
}

fn workload(row: &Row) -> anyhow::Result<Workload> {
    Ok(Workload::new(&WorkloadOptions {
        command: Command::from_words(row.words)?,
        keys: 100_000,
        pattern: Pattern::Sequential(0),
        value_bytes: 1,
        seed: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_at_a_time_cost_a_thousandth_each() {
        let figures = Figures {
            operations: 3,
            operations_per_s: 1_000.0,
            cpu_ns: 700.0,
            p50_us: 3.0,
            ..Figures::default()
        };
        let each = by_id(figures, COUNT);
        assert_eq!((each.operations, each.operations_per_s), (3_000, 1e6));
        assert_eq!((each.cpu_ns, each.p50_us), (0.7, 3.0));
    }
}
