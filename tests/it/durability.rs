//! What is acknowledged stays: the real server on a real disk, ended, killed at chosen system
//! calls, given a disk that fails, fills up or lies damaged, or clocks that step, and started
//! again.
//!
//! A data directory outlives the servers of its trial; each trial has its own. Chance comes from
//! `LINCHPIN_SEED`, which a failure names, and `LINCHPIN_CASES` says how many times as many points
//! of a crash matrix are tried.

pub(crate) mod clocks;
pub(crate) mod crash;
mod damage;
pub(crate) mod faults;
mod full;
mod load;
mod owner;
mod parked;
mod restart;
mod stalls;
mod switched;
mod writers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::client::{Client, check, eventually};
use crate::process::{Exit, Launch, Server, TempDir};

/// How long a server may take to end that was told to.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);
/// How long a server may take to load what a trial wrote.
const LOAD_MAX: Duration = Duration::from_secs(20);

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("durability::restart", restart::CASES);
    trials.extend(crate::trials_of("durability::load", load::CASES));
    trials.extend(crate::trials_of("durability::switched", switched::CASES));
    trials.extend(crate::trials_of("durability::damage", damage::CASES));
    trials.extend(crate::trials_of("durability::owner", owner::CASES));
    trials.extend(crate::trials_of("durability::parked", parked::CASES));
    trials.extend(parked::slow_trials());
    trials.extend(clocks::trials());
    trials.extend(crash::trials());
    trials.extend(faults::trials());
    trials.extend(full::trials());
    trials.extend(stalls::trials());
    trials
}

/// A data directory, with the settings of the servers that have it one after another.
#[derive(Debug)]
pub(crate) struct Data {
    folder: TempDir,
    settings: Vec<String>,
}

impl Data {
    /// A new one, kept under `appendfsync`, by a server of so many workers.
    pub(crate) fn new(policy: &str, workers: usize) -> Result<Data, String> {
        let workers = workers.to_string();
        Data::with(&["--appendfsync", policy, "--io-threads", &workers])
    }

    /// A new one, with these settings.
    pub(crate) fn with(settings: &[&str]) -> Result<Data, String> {
        let settings = settings.iter().map(|&word| word.to_owned()).collect();
        let folder = TempDir::new()?;
        Ok(Data { folder, settings })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A start on it, with further settings.
    pub(crate) fn launch(&self, further: &[&str]) -> Result<Launch, String> {
        let path = self.path();
        let path = path.to_str().ok_or("the path is not UTF-8")?;
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        Launch::on_free_port(&[&["--dir", path], &settings[..], further].concat())
    }

    /// A server that has loaded it.
    pub(crate) fn start(&self) -> Result<Server, Failed> {
        loaded(self.launch(&[])?.start()?)
    }

    /// The files whose names begin so, in the order of their names.
    fn files(&self, prefix: &str) -> Result<Vec<PathBuf>, Failed> {
        files(&self.path(), prefix)
    }
}

fn files(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// `server`, once it answers for what it has loaded.
pub(crate) fn loaded(server: Server) -> Result<Server, Failed> {
    let mut client = Client::connect(server.port())?;
    eventually("it is loaded", LOAD_MAX, || {
        let answer = client.call("DBSIZE").map_err(|error| {
            let log = server.log().join("\n");
            format!("{}; its log:\n{log}", error.message().unwrap_or(""))
        })?;
        Ok(answer.starts_with(':').then_some(()))
    })?;
    Ok(server)
}

/// Ends it as a crash does.
pub(crate) fn kill(mut server: Server) -> Result<(), Failed> {
    server.signal(Signal::KILL)?;
    let exit = server.exit_within(STOP_MAX)?;
    check(exit.code.is_none(), || format!("not killed: {exit:?}"))
}

/// Ends it as an operator does.
pub(crate) fn stop(mut server: Server) -> Result<Exit, Failed> {
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(STOP_MAX)?;
    check(exit.code == Some(0), || format!("{exit:?}"))?;
    Ok(exit)
}
