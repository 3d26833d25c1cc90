//! `GET key`: the value of `key`, or null.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, value};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "get",
    2,
    Flags::READONLY.with(Flags::FAST),
    Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
    run,
)
.group(Group::String)
.doc("Answers the string value of a key.", "O(1)")
.args(&[Arg::key("key")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    value::write(&mut cx.out, cx.step.lock(db, key)?.slot(db, key).read());
    Ok(())
}
