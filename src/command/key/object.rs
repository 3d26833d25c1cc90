//! `OBJECT ENCODING | FREQ | IDLETIME | REFCOUNT key`: how a value is held and used. All answer
//! null where there is no such key, and none is a use of it.
//!
//! What is no string is held in one way only: ENCODING answers its type. FREQ is known under the
//! lfu policies, IDLETIME under all others.
//!
//! LIMITATIONS: values are not shared, so REFCOUNT is 1.

use crate::command::error;
use crate::command::help;
use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Run, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Slot;
use linchpin_protocol::{Args, Writer};

const ARGS: &[Arg] = &[Arg::key("key")];

const fn row(name: &'static str, run: Run) -> Spec {
    Spec::new(name, 3, Flags::READONLY, Keys::one(2, KeyFlags::RO), run)
        .group(Group::Generic)
        .since("2.2.3")
        .args(ARGS)
        .tips(&["nondeterministic_output"])
}

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("object", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Generic)
        .since("2.2.3")
        .doc(
            "Looks at how values are held and used.",
            "as the subcommand says",
        ),
    row("object|encoding", |cx, args| {
        show(cx, args, |slot, out| {
            out.bulk(slot.encoding_name().unwrap_or_default().as_bytes());
            Ok(())
        })
    })
    .doc("Answers how a key's value is held.", "O(1)"),
    row("object|freq", |cx, args| {
        show(cx, args, |slot, out| {
            let frequency = slot.frequency().ok_or(error::FREQ_NOT_TRACKED)?;
            out.integer(frequency.into());
            Ok(())
        })
    })
    .since("4.0.0")
    .doc("Answers how often a key is used.", "O(1)"),
    row("object|idletime", |cx, args| {
        show(cx, args, |slot, out| {
            let idle_s = slot.idle_s().ok_or(error::IDLETIME_NOT_TRACKED)?;
            out.integer(idle_s.into());
            Ok(())
        })
    })
    .doc("Answers the seconds since a key was last used.", "O(1)"),
    row("object|refcount", |cx, args| {
        show(cx, args, |_, out| {
            out.integer(1);
            Ok(())
        })
    })
    .doc("Answers how many keys share a key's value.", "O(1)"),
    help::row("object|help")
        .group(Group::Generic)
        .since("6.2.0"),
];

/// Answers null, or what `answer` does for a key that is there.
fn show(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    answer: fn(&Slot<'_>, &mut Writer<'_>) -> Result<(), ReplyError>,
) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[2]);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    if slot.peek().is_none() {
        cx.out.null();
        return Ok(());
    }
    answer(&slot, &mut cx.out)
}
