//! The lock file held against known advisories and against the licences we accept.
//!
//! The advisories are a dated copy of facts (`tests/data/advisories.txt`, renewed by
//! `.ci/advisories`), so that the check needs no network; it knows nothing younger than its copy.
//! An advisory for another system or architecture counts all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use semver::{Version, VersionReq};
use serde_json::Value;

use crate::tree::{File, root};

const ADVISORIES_PATH: &str = "tests/data/advisories.txt";
/// Advisories that do not touch us: (id, why).
const ADVISORIES_ACCEPTED: &[(&str, &str)] = &[];

/// Licences of anything we build with, as SPDX names them.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Licences of tools only: of what no binary of ours contains.
const LICENCES_OF_TOOLS: &[&str] = &["MPL-2.0"];

/// Which versions of `package` are known to be bad: those that no range in `good` matches.
struct Advisory<'a> {
    package: &'a str,
    id: &'a str,
    kind: &'a str,
    good: Vec<VersionReq>,
}

/// Every package of the lock files among `files` with an advisory, and every accepted advisory
/// that no longer needs accepting.
pub(crate) fn check_advisories(files: &[File]) -> Vec<String> {
    let text = files
        .iter()
        .find(|file| file.path == ADVISORIES_PATH)
        .map_or("", File::text);
    let advisories = match parse_advisories(text) {
        Ok(advisories) => advisories,
        Err(line) => return vec![format!("{ADVISORIES_PATH}: unreadable line {line:?}")],
    };
    let mut findings = Vec::new();
    let mut accepted = BTreeSet::new();
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.lock"))
    {
        for (package, version) in locked(file.text()) {
            for advisory in advisories
                .iter()
                .filter(|advisory| advisory.package == package)
            {
                let Advisory { id, kind, good, .. } = advisory;
                if good.iter().any(|range| range.matches(&version)) {
                    continue;
                }
                let is_accepted = ADVISORIES_ACCEPTED.iter().any(|(known, _)| known == id);
                if is_accepted {
                    accepted.insert(*id);
                } else {
                    findings.push(format!("{}: {package} {version}: {id} ({kind})", file.path));
                }
            }
        }
    }
    let stale = ADVISORIES_ACCEPTED
        .iter()
        .filter(|(id, _)| !accepted.contains(id));
    findings.extend(stale.map(|(id, _)| format!("{id} is accepted, but touches nothing")));
    findings
}

/// Lines `package id kind good-range|good-range`; those that begin with `#` are comments.
fn parse_advisories(text: &str) -> Result<Vec<Advisory<'_>>, &str> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| parse_advisory(line).ok_or(line)).collect()
}

fn parse_advisory(line: &str) -> Option<Advisory<'_>> {
    let mut parts = line.splitn(4, ' ');
    let (package, id, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let ranges = parts
        .next()
        .unwrap_or("")
        .split('|')
        .filter(|range| !range.is_empty());
    let good = ranges
        .map(|range| VersionReq::parse(range).ok())
        .collect::<Option<_>>()?;
    Some(Advisory {
        package,
        id,
        kind,
        good,
    })
}

/// The packages that a Cargo.lock names, with their versions.
fn locked(text: &str) -> Vec<(&str, Version)> {
    let mut packages = Vec::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = found.trim_matches('"');
        } else if let Some(found) = line.strip_prefix("version = \"") {
            let version = Version::parse(found.trim_end_matches('"'));
            packages.push((name, version.expect("cargo writes versions that parse")));
        }
    }
    packages
}

/// Every package in the build of this machine whose licence is not among those we accept.
pub(crate) fn check_licences() -> Vec<String> {
    let graph = metadata();
    let shipped = shipped(&graph);
    let mut findings = Vec::new();
    for package in array(&graph["packages"]) {
        let (name, id) = (string(&package["name"]), string(&package["id"]));
        let licence = string(&package["license"]);
        let is_accepted = |licence: &str| {
            let is_tool = !shipped.contains(id) && LICENCES_OF_TOOLS.contains(&licence);
            LICENCES.contains(&licence) || is_tool
        };
        if !is_acceptable(licence, &is_accepted) {
            findings.push(format!(
                "{name}: its licence {licence:?} is not among those we accept"
            ));
        }
    }
    findings
}

