//! `TYPE key`: what kind of value a key holds (`string`, `fence`, `lock` ...), or `none`.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "type",
    2,
    Flags::READONLY.with(Flags::FAST),
    Keys::one(1, KeyFlags::RO),
    run,
)
.group(Group::Generic)
.doc("Answers what kind of value a key holds.", "O(1)")
.args(&[Arg::key("key")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    slot.peek();
    cx.out.simple(slot.type_name().unwrap_or("none"));
    Ok(())
}
