//! `IDEMP.DONE`, `IDEMP.ABORT`, `IDEMP.INFO`: what came of a request that was begun.
//!
//! Replies of the first two: 1, or 0 where the token is not the last that was given. DONE again
//! with the same response is 1 again.

use crate::command::lock::claim;
use crate::command::looking;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::engine::Record;
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE.with(Flags::FAST);
const KEY: Keys = Keys::one(
    1,
    KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("idemp.done", 6, FLAGS.with(Flags::DURABLE), KEY, run_done)
        .group(Group::Idempotency)
        .since("linchpin 0.1.0")
        .doc("Keeps the response to a request that was done.", "O(1)")
        .args(&[
            Arg::key("key"),
            Arg::new("token", ArgKind::Integer),
            Arg::new("response", ArgKind::String),
            Arg::new("milliseconds", ArgKind::Integer).token("PX"),
        ])
        .repeat(Repeat::Safe),
    Spec::new("idemp.abort", 3, FLAGS, KEY, run_abort)
        .group(Group::Idempotency)
        .since("linchpin 0.1.0")
        .doc("Forgets a request that was begun and not done.", "O(1)")
        .args(&[Arg::key("key"), Arg::new("token", ArgKind::Integer)])
        .repeat(Repeat::Safe),
    Spec::new(
        "idemp.info",
        2,
        Flags::READONLY.with(Flags::FAST).with(Flags::DURABLE),
        Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
        run_info,
    )
    .group(Group::Idempotency)
    .since("linchpin 0.1.0")
    .doc("Tells what is known of a request.", "O(1)")
    .args(&[Arg::key("key")]),
];

fn run_done(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let token = looking::token(&mut words);
    let response = words.take();
    if !words.keyword("PX") {
        words.reject();
    }
    let ttl_ms = claim::lease_ms(&mut words);
    words.finish()?;
    let (db, key, now_ms) = (cx.db(), &args[1], cx.now().engine_ms);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    let record = slot.record()?.filter(|record| record.token == token);
    let is_done = match record {
        None => false,
        Some(Record {
            response: Some(old),
            ..
        }) => old == response,
        Some(record) => {
            let (owner, fingerprint) = (record.owner.to_vec(), record.fingerprint.to_vec());
            let done = Record {
                end_ms: now_ms.saturating_add(ttl_ms),
                token,
                is_retry: record.is_retry,
                owner: &owner,
                fingerprint: &fingerprint,
                response: Some(response),
            };
            slot.set_record(&done);
            true
        }
    };
    cx.out.integer(i64::from(is_done));
    Ok(())
}

fn run_abort(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let token = looking::token(&mut words);
    words.finish()?;
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    let is_begun = slot
        .record()?
        .is_some_and(|record| record.token == token && record.response.is_none());
    if is_begun {
        slot.remove();
    }
    cx.out.integer(i64::from(is_begun));
    Ok(())
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key, now_ms) = (cx.db(), &args[1], cx.now().engine_ms);
    let mut locked = cx.step.lock_any(db, key);
    let slot = locked.slot(db, key);
    let Some(record) = slot.record()? else {
        cx.out.null_array();
        return Ok(());
    };
    let state = match record.response {
        Some(_) => "DONE",
        None if record.is_busy(now_ms) => "BUSY",
        None => "OVER",
    };
    let left_ms = record.end_ms.saturating_sub(now_ms);
    cx.out.map(5);
    cx.out.bulk(b"state");
    cx.out.bulk(state.as_bytes());
    cx.out.bulk(b"ttl");
    cx.out.integer(left_ms.cast_signed());
    cx.out.bulk(b"retry");
    cx.out.integer(i64::from(record.is_retry));
    cx.out.bulk(b"owner");
    cx.out.bulk(record.owner);
    cx.out.bulk(b"fingerprint");
    cx.out.bulk(record.fingerprint);
    Ok(())
}
