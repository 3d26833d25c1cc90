//! `unsafe` stands in few files, each block says why it is sound, and all other crates forbid it.

use crate::lexer;
use crate::tree::File;

/// The files that cannot do without, and why. The list only shrinks.
const FILES: &[(&str, &str)] = &[
    (
        "src/engine/prefetch.rs",
        "the intrinsic takes a raw pointer",
    ),
    ("src/main.rs", "the allocator's settings are C functions"),
    ("tests/alloc/src/lib.rs", "it is an allocator"),
];
/// The roots of crates that contain one of those files, or whose macros expand to `unsafe`.
const ROOTS_ALLOWED: &[&str] = &["src/lib.rs", "src/main.rs", "tests/alloc/src/lib.rs"];
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Where `unsafe` stands without leave or reason, where a crate does not forbid it, and which
/// exception is no longer needed.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension(&["rs"])) {
        let code = lexer::code_only(file.text());
        let lines = lines_with_unsafe(&code);
        let is_listed = FILES.iter().any(|(path, _)| *path == file.path);
        match lines.first() {
            Some(line) if !is_listed => findings.push(format!(
                "{}:{line}: `unsafe`: do without, or have the file listed in unsafety.rs",
                file.path
            )),
            None if is_listed => {
                findings.push(format!("{}: listed in unsafety.rs without need", file.path));
            }
            _ => unexplained(file, &code, &lines, &mut findings),
        }
        if is_root(&file.path)
            && !ROOTS_ALLOWED.contains(&file.path.as_str())
            && !code.contains(FORBID)
        {
            findings.push(format!("{}: say `{FORBID}`", file.path));
        }
    }
    findings
}

/// The numbers of the lines of `code` on which the word stands.
fn lines_with_unsafe(code: &str) -> Vec<usize> {
    let has_it = |line: &str| {
        line.split(|c| !lexer::is_word(c))
            .any(|word| word == "unsafe")
    };
    (1..)
        .zip(code.lines())
        .filter(|(_, line)| has_it(line))
        .map(|(number, _)| number)
        .collect()
}

/// Blocks and `impl`s need a `SAFETY:` in the comment right above them. What is declared `unsafe
/// fn` shifts the duty to its callers, and rustc wants blocks inside it all the same.
fn unexplained(file: &File, code: &str, numbers: &[usize], findings: &mut Vec<String>) {
    let text: Vec<&str> = file.text().lines().collect();
    let code: Vec<&str> = code.lines().collect();
    for &number in numbers {
        let line = code[number - 1];
        if !line.contains("unsafe {") && !line.contains("unsafe impl") {
            continue;
        }
        let above = text[..number - 1].iter().rev().map(|line| line.trim());
        let mut comment = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
        if !comment.any(|line| line.starts_with("// SAFETY:")) {
            findings.push(format!(
                "{}:{number}: begin the comment above it with `SAFETY:`, and say why it is sound",
                file.path
            ));
        }
    }
}

/// Whether a crate begins with this file.
fn is_root(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folders: Vec<&str> = folder.split('/').collect();
    matches!(
        (folders.as_slice(), name),
        ([.., "src"], "lib.rs" | "main.rs")
            | ([.., "tests", _], "main.rs")
            | ([.., "benches" | "tests"], _)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::check_count;

    const LISTED: &str = "src/engine/prefetch.rs";

    #[test]
    fn unsafe_in_other_files_is_found() {
        check_count(check, "src/a.rs", "fn f() { unsafe { g() } }\n", 1);
        check_count(check, "src/a.rs", "unsafe fn f() {}\n", 1);
        let told = "// unsafe\nfn f() { g(\"unsafe\", unsafe_code) }\n";
        check_count(check, "src/a.rs", told, 0);
    }

    #[test]
    fn a_block_without_a_reason_is_found() {
        check_count(check, LISTED, "fn f() {\n    unsafe { g() }\n}\n", 1);
        let reason = "fn f() {\n    // SAFETY: it is\n    // so.\n    unsafe { g() }\n}\n";
        check_count(check, LISTED, reason, 0);
        let far = "// SAFETY: it is so.\nfn f() {\n    unsafe { g() }\n}\n";
        check_count(check, LISTED, far, 1);
        check_count(check, LISTED, "unsafe impl A for B {}\n", 1);
    }

    #[test]
    fn an_exception_without_need_is_found() {
        check_count(check, LISTED, "fn f() {}\n", 1);
    }

    #[test]
    fn a_crate_that_does_not_forbid_it_is_found() {
        for root in ["src/main.rs", "tests/it/main.rs", "a/src/lib.rs"] {
            check_count(check, root, "fn main() {}\n", 1);
            check_count(check, root, "#![forbid(unsafe_code)]\nfn main() {}\n", 0);
        }
        check_count(check, "tests/it/other.rs", "fn main() {}\n", 0);
        check_count(check, "src/lib.rs", "mod a;\n", 0);
    }
}
