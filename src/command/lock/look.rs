//! `LOCK.CHECK`, `LOCK.ASSERT`, `LOCK.OBSERVE`, `LOCK.INFO`, `LOCK.LIST`: looking at locks.

use super::claim::{self, WAIT_ARG};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use crate::engine::coordinator::{HoldInfo, Info, Kind, Name, WaiterInfo};
use crate::engine::{Share, coordinator::Turn};
use crate::glob;
use linchpin_protocol::{Args, Writer};

const READ: Flags = Flags::READONLY.with(Flags::FAST).with(Flags::DURABLE);
const KEY: Keys = Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS));
/// Objects looked at by one `LOCK.LIST`, unless told otherwise.
const COUNT: i64 = 10;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("lock.check", 3, READ, KEY, run_check)
        .group(Group::Lock)
        .since("linchpin 0.1.0")
        .doc(
            "Answers whether a fencing token is that of a current hold.",
            "O(N) with N holds",
        )
        .args(&[Arg::key("key"), Arg::new("fence", ArgKind::Integer)]),
    Spec::new("lock.assert", 3, READ, KEY, run_assert)
        .group(Group::Lock)
        .since("linchpin 0.1.0")
        .doc(
            "Fails unless a fencing token is current; a transaction judges it first.",
            "O(N) with N holds",
        )
        .args(&[Arg::key("key"), Arg::new("fence", ArgKind::Integer)]),
    Spec::new(
        "lock.observe",
        -2,
        READ.with(Flags::BLOCKING),
        KEY,
        run_observe,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc(
        "Tells who holds a lock, or waits for the next to hold it.",
        "O(N) with N holds",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("fence", ArgKind::Integer)
            .token("AFTER")
            .optional(),
        WAIT_ARG,
    ]),
    Spec::new(
        "lock.info",
        2,
        Flags::READONLY.with(Flags::DURABLE),
        KEY,
        run_info,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc(
        "Tells all that is known of a lock: holders, waiters, contention.",
        "O(N) with N holds and waiters",
    )
    .args(&[Arg::key("key")]),
    Spec::new(
        "lock.list",
        -2,
        Flags::READONLY
            .with(Flags::DURABLE)
            .with(Flags::TOUCHES_ARBITRARY_KEYS),
        Keys::NONE,
        run_list,
    )
    .group(Group::Lock)
    .since("linchpin 0.1.0")
    .doc(
        "Lists the locks of a database, some at a time.",
        "O(N) with N objects looked at",
    )
    .args(&[
        Arg::new("cursor", ArgKind::Integer),
        Arg::new("pattern", ArgKind::Pattern)
            .token("MATCH")
            .optional(),
        Arg::new("session", ArgKind::Integer)
            .token("SESSION")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ]),
];

fn run_check(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let fence = claim::fence(&mut words);
    words.finish()?;
    let is_current = claim::on_object(cx, &args[1], &claim::HELD, |turn, name| {
        turn.is_current(name, fence)
    })?;
    cx.out.integer(i64::from(is_current));
    Ok(())
}

fn run_assert(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    assert_current(cx, args)?;
    cx.out.ok();
    Ok(())
}

/// Nothing, where the call's fencing token is that of a current hold.
///
/// # Errors
/// What the client is told instead.
pub fn assert_current(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let fence = claim::fence(&mut words);
    words.finish()?;
    let asserted = claim::on_object(cx, &args[1], &claim::HELD, |turn, name| {
        turn.assert_current(name, fence)
    })?;
    asserted.map_err(|refusal| claim::refused(&refusal))
}

fn run_observe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (after, wait) = claim::after_and_wait(&mut words);
    words.finish()?;
    let ticket = claim::ticket(cx);
    let wait_ms = wait.filter(|_| !cx.is_in_exec()).unwrap_or(0);
    let after = after.unwrap_or(0);
    let seen = claim::on_object(cx, &args[1], &[Kind::Lock], |turn, name| {
        if turn.observe(name, after, ticket, wait_ms)? {
            return Ok(None);
        }
        Ok(Some(turn.newest_above(name, after)))
    })?;
    match seen.map_err(|refusal| claim::refused(&refusal))? {
        None => {
            cx.parked = Some(Park::Observe {
                call: ticket.call,
                after,
            });
        }
        Some(hold) => write_observed(&mut cx.out, hold.as_ref()),
    }
    Ok(())
}

/// Writes `[fence, owner, value, ttl]`, or null.
pub fn write_observed(out: &mut Writer<'_>, hold: Option<&HoldInfo>) {
    let Some(hold) = hold else {
        out.null_array();
        return;
    };
    out.array(4);
    integer(out, hold.fence);
    out.bulk(&hold.owner);
    match &hold.value {
        Some(value) => out.bulk(value),
        None => out.null(),
    }
    ttl(out, hold.ttl_ms);
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let info = claim::on_object(
        cx,
        &args[1],
        &[Kind::Lock],
        |turn: &mut Turn<'_>, name: &Name| turn.info(name, Kind::Lock),
    )?;
    match info.map_err(|refusal| claim::refused(&refusal))? {
        Some(info) => write_info(cx, &info),
        None => cx.out.null_array(),
    }
    Ok(())
}

