//! `EXEC`: runs the queued commands as one step.
//!
//! Reply: the array of their replies; null where a watched key has changed; an error where a
//! command could not be queued. All run under one hold of the gate, at one time, and their effects
//! are one frame. A command that fails does not stop the others; one that may need memory fails
//! where there is none by then, and one whose value has grown in the transaction where the journal
//! has no room for it. `CLIENT REPLY` takes effect at its place in the queue, so that some
//! replies may be missing from the array.

use crate::command::conn::Multi;
use crate::command::connection::select;
use crate::command::error;
use crate::command::lock::look;
use crate::command::spec::{Flags, Group, Keys, Repeat, Spec};
use crate::command::{Cx, InnerCall, ReplyError, make_room, weight};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "exec",
    1,
    Flags::NOSCRIPT
        .with(Flags::LOADING)
        .with(Flags::STALE)
        .with(Flags::SKIP_SLOWLOG)
        .with(Flags::IMMEDIATE)
        .with(Flags::ALONE),
    Keys::NONE,
    run,
)
.group(Group::Transactions)
.since("1.2.0")
.doc(
    "Runs the queued commands as one step.",
    "That of the commands",
)
.repeat(Repeat::Unsafe)];

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let Some(multi) = cx.conn.multi.take() else {
        return Err(error::EXEC_WITHOUT_MULTI);
    };
    let unchanged = !cx.step.any_changed(cx.conn.watched.iter());
    super::watch::unwatch_all(cx);
    if multi.failed {
        return Err(error::EXEC_ABORTED);
    }
    if !unchanged {
        cx.out.null_array();
        return Ok(());
    }
    judge(cx, &multi)?;
    let start = cx.out.buffer_len();
    cx.out.array(multi.queue.len());
    if cx.conn.replies.silences() {
        cx.out.truncate(start);
    }
    let exec = cx.spec;
    cx.state.multi = Some(multi.queue.len());
    let mut admitted_bytes = multi.admitted_bytes;
    for (spec, request) in &multi.queue {
        cx.spec = spec;
        cx.inner.push(InnerCall { spec, error: None });
        let start = cx.out.buffer_len();
        if let Err(error) = run_queued(cx, request.args(), &mut admitted_bytes) {
            if let Some(call) = cx.inner.last_mut() {
                call.error = Some(error.code());
            }
            cx.out.error_bytes(&error.line());
        }
        if cx.conn.replies.silences() && !spec.flags.has(Flags::PUSHES) {
            cx.out.truncate(start);
        }
    }
    cx.spec = exec;
    cx.state.multi = None;
    Ok(())
}

/// Judges every `LOCK.ASSERT` of the queue on the state before it: the first that fails is the
/// whole reply, and nothing runs.
fn judge(cx: &mut Cx<'_>, multi: &Multi) -> Result<(), ReplyError> {
    let selected = cx.conn.db;
    let mut outcome = Ok(());
    for (spec, request) in &multi.queue {
        let args = request.args();
        if spec.name == "select"
            && let Some(word) = args.get(1)
            && let Ok(db) = select::database(cx, word)
        {
            cx.conn.db = db;
        } else if spec.name == "lock.assert" {
            outcome = look::assert_current(cx, args);
        }
        if outcome.is_err() {
            break;
        }
    }
    cx.conn.db = selected;
    outcome
}

/// Runs one queued command, unless it may need memory and there is none: what a transaction takes
/// beyond the bound is what one of its commands takes. Nor does one run that would write more than
/// the transaction was let in for, where there is no room for it.
fn run_queued(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    admitted_bytes: &mut usize,
) -> Result<(), ReplyError> {
    if let Some(bytes) = weight::of_call(cx.spec, args, |key| cx.step.value_bytes(cx.db(), key)) {
        let bytes = bytes.saturating_add(cx.step.frame_bytes());
        if bytes > *admitted_bytes {
            cx.host.admit_frame(bytes)?;
            *admitted_bytes = bytes;
        }
    }
    if cx.spec.flags.has(Flags::DENYOOM) && !cx.step.has_room() {
        // The queue was counted when it was last shown to others, and holds these arguments.
        let counted_bytes = cx.state.multi_bytes;
        if !make_room(&mut cx.step, cx.host, cx.spec, args, counted_bytes) {
            return Err(error::OUT_OF_MEMORY);
        }
    }
    (cx.spec.run)(cx, args)
}
