//! The integration tests of the server: one binary, every test a named trial.
//!
//! A trial that needs a program this machine has not is listed and `ignored`, never silently
//! passed; `LINCHPIN_REQUIRE=redis-server,node` turns a missing one into a failure (see `need`).
//! `UPDATE=1` and `UPDATE=oracle` rewrite the golden transcripts instead of checking them; the
//! format is described in `tests/golden/README.md`.

mod clients;
mod golden;
mod model;
mod need;
mod process;
mod resp;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = golden::trials();
    trials.extend(clients::trials());
    trials.extend(model::trials());
    trials.extend(resp::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
