//! `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE]`, `SHUTDOWN ABORT`: ends the server.
//!
//! No reply: the connection ends. What other connections have in flight is answered first, and the
//! journal is synced and closed. `SAVE` has a snapshot written before, as does a server with rules
//! of `save` unless told `NOSAVE`; without `appendonly` nothing else is kept. Where the snapshot
//! fails the server goes on, and says so; `FORCE` ends it all the same. There are no replicas to
//! wait for: `NOW` changes nothing, and `ABORT` finds nothing to give up.
//!
//! LIMITATIONS: others are served while the snapshot is written, and without `appendonly` it lacks
//! what they change meanwhile.

use super::snapshot;
use crate::command::host::SnapshotRefused;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use linchpin_protocol::Args;

const SAVE_ARGS: &[Arg] = &[Arg::word("nosave", "NOSAVE"), Arg::word("save", "SAVE")];
const STOP_ARGS: &[Arg] = &[
    Arg::new("save-selector", ArgKind::OneOf(SAVE_ARGS)).optional(),
    Arg::word("now", "NOW").optional().since("7.0.0"),
    Arg::word("force", "FORCE").optional().since("7.0.0"),
];
const FORM_ARGS: &[Arg] = &[
    Arg::new("stop", ArgKind::Block(STOP_ARGS)),
    Arg::word("abort", "ABORT").since("7.0.0"),
];

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "shutdown",
    -1,
    Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::LOADING)
        .with(Flags::STALE)
        .with(Flags::NO_MULTI)
        .with(Flags::ALLOW_BUSY),
    Keys::NONE,
    run,
)
.group(Group::Server)
.doc("Ends the server.", "O(1)")
.repeat(Repeat::Unsafe)
.args(&[Arg::new("form", ArgKind::OneOf(FORM_ARGS)).optional()])
.history(&[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` options.")])];

#[derive(Default)]
struct Options {
    save: bool,
    no_save: bool,
    now: bool,
    force: bool,
    abort: bool,
}

fn parse(words: &mut Words<'_>) -> Options {
    let mut options = Options::default();
    while words.more() {
        if words.keyword("SAVE") {
            options.save = true;
        } else if words.keyword("NOSAVE") {
            options.no_save = true;
        } else if words.keyword("NOW") {
            options.now = true;
        } else if words.keyword("FORCE") {
            options.force = true;
        } else if words.keyword("ABORT") {
            options.abort = true;
        } else {
            words.reject();
        }
    }
    let stops = options.save || options.no_save || options.now || options.force;
    if (options.save && options.no_save) || (options.abort && stops) {
        words.reject();
    }
    options
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let options = parse(&mut words);
    words.finish()?;
    if options.abort {
        return Err(error::NO_SHUTDOWN);
    }
    let has_rules = !cx.settings.save.is_empty();
    if options.save || (has_rules && !options.no_save) {
        match begin_snapshot(cx) {
            Ok(number) => {
                let is_forced = options.force;
                cx.parked = Some(Park::Stop { number, is_forced });
                return Ok(());
            }
            Err(error) if !options.force => return Err(error),
            Err(_) => {}
        }
    }
    cx.host.shut_down();
    cx.conn.closing = true;
    Ok(())
}

fn begin_snapshot(cx: &Cx<'_>) -> Result<u64, ReplyError> {
    let disk = cx.host.durability().ok_or(error::SHUTDOWN_FAILED)?;
    disk.begin_snapshot(snapshot::changes(cx))
        .map_err(|refused| match refused {
            SnapshotRefused::InProgress => error::SAVE_IN_PROGRESS,
            SnapshotRefused::Impossible => error::SHUTDOWN_FAILED,
        })
}
