//! `GETDEL key`: the value of `key`, which is removed, or null.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, value};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "getdel",
    2,
    Flags::WRITE.with(Flags::FAST),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE),
    ),
    run,
)
.group(Group::String)
.since("6.2.0")
.doc(
    "Answers the string value of a key and removes the key.",
    "O(1)",
)
.args(&[Arg::key("key")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    value::write(&mut cx.out, slot.read());
    slot.remove();
    Ok(())
}
