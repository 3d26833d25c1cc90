//! What one of many does for all: turns to fill a cache, requests that are done once, limits, and
//! compare-and-set, seen from outside: real processes, real sockets, a real disk.

mod crowds;
mod histories;
mod model;

use libtest_mimic::Trial;

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("once::crowds", crowds::CASES);
    trials.extend(crate::trials_of("once::histories", histories::CASES));
    trials
}
