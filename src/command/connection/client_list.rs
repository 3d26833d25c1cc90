//! `CLIENT INFO` and `CLIENT LIST [TYPE type | ID id [id ...]]`: a line for each connection.
//!
//! A line has the fields of Redis 7.2 in their order, `watch`, the number of keys watched, which
//! Redis has since 7.4, and at its end `drops`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `id`, `addr`, `laddr`, `fd`, `name` | number, addresses of both ends, file descriptor, name |
//! | `age`, `idle` | seconds since it connected, and since it last sent something |
//! | `flags` | `P` subscriptions, `x` transaction, `c` closing, `U` Unix, `e` NO-EVICT, or `N` |
//! | `db`, `multi`, `watch` | database, commands queued (-1: no transaction), keys watched |
//! | `sub`, `psub`, `ssub` | subscriptions: to channels, patterns, channels of the shard |
//! | `qbuf`, `qbuf-free` | bytes of requests not yet executed, bytes free in their buffer |
//! | `argv-mem`, `multi-mem` | bytes of the command in course, and of those queued |
//! | `rbs`, `obl`, `omem`, `tot-mem` | bytes of the reply buffer, used in it, beyond it, of all |
//! | `cmd`, `user`, `resp` | last command, user, protocol version |
//! | `lib-name`, `lib-ver` | what `CLIENT SETINFO` said |
//! | `drops` | messages it was too slow for, see `CLIENT SLOWPOLICY` |
//!
//! `rbp`, `oll` and `redir` are there for those who read by position; they
//! say that there is nothing of the kind.
//!
//! LIMITATIONS: what is told of others is from the end of their last batch.

use super::client::FLAGS;
use crate::command::error::{self, ReplyError};
use crate::command::host::{ClientFacts, ClientState};
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, words};
use linchpin_protocol::{Args, Version};
use std::fmt::Write as _;
use std::sync::Arc;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("client|info", 2, FLAGS, Keys::NONE, run_info)
        .group(Group::Connection)
        .since("6.2.0")
        .doc("Tells about this connection.", "O(1)")
        .tips(&["nondeterministic_output"]),
    Spec::new(
        "client|list",
        -2,
        FLAGS.with(Flags::ADMIN),
        Keys::NONE,
        run_list,
    )
    .group(Group::Connection)
    .since("2.4.0")
    .doc(
        "Tells about all connections, or some.",
        "O(N) with N connections",
    )
    .args(&[
        Arg::new("client-type", ArgKind::OneOf(&CLIENT_TYPE_ARGS))
            .token("TYPE")
            .optional()
            .since("5.0.0"),
        Arg::new("client-id", ArgKind::Integer)
            .token("ID")
            .optional()
            .multiple()
            .since("6.2.0"),
    ])
    .tips(&["nondeterministic_output"])
    .history(&[
        ("2.8.12", "Added the `id` field."),
        ("5.0.0", "Added the `TYPE` option."),
        ("6.0.0", "Added the `user` field."),
        (
            "6.2.0",
            "Added the `ID` option and `argv-mem`, `tot-mem`, `laddr`, `redir`.",
        ),
        (
            "7.0.0",
            "Added the `resp`, `multi-mem`, `rbs` and `rbp` fields.",
        ),
        ("7.0.3", "Added the `ssub` field."),
        ("7.2.0", "Added the `lib-name` and `lib-ver` fields."),
        ("7.4.0", "Added the `watch` field."),
    ]),
];

/// The documentation of the types of connections.
pub(super) const CLIENT_TYPE_ARGS: [Arg; 5] = [
    Arg::word("normal", "NORMAL"),
    Arg::word("master", "MASTER"),
    Arg::word("slave", "SLAVE"),
    Arg::word("replica", "REPLICA"),
    Arg::word("pubsub", "PUBSUB"),
];

/// What kind of connection it is. All are normal ones: there are neither replicas nor subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientType {
    /// One that calls commands.
    Normal,
    /// A server this one copies, or that copies this one: there are none.
    Replication,
    /// One with subscriptions.
    Pubsub,
}

impl ClientType {
    /// The type of a connection.
    pub(super) fn of(state: &ClientState) -> Self {
        if state.subscriptions == [0; 3] {
            Self::Normal
        } else {
            Self::Pubsub
        }
    }

