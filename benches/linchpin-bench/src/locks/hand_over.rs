//! A lock from hand to hand: clients that wait in line, and clients that try again and again.
//!
//! In line, whoever gives the lock back goes to the end of the line with the same write, so the
//! line stays as long as it was and goes round: a grant out of turn ends the comparison, and so
//! does a fence that did not rise. Trying, a client that is refused pauses and tries again: for a
//! random time that may be twice as long each time (a *spinlock*), or always for a tenth of a
//! second (*polling*); it keeps the lock for no time at all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use linchpin_protocol::Reply;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Bench;
use super::crowd::{Crowd, Dialect, Heard};
use super::pairs::load_script;
use crate::clock::now;
use crate::compare::load::interleave;
use crate::process::Server;
use crate::report::{markdown, median, ratio, thousands};

/// Hand-overs of a round in line, at least, and for each client of the line.
const HAND_OVERS: usize = 5_000;
const ROUNDS_OF_THE_LINE: usize = 2;
/// Rounds of what takes seconds each, at most.
const LONG_ROUNDS_MAX: usize = 3;
/// How long nothing may happen.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// What a server is given to read the requests of all that join the line, and to forget those that
/// left it.
const SETTLE: Duration = Duration::from_millis(500);
/// A spinlock's pauses are drawn below this at first, and below this in the end.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LAST: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(100);
/// Two clients are as many as polling can be told of: with more there is always one that just asks.
const POLLERS: usize = 2;
const POLLING: Duration = Duration::from_secs(2);
const IN_TIME_US: f64 = 1_000.0;

/// How clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Line,
    Spin,
    Poll,
}

/// One round of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// Share of the hand-overs that took less than a millisecond.
    in_time: f64,
    hand_overs_per_s: f64,
    /// Of one hand-over.
    requests: f64,
    cpu_us: f64,
}

/// Measures all ways; `crowds` are the sizes of the lines, the first also that of the spinlock.
pub(super) fn measure(bench: &mut Bench<'_>, crowds: [usize; 2]) -> anyhow::Result<String> {
    let script = load_script(&bench.servers[1])?;
    let script = script.as_str();
    let cases = [
        (Way::Line, crowds[0]),
        (Way::Line, crowds[1]),
        (Way::Spin, crowds[0]),
        (Way::Poll, POLLERS),
    ];
    let mut rows = Vec::new();
    let mut locks = 0;
    for (way, clients) in cases {
        let is_long = way == Way::Poll || clients > crowds[0];
        let most = if is_long { LONG_ROUNDS_MAX } else { usize::MAX };
        (bench.say)(&format!("{}, {clients} clients", title(way)));
        let (options, servers) = (bench.options, &bench.servers);
        let mut pauses = StdRng::seed_from_u64(options.seed);
        let rounds = options.rounds.min(most);
        let rounds = interleave(rounds, &bench.launches, &mut bench.rng, |at| {
            locks += 1;
            let (server, lock) = (&servers[at], format!("lock:{locks}"));
            let dialect = match (way, at) {
                (Way::Line, 0) => Dialect::LockWait,
                (Way::Line, _) => Dialect::Token,
                (_, 0) => Dialect::LockTry,
                (..) => Dialect::SetNx(script),
            };
            let mut crowd = Crowd::connect(server.address(), clients, dialect, &lock)?;
            let round = match way {
                Way::Line => {
                    let all = HAND_OVERS.max(ROUNDS_OF_THE_LINE * clients);
                    let part = if options.is_quick { 5 } else { 1 };
                    in_line(server, &mut crowd, dialect, &lock, all / part)
                }
                Way::Spin => trying(server, &mut crowd, options.time, |tries| {
                    spin_pause(&mut pauses, tries)
                }),
                Way::Poll => trying(server, &mut crowd, POLLING, |_| POLL),
            };
            drop(crowd);
            sleep(SETTLE);
            round
        })?;
        let base = rounds.last().cloned().unwrap_or_default();
        let named = bench.launches.iter().zip(&rounds);
        rows.extend(named.map(|(launch, rounds)| row(way, clients, &launch.name, rounds, &base)));
    }
    Ok(markdown(&HEADER, 3, &rows))
}

