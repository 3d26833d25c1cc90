//! `CACHE.SET`, `CACHE.ABORT`, `CACHE.STALE`: what becomes of a turn to fill, and of what was
//! filled.
//!
//! Replies: 1 or 0. SET is 1 where the value is there now, by this call or an earlier one with the
//! token, ABORT where the token counted, STALE where the key is there.

use crate::command::lock::claim;
use crate::command::looking;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error, value};
use crate::engine::{Soft, Spent};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE.with(Flags::FAST);
const SET_KEY: Keys = Keys::one(1, KeyFlags::OW.with(KeyFlags::UPDATE));
const KEY: Keys = Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE));
const TOKEN_ARG: Arg = Arg::new("token", ArgKind::Integer).token("TOKEN");
const GRACE_ARG: Arg = Arg::new("grace", ArgKind::Integer)
    .token("GRACE")
    .optional();

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "cache.set",
        -7,
        FLAGS.with(Flags::DENYOOM),
        SET_KEY,
        run_set,
    )
    .group(Group::Cache)
    .since("linchpin 0.1.0")
    .doc(
        "Fills a key with a value, by the token of the one who was to make it.",
        "O(1)",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("value", ArgKind::String),
        TOKEN_ARG,
        Arg::new("milliseconds", ArgKind::Integer).token("PX"),
        GRACE_ARG,
        Arg::new("cost", ArgKind::Integer).token("COST").optional(),
    ])
    .repeat(Repeat::Safe),
    Spec::new("cache.abort", 4, FLAGS, KEY, run_abort)
        .group(Group::Cache)
        .since("linchpin 0.1.0")
        .doc("Gives the turn to fill a key to the next.", "O(1)")
        .args(&[Arg::key("key"), TOKEN_ARG])
        .repeat(Repeat::Safe),
    Spec::new("cache.stale", -2, FLAGS, KEY, run_stale)
        .group(Group::Cache)
        .since("linchpin 0.1.0")
        .doc(
            "Lets a value be stale at once, and makes the tokens of its fillers void.",
            "O(1)",
        )
        .args(&[Arg::key("key"), GRACE_ARG])
        .repeat(Repeat::Safe),
];

fn run_set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(3));
    let (mut token, mut fresh_ms, mut grace_ms, mut cost_ms) = (None, None, None, None);
    while words.more() {
        if words.keyword("TOKEN") {
            let number = looking::token(&mut words);
            claim::set_once(&mut words, &mut token, number);
        } else if words.keyword("PX") {
            let ms = claim::lease_ms(&mut words);
            claim::set_once(&mut words, &mut fresh_ms, ms);
        } else if words.keyword("GRACE") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut grace_ms, ms);
        } else if words.keyword("COST") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut cost_ms, ms);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let (Some(token), Some(fresh_ms)) = (token, fresh_ms) else {
        return Err(error::SYNTAX);
    };
    let (db, key) = (cx.db(), &args[1]);
    let at_ms = cx.now().wall_ms.saturating_add(fresh_ms);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let spent = slot.judge_token(token);
    if spent == Spent::Good {
        let deadline_ms = at_ms.saturating_add(grace_ms.unwrap_or(0));
        let cost_ms = u32::try_from(cost_ms.unwrap_or(0)).unwrap_or(u32::MAX);
        let soft = Soft { at_ms, cost_ms };
        slot.fill(token, value::encode(&args[2]), deadline_ms, soft);
    }
    cx.out.integer(i64::from(spent != Spent::Void));
    Ok(())
}

fn run_abort(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    if !words.keyword("TOKEN") {
        words.reject();
    }
    let token = looking::token(&mut words);
    words.finish()?;
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let was_there = locked.slot(db, key).give_back(token);
    cx.out.integer(i64::from(was_there));
    Ok(())
}

fn run_stale(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let mut grace_ms = None;
    while words.more() {
        if words.keyword("GRACE") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut grace_ms, ms);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let (db, key, now_ms) = (cx.db(), &args[1], cx.now().wall_ms);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let is_there = slot.exists();
    let cost_ms = slot.soft().map_or(0, |soft| soft.cost_ms);
    let hard_ms = grace_ms.map(|ms: u64| now_ms.saturating_add(ms));
    if !is_there || hard_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        // Nothing is served for no time; the removal makes tokens void, of a missing key too.
        slot.remove();
    } else {
        let at_ms = now_ms;
        slot.set_soft(Soft { at_ms, cost_ms });
        if let Some(hard_ms) =
            hard_ms.filter(|at_ms| slot.deadline_ms().is_none_or(|old| *at_ms < old))
        {
            slot.set_deadline(Some(hard_ms));
        }
    }
    cx.out.integer(i64::from(is_there));
    Ok(())
}
