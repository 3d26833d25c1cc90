//! `MEMORY STATS`: where the memory is, as a map from names to numbers.
//!
//! The names are Redis': peak, total and startup; what clients and tables take; for each database
//! that has keys, its tables; the keys and the bytes of each; shares in percent; and how far
//! resident memory is above what is held. Parts that this server has not are 0; those that only
//! jemalloc could tell are left out.

use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Census;
use linchpin_protocol::{Args, Writer};

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("memory|stats", 2, Flags::NONE, Keys::NONE, run)
    .group(Group::Server)
    .since("4.0.0")
    .doc("Tells where the memory is.", "O(N) with N shards")
    .tips(&[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ])];

/// A number of the map.
enum Figure {
    Count(u64),
    Signed(i64),
    Ratio(f64),
}

use Figure::{Count, Ratio, Signed};

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let census = cx.step.census();
    let facts = cx.host.memory(&census);
    let used: Vec<(usize, &Census)> = census
        .iter()
        .enumerate()
        .filter(|(_, db)| db.keys > 0)
        .collect();
    let before = [
        ("peak.allocated", Count(facts.peak_bytes)),
        ("total.allocated", Count(facts.used_bytes)),
        ("startup.allocated", Count(facts.startup_bytes)),
        ("replication.backlog", Count(0)),
        ("clients.slaves", Count(0)),
        ("clients.normal", Count(facts.clients_bytes)),
        ("cluster.links", Count(0)),
        ("aof.buffer", Count(0)),
        ("lua.caches", Count(0)),
        ("functions.caches", Count(0)),
    ];
    let dataset_of_all = facts.dataset_percent();
    let after = [
        ("overhead.total", Count(facts.overhead_bytes())),
        ("keys.count", Count(facts.keys)),
        ("keys.bytes-per-key", Count(facts.bytes_per_key())),
        ("dataset.bytes", Count(facts.dataset_bytes)),
        ("dataset.percentage", Ratio(dataset_of_all)),
        ("peak.percentage", Ratio(facts.peak_percent())),
        ("fragmentation", Ratio(facts.fragmentation())),
        ("fragmentation.bytes", Signed(facts.fragmentation_bytes())),
    ];
    let out = &mut cx.out;
    out.map(before.len() + used.len() + after.len());
    before.iter().for_each(|pair| write(out, pair));
    for (number, db) in used {
        out.bulk(format!("db.{number}").as_bytes());
        out.map(2);
        let tables = Count(db.table_bytes as u64);
        write(out, &("overhead.hashtable.main", tables));
        write(out, &("overhead.hashtable.expires", Count(0)));
    }
    after.iter().for_each(|pair| write(out, pair));
    Ok(())
}

fn write(out: &mut Writer<'_>, (name, figure): &(&str, Figure)) {
    out.bulk(name.as_bytes());
    match *figure {
        Count(count) => out.integer(i64::try_from(count).unwrap_or(i64::MAX)),
        Signed(number) => out.integer(number),
        Ratio(ratio) => out.double(ratio),
    }
}
