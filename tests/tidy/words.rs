//! Banned words, each with what to write instead.

use crate::lexer;
use crate::tree::File;

/// Where a word is looked for.
#[derive(PartialEq, Eq)]
enum In {
    /// The paths of Rust code, `use` lines spread: `std::sync::Mutex`, `dbg!`.
    Code,
    /// The whole text of everything people write, comments and prose included.
    Text,
}

/// A word that must not stand in files under `within`, except under `except`.
struct Ban {
    word: &'static str,
    place: In,
    within: &'static [&'static str],
    except: &'static [&'static str],
    instead: &'static str,
}

impl Ban {
    fn applies_to(&self, file: &File) -> bool {
        let begins =
            |prefixes: &[&str]| prefixes.iter().any(|prefix| file.path.starts_with(prefix));
        begins(self.within) && !begins(self.except)
    }
}

const EVERYWHERE: &[&str] = &[""];
const SERVER: &[&str] = &["src/"];
const LIBRARIES: &[&str] = &["src/", "protocol/src/", "clients/linchpin/src/"];
/// These name the banned words as the words they are.
const SELF: &[&str] = &["tests/tidy/"];
const SYNC: &[&str] = &["src/sync.rs", "src/sync/"];
const CLOCK: &[&str] = &["src/clock.rs", "src/clock/"];
/// State machines: bytes and time come in as arguments, replies and effects go out.
const PURE: &[&str] = &["src/engine/", "src/command/", "src/session/", "src/pubsub/"];
const PURE_AND_PROTOCOL: &[&str] = &[
    "src/engine/",
    "src/command/",
    "src/session/",
    "src/pubsub/",
    "protocol/src/",
];
const ENGINE: &[&str] = &["src/engine/"];
const ENGINE_AND_PROTOCOL: &[&str] = &["src/engine/", "protocol/src/"];

const SHARED: &str = "take it from crate::sync, so that loom can swap it";
const OUTRIGHT: &str = "finish it, or write down the limitation where its reader looks";
const ARGUMENT: &str = "time is an argument; only crate::clock reads one";
const CHANCE: &str = "randomness is an argument";
const QUIET: &str = "log through tracing; only main.rs prints";
const NO_IO: &str = "it does no I/O; whoever drives it does";
const ONE_MACHINE: &str = "a path of one machine; use a relative one or a temporary directory";

const BANS: &[Ban] = &[
    text("FIXME", OUTRIGHT),
    text("TODO", OUTRIGHT),
    text("XXX", OUTRIGHT),
    text("HACK", OUTRIGHT),
    text("helper", "say what it does"),
    text("helpers", "say what they do"),
    text("/home/", ONE_MACHINE),
    text("/root/", ONE_MACHINE),
    text("/tmp/", ONE_MACHINE),
    code("dbg!", EVERYWHERE, &[], "use an assertion or tracing"),
    code("todo!", EVERYWHERE, &[], OUTRIGHT),
    code("unimplemented!", EVERYWHERE, &[], OUTRIGHT),
    code("std::sync::Mutex", SERVER, SYNC, SHARED),
    code("std::sync::RwLock", SERVER, SYNC, SHARED),
    code("std::sync::Condvar", SERVER, SYNC, SHARED),
    code("std::sync::atomic", SERVER, SYNC, SHARED),
    code("parking_lot", SERVER, SYNC, SHARED),
    code("Instant::now", LIBRARIES, CLOCK, ARGUMENT),
    code("SystemTime::now", LIBRARIES, CLOCK, ARGUMENT),
    code("thread_rng", EVERYWHERE, &[], CHANCE),
    code("rand::rng", PURE, &[], CHANCE),
    code("rand::random", PURE, &[], CHANCE),
    code("print!", LIBRARIES, &["src/main.rs"], QUIET),
    code("println!", LIBRARIES, &["src/main.rs"], QUIET),
    code("eprint!", LIBRARIES, &["src/main.rs"], QUIET),
    code("eprintln!", LIBRARIES, &["src/main.rs"], QUIET),
    code(
        "super::super",
        LIBRARIES,
        &[],
        "begin at crate::, so that layers can be checked",
    ),
    code("tokio", PURE_AND_PROTOCOL, &[], NO_IO),
    code("std::fs", PURE_AND_PROTOCOL, &[], NO_IO),
    code("std::net::TcpStream", PURE_AND_PROTOCOL, &[], NO_IO),
    code(
        "std::net",
        ENGINE_AND_PROTOCOL,
        &[],
        "it knows of no socket",
    ),
    code("std::env", PURE_AND_PROTOCOL, &[], "settings are arguments"),
    code(
        "linchpin_protocol",
        ENGINE,
        &[],
        "it knows nothing of RESP; replies are the command's",
    ),
    code(
        "linchpin_server",
        &["protocol/src/"],
        &[],
        "the protocol knows nobody",
    ),
];

const fn text(word: &'static str, instead: &'static str) -> Ban {
    Ban {
        word,
        place: In::Text,
        within: EVERYWHERE,
        except: SELF,
        instead,
    }
}

