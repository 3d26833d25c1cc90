//! What becomes of holds and waits when connections end, processes crash and the server stops.

#![expect(
    clippy::disallowed_methods,
    reason = "leases of a process outside end in real time"
)]

use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::Signal;
use socket2::SockRef;

use super::{ask_for, open_session, pause};
use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{Client, REPLY_MAX, check, eventually};
use crate::durability::{Data, STOP_MAX, kill};
use crate::process::{Launch, Server};
use crate::resp;

pub(super) const CASES: &[Case] = &[
    ("a_waiter_that_is_gone_is_skipped", skipped),
    ("decision_06_a_grant_that_is_not_read_is_given_back", unread),
    ("what_lives_with_a_connection_ends_with_it", conn_ends),
    ("crashed_owners_are_freed_by_their_lease", crashed),
    (
        "decision_32_sigterm_answers_who_waits_and_ends_no_hold",
        sigterm,
    ),
    ("no_wake_up_is_lost_where_owners_come_and_go", churn),
];

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Fin,
    Reset,
    Killed,
    Quit,
    ResetCommand,
}

const ENDINGS: [Ending; 5] = [
    Ending::Fin,
    Ending::Reset,
    Ending::Killed,
    Ending::Quit,
    Ending::ResetCommand,
];

fn server() -> Result<Server, Failed> {
    Ok(Launch::on_free_port(&["--io-threads", "4"])?.start()?)
}

/// Ends a connection; `ending` comes from itself but for [`Ending::Killed`]. One that goes on is
/// answered.
fn end(mut client: Client, admin: &mut Client, ending: Ending) -> Result<Option<Client>, Failed> {
    match ending {
        Ending::Fin => drop(client),
        Ending::Reset => {
            SockRef::from(client.stream()).set_linger(Some(Duration::ZERO))?;
            drop(client);
        }
        Ending::Killed => {
            let address = client.stream().local_addr()?;
            admin.expect(&format!("CLIENT KILL ADDR {address}"), ":1")?;
        }
        Ending::Quit => client.expect("QUIT", "+OK")?,
        Ending::ResetCommand => {
            client.expect("RESET", "+RESET")?;
            return Ok(Some(client));
        }
    }
    Ok(None)
}

/// Waits until so many stand in the queue of a lock.
fn await_waiters(client: &mut Client, key: &str, count: usize) -> Result<(), Failed> {
    eventually(&format!("{count} wait for {key}"), REPLY_MAX, || {
        let info = client.call(&format!("LOCK.INFO {key}"))?;
        Ok((waiters(&info) == Some(count)).then_some(()))
    })
}

/// How many elements the field `waiters` of LOCK.INFO has.
fn waiters(info: &str) -> Option<usize> {
    let (_, rest) = info.split_once("waiters *")?;
    rest.split(' ').next()?.parse().ok()
}

fn skipped() -> Result<(), Failed> {
    let server = server()?;
    let mut admin = Client::connect(server.port())?;
    for ending in [Ending::Fin, Ending::Reset, Ending::Killed] {
        ask_for(&mut admin, "LOCK.ACQUIRE l holder PX 60000", 1)?;
        let mut waiters = Vec::new();
        for number in 0..5 {
            let mut client = Client::connect(server.port())?;
            client.send(&format!("LOCK.ACQUIRE l {number} PX 60000 WAIT 60000"))?;
            await_waiters(&mut admin, "l", number + 1)?;
            waiters.push(client);
        }
        let mut last = waiters.pop().ok_or("no waiter")?;
        for client in waiters {
            end(client, &mut admin, ending)?;
        }
        await_waiters(&mut admin, "l", 1)?;
        admin.expect("LOCK.RELEASE l holder", ":1")?;
        let granted = last.receive()?.lines().join(" ");
        check(granted.starts_with("*4 :1 "), || {
            format!("{ending:?}: {granted}")
        })?;
        last.expect("LOCK.RELEASE l 4", ":1")?;
        admin.expect("EXISTS l", ":0")?;
    }
    Ok(())
}

