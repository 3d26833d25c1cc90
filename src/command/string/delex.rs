//! `DELEX key [condition]` and Valkey's `DELIFEQ key value`: remove a key that has a certain value,
//! as a lock's holder does with its token. Reply: 1, or 0 where nothing was removed.
//!
//! Assumed, for Redis' page does not say: the condition is checked before the key is looked up.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::string::compare::{Condition, VALUE_CONDITION_ARGS};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "delex",
        -2,
        Flags::WRITE.with(Flags::FAST),
        Keys::one(
            1,
            KeyFlags::RW
                .with(KeyFlags::DELETE)
                .with(KeyFlags::VARIABLE_FLAGS),
        ),
        run_delex,
    )
    .group(Group::String)
    .since("8.4.0")
    .doc(
        "Removes a key if its value, or the digest of it, meets a condition.",
        "O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE with N bytes of value",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("condition", ArgKind::OneOf(VALUE_CONDITION_ARGS)).optional(),
    ]),
    Spec::new(
        "delifeq",
        3,
        Flags::WRITE.with(Flags::FAST),
        Keys::one(
            1,
            KeyFlags::RM.with(KeyFlags::ACCESS).with(KeyFlags::DELETE),
        ),
        run_delifeq,
    )
    .group(Group::String)
    .since("9.0.0")
    .doc(
        "Removes a key if it has this string value; Valkey's name for `DELEX key IFEQ value`.",
        "O(1)",
    )
    .args(&[Arg::key("key"), Arg::new("value", ArgKind::String)]),
];

fn run_delex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let condition = match args.len() {
        2 => Condition::Present,
        4 => {
            let mut words = Words::new(args.skip(2));
            let condition = Condition::read_on_value(&mut words).ok_or(error::BAD_CONDITION)?;
            words.finish()?;
            condition
        }
        _ => return Err(ReplyError::wrong_arity(cx.spec.name)),
    };
    remove_if(cx, &args[1], condition)
}

fn run_delifeq(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    remove_if(cx, &args[1], Condition::Equal(&args[2]))
}

fn remove_if(cx: &mut Cx<'_>, key: &[u8], condition: Condition<'_>) -> Result<(), ReplyError> {
    let db = cx.db();
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let removed = condition.holds(slot.value()) && slot.remove();
    cx.out.integer(i64::from(removed));
    Ok(())
}
