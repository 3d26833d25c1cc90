//! `SESSION.OPEN`, `SESSION.KEEPALIVE`, `SESSION.BIND`, `SESSION.CLOSE`: the life of a session.
//!
//! Its name, which `SESSION.OPEN` answers, is a secret: 128 random bits. Everything else that is
//! told of sessions names them by a number.

use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::coordinator::Open;
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::DURABLE);
const TTL_MS: u64 = 10_000;
const NAME_BYTES_MAX: usize = 256;
const SID: &[Arg] = &[Arg::new("sid", ArgKind::String)];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "session.open",
        -1,
        FLAGS.with(Flags::DENYOOM),
        Keys::NONE,
        run_open,
    )
    .group(Group::Session)
    .since("linchpin 0.1.0")
    .doc(
        "Opens a session and answers the secret name by which locks and keys live by it.",
        "O(1)",
    )
    .args(&[
        Arg::new("ttl", ArgKind::Integer).token("TTL").optional(),
        Arg::new("grace", ArgKind::Integer)
            .token("GRACE")
            .optional(),
        Arg::new("delay", ArgKind::Integer)
            .token("DELAY")
            .optional(),
        Arg::new("name", ArgKind::String).token("NAME").optional(),
        Arg::word("bind", "BIND").optional(),
    ])
    .tips(&["nondeterministic_output"]),
    Spec::new("session.keepalive", 2, FLAGS, Keys::NONE, run_keep_alive)
        .group(Group::Session)
        .since("linchpin 0.1.0")
        .doc(
            "Lets a session live its time from now, and answers how long that is.",
            "O(1)",
        )
        .args(SID)
        .repeat(Repeat::Safe),
    Spec::new("session.bind", 2, FLAGS, Keys::NONE, run_bind)
        .group(Group::Session)
        .since("linchpin 0.1.0")
        .doc(
            "Lets a session live as long as this connection, and its grace.",
            "O(1)",
        )
        .args(SID)
        .repeat(Repeat::Safe),
    Spec::new("session.close", 2, FLAGS, Keys::NONE, run_close)
        .group(Group::Session)
        .since("linchpin 0.1.0")
        .doc(
            "Ends a session and all that lives by it, and answers how much that was.",
            "O(N) with N locks, permits and keys",
        )
        .args(SID)
        .repeat(Repeat::Safe),
];

#[derive(Default)]
struct Options<'a> {
    ttl_ms: Option<u64>,
    grace_ms: Option<u64>,
    delay_ms: Option<u64>,
    name: Option<&'a [u8]>,
    bind: Option<()>,
}

fn parse<'a>(words: &mut Words<'a>) -> Options<'a> {
    let mut options = Options::default();
    while words.more() {
        if words.keyword("TTL") {
            let ms = claim::lease_ms(words);
            claim::set_once(words, &mut options.ttl_ms, ms);
        } else if words.keyword("GRACE") {
            let ms = claim::wait_ms(words);
            claim::set_once(words, &mut options.grace_ms, ms);
        } else if words.keyword("DELAY") {
            let ms = claim::wait_ms(words);
            claim::set_once(words, &mut options.delay_ms, ms);
        } else if words.keyword("NAME") {
            let name = words.take();
            if name.len() > NAME_BYTES_MAX {
                words.fail(error::SESSION_NAME_TOO_LONG);
            }
            claim::set_once(words, &mut options.name, name);
        } else if words.keyword("BIND") {
            claim::set_once(words, &mut options.bind, ());
        } else {
            words.reject();
        }
    }
    options
}

fn run_open(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let options = parse(&mut words);
    words.finish()?;
    let conn = claim::ticket(cx).conn;
    let sid = format!("{:016x}{:016x}", cx.host.random(), cx.host.random());
    let ttl_ms = options.ttl_ms.unwrap_or(TTL_MS);
    let open = Open {
        sid: sid.as_bytes(),
        name: options.name.unwrap_or_default(),
        ttl_ms,
        grace_ms: options.grace_ms.unwrap_or(ttl_ms),
        delay_ms: options.delay_ms.unwrap_or(0),
        is_bound: options.bind.is_some(),
        conn,
    };
    cx.step.coordinate(|turn| turn.open_session(&open));
    cx.out.bulk(sid.as_bytes());
    Ok(())
}

fn run_keep_alive(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let conn = claim::ticket(cx).conn;
    let left = cx.step.coordinate(|turn| turn.keep_alive(&args[1], conn));
    let left = left.map_err(|refusal| claim::refused(&refusal))?;
    cx.out
        .integer(left.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX)));
    Ok(())
}

fn run_bind(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let conn = claim::ticket(cx).conn;
    let bound = cx.step.coordinate(|turn| turn.bind(&args[1], conn));
    bound.map_err(|refusal| claim::refused(&refusal))?;
    cx.out.ok();
    Ok(())
}

fn run_close(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let ended = cx.step.coordinate(|turn| turn.close_session(&args[1]));
    cx.out.integer(i64::try_from(ended).unwrap_or(i64::MAX));
    Ok(())
}
