//! The golden transcripts: each file of `tests/golden/` is several trials, one per target.
//!
//! In this process time is a number; over TCP and against redis-server it is real, so that steps
//! after a long `advance` are left out there. The kind in brackets before a trial's name says how
//! many of the file's steps it compares.

mod book;
mod coverage;
mod differences;
mod inproc;
mod run;
mod shown;
mod target;
mod transcript;
mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use self::inproc::InProcess;
use self::run::{Mode, Scope};
use self::target::{Target, Tcp};
use self::transcript::{Transcript, Version};
use crate::chance;
use crate::need::{self, Program};
use crate::process::Server;
use crate::variant::Variant;

/// All trials of the transcripts; with `UPDATE` set, the trials that rewrite them. `others` are the
/// names of the trials that show differences which no transcript can.
pub(crate) fn trials(others: BTreeSet<String>) -> Vec<Trial> {
    let (transcripts, faults) = read_all();
    let mut trials: Vec<Trial> = faults
        .into_iter()
        .map(|(name, fault)| Trial::test(format!("golden::{name}"), move || Err(fault.into())))
        .collect();
    let update = std::env::var("UPDATE").ok();
    let oracle = oracle_version();
    let seed = chance::seed();
    for (at, (name, transcript)) in transcripts.iter().enumerate() {
        let transcript = Arc::new(transcript.clone());
        match update.as_deref() {
            None => {
                trials.extend(check_trials(name, &transcript, oracle));
                trials.extend(variant_trials(name, &transcript, seed, at));
            }
            Some(mode) => trials.push(update_trial(name, &transcript, mode, oracle)),
        }
    }
    if update.is_none() {
        let transcripts = Arc::new(transcripts);
        let covering = Arc::clone(&transcripts);
        trials.extend(book_trials());
        let (showing, named) = (Arc::clone(&transcripts), others.clone());
        trials.push(Trial::test("golden::shown", move || {
            shown::check(&root(), &showing, &named).map_err(Failed::from)
        }));
        trials.push(Trial::test("golden::differences", move || {
            differences::check(&root(), &transcripts, &others).map_err(Failed::from)
        }));
        trials.push(Trial::test("golden::coverage", move || {
            let mut target = InProcess::new(&[], Variant::PLAIN)?;
            coverage::check(&mut target, &covering).map_err(Failed::from)
        }));
    }
    trials
}

/// The trials of the conversations in the book.
fn book_trials() -> Vec<Trial> {
    let pages = match book::pages(&root()) {
        Ok(pages) => pages,
        Err(fault) => return vec![Trial::test("golden::book", || Err(fault.into()))],
    };
    let trial = |(name, text): (String, String)| {
        Trial::test(format!("golden::book::{name}"), move || {
            Ok(book::check(&text)?)
        })
    };
    pages.into_iter().map(trial).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("tests/golden")
}

type Faults = Vec<(String, String)>;

/// The transcripts by `family/command`, and what could not be read.
fn read_all() -> (BTreeMap<String, Transcript>, Faults) {
    let mut transcripts = BTreeMap::new();
    let mut faults = Vec::new();
    for path in files(&folder()) {
        let name = path
            .strip_prefix(folder())
            .unwrap_or(&path)
            .with_extension("");
        let name = name.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| Transcript::parse(&text)) {
            Ok(transcript) => drop(transcripts.insert(name, transcript)),
            Err(fault) => faults.push((name, fault)),
        }
    }
    (transcripts, faults)
}

/// The transcript files below `folder`, in families one folder deep.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect()
    };
    let mut files: Vec<PathBuf> = entries(folder)
        .iter()
        .filter(|p| p.is_dir())
        .flat_map(|p| entries(p))
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

/// The version of the redis-server on this machine, if there is one.
fn oracle_version() -> Option<Version> {
    let output = Command::new(Program::RedisServer.path()?)
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(' ')
        .find_map(|word| word.strip_prefix("v="))
        .and_then(Version::parse)
}

