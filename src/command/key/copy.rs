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
use crate::engine::{Deadline, Slot, Soft, Value};
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

/// What goes along when a key gets another name: all but its fence mark.
pub(super) struct Contents {
    value: Value,
    deadline: Deadline,
    soft: Option<Soft>,
}

impl Contents {
    /// Of a key that is a string. O(bytes of value): for when it is known that it will go.
    pub(super) fn of(slot: &Slot<'_>) -> Option<Self> {
        Some(Self {
            value: slot.value()?.into(),
            deadline: slot.deadline_ms().map_or(Deadline::None, Deadline::At),
            soft: slot.soft(),
        })
    }

    /// Writes it where it goes. No write lowers a fence mark: of the one there and the one that
    /// comes along the higher stays.
    pub(super) fn put(&self, slot: &mut Slot<'_>, fence: Option<u64>) {
        slot.put(self.value.as_ref(), self.deadline);
        if let Some(soft) = self.soft {
            slot.set_soft(soft);
        }
        if let Some(fence) = fence {
            slot.raise_fence(fence);
        }
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
    if copies && let Some(contents) = Contents::of(&locked.slot(db, from)) {
        contents.put(&mut locked.slot(to_db, to), None);
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
    if moves && let Some(contents) = Contents::of(&locked.slot(db, key)) {
        let fence = locked.slot(db, key).fence();
        contents.put(&mut locked.slot(to_db, key), fence);
        locked.slot(db, key).remove();
    }
    cx.out.integer(i64::from(moves));
    Ok(())
}
