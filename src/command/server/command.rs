//! `COMMAND`, `COMMAND COUNT | INFO | LIST`: which commands there are, and what kind they are.
//!
//! All of it is read from the command table. An entry of `COMMAND` and `COMMAND INFO` is an array:
//! name, arity, flags, first key, last key, step, ACL categories, tips, key specifications,
//! subcommands. `COMMAND INFO` answers null for a name that no command has.

use crate::command::spec::{Arg, ArgKind, Categories, Find, Flags, Group, KeySpec, Keys, Spec};
use crate::command::{Cx, ReplyError, error, help, table};
use crate::glob;
use linchpin_protocol::{Args, Writer};

pub(super) const FLAGS: Flags = Flags::LOADING.with(Flags::STALE);
pub(super) const ORDER_TIPS: &[&str] = &["nondeterministic_output_order"];
const COST: &str = "O(N) with N commands";

const NAMES_ARG: Arg = Arg::new("command-name", ArgKind::String)
    .optional()
    .multiple();
const FILTER_ARG: Arg = Arg::new(
    "filterby",
    ArgKind::OneOf(&[
        Arg::new("module-name", ArgKind::String).token("MODULE"),
        Arg::new("category", ArgKind::String).token("ACLCAT"),
        Arg::new("pattern", ArgKind::Pattern).token("PATTERN"),
    ]),
)
.token("FILTERBY")
.optional();

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "command",
        -1,
        FLAGS.with(Flags::CONTAINER),
        Keys::NONE,
        run_command,
    )
    .group(Group::Server)
    .categories(Categories::CONNECTION)
    .since("2.8.13")
    .doc("Tells what kind of command each one is.", COST)
    .tips(ORDER_TIPS),
    Spec::new("command|count", 2, FLAGS, Keys::NONE, run_count)
        .group(Group::Server)
        .categories(Categories::CONNECTION)
        .since("2.8.13")
        .doc("Answers the number of commands.", "O(1)"),
    Spec::new("command|info", -2, FLAGS, Keys::NONE, run_info)
        .group(Group::Server)
        .categories(Categories::CONNECTION)
        .since("2.8.13")
        .doc("Tells what kind of command some are, or all.", COST)
        .args(&[NAMES_ARG])
        .tips(ORDER_TIPS)
        .history(&[("7.0.0", "Without a name it answers all commands.")]),
    Spec::new("command|list", -2, FLAGS, Keys::NONE, run_list)
        .group(Group::Server)
        .categories(Categories::CONNECTION)
        .since("7.0.0")
        .doc("Answers the names of all commands, or of some.", COST)
        .args(&[FILTER_ARG])
        .tips(ORDER_TIPS),
    help::row("command|help")
        .group(Group::Server)
        .categories(Categories::CONNECTION),
];

fn run_command(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let commands = table::commands();
    cx.out.array(commands.clone().count());
    for spec in commands {
        write_entry(&mut cx.out, spec);
    }
    Ok(())
}

fn run_count(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    let count = table::commands().count();
    cx.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn run_info(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let names = args.skip(2);
    if names.is_empty() {
        return run_command(cx, args);
    }
    cx.out.array(names.len());
    for name in names.iter() {
        match table::find_full(name) {
            Some(spec) => write_entry(&mut cx.out, spec),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// Which names `COMMAND LIST` answers.
enum Filter<'a> {
    All,
    None,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, ReplyError> {
        let is = |at: usize, w: &str| {
            args.get(at)
                .is_some_and(|word| word.eq_ignore_ascii_case(w.as_bytes()))
        };
        if args.is_empty() {
            return Ok(Self::All);
        }
        let Some(value) = args.get(2).filter(|_| args.len() == 3 && is(0, "FILTERBY")) else {
            return Err(error::SYNTAX);
        };
        if is(1, "MODULE") {
            Ok(Self::None)
        } else if is(1, "ACLCAT") {
            Ok(Categories::from_word(value).map_or(Self::None, Self::Category))
        } else if is(1, "PATTERN") {
            Ok(Self::Pattern(value))
        } else {
            Err(error::SYNTAX)
        }
    }

    fn takes(&self, spec: &Spec) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Category(category) => spec.all_categories().has(*category),
            Self::Pattern(pattern) => glob::matches_ignore_case(pattern, spec.name.as_bytes()),
        }
    }
}

fn run_list(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let filter = Filter::parse(args.skip(2))?;
    let found: Vec<_> = table::all()
        .iter()
        .filter(|spec| filter.takes(spec))
        .collect();
    cx.out.array(found.len());
    for spec in found {
        cx.out.bulk(spec.name.as_bytes());
    }
    Ok(())
}

fn write_entry(out: &mut Writer<'_>, spec: &Spec) {
    out.array(10);
    out.bulk(spec.name.as_bytes());
    out.integer(i64::from(spec.arity));
    write_words(out, spec.flags.words());
    let (first, last, step) = spec.keys.legacy();
    out.integer(first);
    out.integer(last);
    out.integer(step);
    let categories = spec.all_categories();
    out.set(categories.words().count());
    for word in categories.words() {
        out.simple(&format!("@{word}"));
    }
    out.set(spec.tips.len());
    for tip in spec.tips {
        out.bulk(tip.as_bytes());
    }
    out.set(spec.keys.specs().len());
    for keys in spec.keys.specs() {
        write_key_spec(out, keys);
    }
    let subcommands = table::subcommands(spec);
    match subcommands.clone().count() {
        0 => out.set(0),
        some => out.array(some),
    }
    for subcommand in subcommands {
        write_entry(out, subcommand);
    }
}

/// Writes words as a set of simple strings.
pub(super) fn write_words(out: &mut Writer<'_>, words: impl Iterator<Item = &'static str> + Clone) {
    out.set(words.clone().count());
    for word in words {
        out.simple(word);
    }
}

fn write_key_spec(out: &mut Writer<'_>, keys: &KeySpec) {
    out.map(3 + usize::from(!keys.note.is_empty()));
    if !keys.note.is_empty() {
        out.bulk(b"notes");
        out.bulk(keys.note.as_bytes());
    }
    out.bulk(b"flags");
    write_words(out, keys.flags.words());
    out.bulk(b"begin_search");
    write_typed(out, "index", &[("index", i64::from(keys.begin))]);
    out.bulk(b"find_keys");
    match keys.find {
        Find::Range { last, step } => {
            let fields = [
                ("lastkey", i64::from(last)),
                ("keystep", i64::from(step)),
                ("limit", 0),
            ];
            write_typed(out, "range", &fields);
        }
        Find::Keynum { step } => {
            let fields = [
                ("keynumidx", 0),
                ("firstkey", 1),
                ("keystep", i64::from(step)),
            ];
            write_typed(out, "keynum", &fields);
        }
    }
}

fn write_typed(out: &mut Writer<'_>, kind: &str, fields: &[(&str, i64)]) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        out.integer(*value);
    }
}
