//! What keeping data costs, beside redis-server on the same disk: each policy's price, how long a
//! snapshot keeps clients waiting, how long a restart takes.
//!
//! Servers are pinned, loaded in turn and in random order as in [`crate::compare`]; one core has
//! all threads of a server and, while Redis forks, its child. No server rewrites its log or takes a
//! snapshot by itself.
//!
//! # LIMITATIONS
//!
//! - What a restart reads has just been written and lies in the system's page cache: what is
//!   measured is the server, as long as memory has room for the files.
//! - CPU time that the kernel spends in threads of its own on writing back is nobody's.

mod disk;
mod policies;
mod restarts;
mod snapshots;
mod syncs;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::compare::Split;
use crate::compare::servers::{self, REFERENCE, keeping};
use crate::cores;
use crate::process::{Launch, Server};
use crate::scratch::Scratch;

/// Rounds of what takes seconds each, at most.
const LONG_ROUNDS_MAX: usize = 3;

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct DurabilityOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Where servers' directories are made; its disk is what is measured.
    pub parent: PathBuf,
    /// Rounds of each policy; of snapshots and restarts, three at most.
    pub rounds: usize,
    /// How long a server is loaded in a round.
    pub time: Duration,
    /// Only what one minute allows: a fifth of the keys and of the log.
    pub is_quick: bool,
    /// What draws of keys and the order of servers follow from.
    pub seed: u64,
}

/// How much there is of everything.
struct Sizes {
    /// Keys of snapshots.
    keys: u64,
    /// Effects in a log of small ones.
    small: u64,
    /// Effects in a log of those with 1 KiB.
    large: u64,
}

/// What all parts need.
struct Bench<'b> {
    options: &'b DurabilityOptions,
    linchpin: Launch,
    redis: Launch,
    sizes: Sizes,
    rng: StdRng,
    say: &'b dyn Fn(&str),
}

impl Bench<'_> {
    /// Both servers with a log that is synced as `policy` says.
    fn both(&self, policy: &str) -> Vec<Launch> {
        vec![
            keeping(&self.linchpin, policy),
            keeping(&self.redis, policy),
        ]
    }

    fn directory(&self) -> anyhow::Result<Scratch> {
        let parent = &self.options.parent;
        Scratch::new_in(parent).with_context(|| format!("a directory in {}", parent.display()))
    }

    fn start(&self, launch: &Launch) -> anyhow::Result<Server> {
        Server::start_in(launch, self.directory()?)
    }

    fn start_all(&self, launches: &[Launch]) -> anyhow::Result<Vec<Server>> {
        launches.iter().map(|launch| self.start(launch)).collect()
    }

    fn long_rounds(&self) -> usize {
        self.options.rounds.min(LONG_ROUNDS_MAX)
    }
}

/// Compares; answers tables in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a directory in memory, a server that fails, or a wrong reply.
pub fn durability(options: &DurabilityOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let disk = disk::of(&options.parent)?;
    ensure!(
        !disk.is_memory(),
        "{} is {disk}: nothing is synced there, choose another with --dir",
        options.parent.display(),
    );
    let split = Split::of(1)?;
    let (launches, _) = servers::find(options.linchpin.as_deref(), None, &[1], &split.server)?;
    let named = |name: &str| launches.iter().find(|launch| launch.name == name).cloned();
    let mut bench = Bench {
        options,
        linchpin: named("linchpin").context("no linchpin")?,
        redis: named(REFERENCE).context("no redis-server")?,
        sizes: sizes(options.is_quick),
        rng: StdRng::seed_from_u64(options.seed),
        say,
    };
    let setting = format!(
        "{split}; data in {} ({disk}); {} rounds of {:?}, {} of snapshots and restarts, seed {}",
        options.parent.display(),
        options.rounds,
        options.time,
        bench.long_rounds(),
        options.seed,
    );
    cores::pinned(&split.generator, || parts(&mut bench, &setting))?
}

fn parts(bench: &mut Bench<'_>, setting: &str) -> anyhow::Result<String> {
    let version = |launch: &Launch| {
        let server = bench.start(launch)?;
        anyhow::Ok(format!("- {} ({})", launch.name, server.version()))
    };
    let heading = [
        version(&bench.linchpin)?,
        version(&bench.redis)?,
        format!("- {setting}\n"),
    ];
    let everysec = policies::everysec(bench)?;
    let always = policies::always(bench)?;
    let snapshots = snapshots::measure(bench)?;
    let restarts = restarts::measure(bench)?;
    let tables = [everysec, always, snapshots, restarts];
    Ok([heading.join("\n"), tables.join("\n")].join("\n"))
}

fn sizes(is_quick: bool) -> Sizes {
    let part = if is_quick { 5 } else { 1 };
    Sizes {
        keys: 5_000_000 / part,
        small: 8_000_000 / part,
        large: 1_000_000 / part,
    }
}
