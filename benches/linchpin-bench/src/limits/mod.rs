//! Limits and caches beside what is made of redis-server for want of them.
//!
//! A limit stands beside the same algorithm as a script, a `CACHE.GET` that finds a value beside
//! Linchpin's own `GET`, and many clients miss one key at once. Servers are pinned, loaded in turn
//! and in random order as in [`crate::compare`]; none keeps anything on disk.
//!
//! # LIMITATIONS
//!
//! - redis-server's script has microseconds and floating point, so it is less exact than what it
//!   stands beside.
//! - Replies of loads are only looked at for errors, but for those of `GET` and the first of each
//!   limit: that limits are exact and tokens single is shown by the tests.

mod client;
mod stampede;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use linchpin_protocol::Reply;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::compare::Split;
use crate::compare::load::{interleave, load, warm_up};
use crate::compare::servers::{self, REFERENCE};
use crate::cores;
use crate::fleet::{Fleet, Shape, fill};
use crate::keys::{Kind, Pattern, name, write_value};
use crate::process::{Launch, Server};
use crate::report::{Cell, CellRounds, ServerRounds, load_table};
use crate::workload::{Command, Lifetime, Workload, WorkloadOptions};
use client::Client;

const CONNECTIONS: usize = 50;
const PIPELINES: [u64; 2] = [1, 16];
/// Limits that are asked and values that are read, drawn evenly.
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 16;
/// Values that are cached at once while a server is filled.
const BATCH: u64 = 1_000;
/// How long they are fresh and how long a filler would have, in milliseconds: none goes stale.
const FRESH_MS: &str = "3600000";
const FILL_MS: &str = "5000";

/// A limit that admits every call: the bucket is large, and refills in a minute.
const BURST: &str = "1000000";
const COUNT: &str = "1000000";
const PERIOD_S: &str = "60";

/// The same limit as a script: burst, count, period and quantity as arguments, replies as
/// `CL.THROTTLE` has them. What is kept is when the bucket is full again, in microseconds.
const SCRIPT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local size = ARGV[1] + 1
local interval = ARGV[3] * 1000000 / ARGV[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wanted = full + interval * ARGV[4]
local over = wanted - now - interval * size
if over > 0 then
  local left = math.floor(size - (full - now) / interval)
  return {1, size, left, math.ceil(over / 1000000), math.ceil((full - now) / 1000000)}
end
local left = math.floor(size - (wanted - now) / interval)
local text = string.format('%.0f', wanted)
redis.call('SET', KEYS[1], text, 'PX', math.ceil((wanted - now) / 1000))
return {0, size, left, -1, math.ceil((wanted - now) / 1000000)}
";

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct LimitOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Rounds of each row.
    pub rounds: usize,
    /// How long a server is loaded in a round.
    pub time: Duration,
    /// What drawn keys and the order of servers follow from.
    pub seed: u64,
}

/// One row: what is sent to which server.
struct Row {
    name: &'static str,
    is_reference: bool,
    words: Vec<String>,
}

