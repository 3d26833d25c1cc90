//! `DEL key [key ...]` and `UNLINK`: remove keys. Reply: how many were there.
//!
//! Both do the same here: a string's memory goes back in constant time. Where one of the keys is an
//! object that somebody holds, none is removed.

use crate::command::error;
use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Locked;
use crate::engine::coordinator::Name;
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
    let id = cx.step.db_id(db);
    let mut locked = if keys.len() == 1 {
        cx.step.lock_any(db, &keys[0])
    } else {
        cx.step.lock_any_all(db, keys.iter())
    };
    if locked.is_any_in_use(db, keys.iter()) {
        return Err(error::HELD);
    }
    let removed = if keys.len() == 1 {
        usize::from(locked.slot(db, &keys[0]).remove())
    } else {
        remove_all(&mut locked, db, id, keys)?
    };
    cx.out.integer(i64::try_from(removed).unwrap_or(i64::MAX));
    Ok(())
}

/// Removes several keys; answers how many were there. Those that stand for what the coordinator
/// keeps go last, in one turn of it: its frame has what was done before as well, so that all are
/// gone after a crash, or none.
fn remove_all(
    locked: &mut Locked<'_>,
    db: u32,
    id: u32,
    keys: Args<'_>,
) -> Result<usize, ReplyError> {
    let mut removed = 0;
    let mut marked: Vec<&[u8]> = Vec::new();
    for key in keys.iter() {
        let mut slot = locked.slot(db, key);
        if slot.exists() && slot.is_for_coordinator() {
            marked.push(key);
        } else {
            removed += usize::from(slot.remove());
        }
    }
    if marked.is_empty() {
        return Ok(removed);
    }
    marked.sort_unstable();
    marked.dedup();
    locked.coordinate(db, marked.iter().copied(), |turn| {
        let names = marked.iter().map(|key| Name::new(id, key));
        names.for_each(|name| turn.delete(&name));
    })?;
    Ok(removed + marked.len())
}
