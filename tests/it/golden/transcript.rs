//! The transcript format: parsed, matched, written back. `tests/golden/README.md` describes it.

use std::collections::HashMap;

use regex_lite::Regex;

use crate::resp;
use crate::variant::Aspect;

/// One golden file: its lines in order, expectations gathered under the step they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    /// Settings the server is started with.
    pub(crate) settings: Vec<(String, String)>,
    /// Runs in RESP2 only: the file itself speaks HELLO, or cannot start with one.
    pub(crate) is_resp2_only: bool,
    /// What it is not played with, because its replies would show it.
    pub(crate) without: Option<Aspect>,
    /// What to do, and every other line, in the order of the file.
    pub(crate) items: Vec<Item>,
}

/// A line of the file that is not an expectation.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// The line as it stands in the file.
    pub(crate) text: String,
    /// What it asks for.
    pub(crate) action: Action,
    /// The reply lines expected in RESP2 (and in RESP3, unless `expected3` is there).
    pub(crate) expected: Vec<String>,
    /// The reply lines expected in RESP3 where they differ.
    pub(crate) expected3: Option<Vec<String>>,
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A comment, an empty line, or a directive that stands for the whole file.
    Nothing,
    /// Send this command line on the current connection.
    Command(String),
    /// Send these escaped bytes on the current connection.
    Raw(String),
    /// Await a push on the current connection; RESP3 only.
    Push,
    /// The step above has no reply.
    None,
    /// The server must have closed the current connection.
    Closed,
    /// Make this connection the current one, opening it on first use.
    Conn(String),
    /// Close the current connection and open it anew.
    New,
    /// Let so many milliseconds pass.
    Advance(u64),
    /// Keep, under this name, what the pattern's first group matches in the last reply.
    Save(String, String),
    /// Sort the next reply, in groups of so many elements.
    Sorted(usize),
    /// Redis answers otherwise, as this row of `docs/differences.md` says.
    Differs(String, Extent),
    /// Redis of at least this version is needed from here on.
    OracleVersion(Version, String),
    /// Redis has none of what follows, as this row of `docs/differences.md` says.
    OracleNone(String),
}

/// How much a `! differs` covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Next,
    Begin,
    End,
}

/// A Redis version, major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// `7.0` of `7.0`, `7.0.15` and the like.
    pub(crate) fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
        Some(Version(numbers.next()??, numbers.next()??))
    }
}

impl Item {
    /// Whether the step awaits replies.
    pub(crate) fn has_replies(&self) -> bool {
        matches!(
            self.action,
            Action::Command(_) | Action::Raw(_) | Action::Push
        )
    }

    /// The bytes the step sends, `{name}` replaced by what was saved under that name.
    pub(crate) fn bytes(&self, saved: &HashMap<String, String>) -> Result<Vec<u8>, String> {
        let filled = |text: &str| {
            let names = saved.iter();
            names.fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            })
        };
        match &self.action {
            Action::Command(line) => Ok(resp::encode(&resp::words(&filled(line))?)),
            Action::Raw(text) => resp::unescape(&filled(text)),
            _ => Ok(Vec::new()),
        }
    }

    /// The lines expected in the given protocol version.
    pub(crate) fn expected_in(&self, protocol: u8) -> &[String] {
        match &self.expected3 {
            Some(lines) if protocol == 3 => lines,
            _ => &self.expected,
        }
    }
}

impl Transcript {
    /// Reads a file's text; an error names the line.
    pub(crate) fn parse(text: &str) -> Result<Transcript, String> {
        let mut transcript = Transcript {
            settings: Vec::new(),
            is_resp2_only: false,
            without: None,
            items: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            transcript
                .add(index + 1, line)
                .map_err(|error| format!("line {}: {error}: {line}", index + 1))?;
        }
        Ok(transcript)
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), String> {
        if let Some(step) = self.items.last_mut().filter(|step| step.has_replies()) {
            if step.expected3.is_none() && awaits_payload(&step.expected) {
                step.expected.push(line.to_owned());
                return Ok(());
            }
            if let Some(line) = line.strip_prefix("3> ") {
                step.expected3.get_or_insert_default().push(line.to_owned());
                return Ok(());
            }
            if line.starts_with("3>") {
                step.expected3.get_or_insert_default().push(String::new());
                return Ok(());
            }
            if is_reply(line) {
                if step.expected3.is_some() {
                    return Err("a RESP2 line after the RESP3 ones".to_owned());
                }
                step.expected.push(line.to_owned());
                return Ok(());
            }
        }
        let action = self.action(line)?;
        let text = line.to_owned();
        self.items.push(Item {
            number,
            text,
            action,
            expected: Vec::new(),
            expected3: None,
        });
        Ok(())
    }

