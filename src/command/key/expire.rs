//! `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`: give a key a deadline.
//!
//! Reply: 1, or 0 where there is no such key or the condition did not hold. A deadline that has
//! passed already removes the key.

use crate::command::expiry::{self, Unit};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE.with(Flags::FAST);
const KEYS: Keys = Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE));
const HISTORY: &[(&str, &str)] = &[("7.0.0", "Added the `NX`, `XX`, `GT` and `LT` options.")];
const CONDITION: Arg = Arg::new(
    "condition",
    ArgKind::OneOf(&[
        Arg::word("nx", "NX"),
        Arg::word("xx", "XX"),
        Arg::word("gt", "GT"),
        Arg::word("lt", "LT"),
    ]),
)
.optional()
.since("7.0.0");

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("expire", -3, FLAGS, KEYS, |cx, args| {
        run(cx, args, Unit::Seconds)
    })
    .group(Group::Generic)
    .doc("Sets a key's time to live in seconds.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("seconds", ArgKind::Integer),
        CONDITION,
    ])
    .history(HISTORY),
    Spec::new("pexpire", -3, FLAGS, KEYS, |cx, args| {
        run(cx, args, Unit::Millis)
    })
    .group(Group::Generic)
    .since("2.6.0")
    .doc("Sets a key's time to live in milliseconds.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("milliseconds", ArgKind::Integer),
        CONDITION,
    ])
    .history(HISTORY),
    Spec::new("expireat", -3, FLAGS, KEYS, |cx, args| {
        run(cx, args, Unit::UnixSeconds)
    })
    .group(Group::Generic)
    .since("1.2.0")
    .doc(
        "Sets the Unix time in seconds from which a key is gone.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("unix-time-seconds", ArgKind::UnixTime),
        CONDITION,
    ])
    .history(HISTORY),
    Spec::new("pexpireat", -3, FLAGS, KEYS, |cx, args| {
        run(cx, args, Unit::UnixMillis)
    })
    .group(Group::Generic)
    .since("2.6.0")
    .doc(
        "Sets the Unix time in milliseconds from which a key is gone.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("unix-time-milliseconds", ArgKind::UnixTime),
        CONDITION,
    ])
    .history(HISTORY),
];

#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(mut words: Words<'_>) -> Result<Self, ReplyError> {
        let mut found = Self::default();
        while words.more() {
            if words.keyword("NX") {
                found.nx = true;
            } else if words.keyword("XX") {
                found.xx = true;
            } else if words.keyword("GT") {
                found.gt = true;
            } else if words.keyword("LT") {
                found.lt = true;
            } else {
                let word = String::from_utf8_lossy(words.take());
                return Err(ReplyError::err(format!("Unsupported option {word}")));
            }
        }
        if found.nx && (found.xx || found.gt || found.lt) {
            return Err(ReplyError::err(
                "NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if found.gt && found.lt {
            return Err(ReplyError::err(
                "GT and LT options at the same time are not compatible",
            ));
        }
        words.finish().map(|()| found)
    }

    /// Whether a key that now goes at `old_ms`, or never, may be made to go at `new_ms`.
    fn hold(&self, old_ms: Option<u64>, new_ms: i64) -> bool {
        let new_ms = i128::from(new_ms);
        let old_ms = old_ms.map(i128::from);
        !(self.nx && old_ms.is_some()
            || self.xx && old_ms.is_none()
            || self.gt && old_ms.is_none_or(|old_ms| new_ms <= old_ms)
            || self.lt && old_ms.is_some_and(|old_ms| new_ms >= old_ms))
    }
}

fn run(cx: &mut Cx<'_>, args: Args<'_>, unit: Unit) -> Result<(), ReplyError> {
    let conditions = Conditions::parse(Words::new(args.skip(3)))?;
    let expiry = expiry::parse(&args[2], unit)?;
    let now = cx.now();
    let deadline_ms = expiry
        .deadline_ms(now)
        .ok_or_else(|| ReplyError::invalid_expire(cx.spec.name))?;
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let set = slot.exists() && conditions.hold(slot.deadline_ms(), deadline_ms);
    if set {
        match u64::try_from(deadline_ms) {
            Ok(at) if at > now.wall_ms => slot.set_deadline(Some(at)),
            _ => {
                slot.remove();
            }
        }
    }
    cx.out.integer(i64::from(set));
    Ok(())
}
