//! The checkout as a list of files, and the check of their sizes and modes.

use std::path::Path;
use std::sync::LazyLock;

/// Larger files do not belong into the repository, except as test data.
const FILE_BYTES_MAX: usize = 300 * 1024;
/// Folders that hold what was built, fetched or found, not what was written.
const FOLDERS_SKIPPED: &[&str] = &[
    ".git",
    "target",
    "node_modules",
    "fuzz/artifacts",
    "docs/book",
    "linchpin-data",
];

/// One file of the checkout.
pub(crate) struct File {
    /// Relative to the root, with `/` on every system.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_executable: bool,
}

impl File {
    /// A file that no disk holds, for the tests of the checks.
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            bytes: text.as_bytes().to_vec(),
            is_executable: false,
        }
    }

    /// Its text; empty when it is not UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or("")
    }

    pub(crate) fn has_extension(&self, extensions: &[&str]) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    }

    fn is_script(&self) -> bool {
        self.bytes.starts_with(b"#!/")
    }

    /// Whether people write it as text: code, scripts, settings, prose.
    pub(crate) fn is_written(&self) -> bool {
        self.has_extension(&["rs", "md", "py", "js", "toml", "txt"]) || self.is_script()
    }
}

/// Fails unless `check` finds so many things in a checkout of one file.
#[cfg(test)]
pub(crate) fn check_count(
    check: fn(&[File]) -> Vec<String>,
    path: &str,
    text: &str,
    expected: usize,
) {
    let findings = check(&[File::new(path, text)]);
    assert_eq!(
        findings.len(),
        expected,
        "{path} with {text:?}: {findings:?}"
    );
}

/// All files of the checkout, read once, sorted by path.
pub(crate) fn tree() -> &'static [File] {
    static TREE: LazyLock<Vec<File>> = LazyLock::new(|| {
        let mut files = Vec::new();
        collect(root(), "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    });
    &TREE
}

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder).expect("a folder of the checkout can be listed");
    for entry in entries {
        let entry = entry.expect("an entry of the checkout can be read");
        let name = entry
            .file_name()
            .into_string()
            .expect("file names are UTF-8");
        let path = format!("{prefix}{name}");
        if FOLDERS_SKIPPED
            .iter()
            .any(|skipped| path == *skipped || name == *skipped)
        {
            continue;
        }
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            let bytes = std::fs::read(entry.path()).expect("a file of the checkout can be read");
            let is_executable = is_executable(&entry.path());
            files.push(File {
                path,
                bytes,
                is_executable,
            });
        }
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// Where files have no modes, a script counts as executable and nothing else does.
#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!/"))
}

/// No large blobs outside `tests/data`; a file is executable exactly when it is a script.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let path = &file.path;
        if file.bytes.len() > FILE_BYTES_MAX && !path.starts_with("tests/data/") {
            findings.push(format!(
                "{path}: {} bytes, at most {FILE_BYTES_MAX}",
                file.bytes.len()
            ));
        }
        match (file.is_script(), file.is_executable) {
            (true, false) => findings.push(format!("{path}: a script that is not executable")),
            (false, true) => findings.push(format!("{path}: executable, but no script")),
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_found() {
        let at_limit = "x".repeat(FILE_BYTES_MAX);
        let over = format!("{at_limit}x");
        assert!(check(&[File::new("a", &at_limit), File::new("tests/data/a", &over)]).is_empty());
        assert_eq!(
            check(&[File::new("a", &over)]),
            ["a: 307201 bytes, at most 307200"]
        );
    }

    #[test]
    fn wrong_modes_are_found() {
        let script = File::new("run", "#!/bin/sh\n");
        let page = File {
            is_executable: true,
            ..File::new("page.md", "text")
        };
        let findings = check(&[script, page]);
        assert_eq!(
            findings,
            [
                "run: a script that is not executable",
                "page.md: executable, but no script"
            ]
        );
    }

    #[test]
    fn the_checkout_is_read() {
        assert!(tree().iter().any(|file| file.path == "src/main.rs"));
        assert!(!tree().iter().any(|file| file.path.starts_with("target/")));
    }
}
