//! Crowds that come at once: one does it, and all others have what came of it.

#![expect(
    clippy::disallowed_methods,
    reason = "how soon a crowd is answered is a matter of real time"
)]

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::Case;
use crate::client::{Client, check};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[
    ("a_stampede_fills_once", stampede),
    ("a_request_is_done_once", request),
    ("who_is_next_goes_and_the_one_behind_is", leavers),
];

const CROWD: usize = 500;
/// For how long the one who fills is at it.
const FILL: Duration = Duration::from_millis(200);

fn server() -> Result<Server, String> {
    Launch::on_free_port(&["--io-threads", "4"])?.start()
}

/// So many clients that have sent a request, before anyone has read an answer.
fn crowd(server: &Server, line: &str) -> Result<Vec<Client>, Failed> {
    let mut clients = (0..CROWD)
        .map(|_| Client::connect(server.port()))
        .collect::<Result<Vec<_>, _>>()?;
    clients
        .iter_mut()
        .try_for_each(|client| client.send(line))?;
    Ok(clients)
}

/// Waits until so many calls wait.
fn await_waiting(client: &mut Client, count: i64) -> Result<(), Failed> {
    client.await_info("coordination_waiters", count)
}

/// 500 connections miss one key at once: one wins, and all others have its value in less than one
/// more refill would take.
fn stampede() -> Result<(), Failed> {
    let server = server()?;
    let mut winner = Client::connect(server.port())?;
    let won = winner.call("CACHE.GET k FILL 60000 WAIT 30000")?;
    let token = won.rsplit(':').next().unwrap_or_default().to_owned();
    check(won.starts_with("*4 $3 WIN $-1 "), || won.clone())?;
    let mut clients = crowd(&server, "CACHE.GET k FILL 60000 WAIT 30000")?;
    std::thread::sleep(FILL);
    winner.expect(&format!("CACHE.SET k v TOKEN {token} PX 600000"), ":1")?;
    let filled = Instant::now();
    for client in &mut clients {
        let told = client.receive()?.lines().join(" ");
        check(told.starts_with("*4 $3 HIT $1 v "), || told.clone())?;
    }
    check(filled.elapsed() < FILL, || {
        format!("the last was told after {:?}", filled.elapsed())
    })
}

/// 500 connections begin one request at once: one is to do it.
fn request() -> Result<(), Failed> {
    let server = server()?;
    let mut clients = crowd(&server, "IDEMP.BEGIN k f PX 600000")?;
    let mut tokens = Vec::new();
    for client in &mut clients {
        let told = client.receive()?.lines().join(" ");
        match told.strip_prefix("*2 $3 NEW :") {
            Some(token) => tokens.push(token.to_owned()),
            None => check(told.starts_with("*2 $4 BUSY :"), || told.clone())?,
        }
    }
    let [token] = &tokens[..] else {
        return Err(format!("NEW was told {} times", tokens.len()).into());
    };
    // All ask again, and wait.
    for client in &mut clients {
        client.send("IDEMP.BEGIN k f PX 600000 WAIT 30000")?;
    }
    std::thread::sleep(FILL);
    let mut doer = Client::connect(server.port())?;
    doer.expect(&format!("IDEMP.DONE k {token} yes PX 600000"), ":1")?;
    for client in &mut clients {
        let told = client.receive()?.lines().join(" ");
        check(told == "*2 $4 DONE $3 yes", || told.clone())?;
    }
    Ok(())
}

/// Those who wait first go while the turn is given back: it comes to the one who stays, at once
/// from whoever had not been told of it, and after its time from whoever had.
fn leavers() -> Result<(), Failed> {
    let server = server()?;
    let mut holder = Client::connect(server.port())?;
    for round in 0..10 {
        let key = format!("k{round}");
        let won = holder.call(&format!("CACHE.GET {key} FILL 600000"))?;
        let token = won.rsplit(':').next().unwrap_or_default().to_owned();
        let mut leavers = Vec::new();
        for count in 1..=10 {
            let mut leaver = Client::connect(server.port())?;
            leaver.send(&format!("CACHE.GET {key} FILL 100 WAIT 60000"))?;
            await_waiting(&mut holder, count)?;
            leavers.push(leaver);
        }
        let mut stays = Client::connect(server.port())?;
        stays.send(&format!("CACHE.GET {key} FILL 600000 WAIT 60000"))?;
        await_waiting(&mut holder, 11)?;
        let leaving = std::thread::spawn(move || drop(leavers));
        holder.expect(&format!("CACHE.ABORT {key} TOKEN {token}"), ":1")?;
        let told = stays.receive()?.lines().join(" ");
        check(told.starts_with("*4 $3 WIN "), || told.clone())?;
        leaving.join().map_err(|_| "a leaver panicked")?;
    }
    Ok(())
}
