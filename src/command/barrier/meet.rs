//! `BARRIER.AWAIT` and `BARRIER.INFO`.
//!
//! Reply of `BARRIER.AWAIT`: `[generation, index]`, the number of the meeting and the place in the
//! order of arrival, or null.

use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use crate::engine::coordinator::{Arrive, Kind};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "barrier.await",
        -6,
        Flags::WRITE
            .with(Flags::DENYOOM)
            .with(Flags::BLOCKING)
            .with(Flags::DURABLE),
        Keys::one(
            1,
            KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
        ),
        run_await,
    )
    .group(Group::Barrier)
    .since("linchpin 0.1.0")
    .doc(
        "Waits until all parties have arrived.",
        "O(1); O(N) with N parties for the last one",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("parties", ArgKind::Integer),
        Arg::new("owner", ArgKind::String),
        Arg::new("generation", ArgKind::Integer)
            .token("AFTER")
            .optional(),
        Arg::new("wait", ArgKind::Integer).token("WAIT"),
    ])
    .repeat(Repeat::SafeWith("AFTER")),
    Spec::new(
        "barrier.info",
        2,
        Flags::READONLY.with(Flags::FAST).with(Flags::DURABLE),
        Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
        run_info,
    )
    .group(Group::Barrier)
    .since("linchpin 0.1.0")
    .doc("Tells how many have arrived at a barrier.", "O(1)")
    .args(&[Arg::key("key")]),
];

fn run_await(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let parties = claim::count(&mut words);
    let owner = claim::owner(&mut words);
    let (after, wait) = claim::after_and_wait(&mut words);
    words.finish()?;
    let wait_ms = wait.ok_or(error::SYNTAX)?;
    let ticket = claim::ticket(cx);
    let arrive = Arrive {
        ticket,
        owner,
        parties,
        after,
        wait_ms: if cx.is_in_exec() { 0 } else { wait_ms },
    };
    let met = claim::on_object(cx, &args[1], &[Kind::Barrier], |turn, name| {
        turn.arrive(name, &arrive)
    })?;
    match met.map_err(|refusal| claim::refused(&refusal))? {
        Some(outcome) => claim::write_met(&mut cx.out, &outcome),
        None => cx.parked = Some(Park::Barrier { call: ticket.call }),
    }
    Ok(())
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let info = claim::on_object(cx, &args[1], &[Kind::Barrier], |turn, name| {
        turn.barrier_info(name)
    })?;
    let Some(info) = info.map_err(|refusal| claim::refused(&refusal))? else {
        cx.out.null_array();
        return Ok(());
    };
    cx.out.map(3);
    cx.out.bulk(b"parties");
    cx.out.integer(info.parties.into());
    cx.out.bulk(b"waiting");
    cx.out
        .integer(i64::try_from(info.waiting).unwrap_or(i64::MAX));
    cx.out.bulk(b"generation");
    let generation = info.generation.unwrap_or(0);
    cx.out
        .integer(i64::try_from(generation).unwrap_or(i64::MAX));
    Ok(())
}
