//! `CLIENT ID | GETNAME | SETNAME | SETINFO | NO-EVICT | REPLY | UNBLOCK`: the connection's own
//! affairs.
//!
//! `SETNAME` and `SETINFO LIB-NAME | LIB-VER` say who is calling, for those who read `CLIENT LIST`;
//! an empty word takes the name away. `REPLY OFF` ends all replies and `REPLY SKIP` the next one,
//! until `REPLY ON`. `NO-EVICT ON` spares the connection when clients hold too much. `UNBLOCK` ends
//! the wait of another connection; no command of this version waits, so it finds nobody and
//! answers 0.

use crate::command::Cx;
use crate::command::conn::Conn;
use crate::command::error::{self, ReplyError};
use crate::command::help;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use crate::command::words::{self, Words};
use linchpin_protocol::Args;

/// At any time, in no script.
pub(super) const FLAGS: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);
const NODE_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("client", -2, Flags::CONTAINER, Keys::NONE, help::run_bare)
        .group(Group::Connection)
        .since("2.4.0")
        .doc("Commands about connections.", "Depends on subcommand."),
    Spec::new("client|id", 2, FLAGS, Keys::NONE, run_id)
        .group(Group::Connection)
        .since("5.0.0")
        .doc("Answers the connection's number.", "O(1)"),
    Spec::new("client|getname", 2, FLAGS, Keys::NONE, run_getname)
        .group(Group::Connection)
        .since("2.6.9")
        .doc("Answers the connection's name.", "O(1)"),
    Spec::new("client|setname", 3, FLAGS, Keys::NONE, run_setname)
        .group(Group::Connection)
        .since("2.6.9")
        .doc("Names the connection.", "O(1)")
        .args(&[Arg::new("connection-name", ArgKind::String)])
        .tips(NODE_TIPS),
    Spec::new("client|setinfo", 4, FLAGS, Keys::NONE, run_setinfo)
        .group(Group::Connection)
        .since("7.2.0")
        .doc("Says which library is calling.", "O(1)")
        .args(&[Arg::new("attr", ArgKind::OneOf(SETINFO_ARGS))])
        .tips(NODE_TIPS),
    Spec::new(
        "client|no-evict",
        3,
        FLAGS.with(Flags::ADMIN),
        Keys::NONE,
        run_no_evict,
    )
    .group(Group::Connection)
    .since("7.0.0")
    .doc(
        "Says whether the connection may be ended for the memory it holds.",
        "O(1)",
    )
    .args(&[Arg::new("enabled", ArgKind::OneOf(SWITCH_ARGS))]),
    Spec::new("client|reply", 3, FLAGS, Keys::NONE, run_reply)
        .group(Group::Connection)
        .since("3.2.0")
        .doc("Says which commands are to be answered.", "O(1)")
        .args(&[Arg::new("action", ArgKind::OneOf(REPLY_ARGS))]),
    Spec::new(
        "client|unblock",
        -3,
        FLAGS.with(Flags::ADMIN),
        Keys::NONE,
        run_unblock,
    )
    .group(Group::Connection)
    .since("5.0.0")
    .doc("Ends the wait of another connection.", "O(1)")
    .repeat(Repeat::Unsafe)
    .args(&[
        Arg::new("client-id", ArgKind::Integer),
        Arg::new("unblock-type", ArgKind::OneOf(UNBLOCK_ARGS)).optional(),
    ]),
    help::row("client|help").group(Group::Connection),
];

const SETINFO_ARGS: &[Arg] = &[
    Arg::new("libname", ArgKind::String).token("LIB-NAME"),
    Arg::new("libver", ArgKind::String).token("LIB-VER"),
];
const SWITCH_ARGS: &[Arg] = &[Arg::word("on", "ON"), Arg::word("off", "OFF")];
const REPLY_ARGS: &[Arg] = &[
    Arg::word("on", "ON"),
    Arg::word("off", "OFF"),
    Arg::word("skip", "SKIP"),
];
const UNBLOCK_ARGS: &[Arg] = &[Arg::word("timeout", "TIMEOUT"), Arg::word("error", "ERROR")];

fn run_id(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    cx.out
        .integer(i64::try_from(cx.conn.id).unwrap_or(i64::MAX));
    Ok(())
}

fn run_getname(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    if cx.conn.names.name.is_empty() {
        cx.out.null();
    } else {
        cx.out.bulk(cx.conn.names.name.as_bytes());
    }
    Ok(())
}

fn run_setname(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let name = plain_word(&args[2]).ok_or(error::BAD_CLIENT_NAME)?;
    set_name(cx.conn, name);
    cx.out.ok();
    Ok(())
}

fn run_setinfo(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let option = &args[2];
    let names = &mut cx.conn.names;
    let target = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut names.lib_name
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        &mut names.lib_ver
    } else {
        return Err(ReplyError::quoting("Unrecognized option '", option, "'"));
    };
    let value = plain_word(&args[3]).ok_or_else(|| {
        let rule = " cannot contain spaces, newlines or special characters.";
        ReplyError::quoting("", option, rule)
    })?;
    *target = value.into();
    cx.conn.names_changed = true;
    cx.out.ok();
    Ok(())
}

fn run_no_evict(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    if words.keyword("ON") {
        cx.conn.no_evict = true;
    } else if words.keyword("OFF") {
        cx.conn.no_evict = false;
    } else {
        words.reject();
    }
    words.finish()?;
    cx.out.ok();
    Ok(())
}

fn run_reply(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let replies = &mut cx.conn.replies;
    if words.keyword("ON") {
        replies.turn_on();
        cx.out.ok();
    } else if words.keyword("OFF") {
        replies.turn_off();
    } else if words.keyword("SKIP") {
        replies.skip_next();
    } else {
        words.reject();
    }
    words.finish()
}

fn run_unblock(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    if args.len() > 4 {
        return Err(ReplyError::bad_subcommand_call("client", &args[1]));
    }
    let reasons: [&[u8]; 2] = [b"TIMEOUT", b"ERROR"];
    let known = |word: &[u8]| {
        reasons
            .iter()
            .any(|reason| word.eq_ignore_ascii_case(reason))
    };
    if args.get(3).is_some_and(|reason| !known(reason)) {
        return Err(error::BAD_UNBLOCK_REASON);
    }
    let id = words::integer(&args[2])?;
    let is_error = args
        .get(3)
        .is_some_and(|reason| reason.eq_ignore_ascii_case(b"ERROR"));
    let conn = u64::try_from(id).unwrap_or(0);
    let was_waiting = cx.step.coordinate(|turn| turn.unblock(conn, is_error))
        || cx.step.unblock_ids(conn, is_error);
    cx.out.integer(i64::from(was_waiting));
    Ok(())
}

/// A word that can stand in a line of `CLIENT LIST`: printable ASCII without spaces.
pub(super) fn plain_word(word: &[u8]) -> Option<&str> {
    let plain = word.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(word).ok().filter(|_| plain)
}

/// Names a connection; an empty name takes its name away.
pub(super) fn set_name(conn: &mut Conn, name: &str) {
    conn.names.name = name.into();
    conn.names_changed = true;
}
