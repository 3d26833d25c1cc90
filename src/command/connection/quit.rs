//! `QUIT` and `RESET`: leave, or be as new.
//!
//! `QUIT` answers OK and closes the connection. `RESET` gives up a transaction and what is watched,
//! ends all subscriptions, goes back to database 0, protocol version 2 and replies to everything,
//! takes the connection's name away and, under `requirepass`, its authentication. What lives by the
//! connection alone ends, as if it had closed; sessions bound to it stay. The library's name and
//! version stay: the library behind the connection is still the same.

use super::auth::FLAGS;
use super::client;
use crate::command::conn::Replies;
use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::transaction::watch;
use crate::command::{Cx, ReplyError};
use crate::pubsub::SlowPolicy;
use linchpin_protocol::{Args, Version};

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "quit",
        -1,
        FLAGS.with(Flags::IMMEDIATE).with(Flags::SUBSCRIBER),
        Keys::NONE,
        run_quit,
    )
    .group(Group::Connection)
    .doc("Closes the connection.", "O(1)")
    .deprecated("7.2.0", "just closing the connection"),
    Spec::new(
        "reset",
        1,
        FLAGS.with(Flags::IMMEDIATE).with(Flags::SUBSCRIBER),
        Keys::NONE,
        run_reset,
    )
    .group(Group::Connection)
    .since("6.2.0")
    .doc(
        "Makes the connection as it was when it opened.",
        "O(N) with N locks that live with the connection",
    ),
];

fn run_quit(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.conn.closing = true;
    cx.out.ok();
    Ok(())
}

fn run_reset(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    watch::unwatch_all(cx);
    if cx.conn.is_coordinated {
        let conn = cx.conn.id;
        cx.step.coordinate(|turn| turn.end_own_session(conn));
    }
    if let Some(subscriber) = &mut cx.conn.subscriber {
        subscriber.leave(cx.host.hub());
        // What came before goes before.
        let mut messages = Vec::new();
        subscriber.flush(&mut messages, cx.out.version());
        cx.out.raw(&messages);
    }
    cx.conn
        .set_slow_policy(SlowPolicy::default(), cx.host.clients());
    let authenticated = cx.host.settings().requirepass.is_none();
    let conn = &mut *cx.conn;
    conn.multi = None;
    conn.db = 0;
    conn.resp = Version::Resp2;
    conn.replies = Replies::default();
    conn.no_evict = false;
    conn.authenticated = authenticated;
    client::set_name(conn, "");
    cx.out.simple("RESET");
    Ok(())
}
