//! Clients that die in the middle of something: the server keeps nothing of them.

use libtest_mimic::Failed;

use super::GONE_MAX;
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[
    ("at_each_step_of_a_transaction", transaction),
    ("in_the_middle_of_each_step", half_sent),
    ("by_a_reset", reset),
];

/// A transaction as a client sends it, step by step.
const STEPS: &[&str] = &[
    "WATCH a b",
    "GET a",
    "MULTI",
    "INCR a",
    "SET b 2 EX 100",
    "EXEC",
    "WATCH c",
    "UNWATCH",
    "WATCH d",
    "MULTI",
    "GET d",
    "DISCARD",
    "WATCH e",
    "NOSUCHCOMMAND",
    "RESET",
];

fn expect_nothing_left(server: &Server) -> Result<(), Failed> {
    let mut witness = Client::connect(server.port())?;
    let mut left = Vec::new();
    let names = [
        "connected_clients",
        "watching_clients",
        "total_watched_keys",
    ];
    eventually("nothing is left", GONE_MAX, || {
        left.clear();
        for name in names {
            left.push(witness.info_field(name)?);
        }
        Ok((left == [1, 0, 0]).then_some(()))
    })?;
    let panics = witness.info_field("connection_panics")?;
    check(panics == 0, || format!("{panics} panics"))
}

/// Every client sends one step more than the one before it, and goes.
fn transaction() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    for count in 0..=STEPS.len() {
        let mut client = Client::connect(server.port())?;
        for step in &STEPS[..count] {
            client.call(step)?;
        }
        drop(client);
        if count == 6 {
            expect_nothing_left(&server)?;
        }
    }
    expect_nothing_left(&server)?;
    // Those that came as far as EXEC, and no others, have counted.
    let executed = STEPS.len() - 5;
    let mut witness = Client::connect(server.port())?;
    witness.expect("GET a", &format!("$2 {executed}"))
}

/// The last step arrives in part only, and one that is whole is not waited for.
fn half_sent() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    for count in 1..=STEPS.len() {
        let mut client = Client::connect(server.port())?;
        for step in &STEPS[..count - 1] {
            client.send(step)?;
        }
        let bytes = crate::resp::encode(&crate::resp::words(STEPS[count - 1])?);
        client.send_raw(&bytes[..bytes.len() - 3])?;
    }
    expect_nothing_left(&server)
}

/// The kernel resets a connection that is closed over unread replies.
fn reset() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    for count in 1..=STEPS.len() {
        let mut client = Client::connect(server.port())?;
        for step in &STEPS[..count] {
            client.send(step)?;
        }
        client.stream().peek(&mut [0])?;
    }
    expect_nothing_left(&server)
}
