//! Tests that need another program: run where it is, `ignored` by name where it is not.

use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

/// A program some test needs beside our own server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The oracle of the golden transcripts.
    RedisServer,
    /// The command line client of Redis.
    RedisCli,
    /// The load generator of Redis.
    RedisBenchmark,
    /// The JavaScript runtime, for the clients of Node.
    Node,
    /// The Python interpreter, for the clients of Python.
    Python3,
    /// Makes a system call of the server fail, wait, or be its last.
    Strace,
    /// Makes a namespace with a small disk or a clock of its own in it.
    Unshare,
    /// Gives a server a wall clock of its own.
    Faketime,
}

impl Program {
    /// The name it is started by and is known as in `LINCHPIN_REQUIRE`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::RedisServer => "redis-server",
            Program::RedisCli => "redis-cli",
            Program::RedisBenchmark => "redis-benchmark",
            Program::Node => "node",
            Program::Python3 => "python3",
            Program::Strace => "strace",
            Program::Unshare => "unshare",
            Program::Faketime => "faketime",
        }
    }

    /// Where it is on `PATH`, if it is.
    pub(crate) fn path(self) -> Option<PathBuf> {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders)
            .map(|folder| folder.join(self.name()))
            .find(|p| p.is_file())
    }

    fn is_required(self) -> bool {
        std::env::var("LINCHPIN_REQUIRE")
            .is_ok_and(|list| list.split(',').any(|name| name.trim() == self.name()))
    }
}

/// The test `name`, which needs all of `programs`. Where one is missing, the trial is `ignored`,
/// or fails if `LINCHPIN_REQUIRE` lists the missing one.
pub(crate) fn trial<F>(name: &str, programs: &[Program], body: F) -> Trial
where
    F: FnOnce() -> Result<(), Failed> + Send + 'static,
{
    let missing: Vec<Program> = programs
        .iter()
        .copied()
        .filter(|program| program.path().is_none())
        .collect();
    if missing.is_empty() {
        return Trial::test(name, body);
    }
    let names = missing
        .iter()
        .map(|program| program.name())
        .collect::<Vec<_>>()
        .join(", ");
    let is_required = missing.iter().any(|program| program.is_required());
    let failure = move || Err(Failed::from(format!("needs {names}, which is not on PATH")));
    Trial::test(name, failure).with_ignored_flag(!is_required)
}

/// The test `name`, which cannot run because it is without `missing`, something that goes with
/// `programs`: it is `ignored`, or fails if `LINCHPIN_REQUIRE` lists one of the programs.
pub(crate) fn trial_without(name: &str, programs: &[Program], missing: &'static str) -> Trial {
    let is_required = programs.iter().any(|program| program.is_required());
    let failure = move || Err(Failed::from(format!("is without {missing}")));
    Trial::test(name, failure).with_ignored_flag(!is_required)
}
