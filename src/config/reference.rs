//! Texts made from the tables: `--help`, `--version`, the settings reference.

use std::fmt::Write as _;

use super::inert::{Class, INERT, Inert};
use super::settings::Live;
use super::settings::Settings;
use super::table::{DIRECTIVES, Directive};
use super::value::Kind;

/// The name of the program.
const PROGRAM: &str = "linchpin-server";

/// What `--version` prints, with its line end.
#[must_use]
pub fn version_text() -> String {
    format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))
}

/// What `--help` prints, with its line end: usage, then every setting with its default.
#[must_use]
pub fn help_text() -> String {
    let mut text = format!(
        "{PROGRAM} {}: distributed primitives behind the Redis protocol\n\n\
         Usage: {PROGRAM} [FILE] [--SETTING VALUE ...] ...\n       \
         {PROGRAM} check [FILE] [--dir DIR] [--repair]\n\n\
         FILE is a configuration file in the form of redis.conf; - reads standard input.\n\
         Every setting is also an environment variable: --proto-max-bulk-len is\n\
         LINCHPIN_PROTO_MAX_BULK_LEN. Flags win over environment over file. Memory takes\n\
         units: 1k is 1000 bytes, 1kb is 1024; m, mb, g, gb alike.\n\n\
         check looks through the data directory of a server that does not run, a line for\n\
         what it finds, and exits 0 where a server starts on it, 65 where it is damaged.\n\
         With --repair it mends what can be mended; a file called check is ./check.\n\n\
         Options:\n  \
         -h, --help     Show this and exit\n  \
         -V, --version  Show the version and exit\n\n\
         Settings:\n",
        env!("CARGO_PKG_VERSION")
    );
    let defaults = Settings::default();
    for directive in DIRECTIVES {
        text.push_str(&help_entry(directive, &defaults));
    }
    text.push_str(
        "\nOther directives of redis.conf are accepted with a warning, or refused where leaving\n\
         them out would be dangerous; the settings reference lists them all.\n",
    );
    text
}

fn help_entry(directive: &Directive, defaults: &Settings) -> String {
    const WIDTH: usize = 80;
    let mut entry = format!("  --{} {}\n", directive.name, kind_text(directive.kind()));
    let text = format!(
        "{} [default: {}]",
        directive.doc,
        default_text(directive, defaults)
    );
    let mut column = 0;
    for word in text.split(' ') {
        if column == 0 || column + 1 + word.len() > WIDTH {
            entry.push_str(if column == 0 { "      " } else { "\n      " });
            column = 6;
        } else {
            entry.push(' ');
            column += 1;
        }
        entry.push_str(word);
        column += word.len();
    }
    entry.push('\n');
    entry
}

/// The settings reference: `docs/settings.md` holds exactly this.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Generated from src/config; change the tables there, not this page. -->\n\n\
         A setting can stand in a configuration file (`maxclients 500`), in the environment\n\
         (`LINCHPIN_MAXCLIENTS=500`) or on the command line (`--maxclients 500` or\n\
         `--maxclients=500`). Flags win over environment over file; of the same kind, the later\n\
         one wins. Memory takes units: `1k` is 1000 bytes, `1kb` is 1024; `m`, `mb`, `g`, `gb`\n\
         alike. *Live* settings can be changed by `CONFIG SET`, and follow the configuration file\n\
         on SIGHUP where it has changed; the others need a restart.\n\n\
         | setting | type | default | live | what it does |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let defaults = Settings::default();
    for directive in DIRECTIVES {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            directive.name,
            cell(&kind_text(directive.kind())),
            code(&default_text(directive, &defaults)),
            if directive.live == Live::Live {
                "yes"
            } else {
                "no"
            },
            cell(directive.doc),
        );
    }
    for (class, heading) in [
        (
            Class::Absent,
            "## Features this version does not have\n\n\
             `CONFIG GET` answers that they are off. Another value is a warning at start and an\n\
             error in `CONFIG SET`.\n",
        ),
        (
            Class::Refused,
            "## Directives that are refused\n\n\
             Leaving these out silently could be dangerous, so the server does not start with\n\
             another value than the one shown.\n",
        ),
        (
            Class::Tuning,
            "## Knobs of Redis without meaning here\n\n\
             Any well-formed value is accepted with a warning and answered by `CONFIG GET`.\n",
        ),
    ] {
        inert_section(&mut page, class, heading);
    }
    page
}

fn inert_section(page: &mut String, class: Class, heading: &str) {
    let _ = write!(page, "\n{heading}\n");
    page.push_str("| directive | type | answer | why |\n| --- | --- | --- | --- |\n");
    for inert in INERT.iter().filter(|inert| inert.class == class) {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            names_cell(inert),
            cell(&kind_text(inert.kind)),
            inert.value.map_or_else(|| "(none)".to_owned(), code),
            cell(inert.why),
        );
    }
}

fn names_cell(inert: &Inert) -> String {
    let alias = inert
        .alias
        .map(|alias| format!(", `{alias}`"))
        .unwrap_or_default();
    format!("`{}`{alias}", inert.name)
}

fn default_text(directive: &Directive, defaults: &Settings) -> String {
    // The one default that depends on the machine.
    if directive.name == "io-threads" {
        return "one for each core".to_owned();
    }
    match directive.field.get(defaults) {
        empty if empty.is_empty() => "none".to_owned(),
        value => value,
    }
}

/// A type with its bounds, for people.
fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Flag => "yes|no".to_owned(),
        Kind::Integer { min, max } => {
            format!("{}..{}", bound_text(min), bound_text(max))
        }
        Kind::Memory { .. } => "bytes".to_owned(),
        Kind::MemoryOrPercent => "bytes|percent%".to_owned(),
        Kind::Permissions => "octal".to_owned(),
        Kind::Choice(names) => names.join("|"),
        Kind::Text | Kind::Secret => "text".to_owned(),
        Kind::Words { form } => form.to_owned(),
    }
}

/// A bound of a number; the ends of the machine's integers by name.
fn bound_text(bound: i64) -> String {
    match bound {
        i64::MAX => "2^63-1".to_owned(),
        bound if bound == i64::from(i32::MAX) => "2^31-1".to_owned(),
        bound if bound == i64::from(i32::MIN) => "-2^31".to_owned(),
        bound if bound == i64::from(u32::MAX) => "2^32-1".to_owned(),
        bound => bound.to_string(),
    }
}

/// Text that may stand in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A value as code in a table's cell; an empty one would not be seen.
fn code(value: &str) -> String {
    if value.is_empty() {
        "(empty)".to_owned()
    } else {
        format!("`{}`", cell(value))
    }
}
