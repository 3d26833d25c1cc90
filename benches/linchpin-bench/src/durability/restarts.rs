//! How long a server that was killed takes until it answers again with all it had.

use std::time::Duration;

use anyhow::{bail, ensure};
use linchpin_protocol::Reply;

use super::Bench;
use crate::compare::VALUE_BYTES;
use crate::compare::load::interleave;
use crate::fleet::{Fleet, Limit, Pace, Shape, fill};
use crate::keys::Pattern;
use crate::process::{Launch, Server};
use crate::report::{count, markdown, median, ratio};
use crate::scratch::Scratch;
use crate::workload::{Command, Lifetime, Workload, WorkloadOptions};

/// Keys that a log of effects is about: few, so that what is measured is not memory.
const LOG_KEYS: u64 = 100_000;
const LARGE_BYTES: usize = 1_024;
/// Requests sent at once when a log is made.
const PIPELINE: u64 = 512;

/// What there is to load.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Keys in a snapshot, or effects in a log.
    number: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Snapshot,
    /// A log of SET with values of so many bytes.
    Log {
        value_bytes: usize,
    },
}

/// What came of one case with one server.
#[derive(Clone, Debug, PartialEq)]
struct Loaded {
    server: String,
    /// Bytes of the log.
    bytes: u64,
    /// The time that a start takes with nothing to load, in seconds.
    empty_s: f64,
    /// Until it answered, in seconds, by round.
    rounds_s: Vec<f64>,
}

/// Restarts both servers with a snapshot and with logs.
pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let log = |number, value_bytes| Case {
        number,
        kind: Kind::Log { value_bytes },
    };
    let cases = [
        Case {
            number: bench.sizes.keys,
            kind: Kind::Snapshot,
        },
        log(bench.sizes.small, VALUE_BYTES),
        log(bench.sizes.large, LARGE_BYTES),
    ];
    let mut rows = Vec::new();
    for case in cases {
        (bench.say)(&format!("restart with {}", title(&case)));
        rows.extend(case_rows(&case, &restart(bench, &case)?));
    }
    let header = [
        "what is loaded",
        "server",
        "until it answers s",
        "time ratio",
        "M/s",
        "MB/s",
    ];
    Ok(format!(
        "Restart after a kill; ratios are to redis-server, rates without the time that an empty \
         server takes to start:\n\n{}",
        markdown(&header, 2, &rows)
    ))
}

fn restart(bench: &mut Bench<'_>, case: &Case) -> anyhow::Result<Vec<Loaded>> {
    let launches = match case.kind {
        Kind::Snapshot => vec![bench.linchpin.clone(), bench.redis.clone()],
        Kind::Log { .. } => bench.both("everysec"),
    };
    let (mut results, mut left) = (Vec::new(), Vec::new());
    for launch in &launches {
        let server = bench.start(launch)?;
        let empty_s = server.start_time().as_secs_f64();
        let bytes = prepare(&server, case, bench.options.seed)?;
        results.push(Loaded {
            server: launch.name.clone(),
            bytes,
            empty_s,
            rounds_s: Vec::new(),
        });
        left.push(Some(server.crash()));
    }
    let keys = match case.kind {
        Kind::Snapshot => case.number,
        Kind::Log { .. } => LOG_KEYS,
    };
    let rounds = interleave(bench.long_rounds(), &launches, &mut bench.rng, |at| {
        let directory = left[at].take();
        let directory = directory.expect("every round puts it back");
        let (took, directory) = load(&launches[at], directory, keys)?;
        left[at] = Some(directory);
        Ok(took.as_secs_f64())
    })?;
    for (result, rounds_s) in results.iter_mut().zip(rounds) {
        result.rounds_s = rounds_s;
    }
    Ok(results)
}

