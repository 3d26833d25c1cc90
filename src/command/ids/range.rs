//! `ID.RANGE key [COUNT n] [STEP s]` and `ID.FORGET key`: numbers that no other call gets.
//!
//! Reply: `[first, last]` of n numbers at a distance of s; the next call's begin s above the last.
//! They begin at 1 and have no gaps but for what a crash leaves: numbers are reserved on the disk
//! ahead of time, so most calls wait for no disk. `ID.FORGET` answers 1 or 0.

use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::Kind;
use crate::engine::coordinator::SafeBy;
use linchpin_protocol::Args;

/// The most numbers of one call, and the longest distance of two.
const NUMBERS_MAX: i64 = 1 << 32;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "id.range",
        -2,
        Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        Keys::one(
            1,
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        ),
        run_range,
    )
    .group(Group::Id)
    .since("linchpin 0.1.0")
    .doc("Gives out numbers that no other call gets.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::new("step", ArgKind::Integer).token("STEP").optional(),
    ])
    .tips(&["nondeterministic_output"]),
    Spec::new(
        "id.forget",
        2,
        Flags::WRITE.with(Flags::FAST).with(Flags::DURABLE),
        Keys::one(1, KeyFlags::RM.with(KeyFlags::DELETE)),
        run_forget,
    )
    .group(Group::Id)
    .categories(Categories::DANGEROUS)
    .since("linchpin 0.1.0")
    .doc(
        "Forgets which numbers, codes or workers were given out: they may come again.",
        "O(1)",
    )
    .args(&[Arg::key("key")]),
];

/// Has the reply wait until what makes it true is on the disk.
pub fn wait_for(cx: &mut Cx<'_>, safe_by: SafeBy) {
    match safe_by {
        SafeBy::ThisStep => cx.is_durable = true,
        SafeBy::Frame(frame) => cx.durable_frame = cx.durable_frame.max(frame),
    }
}

fn run_range(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (mut count, mut step) = (None, None);
    while words.more() {
        let place = if words.keyword("COUNT") {
            &mut count
        } else if words.keyword("STEP") {
            &mut step
        } else {
            words.reject();
            break;
        };
        let number = words.integer_in(1..=NUMBERS_MAX, error::COUNT_OUT_OF_RANGE);
        claim::set_once(&mut words, place, number.unsigned_abs());
    }
    words.finish()?;
    let (count, step) = (count.unwrap_or(1), step.unwrap_or(1));
    let range = claim::on_object(cx, &args[1], &[Kind::IdRange], |turn, name| {
        turn.take_range(name, count, step)
    })?;
    let range = range.map_err(|refusal| claim::refused(&refusal))?;
    wait_for(cx, range.safe_by);
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    cx.out.array(2);
    cx.out.integer(integer(range.first));
    cx.out.integer(integer(range.last));
    Ok(())
}

fn run_forget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let kinds = [Kind::IdRange, Kind::IdShort, Kind::IdWorker];
    let is_forgotten = claim::on_object(cx, &args[1], &kinds, |turn, name| {
        turn.forget_namespace(name)
    })?;
    let is_forgotten = is_forgotten.map_err(|refusal| claim::refused(&refusal))?;
    if is_forgotten {
        let by = cx.host.clients().find(cx.conn.id);
        tracing::warn!(
            key = %String::from_utf8_lossy(&args[1]),
            by = by.map_or_else(String::new, |by| by.addr.to_string()),
            "an ID namespace was forgotten"
        );
    }
    cx.out.integer(i64::from(is_forgotten));
    Ok(())
}
