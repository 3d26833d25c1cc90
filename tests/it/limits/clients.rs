//! How many clients there may be, who is cut off and why, and that nothing of them remains.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::GONE_MAX;
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[
    ("one_above_maxclients_is_told_so", maxclients),
    ("maxclients_changes_while_running", maxclients_live),
    (
        "maxclients_is_capped_by_the_open_files",
        capped_by_open_files,
    ),
    ("maxclients_is_capped_when_reloaded", capped_when_reloaded),
    ("no_descriptor_left_heals_alone", descriptors_exhausted),
    ("two_thousand_connects_leave_nothing", quick_connects),
    ("client_kill", kill),
    ("client_kill_ends_a_client_that_does_not_read", kill_deaf),
    ("timeout_cuts_the_idle", timeout),
    ("timeout_spares_who_waits", timeout_waiting),
    ("decision_11_who_takes_nothing_is_gone", takes_nothing),
    ("half_open_clients_are_answered_to_the_end", half_open),
];

const REFUSAL: &str = "-ERR max number of clients reached";

/// How many descriptors the server has open.
fn descriptors(server: &Server) -> Result<usize, Failed> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count())
}

/// Processor time the server has used, in seconds.
fn processor_s(client: &mut Client) -> Result<f64, Failed> {
    let text = client.call("INFO cpu")?;
    let mut sum_s = 0.0;
    for name in ["used_cpu_sys:", "used_cpu_user:"] {
        let field = text
            .split("\\r\\n")
            .find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
        sum_s += field.ok_or("no processor time in INFO")?;
    }
    Ok(sum_s)
}

/// The server's wall clock, in microseconds.
fn time_us(client: &mut Client) -> Result<u64, Failed> {
    let text = client.call("INFO server")?;
    let field = text
        .split("\\r\\n")
        .find_map(|line| line.strip_prefix("server_time_usec:")?.parse().ok());
    Ok(field.ok_or("no time in INFO")?)
}

fn expect_refused(server: &Server) -> Result<(), Failed> {
    let mut refused = Client::connect(server.port())?;
    let said = refused.receive()?.lines().concat();
    check(said == REFUSAL, || said)?;
    refused.expect_end()
}

/// Connects as soon as there is room.
fn connect_when_there_is_room(server: &Server) -> Result<Client, Failed> {
    eventually("room for one more", GONE_MAX, || {
        let mut client = Client::connect(server.port())?;
        Ok(client
            .call("PING")
            .is_ok_and(|reply| reply == "+PONG")
            .then_some(client))
    })
}

fn maxclients() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--maxclients", "3"])?.start()?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(server.port())?;
        client.expect("PING", "+PONG")?;
        clients.push(client);
    }
    expect_refused(&server)?;
    expect_refused(&server)?;
    let rejected = clients[0].info_field("rejected_connections")?;
    check(rejected == 2, || format!("{rejected} rejected"))?;
    clients.pop();
    clients.push(connect_when_there_is_room(&server)?);
    expect_refused(&server)?;
    for client in &mut clients {
        client.expect("PING", "+PONG")?;
    }
    Ok(())
}

fn maxclients_live() -> Result<(), Failed> {
    let server = Launch::on_free_port(&[])?.start()?;
    let mut first = Client::connect(server.port())?;
    let mut second = Client::connect(server.port())?;
    second.expect("PING", "+PONG")?;
    first.expect("CONFIG SET maxclients 1", "+OK")?;
    // Who is in stays in.
    second.expect("PING", "+PONG")?;
    expect_refused(&server)?;
    first.expect("CONFIG SET maxclients 3", "+OK")?;
    Client::connect(server.port())?.expect("PING", "+PONG")
}

/// At start with a warning, as in Redis; later as an error, as in Redis.
fn capped_by_open_files() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&["--io-threads", "1"])?.open_files_max(100);
    let server = launch.start()?;
    server.log_line("maxclients is 36 instead of 10000")?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG GET maxclients", "*2 $10 maxclients $2 36")?;
    client.expect(
        "CONFIG SET maxclients 37",
        "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating \
         system is not able to handle the specified number of clients, try with 36",
    )?;
    client.expect("CONFIG SET maxclients 36", "+OK")?;
    let mut clients = Vec::new();
    for _ in 1..36 {
        let mut client = Client::connect(server.port())?;
        client.expect("PING", "+PONG")?;
        clients.push(client);
    }
    expect_refused(&server)
}

fn capped_when_reloaded() -> Result<(), Failed> {
    const FILE: &str = "port 0\nbind 127.0.0.1\nio-threads 1\n";
    let launch = Launch::new(&["linchpin.conf"])?
        .file("linchpin.conf", &format!("{FILE}maxclients 10\n"))?
        .open_files_max(100);
    let server = launch.start()?;
    let text = format!("{FILE}maxclients 50\n");
    server.home().write("linchpin.conf", &text)?;
    server.signal(Signal::HUP)?;
    server.log_line("maxclients is 36 instead of 50")?;
    server.log_line("changed: maxclients")?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG GET maxclients", "*2 $10 maxclients $2 36")
}

/// More workers than the descriptors kept in reserve can serve: accepting fails and rests. Who is
/// in is served, the processor is not busy, and once somebody leaves the next one gets in.
fn descriptors_exhausted() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&["--io-threads", "32"])?.open_files_max(160);
    let server = launch.start()?;
    let mut first = Client::connect(server.port())?;
    first.expect("PING", "+PONG")?;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(TcpStream::connect(("127.0.0.1", server.port()))?);
    }
    server.log_line("not accepting for a while")?;
    let before_s = processor_s(&mut first)?;
    for _ in 0..20 {
        first.expect("PING", "+PONG")?;
    }
    let start_us = time_us(&mut first)?;
    eventually("half a second passes", GONE_MAX, || {
        Ok((time_us(&mut first)? - start_us > 500_000).then_some(()))
    })?;
    let used_s = processor_s(&mut first)? - before_s;
    check(used_s < 0.25, || format!("{used_s} s of processor time"))?;
    drop(others);
    let mut next = connect_when_there_is_room(&server)?;
    server.log_line("accepting again")?;
    next.expect("SET k v", "+OK")?;
    first.expect("GET k", "$1 v")
}

