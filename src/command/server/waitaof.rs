//! `WAITAOF numlocal numreplicas timeout`: waits until what this connection changed is on disk.
//!
//! Reply: two numbers, how many disks have it: 1 or 0 for this server's own, and 0 for others, as
//! there are no replicas. It comes as soon as those asked for have it, or after `timeout`
//! milliseconds, whatever is the case then; 0 waits as long as it takes, which is for ever where
//! replicas are asked for. Other commands of the connection wait meanwhile. Inside `MULTI` nothing
//! waits: the reply is what is the case.
//!
//! After the journal was switched on, nothing is on disk before a snapshot is.
//!
//! It looks at the changes that this connection made and was answered for; with `appendfsync
//! always` they are on disk by then.

use crate::clock::Now;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("waitaof", 4, Flags::BLOCKING, Keys::NONE, run)
    .chapter(Group::Generic)
    .categories(Categories::CONNECTION)
    .since("7.2.0")
    .doc(
        "Waits until what the connection changed is on disk.",
        "O(1)",
    )
    .args(&[
        Arg::new("numlocal", ArgKind::Integer),
        Arg::new("numreplicas", ArgKind::Integer),
        Arg::new("timeout", ArgKind::Integer),
    ])
    .tips(&["request_policy:all_shards", "response_policy:agg_min"])];

/// The arguments, and when the call is answered in any case: monotonic milliseconds.
struct Call {
    local: bool,
    replicas: u64,
    until_ms: Option<u64>,
}

fn parse(words: &mut Words<'_>, now: Now) -> Call {
    let local = words.integer_in(0..=1, error::NUMLOCAL_OUT_OF_RANGE) == 1;
    let replicas = words.integer_or(error::NOT_POSITIVE);
    let replicas = u64::try_from(replicas).unwrap_or_else(|_| {
        words.fail(error::NOT_POSITIVE);
        0
    });
    let timeout_ms = words.integer_or(error::TIMEOUT_NOT_INTEGER);
    let timeout_ms = u64::try_from(timeout_ms).unwrap_or_else(|_| {
        words.fail(error::TIMEOUT_NEGATIVE);
        0
    });
    // As Redis, which keeps it as a time of day.
    if i64::try_from(now.wall_ms.saturating_add(timeout_ms)).is_err() {
        words.fail(error::TIMEOUT_OUT_OF_RANGE);
    }
    let until_ms = (now.mono_us / 1_000).saturating_add(timeout_ms);
    Call {
        local,
        replicas,
        until_ms: (timeout_ms > 0).then_some(until_ms),
    }
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let call = parse(&mut words, cx.now());
    words.finish()?;
    let is_kept = cx.settings.appendonly;
    if call.local && !is_kept {
        return Err(error::WAITAOF_WITHOUT_JOURNAL);
    }
    let frame = cx.conn.frame;
    let is_synced = cx.host.is_durable(frame);
    let is_met = (is_synced || !call.local) && call.replicas == 0;
    if is_met || cx.is_in_exec() {
        cx.out.array(2);
        cx.out.integer(i64::from(is_synced));
        cx.out.integer(0);
        return Ok(());
    }
    cx.parked = Some(Park::Synced {
        frame,
        local: call.local,
        replicas: call.replicas,
        until_ms: call.until_ms,
    });
    Ok(())
}
