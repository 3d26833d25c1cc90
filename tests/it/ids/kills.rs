//! Clients take IDs of every kind while their server is killed and started again: no answer has an
//! ID that another one has, and what a connection is told rises.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;

use super::taken;
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, check};
use crate::durability::{Data, kill, stop};

pub(super) const CASES: &[Case] = &[
    ("no_id_comes_twice_over_kill_9", || {
        twice(&["--appendfsync", "everysec"], true)
    }),
    ("no_id_comes_twice_under_always", || {
        twice(&["--appendfsync", "always"], true)
    }),
    ("no_rising_id_comes_twice_without_a_journal", || {
        twice(&["--appendonly", "no"], false)
    }),
    ("transactions_wait_for_their_ids", transactions),
    ("info_has_what_is_reserved", info),
];

/// Clients, each with a thread and a connection of its own.
const CLIENTS: usize = 8;
/// Lives of the server; `LINCHPIN_CASES` multiplies them.
const LIVES: u32 = 4;
/// How long a life lasts at most, in milliseconds.
const LIFE_MS_MAX: u64 = 500;
/// Kinds that rise; of the others only that none comes twice is promised here.
const RISING: &[&str] = &[
    "ID.NEXT SNOWFLAKE AS HEX COUNT",
    "ID.NEXT UUID7 COUNT",
    "ID.NEXT ULID COUNT",
    "ID.NEXT KSUID COUNT",
];
const CODES: &str = "ID.SHORT codes COUNT";
const RANGE: &str = "ID.RANGE range COUNT";

/// What one client was told, by kind.
#[derive(Default)]
struct Told {
    rising: [Vec<String>; RISING.len()],
    codes: Vec<String>,
    ranges: Vec<(u64, u64)>,
}

/// Takes all kinds in turn until the server is gone. What was told is right, or the trial fails.
fn take(port: u16, number: usize, has_namespaces: bool) -> Result<Told, Failed> {
    let mut told = Told::default();
    let Ok(mut client) = Client::connect(port) else {
        return Ok(told);
    };
    for round in number.. {
        let count = [1, 7, 100, 1_000][round % 4];
        for (at, line) in RISING.iter().enumerate() {
            let Ok(ids) = taken(&mut client, &format!("{line} {count}")) else {
                return Ok(told);
            };
            let last = told.rising[at].last();
            let is_above = last
                .zip(ids.first())
                .is_none_or(|(last, first)| first > last);
            check(is_above && ids.is_sorted_by(|a, b| a < b), || {
                format!("{line}: {ids:?} after {last:?}")
            })?;
            told.rising[at].extend(ids);
        }
        if !has_namespaces {
            continue;
        }
        let Ok(codes) = taken(&mut client, &format!("{CODES} {count}")) else {
            return Ok(told);
        };
        told.codes.extend(codes);
        let Ok(range) = taken(&mut client, &format!("{RANGE} {count}")) else {
            return Ok(told);
        };
        if let [first, last] = &range[..] {
            let number = |word: &String| word.trim_start_matches(':').parse::<u64>();
            let range = (number(first)?, number(last)?);
            let above = told.ranges.last().is_none_or(|(_, last)| range.0 > *last);
            check(above, || {
                format!("{range:?} after {:?}", told.ranges.last())
            })?;
            told.ranges.push(range);
        }
    }
    Ok(told)
}

fn twice(settings: &[&str], has_namespaces: bool) -> Result<(), Failed> {
    let seed = chance::seed();
    let mut dice = Dice::new(seed);
    let data = Data::with(&[settings, &["--io-threads", "2"]].concat())?;
    let (mut ids, mut codes) = (HashSet::new(), HashSet::new());
    let mut ranges = Vec::new();
    for life in 0..LIVES * chance::times() {
        let server = data.start()?;
        let port = server.port();
        let take =
            move |number| move || take(port, number, has_namespaces).map_err(|e| format!("{e:?}"));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| thread::spawn(take(number)))
            .collect();
        thread::sleep(Duration::from_millis(dice.below(LIFE_MS_MAX) + 50));
        // One life in four ends well.
        if life % 4 == 3 {
            stop(server).map(drop)?;
        } else {
            kill(server)?;
        }
        for client in clients {
            let told = client.join().map_err(|_| "a client panicked")??;
            for id in told.rising.into_iter().flatten() {
                check(!ids.contains(&id), || {
                    format!("seed {seed}: {id} came twice")
                })?;
                ids.insert(id);
            }
            for code in told.codes {
                check(!codes.contains(&code), || {
                    format!("seed {seed}: {code} came twice")
                })?;
                codes.insert(code);
            }
            ranges.extend(told.ranges);
        }
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).find(|pair| pair[1].0 <= pair[0].1);
    check(overlap.is_none(), || {
        format!("seed {seed}: {overlap:?} overlap")
    })?;
    check(ids.len() > 10_000, || {
        format!("only {} IDs were given out", ids.len())
    })?;
    check(
        !has_namespaces || codes.len() > 1_000 && ranges.len() > 10,
        || format!("only {} codes and {} ranges", codes.len(), ranges.len()),
    )
}

/// The first ID of a process is asked for inside `MULTI`, where nothing waits.
fn transactions() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    for _ in 0..3 {
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        for line in [
            "MULTI",
            "ID.NEXT SNOWFLAKE COUNT 1",
            "ID.NEXT UUID7 COUNT 1",
            "EXEC",
        ] {
            client.send(line)?;
        }
        for _ in 0..3 {
            client.receive()?;
        }
        let answer = client.receive()?.lines().join(" ");
        check(answer.starts_with("*2 *1 $18 "), || answer.clone())?;
        kill(server)?;
    }
    Ok(())
}

/// What is reserved is told, and a restart begins above it.
fn info() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let first_ms = client.info_field("ids_reserved_until_ms")?;
    client.call("ID.NEXT ULID")?;
    let reserved_ms = client.info_field("ids_reserved_until_ms")?;
    check(reserved_ms > first_ms, || {
        format!("{reserved_ms} ms after {first_ms} ms")
    })?;
    check(client.info_field("ids_waiters")? == 0, || {
        "somebody waits".to_owned()
    })?;
    kill(server)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let text = client.call("ID.NEXT ULID")?;
    let id = text.strip_prefix("$26 ").ok_or_else(|| text.clone())?;
    let parts = client.call(&format!("ID.DECODE ULID {id}"))?;
    let ms = parts.split(' ').nth(1).and_then(|ms| ms.strip_prefix(':'));
    let ms: Option<i64> = ms.and_then(|ms| ms.parse().ok());
    check(ms > Some(reserved_ms), || {
        format!("{parts}, and {reserved_ms} ms were reserved")
    })?;
    kill(server)
}