fn row(name: &'static str, words: &[&str]) -> Row {
    Row {
        name,
        is_reference: name == REFERENCE,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// Compares; answers tables in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a server that fails, an error for a reply, a stampede in which
/// more than one is to fill.
pub fn limits(options: &LimitOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
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
    let tables = || tables(options, &servers, say);
    text += &cores::pinned(&split.generator, tables)??;
    Ok(text)
}

fn tables(
    options: &LimitOptions,
    servers: &[Server; 2],
    say: &dyn Fn(&str),
) -> anyhow::Result<String> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let script = load_script(&servers[1])?;
    let limits = limit_rows(&script);
    agree(servers, &script)?;
    let gets = get_rows();
    let (mut limited, mut read) = (Vec::new(), Vec::new());
    for pipeline in PIPELINES {
        say(&format!("limits, pipeline {pipeline}"));
        limited.push(measure(options, servers, &limits, pipeline, &mut rng)?);
    }
    fill_caches(&servers[0])?;
    for pipeline in PIPELINES {
        say(&format!("values that are there, pipeline {pipeline}"));
        read.push(measure(options, servers, &gets, pipeline, &mut rng)?);
    }
    say("a stampede");
    let stampede = stampede::measure(&servers[0], options.rounds)?;
    Ok(format!(
        "\nOne limit of {KEYS} for each request, ratios are to {REFERENCE}'s script:\n\n{}\n\
         A value that is there, ratios are to our GET:\n\n{}\n{stampede}",
        load_table(&limited, REFERENCE),
        load_table(&read, gets[0].name),
    ))
}

fn limit_rows(script: &str) -> [Row; 2] {
    let figures = [BURST, COUNT, PERIOD_S];
    let own = [&["CL.THROTTLE", "{counter}"][..], &figures].concat();
    let made = [&["EVALSHA", script, "1", "{counter}"][..], &figures, &["1"]].concat();
    [row("linchpin CL.THROTTLE", &own), row(REFERENCE, &made)]
}

fn get_rows() -> [Row; 5] {
    let fill = ["FILL", FILL_MS];
    let filling = |key| [&["CACHE.GET", key][..], &fill].concat();
    [
        row("linchpin GET", &["GET", "{key}"]),
        row("CACHE.GET of a string", &["CACHE.GET", "{key}"]),
        row("CACHE.GET FILL of a string", &filling("{key}")),
        row("CACHE.GET", &["CACHE.GET", "{counter}"]),
        row("CACHE.GET FILL", &filling("{counter}")),
    ]
}

/// Gives redis-server the script; answers its name.
fn load_script(server: &Server) -> anyhow::Result<String> {
    match server.ask(&["SCRIPT", "LOAD", SCRIPT])? {
        Reply::Bulk(name) => String::from_utf8(name).context("the name of a script"),
        other => bail!("SCRIPT LOAD answered {other:?}"),
    }
}

/// Both say the same of a limit until it is used up, and then that it is.
fn agree([linchpin, reference]: &[Server; 2], script: &str) -> anyhow::Result<()> {
    // One unit a day: nothing comes back meanwhile.
    let figures = ["agreed", "2", "1", "86400"];
    for call in 1..=4 {
        let own = linchpin.ask(&[&["CL.THROTTLE"][..], &figures].concat())?;
        let made = reference.ask(&[&["EVALSHA", script, "1"][..], &figures, &["1"]].concat())?;
        ensure!(
            own == made,
            "call {call}: {own:?}, and of the script {made:?}"
        );
        let is_limited = matches!(&own, Reply::Array(parts) if parts[0] == Reply::Integer(1));
        ensure!(is_limited == (call > 3), "call {call}: {own:?}");
    }
    Ok(())
}

/// Empties the server, and gives it strings, and as many values that `CACHE.SET` wrote.
fn fill_caches(server: &Server) -> anyhow::Result<()> {
    server.ask(&["FLUSHALL"])?;
    fill(server.address(), 0..KEYS, VALUE_BYTES, Lifetime::Endless)?;
    let mut client = Client::connect(server.address())?;
    for first in (0..KEYS).step_by(BATCH as usize) {
        let keys = (first..first + BATCH).map(|number| (number, name(Kind::Counter, number)));
        for (_, key) in keys.clone() {
            client.send(&[b"CACHE.GET", &key, b"FILL", FILL_MS.as_bytes()])?;
        }
        let tokens: Vec<i64> = (0..BATCH)
            .map(|_| client::token(&client.receive()?))
            .collect::<Result<_, _>>()?;
        for ((number, key), token) in keys.zip(tokens) {
            let (mut value, token) = (Vec::new(), token.to_string());
            write_value(&mut value, number, VALUE_BYTES);
            let (token, fresh) = (token.as_bytes(), FRESH_MS.as_bytes());
            client.send(&[b"CACHE.SET", &key, &value, b"TOKEN", token, b"PX", fresh])?;
        }
        for _ in 0..BATCH {
            let reply = client.receive()?;
            ensure!(reply == Reply::Integer(1), "CACHE.SET answered {reply:?}");
        }
    }
    Ok(())
}

/// Loads servers with the commands of `rows`.
fn measure(
    options: &LimitOptions,
    servers: &[Server; 2],
    rows: &[Row],
    pipeline: u64,
    rng: &mut StdRng,
) -> anyhow::Result<CellRounds> {
    let shape = Shape {
        connections: CONNECTIONS,
        pipeline,
        threads: 1,
    };
    let server = |row: &Row| &servers[usize::from(row.is_reference)];
    let workloads = rows.iter().map(|row| workload(row, options.seed));
    let workloads: Vec<Workload> = workloads.collect::<Result<_, _>>()?;
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
        load(server(&rows[at]), fleet, sent, options.time, Duration::ZERO)
    })?;
    let named = rows.iter().zip(rounds);
    let servers = named.map(|(row, rounds)| ServerRounds {
        server: row.name.to_owned(),
        rounds,
    });
    Ok(CellRounds {
        cell: Cell {
            command: "one".to_owned(),
            pipeline,
            connections: CONNECTIONS,
            keys: KEYS,
        },
        servers: servers.collect(),
    })
}

fn workload(row: &Row, seed: u64) -> anyhow::Result<Workload> {
    let words: &[String] = match &row.words[..] {
        // Alone it is a command whose replies are known.
        [get, _] if get == "GET" => &row.words[..1],
        words => words,
    };
    Ok(Workload::new(&WorkloadOptions {
        command: Command::from_words(words)?,
        keys: KEYS,
        pattern: Pattern::Uniform,
        value_bytes: VALUE_BYTES,
        seed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_told_what_the_command_is() {
        let [own, made] = limit_rows("sha");
        assert_eq!(own.words[2..5], made.words[4..7]);
        assert!(made.is_reference && !own.is_reference);
    }

    #[test]
    fn only_replies_of_plain_gets_are_known() {
        let known = |row: &Row| {
            let sent = workload(row, 1).expect("placeholders are known");
            matches!(sent.expected, crate::check::Expected::Exact { .. })
        };
        let rows = get_rows();
        assert!(known(&rows[0]) && !rows[1..].iter().any(known));
    }
}
