//! Limits and bad input over real sockets: who goes too far is refused or cut, alone, and the
//! server gets back all that it had given.

mod abandoned;
mod bad_input;
mod clients;
mod flood;
mod input;
mod memory;
mod output;
mod unauthenticated;

use std::time::Duration;

use libtest_mimic::Trial;

/// How long the server may take to notice that a client has gone, or to cut one.
const GONE_MAX: Duration = Duration::from_secs(10);

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = bad_input::trials();
    trials.extend(crate::trials_of("limits::clients", clients::CASES));
    trials.extend(crate::trials_of("limits::flood", flood::CASES));
    trials.extend(crate::trials_of("limits::input", input::CASES));
    trials.extend(crate::trials_of("limits::memory", memory::CASES));
    trials.extend(crate::trials_of("limits::output", output::CASES));
    trials.extend(crate::trials_of("limits::abandoned", abandoned::CASES));
    trials.extend(crate::trials_of(
        "limits::unauthenticated",
        unauthenticated::CASES,
    ));
    trials.push(unauthenticated::denied_trial());
    trials
}
