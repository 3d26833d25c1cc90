//! `INCRBYFLOAT key increment`: adds a number with a fraction to the one a key holds.
//!
//! Reply: the new number, as a string in both protocol versions. The key's deadline stays; a key
//! that is not there counts as 0. `decimal.rs` says how numbers are read, added and printed.

use super::decimal::Number;
use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::{Deadline, ValueRef};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "incrbyfloat",
    3,
    Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    ),
    run,
)
.group(Group::String)
.since("2.6.0")
.doc(
    "Adds a number, which may have a fraction, to the one a key holds.",
    "O(1)",
)
.args(&[Arg::key("key"), Arg::new("increment", ArgKind::Double)])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let increment = Number::parse(&args[2]).ok_or(error::NOT_FLOAT)?;
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let old = slot.value().map_or(Ok(Number::ZERO), as_number)?;
    let new = old
        .checked_add(increment)
        .ok_or(error::NAN_OR_INFINITY)?
        .to_string();
    slot.put(ValueRef::Bytes(new.as_bytes()), Deadline::Keep);
    cx.out.bulk(new.as_bytes());
    Ok(())
}

/// The number a value is.
///
/// # Errors
/// [`error::NOT_FLOAT`] where it is none.
pub fn as_number(value: ValueRef<'_>) -> Result<Number, ReplyError> {
    match value {
        ValueRef::Int(n) => Ok(Number::from_i64(n)),
        ValueRef::Bytes(text) => Number::parse(text).ok_or(error::NOT_FLOAT),
    }
}
