//! `LOCK.RELEASE`, `LOCK.EXTEND` and `LOCK.BREAK`: giving a hold back, keeping it, ending it.

use super::claim;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::coordinator::{Break, Extended, Kind, Name, Released};
use linchpin_protocol::Args;

const KEY: Keys = Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE));
const FENCE_ARG: Arg = Arg::new("fence", ArgKind::Integer)
    .token("FENCE")
    .optional();

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "lock.release",
        -3,
        Flags::WRITE.with(Flags::FAST),
        KEY,
        run_release,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc(
        "Gives back what an owner holds of a lock, or withdraws its request.",
        "O(1); O(log Q) with Q requests waiting to withdraw one of them",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("owner", ArgKind::String),
        FENCE_ARG,
        Arg::new("depth", ArgKind::Integer)
            .token("DEPTH")
            .optional(),
    ])
    .repeat(Repeat::Safe),
    Spec::new(
        "lock.extend",
        -5,
        Flags::WRITE.with(Flags::FAST).with(Flags::DURABLE),
        KEY,
        run_extend,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc("Lets the lease of a hold end a time from now.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("owner", ArgKind::String),
        Arg::new("milliseconds", ArgKind::Integer).token("PX"),
        FENCE_ARG,
    ])
    .repeat(Repeat::Safe),
    Spec::new(
        "lock.break",
        -2,
        Flags::WRITE.with(Flags::DURABLE),
        KEY,
        run_break,
    )
    .group(Group::Lock)
    .categories(Categories::DANGEROUS)
    .since("linchpin 0.1.0")
    .doc("Ends the holds of a lock by force.", "O(N) with N holds")
    .args(&[
        Arg::key("key"),
        FENCE_ARG,
        Arg::new("delay", ArgKind::Integer)
            .token("DELAY")
            .optional(),
    ])
    .repeat(Repeat::SafeWith("FENCE")),
];

fn run_release(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let (mut fence, mut depth) = (None, None);
    while words.more() {
        if words.keyword("FENCE") {
            let given = claim::fence(&mut words);
            claim::set_once(&mut words, &mut fence, given);
        } else if words.keyword("DEPTH") {
            let given = claim::count(&mut words);
            claim::set_once(&mut words, &mut depth, given);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    release(cx, &args[1], &claim::HELD, owner, fence, depth)
}

/// Releases what an owner has of a lock or a semaphore, and writes the reply.
///
/// # Errors
/// Where the key is something else.
pub fn release(
    cx: &mut Cx<'_>,
    key: &[u8],
    kinds: &[Kind],
    owner: &[u8],
    fence: Option<u64>,
    depth: Option<u32>,
) -> Result<(), ReplyError> {
    let released = claim::on_object(cx, key, kinds, |turn, name| {
        turn.release(name, owner, fence, depth)
    })?;
    cx.out.integer(match released {
        Released::NotHeld => 0,
        Released::Freed => 1,
        Released::DepthRemains => 2,
    });
    Ok(())
}

fn run_extend(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let (mut lease, mut fence) = (None, None);
    while words.more() {
        if words.keyword("PX") {
            let ms = claim::lease_ms(&mut words);
            claim::set_once(&mut words, &mut lease, ms);
        } else if words.keyword("FENCE") {
            let given = claim::fence(&mut words);
            claim::set_once(&mut words, &mut fence, given);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let lease_ms = lease.ok_or(error::SYNTAX)?;
    let conn = cx.conn.id;
    let extended = on_held(cx, &args[1], |turn, name| {
        turn.extend(name, owner, lease_ms, fence, conn)
    })?;
    let extended = extended.map_err(|refusal| claim::refused(&refusal))?;
    cx.out.integer(i64::from(extended == Extended::Done));
    Ok(())
}

fn run_break(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (mut fence, mut delay) = (None, None);
    while words.more() {
        if words.keyword("FENCE") {
            let given = claim::fence(&mut words);
            claim::set_once(&mut words, &mut fence, given);
        } else if words.keyword("DELAY") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut delay, ms);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let how = Break {
        fence,
        delay_ms: delay.unwrap_or(0),
    };
    let broken = on_held(cx, &args[1], |turn, name| turn.break_holds(name, how))?;
    for (owner, fence) in &broken {
        let by = cx.host.clients().find(cx.conn.id);
        tracing::warn!(
            key = %String::from_utf8_lossy(&args[1]),
            owner = %String::from_utf8_lossy(owner),
            fence,
            by = by.map_or_else(String::new, |by| by.addr.to_string()),
            "a hold was broken"
        );
    }
    cx.out.integer(i64::from(!broken.is_empty()));
    Ok(())
}

/// Lets the coordinator take a turn on a key that is a lock, a semaphore or nothing.
fn on_held<R>(
    cx: &mut Cx<'_>,
    key: &[u8],
    act: impl FnOnce(&mut crate::engine::coordinator::Turn<'_>, &Name) -> R,
) -> Result<R, ReplyError> {
    claim::on_object(cx, key, &claim::HELD, act)
}
