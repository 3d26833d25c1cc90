//! Many clients at once against four workers: what each of them sees must fit one order of all
//! commands, and nothing may hang.
//!
//! Each trial states what holds however the clients interleave; chance chooses only the
//! interleaving.

mod atomic;
mod churn;
mod expiry;
mod limits;
mod pubsub;
mod race;

use std::thread;

use libtest_mimic::{Failed, Trial};

use crate::client::Client;
use crate::process::{Launch, Server};

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("concurrency::atomic", atomic::CASES);
    trials.extend(crate::trials_of("concurrency::race", race::CASES));
    trials.extend(crate::trials_of("concurrency::churn", churn::CASES));
    trials.extend(crate::trials_of("concurrency::expiry", expiry::CASES));
    trials.extend(crate::trials_of("concurrency::limits", limits::CASES));
    trials.extend(crate::trials_of("concurrency::pubsub", pubsub::CASES));
    trials
}

/// A server of four workers, however many cores there are.
fn server() -> Result<Server, String> {
    Launch::on_free_port(&["--io-threads", "4"])?.start()
}

/// Runs `body` once for each number below `count`, all at the same time, each with a connection of
/// its own; the answers in the order of the numbers.
fn all_at_once<T: Send>(
    server: &Server,
    count: usize,
    body: impl Fn(usize, &mut Client) -> Result<T, Failed> + Sync,
) -> Result<Vec<T>, Failed> {
    let port = server.port();
    // All are connected before the first begins.
    let clients = (0..count).map(|_| Client::connect(port));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let body = &body;
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, mut client)| scope.spawn(move || body(number, &mut client)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.map_err(|_| Failed::from("a client panicked"))?
        });
        joined.collect()
    })
}
