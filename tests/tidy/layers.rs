//! The direction of imports: a layer names only layers below it.

use crate::lexer::{self, NamedPath};
use crate::tree::File;

/// The modules of the server from the bottom up. Those of one row stand side by side and do not
/// name each other.
const LAYERS: &[&[&str]] = &[
    &["sync", "seeded"],
    &["clock", "glob", "policy"],
    &["engine", "config"],
    &["journal", "pubsub", "script"],
    &["command"],
    // It shows what commands ask for, through traits that `command` declares.
    &["observe"],
    &["session"],
    &["net", "inproc"],
    &["fuzzing"],
];

/// Every path in `files` that names a layer beside or above its own, and every module of the
/// server that has no layer.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let Some(module) = module(&file.path) else {
            continue;
        };
        let Some(own) = layer(module) else {
            findings.push(format!(
                "{}: `{module}` has no layer; give it one in LAYERS",
                file.path
            ));
            continue;
        };
        for path in lexer::paths(&lexer::code_only(file.text())) {
            let Some(named) = module_named(&path) else {
                continue;
            };
            if named != module && layer(named).is_some_and(|named| named >= own) {
                let line = path.line;
                let found = path.segments.join("::");
                findings.push(format!(
                    "{}:{line}: `{found}`: {module} may name only what is below it",
                    file.path
                ));
            }
        }
    }
    findings
}

/// The top module of the server that the file at `path` belongs to; the crate roots have none.
fn module(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let top = inner.split('/').next()?;
    (!matches!(top, "lib" | "main")).then_some(top)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The top module that `path` reaches, as `crate::engine::Shard` reaches `engine`. A `super` counts
/// as the root when a layer's name follows it: no module has a child named so.
fn module_named(path: &NamedPath) -> Option<&str> {
    match path.segments.as_slice() {
        [root, module, ..] if root == "crate" || root == "linchpin_server" => Some(module),
        [root, module, ..] if root == "super" && layer(module).is_some() => Some(module),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::check_count;

    #[test]
    fn upward_names_are_found() {
        check_count(
            check,
            "src/engine/shard.rs",
            "use crate::session::Session;",
            1,
        );
        check_count(check, "src/engine.rs", "use super::session::Session;", 1);
        check_count(
            check,
            "src/command/get.rs",
            "fn f(x: crate::net::Worker) {}",
            1,
        );
        check_count(
            check,
            "src/command/get.rs",
            "use crate::{engine::Shard, net::Worker};",
            1,
        );
    }

    #[test]
    fn sideways_names_are_found() {
        check_count(
            check,
            "src/journal/log.rs",
            "use crate::pubsub::Channel;",
            1,
        );
    }

    #[test]
    fn downward_and_own_names_are_fine() {
        check_count(
            check,
            "src/net/worker.rs",
            "use crate::{session, engine, sync::Arc};",
            0,
        );
        check_count(
            check,
            "src/engine/shard.rs",
            "use crate::engine::Entry; use crate::sync::Mutex;",
            0,
        );
        check_count(check, "src/main.rs", "use linchpin_server::net;", 0);
        check_count(check, "tests/it/main.rs", "use crate::net;", 0);
    }

    #[test]
    fn modules_without_a_layer_are_found() {
        check_count(check, "src/misc.rs", "", 1);
        check_count(check, "src/misc/deep/file.rs", "", 1);
    }
}
