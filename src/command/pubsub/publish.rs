//! `PUBLISH channel message`, `SPUBLISH shardchannel message`: sends a message to all who listen.
//!
//! Reply: integer, how many subscriptions it was sent by. A connection that listens itself gets the
//! message behind the reply, or behind that of `EXEC`.

use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::PUBSUB
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("publish", 3, FLAGS, Keys::NONE, run_publish)
        .group(Group::Pubsub)
        .since("2.0.0")
        .doc(
            "Sends a message to a channel.",
            "O(N+M) with N subscribers and M patterns whose literal ends fit",
        )
        .repeat(Repeat::Unsafe)
        .args(&[
            Arg::new("channel", ArgKind::String),
            Arg::new("message", ArgKind::String),
        ]),
    Spec::new(
        "spublish",
        3,
        FLAGS,
        Keys::one(1, KeyFlags::NOT_KEY),
        run_spublish,
    )
    .group(Group::Pubsub)
    .since("7.0.0")
    .doc(
        "Sends a message to a channel of the shard.",
        "O(N) with N subscribers",
    )
    .repeat(Repeat::Unsafe)
    .args(&[
        Arg::new("shardchannel", ArgKind::String),
        Arg::new("message", ArgKind::String),
    ]),
];

fn run_publish(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let receivers = cx.host.hub().publish(&args[1], &args[2], cx.rings);
    cx.out.integer(i64::try_from(receivers).unwrap_or(i64::MAX));
    Ok(())
}

fn run_spublish(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let hub = cx.host.hub();
    let receivers = hub.publish_to_shard(&args[1], &args[2], cx.rings);
    cx.out.integer(i64::try_from(receivers).unwrap_or(i64::MAX));
    Ok(())
}
