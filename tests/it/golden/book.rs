//! The conversations in the pages of the book, as redis-cli shows them: each is played in process.
//! `tests/golden/README.md` describes how they are written.

use std::collections::HashMap;
use std::path::Path;

use super::inproc::InProcess;
use super::target::{Target as _, Until};
use crate::resp;
use crate::variant::Variant;

/// What separates a line from what is said about it.
const REMARK: &str = "    ";
const SID_LEN: usize = 32;
/// Integers of so many digits are tokens, which are drawn.
const TOKEN_LEN_MIN: usize = 12;

/// The pages of the book that show a conversation, by name, with their text.
pub(crate) fn pages(root: &Path) -> Result<Vec<(String, String)>, String> {
    let folder = root.join("docs");
    let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut pages = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy());
        let (Some(name), true) = (name, path.extension().is_some_and(|kind| kind == "md")) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        if !conversation(&text).is_empty() {
            pages.push((name.into_owned(), text));
        }
    }
    pages.sort();
    Ok(pages)
}

/// Plays what a page shows, from its top to its end, against one server.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut reader = Reader {
        target: InProcess::new(&[], Variant::PLAIN)?,
        conns: HashMap::new(),
        drawn: Vec::new(),
    };
    let lines = conversation(text);
    let mut rest = &lines[..];
    while let [(number, line), after @ ..] = rest {
        let len = after.iter().take_while(|(_, line)| !begins_step(line));
        let (shown, next) = after.split_at(len.count());
        let shown: Vec<&str> = shown.iter().map(|(_, line)| without_remark(line)).collect();
        let step = reader.step(line, &shown);
        step.map_err(|fault| format!("line {number}: {line}\n{fault}"))?;
        rest = next;
    }
    Ok(())
}

/// The lines of all conversations, numbered from 1. A conversation is fenced as `text` and begins
/// with a prompt.
fn conversation(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((_, line)) = lines.next() {
        if line != "```text" {
            continue;
        }
        let is_played = lines
            .peek()
            .is_some_and(|(_, first)| prompt(first).is_some());
        let block = lines.by_ref().take_while(|(_, line)| *line != "```");
        let block: Vec<_> = block.map(|(at, line)| (at + 1, line)).collect();
        if is_played {
            found.extend(block.iter().filter(|(_, line)| !line.is_empty()));
        }
    }
    found
}

/// Who says something and what, of a line that is one.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (name, words) = line.split_once("> ")?;
    is_name(name).then_some((name, words))
}

/// Who is answered now, of a line that says so.
fn told(line: &str) -> Option<&str> {
    line.strip_suffix('<').filter(|name| is_name(name))
}

/// How many milliseconds pass, of a line that says so.
fn pass_ms(line: &str) -> Option<u64> {
    let (count, unit) = line
        .strip_prefix('(')?
        .strip_suffix(" pass)")?
        .split_once(' ')?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        _ => return None,
    };
    Some(count.parse::<u64>().ok()? * unit_ms)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn begins_step(line: &str) -> bool {
    prompt(line).is_some() || told(line).is_some() || pass_ms(line).is_some()
}

fn without_remark(line: &str) -> &str {
    let indent = line.len() - line.trim_start().len();
    let end = line[indent..].find(REMARK);
    end.map_or(line, |end| &line[..indent + end]).trim_end()
}

struct Reader {
    target: InProcess,
    conns: HashMap<String, usize>,
    /// What is drawn, names of sessions and tokens: as the page has it, and as it is.
    drawn: Vec<(String, String)>,
}

impl Reader {
    fn step(&mut self, line: &str, shown: &[&str]) -> Result<(), String> {
        if let Some(ms) = pass_ms(line) {
            return self.target.advance(ms);
        }
        let (name, words) = match prompt(line) {
            Some((name, words)) => (name, Some(words)),
            None => (told(line).unwrap_or_default(), None),
        };
        let conn = match self.conns.get(name) {
            Some(conn) => *conn,
            None => self.target.connect()?,
        };
        self.conns.insert(name.to_owned(), conn);
        if let Some(words) = words {
            let words = self.with_drawn(without_remark(words));
            self.target.send(conn, &resp::encode(&resp::words(&words)?));
        }
        let replies = self.target.receive(conn, Until::Quiet)?;
        let got: Vec<String> = replies.iter().flat_map(resp::Reply::shown).collect();
        let expected = match shown {
            ["(waits)"] => &[],
            shown => shown,
        };
        self.learn(expected, &got);
        let expected: Vec<String> = expected.iter().map(|line| self.with_drawn(line)).collect();
        if expected == got {
            return Ok(());
        }
        Err(format!(
            "shown:\n{}\nanswered:\n{}",
            expected.join("\n"),
            got.join("\n")
        ))
    }

    fn with_drawn(&self, line: &str) -> String {
        let drawn = self.drawn.iter();
        drawn.fold(line.to_owned(), |line, (shown, drawn)| {
            line.replace(shown, drawn)
        })
    }

    /// Notes what is drawn in these lines.
    fn learn(&mut self, shown: &[&str], got: &[String]) {
        for (shown, got) in shown.iter().zip(got) {
            if let (Some(shown), Some(got)) = (drawn_in(shown), drawn_in(got))
                && self.drawn.iter().all(|(known, _)| known != shown)
            {
                self.drawn.push((shown.to_owned(), got.to_owned()));
            }
        }
    }
}

/// The secret name or token that a line ends with.
fn drawn_in(line: &str) -> Option<&str> {
    let word = line.rsplit(' ').next()?.trim_matches('"');
    let is_all = |is: fn(&u8) -> bool| word.as_bytes().iter().all(is);
    let is_sid = word.len() == SID_LEN && is_all(u8::is_ascii_hexdigit);
    let is_token = word.len() >= TOKEN_LEN_MIN && is_all(u8::is_ascii_digit);
    (is_sid || is_token).then_some(word)
}
