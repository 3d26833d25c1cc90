//! Relative links in Markdown: the file is there, and so is the heading behind the `#`.
//!
//! LIMITATIONS: links inside code and links to other hosts are not looked at; of a rendered page,
//! only headings and `id="..."` count as anchors.

use std::collections::BTreeSet;

use crate::tree::File;

/// Every relative link in the Markdown files among `files` that leads nowhere.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension(&["md"])) {
        for (line, target) in targets(file.text()) {
            if let Err(reason) = follow(files, file, target) {
                findings.push(format!("{}:{line}: `{target}`: {reason}", file.path));
            }
        }
    }
    findings
}

/// Where `target`, a link in `from`, leads; or why it leads nowhere.
fn follow(files: &[File], from: &File, target: &str) -> Result<(), &'static str> {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    if is_elsewhere || target.is_empty() {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let to = if path.is_empty() {
        from
    } else {
        let joined = join(&from.path, path).ok_or("it leaves the repository")?;
        let is_folder = files
            .iter()
            .any(|file| file.path.starts_with(&format!("{joined}/")));
        match files.iter().find(|file| file.path == joined) {
            Some(file) => file,
            None if is_folder && anchor.is_empty() => return Ok(()),
            None => return Err("no such file"),
        }
    };
    let is_checked = to.has_extension(&["md"]) && !anchor.is_empty();
    if is_checked && !anchors(to.text()).contains(anchor) {
        Err("no such heading")
    } else {
        Ok(())
    }
}

/// `path` as seen from the folder of `from`; none when it climbs out of the root.
fn join(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The targets of the links in `text`, inline and by reference, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        let reference = content
            .split_once("]: ")
            .filter(|(name, _)| name.starts_with('['));
        if let Some((_, rest)) = reference {
            found.extend(rest.split_whitespace().next().map(|target| (line, target)));
        }
        for (at, sign) in content.match_indices("](") {
            let is_code = content[..at].matches('`').count() % 2 == 1;
            let rest = &content[at + sign.len()..];
            let end = rest.find([')', ' ']).unwrap_or(rest.len());
            if !is_code {
                found.push((line, rest[..end].trim_matches(['<', '>'])));
            }
        }
    }
    found
}

/// The lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((index + 1, line))
    })
}

/// The anchors of a page: its headings as slugs, a repeated one numbered, and explicit ids.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let slug = slug(heading.trim());
            let mut anchor = slug.clone();
            let mut repeats = 0;
            while !found.insert(anchor.clone()) {
                repeats += 1;
                anchor = format!("{slug}-{repeats}");
            }
        }
        for (at, mark) in line.match_indices("id=\"") {
            let rest = &line[at + mark.len()..];
            found.insert(rest[..rest.find('"').unwrap_or(rest.len())].to_owned());
        }
    }
    found
}

/// A heading as its anchor: lower case, blanks as hyphens, other signs dropped.
fn slug(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_page(text: &str, expected: &[&str]) {
        let page = File::new("docs/guide/page.md", text);
        let other = File::new(
            "docs/other.md",
            "# Top\n## A `b`, c\n## Top\n<a id=\"here\"></a>\n",
        );
        let findings = check(&[other, page]);
        let reasons: Vec<&str> = findings
            .iter()
            .filter_map(|finding| finding.rsplit(": ").next())
            .collect();
        assert_eq!(reasons, expected, "of {text:?}");
    }

    #[test]
    fn dead_links_are_found() {
        check_page("[a](gone.md)", &["no such file"]);
        check_page("[a]: gone.md", &["no such file"]);
        check_page("![a](../gone.png \"title\")", &["no such file"]);
        check_page("[a](../../../x.md)", &["it leaves the repository"]);
        check_page("[a](../other.md#gone)", &["no such heading"]);
        check_page("# Top\n[a](#gone)", &["no such heading"]);
    }

    #[test]
    fn live_links_are_fine() {
        check_page(
            "[a](../other.md), [b](../other.md#a-b-c), [c](../other.md#top-1)",
            &[],
        );
        check_page("[a](../other.md#here) [b](..) [c](./page.md)", &[]);
        check_page("# Top\n[a](#top) [b](https://example.com/x#y)", &[]);
    }

    #[test]
    fn code_holds_no_links() {
        check_page("`[a](gone.md)`\n```\n[a](gone.md)\n```\n", &[]);
    }
}