/// The reply stands behind others that the client does not read: nobody was told of the grant, and
/// it ends at once, without lock-delay, though its lease is long.
fn unread() -> Result<(), Failed> {
    let server = server()?;
    let mut admin = Client::connect(server.port())?;
    admin.expect(r#"SET big "\*8000000{v}""#, "+OK")?;
    for ending in [Ending::Fin, Ending::Reset, Ending::Killed] {
        let mut gone = Client::connect_deaf(server.port())?;
        let calls = ["GET big", "LOCK.ACQUIRE l gone PX 60000 DELAY 60000"];
        let calls: Result<Vec<_>, _> = calls.iter().map(|line| resp::words(line)).collect();
        let calls: Vec<u8> = calls?
            .iter()
            .flat_map(|words| resp::encode(words))
            .collect();
        gone.send_raw(&calls)?;
        eventually("it is held", REPLY_MAX, || {
            Ok((admin.call("EXISTS l")? == ":1").then_some(()))
        })?;
        let mut next = Client::connect(server.port())?;
        next.send("LOCK.ACQUIRE l next PX 60000 WAIT 5000")?;
        await_waiters(&mut admin, "l", 1)?;
        end(gone, &mut admin, ending)?;
        let told = next.receive()?.lines().join(" ");
        check(told.starts_with("*4 :1 "), || format!("{ending:?}: {told}"))?;
        next.expect("LOCK.RELEASE l next", ":1")?;
        admin.expect("EXISTS l", ":0")?;
    }
    Ok(())
}

fn conn_ends() -> Result<(), Failed> {
    for ending in ENDINGS {
        let server = server()?;
        let mut admin = Client::connect(server.port())?;
        let mut client = Client::connect(server.port())?;
        let first = ask_for(&mut client, "LOCK.ACQUIRE lock me CONN", 1)?;
        ask_for(&mut client, "LOCK.ACQUIRE delayed me CONN DELAY 60000", 1)?;
        ask_for(&mut client, "LOCK.ACQUIRE leased me PX 60000", 1)?;
        ask_for(&mut client, "SEM.ACQUIRE sem me LIMIT 1 CONN", 1)?;
        let mut next = Client::connect(server.port())?;
        next.send("LOCK.ACQUIRE lock next PX 60000 WAIT 8000")?;
        await_waiters(&mut admin, "lock", 1)?;
        let _rest = end(client, &mut admin, ending)?;
        let told = next.receive()?.lines().join(" ");
        check(told.starts_with("*4 :1 "), || format!("{ending:?}: {told}"))?;
        admin.expect(&format!("LOCK.CHECK lock {first}"), ":0")?;
        let line = "SEM.ACQUIRE sem other LIMIT 1 PX 60000 WAIT 5000";
        ask_for(&mut admin, line, 1)?;
        ask_for(&mut admin, "LOCK.ACQUIRE delayed other PX 60000", -1)?;
        // A lease does not know of connections.
        ask_for(&mut admin, "LOCK.ACQUIRE leased other PX 60000", 0)?;
    }
    Ok(())
}

/// An owner that crashed keeps what it has for its lease, and no longer.
fn crashed() -> Result<(), Failed> {
    let server = server()?;
    let mut next = Client::connect(server.port())?;
    let asked = Instant::now();
    let mut crashing = Client::connect(server.port())?;
    ask_for(&mut crashing, "LOCK.ACQUIRE l crashed PX 1000", 1)?;
    let sid = open_session(&mut crashing, "TTL 500 GRACE 500 BIND")?;
    ask_for(
        &mut crashing,
        &format!("LOCK.ACQUIRE s crashed SESSION {sid}"),
        1,
    )?;
    let mut admin = Client::connect(server.port())?;
    let lost = Instant::now();
    end(crashing, &mut admin, Ending::Reset)?;
    ask_for(&mut next, "LOCK.ACQUIRE s next PX 1000 WAIT 8000", 1)?;
    let free = lost.elapsed();
    check(free >= Duration::from_millis(500), || {
        format!("grace of {free:?}")
    })?;
    ask_for(&mut next, "LOCK.ACQUIRE l next PX 1000 WAIT 8000", 1)?;
    let free = asked.elapsed();
    check(free >= Duration::from_millis(1_000), || {
        format!("lease of {free:?}")
    })?;
    check(free <= Duration::from_millis(3_000), || {
        format!("lease of {free:?}")
    })
}

fn sigterm() -> Result<(), Failed> {
    let data = Data::new("everysec", 4)?;
    let mut server = data.start()?;
    let mut holder = Client::connect(server.port())?;
    let fence = ask_for(&mut holder, "LOCK.ACQUIRE l me PX 60000", 1)?;
    let by_conn = ask_for(&mut holder, "LOCK.ACQUIRE c me CONN", 1)?;
    let sid = open_session(&mut holder, "TTL 60000")?;
    let by_session = ask_for(&mut holder, &format!("LOCK.ACQUIRE s me SESSION {sid}"), 1)?;
    ask_for(&mut holder, "SEM.ACQUIRE sem me LIMIT 1 PX 60000", 1)?;
    let parked = [
        "LOCK.ACQUIRE l first PX 1000 WAIT 60000",
        "LOCK.ACQUIRE c second PX 1000 WAIT 60000",
        "LOCK.MACQUIRE 2 l c another PX 1000 WAIT 60000",
        "SEM.ACQUIRE sem other LIMIT 1 PX 1000 WAIT 60000",
        "LATCH.AWAIT latch WAIT 60000",
        "BARRIER.AWAIT barrier 2 other WAIT 60000",
        "LOCK.OBSERVE nothing WAIT 60000",
    ];
    let mut waiters = Vec::new();
    for line in parked {
        let mut client = Client::connect(server.port())?;
        client.send(line)?;
        waiters.push((line, client));
    }
    await_waiters(&mut holder, "c", 2)?;
    pause(100);
    server.signal(Signal::TERM)?;
    for (line, mut client) in waiters {
        let told = client.receive()?.lines().join(" ");
        check(told == "-UNBLOCKED server is shutting down", || {
            format!("{line}: {told}")
        })?;
        client.expect_end()?;
    }
    let exit = server.exit_within(STOP_MAX)?;
    check(exit.code == Some(0), || format!("{exit:?}"))?;
    drop(holder);
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    for (key, fence) in [("l", fence), ("c", by_conn), ("s", by_session)] {
        client.expect(&format!("LOCK.CHECK {key} {fence}"), ":1")?;
        ask_for(&mut client, &format!("LOCK.ACQUIRE {key} other PX 1000"), 0)?;
    }
    ask_for(&mut client, "SEM.ACQUIRE sem other LIMIT 1 PX 1000", 0)?;
    kill(server)
}

/// Owners that come, wait, hold and go at any moment. No lock stays with nobody, and nobody waits
/// in vain: that would be a wake-up that was lost, or a grant to somebody gone.
fn churn() -> Result<(), Failed> {
    let server = server()?;
    let seed = chance::seed();
    let worker = |number: u64| -> Result<(), Failed> {
        let mut dice = Dice::new(seed ^ number);
        let mut admin = Client::connect(server.port())?;
        for round in 0..60 {
            let mut client = Client::connect(server.port())?;
            let key = dice.below(2);
            let line = format!("LOCK.ACQUIRE {key} {number}.{round} CONN WAIT 9000");
            client.send(&line)?;
            match dice.below(4) {
                0 => {
                    end(client, &mut admin, Ending::Reset)?;
                    continue;
                }
                1 => {
                    end(client, &mut admin, Ending::Fin)?;
                    continue;
                }
                _ => {}
            }
            let told = client.receive()?.lines().join(" ");
            check(told.starts_with("*4 :1 "), || format!("{line}: {told}"))?;
            if dice.below(2) == 0 {
                client.expect(&format!("LOCK.RELEASE {key} {number}.{round}"), ":1")?;
            }
        }
        Ok(())
    };
    let worker = &worker;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|n| scope.spawn(move || worker(n))).collect();
        threads.into_iter().try_for_each(|thread| {
            let result = thread.join().map_err(|_| "a client panicked")?;
            result.map_err(|error| Failed::from(format!("{error:?}; LINCHPIN_SEED={seed}")))
        })
    })?;
    let mut client = Client::connect(server.port())?;
    eventually("all are free", REPLY_MAX, || {
        Ok((client.call("EXISTS 0 1")? == ":0").then_some(()))
    })
}
