//! `HELLO [protover [AUTH username password] [SETNAME clientname]]`: the greeting.
//!
//! Picks the protocol version, 2 or 3, and may authenticate and name the connection in the same
//! call. Everything is checked before anything changes. Reply: a map that says who the server is,
//! in the version just picked.

use super::auth::{self, FLAGS};
use super::client;
use crate::REDIS_VERSION;
use crate::command::spec::{Arg, ArgKind, Group, Keys, Spec};
use crate::command::{Cx, ReplyError, error};
use linchpin_protocol::{Args, Version, number};

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("hello", -1, FLAGS, Keys::NONE, run)
    .group(Group::Connection)
    .since("6.0.0")
    .doc("Greets the server and picks the protocol version.", "O(1)")
    .args(&[Arg::new("arguments", ArgKind::Block(GREETING)).optional()])
    .history(&[(
        "6.2.0",
        "Without a protocol version it only tells about the connection.",
    )])];

const GREETING: &[Arg] = &[
    Arg::new("protover", ArgKind::Integer),
    Arg::new(
        "auth",
        ArgKind::Block(&[
            Arg::new("username", ArgKind::String),
            Arg::new("password", ArgKind::String),
        ]),
    )
    .token("AUTH")
    .optional(),
    Arg::new("clientname", ArgKind::String)
        .token("SETNAME")
        .optional(),
];

#[derive(Default)]
struct Greeting<'a> {
    version: Option<Version>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a str>,
}

fn parse<'a>(args: Args<'a>) -> Result<Greeting<'a>, ReplyError> {
    let mut greeting = Greeting::default();
    let Some(version) = args.get(1) else {
        return Ok(greeting);
    };
    greeting.version = match number::parse_i64(version) {
        Some(2) => Some(Version::Resp2),
        Some(3) => Some(Version::Resp3),
        Some(_) => return Err(error::NO_PROTO),
        None => return Err(error::PROTO_NOT_INTEGER),
    };
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"AUTH") => {
                greeting.login = Some((user, password));
                at += 3;
            }
            (Some(name), _) if option.eq_ignore_ascii_case(b"SETNAME") => {
                greeting.name = Some(client::plain_word(name).ok_or(error::BAD_CLIENT_NAME)?);
                at += 2;
            }
            _ => {
                return Err(ReplyError::quoting(
                    "Syntax error in HELLO option '",
                    option,
                    "'",
                ));
            }
        }
    }
    Ok(greeting)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let greeting = parse(args)?;
    if let Some((user, password)) = greeting.login {
        auth::log_in(cx, user, password)?;
    }
    if !cx.conn.authenticated {
        return Err(error::HELLO_NO_AUTH);
    }
    if let Some(name) = greeting.name {
        client::set_name(cx.conn, name);
    }
    if let Some(version) = greeting.version {
        cx.conn.resp = version;
        cx.out.set_version(version);
    }
    let (version, id, out) = (cx.conn.resp, cx.conn.id, &mut cx.out);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.integer(match version {
        Version::Resp2 => 2,
        Version::Resp3 => 3,
    });
    out.bulk(b"id");
    out.integer(i64::try_from(id).unwrap_or(i64::MAX));
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}
