//! `DEL key [key ...]` and `UNLINK`: remove keys. Reply: how many were there.
//!
//! Both do the same here: a string's memory goes back in constant time. Where one of the keys is an
//! object that somebody holds, none is removed.

use crate::command::error;
use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

const KEYS: Keys = Keys::rest(1, 1, KeyFlags::RM.with(KeyFlags::DELETE));

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("del", -2, Flags::WRITE, KEYS, run)
        .group(Group::Generic)
        .doc("Removes keys.", "O(N) with N keys named")
        .args(&[Arg::key("key").multiple()])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    Spec::new("unlink", -2, Flags::WRITE.with(Flags::FAST), KEYS, run)
        .group(Group::Generic)
        .since("4.0.0")
        .doc(
            "Removes keys; their memory may be freed later.",
            "O(N) with N keys named",
        )
        .args(&[Arg::key("key").multiple()])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, keys) = (cx.db(), args.skip(1));
    let mut locked = if keys.len() == 1 {
        cx.step.lock_any(db, &keys[0])
    } else {
        cx.step.lock_any_all(db, keys.iter())
    };
    if locked.is_any_in_use(db, keys.iter()) {
        return Err(error::HELD);
    }
    let removed = if keys.len() == 1 {
        i64::from(locked.slot(db, &keys[0]).remove())
    } else {
        keys.iter()
            .map(|key| i64::from(locked.slot(db, key).remove()))
            .sum()
    };
    cx.out.integer(removed);
    Ok(())
}
