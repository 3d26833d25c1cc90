//! `SEM.ACQUIRE`, `SEM.RELEASE`, `SEM.RESIZE`, `SEM.INFO`.
//!
//! Reply of `SEM.ACQUIRE`: `[status, fence, free]`; the status is that of `LOCK.ACQUIRE`.

use crate::command::lock::claim::{self, Form, LIFE_ARGS, Options, WAIT_ARG};
use crate::command::lock::{look, release};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::Share;
use crate::engine::coordinator::Kind;
use linchpin_protocol::Args;

const KEY: Keys = Keys::one(
    1,
    KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
);
const WRITE: Flags = Flags::WRITE.with(Flags::FAST);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "sem.acquire",
        -6,
        WRITE
            .with(Flags::DENYOOM)
            .with(Flags::BLOCKING)
            .with(Flags::DURABLE),
        KEY,
        run_acquire,
    )
    .group(Group::Semaphore)
    .since("linchpin 0.1.0")
    .doc(
        "Takes permits of a semaphore for an owner, at once or within a time.",
        "O(N) with N holders",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("owner", ArgKind::String),
        Arg::new("limit", ArgKind::Integer).token("LIMIT"),
        Arg::new("permits", ArgKind::Integer)
            .token("PERMITS")
            .optional(),
        Arg::new("life", ArgKind::OneOf(LIFE_ARGS)),
        WAIT_ARG,
    ])
    .repeat(Repeat::Safe),
    Spec::new("sem.release", 3, WRITE, KEY, run_release)
        .group(Group::Semaphore)
        .since("linchpin 0.1.0")
        .doc(
            "Gives back all permits of an owner, or withdraws its request.",
            "O(N) with N holders",
        )
        .args(&[Arg::key("key"), Arg::new("owner", ArgKind::String)])
        .repeat(Repeat::Safe),
    Spec::new(
        "sem.resize",
        3,
        WRITE.with(Flags::DENYOOM).with(Flags::DURABLE),
        KEY,
        run_resize,
    )
    .group(Group::Semaphore)
    .since("linchpin 0.1.0")
    .doc(
        "Gives a semaphore a limit that stays.",
        "O(N) with N holders",
    )
    .args(&[Arg::key("key"), Arg::new("limit", ArgKind::Integer)])
    .repeat(Repeat::Safe),
    Spec::new(
        "sem.info",
        2,
        Flags::READONLY.with(Flags::DURABLE),
        Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
        run_info,
    )
    .group(Group::Semaphore)
    .since("linchpin 0.1.0")
    .doc(
        "Tells all that is known of a semaphore: holders, waiters, contention.",
        "O(N) with N holders and waiters",
    )
    .args(&[Arg::key("key")]),
];

fn run_acquire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let mut options = Options::default();
    let (mut limit, mut permits) = (None, None);
    while words.more() {
        if options.read(&mut words) {
            continue;
        }
        if words.keyword("LIMIT") {
            let count = claim::count(&mut words);
            claim::set_once(&mut words, &mut limit, count);
        } else if words.keyword("PERMITS") {
            let count = claim::count(&mut words);
            claim::set_once(&mut words, &mut permits, count);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let limit = limit.ok_or(error::SYNTAX)?;
    let count = permits.unwrap_or(1);
    let claim = options.claim(cx, owner, Share::Permits { count, limit })?;
    claim::run_one(cx, &args[1], &claim, Form::Permits)
}

fn run_release(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    words.finish()?;
    release::release(cx, &args[1], &[Kind::Semaphore], owner, None, None)
}

fn run_resize(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let limit = claim::count(&mut words);
    words.finish()?;
    let resized = claim::on_object(cx, &args[1], &[Kind::Semaphore], |turn, name| {
        turn.resize(name, limit)
    })?;
    resized.map_err(|refusal| claim::refused(&refusal))?;
    cx.out.ok();
    Ok(())
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let info = claim::on_object(cx, &args[1], &[Kind::Semaphore], |turn, name| {
        turn.info(name, Kind::Semaphore)
    })?;
    match info.map_err(|refusal| claim::refused(&refusal))? {
        Some(info) => look::write_info(cx, &info),
        None => cx.out.null_array(),
    }
    Ok(())
}
