//! Commands and transactions over several keys are seen whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("increments_are_all_counted", increments),
    ("mset_is_never_torn", mset),
    ("msetnx_sets_all_or_nothing", msetnx),
    ("transfers_keep_the_sum", transfers),
    ("rename_never_loses_the_value", rename),
    ("swapdb_shows_one_database_or_the_other", swaps),
];

/// 64 connections, one key, alone and in pipelines.
fn increments() -> Result<(), Failed> {
    const CLIENTS: usize = 64;
    const EACH: usize = 100;
    let server = server()?;
    all_at_once(&server, CLIENTS, |number, client| {
        // Half of them send all at once, the others wait for each reply.
        let pipelined = if number % 2 == 0 { EACH } else { 1 };
        let mut last = 0;
        for _ in 0..EACH / pipelined {
            for _ in 0..pipelined {
                client.send("INCR n")?;
            }
            for _ in 0..pipelined {
                let value = number_of(&client.receive()?.lines().concat())?;
                check(value > last, || format!("{value} after {last}"))?;
                last = value;
            }
        }
        Ok(())
    })?;
    let sum = CLIENTS * EACH;
    Client::connect(server.port())?.expect("INCRBY n 0", &format!(":{sum}"))
}

fn number_of(line: &str) -> Result<i64, Failed> {
    let digits = line.trim_start_matches(':');
    let number = digits.parse();
    number.map_err(|_| format!("no number: {line}").into())
}

/// The two values of an array of two bulk strings.
fn pair(reply: &[String]) -> Result<[&str; 2], Failed> {
    match reply {
        [_, _, a, _, b] => Ok([a, b]),
        _ => Err(format!("no pair: {reply:?}").into()),
    }
}

/// Of many keys the first and the last, which lie in different shards for one pair or another.
fn mset() -> Result<(), Failed> {
    const PAIRS: usize = 8;
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    let write = |pair: usize, value: &str| {
        let filler: String = (0..30).map(|key| format!(" fill{key} {value}")).collect();
        format!("MSET a{pair} {value}{filler} b{pair} {value}")
    };
    for pair in 0..PAIRS {
        client.expect(&write(pair, "0"), "+OK")?;
    }
    all_at_once(&server, 16, |number, client| {
        for round in 0..200 {
            let key = round % PAIRS;
            if number % 4 == 0 {
                client.expect(&write(key, &format!("{number}-{round}")), "+OK")?;
            } else {
                let lines = client.call_reply(&format!("MGET b{key} a{key}"))?.lines();
                let [b, a] = pair(&lines)?;
                check(a == b, || format!("torn: {a} and {b}"))?;
            }
        }
        Ok(())
    })
    .map(drop)
}

fn msetnx() -> Result<(), Failed> {
    let server = server()?;
    for round in 0..30 {
        let won = all_at_once(&server, 8, |number, client| {
            // Both directions: whoever locked the keys as they stand would wait for ever.
            let keys = if number % 2 == 0 {
                ["x", "y"]
            } else {
                ["y", "x"]
            };
            let [first, second] = keys.map(|key| format!("{key}{round}"));
            client.number(&format!("MSETNX {first} {number} {second} {number}"))
        })?;
        check(won.iter().sum::<i64>() == 1, || format!("{won:?}"))?;
        let winner = won.iter().position(|won| *won == 1).unwrap_or(0);
        Client::connect(server.port())?.expect(
            &format!("MGET x{round} y{round}"),
            &format!("*2 $1 {winner} $1 {winner}"),
        )?;
    }
    Ok(())
}

/// Money goes to and fro; readers by MULTI and by MGET never see any of it on its way.
fn transfers() -> Result<(), Failed> {
    const SUM: i64 = 1_000;
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    client.expect(&format!("MSET from {SUM} to 0"), "+OK")?;
    all_at_once(&server, 12, |number, client| {
        for round in 0..150 {
            let amount = (number * 31 + round * 7) % 50;
            match number % 3 {
                0 => expect_transfer(client, amount, SUM)?,
                1 => {
                    for line in ["MULTI", "MGET from to", "EXEC"] {
                        client.send(line)?;
                    }
                    client.receive()?;
                    client.receive()?;
                    expect_sum(&client.receive()?.lines()[1..], SUM)?;
                }
                _ => expect_sum(&client.call_reply("MGET from to")?.lines(), SUM)?,
            }
        }
        Ok(())
    })?;
    expect_sum(&client.call_reply("MGET from to")?.lines(), SUM)
}

/// One transfer, with work between its halves that gives others time to look.
fn expect_transfer(client: &mut Client, amount: usize, sum: i64) -> Result<(), Failed> {
    const BETWEEN: usize = 50;
    let mut lines = vec!["MULTI".to_owned(), format!("DECRBY from {amount}")];
    lines.extend(std::iter::repeat_n("MGET from to".to_owned(), BETWEEN));
    lines.extend([format!("INCRBY to {amount}"), "EXEC".to_owned()]);
    for line in &lines {
        client.send(line)?;
    }
    for _ in 1..lines.len() {
        client.receive()?;
    }
    let replies = client.receive()?.lines();
    let [from, to] = [1, replies.len() - 1].map(|at| number_of(&replies[at]));
    let seen = from? + to?;
    check(seen == sum, || format!("EXEC saw {seen}"))
}

fn expect_sum(lines: &[String], expected: i64) -> Result<(), Failed> {
    let [from, to] = pair(lines)?;
    let sum = number_of(from)? + number_of(to)?;
    check(sum == expected, || format!("{from} and {to} are {sum}"))
}

/// One value under one of two names, whoever renames it from one to the other meanwhile.
fn rename() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SET ping value", "+OK")?;
    let is_over = AtomicBool::new(false);
    let renamed = all_at_once(&server, 8, |number, client| {
        let mut renamed = 0;
        if number < 4 {
            for _ in 0..300 {
                let line = if number % 2 == 0 {
                    "RENAME ping pong"
                } else {
                    "RENAME pong ping"
                };
                match client.call(line)?.as_str() {
                    "+OK" => renamed += 1,
                    "-ERR no such key" => {}
                    other => return Err(format!("{line}: {other}").into()),
                }
            }
            is_over.store(true, Ordering::Relaxed);
        } else {
            while !is_over.load(Ordering::Relaxed) {
                client.expect("EXISTS ping pong", ":1")?;
                let values = client.call("MGET ping pong")?;
                check(values.matches("value").count() == 1, || values)?;
            }
        }
        Ok(renamed)
    })?;
    let count: usize = renamed.iter().sum();
    check(count > 0, || "nobody renamed anything".into())?;
    client.expect("DBSIZE", ":1")
}

/// Two databases that change places: every command sees one of them, never a mixture.
fn swaps() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    client.expect("MSET a zero b zero", "+OK")?;
    client.expect("SELECT 1", "+OK")?;
    client.expect("MSET a one b one", "+OK")?;
    all_at_once(&server, 8, |number, client| {
        for round in 0..150 {
            if number < 2 {
                client.expect("SWAPDB 0 1", "+OK")?;
            } else if round % 10 == 0 {
                client.expect(&format!("SELECT {}", round % 2), "+OK")?;
            } else {
                let lines = client.call_reply("MGET a b")?.lines();
                let [a, b] = pair(&lines)?;
                check(a == b, || format!("{a} and {b}"))?;
            }
        }
        Ok(())
    })
    .map(drop)
}
