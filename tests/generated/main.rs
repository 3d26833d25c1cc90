//! What is derived from the command and settings tables: written, or shown to be up to date.
//!
//! `.ci/generate` runs this with `UPDATE=1` and writes; otherwise a file that is not as it would be
//! written fails its test. `facts.rs` checks the rows themselves against those of Valkey.

#![forbid(unsafe_code)]

mod dictionary;
mod facts;
mod modules;
mod page;
mod pages;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file below the root and the text it should have.
struct Derived {
    path: PathBuf,
    text: String,
}

impl Derived {
    fn new(path: impl Into<PathBuf>, text: String) -> Self {
        let path = path.into();
        Self { path, text }
    }
}

/// Writes the files, or fails with the names of those that are not as they would be written.
fn settle(files: &[Derived]) {
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for Derived { path, text } in files {
        let full = root().join(path);
        if fs::read_to_string(&full).is_ok_and(|old| old == *text) {
            continue;
        }
        if update {
            fs::create_dir_all(full.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(&full, text).expect("a file below the root can be written");
        } else {
            stale.push(path.display().to_string());
        }
    }
    assert!(
        stale.is_empty(),
        "run .ci/generate; not as they would be written:\n{}",
        stale.join("\n")
    );
}

/// Removes the files of a folder that are none of `files`, or fails with their names.
fn settle_folder(folder: &str, files: &[Derived]) {
    let update = std::env::var_os("UPDATE").is_some();
    let mut stray = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("the folder has been written") {
        let path = entry.expect("an entry of a folder").path();
        let below_root = path.strip_prefix(root()).expect("it is below the root");
        if files.iter().any(|file| file.path == below_root) {
            continue;
        }
        if update {
            fs::remove_file(&path).expect("a generated file can be removed");
        } else {
            stray.push(below_root.display().to_string());
        }
    }
    assert!(
        stray.is_empty(),
        "run .ci/generate; nothing writes these:\n{}",
        stray.join("\n")
    );
}

#[test]
fn modules_are_listed() {
    settle(&modules::derive());
}

#[test]
fn reference_pages_are_current() {
    let files = pages::derive();
    settle(&files);
    settle_folder("docs/commands", &files);
    settle(&[pages::summary()]);
}

#[test]
fn settings_reference_is_current() {
    let text = linchpin_server::config::reference_markdown();
    settle(&[Derived::new("docs/settings.md", text)]);
}

#[test]
fn fuzz_dictionary_is_current() {
    settle(&[dictionary::derive()]);
}

/// Not while writing: `.ci/generate` writes for the rows as they are.
#[test]
fn rows_are_as_valkey_has_them() {
    if std::env::var_os("UPDATE").is_some() {
        return;
    }
    let findings = facts::check();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
