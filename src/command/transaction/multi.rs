//! `MULTI` and `DISCARD`: begin to queue commands, and give it up.

use crate::command::conn::Multi;
use crate::command::error;
use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::NOSCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY)
    .with(Flags::IMMEDIATE);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("multi", 1, FLAGS, Keys::NONE, run_multi)
        .group(Group::Transactions)
        .since("1.2.0")
        .doc(
            "Begins a transaction: the commands that follow are queued.",
            "O(1)",
        ),
    Spec::new("discard", 1, FLAGS, Keys::NONE, run_discard)
        .group(Group::Transactions)
        .since("2.0.0")
        .doc(
            "Ends a transaction without running what was queued.",
            "O(N) with N commands queued",
        ),
];

fn run_multi(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    if cx.conn.multi.is_some() {
        return Err(error::NESTED_MULTI);
    }
    cx.conn.multi = Some(Multi::default());
    cx.out.ok();
    Ok(())
}

fn run_discard(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    if cx.conn.multi.take().is_none() {
        return Err(error::DISCARD_WITHOUT_MULTI);
    }
    super::watch::unwatch_all(cx);
    cx.out.ok();
    Ok(())
}