/// Lets the lock go round the line.
fn in_line(
    server: &Server,
    crowd: &mut Crowd,
    dialect: Dialect<'_>,
    lock: &str,
    hand_overs: usize,
) -> anyhow::Result<Round> {
    if dialect == Dialect::Token {
        let pushed = server.ask(&["LPUSH", lock, "token"])?;
        ensure!(pushed == Reply::Integer(1), "LPUSH answered {pushed:?}");
    }
    crowd.ask(0)?;
    let (mut last_fence, mut heard) = (None, Vec::new());
    let first = next_holder(crowd, &mut heard, &mut last_fence)?;
    ensure!(first == 0, "client {first} has what client 0 asked for");
    for at in 1..crowd.len() {
        crowd.ask(at)?;
    }
    sleep(SETTLE);
    let (cpu, begun, requests) = (server.cpu()?, now(), crowd.requests);
    let mut took_us = Vec::with_capacity(hand_overs);
    let mut holder = 0;
    for _ in 0..hand_overs {
        let sent = now();
        crowd.give_back_and_ask(holder)?;
        let next = next_holder(crowd, &mut heard, &mut last_fence)?;
        took_us.push(sent.elapsed().as_secs_f64() * 1e6);
        let due = (holder + 1) % crowd.len();
        ensure!(next == due, "it was the turn of {due}, not of {next}");
        holder = next;
    }
    let took = begun.elapsed();
    let cpu = server.cpu()?.saturating_sub(cpu);
    Ok(sum_up(took_us, took, crowd.requests - requests, cpu))
}

/// Waits until a client has the lock; answers which.
fn next_holder(
    crowd: &mut Crowd,
    heard: &mut Vec<(usize, Heard)>,
    last_fence: &mut Option<i64>,
) -> anyhow::Result<usize> {
    loop {
        heard.clear();
        crowd.listen(SILENCE_MAX, heard)?;
        ensure!(!heard.is_empty(), "nobody has the lock");
        let mut holders = heard.iter().filter_map(|(at, heard)| match heard {
            Heard::Granted(fence) => Some((*at, *fence)),
            Heard::Freed | Heard::Refused => None,
        });
        if let Some((at, fence)) = holders.next() {
            ensure!(holders.next().is_none(), "two clients have the lock");
            check_fence(last_fence, fence)?;
            return Ok(at);
        }
    }
}

fn check_fence(last: &mut Option<i64>, fence: Option<i64>) -> anyhow::Result<()> {
    if let (Some(last), Some(fence)) = (*last, fence)
        && fence <= last
    {
        bail!("fence {fence} came after {last}");
    }
    *last = fence;
    Ok(())
}

/// Lets clients try again and again, with pauses after so many tries in vain.
fn trying(
    server: &Server,
    crowd: &mut Crowd,
    time: Duration,
    mut pause: impl FnMut(u32) -> Duration,
) -> anyhow::Result<Round> {
    let (cpu, begun) = (server.cpu()?, now());
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut tries = vec![0_u32; crowd.len()];
    // Spread over the longest pause, so that they do not come all at once.
    for at in 0..crowd.len() {
        let after = PAUSE_LAST.mul_f64(at as f64 / crowd.len() as f64);
        due.push(Reverse((begun + after, at)));
    }
    let (mut took_us, mut freed_at, mut last_fence) = (Vec::new(), None::<Instant>, None);
    let mut heard = Vec::new();
    while begun.elapsed() < time {
        while let Some(Reverse((at, client))) = due.peek().copied()
            && at <= now()
        {
            due.pop();
            crowd.ask(client)?;
        }
        let next = due.peek().map_or(SILENCE_MAX, |Reverse((at, _))| {
            at.saturating_duration_since(now())
        });
        heard.clear();
        crowd.listen(next.min(time), &mut heard)?;
        for &(client, heard) in &heard {
            match heard {
                Heard::Granted(fence) => {
                    check_fence(&mut last_fence, fence)?;
                    let sent = now();
                    if let Some(freed) = freed_at.replace(sent) {
                        took_us.push((sent - freed).as_secs_f64() * 1e6);
                    }
                    crowd.give_back(client)?;
                    tries[client] = 0;
                }
                Heard::Refused => tries[client] += 1,
                Heard::Freed => continue,
            }
            due.push(Reverse((now() + pause(tries[client]), client)));
        }
    }
    let took = begun.elapsed();
    let cpu = server.cpu()?.saturating_sub(cpu);
    ensure!(!took_us.is_empty(), "nobody had the lock");
    Ok(sum_up(took_us, took, crowd.requests, cpu))
}

