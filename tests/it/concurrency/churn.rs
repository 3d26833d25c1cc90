//! Everything at once: walks over a keyspace that changes, whole-keyspace commands amid writers,
//! connections that come and are killed. Nothing hangs, nothing is lost, nothing remains.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("scan_returns_every_stable_key", scan),
    ("whole_keyspace_commands_among_writers", whole_keyspace),
    ("kill_storm", kill_storm),
];

const STABLE: usize = 500;

/// Keys that are there from the first step of a walk to its last are in it, whatever comes and
/// goes around them.
fn scan() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    for key in 0..STABLE {
        client.expect(&format!("SET stable{key} v"), "+OK")?;
    }
    let is_over = AtomicBool::new(false);
    all_at_once(&server, 6, |number, client| {
        if number < 3 {
            for round in 0..6 {
                expect_stable_keys(client, if round % 2 == 0 { 10 } else { 100 })?;
            }
            is_over.store(true, Ordering::Relaxed);
            return Ok(());
        }
        // The tables grow and shrink many times over.
        let mut round = 0;
        while !is_over.load(Ordering::Relaxed) {
            for command in ["SET", "DEL"] {
                for key in 0..1_000 {
                    let value = if command == "SET" { "v" } else { "" };
                    client.send(&format!("{command} churn{number}-{round}-{key} {value}"))?;
                }
                for _ in 0..1_000 {
                    client.receive()?;
                }
            }
            round += 1;
        }
        Ok(())
    })
    .map(drop)
}

fn expect_stable_keys(client: &mut Client, count: usize) -> Result<(), Failed> {
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let lines = client
            .call_reply(&format!("SCAN {cursor} COUNT {count}"))?
            .lines();
        // *2, the cursor, *n, the keys: each bulk string is a line of its length and one of bytes.
        cursor.clone_from(&lines[2]);
        let keys = lines[4..].iter().skip(1).step_by(2);
        seen.extend(keys.filter(|key| key.starts_with("stable")).cloned());
        if cursor == "0" {
            break;
        }
    }
    check(seen.len() == STABLE, || format!("{} keys", seen.len()))
}

/// Commands that need the keyspace to themselves, amid those that share it. Each reply comes in
/// time, and at the end the counts agree.
fn whole_keyspace() -> Result<(), Failed> {
    let server = server()?;
    all_at_once(&server, 16, |number, client| {
        for round in 0..60 {
            let line = match (number, round % 4) {
                (0, 0) => "FLUSHALL".to_owned(),
                (0, _) => "FLUSHDB ASYNC".to_owned(),
                (1, _) => "SWAPDB 0 1".to_owned(),
                (2, _) => "DBSIZE".to_owned(),
                (3, 0) => "KEYS *".to_owned(),
                (3, _) => "RANDOMKEY".to_owned(),
                (4, _) => "INFO everything".to_owned(),
                (5, 0) => "CONFIG SET hz 100".to_owned(),
                (5, _) => "CLIENT LIST".to_owned(),
                (6..8, _) => {
                    for line in ["MULTI", "INCR a", "SWAPDB 0 1", "MSET b 1 c 2", "DBSIZE"] {
                        client.call(line)?;
                    }
                    "EXEC".to_owned()
                }
                (8, _) => format!("COPY k{round} copy{round} REPLACE"),
                (9, _) => format!("MOVE k{round} 1"),
                _ => {
                    for key in 0..20 {
                        client.send(&format!("MSET k{key} v l{key} v m{number} {round}"))?;
                    }
                    for _ in 0..20 {
                        client.receive()?;
                    }
                    "DEL k1 k2 k3 l1 l2 l3".to_owned()
                }
            };
            let reply = client.call(&line)?;
            check(!reply.starts_with('-'), || format!("{line}: {reply}"))?;
        }
        Ok(())
    })?;
    let mut client = Client::connect(server.port())?;
    let size = client.number("DBSIZE")?;
    let keys = client.call_reply("KEYS *")?.lines().len();
    check(keys as i64 == 2 * size + 1, || {
        format!("{size} keys, {keys} lines")
    })?;
    client.expect("FLUSHALL", "+OK")?;
    client.expect("DBSIZE", ":0")?;
    client.await_info("connected_clients", 1)
}

/// Clients kill each other while they work, and connect anew. None waits for ever, and in the end
/// only the witness is left.
fn kill_storm() -> Result<(), Failed> {
    let server = server()?;
    let port = server.port();
    let kills = all_at_once(&server, 10, |number, client| {
        let mut killed = 0;
        for round in 0..40 {
            let line = if number < 2 && round % 2 == 0 {
                "CLIENT KILL TYPE normal"
            } else {
                "INCR n"
            };
            client.send("WATCH n")?;
            let replies = [client.receive(), {
                // The connection may have gone between the two.
                let _ = client.send(line);
                client.receive()
            }];
            if replies.iter().any(Result::is_err) {
                killed += 1;
                *client = Client::connect(port)?;
            }
        }
        Ok(killed)
    })?;
    let count: usize = kills.iter().sum();
    check(count > 0, || "nobody was killed".into())?;
    let mut witness = Client::connect(port)?;
    witness.await_info("connected_clients", 1)?;
    witness.await_info("watching_clients", 0)?;
    witness.await_info("total_watched_keys", 0)?;
    witness.await_info("connection_panics", 0)
}
