//! The process is killed at its n-th system call of a kind, by strace, in the middle of writers.
//! After a restart everything acknowledged is there and nothing is there in halves.
//!
//! strace counts each thread by itself and kills before the call is made: killed at the sync that
//! follows a write means killed behind that write.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server may live is real time"
)]

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::writers::{self, Writer};
use super::{Data, LOAD_MAX, kill, loaded, stop};
use crate::chance::{self, Dice};
use crate::client::{Client, check, eventually};
use crate::need::{self, Program};

/// A kind of system call to be killed at.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    name: &'static str,
    call: &'static str,
    /// The highest n.
    nth_max: u64,
    /// Points tried in a usual run; with `LINCHPIN_CASES=20` writes and syncs are tried at every n.
    points: u64,
    /// The policies it is tried under.
    policies: &'static [&'static str],
    /// Bytes of large values.
    value_bytes: usize,
    /// Further settings.
    settings: &'static [&'static str],
}

const POLICIES: &[&str] = &["always", "everysec", "no"];

const MATRICES: &[Matrix] = &[
    Matrix {
        name: "killed_before_a_write",
        call: "pwrite64",
        nth_max: 500,
        points: 25,
        policies: POLICIES,
        value_bytes: 10,
        settings: &[],
    },
    Matrix {
        name: "killed_before_a_sync",
        call: "fdatasync",
        nth_max: 500,
        points: 25,
        policies: &["always"],
        value_bytes: 10,
        settings: &[],
    },
    Matrix {
        name: "killed_before_room_is_reserved",
        call: "fallocate",
        nth_max: 12,
        points: 3,
        policies: POLICIES,
        value_bytes: 100_000,
        settings: &[],
    },
    Matrix {
        name: "killed_before_a_rename",
        call: "renameat",
        nth_max: 3,
        points: 2,
        policies: POLICIES,
        value_bytes: 10,
        settings: SNAPSHOTS,
    },
    Matrix {
        name: "killed_before_a_directory_is_synced",
        call: "fsync",
        nth_max: 4,
        points: 2,
        policies: POLICIES,
        value_bytes: 10,
        settings: SNAPSHOTS,
    },
    Matrix {
        name: "killed_before_a_file_is_removed",
        call: "unlinkat",
        nth_max: 6,
        points: 2,
        policies: POLICIES,
        value_bytes: 10,
        settings: SNAPSHOTS,
    },
];

/// A snapshot every second.
const SNAPSHOTS: &[&str] = &["--save", "1 1"];
/// Connections that write.
const WRITERS: usize = 4;
/// Steps a connection may have under way.
const DEPTH_MAX: u64 = 16;
/// How long a server may live that waits for its n-th call.
const LIFE_MAX: Duration = Duration::from_secs(40);
/// Starts are killed at each of the first so many calls of each kind.
const START_CALLS_MAX: u64 = 6;

/// What a snapshot that is killed is made of, one call for every four keys or less; how often one
/// is killed in a usual run, and at which call first: one that nothing else reaches.
const SNAPSHOT_KEYS: u64 = 120;
const SNAPSHOT_VALUE_BYTES: usize = 300_000;
const SNAPSHOT_POINTS: u64 = 3;
const SNAPSHOT_NTH_MIN: u64 = 12;

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let trial = |matrix: &'static Matrix| {
        let name = format!("durability::crash::{}", matrix.name);
        need::trial(&name, &[Program::Strace], || try_points(matrix))
    };
    let mut trials: Vec<_> = MATRICES.iter().map(trial).collect();
    let name = "durability::crash::killed_while_it_starts";
    trials.push(need::trial(name, &[Program::Strace], starts));
    let name = "durability::crash::killed_while_it_goes_on_in_a_new_segment";
    trials.push(need::trial(name, &[Program::Strace], rotation));
    let name = "durability::crash::killed_before_a_write_of_a_snapshot";
    trials.push(need::trial(name, &[Program::Strace], snapshot));
    trials
}

/// The words that start strace on a server which makes one system call end as `injection` says.
/// The tracer is no parent of the server, so that signals and exit codes are the server's own.
pub(crate) fn strace(call: &str, injection: &str) -> Vec<String> {
    let words = ["strace", "-D", "-f", "-qqq", "-o", "/dev/null"];
    let mut words: Vec<_> = words.map(str::to_owned).into();
    words.push(format!("--trace={call}"));
    words.push(format!("--inject={call}:{injection}"));
    words
}