fn quick_connects() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    let mut first = Client::connect(server.port())?;
    first.expect("PING", "+PONG")?;
    let before = descriptors(&server)?;
    for round in 0..2_000 {
        let stream = TcpStream::connect(("127.0.0.1", server.port()))?;
        if round % 4 == 0 {
            // Waiting for the reply keeps the kernel's queue of the server short.
            (&stream).write_all(b"PING\r\n*2\r\n$3\r\nGET")?;
            (&stream).read_exact(&mut [0; 7])?;
        }
    }
    eventually("all descriptors are given back", GONE_MAX, || {
        Ok((descriptors(&server)? == before).then_some(()))
    })?;
    first.await_info("connected_clients", 1)?;
    let received = first.info_field("total_connections_received")?;
    check(received == 2_001, || format!("{received} received"))
}

fn kill() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    let mut killer = Client::connect(server.port())?;
    let mut victim = Client::connect(server.port())?;
    let id = victim.number("CLIENT ID")?;
    victim.expect("WATCH k", "+OK")?;
    killer.expect(&format!("CLIENT KILL ID {id}"), ":1")?;
    killer.expect(&format!("CLIENT KILL ID {id}"), ":0")?;
    victim.expect_end()?;
    let mut victim = Client::connect(server.port())?;
    victim.expect("PING", "+PONG")?;
    let addr = victim.stream().local_addr()?;
    killer.expect(&format!("CLIENT KILL {addr}"), "+OK")?;
    victim.expect_end()?;
    killer.expect(&format!("CLIENT KILL {addr}"), "-ERR No such client")?;
    let mut victims = Vec::new();
    for _ in 0..10 {
        let mut victim = Client::connect(server.port())?;
        victim.expect("PING", "+PONG")?;
        victims.push(victim);
    }
    killer.expect("CLIENT KILL TYPE normal", ":10")?;
    for victim in &mut victims {
        victim.expect_end()?;
    }
    let left = [
        killer.info_field("connected_clients")?,
        killer.info_field("total_watched_keys")?,
    ];
    check(left == [1, 0], || format!("{left:?} are left"))?;
    // Itself, with the reply before the end.
    killer.expect("CLIENT KILL TYPE normal SKIPME no", ":1")?;
    killer.expect_end()
}

fn kill_deaf() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--io-threads", "2"])?.start()?;
    let mut killer = Client::connect(server.port())?;
    killer.expect("PING", "+PONG")?;
    let before = descriptors(&server)?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.expect(r#"SET big "\*1048576{x}""#, "+OK")?;
    let id = deaf.number("CLIENT ID")?;
    for _ in 0..30 {
        deaf.send("GET big")?;
    }
    eventually("replies pile up", GONE_MAX, || {
        let bytes = killer.info_field("mem_clients_normal")?;
        Ok((bytes > 1 << 20).then_some(()))
    })?;
    killer.expect(&format!("CLIENT KILL ID {id}"), ":1")?;
    eventually("its descriptor is given back", GONE_MAX, || {
        Ok((descriptors(&server)? == before).then_some(()))
    })
}

fn timeout() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--timeout", "1"])?.start()?;
    let mut idle = Client::connect(server.port())?;
    idle.expect("WATCH k", "+OK")?;
    let mut busy = Client::connect(server.port())?;
    busy.await_info("connected_clients", 1)?;
    idle.expect_end()?;
    busy.expect("CONFIG SET timeout 0", "+OK")?;
    let watched = busy.info_field("total_watched_keys")?;
    check(watched == 0, || format!("{watched} watched"))
}

/// Who waits for the server is not idle, and has its time to itself when it was answered.
fn timeout_waiting() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--timeout", "1"])?.start()?;
    let mut waiting = Client::connect(server.port())?;
    waiting.send("LATCH.AWAIT l WAIT 2000")?;
    let told = waiting.receive()?.lines().join(" ");
    check(told == "$-1", || told)?;
    waiting.expect("PING", "+PONG")
}

/// Probes come only while nothing is on its way: a peer that takes nothing of what was sent to it
/// is gone after as long.
fn takes_nothing() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--tcp-keepalive", "1"])?.start()?;
    let mut admin = Client::connect(server.port())?;
    admin.expect(r#"SET big "\*8000000{v}""#, "+OK")?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.send("LOCK.ACQUIRE l gone CONN")?;
    deaf.receive()?;
    deaf.send("GET big")?;
    admin.send("LOCK.ACQUIRE l next PX 60000 WAIT 30000")?;
    let told = admin.receive()?.lines().join(" ");
    check(told.starts_with("*4 :1 "), || told)
}

/// A client that says it has finished gets the answers to all it sent, then the end.
fn half_open() -> Result<(), Failed> {
    let server = Launch::on_free_port(&[])?.start()?;
    let mut client = Client::connect(server.port())?;
    let commands = crate::resp::encode(&crate::resp::words("INCR n")?).repeat(1_000);
    client.send_raw(&commands)?;
    client.send_raw(b"*2\r\n$3\r\nGET\r\n")?;
    client.finish_sending()?;
    let replies = client.replies_to_end()?;
    let last = replies.last().map(|reply| reply.lines().concat());
    check(last == Some(":1000".to_owned()), || format!("{last:?}"))
}
