//! How many accesses find their key in a cache too small for all: recorded traces through servers
//! whose memory is bounded, beside true LRU with as many entries.

mod replay;
mod traces;

use std::path::PathBuf;

use crate::compare::find_servers;
use crate::process::Launch;
use crate::report::{RatioRow, ratio_table};
use traces::Trace;

/// Sizes of the cache, in hundredths of the distinct keys.
const PERCENTS: [usize; 4] = [1, 5, 10, 25];
const LRU: &str = "allkeys-lru";
const TWO_Q: &str = "allkeys-2q";

/// What to play, and through what.
#[derive(Clone, Debug)]
pub struct HitRatioOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// The Valkey binary; without one it is looked for on `PATH` and in the Python package.
    pub valkey: Option<PathBuf>,
    /// The folder with the recorded traces.
    pub traces: PathBuf,
    /// Only traces with this in their name.
    pub only: Option<String>,
    /// What the drawn trace follows from.
    pub seed: u64,
}

/// Plays every trace through every server at every size; answers the Markdown table. `say` is told
/// what is going on.
///
/// # Errors
/// No Linchpin or no redis-server, a trace that is not there, a server that fails.
pub fn hit_ratio(options: &HitRatioOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let (launches, lines) = find_servers(options.linchpin.as_deref(), options.valkey.as_deref())?;
    lines.iter().for_each(|line| say(line));
    let columns = columns(&launches);
    let mut rows = Vec::new();
    for trace in Trace::all(&options.traces, options.seed)? {
        let is_wanted = |only: &String| trace.name.contains(only.as_str());
        if !options.only.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let distinct = trace.distinct();
        for percent in PERCENTS {
            rows.push(row(
                &trace,
                percent,
                distinct * percent / 100,
                &columns,
                say,
            )?);
        }
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    Ok(ratio_table(&names, &rows))
}

/// One server under one policy.
struct Column<'l> {
    name: String,
    launch: &'l Launch,
    policy: &'static str,
}

fn column<'l>(launch: &'l Launch, policy: &'static str) -> Column<'l> {
    Column {
        name: format!("{} {policy}", launch.name),
        launch,
        policy,
    }
}

/// The others under their lru, Linchpin under that and 2q.
fn columns(launches: &[Launch]) -> Vec<Column<'_>> {
    let (linchpin, others) = launches.split_first().expect("Linchpin is always there");
    let others = others.iter().map(|launch| column(launch, LRU));
    let own = [column(linchpin, LRU), column(linchpin, TWO_Q)];
    others.chain(own).collect()
}

fn row(
    trace: &Trace,
    percent: usize,
    entries: usize,
    columns: &[Column<'_>],
    say: &dyn Fn(&str),
) -> anyhow::Result<RatioRow> {
    let mut ratios = Vec::new();
    let mut off_max: f64 = 0.0;
    for column in columns {
        let played = replay::play(column.launch, column.policy, trace, entries)?;
        say(&format!(
            "{}, {percent} %: {} with {:.1} entries of {entries}: {:.2} %",
            trace.name,
            column.name,
            played.entries,
            100.0 * played.ratio,
        ));
        off_max = off_max.max((played.entries - entries as f64).abs());
        ratios.push(played.ratio);
    }
    Ok(RatioRow {
        trace: trace.name.clone(),
        percent,
        entries,
        off_max,
        lru: trace.lru_ratio(entries),
        ratios,
    })
}
