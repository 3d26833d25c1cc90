//! `WATCH key [key ...]` and `UNWATCH`: make the next `EXEC` depend on keys staying as they are.

use crate::command::conn::WATCHED_KEYS_MAX;
use crate::command::error;
use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;
use std::collections::BTreeSet;

const FLAGS: Flags = Flags::NOSCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "watch",
        -2,
        FLAGS.with(Flags::IMMEDIATE),
        Keys::rest(1, 1, KeyFlags::RO),
        run_watch,
    )
    .group(Group::Transactions)
    .since("2.2.0")
    .doc(
        "Makes the next EXEC do nothing if one of these keys changes first.",
        "O(N log N) with N keys watched",
    )
    .args(&[Arg::key("key").multiple()]),
    Spec::new("unwatch", 1, FLAGS, Keys::NONE, run_unwatch)
        .group(Group::Transactions)
        .since("2.2.0")
        .doc("Forgets all watched keys.", "O(N) with N keys watched"),
];

fn run_watch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    if cx.conn.multi.is_some() {
        return Err(error::WATCH_IN_MULTI);
    }
    if cx.host.durability().is_some_and(|disk| disk.is_loading()) {
        // Watching opens the key, which removes it if it is past its deadline.
        return Err(error::LOADING);
    }
    let (db, keys) = (cx.db(), args.skip(1));
    let mut new: BTreeSet<_> = keys.iter().map(|key| (db, Box::from(key))).collect();
    new.retain(|name| !cx.conn.watched.contains(name));
    if cx.conn.watched.len() + new.len() > WATCHED_KEYS_MAX {
        return Err(error::WATCH_TOO_MANY);
    }
    for (db, key) in new {
        let watched = cx.step.lock(db, &key).watch(db, &key);
        cx.conn.watched.insert(watched);
    }
    cx.out.ok();
    Ok(())
}

fn run_unwatch(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    unwatch_all(cx);
    cx.out.ok();
    Ok(())
}

/// Forgets all keys the connection watches.
pub fn unwatch_all(cx: &mut Cx<'_>) {
    for watched in cx.conn.watched.take() {
        cx.step.unwatch(watched);
    }
}
