//! `docs/differences.md` against the transcripts and the other tests: no silent difference, no row
//! without proof.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::transcript::Transcript;

/// Checks both directions: every row a transcript names exists, and every row names transcripts
/// that exist and use it, or tests that exist: a trial of this binary (`limits::input::most`) or a
/// test beside the code (`src/net/timers.rs::who_is_cut`).
pub(crate) fn check(
    root: &Path,
    transcripts: &BTreeMap<String, Transcript>,
    trials: &BTreeSet<String>,
) -> Result<(), String> {
    let path = root.join("docs/differences.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows = rows(&text)?;
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (name, transcript) in transcripts {
        for anchor in transcript.anchors() {
            if !rows.contains_key(anchor) {
                faults.push(format!("{name} names `{anchor}`, which is no row"));
            }
            used.insert((anchor.to_owned(), name.clone()));
        }
    }
    for (id, files) in &rows {
        if files.is_empty() {
            faults.push(format!("`{id}` names no test"));
        }
        for file in files {
            if file.contains("::") {
                if !trials.contains(file) && !is_unit_test(root, file) {
                    faults.push(format!("`{id}` names {file}, which is no test"));
                }
            } else if !used.contains(&(id.clone(), file.clone())) {
                faults.push(format!("`{id}` names {file}, which does not use it"));
            }
        }
    }
    for (anchor, name) in &used {
        if rows.get(anchor).is_some_and(|files| !files.contains(name)) {
            faults.push(format!("`{anchor}` is used by {name} and does not name it"));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// Whether `name`, a path and a function, is a test beside the code.
pub(crate) fn is_unit_test(root: &Path, name: &str) -> bool {
    let Some((path, function)) = name.split_once(".rs::") else {
        return false;
    };
    let text = std::fs::read_to_string(root.join(format!("{path}.rs"))).unwrap_or_default();
    let is_test =
        |indent: &str| text.contains(&format!("\n{indent}#[test]\n{indent}fn {function}()"));
    is_test("") || is_test("    ")
}

/// The rows of the table: the id in the first column, the transcripts in the last, each as
/// `` `family/name` ``, and other tests, each by its name.
fn rows(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _redis, _linchpin, _why, files] = cells[..] else {
            return Err(format!("not five columns: {line}"));
        };
        let files = files
            .split(',')
            .map(|file| file.trim().trim_matches('`').to_owned());
        let id = id.trim_matches('`').to_owned();
        if rows
            .insert(id.clone(), files.filter(|file| !file.is_empty()).collect())
            .is_some()
        {
            return Err(format!("two rows are called `{id}`"));
        }
    }
    Ok(rows)
}
