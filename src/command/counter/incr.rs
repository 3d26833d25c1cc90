//! `INCR`, `DECR`, `INCRBY` and `DECRBY`: whole numbers up and down.
//!
//! Reply: the new number. The key's deadline stays; a key that is not there counts as 0.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, words};
use crate::engine::{Deadline, ValueRef};
use linchpin_protocol::{Args, number};

const FLAGS: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST);
const KEYS: Keys = Keys::one(
    1,
    KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
);

const fn row(name: &'static str, arity: i16, run: crate::command::spec::Run) -> Spec {
    Spec::new(name, arity, FLAGS, KEYS, run).group(Group::String)
}

/// The rows.
pub const SPECS: &[Spec] = &[
    row("incr", 2, |cx, args| add(cx, &args[1], 1))
        .doc("Adds one to the number a key holds.", "O(1)")
        .args(&[Arg::key("key")]),
    row("decr", 2, |cx, args| add(cx, &args[1], -1))
        .doc("Takes one from the number a key holds.", "O(1)")
        .args(&[Arg::key("key")]),
    row("incrby", 3, run_incrby)
        .doc("Adds a whole number to the one a key holds.", "O(1)")
        .args(&[Arg::key("key"), Arg::new("increment", ArgKind::Integer)]),
    row("decrby", 3, run_decrby)
        .doc("Takes a whole number from the one a key holds.", "O(1)")
        .args(&[Arg::key("key"), Arg::new("decrement", ArgKind::Integer)]),
];

fn run_incrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    add(cx, &args[1], words::integer(&args[2])?)
}

fn run_decrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let decrement = words::integer(&args[2])?;
    add(
        cx,
        &args[1],
        decrement.checked_neg().ok_or(error::DECREMENT_OVERFLOW)?,
    )
}

fn add(cx: &mut Cx<'_>, key: &[u8], increment: i64) -> Result<(), ReplyError> {
    let db = cx.db();
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let old = slot.value().map_or(Ok(0), as_integer)?;
    let new = old.checked_add(increment).ok_or(error::OVERFLOW)?;
    slot.put(ValueRef::Int(new), Deadline::Keep);
    cx.out.integer(new);
    Ok(())
}

/// The number a value is.
///
/// # Errors
/// [`error::NOT_INTEGER`] where it is none.
pub fn as_integer(value: ValueRef<'_>) -> Result<i64, ReplyError> {
    match value {
        ValueRef::Int(n) => Ok(n),
        ValueRef::Bytes(text) => number::parse_i64(text).ok_or(error::NOT_INTEGER),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A value grown by APPEND is stored as bytes though its text may be a number.
    #[test]
    fn a_text_of_digits_is_a_number() {
        assert_eq!(as_integer(ValueRef::Bytes(b"12")), Ok(12));
        assert_eq!(as_integer(crate::command::value::encode(b"12")), Ok(12));
        assert_eq!(as_integer(ValueRef::Bytes(b" 12")), Err(error::NOT_INTEGER));
    }
}
