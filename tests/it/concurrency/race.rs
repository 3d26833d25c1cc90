//! Races with exactly one winner, or an exact number of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("set_nx_has_one_winner", set_nx),
    ("watched_increments_are_exact", watch),
    ("getdel_hands_out_each_value_once", getdel),
    ("getset_hands_on_each_value_once", getset),
    ("compare_and_delete_has_one_winner", compare_and_delete),
    ("a_watched_key_that_expires_or_is_flushed", watch_disturbed),
];

/// A lock as applications take it today; whoever has it gives it back for the next round.
fn set_nx() -> Result<(), Failed> {
    let server = server()?;
    for round in 0..30 {
        let won = all_at_once(&server, 8, |number, client| {
            let reply = client.call(&format!("SET lock{round} {number} NX PX 60000"))?;
            match reply.as_str() {
                "+OK" => Ok(1),
                "$-1" => Ok(0),
                _ => Err(reply.into()),
            }
        })?;
        check(won.iter().sum::<i32>() == 1, || format!("{won:?}"))?;
        let winner = won.iter().position(|won| *won == 1).unwrap_or(0);
        let mut client = Client::connect(server.port())?;
        client.expect(&format!("GET lock{round}"), &format!("$1 {winner}"))?;
    }
    Ok(())
}

/// Read, add one, write if nobody was faster: as many successes as the counter says.
fn watch() -> Result<(), Failed> {
    let server = server()?;
    Client::connect(server.port())?.expect("SET n 0", "+OK")?;
    let successes = all_at_once(&server, 12, |_, client| {
        let mut successes = 0;
        for _ in 0..100 {
            client.expect("WATCH n", "+OK")?;
            let lines = client.call_reply("GET n")?.lines();
            let next = lines[1].parse::<i64>()? + 1;
            client.expect("MULTI", "+OK")?;
            client.expect(&format!("SET n {next}"), "+QUEUED")?;
            match client.call("EXEC")?.as_str() {
                "*1 +OK" => successes += 1,
                "*-1" => {}
                other => return Err(other.into()),
            }
        }
        Ok(successes)
    })?;
    let count: i64 = successes.iter().sum();
    check(count > 0, || "nobody succeeded".into())?;
    let mut client = Client::connect(server.port())?;
    client.expect("INCRBY n 0", &format!(":{count}"))?;
    client.await_info("total_watched_keys", 0)
}

/// Two put values into a box, eight take them out: each value is taken once.
fn getdel() -> Result<(), Failed> {
    const VALUES: usize = 150;
    const SUM: usize = 2 * VALUES;
    let server = server()?;
    let taken = AtomicUsize::new(0);
    let got = all_at_once(&server, 10, |number, client| {
        let mut got = Vec::new();
        if number < 2 {
            for value in 0..VALUES {
                while client.call(&format!("SET box {number}-{value} NX"))? != "+OK" {}
            }
            return Ok(got);
        }
        while taken.load(Ordering::Relaxed) < SUM {
            if let Some(value) = client.call_reply("GETDEL box")?.lines().get(1) {
                taken.fetch_add(1, Ordering::Relaxed);
                got.push(value.clone());
            }
        }
        Ok(got)
    })?;
    expect_each_once(&got.concat(), SUM)
}

/// Everybody puts in a value of their own and takes the one that was there: a chain without forks.
fn getset() -> Result<(), Failed> {
    const CLIENTS: usize = 8;
    const EACH: usize = 100;
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SET box first", "+OK")?;
    let got = all_at_once(&server, CLIENTS, |number, client| {
        let mut got = Vec::new();
        for round in 0..EACH {
            let line = if round % 2 == 0 {
                format!("GETSET box {number}-{round}")
            } else {
                format!("SET box {number}-{round} GET")
            };
            got.push(client.call_reply(&line)?.lines()[1].clone());
        }
        Ok(got)
    })?;
    let mut all = got.concat();
    all.push(client.call_reply("GET box")?.lines()[1].clone());
    expect_each_once(&all, CLIENTS * EACH + 1)
}

fn expect_each_once(values: &[String], count: usize) -> Result<(), Failed> {
    let distinct: HashSet<&String> = values.iter().collect();
    check(values.len() == count && distinct.len() == count, || {
        let (len, distinct) = (values.len(), distinct.len());
        format!("{len} values, {distinct} distinct ones, not {count}")
    })
}

/// The release of a lock: only who holds it deletes it, and only once.
fn compare_and_delete() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    for round in 0..30 {
        client.expect(&format!("SET lock{round} mine"), "+OK")?;
        let deleted = all_at_once(&server, 8, |number, client| {
            let token = if number < 4 { "mine" } else { "other" };
            client.number(&format!("DELIFEQ lock{round} {token}"))
        })?;
        let (mine, other) = deleted.split_at(4);
        check(
            mine.iter().sum::<i64>() == 1 && other.iter().all(|deleted| *deleted == 0),
            || format!("{deleted:?}"),
        )?;
    }
    client.expect("DBSIZE", ":0")
}

/// Whatever else touches the keys, EXEC after WATCH runs whole or not at all.
fn watch_disturbed() -> Result<(), Failed> {
    let server = server()?;
    all_at_once(&server, 8, |number, client| {
        for round in 0..80 {
            if number < 3 {
                let disturbances = ["FLUSHALL", "SET a x PX 1", "DEL a b", "MSET a x b x"];
                client.call(disturbances[(number + round) % 4])?;
                continue;
            }
            for line in ["WATCH a b", "MULTI", "MSET a y b y", "MGET a b", "EXEC"] {
                client.send(line)?;
            }
            for _ in 0..4 {
                client.receive()?;
            }
            let reply = client.receive()?.lines().join(" ");
            check(reply == "*-1" || reply == "*2 +OK *2 $1 y $1 y", || reply)?;
        }
        Ok(())
    })?;
    Client::connect(server.port())?.await_info("total_watched_keys", 0)
}
