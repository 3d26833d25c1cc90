//! A disk that takes its time, or nothing at all: what is held back meanwhile stays bounded, who
//! waits is told in the end, and what was acknowledged is there.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a disk takes is real time"
)]

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use super::crash::strace;
use super::{Data, faults, kill, loaded, writers};
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, check, eventually};
use crate::need::{self, Program};

const CASES: &[Case] = &[
    ("a_disk_that_takes_nothing_is_told_of", told_unknown),
    ("input_pauses_while_much_output_is_held", input_pauses),
    ("a_write_of_no_byte_ends_it", writes_nothing),
    ("killed_in_the_midst_of_slow_syncs", killed_while_slow),
];

/// Replies wait so long for a disk that takes nothing.
const UNKNOWN_AFTER: Duration = Duration::from_secs(30);
/// They are given up within so much more.
const UNKNOWN_LATE_MAX: Duration = Duration::from_secs(3);
/// How long each sync takes where much is held back.
const HELD_US: u32 = 2_000_000;
/// Output that is held back, beyond which no input is read.
const HELD_BYTES_MAX: usize = 1 << 20;
const VALUE_BYTES: usize = 64 << 10;
const READS: usize = 200;
/// Requests that are run in one go, whatever they answer.
const READS_AT_ONCE: usize = 32;
/// How often a server with slow syncs is killed in a usual run, and how long each takes.
const SLOW_POINTS: u32 = 4;
const SLOW_US: u32 = 60_000;

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let trial = |(name, body): &Case| {
        let name = format!("durability::stalls::{name}");
        need::trial(&name, &[Program::Strace], *body)
    };
    CASES.iter().map(trial).collect()
}

/// From some write on there is no room for any, on a file system that cannot reserve: whoever waits
/// is told that nobody knows, and the server goes on.
fn told_unknown() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let mut words = strace("pwrite64", "error=ENOSPC:when=40+");
    words[6] = "--trace=pwrite64,fallocate".to_owned();
    words.push("--inject=fallocate:error=EOPNOTSUPP".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let server = loaded(data.launch(&[])?.under(&words).start()?)?;
    let mut client = Client::connect(server.port())?;
    let patience = Some(UNKNOWN_AFTER + UNKNOWN_LATE_MAX);
    client.stream().set_read_timeout(patience)?;
    let mut acked = 0;
    let (asked, told) = loop {
        let asked = Instant::now();
        // The second waits behind the first, whatever it asks.
        client.send("INCR count")?;
        client.send("ECHO behind")?;
        let reply = client.receive()?.lines().join(" ");
        if reply != format!(":{}", acked + 1) {
            break (asked, reply);
        }
        acked += 1;
        client.receive()?;
        check(acked < 200, || "every write found room".to_owned())?;
    };
    let expected =
        "-UNKNOWN the disk did not take this in time: it may be done or not after a restart";
    let took = asked.elapsed();
    let is_in_time = took >= UNKNOWN_AFTER && took < UNKNOWN_AFTER + UNKNOWN_LATE_MAX;
    check(told == expected && is_in_time, || {
        format!("{told}, after {took:?}")
    })?;
    let behind = client.receive()?.lines().join(" ");
    check(behind == expected || behind == "$6 behind", || {
        behind.clone()
    })?;
    client.expect("PING", "+PONG")?;
    kill(server)?;
    let server = data.start()?;
    let count = Client::connect(server.port())?.number("INCRBY count 0")?;
    check(count == acked || count == acked + 1, || {
        format!("{count} of {acked} that were acknowledged")
    })
}

/// Behind a write that the disk does not have yet, reads run until 1 MiB of replies is held back;
/// the rest is not read before some of them could be sent.
fn input_pauses() -> Result<(), Failed> {
    let data = Data::new("always", 2)?;
    let server = faults::start(&data, "fdatasync", &format!("delay_enter={HELD_US}"))?;
    let mut client = Client::connect(server.port())?;
    client.expect(&format!("SET large \"\\*{VALUE_BYTES}{{v}}\""), "+OK")?;
    let asked = Instant::now();
    client.send("SET small v")?;
    (0..READS).try_for_each(|_| client.send("GET large"))?;
    let mut witness = Client::connect(server.port())?;
    let enough = HELD_BYTES_MAX / VALUE_BYTES;
    let calls = eventually("1 MiB is held back", Duration::from_secs(1), || {
        let calls = calls_of_get(&mut witness)?;
        Ok((calls >= enough).then_some(calls))
    })?;
    std::thread::sleep(Duration::from_millis(300));
    let later = calls_of_get(&mut witness)?;
    let took = asked.elapsed();
    check(took < Duration::from_micros(u64::from(HELD_US)), || {
        format!("it took {took:?} to look")
    })?;
    check(later <= enough + READS_AT_ONCE, || {
        format!("{calls} reads ran, then {later}")
    })?;
    let written = client.receive()?.lines().join(" ");
    check(written == "+OK", || written.clone())?;
    for _ in 0..READS {
        let reply = client.receive()?;
        let len = reply.lines().join(" ").len();
        check(len > VALUE_BYTES, || format!("{len} bytes"))?;
    }
    kill(server)
}

/// How many GETs have run.
fn calls_of_get(witness: &mut Client) -> Result<usize, Failed> {
    let stats = witness.call("INFO commandstats")?;
    let calls = stats
        .split("cmdstat_get:calls=")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    Ok(calls.map_or(Ok(0), str::parse)?)
}

/// A write that took nothing and told of no error is no write.
fn writes_nothing() -> Result<(), Failed> {
    for policy in ["always", "everysec"] {
        let data = Data::new(policy, 2)?;
        let mut writers = writers::crew(4, 10, 8);
        let mut server = faults::start(&data, "pwrite64", "retval=0:when=60")?;
        let port = server.port();
        let end_max = Duration::from_secs(20);
        let exit = writers::write_during(&mut writers, port, || Ok(server.exit_within(end_max)?))?;
        check(exit.code == Some(70), || format!("{exit:?}"))?;
        for _ in 0..2 {
            let server = data.start()?;
            writers::settle(&mut writers, server.port())?;
            kill(server)?;
        }
    }
    Ok(())
}

/// Whatever a slow sync has in hand when the end comes, what was acknowledged is there.
fn killed_while_slow() -> Result<(), Failed> {
    let seed = chance::seed();
    let mut dice = Dice::new(seed);
    for policy in ["always", "everysec"] {
        let data = Data::new(policy, 2)?;
        let mut writers = writers::crew(4, 10, 8);
        for _ in 0..SLOW_POINTS * chance::times() {
            let slow = format!("delay_enter={SLOW_US}");
            let server = faults::start(&data, "fdatasync", &slow)?;
            writers::settle(&mut writers, server.port())?;
            let life_ms = 100 + dice.below(300);
            writers::write_during(&mut writers, server.port(), || {
                std::thread::sleep(Duration::from_millis(life_ms));
                server.signal(Signal::KILL)?;
                Ok(())
            })?;
        }
        let server = data.start()?;
        writers::settle(&mut writers, server.port())
            .map_err(|error| format!("LINCHPIN_SEED={seed}: {}", error.message().unwrap_or("")))?;
        check(writers::acked(&writers) > 0, || {
            "nothing was written".to_owned()
        })?;
        kill(server)?;
    }
    Ok(())
}
