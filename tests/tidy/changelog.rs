//! The shape of CHANGELOG.md: per release three headings, for three kinds of reader.

use crate::tree::File;

const PATH: &str = "CHANGELOG.md";
const HEADINGS: &[&str] = &["Safety and performance", "Features", "Internals"];

/// Every release in CHANGELOG.md that has not just the three headings, in their order.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let Some(file) = files.iter().find(|file| file.path == PATH) else {
        return vec![format!("{PATH} is missing")];
    };
    let mut releases: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut findings = Vec::new();
    for line in file.text().lines() {
        if let Some(release) = line.strip_prefix("## ") {
            releases.push((release, Vec::new()));
        } else if let Some(heading) = line.strip_prefix("### ") {
            match releases.last_mut() {
                Some((_, headings)) => headings.push(heading),
                None => findings.push(format!("{PATH}: `{heading}` stands above every release")),
            }
        }
    }
    if releases.is_empty() {
        findings.push(format!("{PATH}: no release, `## <version>`"));
    }
    for (release, headings) in releases {
        if headings != HEADINGS {
            findings.push(format!(
                "{PATH}: {release}: wants {HEADINGS:?}, has {headings:?}"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_count(text: &str, expected: usize) {
        let findings = check(&[File::new(PATH, text)]);
        assert_eq!(findings.len(), expected, "{text:?}: {findings:?}");
    }

    #[test]
    fn a_wrong_shape_is_found() {
        let good = "## 0.1.0\n### Safety and performance\n### Features\n### Internals\n";
        check_count(good, 0);
        check_count("# Changelog\n", 1);
        check_count("## 0.1.0\n### Features\n", 1);
        check_count(&format!("### Features\n{good}"), 1);
        check_count(&format!("{good}### Fixes\n"), 1);
        assert_eq!(check(&[]), ["CHANGELOG.md is missing"]);
    }
}
