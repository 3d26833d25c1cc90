//! `maxmemory` over sockets: writers of mixed sizes, readers that hardly read, and a process that
//! may have no more.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use libtest_mimic::Failed;

use super::GONE_MAX;
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};
use crate::resp::{encode, words};

pub(super) const CASES: &[Case] = &[
    ("maxmemory_holds_under_writers_and_slow_readers", holds),
    ("flushed_memory_goes_back_to_the_system", flushed),
    ("clients_that_hold_most_are_ended", clients_ended),
    ("lowering_maxmemory_refuses_at_once", lowered),
];

const MIB: i64 = 1 << 20;
const BOUND_BYTES: i64 = 64 * MIB;
const WRITERS: usize = 50;
const READERS: usize = 10;
const VALUE_BYTES_MAX: u64 = 20_000;
/// What one command may take: its value as it has arrived, and as it is kept, each as a size class.
const COMMAND_BYTES: i64 = 128 << 10;
/// A reader may leave a megabyte unread before its input pauses, and one reply beyond.
const UNREAD: &str = "--client-output-buffer-limit=normal 0 1mb 60";
const CLIENTS_BYTES: i64 = (READERS as i64) * (MIB + COMMAND_BYTES) + WRITERS as i64 * (64 << 10);
/// The process may map this much data, in KiB: half as much again as `maxmemory`, the clients'
/// budget, and what program, threads and allocator map before they use any of it. All that the
/// writers would write is more.
const PROCESS_KIB: u64 = 320 << 10;
const KEYS: u64 = 100_000;
/// How often it is asked what is held; each time takes some milliseconds.
const LOOKS: usize = 200;

fn server(arguments: &[&str]) -> Result<(Server, Client), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "4"])?
        .arguments(arguments)
        .data_kib_max(PROCESS_KIB)
        .start()?;
    let client = Client::connect(server.port())?;
    Ok((server, client))
}

/// What the server held at most, and had from the system at most.
#[derive(Debug, Default)]
struct Peaks {
    used: AtomicI64,
    resident: AtomicI64,
}

fn holds() -> Result<(), Failed> {
    let bound = format!("--maxmemory={BOUND_BYTES}");
    let (server, mut watcher) = server(&[&bound, UNREAD])?;
    let (is_over, peaks) = (&AtomicBool::new(false), Peaks::default());
    let port = server.port();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| scope.spawn(move || write(port, number as u64, is_over)))
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|_| scope.spawn(move || read_slowly(port, is_over)))
            .collect();
        let watched = watch(&mut watcher, &peaks);
        is_over.store(true, Ordering::Relaxed);
        for thread in writers.into_iter().chain(readers) {
            thread.join().map_err(|_| "a client panicked")??;
        }
        watched
    })?;
    let (used, resident) = (
        peaks.used.load(Ordering::Relaxed),
        peaks.resident.load(Ordering::Relaxed),
    );
    let used_max = BOUND_BYTES + CLIENTS_BYTES + 4 * COMMAND_BYTES;
    check(used <= used_max, || format!("{used} bytes used"))?;
    check(used > BOUND_BYTES / 10 * 9, || {
        format!("only {used} bytes used")
    })?;
    let resident_max = BOUND_BYTES / 2 * 3 + CLIENTS_BYTES;
    check(resident <= resident_max, || {
        format!("{resident} bytes resident")
    })?;
    let refused = watcher.call("INFO errorstats")?;
    check(refused.contains("errorstat_OOM"), || refused.clone())?;
    watcher.expect("PING", "+PONG")
}

