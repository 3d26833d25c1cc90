//! The server binary from its start to its end: what it prints, takes, refuses, logs and obeys.

mod announce;
mod check;
mod log;
mod refuse;
mod reload;
mod settings;
mod stop;
mod unix_socket;

use libtest_mimic::Trial;

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("start::announce", announce::CASES);
    trials.extend(crate::trials_of("start::settings", settings::CASES));
    trials.extend(crate::trials_of("start::refuse", refuse::CASES));
    trials.extend(crate::trials_of("start::unix_socket", unix_socket::CASES));
    trials.extend(crate::trials_of("start::stop", stop::CASES));
    trials.extend(crate::trials_of("start::reload", reload::CASES));
    trials.extend(crate::trials_of("start::log", log::CASES));
    trials.extend(crate::trials_of("start::check", check::CASES));
    trials
}
