//! `PING [message]` and `ECHO message`: is anybody there?
//!
//! A connection that listens in protocol version 2 awaits arrays, and is answered one.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::{Args, Version};

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "ping",
        -1,
        Flags::FAST.with(Flags::SUBSCRIBER),
        Keys::NONE,
        run_ping,
    )
    .group(Group::Connection)
    .doc("Answers PONG, or the message.", "O(1)")
    .args(&[Arg::new("message", ArgKind::String).optional()])
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Spec::new(
        "echo",
        2,
        Flags::FAST.with(Flags::LOADING).with(Flags::STALE),
        Keys::NONE,
        run_echo,
    )
    .group(Group::Connection)
    .doc("Answers the message.", "O(1)")
    .args(&[Arg::new("message", ArgKind::String)]),
];

fn run_ping(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let is_listening = cx.conn.is_subscribed() && cx.out.version() == Version::Resp2;
    match (args.get(1), args.get(2)) {
        (message, None) if is_listening => {
            cx.out.array(2);
            cx.out.bulk(b"pong");
            cx.out.bulk(message.unwrap_or_default());
        }
        (None, _) => cx.out.simple("PONG"),
        (Some(message), None) => cx.out.bulk(message),
        (Some(_), Some(_)) => return Err(ReplyError::wrong_arity(cx.spec.name)),
    }
    Ok(())
}

fn run_echo(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    cx.out.bulk(&args[1]);
    Ok(())
}
