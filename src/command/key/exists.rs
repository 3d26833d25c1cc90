//! `EXISTS key [key ...]` and `TOUCH`: which keys are there. Reply: how many, a key named twice
//! counting twice.
//!
//! `TOUCH` uses the keys as a read would; `EXISTS` leaves no trace on them.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Slot;
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::READONLY.with(Flags::FAST);
const KEYS: Keys = Keys::rest(1, 1, KeyFlags::RO);
const TIPS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("exists", -2, FLAGS, KEYS, |cx, args| {
        count(cx, args, |slot| slot.peek().is_some())
    })
    .group(Group::Generic)
    .doc(
        "Answers how many of the named keys are there.",
        "O(N) with N keys named",
    )
    .args(&[Arg::key("key").multiple()])
    .tips(TIPS)
    .history(&[("3.0.3", "Takes more than one key.")]),
    Spec::new("touch", -2, FLAGS, KEYS, |cx, args| {
        count(cx, args, |slot| slot.read().is_some())
    })
    .group(Group::Generic)
    .since("3.2.1")
    .doc(
        "Marks keys as just used and answers how many are there.",
        "O(N) with N keys named",
    )
    .args(&[Arg::key("key").multiple()])
    .tips(TIPS),
];

fn count(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    is_there: fn(&mut Slot<'_>) -> bool,
) -> Result<(), ReplyError> {
    let (db, keys) = (cx.db(), args.skip(1));
    let found = if keys.len() == 1 {
        let key = &keys[0];
        i64::from(is_there(&mut cx.step.lock_any(db, key).slot(db, key)))
    } else {
        let mut locked = cx.step.lock_any_all(db, keys.iter());
        keys.iter()
            .map(|key| i64::from(is_there(&mut locked.slot(db, key))))
            .sum()
    };
    cx.out.integer(found);
    Ok(())
}
