//! `CLIENT SLOWPOLICY DISCONNECT | DROP-OLDEST | DROP-NEWEST | CONFLATE`: what becomes of messages
//! that this connection is too slow for.
//!
//! It counts for messages of channels once more of them wait than `client-output-buffer-limit
//! pubsub` allows. With `DISCONNECT`, as it is at first, the connection ends. Otherwise messages
//! are dropped: those that waited longest, the new one, or, with `CONFLATE`, those whose channel
//! has a newer one, and the oldest if more than half of the limit is still taken. In protocol
//! version 3 a push `dropped` says how many, before the next message; `CLIENT LIST` has the sum.
//!
//! To be set before subscribing where protocol version 2 is spoken.

use super::client::FLAGS;
use crate::command::Cx;
use crate::command::error::{self, ReplyError};
use crate::command::spec::{Arg, ArgKind, Group, Keys, Spec};
use crate::pubsub::SlowPolicy;
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("client|slowpolicy", 3, FLAGS, Keys::NONE, run)
    .group(Group::Connection)
    .since("linchpin 0.1.0")
    .doc(
        "Says what becomes of messages that the connection is too slow for.",
        "O(1)",
    )
    .args(&[Arg::new("policy", ArgKind::OneOf(POLICY_ARGS))])];

const POLICY_ARGS: &[Arg] = &[
    Arg::word("disconnect", "DISCONNECT"),
    Arg::word("drop-oldest", "DROP-OLDEST"),
    Arg::word("drop-newest", "DROP-NEWEST"),
    Arg::word("conflate", "CONFLATE"),
];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = SlowPolicy::WORDS.iter();
    let chosen = words.find(|(word, _)| args[2].eq_ignore_ascii_case(word.as_bytes()));
    let (_, policy) = chosen.ok_or(error::SYNTAX)?;
    cx.conn.set_slow_policy(*policy, cx.host.clients());
    cx.out.ok();
    Ok(())
}
