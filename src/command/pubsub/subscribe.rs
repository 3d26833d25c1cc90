//! `SUBSCRIBE`, `PSUBSCRIBE`, `SSUBSCRIBE` and their opposites: what a connection listens to.
//!
//! Each name is confirmed by a push of its own: what was done, the name, and how many subscriptions
//! there are now, those to channels of the shard apart from the others. Messages follow the
//! confirmation; none follows that of the end. Without names, all subscriptions of the kind end; if
//! there were none, one confirmation without a name says so.
//!
//! In protocol version 2 a connection with subscriptions can do nothing but change them, `PING`,
//! `QUIT` and `RESET`; in version 3 it stays an ordinary one.
//!
//! All or none of the names of one call are subscribed to.

use crate::command::error::{self, ReplyError};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, spec};
use crate::pubsub::{Kind, Subscriber, TOPIC_LEN_MAX};
use linchpin_protocol::Args;

/// At any time, with confirmations that are no replies.
const FLAGS: Flags = Flags::PUBSUB
    .with(Flags::NOSCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::PUSHES)
    .with(Flags::SUBSCRIBER);

/// A channel of the shard stands where a key would, for those who find the shard by it.
const SHARD_CHANNELS: Keys = Keys::rest(1, 1, KeyFlags::NOT_KEY);

const fn row(name: &'static str, arity: i16, keys: Keys, run: spec::Run) -> Spec {
    Spec::new(name, arity, FLAGS, keys, run).group(Group::Pubsub)
}

/// The rows.
pub const SPECS: &[Spec] = &[
    row("subscribe", -2, Keys::NONE, |cx, args| {
        subscribe(cx, args, Kind::Channel)
    })
    .since("2.0.0")
    .doc("Listens to channels.", "O(N) with N channels")
    .args(&[Arg::new("channel", ArgKind::String).multiple()]),
    row("unsubscribe", -1, Keys::NONE, |cx, args| {
        unsubscribe(cx, args, Kind::Channel)
    })
    .since("2.0.0")
    .doc("Stops listening to channels.", "O(N) with N channels")
    .args(&[Arg::new("channel", ArgKind::String).optional().multiple()]),
    row("psubscribe", -2, Keys::NONE, |cx, args| {
        subscribe(cx, args, Kind::Pattern)
    })
    .since("2.0.0")
    .doc(
        "Listens to all channels whose names match a pattern.",
        "O(N) with N patterns",
    )
    .args(&[Arg::new("pattern", ArgKind::Pattern).multiple()]),
    row("punsubscribe", -1, Keys::NONE, |cx, args| {
        unsubscribe(cx, args, Kind::Pattern)
    })
    .since("2.0.0")
    .doc("Stops listening to patterns.", "O(N) with N patterns")
    .args(&[Arg::new("pattern", ArgKind::Pattern).optional().multiple()]),
    row("ssubscribe", -2, SHARD_CHANNELS, |cx, args| {
        subscribe(cx, args, Kind::Shard)
    })
    .since("7.0.0")
    .doc("Listens to channels of the shard.", "O(N) with N channels")
    .args(&[Arg::new("shardchannel", ArgKind::String).multiple()]),
    row("sunsubscribe", -1, SHARD_CHANNELS, |cx, args| {
        unsubscribe(cx, args, Kind::Shard)
    })
    .since("7.0.0")
    .doc(
        "Stops listening to channels of the shard.",
        "O(N) with N channels",
    )
    .args(&[Arg::new("shardchannel", ArgKind::String)
        .optional()
        .multiple()]),
];

const fn begun(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Channel => b"subscribe",
        Kind::Shard => b"ssubscribe",
        Kind::Pattern => b"psubscribe",
    }
}

const fn ended(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Channel => b"unsubscribe",
        Kind::Shard => b"sunsubscribe",
        Kind::Pattern => b"punsubscribe",
    }
}

fn subscribe(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), ReplyError> {
    let names = args.skip(1);
    if names.iter().any(|name| name.len() > TOPIC_LEN_MAX) {
        return Err(error::TOPIC_TOO_LONG);
    }
    let subscriber = cx.conn.subscriber.as_ref();
    let there = subscriber.map_or(0, |subscriber| subscriber.total());
    let is_new = |name: &[u8]| subscriber.is_none_or(|known| !known.has(kind, name));
    let new = names.iter().filter(|name| is_new(name)).count();
    if there + new > cx.settings.max_subscriptions as usize {
        return Err(error::TOO_MANY_SUBSCRIPTIONS);
    }
    let hub = cx.host.hub();
    if cx.conn.subscriber.is_none() {
        let Some(mailbox) = cx.host.clients().mailbox(cx.conn.id) else {
            // It was told to end; nobody reads what it is answered.
            return Ok(());
        };
        cx.conn.subscriber = Some(Box::new(Subscriber::new(mailbox)));
    }
    for name in names.iter() {
        let Some(subscriber) = &mut cx.conn.subscriber else {
            break;
        };
        subscriber.subscribe(hub, kind, name);
        let count = subscriber.confirmed(kind);
        confirm(cx, begun(kind), Some(name), count);
    }
    Ok(())
}

fn unsubscribe(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), ReplyError> {
    let named = args.skip(1);
    if args.len() > 1 {
        for name in named.iter() {
            end(cx, kind, Some(name));
        }
        return Ok(());
    }
    let subscriber = cx.conn.subscriber.as_ref();
    let names = subscriber.map_or_else(Vec::new, |subscriber| subscriber.names(kind));
    if names.is_empty() {
        end(cx, kind, None);
    }
    for name in &names {
        end(cx, kind, Some(name));
    }
    Ok(())
}

/// Ends a subscription and confirms that, behind what came by it.
fn end(cx: &mut Cx<'_>, kind: Kind, name: Option<&[u8]>) {
    let (hub, is_in_exec) = (cx.host.hub(), cx.is_in_exec());
    let mut count = 0;
    if let Some(subscriber) = &mut cx.conn.subscriber {
        if let Some(name) = name {
            subscriber.unsubscribe(hub, kind, name);
        }
        count = subscriber.confirmed(kind);
        // Inside EXEC nobody else publishes, and what was there before was sent before it.
        if !is_in_exec {
            let mut messages = Vec::new();
            subscriber.flush(&mut messages, cx.out.version());
            cx.out.raw(&messages);
        }
    }
    confirm(cx, ended(kind), name, count);
}

fn confirm(cx: &mut Cx<'_>, what: &[u8], name: Option<&[u8]>, count: usize) {
    cx.out.push(3);
    cx.out.bulk(what);
    match name {
        Some(name) => cx.out.bulk(name),
        None => cx.out.null(),
    }
    cx.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
}
