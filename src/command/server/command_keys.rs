//! `COMMAND GETKEYS command [arg ...]` and `COMMAND GETKEYSANDFLAGS`: the keys of a call.
//!
//! The call is looked at, not executed. `GETKEYSANDFLAGS` says of each key whether it is read
//! (`RO`), read and written (`RW`), overwritten (`OW`) or removed (`RM`), and what becomes of its
//! value.

use super::command::{FLAGS, write_words};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Keys, Spec};
use crate::command::{Cx, ReplyError, error, table};
use linchpin_protocol::Args;

const CALL_ARGS: &[Arg] = &[
    Arg::new("command", ArgKind::String),
    Arg::new("arg", ArgKind::String).optional().multiple(),
];
const COST: &str = "O(N) with N arguments";

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("command|getkeys", -4, FLAGS, Keys::NONE, run_keys)
        .group(Group::Server)
        .categories(Categories::CONNECTION)
        .since("2.8.13")
        .doc("Answers the keys of a call.", COST)
        .args(CALL_ARGS),
    Spec::new(
        "command|getkeysandflags",
        -4,
        FLAGS,
        Keys::NONE,
        run_keys_and_flags,
    )
    .group(Group::Server)
    .categories(Categories::CONNECTION)
    .since("7.0.0")
    .doc(
        "Answers the keys of a call and what is done with them.",
        COST,
    )
    .args(CALL_ARGS),
];

fn run_keys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let call = args.skip(2);
    let found = keys_of(call)?;
    cx.out.array(found.len());
    for (at, _) in found {
        cx.out.bulk(&call[at]);
    }
    Ok(())
}

fn run_keys_and_flags(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let call = args.skip(2);
    let found = keys_of(call)?;
    cx.out.array(found.len());
    for (at, flags) in found {
        cx.out.array(2);
        cx.out.bulk(&call[at]);
        write_words(&mut cx.out, in_this_call(flags, call).words());
    }
    Ok(())
}

fn keys_of(call: Args<'_>) -> Result<Vec<(usize, KeyFlags)>, ReplyError> {
    let mut spec = table::find(&call[0]).ok_or(error::INVALID_COMMAND)?;
    if spec.flags.has(Flags::CONTAINER)
        && let Some(own) = call.get(1)
    {
        spec = table::find_sub(spec, own).ok_or(error::INVALID_COMMAND)?;
    }
    let is_none = |spec: &KeySpec| spec.flags.has(KeyFlags::NOT_KEY);
    if spec.keys.specs().iter().all(is_none) {
        return Err(error::COMMAND_WITHOUT_KEYS);
    }
    if !spec.takes(call.len()) {
        return Err(error::INVALID_COMMAND_ARITY);
    }
    spec.keys.positions(call).ok_or(error::INVALID_COMMAND_ARGS)
}

/// Where the flags depend on the call: such a command overwrites its key, unless it is told to look
/// at the old value first.
fn in_this_call(flags: KeyFlags, call: Args<'_>) -> KeyFlags {
    const LOOKS: [&[u8]; 5] = [b"GET", b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"];
    if !flags.has(KeyFlags::VARIABLE_FLAGS) {
        return flags;
    }
    let looks = |word: &[u8]| LOOKS.iter().any(|look| word.eq_ignore_ascii_case(look));
    if call.skip(3).iter().any(looks) {
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE)
    } else {
        KeyFlags::OW.with(KeyFlags::UPDATE)
    }
}
