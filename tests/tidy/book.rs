//! The book: a page that its summary leaves out is never rendered, and nobody notices.

use crate::tree::File;

const FOLDER: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every Markdown page under `docs/` that does not stand in `docs/SUMMARY.md`.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else {
        return vec![format!("{SUMMARY} is missing")];
    };
    let is_left_out = |page: &str| !summary.text().contains(&format!("]({page})"));
    files
        .iter()
        .filter(|file| file.has_extension(&["md"]) && file.path != SUMMARY)
        .filter_map(|file| file.path.strip_prefix(FOLDER))
        .filter(|page| is_left_out(page))
        .map(|page| format!("{SUMMARY}: `{page}` is not in it; the book would leave it out"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_left_out_is_found() {
        let summary = File::new(SUMMARY, "- [A](a.md)\n  - [B](deep/b.md)\n");
        let page = |path| File::new(path, "# Page\n");
        let listed = [summary, page("docs/a.md"), page("docs/deep/b.md")];
        assert_eq!(check(&listed), Vec::<String>::new());
        let [summary, ..] = listed;
        let findings = check(&[summary, page("docs/b.md"), page("README.md")]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(check(&[]).len(), 1);
    }
}
