//! Locks beside redis-server: what a lock costs that nobody else wants, and how it goes from hand
//! to hand where many want it.
//!
//! Linchpin has locks; with redis-server they are made of what it has: `SET NX PX` and a script
//! that compares and deletes, and for waiting in line a list with one token in it. Servers are
//! pinned, loaded in turn and in random order as in [`crate::compare`]. Where etcd is installed,
//! its locks stand beside those of a Linchpin that keeps its data.
//!
//! # LIMITATIONS
//!
//! - redis-server's locks have no fencing tokens and its token no lease, so it does less.
//! - A hand-over is one round trip of a generator with one thread: most of it is the kernel's.

mod crowd;
mod etcd;
mod hand_over;
mod pairs;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::compare::servers::{self, REFERENCE};
use crate::compare::{Split, raise_connections};
use crate::cores;
use crate::process::{Launch, Server};
use crate::report::load_table;

/// Clients that want one lock, and what the largest crowd is.
const CROWD: usize = 1_000;
const CROWD_LARGE: usize = 10_000;

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Rounds of each row; of those that take seconds each, three at most.
    pub rounds: usize,
    /// How long a server is loaded in a round.
    pub time: Duration,
    /// Only what one minute allows: a fifth of the hand-overs.
    pub is_quick: bool,
    /// What the order of servers and the pauses of clients follow from.
    pub seed: u64,
}

/// What all parts need.
struct Bench<'b> {
    options: &'b LockOptions,
    launches: Vec<Launch>,
    servers: Vec<Server>,
    rng: StdRng,
    say: &'b dyn Fn(&str),
}

/// Compares; answers tables in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a server that fails, a wrong reply, or a grant out of turn.
pub fn locks(options: &LockOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let split = Split::of(1)?;
    let crowd_large = raise_connections(CROWD_LARGE)?;
    let (found, _) = servers::find(options.linchpin.as_deref(), None, &[1], &split.server)?;
    let launches: Vec<Launch> = ["linchpin", REFERENCE]
        .into_iter()
        .map(|name| found.iter().find(|launch| launch.name == name).cloned())
        .collect::<Option<_>>()
        .context("a server is missing")?;
    let servers = launches.iter().map(Server::start);
    let servers: Vec<Server> = servers.collect::<Result<_, _>>()?;
    let named = launches.iter().zip(&servers);
    let mut text: String = named
        .map(|(launch, server)| format!("- {} ({})\n", launch.name, server.version()))
        .collect();
    text += &format!(
        "- {split}; {} rounds of {:?}, seed {}\n",
        options.rounds, options.time, options.seed
    );
    let mut bench = Bench {
        options,
        launches,
        servers,
        rng: StdRng::seed_from_u64(options.seed),
        say,
    };
    text += &cores::pinned(&split.generator, || parts(&mut bench, crowd_large))??;
    Ok(text)
}

fn parts(bench: &mut Bench<'_>, crowd_large: usize) -> anyhow::Result<String> {
    let pairs = load_table(&pairs::measure(bench)?, REFERENCE);
    let crowds = [CROWD, crowd_large];
    let handed = hand_over::measure(bench, crowds)?;
    let beside_etcd = etcd::measure(bench)?;
    Ok(format!(
        "\nA lock that nobody else wants, taken and given back; an operation is the pair, ratios \
         are to {REFERENCE}:\n\n{pairs}\nOne lock from hand to hand, from when its release is \
         sent until the next holder has it:\n\n{handed}\nA lock that nobody else wants, taken and \
         given back, with every grant on the disk before it is told: {beside_etcd}"
    ))
}
