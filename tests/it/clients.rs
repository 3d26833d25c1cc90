//! Real clients against a real server: what applications and operators use today must just work.
//!
//! Every client runs twice, against our server and, where it is installed, against redis-server:
//! a client test that redis-server fails is itself wrong. The JavaScript and Python programs stand
//! in `clients/`; their packages come from `clients/install`, which `.ci/run` calls. Where a
//! package is not installed the trial is `ignored` by name, unless `LINCHPIN_REQUIRE` asks for its
//! interpreter.

mod programs;
mod redis_cli;
mod redis_rs;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::need::{self, Program};
use crate::process::Server;

/// How long one client's program may take; it ends itself earlier, saying where it hangs.
const PROGRAM_MAX: Duration = Duration::from_secs(90);

/// What a trial does with a fresh server of its own.
type Body = fn(&Server) -> Result<(), Failed>;

/// The trials of all clients.
pub(crate) fn trials() -> Vec<Trial> {
    let rust: &[(&str, &[Program], Body)] = &[("redis_rs", &[], redis_rs::run)];
    let mut trials = Vec::new();
    for (name, programs, body) in rust.iter().chain(redis_cli::CASES) {
        trials.extend(on_both_servers(name, programs, true, *body));
    }
    let is_installed = is_current("npm.stamp", "package-lock.json");
    let script: &[(&str, Body)] = &[
        ("node_redis", |server| node(server, "node_redis.js", &[])),
        ("ioredis_4", |server| node(server, "ioredis.js", &["4"])),
        ("ioredis_5", |server| node(server, "ioredis.js", &["5"])),
        ("ioredis_6", |server| node(server, "ioredis.js", &["6"])),
    ];
    for (name, body) in script {
        trials.extend(on_both_servers(name, &[Program::Node], is_installed, *body));
    }
    // Redis has no IDs.
    let [ids, _] = on_both_servers("ids", &[Program::Node], is_installed, |server| {
        node(server, "ids.js", &[])
    });
    trials.push(ids);
    let is_installed = is_current("pip.stamp", "requirements.txt");
    trials.extend(on_both_servers(
        "redis_py",
        &[Program::Python3],
        is_installed,
        python,
    ));
    trials
}

/// The client `name` against our server and against redis-server.
fn on_both_servers(name: &str, programs: &[Program], is_installed: bool, body: Body) -> [Trial; 2] {
    let oracle: Vec<Program> = programs
        .iter()
        .copied()
        .chain([Program::RedisServer])
        .collect();
    let trial = |label: &str, programs: &[Program], start: fn() -> Result<Server, String>| {
        let name = format!("clients::{name}::{label}");
        if is_installed {
            need::trial(&name, programs, move || body(&start()?))
        } else {
            need::trial_without(
                &name,
                programs,
                "its packages; run tests/it/clients/install",
            )
        }
    };
    [
        trial("linchpin", programs, || Server::linchpin(&[])),
        trial("redis", &oracle, || Server::redis(&[])),
    ]
}

/// Where `clients/install` puts the packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

/// Whether the packages that left this stamp are those that the list asks for.
fn is_current(stamp: &str, list: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = std::fs::read(packages().join(stamp)).ok();
    let wanted = std::fs::read(root.join("tests/it/clients").join(list)).ok();
    installed.is_some() && installed == wanted
}

/// `command` with the path of `program` among our clients and the server's address.
fn on_server(mut command: Command, server: &Server, program: &str) -> Command {
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/clients")
            .join(program),
    );
    command.args(["127.0.0.1", &server.port().to_string()]);
    command
}

fn node(server: &Server, program: &str, arguments: &[&str]) -> Result<(), Failed> {
    let mut command = on_server(Command::new(Program::Node.name()), server, program);
    command
        .args(arguments)
        .env("NODE_PATH", packages().join("node_modules"));
    programs::run(command, b"", PROGRAM_MAX).map(drop)
}

fn python(server: &Server) -> Result<(), Failed> {
    let mut command = on_server(Command::new(Program::Python3.name()), server, "redis_py.py");
    command.env("PYTHONPATH", packages().join("python"));
    programs::run(command, b"", PROGRAM_MAX).map(drop)
}
