//! `MSETEX numkeys key value [key value ...] [NX | XX] [expiry]`: several keys get their values and
//! one deadline at once.
//!
//! Reply: 1, or 0 and nothing written where NX met a key that is there or XX one that is not.

use crate::command::error;
use crate::command::expiry::{EXPIRY_OR_KEEPTTL_ARGS, Ttl};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::string::mset::{PAIRS_ARG, Pairs};
use crate::command::words::{self, Words};
use crate::command::{Cx, ReplyError};
use crate::engine::Deadline;
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "msetex",
    -4,
    Flags::WRITE.with(Flags::DENYOOM).with(Flags::MOVABLE_KEYS),
    Keys::counted(1, 2, KeyFlags::OW.with(KeyFlags::UPDATE)),
    run,
)
.group(Group::String)
.since("8.4.0")
.doc(
    "Gives several keys their string values and a common deadline, all in one step.",
    "O(N) with N keys named",
)
.args(&[
    Arg::new("numkeys", ArgKind::Integer),
    PAIRS_ARG,
    Arg::new(
        "condition",
        ArgKind::OneOf(&[Arg::word("nx", "NX"), Arg::word("xx", "XX")]),
    )
    .optional(),
    Arg::new("expiration", ArgKind::OneOf(EXPIRY_OR_KEEPTTL_ARGS)).optional(),
])
.tips(&[
    "request_policy:multi_shard",
    "response_policy:all_succeeded",
])];

struct Options<'a> {
    pairs: Pairs<'a>,
    /// Whether all keys must be there, or none of them.
    present: Option<bool>,
    ttl: Ttl<'a>,
}

fn parse(args: Args<'_>) -> Result<Options<'_>, ReplyError> {
    let numkeys = words::integer(&args[1])
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|&n| n > 0 && i32::try_from(n).is_ok())
        .ok_or(error::BAD_NUMKEYS)?;
    let numkeys = numkeys as usize;
    let pairs = Pairs::new(args.skip(2), numkeys).ok_or(error::TOO_FEW_PAIRS)?;
    let mut words = Words::new(args.skip(2 + numkeys * 2));
    let mut options = Options {
        pairs,
        present: None,
        ttl: Ttl::Unsaid,
    };
    while words.more() {
        if options.ttl.read(&mut words, "KEEPTTL", Ttl::Keep) {
            continue;
        }
        let present = words.keyword("XX");
        if !present && !words.keyword("NX") || options.present.is_some_and(|told| told != present) {
            words.reject();
        }
        options.present = Some(present);
    }
    words.finish()?;
    Ok(options)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let options = parse(args)?;
    let deadline = options
        .ttl
        .deadline(Deadline::None, cx.now(), cx.spec.name)?;
    let (db, pairs) = (cx.db(), options.pairs);
    // NX asks whether the keys are there, and that any type is.
    let mut locked = if options.present == Some(false) {
        cx.step.lock_any_all(db, pairs.keys())
    } else {
        cx.step.lock_all(db, pairs.keys())?
    };
    let holds = options.present.is_none_or(|present| {
        pairs
            .keys()
            .all(|key| locked.slot(db, key).exists() == present)
    });
    if holds {
        pairs.write(&mut locked, db, deadline);
    }
    cx.out.integer(i64::from(holds));
    Ok(())
}