/// Asks for what is held, again and again.
fn watch(client: &mut Client, peaks: &Peaks) -> Result<(), Failed> {
    for _ in 0..LOOKS {
        let used = client.info_field("used_memory")?;
        let resident = client.info_field("used_memory_rss")?;
        peaks.used.fetch_max(used, Ordering::Relaxed);
        peaks.resident.fetch_max(resident, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes values of mixed sizes under many keys, and deletes some.
fn write(port: u16, number: u64, is_over: &AtomicBool) -> Result<(), Failed> {
    let mut client = Client::connect(port)?;
    let mut chance = number;
    while !is_over.load(Ordering::Relaxed) {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let max = [100, 1_000, 5_000, VALUE_BYTES_MAX][(chance >> 60) as usize % 4];
        let len = (chance >> 33) % max;
        let key = (chance >> 40) % KEYS;
        let command = match chance >> 62 {
            0 => format!("DEL key:{key}"),
            _ => format!(r#"SET key:{key} "\*{len}{{v}}""#),
        };
        let reply = client.call(&command)?;
        let known = reply.starts_with(['+', ':']) || reply.starts_with("-OOM ");
        check(known, || reply.clone())?;
    }
    Ok(())
}

/// Asks for more than it reads, until it is ended or the time is over.
fn read_slowly(port: u16, is_over: &AtomicBool) -> Result<(), Failed> {
    let (mut client, mut pace) = (Client::connect_deaf(port)?, Client::connect(port)?);
    let gets: Result<Vec<_>, Failed> = (0..5_000)
        .map(|key| Ok(encode(&words(&format!("GET key:{key}"))?)))
        .collect();
    for get in gets? {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        client.send_raw(&get)?;
        // Not faster than the server answers somebody else.
        pace.expect("PING", "+PONG")?;
    }
    Ok(())
}

fn flushed() -> Result<(), Failed> {
    let (_server, mut client) = server(&[])?;
    let resident = client.info_field("used_memory_rss")?;
    let used = client.info_field("used_memory")?;
    for key in 0..600 {
        client.expect(&format!(r#"SET key:{key} "\*100000{{v}}""#), "+OK")?;
    }
    let full = client.info_field("used_memory")? - used;
    check(full > 57 * MIB, || format!("{full} bytes for 60 MB"))?;
    client.expect("FLUSHALL ASYNC", "+OK")?;
    eventually("what was counted goes", GONE_MAX, || {
        let left = client.info_field("used_memory")? - used;
        Ok((left < MIB).then_some(()))
    })?;
    eventually("memory goes back", GONE_MAX, || {
        let left = client.info_field("used_memory_rss")? - resident;
        Ok((left < 24 * MIB).then_some(()))
    })
}

fn clients_ended() -> Result<(), Failed> {
    let (server, mut client) = server(&["--maxmemory-clients=4mb"])?;
    let half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n";
    let mut spared = Client::connect(server.port())?;
    spared.expect("CLIENT NO-EVICT on", "+OK")?;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = Client::connect(server.port())?;
        other.send_raw(half)?;
        other.send_raw(&vec![b'v'; 1_000_000])?;
        others.push(other);
        let held = client.info_field("mem_clients_normal")?;
        check(held < 7 * MIB, || format!("clients hold {held} bytes"))?;
    }
    eventually("the largest are ended", GONE_MAX, || {
        let ended = client.info_field("evicted_clients")?;
        let held = client.info_field("mem_clients_normal")?;
        Ok((ended >= 4 && held <= 4 * MIB).then_some(()))
    })?;
    spared.expect("PING", "+PONG")?;
    client.expect("PING", "+PONG")
}

fn lowered() -> Result<(), Failed> {
    let (_server, mut client) = server(&[])?;
    client.expect(r#"SET key "\*1000000{v}""#, "+OK")?;
    client.expect("CONFIG SET maxmemory 1mb", "+OK")?;
    client.expect(
        "SET other v",
        "-OOM command not allowed when used memory > 'maxmemory'.",
    )?;
    eventually("the time above it is counted", GONE_MAX, || {
        let current_ms = client.info_field("current_eviction_exceeded_time")?;
        Ok((current_ms > 0).then_some(()))
    })?;
    client.expect("DEL key", ":1")?;
    client.expect("SET other v", "+OK")?;
    client.await_info("current_eviction_exceeded_time", 0)?;
    let total_ms = client.info_field("total_eviction_exceeded_time")?;
    check(total_ms > 0, || "no time was counted".to_owned())
}
