//! The comparison: servers side by side on this machine, under the same load, in the same minutes.
//!
//! All servers run from beginning to end, each pinned to the same core or cores; one at a time is
//! under load, and the generator is on the cores left over. An idle server takes about a thousandth
//! of its core. Each cell is measured in rounds, and in each round the servers come in a new random
//! order, so that whatever else the machine does meets all of them.
//!
//! # LIMITATIONS
//!
//! Where a machine has no core left over, servers and generator share one. Operations per second
//! and latencies then say little; CPU per operation still does.

pub(crate) mod load;
mod memory;
pub(crate) mod servers;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::cores;
use crate::process::Launch;
use crate::report::{self, Cell, CellRounds, IdleRow, MemoryRow};
pub(crate) use memory::raise_connections;
use servers::REFERENCE;
pub(crate) use servers::linchpin;

/// Bytes of the values of every cell and of the memory measured.
pub(crate) const VALUE_BYTES: usize = 16;
/// Keys of a cell whose working set fits the caches.
const KEYS_FEW: u64 = 100_000;
/// Keys of a cell far beyond them.
const KEYS_MANY: u64 = 10_000_000;
const CONNECTIONS: usize = 50;
const MILLION: u64 = 1_000_000;

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// The Valkey binary; without one it is looked for on `PATH` and in the Python package.
    pub valkey: Option<PathBuf>,
    /// Numbers of workers that Linchpin is measured with.
    pub workers: Vec<usize>,
    /// Rounds of each cell.
    pub rounds: usize,
    /// How long a server is loaded in a round.
    pub time: Duration,
    /// Only what one minute allows: few keys, one size of memory, no idle connections.
    pub is_quick: bool,
    /// What draws of keys and the order of servers follow from.
    pub seed: u64,
}

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The servers, by name and version, and those left out with the reason.
    pub servers: Vec<String>,
    /// Who ran where.
    pub setting: String,
    /// Loads.
    pub cells: Vec<CellRounds>,
    /// Sizes that memory was measured at; the first `sizes_averaged` make the mean.
    pub sizes: Vec<u64>,
    /// See `sizes`.
    pub sizes_averaged: usize,
    /// Memory per key.
    pub memory: Vec<MemoryRow>,
    /// Memory per idle connection.
    pub idle: Vec<IdleRow>,
}

impl Comparison {
    /// All of it in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let _ = writeln!(text, "- {server}");
        }
        let _ = writeln!(text, "- {}", self.setting);
        let loads = report::load_table(&self.cells, REFERENCE);
        let _ = writeln!(
            text,
            "\nRatios are to {REFERENCE}; CPU includes the kernel's.\n\n{loads}"
        );
        if !self.memory.is_empty() {
            let table = report::memory_table(&self.sizes, self.sizes_averaged, &self.memory);
            let _ = writeln!(
                text,
                "Resident bytes per key beyond its 16 + {VALUE_BYTES}:\n\n{table}"
            );
        }
        if !self.idle.is_empty() {
            let table = report::idle_table(&self.idle);
            let _ = writeln!(text, "Resident bytes per idle connection:\n\n{table}");
        }
        text
    }
}

/// Compares. `say` is told what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a server that fails, or a wrong reply.
pub fn compare(options: &CompareOptions, say: &dyn Fn(&str)) -> anyhow::Result<Comparison> {
    let most = options.workers.iter().copied().max().unwrap_or(1).max(1);
    let split = Split::of(most)?;
    let (launches, mut lines) = servers::find(
        options.linchpin.as_deref(),
        options.valkey.as_deref(),
        &options.workers,
        &split.server,
    )?;
    lines.iter().for_each(|line| say(line));
    let measured = cores::pinned(&split.generator, || measure(options, &launches, say))?;
    let mut comparison = measured?;
    comparison.servers.append(&mut lines);
    comparison.setting = format!(
        "{split}; {} rounds of {:?}, seed {}",
        options.rounds, options.time, options.seed,
    );
    Ok(comparison)
}

/// Which cores are whose.
pub(crate) struct Split {
    pub(crate) server: Vec<usize>,
    pub(crate) generator: Vec<usize>,
}

impl Split {
    /// The last `most` cores for servers, as far as there are so many, the others for the
    /// generator; one for both where none is left over.
    pub(crate) fn of(most: usize) -> anyhow::Result<Self> {
        let all = cores::available().context("reading the cores")?;
        let (left, server) = all.split_at(all.len() - most.min(all.len()));
        let generator = if left.is_empty() { &all[..1] } else { left };
        Ok(Self {
            server: server.to_vec(),
            generator: generator.to_vec(),
        })
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, generator } = self;
        let is_shared = generator.iter().any(|core| server.contains(core));
        let shared = if is_shared { " (shared)" } else { "" };
        write!(
            f,
            "server cores {server:?}, generator cores {generator:?}{shared}"
        )
    }
}

/// The servers that there are, Linchpin with one worker first, free to run on any core, and a line
/// for each that is left out.
pub(crate) fn find_servers(
    linchpin: Option<&Path>,
    valkey: Option<&Path>,
) -> anyhow::Result<(Vec<Launch>, Vec<String>)> {
    let all = cores::available().context("reading the cores")?;
    let (mut launches, lines) = servers::find(linchpin, valkey, &[1], &all)?;
    for launch in &mut launches {
        launch.cores.clone_from(&all);
    }
    Ok((launches, lines))
}

fn measure(
    options: &CompareOptions,
    launches: &[Launch],
    say: &dyn Fn(&str),
) -> anyhow::Result<Comparison> {
    let (cells, servers) = load::measure(options, &cells(options.is_quick), launches, say)?;
    // With several workers the same memory again, so the first Linchpin stands for all.
    let mut seen = Vec::new();
    let distinct: Vec<_> = launches
        .iter()
        .filter(|launch| {
            !seen.contains(&&launch.program) && {
                seen.push(&launch.program);
                true
            }
        })
        .cloned()
        .collect();
    let (sizes, sizes_averaged) = sizes(options.is_quick);
    let memory = memory::per_key(&sizes, &distinct, say)?;
    let idle = if options.is_quick {
        Vec::new()
    } else {
        memory::idle_connections(&distinct, say)?
    };
    Ok(Comparison {
        servers,
        setting: String::new(),
        cells,
        sizes,
        sizes_averaged,
        memory,
        idle,
    })
}

/// The cells, those with more keys later: the servers are filled as they go.
fn cells(is_quick: bool) -> Vec<Cell> {
    let cell = |command: &str, pipeline, keys| Cell {
        command: command.to_owned(),
        pipeline,
        connections: CONNECTIONS,
        keys,
    };
    let mut cells = Vec::new();
    for pipeline in [1, 16, 128] {
        for command in ["GET", "SET", "INCR"] {
            cells.push(cell(command, pipeline, KEYS_FEW));
        }
    }
    if !is_quick {
        cells.push(cell("MSET", 16, KEYS_FEW));
        cells.push(cell("GET", 128, KEYS_MANY));
        cells.push(cell("SET", 128, KEYS_MANY));
    }
    cells
}

/// The sizes at which memory is measured, and how many of them make the mean.
fn sizes(is_quick: bool) -> (Vec<u64>, usize) {
    if is_quick {
        return (vec![MILLION], 1);
    }
    let doubling = [4, 5, 6, 7, 8].map(|quarters| quarters * MILLION / 4);
    let sizes = doubling.into_iter().chain([10 * MILLION]);
    (sizes.collect(), doubling.len())
}