    fn action(&mut self, line: &str) -> Result<Action, String> {
        if line.is_empty() || line == "#" || line.starts_with("# ") {
            return Ok(Action::Nothing);
        }
        if let Some(command) = line.strip_prefix("> ") {
            resp::words(command)?;
            return Ok(Action::Command(command.to_owned()));
        }
        let Some(directive) = line.strip_prefix("! ") else {
            return Err("neither a command, a directive, a comment nor a reply".to_owned());
        };
        let (name, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        match (name, rest) {
            ("raw", _) => resp::unescape(rest).map(|_| Action::Raw(rest.to_owned())),
            ("save", _) => match rest.split_once(' ') {
                Some((name, pattern)) => Ok(Action::Save(name.to_owned(), pattern.to_owned())),
                None => Err("written `! save <name> <pattern>`".to_owned()),
            },
            ("none", "") => Ok(Action::None),
            ("push", "") => Ok(Action::Push),
            ("closed", "") => Ok(Action::Closed),
            ("new", "") => Ok(Action::New),
            ("conn", name) if !name.is_empty() => Ok(Action::Conn(name.to_owned())),
            ("advance", duration) => duration
                .strip_suffix("ms")
                .and_then(|digits| digits.parse().ok())
                .map(Action::Advance)
                .ok_or_else(|| "a duration is written 20ms".to_owned()),
            ("sorted", "") => Ok(Action::Sorted(1)),
            ("sorted", "pairs") => Ok(Action::Sorted(2)),
            ("differs", rest) => differs(rest),
            ("oracle", rest) => oracle(rest),
            ("config" | "only" | "without", rest) => self.file_directive(name, rest),
            _ => Err("unknown directive".to_owned()),
        }
    }

    fn file_directive(&mut self, name: &str, rest: &str) -> Result<Action, String> {
        if self.items.iter().any(|item| item.action != Action::Nothing) {
            return Err("this directive stands above the first step".to_owned());
        }
        match (name, rest.split_once(' ')) {
            ("config", Some((setting, value))) => {
                self.settings.push((setting.to_owned(), value.to_owned()));
                Ok(Action::Nothing)
            }
            ("only", None) if rest == "2" => {
                self.is_resp2_only = true;
                Ok(Action::Nothing)
            }
            ("without", Some((aspect, reason))) if !reason.is_empty() && self.without.is_none() => {
                let aspect = Aspect::parse(aspect).ok_or("written `maxmemory` or `lfu`")?;
                self.without = Some(aspect);
                Ok(Action::Nothing)
            }
            ("without", _) => Err("written `! without <maxmemory|lfu> <reason>`, once".to_owned()),
            _ => Err("written `! config <setting> <value>` or `! only 2`".to_owned()),
        }
    }

    /// The first step without an expectation: a mistake, unless `! none` says so.
    pub(crate) fn unfinished(&self) -> Option<&Item> {
        let next = self.items.iter().skip(1).map(Some).chain([None]);
        self.items.iter().zip(next).find_map(|(item, next)| {
            let is_none = next.is_some_and(|next| next.action == Action::None);
            let is_empty = item.expected.is_empty() && item.expected3.is_none();
            (item.has_replies() && is_empty && !is_none).then_some(item)
        })
    }

    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            text.push_str(&item.text);
            text.push('\n');
            for line in &item.expected {
                text.push_str(line);
                text.push('\n');
            }
            for line in item.expected3.iter().flatten() {
                text.push_str(if line.is_empty() { "3>" } else { "3> " });
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// The rows of `docs/differences.md` this file names.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| match &item.action {
            Action::Differs(anchor, _)
            | Action::OracleVersion(_, anchor)
            | Action::OracleNone(anchor) => Some(anchor.as_str()),
            _ => None,
        })
    }
}

