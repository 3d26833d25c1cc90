//! `FLUSHALL`, `FLUSHDB`, `SWAPDB`, `DBSIZE`: whole databases.
//!
//! Flushing puts empty databases in place of the old ones in one step; the old memory is freed
//! before the reply (`SYNC`) or in the background (`ASYNC`, and by default where
//! `lazyfree-lazy-user-flush` says so).

use crate::command::connection::select;
use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::engine::Free;
use linchpin_protocol::Args;

const MODE: Arg = Arg::new(
    "flush-type",
    ArgKind::OneOf(&[
        Arg::word("async", "ASYNC").since("4.0.0"),
        Arg::word("sync", "SYNC").since("6.2.0"),
    ]),
)
.optional();
const FLUSH_TIPS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const FLUSH_HISTORY: &[(&str, &str)] = &[
    ("4.0.0", "Added the `ASYNC` option."),
    ("6.2.0", "Added the `SYNC` option."),
];
const FLUSH_CATEGORIES: Categories = Categories::KEYSPACE.with(Categories::DANGEROUS);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "flushall",
        -1,
        Flags::WRITE.with(Flags::ALONE),
        Keys::NONE,
        run_flush,
    )
    .group(Group::Server)
    .categories(FLUSH_CATEGORIES)
    .doc("Removes every key of every database.", "O(N) with N keys")
    .args(&[MODE])
    .tips(FLUSH_TIPS)
    .history(FLUSH_HISTORY),
    Spec::new(
        "flushdb",
        -1,
        Flags::WRITE.with(Flags::ALONE),
        Keys::NONE,
        run_flush,
    )
    .group(Group::Server)
    .categories(FLUSH_CATEGORIES)
    .doc(
        "Removes every key of the selected database.",
        "O(N) with N keys",
    )
    .args(&[MODE])
    .tips(FLUSH_TIPS)
    .history(FLUSH_HISTORY),
    Spec::new(
        "swapdb",
        3,
        Flags::WRITE.with(Flags::FAST).with(Flags::ALONE),
        Keys::NONE,
        run_swapdb,
    )
    .group(Group::Server)
    .categories(FLUSH_CATEGORIES)
    .since("4.0.0")
    .doc("Lets two databases change places.", "O(1)")
    .args(&[
        Arg::new("index1", ArgKind::Integer),
        Arg::new("index2", ArgKind::Integer),
    ]),
    Spec::new(
        "dbsize",
        1,
        Flags::READONLY.with(Flags::FAST).with(Flags::ALONE),
        Keys::NONE,
        run_dbsize,
    )
    .group(Group::Server)
    .categories(Categories::KEYSPACE)
    .doc(
        "Answers the number of keys in the selected database.",
        "O(1)",
    )
    .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
];

fn run_flush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let free = if words.keyword("ASYNC") {
        Free::Later
    } else if words.keyword("SYNC") || !cx.settings.lazyfree_lazy_user_flush {
        Free::Now
    } else {
        Free::Later
    };
    words.finish()?;
    let selected = cx.db();
    let databases = if cx.spec.name == "flushdb" {
        selected..selected + 1
    } else {
        0..cx.step.databases()
    };
    let broken: usize = databases.map(|db| cx.step.clear(db, free)).sum();
    if broken > 0 {
        let command = cx.spec.name;
        tracing::warn!(command, broken, "locks and permits were broken");
    }
    cx.out.ok();
    Ok(())
}

fn run_swapdb(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let index = |word: &[u8], which: &str| {
        select::index(word).map_err(|_| ReplyError::err(format!("invalid {which} DB index")))
    };
    let (a, b) = (index(&args[1], "first")?, index(&args[2], "second")?);
    let (a, b) = (select::existing(cx, a)?, select::existing(cx, b)?);
    if cx.step.has_kinds(a) || cx.step.has_kinds(b) {
        return Err(error::SWAP_OF_OBJECTS);
    }
    cx.step.swap(a, b);
    cx.out.ok();
    Ok(())
}

fn run_dbsize(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let keys = cx.step.len(cx.db());
    cx.out.integer(i64::try_from(keys).unwrap_or(i64::MAX));
    Ok(())
}
