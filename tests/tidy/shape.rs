//! Functions of at most 70 lines, lines of at most 100 columns, a header on every module.
//!
//! What is still too long stands in `tests/data/tidy_allowed.txt`, a line each: `columns <path>` or
//! `function <path> <name>`. The list only shrinks: an entry that is no longer needed is itself a
//! finding, and so is an entry more than [`ALLOWED_MAX`].

use crate::lexer;
use crate::tree::File;

const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
/// How many exceptions there may be. Lower it whenever one goes.
const ALLOWED_MAX: usize = 0;
const ALLOWED_PATH: &str = "tests/data/tidy_allowed.txt";

/// A finding that an entry of the allow-list can excuse.
struct Finding {
    entry: String,
    text: String,
}

/// What is too long or lacks its header in `files`, and what the allow-list need not say.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let allowed: Vec<&str> = files
        .iter()
        .find(|file| file.path == ALLOWED_PATH)
        .map_or("", File::text)
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .collect();
    let mut found = Vec::new();
    for file in files {
        columns(file, &mut found);
        functions(file, &mut found);
        header(file, &mut found);
    }
    let unneeded = allowed
        .iter()
        .filter(|entry| !found.iter().any(|finding| finding.entry == **entry));
    let mut findings: Vec<String> = unneeded
        .map(|entry| format!("{ALLOWED_PATH}: `{entry}` is no longer needed"))
        .collect();
    if allowed.len() > ALLOWED_MAX {
        findings.push(format!("{ALLOWED_PATH}: more than {ALLOWED_MAX} entries"));
    }
    let is_allowed = |finding: &Finding| allowed.contains(&finding.entry.as_str());
    findings.extend(
        found
            .into_iter()
            .filter(|f| !is_allowed(f))
            .map(|finding| finding.text),
    );
    findings
}

fn columns(file: &File, found: &mut Vec<Finding>) {
    // Prose may hold tables, whose rows no line break can shorten.
    if !file.is_written() || file.has_extension(&["md", "txt"]) {
        return;
    }
    for (index, line) in file.text().lines().enumerate() {
        let width = line.chars().count();
        if width > COLUMNS_MAX {
            found.push(Finding {
                entry: format!("columns {}", file.path),
                text: format!(
                    "{}:{}: {width} columns, at most {COLUMNS_MAX}",
                    file.path,
                    index + 1
                ),
            });
        }
    }
}

fn functions(file: &File, found: &mut Vec<Finding>) {
    if !file.has_extension(&["rs"]) {
        return;
    }
    for function in function_sizes(&lexer::code_only(file.text())) {
        if function.lines > FUNCTION_LINES_MAX {
            let Function { name, line, lines } = function;
            found.push(Finding {
                entry: format!("function {} {name}", file.path),
                text: format!(
                    "{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    file.path
                ),
            });
        }
    }
}

fn header(file: &File, found: &mut Vec<Finding>) {
    let is_module = file.has_extension(&["rs"])
        && [
            "src/",
            "protocol/src/",
            "tests/",
            "benches/",
            "clients/",
            "fuzz/",
        ]
        .iter()
        .any(|folder| file.path.starts_with(folder));
    if is_module && !file.text().starts_with("//!") {
        found.push(Finding {
            entry: format!("header {}", file.path),
            text: format!(
                "{}:1: begin with a `//!` header: what the module is",
                file.path
            ),
        });
    }
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    /// From the line of `fn` to that of the closing brace, both counted.
    lines: usize,
}

/// The functions with a body in `code`, the result of [`lexer::code_only`].
fn function_sizes(code: &str) -> Vec<Function<'_>> {
    let mut sizes = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(lexer::is_word) {
            continue;
        }
        let rest = code[at + 3..].trim_start();
        let name = &rest[..rest.find(|c| !lexer::is_word(c)).unwrap_or(rest.len())];
        // Without a name it is a type, `fn (u8) -> u8`.
        let body = (!name.is_empty()).then(|| body_end(&code[at..])).flatten();
        if let Some(body) = body {
            let line = 1 + code[..at].matches('\n').count();
            let lines = 1 + code[at..at + body].matches('\n').count();
            sizes.push(Function { name, line, lines });
        }
    }
    sizes
}

/// Where the body of the function at the start of `code` closes; none for a bare signature.
fn body_end(code: &str) -> Option<usize> {
    let (mut nested, mut braces) = (0_usize, 0_usize);
    for (at, sign) in code.char_indices() {
        match sign {
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.saturating_sub(1),
            ';' if nested == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(at),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> File {
        let body = "    x();\n".repeat(lines - 2);
        File::new(
            "src/a.rs",
            &format!("//! A.\nfn long(a: [u8; 2]) {{\n{body}}}\n"),
        )
    }

    #[test]
    fn long_functions_are_found() {
        assert!(check(&[function(70)]).is_empty());
        assert_eq!(
            check(&[function(71)]),
            ["src/a.rs:2: `long` has 71 lines, at most 70"]
        );
    }

    #[test]
    fn signatures_and_pointer_types_are_no_functions() {
        let sizes = function_sizes("trait T { fn f(&self); }\nfn g(x: fn () -> u8) {\n}\n");
        assert_eq!(
            sizes.iter().map(|f| (f.name, f.lines)).collect::<Vec<_>>(),
            [("g", 2)]
        );
    }

    #[test]
    fn long_lines_are_found() {
        let line = |width| File::new("a.py", &"ü".repeat(width));
        assert!(check(&[line(100)]).is_empty());
        assert_eq!(check(&[line(101)]), ["a.py:1: 101 columns, at most 100"]);
    }

    #[test]
    fn missing_headers_are_found() {
        let bare = File::new("src/a.rs", "fn f() {}\n");
        assert_eq!(
            check(&[bare]),
            ["src/a.rs:1: begin with a `//!` header: what the module is"]
        );
    }

    #[test]
    fn the_allow_list_excuses_and_only_shrinks() {
        let list = |text: &str| File::new(ALLOWED_PATH, text);
        let over = format!("{ALLOWED_PATH}: more than 0 entries");
        let excused = check(&[function(71), list("# why\nfunction src/a.rs long\n")]);
        assert_eq!(excused.concat(), over);
        let stale = check(&[function(70), list("function src/a.rs long\n")]);
        let unneeded = format!("{ALLOWED_PATH}: `function src/a.rs long` is no longer needed");
        assert_eq!(stale, [unneeded, over]);
    }
}