/// Gives a server what it is to load later; answers the bytes of its log.
fn prepare(server: &Server, case: &Case, seed: u64) -> anyhow::Result<u64> {
    let Kind::Log { value_bytes } = case.kind else {
        let keys = 0..case.number;
        fill(server.address(), keys, VALUE_BYTES, Lifetime::Endless)?;
        return match server.ask(&["SAVE"])? {
            Reply::Simple(_) => Ok(0),
            other => bail!("SAVE answered {other:?}"),
        };
    };
    // Every key is there, so that how many there are can be checked.
    let keys = 0..LOG_KEYS;
    fill(server.address(), keys, value_bytes, Lifetime::Endless)?;
    let workload = Workload::new(&WorkloadOptions {
        command: Command::from_words(&["SET"])?,
        keys: LOG_KEYS,
        pattern: Pattern::Uniform,
        value_bytes,
        seed,
    });
    let shape = Shape {
        connections: 1,
        pipeline: PIPELINE,
        threads: 1,
    };
    let rest = Limit::Requests(case.number.saturating_sub(LOG_KEYS));
    Fleet::connect(server.address(), shape, &workload)?.run(&workload, Pace::Closed, rest)?;
    server.info_number("persistence", "aof_current_size")
}

/// Starts a server on what another left, and kills it once it has loaded `keys` keys.
fn load(launch: &Launch, directory: Scratch, keys: u64) -> anyhow::Result<(Duration, Scratch)> {
    let server = Server::start_in(launch, directory)?;
    let size = server.ask(&["DBSIZE"])?;
    ensure!(
        size == Reply::Integer(i64::try_from(keys)?),
        "of {keys} keys DBSIZE answers {size:?}"
    );
    Ok((server.start_time(), server.crash()))
}

fn title(case: &Case) -> String {
    let number = count(case.number);
    match case.kind {
        Kind::Snapshot => format!("snapshot, {number} keys"),
        Kind::Log { value_bytes } => format!("log, {number} SET of {value_bytes} bytes"),
    }
}

/// Rows of one case; the last server is Redis.
fn case_rows(case: &Case, results: &[Loaded]) -> Vec<Vec<String>> {
    let rows = results.iter().map(|own| {
        let seconds = median(own.rounds_s.iter().copied());
        let loading_s = (seconds - own.empty_s).max(f64::MIN_POSITIVE);
        let base = results.last().map(|base| &base.rounds_s);
        let megabytes = own.bytes as f64 / 1e6 / loading_s;
        vec![
            title(case),
            own.server.clone(),
            format!("{seconds:.2}"),
            base.map_or_else(|| "-".to_owned(), |base| ratio(&own.rounds_s, base, |s| *s)),
            format!("{:.2}", case.number as f64 / 1e6 / loading_s),
            match case.kind {
                Kind::Snapshot => "-".to_owned(),
                Kind::Log { .. } => format!("{megabytes:.0}"),
            },
        ]
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(server: &str, bytes: u64, rounds_s: &[f64]) -> Loaded {
        Loaded {
            server: server.to_owned(),
            bytes,
            empty_s: 0.5,
            rounds_s: rounds_s.to_vec(),
        }
    }

    #[test]
    fn rates_leave_out_what_an_empty_start_takes() {
        let results = [
            loaded("linchpin", 3_000_000_000, &[2.5, 2.4, 2.6]),
            loaded("redis-server", 4_000_000_000, &[5.0, 4.8, 5.2]),
        ];
        let log = Case {
            number: 8_000_000,
            kind: Kind::Log { value_bytes: 1_024 },
        };
        let rows = case_rows(&log, &results);
        assert_eq!(
            rows[0],
            [
                "log, 8M SET of 1024 bytes",
                "linchpin",
                "2.50",
                "0.50 (0.50-0.50)",
                "4.00",
                "1500"
            ]
        );
        assert_eq!(rows[1][3..5], ["1", "1.78"]);
        let snapshot = Case {
            number: 5_000_000,
            kind: Kind::Snapshot,
        };
        let rows = case_rows(&snapshot, &results);
        assert_eq!(rows[0][0], "snapshot, 5M keys");
        assert_eq!(rows[0][4..], ["2.50", "-"]);
    }
}
