//! `ID.WORKER pool owner MAX n <PX ms|SESSION sid> [WAIT ms]`: a number below n that is one's own.
//!
//! Reply: `[number, fence, ttl, not before]`, the last in Unix milliseconds, 0 where nobody had the
//! number before; null where none is free. It is kept, looked at and given back by `LOCK.EXTEND`,
//! `CHECK`, `ASSERT`, `BREAK` and `RELEASE`.

use crate::command::lock::claim::{self, Form, Options, WAIT_ARG};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::Share;
use crate::engine::coordinator::Wanted;
use linchpin_protocol::Args;

const LIFE_ARGS: &[Arg] = &[
    Arg::new("milliseconds", ArgKind::Integer).token("PX"),
    Arg::new("sid", ArgKind::String).token("SESSION"),
];

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "id.worker",
    -7,
    Flags::WRITE
        .with(Flags::DENYOOM)
        .with(Flags::FAST)
        .with(Flags::BLOCKING)
        .with(Flags::DURABLE),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    ),
    run,
)
.group(Group::Id)
.since("linchpin 0.1.0")
.doc(
    "Gives an owner a number of a pool that nobody else has.",
    "O(log(N)) with N numbers used so far",
)
.args(&[
    Arg::key("pool"),
    Arg::new("owner", ArgKind::String),
    Arg::new("max", ArgKind::Integer).token("MAX"),
    Arg::new("life", ArgKind::OneOf(LIFE_ARGS)),
    WAIT_ARG,
])
.repeat(Repeat::Safe)];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let owner = claim::owner(&mut words);
    let mut options = Options::default();
    let mut max = None;
    while words.more() {
        if options.read(&mut words) {
            continue;
        }
        if words.keyword("MAX") {
            let count = claim::count(&mut words);
            claim::set_once(&mut words, &mut max, count);
        } else {
            words.reject();
        }
    }
    if options.life == Some(Wanted::Conn) {
        words.reject();
    }
    words.finish()?;
    let of = max.ok_or(error::SYNTAX)?;
    let claim = options.claim(cx, owner, Share::Number { number: 0, of })?;
    claim::run_one(cx, &args[1], &claim, Form::Worker)
}
