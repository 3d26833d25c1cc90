//! `CONFIG GET | SET | RESETSTAT`: the settings, while the server runs.
//!
//! `GET` takes names and globs and answers a map of those that match, each once. `SET` takes any
//! number of pairs and changes all or none. `RESETSTAT` sets the statistics of `INFO` back to zero.
//! Which settings there are, and which can be changed, is in the settings reference.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use crate::command::{Cx, ReplyError, error, help};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::ADMIN
    .with(Flags::NOSCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);
const NODE_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("config", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Server)
        .since("2.0.0")
        .doc("Commands about the settings.", "Depends on subcommand."),
    Spec::new("config|get", -3, FLAGS, Keys::NONE, run_get)
        .group(Group::Server)
        .since("2.0.0")
        .doc(
            "Answers the values of settings.",
            "O(N) with N settings times patterns",
        )
        .args(&[Arg::new("parameter", ArgKind::Pattern).multiple()])
        .history(&[("7.0.0", "Takes several names or patterns.")]),
    Spec::new("config|set", -4, FLAGS, Keys::NONE, run_set)
        .group(Group::Server)
        .since("2.0.0")
        .doc(
            "Changes settings, all or none.",
            "O(N) with N settings given",
        )
        .args(&[Arg::new(
            "pair",
            ArgKind::Block(&[
                Arg::new("parameter", ArgKind::String),
                Arg::new("value", ArgKind::String),
            ]),
        )
        .multiple()])
        .tips(NODE_TIPS)
        .history(&[("7.0.0", "Takes several pairs.")]),
    Spec::new("config|resetstat", 2, FLAGS, Keys::NONE, run_resetstat)
        .group(Group::Server)
        .since("2.0.0")
        .doc("Sets the statistics back to zero.", "O(1)")
        .repeat(Repeat::Unsafe)
        .tips(NODE_TIPS),
    help::row("config|help").group(Group::Server),
];

fn run_get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let globs: Vec<&[u8]> = args.skip(2).iter().collect();
    // Not the settings of the batch: a CONFIG SET before this command counts.
    let found = cx.host.settings().matching(&globs);
    cx.out.map(found.len());
    for (name, value) in found {
        cx.out.bulk(name.as_bytes());
        cx.out.bulk(value.as_bytes());
    }
    Ok(())
}

fn run_set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let words: Vec<&[u8]> = args.skip(2).iter().collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(error::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    cx.host.change_settings(&pairs)?;
    cx.out.ok();
    Ok(())
}

fn run_resetstat(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.host.reset_stats();
    cx.out.ok();
    Ok(())
}
