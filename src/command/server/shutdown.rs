//! `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE]`, `SHUTDOWN ABORT`: ends the server.
//!
//! No reply: the connection ends. What other connections have in flight is answered first. This
//! version keeps its data in memory only, so `SAVE` is refused, as Redis refuses it where saving
//! fails, and `FORCE` ends the server all the same. There are no replicas to wait for: `NOW`
//! changes nothing, and `ABORT` finds nothing to give up.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
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
    if options.save && !options.force {
        return Err(error::SHUTDOWN_FAILED);
    }
    cx.host.shut_down();
    cx.conn.closing = true;
    Ok(())
}
