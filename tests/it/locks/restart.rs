//! What is held over a kill, a restart, a server that stands still and a clock that steps.

#![expect(
    clippy::disallowed_methods,
    reason = "leases of a process outside end in real time"
)]

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use super::{ask, ask_for, open_session, pause};
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::durability::clocks::Wall;
use crate::durability::{Data, kill, stop};
use crate::need::{self, Program};

pub(super) const CASES: &[Case] = &[
    (
        "decision_12_a_lease_with_50_ms_left_is_extended_after_kill_9",
        extended,
    ),
    ("what_was_granted_survives_kill_9", survives),
    ("what_was_given_back_does_not_return", given_back),
    ("decision_15_fences_rise_over_restarts", fences_rise),
    (
        "decision_12_an_extend_sent_to_a_stopped_server_is_in_time",
        stopped,
    ),
    (
        "decision_12_connections_have_a_grace_to_come_back",
        taken_up,
    ),
];

const POLICIES: [&str; 2] = ["always", "everysec"];
const DAY_S: i64 = 86_400;
/// How long nothing ends after a restart that was given as long.
const LEASE_GRACE: Duration = Duration::from_secs(10);
/// How late a hold may be seen to have ended on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(5);

/// Trials with a wall clock of their own.
pub(super) fn clock_trials() -> Vec<Trial> {
    let name = "locks::restart::no_lease_ends_early_under_clock_steps";
    vec![need::trial(name, &[Program::Faketime], clock_steps)]
}

fn extended() -> Result<(), Failed> {
    for policy in POLICIES {
        let data = Data::new(policy, 2)?;
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        let fence = ask_for(&mut client, "LOCK.ACQUIRE kept me PX 1000", 1)?;
        ask_for(&mut client, "LOCK.ACQUIRE left me PX 1000", 1)?;
        pause(950);
        kill(server)?;
        // Down time does not count, however long.
        pause(1_500);
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        ask_for(&mut client, "LOCK.ACQUIRE kept other PX 1000", 0)?;
        client.expect(&format!("LOCK.EXTEND kept me PX 60000 FENCE {fence}"), ":1")?;
        client.expect(&format!("LOCK.CHECK kept {fence}"), ":1")?;
        // Who does not extend is not held for ever, and the lock is handed on.
        ask_for(&mut client, "LOCK.ACQUIRE left other PX 1000 WAIT 5000", 1)?;
        client.expect("LOCK.EXTEND left me PX 1000", ":0")?;
        client.expect(&format!("LOCK.ASSERT kept {fence}"), "+OK")?;
        kill(server)?;
    }
    Ok(())
}

/// Each is killed right behind the answer that it was told of.
fn survives() -> Result<(), Failed> {
    for policy in POLICIES {
        let data = Data::new(policy, 2)?;
        let mut server = data.start()?;
        let again = |server| -> Result<_, Failed> {
            kill(server)?;
            let server = data.start()?;
            let client = Client::connect(server.port())?;
            Ok((server, client))
        };
        let mut client = Client::connect(server.port())?;
        let sid = open_session(&mut client, "TTL 60000 DELAY 500")?;
        (server, client) = again(server)?;
        let by_session = ask_for(&mut client, &format!("LOCK.ACQUIRE l s SESSION {sid}"), 1)?;
        (server, client) = again(server)?;
        let permits = "SEM.ACQUIRE sem a LIMIT 3 PERMITS 2 PX 60000";
        let of_semaphore = ask_for(&mut client, permits, 1)?;
        (server, client) = again(server)?;
        client.expect("LATCH.SET latch 2 PX 600000", ":1")?;
        client.expect("LATCH.DOWN latch a", ":1")?;
        (server, client) = again(server)?;
        client.expect("SET doc v FENCE 70", "+OK")?;
        (server, client) = again(server)?;
        client.expect("FENCE.SET doc 71", "+OK")?;
        (server, client) = again(server)?;
        client.expect("SET doc old FENCE 70", "-FENCED current fence is 71")?;
        client.expect("GET doc", "$1 v")?;
        // A repeat is known as one, and does nothing.
        let repeat = ask(&mut client, &format!("LOCK.ACQUIRE l s SESSION {sid}"))?;
        check((repeat.status, repeat.fence) == (2, by_session), || {
            format!("{repeat:?}, not {by_session} again")
        })?;
        let repeat = ask(&mut client, permits)?;
        check((repeat.status, repeat.fence) == (2, of_semaphore), || {
            format!("{repeat:?}, not {of_semaphore} again")
        })?;
        check(repeat.third == 1, || format!("{repeat:?}: 1 is free"))?;
        client.expect("LATCH.DOWN latch a", ":1")?;
        client.expect("LATCH.DOWN latch b", ":0")?;
        client.expect(&format!("SESSION.CLOSE {sid}"), ":1")?;
        ask_for(&mut client, "LOCK.ACQUIRE delayed d PX 100 DELAY 60000", 1)?;
        eventually("the lease is over", LATE_MAX, || {
            let answer = ask(&mut client, "LOCK.ACQUIRE delayed e PX 100")?;
            Ok((answer.status == -1).then_some(()))
        })?;
        (server, client) = again(server)?;
        client.expect(
            &format!("SESSION.KEEPALIVE {sid}"),
            "-NOSESSION no such session is open",
        )?;
        let delayed = ask(&mut client, "LOCK.ACQUIRE delayed d PX 100")?;
        check(delayed.status == -1 && delayed.third > 30_000, || {
            format!("{delayed:?}")
        })?;
        drop(client);
        kill(server)?;
    }
    Ok(())
}

