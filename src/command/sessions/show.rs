//! `SESSION.INFO` and `SESSION.LIST`: what sessions there are. None tells a session's secret name.

use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::engine::coordinator::SessionInfo;
use linchpin_protocol::{Args, Writer};

const FLAGS: Flags = Flags::READONLY.with(Flags::DURABLE);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "session.info",
        2,
        FLAGS.with(Flags::FAST),
        Keys::NONE,
        run_info,
    )
    .group(Group::Session)
    .since("linchpin 0.1.0")
    .doc("Tells what is known of a session.", "O(1)")
    .args(&[Arg::new("sid", ArgKind::String)]),
    Spec::new("session.list", 1, FLAGS, Keys::NONE, run_list)
        .group(Group::Session)
        .since("linchpin 0.1.0")
        .doc(
            "Tells what is known of all sessions.",
            "O(N log N) with N sessions",
        ),
];

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let info = cx.step.coordinate(|turn| turn.session(&args[1]));
    let info = info.map_err(|refusal| claim::refused(&refusal))?;
    write(&mut cx.out, &info);
    Ok(())
}

fn run_list(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let all = cx.step.coordinate(|turn| turn.sessions());
    cx.out.array(all.len());
    for info in &all {
        write(&mut cx.out, info);
    }
    Ok(())
}

fn write(out: &mut Writer<'_>, info: &SessionInfo) {
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let numbers = [
        ("number", clamp(info.number)),
        ("ttl", clamp(info.ttl_ms)),
        ("left", info.left_ms.map_or(-1, clamp)),
        ("grace", clamp(info.grace_ms)),
        ("delay", clamp(info.delay_ms)),
        ("bound", clamp(info.bound.unwrap_or(0))),
        ("holds", clamp(info.holds as u64)),
        ("keys", clamp(info.keys as u64)),
        ("waiting", clamp(info.waiting as u64)),
    ];
    out.map(numbers.len() + 1);
    out.bulk(b"name");
    out.bulk(&info.name);
    for (name, number) in numbers {
        out.bulk(name.as_bytes());
        out.integer(number);
    }
}
