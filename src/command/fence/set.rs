//! `FENCE.SET key n`: refuses what was fenced with a lower number from now on, without a write.
//!
//! Reply: OK, or -FENCED and nothing changed where the key's fence mark is higher. A repeat changes
//! nothing. A key that is not there becomes a bare fence, of type `fence`, which a fenced `SET`
//! turns into a string; a string keeps its value.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::engine::{Kind, Slot, WrongType};
use linchpin_protocol::Args;

/// The version that brought them.
pub const SINCE: &str = "linchpin 0.1.0";
/// The highest fence: what a client that reads doubles still tells from its neighbours.
const FENCE_MAX: i64 = (1 << 53) - 1;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "fence.set",
    3,
    Flags::WRITE
        .with(Flags::DENYOOM)
        .with(Flags::FAST)
        .with(Flags::DURABLE),
    Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE)),
    run,
)
.group(Group::Fence)
.since(SINCE)
.doc(
    "Refuses writes of a key that are fenced with a lower number.",
    "O(1)",
)
.args(&[Arg::key("key"), Arg::new("fence", ArgKind::Integer)])
.repeat(Repeat::Safe)];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let fence = take(&mut words);
    words.finish()?;
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    if slot.kind().is_some_and(|kind| kind != Kind::Fence) {
        return Err(WrongType.into());
    }
    judge(&slot, fence)?;
    slot.raise_fence(fence);
    cx.out.ok();
    Ok(())
}

/// The next word as a fence.
pub fn take(words: &mut Words<'_>) -> u64 {
    let fence = words.integer_in(0..=FENCE_MAX, error::NOT_INTEGER);
    fence.unsigned_abs()
}

/// Whether a write of this key that is fenced with this number may pass.
///
/// # Errors
/// `-FENCED`: one with a higher number came before.
pub fn judge(slot: &Slot<'_>, fence: u64) -> Result<(), ReplyError> {
    match slot.fence() {
        Some(current) if fence < current => Err(ReplyError::fenced(current)),
        _ => Ok(()),
    }
}
