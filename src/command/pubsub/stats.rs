//! `PUBSUB STATS`: what there is to listen to, and what slow subscribers were not sent.
//!
//! Reply: a map. `channels`, `shard-channels` and `patterns` that have subscribers; since the last
//! `CONFIG RESETSTAT`, messages dropped under each policy of `CLIENT SLOWPOLICY`: `dropped-oldest`,
//! `dropped-newest`, `conflated`; and `cut-off`, connections ended for what waited for them.

use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::pubsub::{Kind, SlowPolicy};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::PUBSUB.with(Flags::LOADING).with(Flags::STALE);

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("pubsub|stats", 2, FLAGS, Keys::NONE, run)
    .group(Group::Pubsub)
    .since("linchpin 0.1.0")
    .doc("Tells what slow subscribers were not sent.", "O(1)")
    .tips(&["nondeterministic_output"])];

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let hub = cx.host.hub();
    let (losses, there) = (hub.losses(), |kind| hub.len(kind) as u64);
    let figures = [
        ("channels", there(Kind::Channel)),
        ("shard-channels", there(Kind::Shard)),
        ("patterns", there(Kind::Pattern)),
        ("dropped-oldest", losses.dropped(SlowPolicy::DropOldest)),
        ("dropped-newest", losses.dropped(SlowPolicy::DropNewest)),
        ("conflated", losses.dropped(SlowPolicy::Conflate)),
        ("cut-off", losses.cut_off()),
    ];
    cx.out.map(figures.len());
    for (name, figure) in figures {
        cx.out.bulk(name.as_bytes());
        cx.out.integer(i64::try_from(figure).unwrap_or(i64::MAX));
    }
    Ok(())
}
