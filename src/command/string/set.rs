//! `SET key value [condition] [GET] [expiry] [FENCE n] [SESSION sid]`, and the older `SETNX`,
//! `SETEX`, `PSETEX`, `GETSET`.
//!
//! FENCE is judged before the condition: a number lower than the key's fence mark is refused. Who
//! is refused, by that or by the condition, changes nothing and raises no mark. With SESSION the
//! key goes when that session ends.
//!
//! Replies: OK, or null where the condition did not hold; with GET the old value, or null where
//! there was none. `SETNX` answers 1 or 0.

use crate::command::error;
use crate::command::expiry::{self, EXPIRY_ARGS, Ttl, Unit};
use crate::command::fence::set as fence;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::string::compare::{CONDITION_ARGS, Condition};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, value};
use crate::engine::{Deadline, Kind, Slot, WrongType};
use linchpin_protocol::Args;

const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "set",
        -3,
        WRITE,
        Keys::one(
            1,
            KeyFlags::RW
                .with(KeyFlags::ACCESS)
                .with(KeyFlags::UPDATE)
                .with(KeyFlags::VARIABLE_FLAGS),
        )
        .note("RW and ACCESS due to the optional `GET` argument"),
        run_set,
    )
    .group(Group::String)
    .doc(
        "Gives a key a string value, whatever it held before.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("value", ArgKind::String),
        Arg::new("condition", ArgKind::OneOf(CONDITION_ARGS))
            .optional()
            .since("2.6.12"),
        Arg::word("get", "GET").optional().since("6.2.0"),
        Arg::new("expiration", ArgKind::OneOf(EXPIRATION)).optional(),
        Arg::new("fence", ArgKind::Integer)
            .token("FENCE")
            .optional()
            .since(fence::SINCE),
        Arg::new("sid", ArgKind::String)
            .token("SESSION")
            .optional()
            .since(fence::SINCE),
    ])
    .history(&[
        ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
        ("6.0.0", "Added the `KEEPTTL` option."),
        ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` options."),
        ("7.0.0", "`NX` and `GET` may stand together."),
        (
            "8.4.0",
            "Added the `IFEQ`, `IFNE`, `IFDEQ` and `IFDNE` options.",
        ),
        (fence::SINCE, "Added the `FENCE` and `SESSION` options."),
    ]),
    Spec::new(
        "setnx",
        3,
        WRITE.with(Flags::FAST),
        Keys::one(1, KeyFlags::OW.with(KeyFlags::INSERT)),
        run_setnx,
    )
    .group(Group::String)
    .doc(
        "Gives a key a string value if there is no such key.",
        "O(1)",
    )
    .args(&[Arg::key("key"), Arg::new("value", ArgKind::String)])
    .deprecated("2.6.12", "`SET` with the `NX` option"),
    Spec::new(
        "setex",
        4,
        WRITE,
        Keys::one(1, KeyFlags::OW.with(KeyFlags::UPDATE)),
        run_setex,
    )
    .group(Group::String)
    .since("2.0.0")
    .doc(
        "Gives a key a string value and a time to live in seconds.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("seconds", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ])
    .deprecated("2.6.12", "`SET` with the `EX` option"),
    Spec::new(
        "psetex",
        4,
        WRITE,
        Keys::one(1, KeyFlags::OW.with(KeyFlags::UPDATE)),
        run_setex,
    )
    .group(Group::String)
    .since("2.6.0")
    .doc(
        "Gives a key a string value and a time to live in milliseconds.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("milliseconds", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ])
    .deprecated("2.6.12", "`SET` with the `PX` option"),
    Spec::new(
        "getset",
        3,
        WRITE.with(Flags::FAST),
        Keys::one(
            1,
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        ),
        run_getset,
    )
    .group(Group::String)
    .doc(
        "Answers the old string value of a key and gives it a new one.",
        "O(1)",
    )
    .args(&[Arg::key("key"), Arg::new("value", ArgKind::String)])
    .deprecated("6.2.0", "`SET` with the `GET` option"),
];

const EXPIRATION: &[Arg] = &[
    EXPIRY_ARGS[0].since("2.6.12"),
    EXPIRY_ARGS[1].since("2.6.12"),
    EXPIRY_ARGS[2].since("6.2.0"),
    EXPIRY_ARGS[3].since("6.2.0"),
    Arg::word("keepttl", "KEEPTTL").since("6.0.0"),
];

struct Options<'a> {
    condition: Option<Condition<'a>>,
    get: bool,
    ttl: Ttl<'a>,
    fence: Option<u64>,
    sid: Option<&'a [u8]>,
}

fn parse<'a>(words: &mut Words<'a>) -> Options<'a> {
    let mut options = Options {
        condition: None,
        get: false,
        ttl: Ttl::Unsaid,
        fence: None,
        sid: None,
    };
    while words.more() {
        if options.ttl.read(words, "KEEPTTL", Ttl::Keep) {
            continue;
        }
        if words.keyword("GET") {
            options.get = true;
        } else if options.fence.is_none() && words.keyword("FENCE") {
            options.fence = Some(fence::take(words));
        } else if options.sid.is_none() && words.keyword("SESSION") {
            options.sid = Some(words.take());
        } else if let Some(condition) = Condition::read(words) {
            if options.condition.is_some_and(|other| other != condition) {
                words.reject();
            }
            options.condition = Some(condition);
        } else {
            words.reject();
        }
    }
    options
}

fn run_set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(3));
    let options = parse(&mut words);
    words.finish()?;
    let deadline = options
        .ttl
        .deadline(Deadline::None, cx.now(), cx.spec.name)?;
    let session = match options.sid {
        None => None,
        Some(sid) => Some(cx.step.session_of(sid).ok_or(error::NO_SESSION)?),
    };
    let (db, key, new) = (cx.db(), &args[1], value::encode(&args[2]));
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    options.expect_type(slot.kind())?;
    if let Some(fence) = options.fence {
        fence::judge(&slot, fence)?;
    }
    if options.get {
        let old = if slot.kind().is_none() {
            slot.read()
        } else {
            None
        };
        value::write(&mut cx.out, old);
    }
    let holds = options.holds(&slot);
    if holds {
        slot.put(new, deadline);
        if let Some(fence) = options.fence {
            slot.raise_fence(fence);
            // Who is told that it passed relies on lower ones being refused from now on.
            cx.is_durable = true;
        }
        if let Some(session) = session {
            slot.tie(session);
        }
    }
    if !options.get {
        if holds { cx.out.ok() } else { cx.out.null() }
    }
    Ok(())
}

impl Options<'_> {
    /// Whether a key of this type may be set: what is no string only where NX leaves it alone, and
    /// a bare fence by a fenced write.
    fn expect_type(&self, kind: Option<Kind>) -> Result<(), WrongType> {
        let only_asks = self.condition == Some(Condition::Absent) && !self.get;
        match kind {
            None => Ok(()),
            Some(Kind::Fence) if self.fence.is_some() || only_asks => Ok(()),
            Some(_) if only_asks => Ok(()),
            Some(_) => Err(WrongType),
        }
    }

    /// Whether the condition holds. A bare fence is there, and has no value.
    fn holds(&self, slot: &Slot<'_>) -> bool {
        match self.condition {
            None => true,
            Some(Condition::Absent) => !slot.exists(),
            Some(Condition::Present) => slot.exists(),
            Some(condition) => condition.holds(slot.value().filter(|_| slot.kind().is_none())),
        }
    }
}

fn run_setnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    let new = !slot.exists();
    if new {
        slot.put(value::encode(&args[2]), Deadline::None);
    }
    cx.out.integer(i64::from(new));
    Ok(())
}

fn run_setex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let unit = if cx.spec.name == "setex" {
        Unit::Seconds
    } else {
        Unit::Millis
    };
    let deadline = expiry::parse(&args[2], unit)?.for_writing(cx.now(), cx.spec.name)?;
    let (db, key) = (cx.db(), &args[1]);
    cx.step
        .lock(db, key)?
        .slot(db, key)
        .put(value::encode(&args[3]), deadline);
    cx.out.ok();
    Ok(())
}

fn run_getset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    value::write(&mut cx.out, slot.read());
    slot.put(value::encode(&args[2]), Deadline::None);
    Ok(())
}
