//! A stampede: many connections miss one key at once.
//!
//! All ask, one wins; when it has taken its time, it writes the value, and the clock runs from
//! before that write until the last of the others has read the value.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use linchpin_protocol::Reply;

use super::client::{Client, token};
use crate::clock::now;
use crate::process::Server;
use crate::report::{markdown, median};

/// Connections.
const CROWD: usize = 500;
/// How long it takes to make the value.
const REFILL: Duration = Duration::from_millis(50);
/// How long the winner and the others would have, in milliseconds.
const PATIENCE_MS: &[u8] = b"30000";
const VALUE: &[u8] = b"0123456789abcdef";

/// One round, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    /// From the first request until the last reply.
    whole_us: f64,
    /// From when the value is sent until the last reply.
    told_us: f64,
}

/// Measures so many rounds; answers a table.
pub(super) fn measure(server: &Server, rounds: usize) -> anyhow::Result<String> {
    let clients = (0..CROWD).map(|_| Client::connect(server.address()));
    let mut clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
    let rounds: Vec<Round> = (0..rounds)
        .map(|number| round(&mut clients, format!("stampede:{number}").as_bytes()))
        .collect::<Result<_, _>>()?;
    let ms = |figure: fn(&Round) -> f64| {
        let values = || rounds.iter().map(figure);
        let most = values().fold(0.0, f64::max);
        format!("{:.1} ({:.1})", median(values()) / 1e3, most / 1e3)
    };
    let row = [
        CROWD.to_string(),
        rounds.len().to_string(),
        "1".to_owned(),
        format!("{:.1}", REFILL.as_secs_f64() * 1e3),
        ms(|round| round.told_us),
        ms(|round| round.whole_us),
    ];
    Ok(format!(
        "One key that {CROWD} connections miss at once; medians, in brackets the worst:\n\n{}",
        markdown(&HEADER, 0, &[row.to_vec()])
    ))
}

const HEADER: [&str; 6] = [
    "connections",
    "rounds",
    "winners",
    "refill ms",
    "all told after ms",
    "all in all ms",
];

fn round(clients: &mut [Client], key: &[u8]) -> anyhow::Result<Round> {
    let begin = now();
    for client in &mut *clients {
        client.send(&[
            b"CACHE.GET",
            key,
            b"FILL",
            PATIENCE_MS,
            b"WAIT",
            PATIENCE_MS,
        ])?;
    }
    let (winner, token) = winner(clients, begin)?;
    sleep(REFILL);
    // Nobody else was told anything meanwhile.
    for (at, client) in clients.iter_mut().enumerate() {
        let told = client.try_receive()?;
        ensure!(told.is_none(), "client {at}, beside {winner}: {told:?}");
    }
    let token = token.to_string();
    let sent = now();
    let fill = [
        b"CACHE.SET",
        key,
        VALUE,
        b"TOKEN",
        token.as_bytes(),
        b"PX",
        PATIENCE_MS,
    ];
    clients[winner].send(&fill)?;
    for (at, client) in clients.iter_mut().enumerate() {
        let reply = client.receive()?;
        let is_right = match &reply {
            Reply::Integer(1) => at == winner,
            Reply::Array(parts) => {
                at != winner
                    && parts[..2] == [Reply::Bulk(b"HIT".into()), Reply::Bulk(VALUE.into())]
            }
            _ => false,
        };
        ensure!(is_right, "client {at}: {reply:?}");
    }
    let told = sent.elapsed();
    ensure!(told < REFILL, "the last was told after {told:?}");
    Ok(Round {
        whole_us: begin.elapsed().as_secs_f64() * 1e6,
        told_us: told.as_secs_f64() * 1e6,
    })
}

/// Who is to fill the key, and by what token.
fn winner(clients: &mut [Client], begin: Instant) -> anyhow::Result<(usize, i64)> {
    while begin.elapsed() < Duration::from_secs(10) {
        for (at, client) in clients.iter_mut().enumerate() {
            if let Some(reply) = client.try_receive()? {
                return Ok((at, token(&reply)?));
            }
        }
    }
    Err(anyhow::anyhow!("nobody was given the turn")).context("a stampede")
}