/// A release that a later, durable answer follows is not undone by a crash.
fn given_back() -> Result<(), Failed> {
    for policy in POLICIES {
        let data = Data::new(policy, 2)?;
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        let first = ask_for(&mut client, "LOCK.ACQUIRE l a PX 60000", 1)?;
        client.expect("LOCK.RELEASE l a", ":1")?;
        let second = ask_for(&mut client, "LOCK.ACQUIRE l b PX 60000", 1)?;
        kill(server)?;
        let server = data.start()?;
        let mut client = Client::connect(server.port())?;
        client.expect("LOCK.RELEASE l a", ":0")?;
        let stale = format!("-FENCED current fence is {second}");
        client.expect(&format!("LOCK.ASSERT l {first}"), &stale)?;
        client.expect(&format!("LOCK.ASSERT l {second}"), "+OK")?;
        kill(server)?;
    }
    Ok(())
}

fn fences_rise() -> Result<(), Failed> {
    for settings in [
        &["--appendfsync", "always"][..],
        &["--appendfsync", "everysec"],
        &["--appendfsync", "no"],
    ] {
        let data = Data::with(settings)?;
        let mut last = 0;
        for round in 0..6 {
            let server = data.start()?;
            let mut client = Client::connect(server.port())?;
            for key in 0..50 {
                let line = format!("LOCK.ACQUIRE {round}:{key} me PX 60000");
                let fence = ask_for(&mut client, &line, 1)?;
                check(fence > last, || {
                    format!("{settings:?}: {fence} after {last}")
                })?;
                last = fence;
            }
            if round % 2 == 0 {
                kill(server)?;
            } else {
                stop(server)?;
            }
        }
    }
    Ok(())
}

/// Input that lay in the socket while the server stood still is read before anything ends.
fn stopped() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut holder = Client::connect(server.port())?;
    let mut waiter = Client::connect(server.port())?;
    let fence = ask_for(&mut holder, "LOCK.ACQUIRE l me PX 1000", 1)?;
    let sid = open_session(&mut holder, "TTL 1000")?;
    waiter.send("LOCK.ACQUIRE l other PX 1000 WAIT 30000")?;
    pause(200);
    server.signal(Signal::STOP)?;
    pause(4_000);
    holder.send(&format!("LOCK.EXTEND l me PX 1000 FENCE {fence}"))?;
    holder.send(&format!("SESSION.KEEPALIVE {sid}"))?;
    let resumed = Instant::now();
    server.signal(Signal::CONT)?;
    let extended = holder.receive()?.lines().join(" ");
    check(extended == ":1", || format!("LOCK.EXTEND: {extended}"))?;
    let kept = holder.receive()?.lines().join(" ");
    check(kept == ":1000", || format!("SESSION.KEEPALIVE: {kept}"))?;
    // And who waits gets it when that is over, not before.
    let granted = waiter.receive()?.lines().join(" ");
    check(granted.starts_with("*4 :1 "), || granted.clone())?;
    let waited = resumed.elapsed();
    check(waited >= Duration::from_millis(1_000), || {
        format!("handed on {waited:?} after an EXTEND of 1 s")
    })?;
    kill(server)
}