fn check_trials(name: &str, transcript: &Arc<Transcript>, oracle: Option<Version>) -> Vec<Trial> {
    let label = format!("golden::{}", name.replace('/', "::"));
    let mut trials: Vec<Trial> = run::protocols(transcript)
        .map(|protocol| {
            let mode = Mode {
                protocol,
                is_in_process: true,
                oracle: None,
            };
            let transcript = Arc::clone(transcript);
            Trial::test(format!("{label}::inproc{protocol}"), move || {
                let mut target = InProcess::new(&transcript.settings, Variant::PLAIN)?;
                Ok(run::check(&transcript, &mut target, mode)?)
            })
        })
        .collect();
    let tcp = Mode {
        protocol: 2,
        is_in_process: false,
        oracle: None,
    };
    let over_tcp = Arc::clone(transcript);
    let body = move || check_over_tcp(&over_tcp, tcp, Server::linchpin);
    trials.push(Trial::test(format!("{label}::tcp"), body).with_kind(steps_kind(transcript, tcp)));
    // Without an oracle the trial is only listed; any version does to count its steps.
    let redis = Mode {
        oracle: Some(oracle.unwrap_or(Version(7, 0))),
        ..tcp
    };
    let against_redis = Arc::clone(transcript);
    let body = move || match Scope::new(&against_redis, redis).compared(&against_redis) {
        // Redis would not start with a setting that it has not.
        0 => Ok(()),
        _ => check_over_tcp(&against_redis, redis, Server::redis),
    };
    let trial = need::trial(&format!("{label}::redis"), &[Program::RedisServer], body);
    trials.push(trial.with_kind(steps_kind(transcript, redis)));
    trials
}

/// The trials with the server run in other ways, chosen by `seed` and by the transcript's number.
fn variant_trials(
    name: &str,
    transcript: &Arc<Transcript>,
    seed: u64,
    number: usize,
) -> [Trial; 2] {
    type Check = fn(&Transcript, usize) -> Result<(), String>;
    let checks: [(&str, Check); 2] = [
        ("variants_inproc", variants::check_in_process),
        ("variants_tcp", variants::check_over_tcp),
    ];
    // Half of the seed, so that what is added to it cannot overflow.
    let turn = seed as u32 as usize + number;
    checks.map(|(target, check)| {
        let label = format!("golden::{}::{target}", name.replace('/', "::"));
        let transcript = Arc::clone(transcript);
        Trial::test(label, move || {
            let outcome = check(&transcript, turn);
            outcome.map_err(|error| format!("LINCHPIN_SEED={seed}: {error}").into())
        })
    })
}

/// How many of all steps `mode` compares, as a trial's kind.
fn steps_kind(transcript: &Transcript, mode: Mode) -> String {
    let compared = Scope::new(transcript, mode).compared(transcript);
    let all = transcript
        .items
        .iter()
        .filter(|item| item.has_replies())
        .count();
    format!("{compared} of {all} steps")
}

type Start = fn(&[(String, String)]) -> Result<Server, String>;

/// Runs in RESP2, then in RESP3, each against a fresh server.
fn check_over_tcp(transcript: &Transcript, mode: Mode, start: Start) -> Result<(), Failed> {
    for protocol in run::protocols(transcript) {
        let mode = Mode { protocol, ..mode };
        run::check_over_tcp(transcript, mode, || start(&transcript.settings))?;
    }
    Ok(())
}

fn update_trial(
    name: &str,
    transcript: &Arc<Transcript>,
    from: &str,
    oracle: Option<Version>,
) -> Trial {
    let is_oracle = from == "oracle";
    let oracle = oracle.filter(|_| is_oracle);
    let mode = Mode {
        protocol: 2,
        is_in_process: !is_oracle,
        oracle,
    };
    let mut transcript = Transcript::clone(transcript);
    let path = folder().join(name).with_extension("txt");
    let label = format!("update::{}", name.replace('/', "::"));
    let needs: &[Program] = if is_oracle {
        &[Program::RedisServer]
    } else {
        &[]
    };
    need::trial(&label, needs, move || {
        let settings = transcript.settings.clone();
        let target = || -> Result<Box<dyn Target>, String> {
            match is_oracle {
                true => Ok(Box::new(Tcp::new(Server::redis(&settings)?))),
                false => Ok(Box::new(InProcess::new(&settings, Variant::PLAIN)?)),
            }
        };
        run::update(&mut transcript, target, mode)?;
        std::fs::write(&path, transcript.render()).map_err(|error| error.to_string())?;
        Ok(())
    })
}