    /// The type with this name.
    ///
    /// # Errors
    /// `Unknown client type`.
    pub(super) fn from_word(word: &[u8]) -> Result<Self, ReplyError> {
        const NAMES: [(&str, ClientType); 5] = [
            ("normal", ClientType::Normal),
            ("master", ClientType::Replication),
            ("slave", ClientType::Replication),
            ("replica", ClientType::Replication),
            ("pubsub", ClientType::Pubsub),
        ];
        NAMES
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, kind)| *kind)
            .ok_or_else(|| ReplyError::quoting("Unknown client type '", word, "'"))
    }
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut text = String::new();
    if let Some(facts) = cx.host.clients().find(cx.conn.id) {
        write_line(&mut text, cx, facts, args);
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn run_list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|w| w.eq_ignore_ascii_case(word));
    let clients = cx.host.clients();
    let chosen = if args.len() == 2 {
        clients.list()
    } else if args.len() == 4 && is(2, b"TYPE") {
        let kind = ClientType::from_word(&args[3])?;
        let mut chosen = clients.list();
        chosen.retain(|client| ClientType::of(&client.state) == kind);
        chosen
    } else if args.len() > 3 && is(2, b"ID") {
        let ids: Result<Vec<i64>, ReplyError> = args.skip(3).iter().map(words::integer).collect();
        let ids = ids.map_err(|_| error::INVALID_CLIENT_ID)?;
        let find = |id: i64| clients.find(u64::try_from(id).ok()?);
        ids.into_iter().filter_map(find).collect()
    } else {
        return Err(error::SYNTAX);
    };
    let mut text = String::new();
    for facts in chosen {
        write_line(&mut text, cx, facts, args);
    }
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Puts what the running batch has changed in place of what the registry last saw of the caller.
fn refresh(cx: &mut Cx<'_>, facts: &mut ClientFacts) {
    let now_ms = cx.now().mono_us / 1_000;
    let conn = &*cx.conn;
    facts.names = Arc::new(conn.names.clone());
    let state = &mut facts.state;
    state.active_ms = now_ms;
    state.output_bytes = cx.out.buffer_len();
    state.db = conn.db;
    state.resp = conn.resp;
    state.closing = conn.closing;
    state.watched = conn.watched.len();
    state.subscriptions = conn.subscriptions();
    state.no_evict = conn.no_evict;
    state.command = Some(cx.spec);
    state.multi_bytes = conn.multi.as_ref().map_or(0, |multi| multi.queue_bytes);
    state.multi = conn.multi.as_ref().map(|multi| multi.queue.len());
    if cx.is_in_exec() {
        state.multi = cx.state.multi;
    }
}

fn write_line(text: &mut String, cx: &mut Cx<'_>, mut facts: ClientFacts, args: Args<'_>) {
    let is_caller = facts.id == cx.conn.id;
    if is_caller {
        refresh(cx, &mut facts);
    }
    let (now_ms, state) = (cx.now().mono_us / 1_000, &facts.state);
    let seconds_since = |ms: u64| now_ms.saturating_sub(ms) / 1_000;
    let multi = state
        .multi
        .map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
    let [channels, shards, patterns] = state.subscriptions;
    let argv_bytes = if is_caller { args.bytes_len() } else { 0 };
    let total_bytes = facts.memory_bytes + argv_bytes;
    let output_beyond = state.output_bytes.saturating_sub(state.output_capacity);
    let _ = writeln!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={multi} watch={} qbuf={} qbuf-free={} argv-mem={argv_bytes} multi-mem={} rbs={} \
         rbp=0 obl={} oll=0 omem={output_beyond} tot-mem={total_bytes} events={} cmd={} \
         user=default redir=-1 resp={} lib-name={} lib-ver={} drops={}",
        facts.id,
        facts.addr,
        facts.laddr,
        facts.fd,
        facts.names.name,
        seconds_since(facts.opened_ms),
        seconds_since(state.active_ms),
        flags(&facts),
        state.db,
        channels,
        patterns,
        shards,
        state.watched,
        state.input_bytes,
        state.input_capacity.saturating_sub(state.input_bytes),
        state.multi_bytes,
        state.output_capacity,
        state.output_bytes,
        if state.output_bytes > 0 { "rw" } else { "r" },
        state.command.map_or("NULL", |spec| spec.name),
        match state.resp {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        },
        facts.names.lib_name,
        facts.names.lib_ver,
        facts.dropped,
    );
}

fn flags(facts: &ClientFacts) -> String {
    let letters = [
        (facts.state.subscriptions != [0; 3], 'P'),
        (facts.state.multi.is_some(), 'x'),
        (facts.state.waits, 'b'),
        (facts.state.closing, 'c'),
        (facts.unix, 'U'),
        (facts.state.no_evict, 'e'),
    ];
    let set: String = letters
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, letter)| letter)
        .collect();
    if set.is_empty() { "N".to_owned() } else { set }
}