/// What cargo knows of the packages for this machine, from the lock file and without network.
fn metadata() -> Value {
    let host = output(Command::new("rustc").arg("-vV"));
    let triple = host.lines().find_map(|line| line.strip_prefix("host: "));
    let triple = triple.expect("rustc names its host");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(root())
        .args(["metadata", "--format-version=1", "--locked", "--offline"]);
    let json = output(command.arg("--filter-platform").arg(triple));
    serde_json::from_str(&json).expect("cargo metadata prints JSON")
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("the toolchain that built this test is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("the toolchain prints UTF-8")
}

/// The ids of the packages that end up in what we ship: the workspace's members and what they
/// need, without what only tests, build scripts or development need.
fn shipped(graph: &Value) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Value> = array(&graph["resolve"]["nodes"])
        .iter()
        .map(|node| (string(&node["id"]), node))
        .collect();
    let mut found = BTreeSet::new();
    let mut pending: Vec<&str> = array(&graph["workspace_members"])
        .iter()
        .map(string)
        .collect();
    while let Some(id) = pending.pop() {
        if !found.insert(id) {
            continue;
        }
        for dependency in array(&nodes[id]["deps"]) {
            let is_normal = array(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            if is_normal {
                pending.push(string(&dependency["pkg"]));
            }
        }
    }
    found
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Whether an SPDX expression can be satisfied with accepted licences. An exception (`WITH`) only
/// ever widens what a licence permits. `/` is how older manifests say OR, and some write operators
/// in small letters.
fn is_acceptable(expression: &str, is_accepted: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut tokens: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut tokens, is_accepted) && tokens.is_empty()
}

/// `a OR b OR ...`, the tokens in reverse.
fn any_of(tokens: &mut Vec<&str>, is_accepted: &dyn Fn(&str) -> bool) -> bool {
    let mut result = all_of(tokens, is_accepted);
    while tokens
        .pop_if(|token| ["OR", "or"].contains(token))
        .is_some()
    {
        result |= all_of(tokens, is_accepted);
    }
    result
}

/// `a AND b AND ...`, which binds tighter than OR.
fn all_of(tokens: &mut Vec<&str>, is_accepted: &dyn Fn(&str) -> bool) -> bool {
    let mut result = one(tokens, is_accepted);
    while tokens
        .pop_if(|token| ["AND", "and"].contains(token))
        .is_some()
    {
        result &= one(tokens, is_accepted);
    }
    result
}

fn one(tokens: &mut Vec<&str>, is_accepted: &dyn Fn(&str) -> bool) -> bool {
    match tokens.pop() {
        Some("(") => any_of(tokens, is_accepted) && tokens.pop() == Some(")"),
        Some(licence) => {
            if tokens.pop_if(|token| *token == "WITH").is_some() {
                tokens.pop();
            }
            is_accepted(licence)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_lock(version: &str, advisories: &str, expected: usize) {
        let lock = format!("[[package]]\nname = \"bad\"\nversion = \"{version}\"\n");
        let files = [
            File::new("Cargo.lock", &lock),
            File::new(ADVISORIES_PATH, advisories),
        ];
        let findings = check_advisories(&files);
        assert_eq!(
            findings.len(),
            expected,
            "{version}, {advisories:?}: {findings:?}"
        );
    }

    #[test]
    fn bad_versions_are_found() {
        let patched = "# why\nbad RUSTSEC-2020-0001 unsound >=1.2.3|<0.5\n";
        check_lock("1.2.2", patched, 1);
        check_lock("1.2.3", patched, 0);
        check_lock("0.4.9", patched, 0);
        check_lock("9.9.9", "bad RUSTSEC-2020-0002 unmaintained\n", 1);
        check_lock("9.9.9", "good RUSTSEC-2020-0002 unmaintained\n", 0);
        check_lock("9.9.9", "bad RUSTSEC-2020-0002 unsound >=x\n", 1);
    }

    #[test]
    fn the_copy_of_the_advisories_is_whole() {
        let text = std::fs::read_to_string(root().join(ADVISORIES_PATH)).expect("it is there");
        let advisories = parse_advisories(&text).expect("every line parses");
        assert!(
            advisories.len() > 1_000,
            "only {} advisories",
            advisories.len()
        );
        // bincode is given up: no version of it is fine.
        assert!(
            advisories
                .iter()
                .any(|a| a.id == "RUSTSEC-2025-0141" && a.good.is_empty())
        );
    }

    fn check_licence(expression: &str, expected: bool) {
        let is_accepted = |licence: &str| LICENCES.contains(&licence);
        assert_eq!(
            is_acceptable(expression, &is_accepted),
            expected,
            "of {expression:?}"
        );
    }

    #[test]
    fn licence_expressions_are_weighed() {
        check_licence("MIT", true);
        check_licence("MIT/GPL-3.0", true);
        check_licence("MIT or GPL-3.0", true);
        check_licence("MIT and GPL-3.0", false);
        check_licence("GPL-3.0 OR Apache-2.0 WITH LLVM-exception", true);
        check_licence("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check_licence("MIT AND GPL-3.0", false);
        check_licence("(MIT OR Apache-2.0) AND GPL-3.0", false);
        check_licence("GPL-3.0", false);
        check_licence("", false);
        check_licence("(MIT", false);
    }

    #[test]
    fn what_is_shipped_follows_normal_dependencies_only() {
        let graph = serde_json::json!({
            "workspace_members": ["us"],
            "resolve": { "nodes": [
                { "id": "us", "deps": [
                    { "pkg": "lib", "dep_kinds": [{ "kind": null }] },
                    { "pkg": "tool", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "lib", "deps": [] },
                { "id": "tool", "deps": [] },
            ] },
        });
        assert_eq!(shipped(&graph), BTreeSet::from(["us", "lib"]));
    }
}
