//! `RENAME key newkey` and `RENAMENX`: give a value another name; its deadline and its fence mark
//! go with it.
//!
//! `RENAME` answers OK and replaces what has the new name. `RENAMENX` answers 1, or 0 and changes
//! nothing where the new name is taken, by the key itself too. No such key is an error.

use super::copy::Contents;
use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

const FROM: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::DELETE);
const ARGS: &[Arg] = &[Arg::key("key"), Arg::new("newkey", ArgKind::Key(1))];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "rename",
        3,
        Flags::WRITE.with(Flags::CARRIES),
        Keys::pair(FROM, KeyFlags::OW.with(KeyFlags::UPDATE)),
        run_rename,
    )
    .group(Group::Generic)
    .doc(
        "Gives a key another name, in place of whatever has it.",
        "O(N) with N bytes of value",
    )
    .args(ARGS),
    Spec::new(
        "renamenx",
        3,
        Flags::WRITE.with(Flags::FAST).with(Flags::CARRIES),
        Keys::pair(FROM, KeyFlags::OW.with(KeyFlags::INSERT)),
        run_renamenx,
    )
    .group(Group::Generic)
    .doc(
        "Gives a key another name if no key has it.",
        "O(N) with N bytes of value",
    )
    .args(ARGS)
    .history(&[("3.2.0", "Two equal names are no longer an error.")]),
];

fn run_rename(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    rename(cx, &args[1], &args[2], true)?;
    cx.out.ok();
    Ok(())
}

fn run_renamenx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let renamed = rename(cx, &args[1], &args[2], false)?;
    cx.out.integer(i64::from(renamed));
    Ok(())
}

/// Renames a key and answers whether it did: not where the names are equal, and not without
/// `replace` where the new one is taken.
fn rename(cx: &mut Cx<'_>, from: &[u8], to: &[u8], replace: bool) -> Result<bool, ReplyError> {
    let db = cx.db();
    let names = [from, to];
    let mut locked = if replace {
        cx.step.lock_all(db, names.into_iter())?
    } else {
        let locked = cx.step.lock_any_all(db, names.into_iter());
        locked.expect_string(db, from)?;
        locked
    };
    if !locked.slot(db, from).exists() {
        return Err(error::NO_SUCH_KEY);
    }
    if from == to || !replace && locked.slot(db, to).exists() {
        return Ok(false);
    }
    let contents = Contents::of(&locked.slot(db, from)).ok_or(error::NO_SUCH_KEY)?;
    let fence = locked.slot(db, from).fence();
    contents.put(&mut locked.slot(db, to), fence);
    locked.slot(db, from).remove();
    Ok(true)
}
