//! Clients take IDs of every kind while their server is killed and started again: no answer has an
//! ID that another one has, and what a connection is told rises.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::taken;
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, check};
use crate::durability::crash::strace;
use crate::durability::{Data, kill, stop};
use crate::need::{self, Program};

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

/// The trials that need another program.
pub(super) fn trials() -> Vec<Trial> {
    let name = "ids::kills::no_id_comes_twice_killed_at_any_call";
    vec![need::trial(name, &[Program::Strace], at_calls)]
}

/// Clients, each with a thread and a connection of its own.
const CLIENTS: usize = 8;
/// Lives of the server; `LINCHPIN_CASES` multiplies them.
const LIVES: u32 = 4;
/// It is killed at one of its first calls of a kind, up to this.
const CALLS_MAX: u64 = 6;
/// How long a server may live that waits for that call.
const TRACED_LIFE_MAX: Duration = Duration::from_secs(4);
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

/// What everybody was told, of all lives of a server.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    codes: HashSet<String>,
    ranges: Vec<(u64, u64)>,
}

impl Seen {
    fn add(&mut self, told: Told) -> Result<(), Failed> {
        for id in told.rising.into_iter().flatten() {
            check(!self.ids.contains(&id), || format!("{id} came twice"))?;
            self.ids.insert(id);
        }
        for code in told.codes {
            check(!self.codes.contains(&code), || format!("{code} came twice"))?;
            self.codes.insert(code);
        }
        self.ranges.extend(told.ranges);
        Ok(())
    }

    fn check_ranges(&mut self) -> Result<(), Failed> {
        self.ranges.sort_unstable();
        let overlap = self.ranges.windows(2).find(|pair| pair[1].0 <= pair[0].1);
        check(overlap.is_none(), || format!("{overlap:?} overlap"))
    }
}

/// Runs `end` while clients take IDs of the server at this port until it is gone.
fn take_during<R>(
    port: u16,
    has_namespaces: bool,
    seen: &mut Seen,
    end: impl FnOnce() -> Result<R, Failed>,
) -> Result<R, Failed> {
    let take =
        move |number| move || take(port, number, has_namespaces).map_err(|e| format!("{e:?}"));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| thread::spawn(take(number)))
        .collect();
    let result = end()?;
    for client in clients {
        seen.add(client.join().map_err(|_| "a client panicked")??)?;
    }
    Ok(result)
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
    let mut dice = Dice::new(chance::seed());
    let data = Data::with(&[settings, &["--io-threads", "2"]].concat())?;
    let mut seen = Seen::default();
    for life in 0..LIVES * chance::times() {
        let server = data.start()?;
        take_during(server.port(), has_namespaces, &mut seen, || {
            thread::sleep(Duration::from_millis(dice.below(LIFE_MS_MAX) + 50));
            // One life in four ends well.
            if life % 4 == 3 {
                stop(server).map(drop)
            } else {
                kill(server)
            }
        })?;
    }
    seen.check_ranges()?;
    let Seen { ids, codes, ranges } = seen;
    check(ids.len() > 10_000, || {
        format!("only {} IDs were given out", ids.len())
    })?;
    check(
        !has_namespaces || codes.len() > 1_000 && ranges.len() > 10,
        || format!("only {} codes and {} ranges", codes.len(), ranges.len()),
    )
}

/// The server is killed at one of its first calls of a kind: those that write, sync and rename what
/// reserves ticks and numbers. What it told before does not come again.
fn at_calls() -> Result<(), Failed> {
    let mut dice = Dice::new(chance::seed());
    let data = Data::new("everysec", 2)?;
    let mut seen = Seen::default();
    let mut killed = 0;
    for _ in 0..chance::times() {
        for call in ["pwrite64", "fdatasync", "fsync", "renameat"] {
            let nth = 1 + dice.below(CALLS_MAX);
            let words = strace(call, &format!("signal=KILL:when={nth}"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Ok(mut server) = data.launch(&[])?.under(&words).start_or_end()? {
                take_during(server.port(), true, &mut seen, || {
                    match server.exit_within(TRACED_LIFE_MAX) {
                        Ok(_) => killed += 1,
                        Err(_) => kill(server)?,
                    }
                    Ok(())
                })?;
            }
            let server = data.start()?;
            take_during(server.port(), true, &mut seen, || {
                thread::sleep(Duration::from_millis(LIFE_MS_MAX));
                kill(server)
            })?;
            seen.check_ranges()
                .map_err(|error| format!("{call} {nth}: {error:?}"))?;
        }
    }
    check(killed > 0, || "no call killed the server".to_owned())
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
