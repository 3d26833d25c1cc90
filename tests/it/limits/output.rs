//! Clients that do not read: cut at their limit, alone, and their memory comes back.

use std::time::Duration;

use libtest_mimic::Failed;

use super::GONE_MAX;
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};
use crate::resp::{encode, words};

pub(super) const CASES: &[Case] = &[
    ("cut_above_the_hard_limit", hard),
    ("cut_after_a_time_above_the_soft_limit", soft),
    ("input_pauses_at_the_soft_limit", pause),
    ("who_reads_late_gets_everything", late_reader),
    ("one_reply_is_bounded_too", one_reply),
];

fn server(limit: &str) -> Result<(Server, Client), Failed> {
    let limit = format!("--client-output-buffer-limit=normal {limit}");
    let server = Launch::on_free_port(&["--io-threads", "1", &limit])?.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect(r#"SET big "\*1000000{x}""#, "+OK")?;
    client.expect(r#"SET small "\*1000{x}""#, "+OK")?;
    Ok((server, client))
}

fn expect_cut(other: &mut Client, time_max: Duration) -> Result<(), Failed> {
    eventually("the deaf one is cut", time_max, || {
        let cut = other.info_field("client_output_buffer_limit_disconnections")?;
        Ok((cut == 1).then_some(()))
    })?;
    let left = other.info_field("connected_clients")?;
    check(left == 1, || format!("{left} clients are left"))
}

/// Replies larger than the limit allows: with limits of 4 MB and no pause below.
fn hard() -> Result<(), Failed> {
    let (server, mut other) = server("4mb 0 0")?;
    other.expect(r#"SET huge "\*10000000{x}""#, "+OK")?;
    let before = other.info_field("used_memory_rss")?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.send_raw(&encode(&words("GET huge")?).repeat(20))?;
    expect_cut(&mut other, GONE_MAX)?;
    eventually("its memory comes back", GONE_MAX, || {
        let grown_bytes = other.info_field("used_memory_rss")? - before;
        Ok((grown_bytes < 24 << 20).then_some(()))
    })?;
    let bytes = other.info_field("mem_clients_normal")?;
    check(bytes < 1 << 20, || format!("{bytes} bytes of clients"))
}

fn soft() -> Result<(), Failed> {
    let (server, mut other) = server("0 1mb 1")?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.send_raw(&encode(&words("GET big")?).repeat(50))?;
    expect_cut(&mut other, GONE_MAX)
}

/// However much it asks for, no more than the soft limit and one reply is made.
fn pause() -> Result<(), Failed> {
    let (server, mut other) = server("0 1mb 1000")?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.send_raw(&encode(&words("GET big")?).repeat(100))?;
    let mut made = 0;
    eventually("it pauses", GONE_MAX, || {
        let before = made;
        made = other.info_field("total_net_output_bytes")?;
        let held = other.info_field("mem_clients_normal")?;
        check(held < 8 << 20, || format!("{held} bytes are held"))?;
        // This connection's own replies are counted, too.
        Ok((held > 1 << 20 && made - before < 100_000).then_some(()))
    })?;
    other.expect("PING", "+PONG")
}

fn late_reader() -> Result<(), Failed> {
    let (server, mut other) = server("8mb 1mb 60")?;
    let mut late = Client::connect_deaf(server.port())?;
    late.send_raw(&encode(&words("GET big")?).repeat(30))?;
    late.send("PING")?;
    eventually("it pauses", GONE_MAX, || {
        let held = other.info_field("mem_clients_normal")?;
        Ok((held > 1 << 20).then_some(()))
    })?;
    for _ in 0..30 {
        let lines = late.receive()?.lines();
        check(lines[1].len() == 1_000_000, || lines[0].clone())?;
    }
    let reply = late.receive()?.lines().concat();
    check(reply == "+PONG", || reply)
}

/// A short request for a reply beyond the limit: it is never made, and only who asked is cut.
fn one_reply() -> Result<(), Failed> {
    let (server, mut other) = server("8mb 0 0")?;
    let before = other.info_field("used_memory_rss")?;
    let mget = format!("MGET{}", " big".repeat(200));
    let gets: Vec<&str> = std::iter::repeat_n("GET big", 200).collect();
    let transaction: Vec<&str> = [&["MULTI"][..], &gets, &["EXEC"][..]].concat();
    for (cut, requests) in [(1, &[mget.as_str()][..]), (2, &transaction)] {
        let mut greedy = Client::connect(server.port())?;
        for request in requests {
            greedy.send(request)?;
        }
        other.await_info("client_output_buffer_limit_disconnections", cut)?;
        let grown_bytes = other.info_field("used_memory_rss")? - before;
        check(grown_bytes < 32 << 20, || {
            format!("{grown_bytes} bytes more")
        })?;
        other.expect("GET small", &format!("$1000 {}", "x".repeat(1_000)))?;
    }
    Ok(())
}
