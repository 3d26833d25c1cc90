//! `ARCHITECTURE.md` names types that exist.

use std::collections::BTreeSet;

use crate::lexer;
use crate::tree::File;

/// Every name in `ARCHITECTURE.md`, in back-ticks or in its drawings, that looks like a type's and
/// is not a word of the code.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let is_code =
        |file: &&File| file.path.starts_with("src/") || file.path.starts_with("protocol/src/");
    let code: String = files
        .iter()
        .filter(is_code)
        .map(|file| lexer::code_only(file.text()))
        .collect();
    let known: BTreeSet<&str> = code.split(|c| !lexer::is_word(c)).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path == "ARCHITECTURE.md") {
        for (index, line) in file.text().lines().enumerate() {
            for name in names(line).filter(|name| !known.contains(name)) {
                findings.push(format!("{}:{}: no `{name}`", file.path, index + 1));
            }
        }
    }
    findings
}

/// The words of a line that look like a type's name: those in back-ticks that begin with a capital
/// and have a small letter, and those elsewhere with a capital inside, too.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').enumerate().flat_map(|(index, part)| {
        let is_quoted = index % 2 == 1;
        part.split(|c| !lexer::is_word(c)).filter(move |word| {
            let has_small = word.contains(|c: char| c.is_ascii_lowercase());
            let mut rest = word.chars();
            let is_capital = rest.next().is_some_and(|c| c.is_ascii_uppercase());
            let has_hump = rest.as_str().contains(|c: char| c.is_ascii_uppercase());
            is_capital && has_small && (is_quoted || has_hump)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_count(page: &str, expected: usize) {
        let files = [
            File::new("ARCHITECTURE.md", page),
            File::new(
                "src/net/local.rs",
                "struct Local; // Bench\nimpl RequestParser {}",
            ),
            File::new("tests/it/client.rs", "struct Client;"),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), expected, "{page:?}: {findings:?}");
    }

    #[test]
    fn names_of_nothing_are_found() {
        check_count("stands in its `Bench`:", 1);
        check_count("is a `Client<T>`", 1);
        check_count("  | RequestWriter", 1);
    }

    #[test]
    fn names_of_types_and_other_words_are_fine() {
        check_count("its `Local`, `Local::new`, RequestParser", 0);
        check_count("The `WATCH` command, `src/net/local.rs`, Redis", 0);
    }
}
