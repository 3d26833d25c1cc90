//! `DIGEST key`: 16 hexadecimal digits that tell the value of `key` from others, or null.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::string::compare;
use crate::command::{Cx, ReplyError};
use crate::engine::IntText;
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "digest",
    2,
    Flags::READONLY.with(Flags::FAST),
    Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
    run,
)
.group(Group::String)
.since("8.4.0")
.doc(
    "Answers the digest of a key's string value, as IFDEQ and IFDNE take it.",
    "O(N) with N bytes of value",
)
.args(&[Arg::key("key")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    match locked.slot(db, key).read() {
        Some(value) => {
            let digest = compare::digest(value.text(&mut IntText::default()));
            cx.out.bulk(digest.as_bytes());
        }
        None => cx.out.null(),
    }
    Ok(())
}
