//! `PUBSUB CHANNELS | NUMSUB | NUMPAT | SHARDCHANNELS | SHARDNUMSUB`: who listens to what.
//!
//! `CHANNELS` answers the channels that somebody listens to by name, in order; `NUMSUB` how many
//! listen to each of those named; `NUMPAT` how many patterns are listened to. The other two are
//! about channels of the shard.

use crate::command::error::ReplyError;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, help};
use crate::pubsub::Kind;
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::PUBSUB.with(Flags::LOADING).with(Flags::STALE);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("pubsub", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Pubsub)
        .since("2.8.0")
        .doc(
            "Commands about publish and subscribe.",
            "Depends on subcommand.",
        ),
    Spec::new("pubsub|channels", -2, FLAGS, Keys::NONE, |cx, args| {
        channels(cx, args, Kind::Channel)
    })
    .group(Group::Pubsub)
    .since("2.8.0")
    .doc(
        "Lists the channels that have subscribers.",
        "O(N) with N such channels",
    )
    .args(&[Arg::new("pattern", ArgKind::Pattern).optional()]),
    Spec::new("pubsub|numsub", -2, FLAGS, Keys::NONE, |cx, args| {
        numsub(cx, args, Kind::Channel)
    })
    .group(Group::Pubsub)
    .since("2.8.0")
    .doc(
        "Counts the subscribers of channels, those by patterns left out.",
        "O(N) with N channels",
    )
    .args(&[Arg::new("channel", ArgKind::String).optional().multiple()]),
    Spec::new("pubsub|numpat", 2, FLAGS, Keys::NONE, run_numpat)
        .group(Group::Pubsub)
        .since("2.8.0")
        .doc("Counts the patterns that have subscribers.", "O(1)"),
    Spec::new("pubsub|shardchannels", -2, FLAGS, Keys::NONE, |cx, args| {
        channels(cx, args, Kind::Shard)
    })
    .group(Group::Pubsub)
    .since("7.0.0")
    .doc(
        "Lists the channels of the shard that have subscribers.",
        "O(N) with N such channels",
    )
    .args(&[Arg::new("pattern", ArgKind::Pattern).optional()]),
    Spec::new("pubsub|shardnumsub", -2, FLAGS, Keys::NONE, |cx, args| {
        numsub(cx, args, Kind::Shard)
    })
    .group(Group::Pubsub)
    .since("7.0.0")
    .doc(
        "Counts the subscribers of channels of the shard.",
        "O(N) with N channels",
    )
    .args(&[Arg::new("shardchannel", ArgKind::String)
        .optional()
        .multiple()]),
    help::row("pubsub|help")
        .chapter(Group::Pubsub)
        .since("6.2.0"),
];

fn channels(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), ReplyError> {
    if args.len() > 3 {
        return Err(ReplyError::bad_subcommand_call("pubsub", &args[1]));
    }
    let names = cx.host.hub().channels(kind, args.get(2));
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
    Ok(())
}

fn numsub(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), ReplyError> {
    let names = args.skip(2);
    cx.out.array(2 * (args.len() - 2));
    for name in names.iter() {
        let count = cx.host.hub().subscribers(kind, name);
        cx.out.bulk(name);
        cx.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }
    Ok(())
}

fn run_numpat(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let count = cx.host.hub().len(Kind::Pattern);
    cx.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}