const fn code(
    word: &'static str,
    within: &'static [&'static str],
    except: &'static [&'static str],
    instead: &'static str,
) -> Ban {
    Ban {
        word,
        place: In::Code,
        within,
        except,
        instead,
    }
}

/// Every banned word in `files`, with its replacement.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_written()) {
        let bans: Vec<&Ban> = BANS.iter().filter(|ban| ban.applies_to(file)).collect();
        if file.has_extension(&["rs"]) {
            check_code(file, &bans, &mut findings);
        }
        check_text(file, &bans, &mut findings);
    }
    findings
}

fn check_code(file: &File, bans: &[&Ban], findings: &mut Vec<String>) {
    for path in lexer::paths(&lexer::code_only(file.text())) {
        for ban in bans
            .iter()
            .filter(|ban| ban.place == In::Code && path.names(ban.word))
        {
            findings.push(format!(
                "{}:{}: `{}`: {}",
                file.path, path.line, ban.word, ban.instead
            ));
        }
    }
}

fn check_text(file: &File, bans: &[&Ban], findings: &mut Vec<String>) {
    for (index, line) in file.text().lines().enumerate() {
        for ban in bans
            .iter()
            .filter(|ban| ban.place == In::Text && has_word(line, ban.word))
        {
            findings.push(format!(
                "{}:{}: `{}`: {}",
                file.path,
                index + 1,
                ban.word,
                ban.instead
            ));
        }
        if let Some(issue) = issue_number(line)
            && !file.path.starts_with("tests/tidy/")
        {
            let instead = "say what it was about; trackers move and numbers die";
            findings.push(format!("{}:{}: `{issue}`: {instead}", file.path, index + 1));
        }
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side of it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_joined =
            |c: Option<char>, edge: char| lexer::is_word(edge) && c.is_some_and(lexer::is_word);
        let first = word.chars().next().unwrap_or(' ');
        let last = word.chars().next_back().unwrap_or(' ');
        !is_joined(before, first) && !is_joined(after, last)
    })
}

/// The reference to an issue in `line`, such as `issue 12` or `issue #12`.
fn issue_number(line: &str) -> Option<&str> {
    line.match_indices("issue ").find_map(|(at, word)| {
        let number = line[at + word.len()..].trim_start_matches('#');
        let digits = number.chars().take_while(char::is_ascii_digit).count();
        let end = line.len() - number.len() + digits;
        (digits > 0).then(|| &line[at..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str, expected: &[&str]) {
        let findings = check(&[File::new(path, text)]);
        let found: Vec<&str> = findings
            .iter()
            .filter_map(|finding| finding.split('`').nth(1))
            .collect();
        assert_eq!(found, expected, "in {text:?}");
    }

    #[test]
    fn unfinished_work_is_found() {
        check_one("README.md", "A TODO here", &["TODO"]);
        check_one("src/a.rs", "// XXX\nfn f() { todo!() }", &["todo!", "XXX"]);
        check_one("src/a.rs", "fn todos() { \"TODOS\" }", &[]);
    }

    #[test]
    fn words_are_found_through_use_trees() {
        check_one(
            "src/net/a.rs",
            "use std::sync::{Arc, Mutex};",
            &["std::sync::Mutex"],
        );
        check_one("src/sync.rs", "use std::sync::{Arc, Mutex};", &[]);
        check_one("tests/it/main.rs", "use std::sync::{Arc, Mutex};", &[]);
    }

    #[test]
    fn clocks_and_dice_are_found() {
        check_one(
            "src/net/a.rs",
            "let t = std::time::Instant::now();",
            &["Instant::now"],
        );
        check_one("src/clock.rs", "let t = Instant::now();", &[]);
        check_one(
            "protocol/src/a.rs",
            "SystemTime::now()",
            &["SystemTime::now"],
        );
        check_one("benches/a.rs", "rand::thread_rng()", &["thread_rng"]);
    }

    #[test]
    fn printing_is_found_outside_main() {
        check_one("src/net/a.rs", "println!(\"x\")", &["println!"]);
        check_one("src/main.rs", "println!(\"x\")", &[]);
    }

    #[test]
    fn input_and_output_are_found_in_state_machines() {
        check_one("src/engine/a.rs", "use tokio::sync::Notify;", &["tokio"]);
        check_one(
            "src/engine/a.rs",
            "linchpin_protocol::write_int(1)",
            &["linchpin_protocol"],
        );
        check_one("src/net/a.rs", "use tokio::net::TcpListener;", &[]);
        check_one(
            "protocol/src/a.rs",
            "use linchpin_server::x;",
            &["linchpin_server"],
        );
    }

    #[test]
    fn places_of_one_machine_and_one_tracker_are_found() {
        check_one("docs/a.md", "see /home/joe/x", &["/home/"]);
        check_one("docs/a.md", "fixed in issue #12.", &["issue #12"]);
        check_one("src/a.rs", "// see issue 7", &["issue 7"]);
        check_one("docs/a.md", "issue a command", &[]);
    }

    #[test]
    fn literals_are_no_code() {
        check_one("src/a.rs", "let s = \"Instant::now\"; // Instant::now", &[]);
    }
}
