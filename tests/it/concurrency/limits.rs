//! Limits under many connections: never one admission too many, nor one too few.

#![expect(
    clippy::disallowed_methods,
    reason = "what comes back in a bucket is a matter of real time"
)]

use std::time::Instant;

use libtest_mimic::Failed;

use super::{all_at_once, server};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("a_bucket_gives_out_what_it_holds", bucket),
    ("a_bucket_gives_out_what_comes_back", refill),
    ("several_limits_are_charged_together_or_not", several),
];

const CLIENTS: usize = 64;

/// Whether a call was admitted.
fn is_admitted(reply: &str) -> Result<bool, Failed> {
    match reply.split(' ').nth(1) {
        Some(":0") => Ok(true),
        Some(":1") => Ok(false),
        _ => Err(format!("no verdict: {reply}").into()),
    }
}

/// How many of `calls` of each client are admitted.
fn admitted(client: &mut Client, line: &str, calls: usize) -> Result<usize, Failed> {
    // In pipelines of ten, so that batches meet.
    let mut sum = 0;
    for _ in 0..calls / 10 {
        for _ in 0..10 {
            client.send(line)?;
        }
        for _ in 0..10 {
            sum += usize::from(is_admitted(&client.receive()?.lines().join(" "))?);
        }
    }
    Ok(sum)
}

fn bucket() -> Result<(), Failed> {
    let server = server()?;
    // Nothing comes back while this runs.
    let sums = all_at_once(&server, CLIENTS, |_, client| {
        admitted(client, "CL.THROTTLE k 999 1 100000", 100)
    })?;
    let sum: usize = sums.iter().sum();
    check(sum == 1_000, || format!("{sum} of 1,000 were admitted"))
}

fn refill() -> Result<(), Failed> {
    const PER_SECOND: u128 = 20_000;
    let server = server()?;
    let began = Instant::now();
    let sums = all_at_once(&server, CLIENTS, |_, client| {
        admitted(client, "CL.THROTTLE k 99 20000 1", 400)
    })?;
    // All of the server's time between the first call and the last lies in this.
    let passed_us = began.elapsed().as_micros() + 1_000;
    let sum: usize = sums.iter().sum();
    let most = 100 + passed_us * PER_SECOND / 1_000_000;
    check(sum >= 100 && sum as u128 <= most, || {
        format!("{sum} were admitted, {most} at most may be")
    })
}

fn several() -> Result<(), Failed> {
    let server = server()?;
    let sums = all_at_once(&server, CLIENTS, |number, client| {
        // In either order; the narrower one decides.
        let line = if number % 2 == 0 {
            "CL.MTHROTTLE 2 wide 4999 1 100000 2 narrow 499 1 100000 1"
        } else {
            "CL.MTHROTTLE 2 narrow 499 1 100000 1 wide 4999 1 100000 2"
        };
        admitted(client, line, 50)
    })?;
    let sum: usize = sums.iter().sum();
    check(sum == 500, || format!("{sum} of 500 were admitted"))?;
    let wide = Client::connect(server.port())?.call("CL.THROTTLE wide 4999 1 100000 0")?;
    check(wide.starts_with("*5 :0 :5000 :4000 "), || {
        format!("the other limit was charged by itself: {wide}")
    })
}
