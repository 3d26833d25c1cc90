//! `RANDOMKEY`: some key of the database, or null where it has none.

use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "randomkey",
    1,
    Flags::READONLY.with(Flags::TOUCHES_ARBITRARY_KEYS),
    Keys::NONE,
    run,
)
.group(Group::Generic)
.doc(
    "Answers a key of the database, each as likely as any other.",
    "O(N) with N shards",
)
.tips(&[
    "request_policy:all_shards",
    "response_policy:special",
    "nondeterministic_output",
])];

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    match cx.step.random_key(cx.conn.db, || cx.host.random()) {
        Some(key) => cx.out.bulk(&key),
        None => cx.out.null(),
    }
    Ok(())
}