fn taken_up() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let fence = ask_for(&mut client, "LOCK.ACQUIRE kept me CONN", 1)?;
    ask_for(&mut client, "LOCK.ACQUIRE left me CONN", 1)?;
    let sid = open_session(&mut client, "TTL 60000 GRACE 0 BIND")?;
    ask_for(
        &mut client,
        &format!("LOCK.ACQUIRE bound me SESSION {sid}"),
        1,
    )?;
    let before = Instant::now();
    kill(server)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let mut other = Client::connect(server.port())?;
    for key in ["kept", "left", "bound"] {
        ask_for(&mut other, &format!("LOCK.ACQUIRE {key} other PX 1000"), 0)?;
    }
    let again = ask(&mut client, "LOCK.ACQUIRE kept me CONN")?;
    check((again.status, again.fence) == (2, fence), || {
        format!("{again:?}, not {fence} again")
    })?;
    client.expect(&format!("SESSION.BIND {sid}"), "+OK")?;
    let started = Instant::now();
    let free = eventually(
        "the lock of a lost connection",
        LEASE_GRACE + LATE_MAX,
        || {
            let answer = ask(&mut other, "LOCK.ACQUIRE left other PX 60000")?;
            Ok((answer.status == 1).then(|| before.elapsed()))
        },
    )?;
    check(free >= LEASE_GRACE, || format!("free after {free:?}"))?;
    check(started.elapsed() <= LEASE_GRACE + LATE_MAX, || {
        "late".to_owned()
    })?;
    for key in ["kept", "bound"] {
        ask_for(&mut other, &format!("LOCK.ACQUIRE {key} other PX 1000"), 0)?;
    }
    // Taken up, it lives with the new connection.
    drop(client);
    for key in ["kept", "bound"] {
        ask_for(
            &mut other,
            &format!("LOCK.ACQUIRE {key} other PX 1000 WAIT 5000"),
            1,
        )?;
    }
    kill(server)
}

fn clock_steps() -> Result<(), Failed> {
    let (wall, data) = (Wall::new()?, Data::new("everysec", 2)?);
    let server = wall.start(&data)?;
    let mut client = Client::connect(server.port())?;
    let sid = open_session(&mut client, "TTL 60000")?;
    let lease = ask_for(&mut client, "LOCK.ACQUIRE lease me PX 60000", 1)?;
    let line = format!("LOCK.ACQUIRE session me SESSION {sid}");
    let session = ask_for(&mut client, &line, 1)?;
    // A lease begins when it is granted, which is not before it was asked for.
    let asked = Instant::now();
    ask_for(&mut client, "LOCK.ACQUIRE short me PX 1500", 1)?;
    let expect = |client: &mut Client| -> Result<(), Failed> {
        client.expect(&format!("LOCK.CHECK lease {lease}"), ":1")?;
        client.expect(&format!("LOCK.CHECK session {session}"), ":1")?;
        let left_ms = client.number("PTTL lease")?;
        check((1..=60_000).contains(&left_ms), || format!("{left_ms} ms"))
    };
    for ahead_s in [DAY_S, -DAY_S, 0, DAY_S] {
        wall.put(ahead_s)?;
        pause(300);
        expect(&mut client)?;
    }
    // A clock that steps back keeps nothing either.
    wall.put(-DAY_S)?;
    ask_for(&mut client, "LOCK.ACQUIRE short other PX 1000 WAIT 5000", 1)?;
    let passed = asked.elapsed();
    let due = Duration::from_millis(1_500);
    check((due..due + LATE_MAX).contains(&passed), || {
        format!("a lease of {due:?} ended after {passed:?}")
    })?;
    kill(server)?;
    for ahead_s in [DAY_S, -DAY_S, 0] {
        wall.put(ahead_s)?;
        let server = wall.start(&data)?;
        expect(&mut Client::connect(server.port())?)?;
        kill(server)?;
    }
    Ok(())
}
