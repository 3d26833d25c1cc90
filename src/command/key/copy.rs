//! `COPY source destination [DB index] [REPLACE]` and `MOVE key index`: the value and deadline of a
//! key under another name or in another database.
//!
//! Reply: 1, or 0 and nothing changed where the source is not there or the destination is. Source
//! and destination may not be the same place.
//!
//! A fence mark moves with its key, and is not copied: it says how far the writes of one key have
//! come, and the copy is another.

use crate::command::connection::select;
use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::engine::{Deadline, Slot, Value, ValueRef};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "copy",
        -3,
        Flags::WRITE
            .with(Flags::DENYOOM)
            .with(Flags::UNFORESEEN)
            .with(Flags::CARRIES),
        Keys::pair(
            KeyFlags::RO.with(KeyFlags::ACCESS),
            KeyFlags::OW.with(KeyFlags::UPDATE),
        ),
        run_copy,
    )
    .group(Group::Generic)
    .since("6.2.0")
    .doc(
        "Copies a key's value and deadline to another key.",
        "O(N) with N bytes of value",
    )
    .args(&[
        Arg::key("source"),
        Arg::new("destination", ArgKind::Key(1)),
        Arg::new("destination-db", ArgKind::Integer)
            .token("DB")
            .optional(),
        Arg::word("replace", "REPLACE").optional(),
    ]),
    Spec::new(
        "move",
        3,
        Flags::WRITE.with(Flags::FAST).with(Flags::CARRIES),
        Keys::one(
            1,
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        ),
        run_move,
    )
    .group(Group::Generic)
    .doc(
        "Moves a key to another database if it is free there.",
        "O(N) with N bytes of value",
    )
    .args(&[Arg::key("key"), Arg::new("db", ArgKind::Integer)]),
];

/// All of a key that goes along when it gets another name. O(bytes of value): for when it is known
/// that it will.
pub(super) fn contents(slot: &Slot<'_>) -> Option<(Value, Deadline)> {
    let deadline = slot.deadline_ms().map_or(Deadline::None, Deadline::At);
    slot.value().map(|value| (value.into(), deadline))
}

/// Writes what a key had where it goes. No write lowers a fence mark: of the one there and the one
/// that comes along the higher stays.
pub(super) fn carry(
    slot: &mut Slot<'_>,
    value: ValueRef<'_>,
    deadline: Deadline,
    fence: Option<u64>,
) {
    slot.put(value, deadline);
    if let Some(fence) = fence {
        slot.raise_fence(fence);
    }
}

/// The database to copy to, and whether what is there gives way.
fn parse(cx: &Cx<'_>, mut words: Words<'_>) -> Result<(u32, bool), ReplyError> {
    let (mut to_db, mut replace) = (cx.db(), false);
    while words.more() {
        if words.keyword("REPLACE") {
            replace = true;
        } else if words.left() >= 2 && words.keyword("DB") {
            to_db = select::database(cx, words.take())?;
        } else {
            words.reject();
        }
    }
    words.finish()?;
    Ok((to_db, replace))
}

fn run_copy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (to_db, replace) = parse(cx, Words::new(args.skip(3)))?;
    let (db, from, to) = (cx.db(), &args[1], &args[2]);
    if (db, from) == (to_db, to) {
        return Err(error::SAME_OBJECT);
    }
    let mut locked = cx.step.lock_each([(db, from), (to_db, to)].into_iter())?;
    let mut source = locked.slot(db, from);
    source.read();
    let copies = source.exists() && (replace || !locked.slot(to_db, to).exists());
    if copies && let Some((value, deadline)) = contents(&locked.slot(db, from)) {
        locked.slot(to_db, to).put(value.as_ref(), deadline);
    }
    cx.out.integer(i64::from(copies));
    Ok(())
}

fn run_move(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let to_db = select::database(cx, &args[2])?;
    let (db, key) = (cx.db(), &args[1]);
    if db == to_db {
        return Err(error::SAME_OBJECT);
    }
    let mut locked = cx.step.lock_each([(db, key), (to_db, key)].into_iter())?;
    let moves = locked.slot(db, key).exists() && !locked.slot(to_db, key).exists();
    if moves && let Some((value, deadline)) = contents(&locked.slot(db, key)) {
        let fence = locked.slot(db, key).fence();
        carry(
            &mut locked.slot(to_db, key),
            value.as_ref(),
            deadline,
            fence,
        );
        locked.slot(db, key).remove();
    }
    cx.out.integer(i64::from(moves));
    Ok(())
}
