//! `TYPE key`: what kind of value a key holds (`string`), or `none`.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Encoding;
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
    let mut locked = cx.step.lock(db, key);
    let mut slot = locked.slot(db, key);
    slot.peek();
    cx.out
        .simple(slot.encoding().map_or("none", Encoding::type_name));
    Ok(())
}
