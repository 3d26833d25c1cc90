//! The integration tests of the server: one binary, every test a named trial.
//!
//! A trial that needs a program this machine has not is listed and `ignored`, never silently
//! passed; `LINCHPIN_REQUIRE=redis-server,node` turns a missing one into a failure (see `need`).
//! `UPDATE=1` and `UPDATE=oracle` rewrite the golden transcripts instead of checking them; the
//! format is described in `tests/golden/README.md`.

#![forbid(unsafe_code)]

mod chance;
mod client;
mod clients;
mod concurrency;
mod durability;
mod golden;
mod ids;
mod limits;
mod linear;
mod locks;
mod model;
mod need;
mod once;
mod process;
mod resp;
mod start;
mod variant;

use std::io::Write as _;
use std::process::ExitCode;

/// A test by its name.
type Case = (&'static str, fn() -> Result<(), libtest_mimic::Failed>);

/// The trials of `cases`, their names behind `prefix`.
fn trials_of<'a>(
    prefix: &str,
    cases: impl IntoIterator<Item = &'a Case>,
) -> Vec<libtest_mimic::Trial> {
    let trial =
        |(name, body): &Case| libtest_mimic::Trial::test(format!("{prefix}::{name}"), *body);
    cases.into_iter().map(trial).collect()
}

fn main() -> ExitCode {
    if let Some(result) = locks::counter::play().or_else(ids::processes::play) {
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{error:?}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = clients::trials();
    trials.extend(model::trials());
    trials.extend(resp::trials());
    trials.extend(start::trials());
    trials.extend(limits::trials());
    trials.extend(concurrency::trials());
    trials.extend(durability::trials());
    trials.extend(ids::trials());
    trials.extend(locks::trials());
    trials.extend(once::trials());
    let names = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trials.extend(golden::trials(names));
    libtest_mimic::run(&arguments, trials).exit_code()
}