fn try_points(matrix: &Matrix) -> Result<(), Failed> {
    let seed = chance::seed();
    let mut dice = Dice::new(seed);
    let points = matrix.points * u64::from(chance::times());
    for point in 0..points {
        // One in each part of the range, so that few points reach far as well.
        let (from, to) = (
            matrix.nth_max * point / points,
            matrix.nth_max * (point + 1) / points,
        );
        let nth = 1 + from + dice.below((to - from).max(1));
        let policy = matrix.policies[dice.below(matrix.policies.len() as u64) as usize];
        let workers = if dice.below(2) == 0 { 1 } else { 4 };
        let depth = 1 + dice.below(DEPTH_MAX) as usize;
        try_point(matrix, nth, policy, workers, depth).map_err(|error| {
            format!(
                "at {} {nth}, {policy}, {workers} workers, {depth} steps under way \
                 (LINCHPIN_SEED={seed}): {}",
                matrix.call,
                error.message().unwrap_or("")
            )
        })?;
    }
    Ok(())
}

fn try_point(
    matrix: &Matrix,
    nth: u64,
    policy: &str,
    workers: usize,
    depth: usize,
) -> Result<(), Failed> {
    let data = Data::new(policy, workers)?;
    let mut writers = writers::crew(WRITERS, matrix.value_bytes, depth);
    // A log of several segments, with a torn end.
    for _ in 0..2 {
        let server = data.start()?;
        writers::settle(&mut writers, server.port())?;
        writers::write_during(&mut writers, server.port(), || {
            std::thread::sleep(Duration::from_millis(20));
            server.signal(rustix::process::Signal::KILL)?;
            Ok(())
        })?;
    }
    let server = data.start()?;
    writers::settle(&mut writers, server.port())?;
    kill(server)?;
    crash(&data, matrix, nth, &mut writers)?;
    // Twice: the first start cuts what the second must not miss.
    for _ in 0..2 {
        let server = data.start()?;
        writers::settle(&mut writers, server.port())?;
        kill(server)?;
    }
    let server = data.start()?;
    writers::settle(&mut writers, server.port())?;
    stop(server)?;
    Ok(())
}