fn spin_pause(rng: &mut StdRng, tries: u32) -> Duration {
    let most = PAUSE_FIRST.saturating_mul(1 << tries.min(16));
    most.min(PAUSE_LAST).mul_f64(rng.random::<f64>())
}

fn sum_up(mut took_us: Vec<f64>, took: Duration, requests: u64, cpu: Duration) -> Round {
    took_us.sort_by(f64::total_cmp);
    let count = took_us.len() as f64;
    let at = |share: f64| took_us[((count * share) as usize).min(took_us.len() - 1)];
    let in_time = took_us.partition_point(|us| *us < IN_TIME_US) as f64;
    Round {
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
        in_time: in_time / count,
        hand_overs_per_s: count / took.as_secs_f64(),
        requests: requests as f64 / count,
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
    }
}

fn title(way: Way) -> &'static str {
    match way {
        Way::Line => "in line",
        Way::Spin => "spinlock",
        Way::Poll => "polling, 100 ms",
    }
}

const HEADER: [&str; 13] = [
    "way",
    "clients",
    "server",
    "p50 us",
    "p99 us",
    "p99/p50",
    "max us",
    "in 1 ms",
    "hand-overs/s",
    "requests each",
    "CPU us each",
    "p50 ratio",
    "CPU ratio",
];

fn row(way: Way, clients: usize, server: &str, rounds: &[Round], base: &[Round]) -> Vec<String> {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    vec![
        title(way).to_owned(),
        clients.to_string(),
        server.to_owned(),
        thousands(of(|r| r.p50_us)),
        thousands(of(|r| r.p99_us)),
        format!("{:.1}", of(|r| r.p99_us / r.p50_us)),
        thousands(of(|r| r.max_us)),
        format!("{:.2} %", 100.0 * of(|r| r.in_time)),
        thousands(of(|r| r.hand_overs_per_s)),
        format!("{:.1}", of(|r| r.requests)),
        thousands(of(|r| r.cpu_us)),
        ratio(rounds, base, |r| r.p50_us),
        ratio(rounds, base, |r| r.cpu_us),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_summed_up() {
        let mut took_us: Vec<f64> = (1..=98).map(f64::from).collect();
        took_us.extend([2_000.0, 500.0]);
        let round = sum_up(
            took_us,
            Duration::from_secs(2),
            200,
            Duration::from_millis(1),
        );
        let expected = Round {
            p50_us: 51.0,
            p99_us: 2_000.0,
            max_us: 2_000.0,
            in_time: 0.99,
            hand_overs_per_s: 50.0,
            requests: 2.0,
            cpu_us: 10.0,
        };
        assert_eq!(round, expected);
    }

    #[test]
    fn fences_rise() {
        let mut last = None;
        for fence in [3, 4, 9] {
            assert!(check_fence(&mut last, Some(fence)).is_ok());
        }
        assert!(check_fence(&mut last, Some(9)).is_err());
        assert!(check_fence(&mut None, None).is_ok());
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut rng = StdRng::seed_from_u64(1);
        for (tries, most) in [(0, 1), (3, 8), (40, 100)] {
            let longest = (0..1_000).map(|_| spin_pause(&mut rng, tries)).max();
            let (longest, most) = (longest.unwrap_or_default(), Duration::from_millis(most));
            assert!(longest <= most && longest > most / 2, "{longest:?}");
        }
    }
}
