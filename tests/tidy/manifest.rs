//! Manifests list their dependencies in order; lock files name no host but the public index.

use crate::tree::File;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is out of order in the manifests and lock files among `files`.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        match file.path.rsplit('/').next() {
            Some("Cargo.toml") => order(file, &mut findings),
            Some("Cargo.lock") => sources(file, &mut findings),
            Some("package-lock.json") => hosts(file, &mut findings),
            _ => {}
        }
    }
    findings
}

/// The keys of every `[...dependencies]` table stand in alphabetical order.
fn order(file: &File, findings: &mut Vec<String>) {
    let mut is_dependencies = false;
    let mut last = "";
    for (index, line) in file.text().lines().enumerate() {
        if line.starts_with('[') {
            is_dependencies = line.trim_end().ends_with("dependencies]");
            last = "";
        } else if is_dependencies
            && let Some((key, _)) = line.split_once('=')
            && line.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            let name = key.trim();
            if name < last {
                findings.push(format!(
                    "{}:{}: `{name}` belongs above `{last}`",
                    file.path,
                    index + 1
                ));
            }
            last = name;
        }
    }
}

fn sources(file: &File, findings: &mut Vec<String>) {
    for (index, line) in file.text().lines().enumerate() {
        let source = line
            .strip_prefix("source = ")
            .map(|source| source.trim_matches('"'));
        if source.is_some_and(|source| source != CRATES_IO) {
            findings.push(format!(
                "{}:{}: not from crates.io: {line}",
                file.path,
                index + 1
            ));
        }
    }
}

/// npm finds a package by name and checks its `integrity`; a host in `resolved` would bind
/// everybody to one mirror.
fn hosts(file: &File, findings: &mut Vec<String>) {
    for (index, line) in file.text().lines().enumerate() {
        if line.trim_start().starts_with("\"resolved\"") {
            findings.push(format!(
                "{}:{}: drop `resolved` (npm install --omit-lockfile-registry-resolved)",
                file.path,
                index + 1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::check_count;

    #[test]
    fn unsorted_dependencies_are_found() {
        check_count(
            check,
            "Cargo.toml",
            "[dependencies]\nb = \"1\"\na = \"1\"\n",
            1,
        );
        check_count(
            check,
            "x/Cargo.toml",
            "[target.'cfg(unix)'.dependencies]\nb = 1\na = 1\n",
            1,
        );
        check_count(
            check,
            "Cargo.toml",
            "[dependencies]\nb = 1\n\n[dev-dependencies]\na = 1\n",
            0,
        );
        check_count(check, "Cargo.toml", "[features]\nb = []\na = []\n", 0);
    }

    #[test]
    fn foreign_sources_are_found() {
        check_count(
            check,
            "Cargo.lock",
            &format!("source = \"{CRATES_IO}\"\n"),
            0,
        );
        check_count(
            check,
            "Cargo.lock",
            "source = \"git+https://example.com/x\"\n",
            1,
        );
        check_count(
            check,
            "a/package-lock.json",
            "  \"resolved\": \"https://example.com/x.tgz\"\n",
            1,
        );
    }
}
