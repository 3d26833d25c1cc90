//! A stop in the middle of writers.

use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::{Data, STOP_MAX, kill, writers};
use crate::Case;
use crate::client::check;

pub(super) const CASES: &[Case] = &[
    ("sigterm_among_writers", || end_among_writers(Signal::TERM)),
    ("kill_9_among_writers", || end_among_writers(Signal::KILL)),
];

const POLICIES: [&str; 3] = ["always", "everysec", "no"];
/// Servers one after another on one directory.
const ROUNDS: u64 = 4;

/// Whoever was told that it is done finds it done, however the server ended; a stop that was asked
/// for ends well, and in time.
fn end_among_writers(signal: Signal) -> Result<(), Failed> {
    for policy in POLICIES {
        for workers in [1, 4] {
            let data = Data::new(policy, workers)?;
            let mut writers = writers::crew(6, 100, 20);
            for round in 0..ROUNDS {
                let mut server = data.start()?;
                writers::settle(&mut writers, server.port())?;
                let port = server.port();
                let exit = writers::write_during(&mut writers, port, || {
                    std::thread::sleep(Duration::from_millis(40 * (round + 1)));
                    server.signal(signal)?;
                    Ok(server.exit_within(STOP_MAX)?)
                })?;
                let code = (signal == Signal::TERM).then_some(0);
                check(exit.code == code, || format!("{exit:?}"))?;
            }
            // A busy machine may have had no time for it in one of them.
            let acked = writers::acked(&writers);
            check(acked > 0, || "nothing was written".to_owned())?;
            let server = data.start()?;
            writers::settle(&mut writers, server.port())?;
            kill(server)?;
        }
    }
    Ok(())
}
