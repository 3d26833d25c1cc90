//! Publishers and subscribers that come and go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("subscribers_come_and_go_and_miss_nothing", come_and_go),
    ("a_stopped_subscriber_is_cut_off_alone", stopped),
    (
        "a_slow_subscriber_misses_what_it_is_told_it_missed",
        slow_policy,
    ),
    ("who_has_gone_leaves_no_subscription", gone),
];

const PUBLISHERS: usize = 4;
const MESSAGES: usize = 2_500;
const LISTENERS: usize = 40;
/// A publisher does not wait for each reply.
const IN_FLIGHT: usize = 50;

/// The last number that came of each publisher.
#[derive(Default)]
struct Seen(HashMap<usize, usize>);

impl Seen {
    /// Takes a message `publisher:number`, which must be the one behind the last of its publisher.
    fn take(&mut self, payload: &str) -> Result<(), Failed> {
        let (publisher, number) = payload.split_once(':').ok_or("no message of ours")?;
        let (publisher, number) = (publisher.parse()?, number.parse()?);
        let last = self.0.insert(publisher, number);
        check(last.is_none_or(|last| last + 1 == number), || {
            format!("publisher {publisher}: {number} after {last:?}")
        })
    }
}

fn publish(number: usize, client: &mut Client) -> Result<(), Failed> {
    for begin in (0..MESSAGES).step_by(IN_FLIGHT) {
        for message in begin..begin + IN_FLIGHT {
            client.send(&format!("PUBLISH c {number}:{message}"))?;
        }
        for _ in 0..IN_FLIGHT {
            client.receive()?;
        }
    }
    Ok(())
}

/// What a reply is: the word it begins with, and the last one.
fn ends(client: &mut Client) -> Result<(String, String), Failed> {
    let lines = client.receive()?.lines();
    let first = lines.get(2).or(lines.first()).cloned().unwrap_or_default();
    Ok((first, lines.last().cloned().unwrap_or_default()))
}

/// Subscribes, listens for a while and leaves, until the publishers are done.
fn listen(number: usize, client: &mut Client, at_work: &AtomicUsize) -> Result<(), Failed> {
    let (begin, word, end) = if number.is_multiple_of(2) {
        ("SUBSCRIBE c", "message", "UNSUBSCRIBE c")
    } else {
        ("PSUBSCRIBE c*", "pmessage", "PUNSUBSCRIBE c*")
    };
    if number.is_multiple_of(3) {
        client.send("HELLO 3")?;
        client.receive()?;
    }
    let mut round = 0;
    while at_work.load(Ordering::Relaxed) > 0 {
        round += 1;
        let mut seen = Seen::default();
        client.send(begin)?;
        let (first, count) = ends(client)?;
        check(first.ends_with("subscribe") && count == ":1", || {
            format!("{first} before the confirmation")
        })?;
        client.send(end)?;
        loop {
            let (first, last) = ends(client)?;
            if first.ends_with("unsubscribe") {
                break;
            }
            check(first == word, || format!("{first} instead of a {word}"))?;
            seen.take(&last)?;
        }
        client.expect("PING", "+PONG")?;
    }
    check(round > 0, || "never came".to_owned())
}

/// Goes red when a topic is unlocked before the last mailbox has its message, and when a connection
/// does not empty its mailbox before it confirms the end.
fn come_and_go() -> Result<(), Failed> {
    let server = server()?;
    let at_work = AtomicUsize::new(PUBLISHERS);
    all_at_once(&server, PUBLISHERS + LISTENERS + 2, |number, client| {
        if number < PUBLISHERS {
            let outcome = publish(number, client);
            at_work.fetch_sub(1, Ordering::Relaxed);
            return outcome;
        }
        if number < PUBLISHERS + LISTENERS {
            return listen(number, client, &at_work);
        }
        // One that stays through it all, from before anything was published or from its midst.
        client.send("SUBSCRIBE c end")?;
        let mut seen = Seen::default();
        loop {
            let (first, last) = ends(client)?;
            match first.as_str() {
                "subscribe" => {}
                "message" => seen.take(&last)?,
                other => return Err(other.into()),
            }
            if seen.0.len() == PUBLISHERS && seen.0.values().all(|last| last + 1 == MESSAGES) {
                return Ok(());
            }
        }
    })?;
    Client::connect(server.port())?.await_info("pubsub_channels", 0)
}

