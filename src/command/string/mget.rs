//! `MGET key [key ...]`: the values of the keys in order, null for each that is not there.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, value};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "mget",
    -2,
    Flags::READONLY.with(Flags::FAST),
    Keys::rest(1, 1, KeyFlags::RO.with(KeyFlags::ACCESS)),
    run,
)
.group(Group::String)
.doc(
    "Answers the string values of several keys, all as of one moment.",
    "O(N) with N keys named",
)
.args(&[Arg::key("key").multiple()])
.tips(&["request_policy:multi_shard"])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, keys) = (cx.db(), args.skip(1));
    let mut locked = cx.step.lock_all(db, keys.iter())?;
    cx.out.array(keys.len());
    for key in keys.iter() {
        value::write(&mut cx.out, locked.slot(db, key).read());
    }
    Ok(())
}
