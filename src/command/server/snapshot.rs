//! `BGSAVE [SCHEDULE]`, `SAVE`, `BGREWRITEAOF`, `LASTSAVE`: snapshots of all databases.
//!
//! A snapshot has everything that was changed before it was asked for, and takes the place of the
//! part of the journal that it covers. It is written in steps while commands go on: nothing is
//! forked, and nobody waits for it but the caller of `SAVE`. One is written at a time; asked for
//! another, the server refuses, also with `SCHEDULE`. `BGREWRITEAOF` asks for one too, for that is
//! how the journal is made shorter. Inside `MULTI` the reply is that it is scheduled, as it begins
//! after `EXEC`.
//!
//! `LASTSAVE` answers when the last snapshot was written, or the server began: seconds since 1970.

use crate::command::host::{Durability, SnapshotRefused};
use crate::command::spec::{Arg, Categories, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use linchpin_protocol::Args;

const SNAPSHOT: Flags = Flags::ADMIN
    .with(Flags::NOSCRIPT)
    .with(Flags::NO_ASYNC_LOADING);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("bgrewriteaof", 1, SNAPSHOT, Keys::NONE, bgrewriteaof)
        .group(Group::Server)
        .doc("Begins a snapshot that makes the journal shorter.", "O(1)"),
    Spec::new("bgsave", -1, SNAPSHOT, Keys::NONE, bgsave)
        .group(Group::Server)
        .doc("Begins a snapshot of all databases.", "O(1)")
        .args(&[Arg::word("schedule", "SCHEDULE").optional().since("3.2.2")])
        .history(&[("3.2.2", "Added the `SCHEDULE` option.")]),
    Spec::new(
        "lastsave",
        1,
        Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        Keys::NONE,
        lastsave,
    )
    .group(Group::Server)
    .categories(Categories::ADMIN.with(Categories::DANGEROUS))
    .doc("Tells when the last snapshot was written.", "O(1)")
    .tips(&["nondeterministic_output"]),
    Spec::new("save", 1, SNAPSHOT.with(Flags::NO_MULTI), Keys::NONE, save)
        .group(Group::Server)
        .doc(
            "Writes a snapshot of all databases and waits for it.",
            "O(N) with N keys, but nobody else waits",
        ),
];

/// What is kept on disk.
fn disk<'a>(cx: &Cx<'a>) -> Result<&'a dyn Durability, ReplyError> {
    cx.host.durability().ok_or(error::NOT_KEPT)
}

/// Changes that a snapshot asked for now has.
pub(super) fn changes(cx: &Cx<'_>) -> u64 {
    cx.host.changes() + cx.step.tally().changes
}

/// What `SAVE` and its like answer where no snapshot begins.
fn refusal(refused: SnapshotRefused) -> ReplyError {
    match refused {
        SnapshotRefused::InProgress => error::SAVE_IN_PROGRESS,
        SnapshotRefused::Impossible => error::SAVE_FAILED,
    }
}

fn bgsave(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    words.keyword("SCHEDULE");
    words.finish()?;
    disk(cx)?.begin_snapshot(changes(cx)).map_err(refusal)?;
    cx.out.simple(if cx.is_in_exec() {
        "Background saving scheduled"
    } else {
        "Background saving started"
    });
    Ok(())
}

fn bgrewriteaof(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let refusal = |refused| match refused {
        SnapshotRefused::InProgress => error::REWRITE_IN_PROGRESS,
        SnapshotRefused::Impossible => error::REWRITE_FAILED,
    };
    disk(cx)?.begin_snapshot(changes(cx)).map_err(refusal)?;
    cx.out.simple(if cx.is_in_exec() {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(())
}

fn save(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let number = disk(cx)?.begin_snapshot(changes(cx)).map_err(refusal)?;
    cx.parked = Some(Park::Snapshot { number });
    Ok(())
}

fn lastsave(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let last_s = disk(cx)?.last_save_s();
    cx.out.integer(i64::try_from(last_s).unwrap_or(i64::MAX));
    Ok(())
}
