//! Keys with a time to live go by themselves, while the server is busy with others.

use std::time::Duration;

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check, eventually};

pub(super) const CASES: &[Case] = &[
    ("a_hundred_thousand_keys_go_by_themselves", by_themselves),
    ("nobody_sees_a_key_after_its_time", never_late),
];

const CLIENTS: usize = 4;
const KEYS: usize = 100_000;

/// Nobody asks for the keys again: DBSIZE alone does not remove any.
fn by_themselves() -> Result<(), Failed> {
    let server = server()?;
    let mut witness = Client::connect(server.port())?;
    witness.expect("SET stays v", "+OK")?;
    all_at_once(&server, CLIENTS, |number, client| {
        const BATCH: usize = 1_000;
        for batch in 0..KEYS / CLIENTS / BATCH {
            let mut bytes = Vec::new();
            for key in 0..BATCH {
                let (key, ttl_ms) = (batch * BATCH + key, 200 + key % 200);
                // Inline: the quickest to make.
                bytes.extend(format!("SET key{number}-{key} v PX {ttl_ms}\r\n").bytes());
            }
            client.send_raw(&bytes)?;
            for _ in 0..BATCH {
                client.receive()?;
            }
        }
        Ok(())
    })?;
    eventually("all have gone", Duration::from_secs(5), || {
        Ok((witness.number("DBSIZE")? == 1).then_some(()))
    })?;
    let expired = witness.info_field("expired_keys")?;
    check(expired == KEYS as i64, || format!("{expired} expired"))?;
    witness.expect("GET stays", "$1 v")
}

/// A key is either there with time left, or gone; every command agrees.
fn never_late() -> Result<(), Failed> {
    let server = server()?;
    all_at_once(&server, 8, |number, client| {
        for round in 0..30 {
            let key = format!("k{}", number / 2);
            client.call(&format!("SET {key} v PX {}", 1 + round % 5))?;
            for _ in 0..5 {
                for line in ["MULTI", "PTTL", "GET", "EXISTS", "TYPE", "EXEC"] {
                    let has_key = line != "MULTI" && line != "EXEC";
                    let key = if has_key { key.as_str() } else { "" };
                    client.send(&format!("{line} {key}"))?;
                }
                for _ in 0..5 {
                    client.receive()?;
                }
                let lines = client.receive()?.lines();
                let is_there = lines == ["*4", &lines[1], "$1", "v", ":1", "+string"];
                let is_gone = lines == ["*4", ":-2", "$-1", ":0", "+none"];
                check((is_there && !lines[1].starts_with(":-")) || is_gone, || {
                    format!("{lines:?}")
                })?;
            }
        }
        Ok(())
    })?;
    let mut witness = Client::connect(server.port())?;
    eventually("all have gone", Duration::from_secs(5), || {
        Ok((witness.number("DBSIZE")? == 0).then_some(()))
    })
}