/// Writes all that is known of a lock or semaphore, as a map.
pub fn write_info(cx: &mut Cx<'_>, info: &Info) {
    let clients = cx.host.clients();
    let out = &mut cx.out;
    let limit_pairs = if info.limit.is_some() { 3 } else { 0 };
    out.map(7 + limit_pairs);
    out.bulk(b"mode");
    out.bulk(match info.holds.first().map(|hold| hold.share) {
        None => b"free",
        Some(Share::Exclusive) => b"X",
        Some(Share::Shared) => b"S",
        Some(Share::Permits { .. }) => b"permits",
        Some(Share::Number { .. }) => b"number",
    });
    if let Some((limit, is_pinned)) = info.limit {
        out.bulk(b"limit");
        out.integer(limit.into());
        out.bulk(b"pinned");
        out.integer(is_pinned.into());
        out.bulk(b"free");
        out.integer(info.free);
    }
    out.bulk(b"holders");
    out.array(info.holds.len());
    for hold in &info.holds {
        write_hold(out, hold, clients);
    }
    out.bulk(b"waiters");
    out.array(info.waiters.len());
    for (position, waiter) in info.waiters.iter().enumerate() {
        write_waiter(out, position, waiter, clients);
    }
    out.bulk(b"delay");
    integer(out, info.delay_ms.unwrap_or(0));
    let contention = info.contention;
    for (name, count) in [
        ("grants", contention.grants),
        ("waits", contention.waits),
        ("refusals", contention.refusals),
    ] {
        out.bulk(name.as_bytes());
        integer(out, count);
    }
}

fn write_hold(out: &mut Writer<'_>, hold: &HoldInfo, clients: &dyn crate::command::host::Clients) {
    out.map(9);
    out.bulk(b"owner");
    out.bulk(&hold.owner);
    out.bulk(b"fence");
    integer(out, hold.fence);
    match hold.share {
        Share::Permits { count, .. } => {
            out.bulk(b"permits");
            out.integer(count.into());
        }
        Share::Number { number, .. } => {
            out.bulk(b"number");
            out.integer(number.into());
        }
        Share::Exclusive | Share::Shared => {
            out.bulk(b"depth");
            out.integer(hold.depth.into());
        }
    }
    out.bulk(b"ttl");
    ttl(out, hold.ttl_ms);
    out.bulk(b"session");
    integer(out, hold.session.unwrap_or(0));
    out.bulk(b"age");
    integer(out, hold.age_ms);
    out.bulk(b"value");
    match &hold.value {
        Some(value) => out.bulk(value),
        None => out.null(),
    }
    write_client(out, hold.conn, clients);
}

fn write_waiter(
    out: &mut Writer<'_>,
    position: usize,
    waiter: &WaiterInfo,
    clients: &dyn crate::command::host::Clients,
) {
    out.map(6);
    out.bulk(b"position");
    integer(out, position as u64);
    out.bulk(b"owner");
    out.bulk(&waiter.owner);
    out.bulk(b"mode");
    out.bulk(match waiter.share {
        Share::Exclusive => b"X",
        Share::Shared => b"S",
        Share::Permits { .. } => b"permits",
        Share::Number { .. } => b"number",
    });
    out.bulk(b"waited");
    integer(out, waiter.waited_ms);
    write_client(out, waiter.conn, clients);
}

/// Facts of this node: two pairs.
fn write_client(out: &mut Writer<'_>, conn: u64, clients: &dyn crate::command::host::Clients) {
    let client = clients.find(conn);
    out.bulk(b"addr");
    out.bulk(
        client
            .as_ref()
            .map_or(&b""[..], |client| client.addr.as_bytes()),
    );
    out.bulk(b"client-name");
    out.bulk(
        client
            .as_ref()
            .map_or(&b""[..], |client| client.names.name.as_bytes()),
    );
}

fn run_list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let cursor = words.integer_or(error::INVALID_CURSOR);
    let cursor = u64::try_from(cursor).unwrap_or_else(|_| {
        words.fail(error::INVALID_CURSOR);
        0
    });
    let (mut pattern, mut session, mut count) = (None, None, None);
    while words.more() {
        if words.keyword("MATCH") {
            let given = words.take();
            claim::set_once(&mut words, &mut pattern, given);
        } else if words.keyword("SESSION") {
            let number = claim::fence(&mut words);
            claim::set_once(&mut words, &mut session, number);
        } else if words.keyword("COUNT") {
            let given = claim::count(&mut words);
            claim::set_once(&mut words, &mut count, given.into());
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let db = cx.step.db_id(cx.db());
    let max = usize::try_from(count.unwrap_or(COUNT)).unwrap_or(usize::MAX);
    let is_wanted = |key: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, key));
    let listed = cx
        .step
        .coordinate(|turn| turn.list(db, cursor, max, session, is_wanted));
    cx.out.array(2);
    cx.out.bulk(listed.cursor.to_string().as_bytes());
    cx.out.array(listed.keys.len());
    for key in &listed.keys {
        cx.out.bulk(key);
    }
    Ok(())
}

fn integer(out: &mut Writer<'_>, value: u64) {
    out.integer(i64::try_from(value).unwrap_or(i64::MAX));
}

fn ttl(out: &mut Writer<'_>, ttl_ms: Option<u64>) {
    out.integer(ttl_ms.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX)));
}
