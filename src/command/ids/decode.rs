//! `ID.DECODE <SNOWFLAKE|UUID7|ULID|KSUID> id [AS INT|DEC|HEX|B62|B32]`: what an ID tells.
//!
//! Reply: `[unix ms, worker, sequence]`; worker and sequence are null but for snowflakes, which are
//! read by the layout of this server. Without AS the ID is in the usual form of its kind.

use super::next::{self, Style};
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::ids::text::{self, Form};
use crate::engine::ids::{Id, IdKind};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("id.decode", -3, Flags::FAST, Keys::NONE, run)
    .group(Group::Id)
    .since("linchpin 0.1.0")
    .doc(
        "Tells the time in an ID, and worker and sequence of a snowflake.",
        "O(1)",
    )
    .args(&[
        Arg::new("kind", ArgKind::OneOf(next::KIND_ARGS)),
        Arg::new("id", ArgKind::String),
        Arg::new("form", ArgKind::OneOf(next::FORM_ARGS))
            .token("AS")
            .optional(),
    ])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(1));
    let kind = next::kind(&mut words);
    let word = words.take();
    let mut form = Form::usual(kind);
    if words.keyword("AS") {
        form = match next::style(&mut words, kind) {
            Style::Integer => Form::Dec,
            Style::Text(form) => form,
        };
    }
    words.finish()?;
    let (unix_ms, parts) = decode(cx, kind, form, word).ok_or(error::INVALID_ID)?;
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    cx.out.array(3);
    cx.out.integer(integer(unix_ms));
    match parts {
        Some((worker, sequence)) => {
            cx.out.integer(integer(worker));
            cx.out.integer(integer(sequence));
        }
        None => {
            cx.out.null();
            cx.out.null();
        }
    }
    Ok(())
}

/// Unix milliseconds, and worker and sequence of a snowflake.
fn decode(cx: &Cx<'_>, kind: IdKind, form: Form, word: &[u8]) -> Option<(u64, Option<(u64, u64)>)> {
    match text::parse(kind, form, word)? {
        Id::Snowflake(id) => {
            let (unix_ms, worker, sequence) = cx.step.ids().layout().parts(id)?;
            Some((unix_ms, Some((worker, sequence))))
        }
        id => Some((id.unix_ms()?, None)),
    }
}
