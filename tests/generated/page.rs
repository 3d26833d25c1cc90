//! One page of the command reference.

use linchpin_server::command::spec::{Arg, ArgKind, Find, Flags, KeySpec, Spec};
use linchpin_server::command::{table, usage};
use std::fmt::Write as _;

/// What a page is made of.
pub(crate) struct Docs<'a> {
    /// The row.
    pub(crate) spec: &'a Spec,
    /// The header of the file the row stands in.
    pub(crate) header: &'a str,
    /// Transcripts that show the command, below `tests/golden`.
    pub(crate) transcripts: Vec<String>,
}

/// Whether a row has a page of its own.
pub(crate) fn has_page(spec: &Spec) -> bool {
    !spec.name.ends_with("|help")
}

/// The name of a command as people write it.
pub(crate) fn title(spec: &Spec) -> String {
    spec.name.replace('|', " ").to_uppercase()
}

/// The file of a command's page.
pub(crate) fn file_name(spec: &Spec) -> String {
    format!("{}.md", spec.name.replace('|', "-"))
}

/// Text that may stand in a table's cell.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The whole page.
pub(crate) fn render(docs: &Docs<'_>) -> String {
    let spec = docs.spec;
    let mut page = format!("# {}\n\n{}\n\n", title(spec), spec.summary);
    if let Some(deprecated) = spec.deprecated {
        let _ = write!(
            page,
            "> Old-fashioned since {}: better is {}.\n\n",
            deprecated.since, deprecated.replaced_by
        );
    }
    let _ = write!(
        page,
        "```text\n{}\n```\n\n{}\n",
        usage::line(spec),
        docs.header
    );
    facts(&mut page, spec);
    arguments(&mut page, spec);
    subcommands(&mut page, spec);
    if !spec.history.is_empty() {
        page.push_str("\n## History\n\n");
        for (version, change) in spec.history {
            let _ = writeln!(page, "- {version}: {change}");
        }
    }
    if !docs.transcripts.is_empty() {
        page.push_str("\n## Seen at work\n\n");
        for path in &docs.transcripts {
            let _ = writeln!(page, "- `tests/golden/{path}`");
        }
    }
    page
}

fn facts(page: &mut String, spec: &Spec) {
    page.push_str("\n| | |\n| --- | --- |\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(page, "| {name} | {} |", cell(value));
    };
    let categories = spec.all_categories().words();
    let categories: Vec<String> = categories.map(|word| format!("`@{word}`")).collect();
    let code = |word: &str| format!("`{word}`");
    let flags: Vec<String> = spec.flags.words().map(code).collect();
    if spec.flags.has(Flags::DURABLE) {
        row(
            "Durable",
            "the reply waits for the disk, whatever `appendfsync` says",
        );
    }
    if !spec.flags.has(Flags::CONTAINER) {
        row("sent again", &spec.repeats().to_string());
    }
    row("since", spec.since);
    row("cost", spec.complexity);
    row("ACL categories", &categories.join(" "));
    if !flags.is_empty() {
        row("flags", &flags.join(" "));
    }
    for keys in spec.keys.specs() {
        row("keys", &places(keys));
    }
}

/// Where keys stand, in words.
fn places(keys: &KeySpec) -> String {
    let begin = keys.begin;
    let place = match keys.find {
        Find::Range { last: 0, .. } => format!("argument {begin}"),
        Find::Range { step: 1, .. } => format!("all arguments from {begin} on"),
        Find::Range { step, .. } => format!("one of {step} arguments from {begin} on"),
        Find::Keynum { step: 1 } => format!("as many after argument {begin} as it says"),
        Find::Keynum { step } => {
            format!("as many after argument {begin} as it says, one of {step} arguments")
        }
    };
    let flags: Vec<&str> = keys.flags.words().collect();
    format!("{place}: {}", flags.join(", "))
}

fn arguments(page: &mut String, spec: &Spec) {
    if spec.args.is_empty() {
        return;
    }
    page.push_str("\n## Arguments\n\n| argument | type | since |\n| --- | --- | --- |\n");
    for arg in spec.args {
        argument(page, arg, 0);
    }
}

fn argument(page: &mut String, arg: &Arg, depth: usize) {
    let kind = match arg.kind {
        ArgKind::PureToken => "word".to_owned(),
        ArgKind::OneOf(_) => "one of".to_owned(),
        ArgKind::Block(_) => "all of".to_owned(),
        kind => kind.word().to_owned(),
    };
    let also = [(arg.optional, ", optional"), (arg.multiple, ", repeated")];
    let also: String = also
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, word)| *word)
        .collect();
    let inner = match arg.kind {
        ArgKind::OneOf(inner) | ArgKind::Block(inner) => inner,
        _ => &[],
    };
    let written = match (arg.token, inner) {
        (Some(token), []) if !matches!(arg.kind, ArgKind::PureToken) => {
            format!("`{token} {}`", arg.name)
        }
        (Some(token), _) => format!("`{token}`"),
        (None, _) => format!("`{}`", arg.name),
    };
    let _ = writeln!(
        page,
        "| {}{written} | {kind}{also} | {} |",
        "&emsp;".repeat(depth),
        arg.since.unwrap_or_default()
    );
    for arg in inner {
        argument(page, arg, depth + 1);
    }
}

fn subcommands(page: &mut String, spec: &Spec) {
    let subcommands: Vec<&Spec> = table::subcommands(spec).collect();
    if subcommands.is_empty() {
        return;
    }
    page.push_str("\n## Subcommands\n\n| subcommand | what it does |\n| --- | --- |\n");
    for sub in subcommands {
        let name = if has_page(sub) {
            format!("[{}]({})", title(sub), file_name(sub))
        } else {
            title(sub)
        };
        let _ = writeln!(page, "| {name} | {} |", cell(sub.summary));
    }
}
