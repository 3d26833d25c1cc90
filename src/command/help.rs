//! `HELP` of every container: its subcommands, made from their rows.
//!
//! Reply: an array of simple strings, as Redis': a title, then for each subcommand how it is
//! written and, indented, what it does.

use super::spec::{Flags, Keys, Spec};
use super::{Cx, ReplyError, table, usage};
use linchpin_protocol::Args;

/// The row of a container's `HELP`.
#[must_use]
pub const fn row(name: &'static str) -> Spec {
    let flags = Flags::LOADING.with(Flags::STALE);
    Spec::new(name, 2, flags, Keys::NONE, run)
        .since("5.0.0")
        .doc("Lists the subcommands.", "O(N) with N subcommands")
}

/// What a container that does nothing by itself does when it is called alone.
///
/// # Errors
/// Always: the subcommand is missing.
pub fn run_bare(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    Err(ReplyError::wrong_arity(cx.spec.name))
}

fn run(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let (container, _) = cx.spec.split_name();
    let lines = table::find(container.as_bytes())
        .map(lines)
        .unwrap_or_default();
    cx.out.array(lines.len());
    for line in &lines {
        cx.out.simple(line);
    }
    Ok(())
}

fn lines(container: &'static Spec) -> Vec<String> {
    let name = container.name.to_uppercase();
    let title = "<subcommand> [<arg> [value] [opt] ...]. Subcommands are:";
    let mut lines = vec![format!("{name} {title}")];
    let mut add = |usage: String, summary: &str| {
        lines.push(usage);
        lines.push(format!("    {summary}"));
    };
    if container.takes(1) {
        add("(no subcommand)".to_owned(), container.summary);
    }
    for spec in table::subcommands(container) {
        add(usage::own_line(spec), spec.summary);
    }
    lines
}