/// One of many reads nothing: it is cut off at its limit, and its memory is back. The others get
/// everything.
fn stopped() -> Result<(), Failed> {
    const FED: usize = 20;
    const SENT: usize = 20_000;
    let server = server()?;
    let mut admin = Client::connect(server.port())?;
    let limit = "CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"";
    admin.expect(limit, "+OK")?;
    let mut deaf = Client::connect_deaf(server.port())?;
    deaf.expect("SUBSCRIBE c", "*3 $9 subscribe $1 c :1")?;
    let payload = "x".repeat(1_000);
    // What each has got; the confirmation counts, too.
    let got: Vec<AtomicUsize> = (0..FED).map(|_| AtomicUsize::new(0)).collect();
    all_at_once(&server, FED + 1, |number, client| {
        if number < FED {
            client.send("SUBSCRIBE c")?;
            for _ in 0..SENT + 1 {
                let (first, _) = ends(client)?;
                check(first == "message" || first == "subscribe", || first.clone())?;
                got[number].fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        for begin in (0..SENT).step_by(IN_FLIGHT) {
            // No further ahead than half of what may wait: those who read are to keep up.
            let lags = |got: &AtomicUsize| got.load(Ordering::Relaxed) + 500 < begin.max(501);
            while got.iter().any(lags) {
                std::thread::yield_now();
            }
            for _ in begin..begin + IN_FLIGHT {
                client.send(&format!("PUBLISH c {payload}"))?;
            }
            for _ in 0..IN_FLIGHT {
                client.receive()?;
            }
        }
        Ok(())
    })?;
    admin.await_info("pubsub_channels", 0)?;
    admin.await_info("client_output_buffer_limit_disconnections", 1)?;
    admin.await_info("connected_clients", 1)?;
    let held = admin.info_field("mem_clients_normal")?;
    check(held < 1 << 20, || format!("{held} bytes are still held"))
}

/// Subscribers that do not read while more is published than may wait, and read then: what came and
/// what they were told was dropped are all that was published, and the order is kept.
fn slow_policy() -> Result<(), Failed> {
    const SENT: usize = 20_000;
    let server = server()?;
    let mut admin = Client::connect(server.port())?;
    let limit = "CONFIG SET client-output-buffer-limit \"pubsub 200kb 1 1\"";
    admin.expect(limit, "+OK")?;
    let mut listeners = Vec::new();
    for policy in ["DROP-OLDEST", "DROP-NEWEST", "CONFLATE"] {
        let mut client = Client::connect_deaf(server.port())?;
        client.call("HELLO 3")?;
        client.expect(&format!("CLIENT SLOWPOLICY {policy}"), "+OK")?;
        client.expect("SUBSCRIBE c", ">3 $9 subscribe $1 c :1")?;
        listeners.push((policy, client));
    }
    let padding = "x".repeat(1_000);
    for number in 0..SENT {
        admin.expect(&format!("PUBLISH c {padding}{number}"), ":3")?;
    }
    // Behind all that was published; it is dropped itself, or pushes others out.
    admin.expect("PUBLISH c end", ":3")?;
    for (policy, client) in &mut listeners {
        let (mut came, mut dropped, mut last) = (0, 0, None);
        while came + dropped < SENT + 1 {
            let lines = client.receive()?.lines();
            let text = lines.last().cloned().unwrap_or_default();
            match lines.get(2).map(String::as_str) {
                Some("dropped") => dropped += text.trim_start_matches(':').parse::<usize>()?,
                Some("message") if text == "end" => came += 1,
                Some("message") => {
                    let number: usize = text.trim_start_matches('x').parse()?;
                    check(last < Some(number), || format!("{number} after {last:?}"))?;
                    last = Some(number);
                    came += 1;
                }
                _ => return Err(format!("{lines:?}").into()),
            }
        }
        check(dropped > SENT / 2, || {
            format!("{policy}: {dropped} dropped")
        })?;
        client.expect("UNSUBSCRIBE c", ">3 $11 unsubscribe $1 c :0")?;
    }
    admin.await_info("client_output_buffer_limit_disconnections", 0)
}

/// Connections that end with subscriptions, in whatever way, leave none.
fn gone() -> Result<(), Failed> {
    let server = server()?;
    all_at_once(&server, 50, |number, client| {
        client.send(&format!("SUBSCRIBE c {number}"))?;
        client.send(&format!("PSUBSCRIBE p* {number}*"))?;
        client.send(&format!("SSUBSCRIBE s {number}"))?;
        (0..6).try_for_each(|_| client.receive().map(|_| ()))
    })?;
    let mut admin = Client::connect(server.port())?;
    for name in ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"] {
        admin.await_info(name, 0)?;
    }
    admin.expect("PUBLISH p x", ":0")
}
