//! redis-cli in each of its modes, and redis-benchmark.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Failed;

use super::{Body, programs};
use crate::need::Program;
use crate::process::Server;

const CLI_MAX: Duration = Duration::from_secs(30);
const BENCHMARK_MAX: Duration = Duration::from_secs(60);
const BENCHMARK_REQUESTS: u32 = 20_000;
const PIPED_CALLS: u32 = 10_000;
const SCANNED_KEYS: usize = 1_000;
/// A second of the year 2100, in Unix time.
const EXPIRY: &str = "4102444800";
/// How often `--stat` prints its heading again; two lines of figures come well before.
const STAT_LINES_MAX: usize = 20;

const CLI: &[Program] = &[Program::RedisCli];

/// Every case: its name, the programs it needs, and what it does.
pub(super) const CASES: &[(&str, &[Program], Body)] = &[
    ("redis_cli", CLI, calls),
    ("redis_cli_transaction", CLI, transaction),
    ("redis_cli_resp3", CLI, resp3),
    ("redis_cli_auth", CLI, auth),
    ("redis_cli_scan", CLI, scan),
    ("redis_cli_bigkeys", CLI, bigkeys),
    ("redis_cli_stat", CLI, stat),
    ("redis_cli_pipe", CLI, pipe),
    ("redis_benchmark", &[Program::RedisBenchmark], benchmark),
];

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(Program::RedisCli.name());
    command
        .args(["-p", &server.port().to_string()])
        .args(arguments);
    command
}

fn cli(server: &Server, arguments: &[&str], input: &[u8]) -> Result<String, Failed> {
    programs::run(command(server, arguments), input, CLI_MAX)
}

fn equal(found: &str, wanted: &str) -> Result<(), Failed> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("found {found:?}, wanted {wanted:?}").into())
}

/// The call `arguments` must print just `wanted`.
fn replies(server: &Server, arguments: &[&str], wanted: &str) -> Result<(), Failed> {
    equal(&cli(server, arguments, b"")?, wanted)
}

/// What a program that must fail said; nothing when it succeeded.
fn failure(outcome: Result<String, Failed>) -> String {
    let failed = outcome.err();
    failed
        .and_then(|failed| failed.message().map(str::to_owned))
        .unwrap_or_default()
}

fn holds(output: &str, wanted: &str) -> Result<(), Failed> {
    if output.contains(wanted) {
        return Ok(());
    }
    Err(format!("no {wanted:?} in:\n{output}").into())
}

/// Sets `key:0` to `key:999` to values of one to a hundred bytes, and `large` to one of 10,000.
fn fill(server: &Server) -> Result<(), Failed> {
    let large = format!("SET large {}\n", "x".repeat(10_000));
    let sets = (0..SCANNED_KEYS).map(|n| format!("SET key:{n} {}\n", "x".repeat(1 + n % 100)));
    let input: String = sets.chain([large]).collect();
    cli(server, &[], input.as_bytes()).map(drop)
}

fn calls(server: &Server) -> Result<(), Failed> {
    replies(server, &["PING"], "PONG\n")?;
    replies(server, &["SET", "k", "a \"b\"", "EXAT", EXPIRY], "OK\n")?;
    replies(server, &["GET", "k"], "a \"b\"\n")?;
    replies(server, &["--no-raw", "GET", "k"], "\"a \\\"b\\\"\"\n")?;
    let expiry = format!("(integer) {EXPIRY}\n");
    replies(server, &["--no-raw", "EXPIRETIME", "k"], &expiry)?;
    replies(server, &["--no-raw", "GET", "absent"], "(nil)\n")?;
    let bytes: Vec<u8> = (0..=255).collect();
    equal(&cli(server, &["-x", "SET", "bytes"], &bytes)?, "OK\n")?;
    replies(server, &["STRLEN", "bytes"], "256\n")?;
    replies(server, &["-n", "5", "DBSIZE"], "0\n")?;
    replies(server, &["-r", "3", "INCR", "n"], "1\n2\n3\n")?;
    let text = failure(cli(server, &["-e", "INCR", "k"], b""));
    holds(&text, "ERR value is not an integer or out of range")
}

fn transaction(server: &Server) -> Result<(), Failed> {
    let input = b"MULTI\nINCR n\nGET n\nEXEC\nMULTI\nNOSUCH\nEXEC\n";
    let output = cli(server, &["--no-raw"], input)?;
    holds(&output, "OK\nQUEUED\nQUEUED\n1) (integer) 1\n2) \"1\"\n")?;
    holds(
        &output,
        "(error) EXECABORT Transaction discarded because of previous errors.",
    )
}

