//! The command files: `src/command/<family>/<file>.rs`.

use crate::root;
use std::fs;
use std::path::Path;

/// One folder of `src/command` with its files.
pub(crate) struct Family {
    /// The folder's name.
    pub(crate) name: String,
    /// Its files but `mod.rs`, by name.
    pub(crate) files: Vec<Source>,
    /// The header of its `mod.rs`, with its signs.
    pub(crate) header: String,
}

/// One file of a family.
pub(crate) struct Source {
    /// Its name without `.rs`: the module.
    pub(crate) module: String,
    /// It has rows.
    pub(crate) has_rows: bool,
    /// Its header, without the signs that make it a comment.
    pub(crate) header: String,
}

/// All families, by name.
pub(crate) fn families() -> Vec<Family> {
    let folder = root().join("src/command");
    let mut families: Vec<Family> = names(&folder)
        .into_iter()
        .filter(|name| folder.join(name).join("mod.rs").is_file())
        .map(|name| read_family(&folder.join(&name), name))
        .collect();
    families.retain(|family| family.files.iter().any(|file| file.has_rows));
    families
}

fn read_family(folder: &Path, name: String) -> Family {
    let modules = names(folder)
        .into_iter()
        .filter_map(|file| file.strip_suffix(".rs").map(str::to_owned));
    let files = modules
        .filter(|module| module != "mod")
        .map(|module| {
            let text = read(&folder.join(format!("{module}.rs")));
            Source {
                module,
                has_rows: text.contains("\npub const SPECS: &[Spec]"),
                header: header(&text),
            }
        })
        .collect();
    let text = read(&folder.join("mod.rs"));
    let header: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    Family {
        name,
        files,
        header: header.join("\n"),
    }
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of the checkout");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry of a folder").file_name())
        .map(|name| name.into_string().expect("file names are ASCII"))
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file of the checkout")
}

/// The text of a module's header.
fn header(text: &str) -> String {
    text.lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}
