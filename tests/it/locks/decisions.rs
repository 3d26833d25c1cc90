//! What decisions about locks promise and no transcript can show, for it takes a disk that is slow
//! or another start. `docs/testing.md` lists each decision with what shows it.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server waits for its disk is real time"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use socket2::SockRef;

use super::{ask, ask_for, open_session};
use crate::Case;
use crate::client::{Client, REPLY_MAX, check, eventually};
use crate::durability::{Data, faults, kill, stop};
use crate::need::{self, Program};
use crate::process::Launch;

pub(super) const CASES: &[Case] = &[
    ("decision_15_fences_rise_without_a_journal", no_journal),
    ("decision_15_a_new_directory_begins_high", new_directory),
    ("decision_32_input_of_the_dead_is_not_executed", dead_input),
];
const SLOW_CASES: &[Case] = &[
    ("decision_06_over_before_it_is_told_is_not_granted", over),
    ("decision_14_what_was_granted_is_on_the_disk", durable),
];

/// How long each sync takes on the slow disk.
const SLOW: Duration = Duration::from_millis(600);

/// The trials that need a disk that is slow.
pub(super) fn slow_trials() -> Vec<Trial> {
    let trial = |(name, body): &Case| {
        let name = format!("locks::decisions::{name}");
        need::trial(&name, &[Program::Strace], *body)
    };
    SLOW_CASES.iter().map(trial).collect()
}

fn slow_server(data: &Data) -> Result<crate::process::Server, Failed> {
    faults::start(
        data,
        "fdatasync",
        &format!("delay_enter={}", SLOW.as_micros()),
    )
}

/// The lease begins with the grant, and the disk has the grant when the lease is over: whoever
/// asked is told that there is none, and the lock is free.
fn over() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = slow_server(&data)?;
    let mut client = Client::connect(server.port())?;
    for _ in 0..2 {
        ask_for(&mut client, "LOCK.ACQUIRE short me PX 100", 0)?;
        client.expect("EXISTS short", ":0")?;
        let long = ask(&mut client, "LOCK.ACQUIRE long me PX 60000")?;
        // What is left is told as it is when the reply leaves.
        let left_max = 60_000 - i64::try_from(SLOW.as_millis())?;
        check(long.status == 1 && long.third <= left_max, || {
            format!("{long:?}")
        })?;
        client.expect("LOCK.RELEASE long me", ":1")?;
    }
    kill(server)
}

/// Whatever `appendfsync` says, each is answered by a sync that began no sooner than it was asked.
fn durable() -> Result<(), Failed> {
    let data = Data::new("no", 2)?;
    let server = slow_server(&data)?;
    let mut admin = Client::connect(server.port())?;
    let sid = open_session(&mut admin, "TTL 600000")?;
    ask_for(&mut admin, "LOCK.ACQUIRE kept me PX 600000", 1)?;
    ask_for(&mut admin, "LOCK.ACQUIRE broken me PX 600000", 1)?;
    ask_for(&mut admin, "SEM.ACQUIRE sem me LIMIT 3 PX 600000", 1)?;
    admin.expect("LATCH.SET latch 3", ":1")?;
    let calls = [
        "LOCK.ACQUIRE new me PX 600000".to_owned(),
        "LOCK.ACQUIRE kept me PX 700000".to_owned(),
        "LOCK.EXTEND kept me PX 800000".to_owned(),
        "LOCK.MACQUIRE 2 more most me PX 600000".to_owned(),
        "SEM.ACQUIRE sem other LIMIT 3 PX 600000".to_owned(),
        "SEM.RESIZE sem 4".to_owned(),
        "LATCH.SET another 3".to_owned(),
        "LATCH.DOWN latch me".to_owned(),
        "BARRIER.AWAIT barrier 1 me WAIT 0".to_owned(),
        "SESSION.OPEN TTL 600000".to_owned(),
        format!("SESSION.KEEPALIVE {sid}"),
        format!("SESSION.BIND {sid}"),
        format!("SESSION.CLOSE {sid}"),
        "LOCK.BREAK broken".to_owned(),
        "FENCE.SET mark 3".to_owned(),
        "SET marked v FENCE 3".to_owned(),
    ];
    for line in &calls {
        let asked = Instant::now();
        let told = admin.call(line)?;
        let took = asked.elapsed();
        check(!told.starts_with('-'), || format!("{line}: {told}"))?;
        check(took >= SLOW, || format!("{line}: {told} after {took:?}"))?;
    }
    // A release waits for no sync here, and neither does a refusal of what the disk has.
    for line in [
        "LOCK.RELEASE kept me",
        "LOCK.RELEASE kept me",
        "SEM.RELEASE sem me",
    ] {
        let asked = Instant::now();
        let told = admin.call(line)?;
        let took = asked.elapsed();
        check(took < SLOW, || format!("{line}: {told} after {took:?}"))?;
    }
    kill(server)
}

/// The high-water mark is in the identity file, ahead of what was given out.
fn no_journal() -> Result<(), Failed> {
    let data = Data::with(&["--appendonly", "no", "--save", ""])?;
    let mut last = 0;
    for round in 0..6 {
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        for _ in 0..50 {
            let fence = ask_for(&mut client, "LOCK.ACQUIRE l me PX 60000", 1)?;
            check(fence > last, || {
                format!("{fence} after {last}, round {round}")
            })?;
            last = fence;
            client.expect("LOCK.RELEASE l me", ":1")?;
        }
        client.expect("FLUSHALL", "+OK")?;
        if round % 2 == 0 {
            kill(server)?;
        } else {
            stop(server)?;
        }
    }
    Ok(())
}

/// Where a directory was lost, or never kept, the next one begins above all that a server can have
/// given out until now: 2^20 for each second.
fn new_directory() -> Result<(), Failed> {
    for settings in [&["--appendonly", "no"][..], &["--appendonly", "yes"]] {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let begin = i64::try_from(since.as_secs() << 20)?;
        let data = Data::with(settings)?;
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        let fence = ask_for(&mut client, "LOCK.ACQUIRE l me PX 60000", 1)?;
        let end = begin + (i64::try_from(REPLY_MAX.as_secs())? << 20);
        check((begin..end).contains(&fence), || {
            format!("{settings:?}: {fence}, not {begin} or a little more")
        })?;
        kill(server)?;
    }
    Ok(())
}

/// Behind a call that waits stands another one. When its connection dies, neither comes about.
fn dead_input() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    let mut admin = Client::connect(server.port())?;
    ask_for(&mut admin, "LOCK.ACQUIRE l holder PX 600000", 1)?;
    for is_killed in [false, true] {
        let mut dead = Client::connect(server.port())?;
        dead.send("LOCK.ACQUIRE l dead PX 600000 WAIT 600000")?;
        dead.send("SET after v")?;
        dead.send("LOCK.RELEASE l holder")?;
        eventually("it waits", REPLY_MAX, || {
            let info = admin.call("LOCK.INFO l")?;
            Ok(info.contains("waiters *1").then_some(()))
        })?;
        if is_killed {
            let address = dead.stream().local_addr()?;
            admin.expect(&format!("CLIENT KILL ADDR {address}"), ":1")?;
        } else {
            SockRef::from(dead.stream()).set_linger(Some(Duration::ZERO))?;
        }
        drop(dead);
        admin.await_info("connected_clients", 1)?;
        admin.expect("EXISTS after", ":0")?;
        let refused = ask(&mut admin, "LOCK.ACQUIRE l other PX 1000")?;
        check(refused.status == 0, || format!("{refused:?}"))?;
    }
    Ok(())
}
