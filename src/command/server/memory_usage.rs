//! `MEMORY USAGE key [SAMPLES count]`: the bytes a key takes, null where there is no such key.
//!
//! That is the room of its record, or the allocations of a large one, and an even share of what its
//! shard holds besides: the table, holes, what is left of pages. So the sum over all keys is what
//! the store holds, and the first keys of a nearly empty database carry its pages. Asking is no use
//! of the key. `SAMPLES` is for values with elements; there are none.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "memory|usage",
    -3,
    Flags::READONLY,
    Keys::one(2, KeyFlags::RO),
    run,
)
.group(Group::Server)
.since("4.0.0")
.doc(
    "Answers the bytes a key takes.",
    "O(N) with N pages of the key's shard",
)
.args(&[
    Arg::key("key"),
    Arg::new("count", ArgKind::Integer)
        .token("SAMPLES")
        .optional(),
])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(3));
    while words.more() {
        if words.left() > 1 && words.keyword("SAMPLES") {
            words.integer_in(0..=i64::MAX, error::SYNTAX);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let (db, key) = (cx.db(), &args[2]);
    match cx.step.lock_any(db, key).slot(db, key).memory_bytes() {
        Some(bytes) => cx.out.integer(i64::try_from(bytes).unwrap_or(i64::MAX)),
        None => cx.out.null(),
    }
    Ok(())
}
