//! `DEL key [key ...]` and `UNLINK`: remove keys. Reply: how many were there.
//!
//! Both do the same here: a string's memory goes back in constant time.

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
    let removed = if keys.len() == 1 {
        i64::from(cx.step.lock(db, &keys[0]).slot(db, &keys[0]).remove())
    } else {
        let mut locked = cx.step.lock_all(db, keys.iter());
        keys.iter()
            .map(|key| i64::from(locked.slot(db, key).remove()))
            .sum()
    };
    cx.out.integer(removed);
    Ok(())
}
