//! `GETEX key [EX | PX | EXAT | PXAT | PERSIST]`: the value of `key`, or null; sets or takes away
//! the key's deadline.
//!
//! A deadline that has passed already removes the key. The number of the option is looked at only
//! where the key is there, as in Redis.

use crate::command::expiry::{EXPIRY_OR_PERSIST_ARGS, Ttl};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, value};
use crate::engine::Deadline;
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "getex",
    -2,
    Flags::WRITE.with(Flags::FAST),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    )
    .note("RW and UPDATE because it changes the TTL"),
    run,
)
.group(Group::String)
.since("6.2.0")
.doc(
    "Answers the string value of a key and sets or takes away its deadline.",
    "O(1)",
)
.args(&[
    Arg::key("key"),
    Arg::new("expiration", ArgKind::OneOf(EXPIRY_OR_PERSIST_ARGS)).optional(),
])];

fn parse(mut words: Words<'_>) -> Result<Ttl<'_>, ReplyError> {
    let mut ttl = Ttl::Unsaid;
    while words.more() {
        if !ttl.read(&mut words, "PERSIST", Ttl::Persist) {
            words.reject();
        }
    }
    words.finish()?;
    Ok(ttl)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let ttl = parse(Words::new(args.skip(2)))?;
    let (db, key, now) = (cx.db(), &args[1], cx.now());
    let deadline = ttl.deadline(Deadline::Keep, now, cx.spec.name);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let found = slot.read();
    let deadline = if found.is_some() {
        deadline?
    } else {
        Deadline::Keep
    };
    value::write(&mut cx.out, found);
    match deadline {
        Deadline::At(at) if at <= now.wall_ms => {
            slot.remove();
        }
        Deadline::At(at) => slot.set_deadline(Some(at)),
        Deadline::None if slot.deadline_ms().is_some() => slot.set_deadline(None),
        Deadline::None | Deadline::Keep => {}
    }
    Ok(())
}
