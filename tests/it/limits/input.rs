//! Limits on what comes in: at the bound it is taken, one beyond it is refused.

use libtest_mimic::Failed;

use super::GONE_MAX;
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};
use crate::resp::{encode, words};

pub(super) const CASES: &[Case] = &[
    ("longest_argument", argument_bytes),
    ("longest_argument_as_set", argument_bytes_as_set),
    ("most_arguments", argument_count),
    ("longest_key", key_bytes),
    ("most_watched_keys", watched_keys),
    ("query_buffer", query_buffer),
    ("lengths_that_are_only_claimed_cost_nothing", claims),
];

fn server(arguments: &[&str]) -> Result<Server, String> {
    Launch::on_free_port(&[&["--io-threads", "1"], arguments].concat())?.start()
}

const BULK_ERROR: &str = "-ERR Protocol error: invalid bulk length";

fn argument_bytes() -> Result<(), Failed> {
    let server = server(&["--proto-max-bulk-len", "1mb"])?;
    let mut client = Client::connect(server.port())?;
    client.expect(r#"SET k "\*1048576{x}""#, "+OK")?;
    client.expect("STRLEN k", ":1048576")?;
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    client.expect("APPEND k x", too_long)?;
    client.expect("SETRANGE k 1048576 x", too_long)?;
    client.expect("SETRANGE k 1048575 y", ":1048576")?;
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n")?;
    let reply = client.receive()?.lines().concat();
    check(reply == BULK_ERROR, || reply)?;
    client.expect_end()?;
    Client::connect(server.port())?.expect("STRLEN k", ":1048576")
}

fn argument_bytes_as_set() -> Result<(), Failed> {
    let server = server(&[])?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG SET proto-max-bulk-len 2mb", "+OK")?;
    client.expect(r#"SET k "\*2097152{x}""#, "+OK")?;
    client.send_raw(b"*2\r\n$3\r\nGET\r\n$2097153\r\n")?;
    let reply = client.receive()?.lines().concat();
    check(reply == BULK_ERROR, || reply)?;
    let mut client = Client::connect(server.port())?;
    let refusal = client.call("CONFIG SET proto-max-bulk-len 128mb")?;
    check(refusal.contains("client-query-buffer-limit"), || refusal)?;
    client.expect(
        "CONFIG SET proto-max-bulk-len 128mb client-query-buffer-limit 129mb",
        "+OK",
    )
}

fn argument_count() -> Result<(), Failed> {
    const COUNT_MAX: usize = 1_048_576;
    let server = server(&[])?;
    let mut client = Client::connect(server.port())?;
    let start = format!("*{COUNT_MAX}\r\n$6\r\nEXISTS\r\n");
    let bytes = [start.as_bytes(), &b"$1\r\nk\r\n".repeat(COUNT_MAX - 1)].concat();
    client.expect("SET k v", "+OK")?;
    client.send_raw(&bytes)?;
    let reply = client.receive()?.lines().concat();
    check(reply == format!(":{}", COUNT_MAX - 1), || reply)?;
    client.send_raw(format!("*{}\r\n", COUNT_MAX + 1).as_bytes())?;
    let reply = client.receive()?.lines().concat();
    let error = "-ERR Protocol error: invalid multibulk length";
    check(reply == error, || reply)?;
    client.expect_end()?;
    // What it took is given back.
    let mut client = Client::connect(server.port())?;
    client.expect("PING", "+PONG")?;
    let bytes = client.info_field("mem_clients_normal")?;
    check(bytes < 1 << 20, || format!("{bytes} bytes of clients"))
}

fn key_bytes() -> Result<(), Failed> {
    let server = server(&[])?;
    let mut client = Client::connect(server.port())?;
    client.expect(r#"SET "\*65536{k}" v"#, "+OK")?;
    client.expect(r#"GET "\*65536{k}""#, "$1 v")?;
    for command in [
        r#"SET "\*65537{k}" v"#,
        r#"GET "\*65537{k}""#,
        r#"MSET a 1 "\*65537{k}" v"#,
        r#"DEL a "\*65537{k}""#,
        r#"RENAME a "\*65537{k}""#,
        r#"WATCH "\*65537{k}""#,
    ] {
        client.expect(command, "-ERR key is too long")?;
    }
    client.expect("DBSIZE", ":1")
}

/// One key too many, and none of that command's is watched.
fn watched_keys() -> Result<(), Failed> {
    const COUNT_MAX: i64 = 10_000;
    let server = server(&[])?;
    let mut client = Client::connect(server.port())?;
    let watch = |keys: std::ops::Range<i64>| {
        let keys: Vec<String> = keys.map(|n| format!("k{n}")).collect();
        format!("WATCH {}", keys.join(" "))
    };
    let mut expect = |command: &str, reply: &str, watched: i64| -> Result<(), Failed> {
        client.expect(command, reply)?;
        let found = client.info_field("total_watched_keys")?;
        check(found == watched, || format!("{found} watched"))
    };
    let too_many = "-ERR too many watched keys";
    expect(&watch(0..COUNT_MAX + 1), too_many, 0)?;
    expect(&watch(0..COUNT_MAX), "+OK", COUNT_MAX)?;
    expect(&watch(0..COUNT_MAX), "+OK", COUNT_MAX)?;
    expect("WATCH k0 one k1", too_many, COUNT_MAX)?;
    expect("UNWATCH", "+OK", 0)?;
    expect(&watch(1..COUNT_MAX), "+OK", COUNT_MAX - 1)?;
    expect("WATCH one another", too_many, COUNT_MAX - 1)?;
    expect("WATCH one one k1", "+OK", COUNT_MAX)
}

/// A command whose arguments are each short enough, but not together.
fn query_buffer() -> Result<(), Failed> {
    let limits = [
        "--proto-max-bulk-len",
        "1mb",
        "--client-query-buffer-limit",
        "2mb",
    ];
    let server = server(&limits)?;
    let mut other = Client::connect(server.port())?;
    let mut client = Client::connect(server.port())?;
    client.expect(r#"MSET a "\*1000000{x}" b "\*1000000{x}""#, "+OK")?;
    let mut bytes = encode(&words(r#"MSET a "\*1000000{x}" b "\*1000000{x}" c x"#)?);
    let rest = bytes.split_off(bytes.len() - 8);
    client.send_raw(&bytes)?;
    client.send_raw(&rest)?;
    let reply = client.receive()?.lines().concat();
    check(reply == "+OK", || reply)?;
    let too_much = encode(&words(
        r#"MSET a "\*1000000{x}" b "\*1000000{x}" c "\*1000000{x}""#,
    )?);
    // The server may have closed before all was sent.
    let _ = client.send_raw(&too_much);
    client.expect_end()?;
    other.expect("MGET c", "*1 $1 x")?;
    client = Client::connect(server.port())?;
    // A command just below the limit does not pay for those behind it.
    let below = encode(&words(
        r#"MSET a "\*1000000{x}" b "\*1000000{x}" c "\*97000{x}""#,
    )?);
    client.send_raw(&[below, encode(&words("ECHO \"\\*1000{x}\"")?).repeat(1_000)].concat())?;
    let reply = client.receive()?.lines().concat();
    check(reply == "+OK", || reply)?;
    other.await_info("client_query_buffer_limit_disconnections", 1)
}

/// Memory is taken from what arrives, not from what is announced.
fn claims() -> Result<(), Failed> {
    let server = server(&[])?;
    let mut other = Client::connect(server.port())?;
    let before = other.info_field("used_memory_rss")?;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(server.port())?;
        client.expect("PING", "+PONG")?;
        client.send_raw(b"*1048576\r\n$3\r\nSET\r\n$67108864\r\nabc")?;
        clients.push(client);
    }
    eventually("all have been read", GONE_MAX, || {
        let listed = other.call("CLIENT LIST")?;
        Ok((listed.matches(" qbuf=0 ").count() <= 1).then_some(()))
    })?;
    let grown_bytes = other.info_field("used_memory_rss")? - before;
    check(grown_bytes < 16 << 20, || {
        format!("{grown_bytes} bytes more")
    })
}
