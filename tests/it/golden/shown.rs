//! Tables of the book whose last column is headed "shown by": what they name is there. And every
//! transcript and trial that is named after a decision stands in the row of that decision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::differences;
use super::transcript::Transcript;

const HEADING: &str = "shown by";
/// The page with the decisions.
const DECISIONS: &str = "docs/testing.md";
/// What the name of a test has in it that is named after a decision; two digits follow.
const DECISION: &str = "decision_";

/// Checks all pages of the book. `trials` are the names of the trials that are no transcripts.
pub(crate) fn check(
    root: &Path,
    transcripts: &BTreeMap<String, Transcript>,
    trials: &BTreeSet<String>,
) -> Result<(), String> {
    let exists = |name: &str| {
        let is_known = transcripts.contains_key(name) || trials.contains(name);
        is_known || differences::is_unit_test(root, name)
    };
    let mut faults = Vec::new();
    let entries = std::fs::read_dir(root.join("docs")).map_err(|error| error.to_string())?;
    let mut pages: Vec<_> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.sort();
    for page in &pages {
        let text = std::fs::read_to_string(page).map_err(|error| error.to_string())?;
        for (row, names) in rows(&text) {
            let page = page.file_name().unwrap_or_default().to_string_lossy();
            if names.is_empty() {
                faults.push(format!("{page}: `{row}` names no test"));
            }
            let missing = names.iter().filter(|name| !exists(name));
            faults.extend(missing.map(|name| format!("{page}: `{row}`: {name} is no test")));
        }
    }
    let text = std::fs::read_to_string(root.join(DECISIONS)).map_err(|error| error.to_string())?;
    let listed: BTreeSet<(String, String)> = rows(&text)
        .into_iter()
        .flat_map(|(row, names)| names.into_iter().map(move |name| (row.clone(), name)))
        .collect();
    for name in transcripts.keys().chain(trials) {
        let Some(number) = decision(name) else {
            continue;
        };
        if !listed.contains(&(number.to_string(), name.clone())) {
            faults.push(format!(
                "{DECISIONS}: {name} is not in the row of decision {number}"
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

/// The number of the decision that a test is named after.
fn decision(name: &str) -> Option<u32> {
    let (_, rest) = name.split_once(DECISION)?;
    rest.get(..2)?.parse().ok()
}

/// The rows of all such tables: the first cell, and the names in the last one, each in backticks.
fn rows(text: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        let Some(cells) = line
            .strip_prefix('|')
            .and_then(|line| line.strip_suffix('|'))
        else {
            is_inside = false;
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
            continue;
        };
        if *last == HEADING {
            is_inside = true;
        } else if is_inside && !first.starts_with("---") {
            let names = last.split('`').skip(1).step_by(2).map(str::to_owned);
            rows.push(((*first).to_owned(), names.collect()));
        }
    }
    rows
}
