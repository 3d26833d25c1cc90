//! How long clients wait while a snapshot is taken, and how much memory it takes.
//!
//! A probe sends a PING every half a millisecond while other connections write at a fixed rate to
//! keys drawn evenly, so that nearly every page of a forked server is copied. The same without a
//! snapshot says what of it is the machine's.
//!
//! Memory is how much the greatest resident size exceeds that before the first snapshot, plus what
//! a child says it copied: a page copied after a fork adds nothing to its parent's resident size.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use linchpin_protocol::Reply;
use rustix::process::nice;

use super::Bench;
use crate::clock::now;
use crate::compare::VALUE_BYTES;
use crate::compare::load::{connect, interleave};
use crate::fleet::{Fleet, Limit, Pace, fill};
use crate::process::{Server, info_field};
use crate::report::{Cell, count, markdown, median};
use crate::stalls::{Probed, probe};
use crate::workload::{Lifetime, Workload};

const WRITES_PER_S: f64 = 20_000.0;
/// How long the probe looks without a snapshot, and how long before one begins.
const CALM: Duration = Duration::from_secs(3);
const BEFORE: Duration = Duration::from_millis(200);
/// Whether a snapshot is done is asked so often.
const POLL: Duration = Duration::from_millis(50);
const SNAPSHOT_MAX: Duration = Duration::from_secs(120);
/// Writing goes on in pieces of this, between which it may end.
const WRITING: Duration = Duration::from_millis(100);

/// What one round saw of one server.
#[derive(Clone, Copy, Debug)]
struct Round {
    calm: Stall,
    snapshot: Stall,
    took: Duration,
    /// Memory beyond that before the first snapshot, as a share of it.
    extra: f64,
}

/// The longest waits, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Stall {
    /// 0 where the server has nothing to say.
    inside_us: u64,
    outside_us: f64,
}

/// Takes snapshots of both servers.
pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let launches = bench.both("everysec");
    let servers = bench.start_all(&launches)?;
    let keys = bench.sizes.keys;
    (bench.say)(&format!("snapshots: setting {keys} keys"));
    for server in &servers {
        fill(server.address(), 0..keys, VALUE_BYTES, Lifetime::Endless)?;
    }
    let cell = Cell {
        command: "SET".to_owned(),
        pipeline: 1,
        connections: 10,
        keys,
    };
    let (workload, mut fleets) = connect(&cell, bench.options.seed, &servers)?;
    let before: Vec<u64> = servers
        .iter()
        .map(Server::resident_bytes)
        .collect::<Result<_, _>>()?;
    let (count, say) = (bench.long_rounds(), bench.say);
    let rounds = interleave(count, &launches, &mut bench.rng, |at| {
        say(&format!("snapshots: {}", launches[at].name));
        round(&servers[at], &mut fleets[at], &workload, before[at])
    })?;
    let named = launches.iter().zip(&rounds);
    let rows = named.flat_map(|(launch, rounds)| rows(&launch.name, rounds));
    Ok(text(keys, &rows.collect::<Vec<_>>()))
}

fn round(
    server: &Server,
    fleet: &mut Fleet,
    workload: &Workload,
    before: u64,
) -> anyhow::Result<Round> {
    let (calm, ()) = beside_writes(server, fleet, workload, || {
        thread::sleep(CALM);
        Ok(())
    })?;
    server.reset_peak()?;
    let (snapshot, took) = beside_writes(server, fleet, workload, || take(server))?;
    let copied = server.info_number("persistence", "rdb_last_cow_size")?;
    let most = server.resident_bytes_peak()? + copied;
    Ok(Round {
        calm,
        snapshot,
        took,
        extra: most.saturating_sub(before) as f64 / before as f64,
    })
}

/// Probes the server until `work` is done, while keys are written.
fn beside_writes<T: Send>(
    server: &Server,
    fleet: &mut Fleet,
    workload: &Workload,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<(Stall, T)> {
    server.ask(&["CONFIG", "RESETSTAT"])?;
    let is_over = AtomicBool::new(false);
    let (probed, done) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            // Of this thread alone; where it is refused, the probe sees more of the machine.
            let _ = nice(19);
            let pace = Pace::Open {
                requests_per_s: WRITES_PER_S,
            };
            while !is_over.load(Ordering::Relaxed) {
                fleet.run(workload, pace, Limit::Time(WRITING))?;
            }
            anyhow::Ok(())
        });
        let working = scope.spawn(work);
        let probed = probe(server, |_| working.is_finished() || writing.is_finished());
        let done = working.join();
        is_over.store(true, Ordering::Relaxed);
        let written = writing.join();
        written.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok((probed?, done))
    })?;
    Ok((stall(server, &probed)?, done))
}

