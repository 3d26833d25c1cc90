//! The command reference: `docs/commands/`, an index and a page for each command and subcommand.
//!
//! `HELP` of a container has no page: it says what the container's page says.

use crate::page::{self, Docs};
use crate::sources;
use crate::{Derived, root};
use linchpin_server::command::spec::Spec;
use linchpin_server::command::table;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// All pages.
pub(crate) fn derive() -> Vec<Derived> {
    let transcripts = transcripts();
    let headers = sources::families()
        .into_iter()
        .flat_map(|family| family.files)
        .filter(|file| file.has_rows)
        .map(|file| file.header);
    let mut pages = vec![Derived::new("docs/commands/index.md", index())];
    for (specs, header) in table::families().iter().zip(headers) {
        for spec in specs.iter().filter(|spec| page::has_page(spec)) {
            let docs = Docs {
                spec,
                header: &header,
                transcripts: of_command(spec, &transcripts),
            };
            let path = format!("docs/commands/{}", page::file_name(spec));
            pages.push(Derived::new(path, page::render(&docs)));
        }
    }
    pages
}

/// The book's table of contents: what is written by hand, and below it a line for each page.
pub(crate) fn summary() -> Derived {
    const PATH: &str = "docs/SUMMARY.md";
    const COMMANDS: &str = "- [Commands](commands/index.md)\n";
    let old = fs::read_to_string(root().join(PATH)).expect("the book has a table of contents");
    let (by_hand, _) = old
        .split_once(COMMANDS)
        .expect("the commands come last in the book");
    let mut specs: Vec<&Spec> = table::all()
        .iter()
        .copied()
        .filter(|spec| page::has_page(spec))
        .collect();
    specs.sort_unstable_by_key(|spec| page::file_name(spec));
    let mut text = format!("{by_hand}{COMMANDS}");
    for spec in specs {
        let (title, file) = (page::title(spec), page::file_name(spec));
        let _ = writeln!(text, "  - [{title}](commands/{file})");
    }
    Derived::new(PATH, text)
}

fn index() -> String {
    let mut text = "# Commands\n\n\
        Every command of the server, by chapter. These pages are made from the table that the\n\
        server itself works by; `COMMAND DOCS` answers the same.\n\n\
        *Sent again* says whether a call whose reply was lost may be sent again as it was:\n\
        `safe` where a second time has no second effect, `safe with` an option where that needs\n\
        one, `unsafe` where it acts again or undoes what others have done in between. What is\n\
        called safe of locks and their like is so with the same owner.\n"
        .to_owned();
    let groups: BTreeSet<&str> = table::commands().map(|spec| spec.group.title()).collect();
    for group in groups {
        let _ = write!(
            text,
            "\n## {group}\n\n| command | what it does | since |\n| --- | --- | --- |\n"
        );
        let mut rows: Vec<&Spec> = table::all()
            .iter()
            .copied()
            .filter(|spec| spec.group.title() == group && page::has_page(spec))
            .collect();
        rows.sort_unstable_by_key(|spec| spec.name);
        for spec in rows {
            let _ = writeln!(
                text,
                "| [{}]({}) | {} | {} |",
                page::title(spec),
                page::file_name(spec),
                page::cell(spec.summary),
                spec.since
            );
        }
    }
    text
}

/// A golden transcript: its path below `tests/golden`, and its first line, which names what it
/// shows.
struct Transcript {
    path: String,
    title: String,
}

fn transcripts() -> Vec<Transcript> {
    let mut found = Vec::new();
    collect(&root().join("tests/golden"), "", &mut found);
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<Transcript>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("an ASCII name");
        let below = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{below}/"), found);
        } else if name.ends_with(".txt") {
            let text = fs::read_to_string(&path).expect("a transcript");
            let title = text.lines().next().unwrap_or_default().to_owned();
            found.push(Transcript { path: below, title });
        }
    }
}

/// The transcripts of a command: those whose title names it, and those whose file does.
fn of_command(spec: &Spec, transcripts: &[Transcript]) -> Vec<String> {
    let (title, file) = (page::title(spec), spec.name.replace('|', "_"));
    let is_about = |transcript: &&Transcript| {
        let stem = transcript
            .path
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".txt"));
        stem == Some(file.as_str()) || names(&transcript.title, &title)
    };
    let about = transcripts.iter().filter(is_about);
    about.map(|transcript| transcript.path.clone()).collect()
}

/// Whether `text` has `name` as whole words, and not as a subcommand's: `CONFIG GET` is not `GET`.
fn names(text: &str, name: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let last = before
            .strip_suffix(' ')
            .and_then(|before| before.rsplit(' ').next());
        let is_container = last.is_some_and(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
        });
        !is_container && !is_word(before.chars().next_back()) && !is_word(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn titles_name_whole_commands() {
        assert!(names("# GET: a value.", "GET"));
        assert!(names("# FLUSHDB and FLUSHALL: one, or all.", "FLUSHALL"));
        assert!(names("# CLIENT KILL: by address.", "CLIENT KILL"));
        assert!(names("# CLIENT KILL: by address.", "CLIENT"));
        assert!(!names("# CONFIG GET: by name.", "GET"));
        assert!(!names("# GETSET: both.", "GET"));
        assert!(!names("# PSETEX: in milliseconds.", "SETEX"));
    }
}
