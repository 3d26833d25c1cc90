//! `IDEMP.BEGIN key fingerprint PX ms [WAIT ms] [OWNER o]`: whether a request is to be done, is
//! being done, or was.
//!
//! Replies: `[NEW, token]`, `[RETRY, token]` where an earlier try may have run, `[BUSY, ttl]`,
//! `[DONE, response]`; an error where the fingerprint is another than the first one's.

use crate::command::lock::claim::{self, WAIT_ARG};
use crate::command::looking;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Conn, Cx, Park, ReplyError, error};
use crate::engine::{Ask, Step, Wants};
use linchpin_protocol::{Args, Writer};

/// The longest fingerprint, in bytes.
const FINGERPRINT_BYTES_MAX: usize = 256;

/// The row.
pub const SPECS: &[Spec] = &[Spec::new(
    "idemp.begin",
    -5,
    Flags::WRITE
        .with(Flags::DENYOOM)
        .with(Flags::MAKES_MISSING)
        .with(Flags::BLOCKING)
        .with(Flags::FAST)
        .with(Flags::DURABLE),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    ),
    run,
)
.group(Group::Idempotency)
.since("linchpin 0.1.0")
.doc(
    "Begins a request that is to be done once, or answers what came of it.",
    "O(1)",
)
.args(&[
    Arg::key("key"),
    Arg::new("fingerprint", ArgKind::String),
    Arg::new("milliseconds", ArgKind::Integer).token("PX"),
    WAIT_ARG,
    Arg::new("owner", ArgKind::String).token("OWNER").optional(),
])
.repeat(Repeat::SafeWith("OWNER"))];

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks; empty: nobody said.
    pub owner: &'a [u8],
    /// What is asked for.
    pub fingerprint: &'a [u8],
    /// How long it has, in milliseconds.
    pub ttl_ms: u64,
    /// The token it is given if it is to do the request.
    pub token: u64,
    /// How long it waits, in milliseconds.
    pub wait_ms: u64,
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let fingerprint = words.take();
    if fingerprint.len() > FINGERPRINT_BYTES_MAX {
        words.fail(error::FINGERPRINT_TOO_LONG);
    }
    let (mut ttl_ms, mut wait_ms, mut owner) = (None, None, None);
    while words.more() {
        if words.keyword("PX") {
            let ms = claim::lease_ms(&mut words);
            claim::set_once(&mut words, &mut ttl_ms, ms);
        } else if words.keyword("WAIT") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut wait_ms, ms);
        } else if words.keyword("OWNER") {
            let name = claim::owner(&mut words);
            claim::set_once(&mut words, &mut owner, name);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let asked = Asked {
        owner: owner.unwrap_or_default(),
        fingerprint,
        ttl_ms: ttl_ms.ok_or(error::SYNTAX)?,
        token: looking::draw_token(cx.host),
        wait_ms: wait_ms.filter(|_| !cx.is_in_exec()).unwrap_or(0),
    };
    let name = (cx.db(), &args[1]);
    cx.parked = begin(&mut cx.step, cx.conn, &mut cx.out, name, &asked)?;
    Ok(())
}

/// Answers the call, or parks it and answers what it waits for.
///
/// # Errors
/// Where the key is something else, or the request another one.
pub fn begin(
    step: &mut Step<'_>,
    conn: &mut Conn,
    out: &mut Writer<'_>,
    (db, key): (u32, &[u8]),
    asked: &Asked<'_>,
) -> Result<Option<Park>, ReplyError> {
    let mut locked = step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    slot.record()?;
    slot.hand_over();
    let now_ms = slot.now().engine_ms;
    let mut is_retry = false;
    if let Some(record) = slot.record()? {
        if record.fingerprint != asked.fingerprint {
            return Err(error::MISMATCH);
        }
        if let Some(response) = record.response {
            write(out, "DONE", |out| out.bulk(response));
            return Ok(None);
        }
        if record.is_busy(now_ms) {
            let is_own = !asked.owner.is_empty() && record.owner == asked.owner;
            if is_own || record.token == asked.token {
                write_token(out, record.is_retry, record.token);
                return Ok(None);
            }
            let left_ms = record.end_ms.saturating_sub(now_ms);
            let ask = || Ask {
                token: asked.token,
                wants: Wants::Begin {
                    owner: asked.owner.into(),
                    fingerprint: asked.fingerprint.into(),
                    ttl_ms: asked.ttl_ms,
                },
            };
            let parked = looking::park(&mut slot, conn, (db, key), ask, asked.wait_ms);
            if parked.is_none() {
                write(out, "BUSY", |out| out.integer(left_ms.cast_signed()));
            }
            return Ok(parked);
        }
        is_retry = true;
    }
    slot.begin(asked.token, asked.ttl_ms, asked.owner, asked.fingerprint);
    write_token(out, is_retry, asked.token);
    Ok(None)
}

fn write_token(out: &mut Writer<'_>, is_retry: bool, token: u64) {
    let state = if is_retry { "RETRY" } else { "NEW" };
    write(out, state, |out| out.integer(token.cast_signed()));
}

fn write(out: &mut Writer<'_>, state: &str, rest: impl FnOnce(&mut Writer<'_>)) {
    out.array(2);
    out.bulk(state.as_bytes());
    rest(out);
}
