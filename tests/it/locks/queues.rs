//! Many who wait over sockets: their time-outs come in time, and grants in order.

#![expect(
    clippy::disallowed_methods,
    reason = "how late a server answers is real time"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::event::epoll;
use rustix::process::{Resource, getrlimit};

use super::ask_for;
use crate::client::{Client, check};
use crate::process::{Launch, Server};
use crate::resp;

/// Connections that wait, as far as descriptors go.
const WAITERS: usize = 9_000;
/// Descriptors for all else.
const DESCRIPTORS_OTHER: u64 = 200;
/// How late the end of a wait may be told, but for one in a thousand, by an optimized server.
const LATE_MAX: Duration = Duration::from_millis(10);
/// A busy machine may be late itself in one attempt; not in all.
const ATTEMPTS_MAX: usize = 5;
/// The first wait ends so long after it was asked for.
const WAIT_MS: u64 = 6_000;
/// Waits end so far apart that they fill this.
const SPREAD_MS: u64 = 3_000;
const LOCKS: usize = 1_000;
const IN_ORDER: usize = 1_000;

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let name = |name: &str| format!("locks::queues::{name}");
    vec![
        Trial::test(name("9000_time_outs_are_told_in_time"), timely)
            .with_ignored_flag(cfg!(debug_assertions)),
        Trial::test(name("1000_waiters_are_granted_in_order"), in_order),
    ]
}

fn server(workers: &str) -> Result<Server, Failed> {
    let launch = Launch::on_free_port(&["--io-threads", workers, "--maxclients", "10000"])?;
    Ok(launch.unheard().start()?)
}

/// How many can wait here: each takes a descriptor of this process, and one of the server's.
fn waiters() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let free = limit.saturating_sub(DESCRIPTORS_OTHER);
    usize::try_from(free).map_or(WAITERS, |free| free.min(WAITERS))
}

/// Lets all of them wait for locks that are held, and answers how late each was told, the latest
/// last.
fn lateness(server: &Server, count: usize) -> Result<Vec<Duration>, Failed> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut waiters = Vec::with_capacity(count);
    for number in 0..count {
        let stream = server.connect()?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
        waiters.push((stream, Instant::now()));
    }
    let began = Instant::now();
    for (number, (stream, due)) in waiters.iter_mut().enumerate() {
        // In no order.
        let due_ms = WAIT_MS + (number as u64 * 7_919) % SPREAD_MS;
        let passed_ms = u64::try_from(began.elapsed().as_millis())?;
        let wait_ms = due_ms.saturating_sub(passed_ms);
        let lock = number % LOCKS;
        let line = format!("LOCK.ACQUIRE {lock} {number} PX 1000 WAIT {wait_ms}");
        *due = Instant::now() + Duration::from_millis(wait_ms);
        stream.write_all(&resp::encode(&resp::words(&line)?))?;
    }
    let sent = began.elapsed();
    check(sent < Duration::from_millis(WAIT_MS), || {
        format!("it takes {sent:?} to ask")
    })?;
    let mut late = Vec::with_capacity(count);
    let mut events = Vec::with_capacity(1_024);
    while late.len() < count {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        let now = Instant::now();
        for event in &events {
            let (stream, due) = &mut waiters[event.data.u64() as usize];
            let mut reply = [0; 64];
            let len = match stream.read(&mut reply) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                result => result?,
            };
            let reply = resp::escape(&reply[..len]);
            check(reply.starts_with("*4\\r\\n:0\\r\\n"), || reply.clone())?;
            // Waits are counted in whole milliseconds.
            let lateness = (now + Duration::from_millis(1)).checked_duration_since(*due);
            late.push(lateness.ok_or("told before its time")?);
        }
    }
    late.sort_unstable();
    Ok(late)
}

fn timely() -> Result<(), Failed> {
    let server = server("2")?;
    let count = waiters();
    let mut holder = Client::connect(server.port())?;
    for lock in 0..LOCKS {
        let line = format!("LOCK.ACQUIRE {lock} holder PX 600000");
        ask_for(&mut holder, &line, 1)?;
    }
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        let late = lateness(&server, count)?;
        let at = |permille: usize| late[(late.len() * permille / 1_000).min(late.len() - 1)];
        if at(999) <= LATE_MAX {
            return Ok(());
        }
        seen.push((at(500), at(990), at(999), at(1_000)));
    }
    Err(format!("{count} waiters: p50, p99, p99.9, latest: {seen:?}").into())
}

/// Each hands the lock on as soon as it has it: the order in which they have it is the one in which
/// they came.
fn in_order() -> Result<(), Failed> {
    let server = server("1")?;
    let mut holder = Client::connect(server.port())?;
    ask_for(&mut holder, "LOCK.ACQUIRE l holder PX 600000", 1)?;
    let mut admin = Client::connect(server.port())?;
    let mut waiters = Vec::new();
    for number in 0..IN_ORDER {
        let mut client = Client::connect(server.port())?;
        client.send(&format!("LOCK.ACQUIRE l {number} PX 600000 WAIT 60000"))?;
        // The only worker has seen it before the next one comes.
        admin.expect("PING", "+PONG")?;
        admin.expect("PING", "+PONG")?;
        waiters.push(client);
    }
    holder.expect("LOCK.RELEASE l holder", ":1")?;
    let mut last = 0;
    for (number, mut client) in waiters.into_iter().enumerate() {
        let told = client.receive();
        let told = told.map_err(|error| format!("waiter {number}: {error:?}"))?;
        let told = told.lines().join(" ");
        let fence = told
            .strip_prefix("*4 :1 :")
            .and_then(|rest| rest.split(' ').next());
        let fence: i64 = fence.and_then(|text| text.parse().ok()).ok_or(told)?;
        check(fence > last, || format!("{number}: {fence} after {last}"))?;
        last = fence;
        // A grant is never told before the one ahead of it was given back.
        client.expect(&format!("LOCK.RELEASE l {number}"), ":1")?;
    }
    Ok(())
}
