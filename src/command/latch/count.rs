//! `LATCH.SET`, `LATCH.DOWN`, `LATCH.AWAIT`, `LATCH.INFO`.

use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError};
use crate::engine::coordinator::{Kind, Name, Refusal, Turn};
use linchpin_protocol::Args;

const KEY: Keys = Keys::one(
    1,
    KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
);
const READ_KEY: Keys = Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS));
const WRITE: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::DURABLE);
const READ: Flags = Flags::READONLY.with(Flags::FAST).with(Flags::DURABLE);
/// A latch is forgotten after a day, unless told otherwise.
const LEASE_MS: u64 = 24 * 60 * 60 * 1_000;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("latch.set", -3, WRITE.with(Flags::DENYOOM), KEY, run_set)
        .group(Group::Latch)
        .since("linchpin 0.1.0")
        .doc("Makes a latch with a count, if there is none.", "O(1)")
        .args(&[
            Arg::key("key"),
            Arg::new("count", ArgKind::Integer),
            Arg::new("milliseconds", ArgKind::Integer)
                .token("PX")
                .optional(),
        ])
        .repeat(Repeat::Safe),
    Spec::new("latch.down", -3, WRITE, KEY, run_down)
        .group(Group::Latch)
        .since("linchpin 0.1.0")
        .doc(
            "Takes the count of a latch down, once for each owner, and answers what remains.",
            "O(N) with N owners that have",
        )
        .args(&[
            Arg::key("key"),
            Arg::new("owner", ArgKind::String),
            Arg::new("count", ArgKind::Integer).optional(),
        ])
        .repeat(Repeat::Safe),
    Spec::new(
        "latch.await",
        4,
        READ.with(Flags::BLOCKING),
        READ_KEY,
        run_await,
    )
    .group(Group::Latch)
    .since("linchpin 0.1.0")
    .doc("Waits until a latch is open.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("wait", ArgKind::Integer).token("WAIT"),
    ])
    .repeat(Repeat::Safe),
    Spec::new("latch.info", 2, READ, READ_KEY, run_info)
        .group(Group::Latch)
        .since("linchpin 0.1.0")
        .doc("Tells what remains of a latch.", "O(1)")
        .args(&[Arg::key("key")]),
];

fn run_set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let count = claim::count(&mut words);
    let mut lease = None;
    while words.more() {
        if words.keyword("PX") {
            let ms = claim::lease_ms(&mut words);
            claim::set_once(&mut words, &mut lease, ms);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let lease_ms = lease.unwrap_or(LEASE_MS);
    let made = on_latch(cx, &args[1], |turn, name| {
        turn.set_latch(name, count, lease_ms)
    })?;
    cx.out.integer(i64::from(made));
    Ok(())
}

fn run_down(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let count = if words.more() {
        claim::count(&mut words)
    } else {
        1
    };
    words.finish()?;
    let remaining = on_latch(cx, &args[1], |turn, name| {
        turn.count_down(name, owner, count)
    })?;
    cx.out.integer(remaining.map_or(-1, i64::from));
    Ok(())
}

fn run_await(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    if !words.keyword("WAIT") {
        words.reject();
    }
    let wait_ms = claim::wait_ms(&mut words);
    words.finish()?;
    let ticket = claim::ticket(cx);
    let wait_ms = if cx.is_in_exec() { 0 } else { wait_ms };
    let open = on_latch(cx, &args[1], |turn, name| {
        turn.await_latch(name, ticket, wait_ms)
    })?;
    match open {
        Some(true) => cx.out.integer(1),
        Some(false) => cx.out.null(),
        None => cx.parked = Some(Park::Latch { call: ticket.call }),
    }
    Ok(())
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let info = on_latch(cx, &args[1], |turn, name| turn.latch_info(name))?;
    let Some((remaining, owners, left_ms)) = info else {
        cx.out.null_array();
        return Ok(());
    };
    cx.out.map(3);
    cx.out.bulk(b"remaining");
    cx.out.integer(remaining.into());
    cx.out.bulk(b"owners");
    cx.out.integer(i64::try_from(owners).unwrap_or(i64::MAX));
    cx.out.bulk(b"ttl");
    cx.out.integer(i64::try_from(left_ms).unwrap_or(i64::MAX));
    Ok(())
}

fn on_latch<R>(
    cx: &mut Cx<'_>,
    key: &[u8],
    act: impl FnOnce(&mut Turn<'_>, &Name) -> Result<R, Refusal>,
) -> Result<R, ReplyError> {
    let answer = claim::on_object(cx, key, &[Kind::Latch], act)?;
    answer.map_err(|refusal| claim::refused(&refusal))
}
