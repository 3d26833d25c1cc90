//! `APPEND key value`: adds bytes at the end of the value. Reply: the new length.
//!
//! A key that is not there begins as an empty string; one that is keeps its deadline.

use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, value};
use crate::engine::{Deadline, ValueRef};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "append",
    3,
    Flags::WRITE
        .with(Flags::DENYOOM)
        .with(Flags::FAST)
        .with(Flags::UNFORESEEN),
    Keys::one(1, KeyFlags::RW.with(KeyFlags::INSERT)),
    run,
)
.group(Group::String)
.since("2.0.0")
.doc(
    "Adds bytes at the end of a string value.",
    "O(N) with N bytes added; now and then the value moves to a larger place",
)
.args(&[Arg::key("key"), Arg::new("value", ArgKind::String)])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key, suffix) = (cx.db(), &args[1], &args[2]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let len = match slot.value().as_ref().map(ValueRef::text_bytes) {
        None => {
            slot.put(value::encode(suffix), Deadline::None);
            suffix.len()
        }
        Some(old_len) => {
            value::check_len(cx.settings, old_len.checked_add(suffix.len()))?;
            slot.append(suffix)
        }
    };
    cx.out.integer(len as i64);
    Ok(())
}
