//! `PERSIST key`: takes a key's deadline away. Reply: 1, or 0 where there was none.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "persist",
    2,
    Flags::WRITE.with(Flags::FAST),
    Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE)),
    run,
)
.group(Group::Generic)
.since("2.2.0")
.doc("Takes a key's deadline away.", "O(1)")
.args(&[Arg::key("key")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let had_one = slot.deadline_ms().is_some();
    if had_one {
        slot.set_deadline(None);
    }
    cx.out.integer(i64::from(had_one));
    Ok(())
}