fn differs(rest: &str) -> Result<Action, String> {
    let (anchor, extent) = match rest.split_once(' ') {
        None => (rest, Extent::Next),
        Some((anchor, "begin")) => (anchor, Extent::Begin),
        Some((anchor, "end")) => (anchor, Extent::End),
        Some(_) => return Err("written `! differs <row> [begin|end]`".to_owned()),
    };
    if anchor.is_empty() {
        return Err("which row of docs/differences.md?".to_owned());
    }
    Ok(Action::Differs(anchor.to_owned(), extent))
}

fn oracle(rest: &str) -> Result<Action, String> {
    match rest.strip_prefix("none ") {
        Some(anchor) => Ok(Action::OracleNone(anchor.to_owned())),
        None => rest
            .split_once(' ')
            .and_then(|(version, anchor)| Some((Version::parse(version)?, anchor)))
            .map(|(version, anchor)| Action::OracleVersion(version, anchor.to_owned()))
            .ok_or_else(|| {
                "written `! oracle <version> <row>` or `! oracle none <row>`".to_owned()
            }),
    }
}

/// Whether a line can only be a reply: its first character is a RESP type or marks a pattern.
/// What begins a command, a directive or a comment has a space behind that character.
fn is_reply(line: &str) -> bool {
    let mut characters = line.chars();
    match characters.next() {
        Some('+' | '-' | ':' | '$' | '*' | '_' | ',' | '(' | '=' | '%' | '|' | '~') => true,
        Some('#' | '!' | '>') => !matches!(characters.next(), None | Some(' ')),
        _ => false,
    }
}

/// Whether the next line is the payload of the last one, whatever it looks like.
fn awaits_payload(lines: &[String]) -> bool {
    lines
        .iter()
        .fold(false, |is_payload, line| !is_payload && has_payload(line))
}

/// Whether a header, or a pattern for one, has a payload line after it.
fn has_payload(header: &str) -> bool {
    let header = header
        .strip_prefix("~ ^\\")
        .or(header.strip_prefix("~ ^"))
        .unwrap_or(header);
    header.starts_with(['$', '=', '!']) && header != "$-1"
}

/// Whether `actual` is what `expected` asks for: line by line, `~ ` lines as patterns, and a
/// final `~* ` line as a pattern for all that is left, its lines joined by `\n`.
pub(crate) fn matches(expected: &[String], actual: &[String]) -> Result<bool, String> {
    if let Some((last, fixed)) = expected.split_last()
        && let Some(pattern) = last.strip_prefix("~* ")
    {
        let Some((head, tail)) = actual.split_at_checked(fixed.len()) else {
            return Ok(false);
        };
        return Ok(matches(fixed, head)? && compile(pattern)?.is_match(&tail.join("\n")));
    }
    if expected.len() != actual.len() {
        return Ok(false);
    }
    for (expected, actual) in expected.iter().zip(actual) {
        if !line_matches(expected, actual)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn line_matches(expected: &str, actual: &str) -> Result<bool, String> {
    match expected.strip_prefix("~ ") {
        Some(pattern) => Ok(compile(pattern)?.is_match(actual)),
        None => Ok(expected == actual),
    }
}

/// What the first group of `pattern` matches in `lines`, joined by `\n`.
pub(crate) fn capture(pattern: &str, lines: &[String]) -> Result<String, String> {
    let text = lines.join("\n");
    let captures = compile(pattern)?.captures(&text);
    let group = captures.and_then(|captures| captures.get(1).map(|m| m.as_str().to_owned()));
    group.ok_or_else(|| format!("{pattern} matches nothing in {text}"))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("pattern {pattern}: {error}"))
}

/// The expectation that `actual` satisfies and that keeps what it can of `old`: all of it if it
/// matches, else its patterns where they match line by line.
pub(crate) fn merge(old: &[String], actual: &[String]) -> Result<Vec<String>, String> {
    if matches(old, actual)? {
        return Ok(old.to_vec());
    }
    let mut merged = actual.to_vec();
    if old.len() == actual.len() {
        for (line, old) in merged.iter_mut().zip(old) {
            if line_matches(old, line)? {
                old.clone_into(line);
            }
        }
    }
    Ok(merged)
}
