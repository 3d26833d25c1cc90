//! `LOCK.ACQUIRE` and `LOCK.MACQUIRE`: a lock, or several at once, at once or within a time.
//!
//! Replies: `[status, fence, ttl, owner]`, for several `[status, fence, ttl, blocker]`. Status 1 is
//! granted, 2 held by this owner before, 0 not granted (the rest tells of the hold that lasts
//! longest, or of the head of the queue), -1 kept out after somebody's loss.

use super::claim::{self, Form, LIFE_ARGS, Options, VALUE_BYTES_MAX, WAIT_ARG};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::Share;
use crate::engine::coordinator::{Name, Refusal};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE
    .with(Flags::DENYOOM)
    .with(Flags::BLOCKING)
    .with(Flags::FAST)
    .with(Flags::DURABLE);
const KEY_FLAGS: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE);
/// Locks that one call may ask for.
const KEYS_MAX: i64 = 1_024;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("lock.acquire", -4, FLAGS, Keys::one(1, KEY_FLAGS), run)
        .group(Group::Lock)
        .since("linchpin 0.1.0")
        .doc(
            "Takes a lock for an owner, with a fencing token, at once or within a time.",
            "O(1); O(R) with R requests in the way when it begins to wait",
        )
        .args(&[
            Arg::key("key"),
            Arg::new("owner", ArgKind::String),
            Arg::new("mode", ArgKind::OneOf(MODES))
                .token("MODE")
                .optional(),
            Arg::new("life", ArgKind::OneOf(LIFE_ARGS)),
            WAIT_ARG,
            Arg::new("delay", ArgKind::Integer)
                .token("DELAY")
                .optional(),
            Arg::new("value", ArgKind::String).token("VALUE").optional(),
            Arg::new("depth", ArgKind::Integer)
                .token("REENTER")
                .optional(),
        ])
        .repeat(Repeat::Safe),
    Spec::new(
        "lock.macquire",
        -5,
        FLAGS.with(Flags::MOVABLE_KEYS),
        Keys::counted(1, 1, KEY_FLAGS),
        run_all,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc(
        "Takes several locks for an owner, all or none, with one fencing token.",
        "O(N) with N keys; O(R) with R requests in the way when it begins to wait",
    )
    .args(&[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key").multiple(),
        Arg::new("owner", ArgKind::String),
        Arg::new("life", ArgKind::OneOf(LIFE_ARGS)),
        WAIT_ARG,
    ])
    .repeat(Repeat::Safe),
];

const MODES: &[Arg] = &[Arg::word("exclusive", "X"), Arg::word("shared", "S")];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let mut options = Options::default();
    let mut mode = None;
    while words.more() {
        if options.read(&mut words) {
            continue;
        }
        if words.keyword("MODE") {
            let share = if words.keyword("S") {
                Share::Shared
            } else {
                if !words.keyword("X") {
                    words.reject();
                }
                Share::Exclusive
            };
            claim::set_once(&mut words, &mut mode, share);
        } else if words.keyword("DELAY") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut options.delay_ms, ms);
        } else if words.keyword("VALUE") {
            let value = words.take();
            if value.len() > VALUE_BYTES_MAX {
                words.fail(error::VALUE_TOO_LONG);
            }
            claim::set_once(&mut words, &mut options.value, value);
        } else if words.keyword("REENTER") {
            let depth = claim::count(&mut words);
            claim::set_once(&mut words, &mut options.depth, depth);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let claim = options.claim(cx, owner, mode.unwrap_or(Share::Exclusive))?;
    claim::run_one(cx, &args[1], &claim, Form::Lock)
}

fn run_all(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let count = words.integer_in(1..=KEYS_MAX, error::BAD_NUMKEYS);
    let keys: Vec<&[u8]> = (0..count)
        .map_while(|_| words.more().then(|| words.take()))
        .collect();
    let owner = claim::owner(&mut words);
    let mut options = Options::default();
    while words.more() {
        if !options.read(&mut words) {
            words.reject();
        }
    }
    words.finish()?;
    let claim = options.claim(cx, owner, Share::Exclusive)?;
    let (db, id) = (cx.db(), cx.step.db_id(cx.db()));
    let names: Vec<Name> = keys.iter().map(|key| Name::new(id, key)).collect();
    let mut locked = cx.step.lock_any_all(db, keys.iter().copied());
    let answered = locked.coordinate(db, keys.iter().copied(), |turn| {
        let claimed = turn.acquire_all(&names, &claim)?;
        let out = &mut cx.out;
        Ok(claim::answer(turn, &names, &claimed, out, Form::Locks))
    });
    drop(locked);
    let answered = answered?.map_err(|refusal: Refusal| claim::refused(&refusal))?;
    claim::finish(cx, names, answered, &claim, Form::Locks);
    Ok(())
}
