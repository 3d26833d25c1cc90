//! `TIME`: Unix time, as two strings: seconds, and the microseconds of the second.
//!
//! It is the time of the batch the command is in, the one by which deadlines are judged: a key
//! whose deadline this time has reached is gone.

use crate::command::spec::{Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "time",
    1,
    Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
    Keys::NONE,
    run,
)
.group(Group::Server)
.since("2.6.0")
.doc("Answers the server's clock.", "O(1)")
.tips(&["nondeterministic_output"])];

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let now = cx.now();
    let micros = now.wall_ms % 1_000 * 1_000 + u64::from(now.wall_sub_us);
    cx.out.array(2);
    cx.out
        .bulk_i64(i64::try_from(now.wall_ms / 1_000).unwrap_or(i64::MAX));
    cx.out.bulk_i64(i64::try_from(micros).unwrap_or(i64::MAX));
    Ok(())
}