/// What the probe saw, and the server's own word: Linchpin's longest step, Redis' fork.
fn stall(server: &Server, probed: &Probed) -> anyhow::Result<Stall> {
    let info = server.info("stats")?;
    let own = ["longest_step_us", "latest_fork_usec"];
    let inside = own.iter().find_map(|field| info_field(&info, field));
    Ok(Stall {
        inside_us: inside.and_then(|us| us.parse().ok()).unwrap_or_default(),
        outside_us: probed.longest_us,
    })
}

/// Takes one snapshot; answers how long it took.
fn take(server: &Server) -> anyhow::Result<Duration> {
    thread::sleep(BEFORE);
    let saves = || server.info_number("persistence", "rdb_saves");
    let (saved, begun) = (saves()?, now());
    match server.ask(&["BGSAVE"])? {
        Reply::Simple(_) => {}
        other => bail!("BGSAVE answered {other:?}"),
    }
    // Linchpin counts snapshots when they are done, Redis when they begin.
    while saves()? == saved || server.info_number("persistence", "rdb_bgsave_in_progress")? > 0 {
        if begun.elapsed() > SNAPSHOT_MAX {
            bail!("no snapshot in {SNAPSHOT_MAX:?}");
        }
        thread::sleep(POLL);
    }
    let took = begun.elapsed();
    match info_field(&server.info("persistence")?, "rdb_last_bgsave_status") {
        Some("ok") => Ok(took),
        status => bail!("the snapshot's status is {status:?}"),
    }
}

/// Two rows of one server: medians, and the most memory of any round.
fn rows(name: &str, rounds: &[Round]) -> [Vec<String>; 2] {
    let ms = |of: &dyn Fn(&Round) -> f64| match median(rounds.iter().map(of)) {
        0.0 => "-".to_owned(),
        us => format!("{:.2}", us / 1e3),
    };
    let row = |what: &str, stall: fn(&Round) -> Stall| {
        vec![
            name.to_owned(),
            what.to_owned(),
            ms(&|round| stall(round).inside_us as f64),
            ms(&|round| stall(round).outside_us),
        ]
    };
    let mut calm = row("only writes", |round| round.calm);
    calm.extend(["-".to_owned(), "-".to_owned()]);
    let mut snapshot = row("a snapshot", |round| round.snapshot);
    let seconds = median(rounds.iter().map(|round| round.took.as_secs_f64()));
    let extra = rounds.iter().map(|round| round.extra).fold(0.0, f64::max);
    snapshot.extend([format!("{seconds:.1}"), format!("{:.1} %", 100.0 * extra)]);
    [calm, snapshot]
}

fn text(keys: u64, rows: &[Vec<String>]) -> String {
    let header = [
        "server",
        "while",
        "inside ms",
        "PING outside ms",
        "took s",
        "extra memory",
    ];
    format!(
        "Longest waits while a snapshot of {} keys is taken and {} are written a \
         second; *inside* is the longest step of Linchpin and the fork of Redis:\n\n{}",
        count(keys),
        count(WRITES_PER_S as u64),
        markdown(&header, 2, rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_medians_and_memory_is_the_most() {
        let round = |ms: u64, extra| Round {
            calm: Stall {
                inside_us: 0,
                outside_us: 250.0,
            },
            snapshot: Stall {
                inside_us: 1_000 * ms,
                outside_us: 2_000.0 * ms as f64,
            },
            took: Duration::from_secs(ms),
            extra,
        };
        let rounds = [round(1, 0.05), round(9, 0.125), round(2, 0.01)];
        let golden = "\
| server   | while       | inside ms | PING outside ms | took s | extra memory |
| -------- | ----------- | --------: | --------------: | -----: | -----------: |
| linchpin | only writes |         - |            0.25 |      - |            - |
| linchpin | a snapshot  |      2.00 |            4.00 |    2.0 |       12.5 % |
";
        let text = text(5_000_000, &rows("linchpin", &rounds));
        assert!(text.ends_with(golden), "{text}");
        assert!(text.contains("of 5M keys"), "{text}");
    }
}
