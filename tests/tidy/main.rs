//! Style as tests: what reviewers would otherwise have to say again and again.
//!
//! Every check is a function from text to findings, `path:line: what is wrong and what to do`. It
//! is run over the whole checkout by a test here, and shown to find something by a test of its own
//! on a small bad input. The exceptions stand in `tests/data/tidy_allowed.txt` (see `shape`).

#![forbid(unsafe_code)]

mod architecture;
mod book;
mod changelog;
mod dependencies;
mod layers;
mod lexer;
mod links;
mod manifest;
mod shape;
mod tree;
mod unsafety;
mod words;

use tree::tree;

/// Fails with all `findings` unless there is none.
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn types_of_the_architecture_exist() {
    assert_none(&architecture::check(tree()));
}

#[test]
fn words_are_not_banned() {
    assert_none(&words::check(tree()));
}

#[test]
fn unsafe_is_rare_and_explained() {
    assert_none(&unsafety::check(tree()));
}

#[test]
fn layers_point_downwards() {
    assert_none(&layers::check(tree()));
}

#[test]
fn functions_lines_and_headers_are_in_shape() {
    assert_none(&shape::check(tree()));
}

#[test]
fn files_are_small_and_executable_only_as_scripts() {
    assert_none(&tree::check(tree()));
}

#[test]
fn manifests_and_lock_files_are_in_order() {
    assert_none(&manifest::check(tree()));
}

#[test]
fn links_lead_somewhere() {
    assert_none(&links::check(tree()));
}

#[test]
fn the_book_has_every_page() {
    assert_none(&book::check(tree()));
}

#[test]
fn changelog_has_its_shape() {
    assert_none(&changelog::check(tree()));
}

#[test]
fn dependencies_have_no_known_advisory() {
    assert_none(&dependencies::check_advisories(tree()));
}

#[test]
fn dependencies_have_an_allowed_licence() {
    assert_none(&dependencies::check_licences());
}