/// Runs a server, with its writers, until its n-th call kills it.
fn crash(data: &Data, matrix: &Matrix, nth: u64, writers: &mut [Writer]) -> Result<(), Failed> {
    let words = strace(matrix.call, &format!("signal=KILL:when={nth}"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let launch = data.launch(matrix.settings)?.under(&words);
    let exit = match launch.start_or_end()? {
        Ok(mut server) => {
            let port = server.port();
            writers::write_during(writers, port, || Ok(server.exit_within(LIFE_MAX)?))?
        }
        Err(exit) => exit,
    };
    check(exit.code.is_none(), || format!("not killed: {exit:?}"))
}

/// Starts on what a crash left are killed one after another at each of their first calls.
fn starts() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let mut writers = writers::crew(WRITERS, 10, 4);
    let calls = [
        "pwrite64",
        "fdatasync",
        "fsync",
        "renameat",
        "fallocate",
        "ftruncate",
    ];
    let further = ["unlinkat", "flock", "getdents64", "pread64"];
    let mut killed = 0;
    for call in calls.iter().chain(&further) {
        for nth in 1..=START_CALLS_MAX {
            let words = strace(call, &format!("signal=KILL:when={nth}"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let is_killed = match data.launch(&[])?.under(&words).start_or_end()? {
                Err(exit) => exit.code.is_none(),
                Ok(mut server) => {
                    // What loads may not be there yet. A call that is never made kills nobody.
                    let is_killed = loaded_or_killed(&mut server)?;
                    server.signal(rustix::process::Signal::KILL)?;
                    server.exit_within(LOAD_MAX)?;
                    is_killed
                }
            };
            killed += usize::from(is_killed);
            let context = |error: Failed| {
                let error = error.message().unwrap_or("").to_owned();
                Failed::from(format!("after a start killed at {call} {nth}: {error}"))
            };
            let server = data.start().map_err(context)?;
            writers::settle(&mut writers, server.port()).map_err(context)?;
            writers::write_during(&mut writers, server.port(), || {
                std::thread::sleep(Duration::from_millis(10));
                server.signal(rustix::process::Signal::KILL)?;
                Ok(())
            })?;
        }
        check(killed > 0, || format!("no start was killed at {call}"))?;
        killed = 0;
    }
    Ok(())
}

/// Whether the server was killed before it had loaded.
fn loaded_or_killed(server: &mut crate::process::Server) -> Result<bool, Failed> {
    let asked = std::time::Instant::now();
    loop {
        let answer = Client::connect(server.port()).and_then(|mut client| client.call("DBSIZE"));
        match answer {
            Err(_) => return Ok(true),
            Ok(answer) if answer.starts_with(':') => return Ok(false),
            Ok(_) => check(asked.elapsed() < LOAD_MAX, || "it does not load".to_owned())?,
        }
    }
}

/// The log goes on in a second segment: the new file is there, the old one not yet cut.
fn rotation() -> Result<(), Failed> {
    for policy in POLICIES {
        let data = Data::with(&[
            "--appendfsync",
            policy,
            "--auto-aof-rewrite-percentage",
            "0",
        ])?;
        let mut writers = writers::crew(WRITERS, 1_000_000, 2);
        let first = data.path().join("log-0000000000000000.seg");
        let first = first.to_str().ok_or("the path is not UTF-8")?;
        let words = strace("ftruncate", "signal=KILL:when=1");
        let words = [&words[..], &["-P".to_owned(), first.to_owned()]].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut server = loaded(data.launch(&[])?.under(&words).start()?)?;
        let port = server.port();
        let ended = |exit| Ok::<_, Failed>(exit);
        let exit =
            writers::write_during(&mut writers, port, || ended(server.exit_within(LIFE_MAX)?))?;
        check(exit.code.is_none(), || format!("not killed: {exit:?}"))?;
        let segments = data.files("log-")?.len();
        check(segments == 2, || format!("{segments} segments"))?;
        for _ in 0..2 {
            let server = data.start()?;
            writers::settle(&mut writers, server.port())?;
            kill(server)?;
        }
    }
    Ok(())
}

/// A snapshot of several megabytes is begun and not ended. With nobody writing meanwhile, nothing
/// but it makes so many calls.
fn snapshot() -> Result<(), Failed> {
    let seed = chance::seed();
    let mut dice = Dice::new(seed);
    let data = Data::new("everysec", 2)?;
    let mut writers = writers::crew(WRITERS, 10, 4);
    for point in 0..SNAPSHOT_POINTS * u64::from(chance::times()) {
        let server = data.start()?;
        writers::settle(&mut writers, server.port())?;
        let mut client = Client::connect(server.port())?;
        for key in 0..SNAPSHOT_KEYS {
            let value = format!("\\*{SNAPSHOT_VALUE_BYTES}{{{}}}", point % 10);
            client.expect(&format!("SET large{key} \"{value}\""), "+OK")?;
        }
        writers::write_during(&mut writers, server.port(), || {
            std::thread::sleep(Duration::from_millis(20));
            server.signal(rustix::process::Signal::KILL)?;
            Ok(())
        })?;
        // A start behind a clean stop saves nothing again, which would take calls as well.
        let mut calm = loaded(data.start()?)?;
        calm.signal(rustix::process::Signal::TERM)?;
        calm.exit_within(LIFE_MAX)?;
        let nth = SNAPSHOT_NTH_MIN + dice.below(SNAPSHOT_KEYS / 10);
        let words = strace("pwrite64", &format!("signal=KILL:when={nth}"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // None may begin by itself, which would end before this one.
        let settings = ["--auto-aof-rewrite-percentage", "0", "--save", ""];
        let mut server = loaded(data.launch(&settings)?.under(&words).start()?)?;
        Client::connect(server.port())?.send("BGSAVE")?;
        let exit = server.exit_within(LIFE_MAX)?;
        let left = data.files("snapshot-")?;
        let is_begun = left
            .iter()
            .any(|path| path.to_string_lossy().ends_with(".tmp"));
        check(exit.code.is_none() && is_begun, || {
            format!("at {nth} (LINCHPIN_SEED={seed}): {exit:?}, {left:?}")
        })?;
    }
    let server = data.start()?;
    writers::settle(&mut writers, server.port())?;
    let mut client = Client::connect(server.port())?;
    for key in 0..SNAPSHOT_KEYS {
        let len = format!(":{SNAPSHOT_VALUE_BYTES}");
        client.expect(&format!("STRLEN large{key}"), &len)?;
    }
    // The log has grown, so that one may be under way by itself.
    eventually("a snapshot", LIFE_MAX, || {
        Ok((client.call("SAVE")? == "+OK").then_some(()))
    })?;
    kill(server)?;
    let left = data.files("snapshot-")?;
    check(left.len() == 1, || format!("{left:?}"))
}
