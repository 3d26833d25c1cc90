//! Clients that go, and a server that stops, while a call waits for the disk: neither is held up.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server may take to notice is real time"
)]

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use super::{Data, STOP_MAX, faults, kill};
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::need::{self, Program};
use crate::process::Server;

pub(super) const CASES: &[Case] = &[
    ("a_client_that_goes_is_noticed", gone),
    ("who_has_finished_sending_is_answered", half_open),
    ("a_stop_answers_what_is_the_case", stop_while_waiting),
];
const SLOW: &[Case] = &[("a_client_that_goes_on_a_slow_disk", gone_while_behind)];

/// It waits for copies that nobody makes.
const FOR_EVER: &str = "WAITAOF 0 1 0";
/// A client that has gone is noticed sooner than this.
const GONE_MAX: Duration = Duration::from_secs(2);
/// A stop that nothing keeps from ending takes less than this.
const PROMPT_STOP: Duration = Duration::from_millis(2_500);
/// How long each sync of the slow disk takes.
const SLOW_US: u32 = 4_000_000;

/// The trials that need a disk that is slow.
pub(super) fn slow_trials() -> Vec<Trial> {
    let trial = |(name, body): &Case| {
        let name = format!("durability::parked::{name}");
        need::trial(&name, &[Program::Strace], *body)
    };
    SLOW.iter().map(trial).collect()
}

fn expect_alone(server: &Server, what: &str) -> Result<(), Failed> {
    let mut witness = Client::connect(server.port())?;
    eventually(what, GONE_MAX, || {
        // Of keys it would tell only when the disk has them.
        let clients = witness.call("INFO clients")?;
        Ok(clients.contains("connected_clients:1\\r").then_some(()))
    })
}

fn gone() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    for (what, behind) in [("nothing", ""), ("a request", "PING"), ("two", "SET k v")] {
        let mut client = Client::connect(server.port())?;
        client.expect("SET k v", "+OK")?;
        client.send(FOR_EVER)?;
        if !behind.is_empty() {
            client.send(behind)?;
        }
        // It has begun to wait before it goes.
        let mut witness = Client::connect(server.port())?;
        witness.await_info("connected_clients", 2)?;
        std::thread::sleep(Duration::from_millis(50));
        drop((client, witness));
        expect_alone(&server, &format!("who left {what} behind has gone"))?;
    }
    kill(server)
}

/// What the server brings about by itself is told to a client that only reads on.
fn half_open() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    for line in [
        "SET k v",
        "WAITAOF 1 0 0",
        "SAVE",
        "WAITAOF 0 1 300",
        "GET k",
    ] {
        client.send(line)?;
    }
    client.finish_sending()?;
    let replies = client.replies_to_end()?;
    let lines: Vec<_> = replies
        .iter()
        .map(|reply| reply.lines().join(" "))
        .collect();
    let expected = ["+OK", "*2 :1 :0", "+OK", "*2 :1 :0", "$1 v"];
    check(lines == expected, || format!("{lines:?}"))?;
    kill(server)
}

fn stop_while_waiting() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let mut server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SET k v", "+OK")?;
    client.send(FOR_EVER)?;
    client.send("GET k")?;
    std::thread::sleep(Duration::from_millis(50));
    let told = Instant::now();
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(STOP_MAX)?;
    let took = told.elapsed();
    check(exit.code == Some(0) && took < PROMPT_STOP, || {
        format!("after {took:?}: {exit:?}")
    })?;
    let replies = client.replies_to_end()?;
    let lines: Vec<_> = replies
        .iter()
        .map(|reply| reply.lines().join(" "))
        .collect();
    check(lines == ["*2 :1 :0", "$1 v"], || format!("{lines:?}"))
}

/// A write that waits for the journal to come on before it runs is given up with its client.
fn gone_while_behind() -> Result<(), Failed> {
    let mut data = Data::new("always", 2)?;
    let limit = ["--journal-backlog-limit", "1mb"].map(str::to_owned);
    data.settings.extend(limit);
    let server = faults::start(&data, "fdatasync", &format!("delay_enter={SLOW_US}"))?;
    let started = Instant::now();
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = Client::connect(server.port())?;
        for part in 0..4 {
            client.send(&format!("SET k{number}{part} \"\\*400000{{v}}\""))?;
        }
        clients.push(client);
    }
    std::thread::sleep(Duration::from_millis(300));
    for client in &clients {
        // Unread or not, nothing more is taken: the end of it is a reset.
        socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO))?;
    }
    drop(clients);
    expect_alone(&server, "who waited for the disk has gone")?;
    let took = started.elapsed();
    check(took < Duration::from_micros(u64::from(SLOW_US)), || {
        format!("after {took:?}, when the disk had come on")
    })?;
    kill(server)
}