fn resp3(server: &Server) -> Result<(), Failed> {
    let output = cli(server, &["-3", "--no-raw", "HELLO"], b"")?;
    holds(&output, "# \"proto\" => (integer) 3")?;
    let output = cli(
        server,
        &["-3", "--no-raw", "CONFIG", "GET", "databases"],
        b"",
    )?;
    equal(&output, "1# \"databases\" => \"16\"\n")
}

fn auth(server: &Server) -> Result<(), Failed> {
    replies(server, &["CONFIG", "SET", "requirepass", "secret"], "OK\n")?;
    holds(
        &cli(server, &["PING"], b"")?,
        "NOAUTH Authentication required.",
    )?;
    let secret = ["-a", "secret", "--no-auth-warning", "PING"];
    replies(server, &secret, "PONG\n")?;
    let secret = [
        "--user",
        "default",
        "--pass",
        "secret",
        "--no-auth-warning",
        "PING",
    ];
    replies(server, &secret, "PONG\n")?;
    let wrong = ["-a", "wrong", "--no-auth-warning", "PING"];
    holds(
        &cli(server, &wrong, b"")?,
        "NOAUTH Authentication required.",
    )
}

fn scan(server: &Server) -> Result<(), Failed> {
    fill(server)?;
    let output = cli(server, &["--scan", "--pattern", "key:*"], b"")?;
    let mut found: Vec<&str> = output.lines().collect();
    found.sort_unstable();
    found.dedup();
    equal(&found.len().to_string(), &SCANNED_KEYS.to_string())
}

fn bigkeys(server: &Server) -> Result<(), Failed> {
    fill(server)?;
    let output = cli(server, &["--bigkeys"], b"")?;
    holds(&output, "Sampled 1001 keys in the keyspace!")?;
    holds(&output, "Biggest string found '\"large\"' has 10000 bytes")
}

/// `--stat` runs until it is killed; its output is buffered, so it is asked for often.
fn stat(server: &Server) -> Result<(), Failed> {
    fill(server)?;
    let mut running = programs::Running::start(command(server, &["--stat", "-i", "0.001"]))?;
    let lines = BufReader::new(running.output()?)
        .lines()
        .map_while(Result::ok);
    let figures: Vec<String> = lines
        .take(STAT_LINES_MAX)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .take(2)
        .collect();
    let [first, _] = figures.as_slice() else {
        return Err(format!("no figures in {figures:?}").into());
    };
    // Keys, memory, clients, blocked clients.
    let columns: Vec<&str> = first.split_whitespace().collect();
    equal(columns[0], "1001")?;
    if columns[1].starts_with('0') {
        return Err(format!("no memory in use: {first:?}").into());
    }
    equal(
        columns.get(2..4).unwrap_or_default().join(" ").as_str(),
        "1 0",
    )
}

fn pipe(server: &Server) -> Result<(), Failed> {
    let calls = (0..PIPED_CALLS).map(|n| {
        let key = format!("pipe:{n}");
        format!(
            "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$2\r\n\r\n\r\n",
            key.len()
        )
    });
    let mut input: String = calls.collect();
    input.push_str("*2\r\n$4\r\nINCR\r\n$6\r\npipe:0\r\n");
    let pipe = command(server, &["--pipe"]);
    // One reply is an error, and --pipe exits with status 1 for it.
    let text = failure(programs::run(pipe, input.as_bytes(), CLI_MAX));
    let summary = format!("errors: 1, replies: {}", PIPED_CALLS + 1);
    holds(&text, &summary)?;
    replies(server, &["DBSIZE"], &format!("{PIPED_CALLS}\n"))
}

fn benchmark(server: &Server) -> Result<(), Failed> {
    let mut command = Command::new(Program::RedisBenchmark.name());
    command.args([
        "-p",
        &server.port().to_string(),
        "-t",
        "ping,set,get,incr,mset",
        "--csv",
    ]);
    command.args([
        "-n",
        &BENCHMARK_REQUESTS.to_string(),
        "-c",
        "20",
        "-P",
        "16",
    ]);
    let output = programs::run(command, b"", BENCHMARK_MAX)?;
    for test in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "MSET (10 keys)",
    ] {
        holds(&output, &format!("\n\"{test}\",\""))?;
    }
    // Without -r there is one counter, and every request counted.
    let counter = cli(server, &["GET", "counter:__rand_int__"], b"")?;
    equal(&counter, &format!("{BENCHMARK_REQUESTS}\n"))
}
