//! `TTL`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`: when a key goes.
//!
//! Reply: the time, -1 for a key without a deadline, -2 for no such key. The first two answer what
//! is left of a lock or its like too.

use crate::command::spec::{Arg, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::Kind;
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::READONLY.with(Flags::FAST);
const KEYS: Keys = Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS));

/// The rows.
pub const SPECS: &[Spec] = &[
    // Half a second and more counts as a whole one, as in Redis.
    Spec::new("ttl", 2, FLAGS, KEYS, |cx, args| {
        run(cx, args, |at, now| seconds(at - now))
    })
    .group(Group::Generic)
    .doc("Answers a key's time to live in seconds.", "O(1)")
    .args(&[Arg::key("key")])
    .tips(&["nondeterministic_output"])
    .history(&[("2.8.0", "Added the -2 reply.")]),
    Spec::new("pttl", 2, FLAGS, KEYS, |cx, args| {
        run(cx, args, |at, now| at - now)
    })
    .group(Group::Generic)
    .since("2.6.0")
    .doc("Answers a key's time to live in milliseconds.", "O(1)")
    .args(&[Arg::key("key")])
    .tips(&["nondeterministic_output"])
    .history(&[("2.8.0", "Added the -2 reply.")]),
    Spec::new("expiretime", 2, FLAGS, KEYS, |cx, args| {
        run(cx, args, |at, _| seconds(at))
    })
    .group(Group::Generic)
    .since("7.0.0")
    .doc(
        "Answers the Unix time in seconds from which a key is gone.",
        "O(1)",
    )
    .args(&[Arg::key("key")]),
    Spec::new("pexpiretime", 2, FLAGS, KEYS, |cx, args| {
        run(cx, args, |at, _| at)
    })
    .group(Group::Generic)
    .since("7.0.0")
    .doc(
        "Answers the Unix time in milliseconds from which a key is gone.",
        "O(1)",
    )
    .args(&[Arg::key("key")]),
];

/// Milliseconds, which are not negative, to the nearest second. In `u64`, for the sum may leave
/// `i64`.
fn seconds(ms: i64) -> i64 {
    ((ms.cast_unsigned() + 500) / 1_000).cast_signed()
}

fn run(cx: &mut Cx<'_>, args: Args<'_>, show: fn(i64, i64) -> i64) -> Result<(), ReplyError> {
    let (db, key, now_ms) = (cx.db(), &args[1], cx.now().wall_ms);
    let knows_objects = matches!(cx.spec.name, "ttl" | "pttl");
    let mut locked = if knows_objects {
        cx.step.lock_any(db, key)
    } else {
        cx.step.lock(db, key)?
    };
    let mut slot = locked.slot(db, key);
    slot.peek();
    let ends_ms = match slot.kind() {
        None => slot.deadline_ms(),
        Some(kind) => slot.object_ttl_ms().map(|left_ms| {
            // A limit's is its reset time, of which seconds that have begun count as whole.
            let is_reset_time = kind == Kind::Limit && cx.spec.name == "ttl";
            let unit_ms = if is_reset_time { 1_000 } else { 1 };
            now_ms.saturating_add(left_ms.next_multiple_of(unit_ms))
        }),
    };
    cx.out.integer(match (slot.exists(), ends_ms) {
        (false, _) => -2,
        (true, None) => -1,
        (true, Some(at)) => show(at.cast_signed(), now_ms.cast_signed()),
    });
    Ok(())
}
