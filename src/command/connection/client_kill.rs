//! `CLIENT KILL addr:port`, `CLIENT KILL option value [option value ...]`: ends connections.
//!
//! The old form ends the one that comes from an address, the caller too, and answers OK. The new
//! form ends all that meet every option, answers their number and spares the caller unless `SKIPME
//! no` is among them. A connection that ends itself gets its answer first.

use super::auth::DEFAULT_USER;
use super::client::FLAGS;
use super::client_list::{CLIENT_TYPE_ARGS, ClientType};
use crate::command::Cx;
use crate::command::error::{self, ReplyError};
use crate::command::host::ClientFacts;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use linchpin_protocol::{Args, number};

/// The rows.
pub const SPECS: &[Spec] =
    &[
        Spec::new("client|kill", -3, FLAGS.with(Flags::ADMIN), Keys::NONE, run)
            .group(Group::Connection)
            .since("2.4.0")
            .doc("Ends connections.", "O(N) with N connections")
            .repeat(Repeat::Unsafe)
            .args(&[Arg::new("filter", ArgKind::OneOf(FILTER_ARGS))])
            .history(&[
                (
                    "2.8.12",
                    "Added the form with options, and the `ID` option.",
                ),
                ("3.2.0", "`TYPE` takes `master`."),
                (
                    "5.0.0",
                    "`TYPE` takes `replica`, the newer word for `slave`.",
                ),
                ("6.2.0", "Added the `LADDR` option."),
                ("7.4.0", "Added the `MAXAGE` option."),
            ]),
    ];

const FILTER_ARGS: &[Arg] = &[
    Arg::new("ip:port", ArgKind::String),
    Arg::new("new-format", ArgKind::OneOf(OPTION_ARGS)).multiple(),
];
const OPTION_ARGS: &[Arg] = &[
    Arg::new("client-id", ArgKind::Integer)
        .token("ID")
        .since("2.8.12"),
    Arg::new("client-type", ArgKind::OneOf(&CLIENT_TYPE_ARGS))
        .token("TYPE")
        .since("2.8.12"),
    Arg::new("username", ArgKind::String).token("USER"),
    Arg::new("ip:port", ArgKind::String).token("ADDR"),
    Arg::new("ip:port", ArgKind::String)
        .token("LADDR")
        .since("6.2.0"),
    Arg::new(
        "skipme",
        ArgKind::OneOf(&[Arg::word("yes", "YES"), Arg::word("no", "NO")]),
    )
    .token("SKIPME"),
    Arg::new("maxage", ArgKind::Integer)
        .token("MAXAGE")
        .since("7.4.0"),
];

/// What a connection must be like to be ended.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    age_s_min: Option<u64>,
    spare_none: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, ReplyError> {
        let mut filter = Self::default();
        let mut at = 0;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(error::SYNTAX)?;
            filter.read(option, value)?;
            at += 2;
        }
        Ok(filter)
    }

    fn read(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), ReplyError> {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        let says = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
        if is("ID") {
            self.id = Some(positive(value).ok_or(error::BAD_CLIENT_ID)?);
        } else if is("MAXAGE") {
            number::parse_i64(value).ok_or(error::MAX_AGE_NOT_INTEGER)?;
            self.age_s_min = Some(positive(value).ok_or(error::MAX_AGE_NOT_POSITIVE)?);
        } else if is("TYPE") {
            self.kind = Some(ClientType::from_word(value)?);
        } else if is("ADDR") {
            self.addr = Some(value);
        } else if is("LADDR") {
            self.laddr = Some(value);
        } else if is("USER") {
            if value != DEFAULT_USER.as_bytes() {
                return Err(ReplyError::quoting("No such user '", value, "'"));
            }
        } else if is("SKIPME") && (says("yes") || says("no")) {
            self.spare_none = says("no");
        } else {
            return Err(error::SYNTAX);
        }
        Ok(())
    }

    fn meets(&self, client: &ClientFacts, now_ms: u64) -> bool {
        let age_s = now_ms.saturating_sub(client.opened_ms) / 1_000;
        self.id.is_none_or(|id| id == client.id)
            && self
                .kind
                .is_none_or(|kind| kind == ClientType::of(&client.state))
            && self.addr.is_none_or(|addr| addr == client.addr.as_bytes())
            && self
                .laddr
                .is_none_or(|laddr| laddr == client.laddr.as_bytes())
            && self.age_s_min.is_none_or(|age_s_min| age_s >= age_s_min)
    }
}

fn positive(word: &[u8]) -> Option<u64> {
    let n = number::parse_i64(word).filter(|&n| n > 0)?;
    u64::try_from(n).ok()
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    if args.len() == 3 {
        let clients = cx.host.clients().list();
        let found = clients
            .iter()
            .find(|client| client.addr.as_bytes() == &args[2]);
        let found = found.is_some_and(|client| kill(cx, client.id));
        return if found {
            cx.out.ok();
            Ok(())
        } else {
            Err(error::NO_SUCH_CLIENT)
        };
    }
    let filter = Filter::parse(args.skip(2))?;
    let (now_ms, caller) = (cx.now().mono_us / 1_000, cx.conn.id);
    let mut killed = 0;
    for client in cx.host.clients().list() {
        let spared = client.id == caller && !filter.spare_none;
        if !spared && filter.meets(&client, now_ms) {
            killed += i64::from(kill(cx, client.id));
        }
    }
    cx.out.integer(killed);
    Ok(())
}

fn kill(cx: &mut Cx<'_>, id: u64) -> bool {
    if id == cx.conn.id {
        cx.conn.closing = true;
        return true;
    }
    cx.host.clients().kill(id)
}
