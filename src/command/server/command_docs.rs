//! `COMMAND DOCS [command-name ...]`: what commands do and how they are written.
//!
//! Reply: a map from names to maps of summary, version, group, cost, history, arguments and
//! subcommands. Names that no command has are left out. `redis-cli` makes its hints from it.
//!
//! `repeat` says whether a call whose reply was lost may be sent again: `safe`, `safe with` an
//! option, or `unsafe`. A command that has subcommands does not say so itself.

use super::command::{FLAGS, ORDER_TIPS, write_words};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError, table};
use linchpin_protocol::{Args, Writer};

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("command|docs", -2, FLAGS, Keys::NONE, run)
    .group(Group::Server)
    .categories(Categories::CONNECTION)
    .since("7.0.0")
    .doc(
        "Answers the documentation of some commands, or of all.",
        "O(N) with N commands",
    )
    .args(&[Arg::new("command-name", ArgKind::String)
        .optional()
        .multiple()])
    .tips(ORDER_TIPS)];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let names = args.skip(2);
    let found: Vec<&Spec> = if names.is_empty() {
        table::commands().collect()
    } else {
        names.iter().filter_map(table::find_full).collect()
    };
    write_all(&mut cx.out, &found);
    Ok(())
}

fn write_all(out: &mut Writer<'_>, specs: &[&Spec]) {
    out.map(specs.len());
    for spec in specs {
        out.bulk(spec.name.as_bytes());
        write_docs(out, spec);
    }
}

fn write_docs(out: &mut Writer<'_>, spec: &Spec) {
    let subcommands: Vec<&Spec> = table::subcommands(spec).collect();
    let optional = [
        !spec.history.is_empty(),
        !spec.args.is_empty(),
        !subcommands.is_empty(),
        !spec.flags.has(Flags::CONTAINER),
    ];
    let optional = optional.iter().filter(|is| **is).count();
    out.map(4 + optional + if spec.deprecated.is_some() { 3 } else { 0 });
    write_pair(out, "summary", spec.summary);
    write_pair(out, "since", spec.since);
    write_pair(out, "group", spec.group.word());
    write_pair(out, "complexity", spec.complexity);
    if !spec.flags.has(Flags::CONTAINER) {
        write_pair(out, "repeat", &spec.repeats().to_string());
    }
    if let Some(deprecated) = spec.deprecated {
        out.bulk(b"doc_flags");
        write_words(out, std::iter::once("deprecated"));
        write_pair(out, "deprecated_since", deprecated.since);
        write_pair(out, "replaced_by", deprecated.replaced_by);
    }
    if !spec.history.is_empty() {
        out.bulk(b"history");
        out.set(spec.history.len());
        for (version, change) in spec.history {
            out.array(2);
            out.bulk(version.as_bytes());
            out.bulk(change.as_bytes());
        }
    }
    if !spec.args.is_empty() {
        out.bulk(b"arguments");
        write_args(out, spec.args);
    }
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        write_all(out, &subcommands);
    }
}

fn write_args(out: &mut Writer<'_>, args: &[Arg]) {
    out.array(args.len());
    for arg in args {
        write_arg(out, arg);
    }
}

fn write_arg(out: &mut Writer<'_>, arg: &Arg) {
    let flags = [(arg.optional, "optional"), (arg.multiple, "multiple")];
    let flags = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
    let key = match arg.kind {
        ArgKind::Key(index) => Some(index),
        _ => None,
    };
    let inner = match arg.kind {
        ArgKind::OneOf(args) | ArgKind::Block(args) => Some(args),
        _ => None,
    };
    let optional = [
        key.is_some(),
        arg.token.is_some(),
        arg.since.is_some(),
        arg.optional || arg.multiple,
        inner.is_some(),
    ];
    out.map(2 + optional.iter().filter(|is| **is).count());
    write_pair(out, "name", arg.name);
    write_pair(out, "type", arg.kind.word());
    if let Some(index) = key {
        out.bulk(b"key_spec_index");
        out.integer(i64::from(index));
    }
    if let Some(token) = arg.token {
        write_pair(out, "token", token);
    }
    if let Some(since) = arg.since {
        write_pair(out, "since", since);
    }
    if arg.optional || arg.multiple {
        out.bulk(b"flags");
        write_words(out, flags);
    }
    if let Some(inner) = inner {
        out.bulk(b"arguments");
        write_args(out, inner);
    }
}

fn write_pair(out: &mut Writer<'_>, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}
