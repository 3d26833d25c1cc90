//! Self-cleaning over sockets: of very many short-lived names, of owners that crashed and of calls
//! that were abandoned nothing is left, neither in counters nor in memory.
//!
//! The coordinator by itself is shown the same of a million names, in
//! `src/engine/coordinator/crowd.rs`.

use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use socket2::SockRef;

use super::{ask, open_session};
use crate::Case;
use crate::chance;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[("nothing_is_left_of_crowds_that_are_gone", crowds)];

/// Crowds that come one after the other; the first shows what a server has anyway that saw one.
const CROWDS: usize = 4;
/// Threads that make a crowd.
const THREADS: usize = 8;
/// Clients that each thread has crash; `LINCHPIN_CASES` multiplies them.
const CRASHES: usize = 12;
/// Names that a crashing client takes; a third of each is given back, runs out, goes with it.
const NAMES: usize = 90;
/// Nothing is left within this time.
const CLEAN_MAX: Duration = Duration::from_secs(10);
/// How much more a server may have after another crowd of the same size: buffers grow by pages.
const GROWTH_BYTES_MAX: i64 = 64 << 10;

fn crowds() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&["--io-threads", "2", "--appendonly", "no"])?;
    let server = launch.start()?;
    let mut before = None;
    for crowd in 0..CROWDS {
        let server_ref = &server;
        thread::scope(|scope| {
            let come = |thread| scope.spawn(move || come_and_go(server_ref, crowd, thread));
            let threads: Vec<_> = (0..THREADS).map(come).collect();
            threads.into_iter().try_for_each(|thread| {
                let result = thread.join().map_err(|_| "a client panicked")?;
                result.map_err(|error: Failed| error)
            })
        })?;
        let held_bytes = expect_clean(&server)?;
        let first_bytes = *before.get_or_insert(held_bytes);
        check(held_bytes - first_bytes <= GROWTH_BYTES_MAX, || {
            format!("{first_bytes} bytes after the first crowd, {held_bytes} after {crowd} more")
        })?;
    }
    Ok(())
}

/// Waits until nothing is left, and answers how much memory is counted then.
fn expect_clean(server: &Server) -> Result<i64, Failed> {
    let mut witness = Client::connect(server.port())?;
    let mut left = Vec::new();
    let names = [
        "coordination_objects",
        "coordination_sessions",
        "coordination_waiters",
        "blocked_clients",
        "connected_clients",
    ];
    let clean = eventually("nothing is left", CLEAN_MAX, || {
        left.clear();
        for name in names {
            left.push(witness.info_field(name)?);
        }
        left.push(witness.number("DBSIZE")?);
        Ok((left == [0, 0, 0, 0, 1, 0]).then_some(()))
    });
    clean.map_err(|error| format!("{error:?}: {left:?} of {names:?} and keys"))?;
    check(witness.info_field("connection_panics")? == 0, || {
        "a connection panicked".to_owned()
    })?;
    witness.info_field("used_memory")
}

fn come_and_go(server: &Server, crowd: usize, thread: usize) -> Result<(), Failed> {
    for crash in 0..CRASHES * chance::times() as usize {
        let scope = format!("{crowd}:{thread}:{crash}");
        let mut owner = Client::connect(server.port())?;
        for name in 0..NAMES {
            let life = ["PX 60000", "PX 30", "CONN"][name % 3];
            owner.send(&format!("LOCK.ACQUIRE {scope}:{name} owner:{scope} {life}"))?;
        }
        for _ in 0..NAMES {
            let told = owner.receive()?.lines().join(" ");
            check(told.starts_with("*4 :1 "), || told)?;
        }
        let sid = open_session(&mut owner, "TTL 60000 GRACE 0 BIND")?;
        let of_session = format!("SEM.ACQUIRE {scope}:sem owner:{scope} LIMIT 3 SESSION {sid}");
        check(ask(&mut owner, &of_session)?.status == 1, || of_session)?;
        owner.expect(&format!("SET {scope}:key v SESSION {sid}"), "+OK")?;
        owner.expect(&format!("LATCH.SET {scope}:latch 1 PX 30"), ":1")?;
        abandon(server, &scope)?;
        for name in (0..NAMES).step_by(3) {
            owner.send(&format!("LOCK.RELEASE {scope}:{name} owner:{scope}"))?;
        }
        for _ in (0..NAMES).step_by(3) {
            let told = owner.receive()?.lines().join(" ");
            check(told == ":1", || told)?;
        }
        crash_of(owner)?;
    }
    Ok(())
}

/// Calls whose clients go while they wait, and one whose time is over.
fn abandon(server: &Server, scope: &str) -> Result<(), Failed> {
    let calls = [
        format!("LOCK.ACQUIRE {scope}:0 waiter:{scope} PX 60000 WAIT 60000"),
        format!("LOCK.MACQUIRE 3 {scope}:0 {scope}:1 {scope}:2 multi:{scope} PX 60000 WAIT 60000"),
        format!("BARRIER.AWAIT {scope}:barrier 2 waiter:{scope} WAIT 60000"),
        format!("LATCH.AWAIT {scope}:unset WAIT 60000"),
        format!("LOCK.OBSERVE {scope}:observed WAIT 60000"),
    ];
    let mut waiters = Vec::new();
    for call in calls {
        let mut waiter = Client::connect(server.port())?;
        waiter.send(&call)?;
        waiters.push(waiter);
    }
    let mut patient = Client::connect(server.port())?;
    let timed_out = ask(
        &mut patient,
        &format!("LOCK.ACQUIRE {scope}:2 patient:{scope} PX 60000 WAIT 5"),
    )?;
    check(timed_out.status == 0, || format!("{timed_out:?}"))?;
    waiters.into_iter().try_for_each(crash_of)
}

/// Ends a connection as the crash of its process does.
fn crash_of(client: Client) -> Result<(), Failed> {
    SockRef::from(client.stream()).set_linger(Some(Duration::ZERO))?;
    drop(client);
    Ok(())
}
