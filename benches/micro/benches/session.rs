//! What does a command cost without the kernel: from received bytes to bytes to be sent?

#![forbid(unsafe_code)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linchpin_protocol::encode_command;
use linchpin_server::inproc::{Inproc, InprocOptions};
use std::hint::black_box;

const PIPELINES: [u64; 3] = [1, 16, 128];
const KEYS: u64 = 10_000;
/// Different batches of requests; a power of two.
const BATCHES: u64 = 256;

/// Batches of `pipeline` requests, each with the next key.
fn requests(command: &[&str], value: Option<&str>, pipeline: u64) -> Vec<Vec<u8>> {
    let batch = |number| {
        let mut bytes = Vec::new();
        for at in 0..pipeline {
            let key = format!("{:012}", (number * pipeline + at) * 7_919 % KEYS);
            let words = command.iter().copied().chain([key.as_str()]);
            let words: Vec<&str> = words.chain(value).collect();
            encode_command(&mut bytes, words);
        }
        bytes
    };
    (0..BATCHES).map(batch).collect()
}

fn commands(c: &mut Criterion) {
    for (name, words, value) in [
        ("PING", &["PING"][..], None),
        ("SET", &["SET"], Some("abcdefghijklmnop")),
        ("GET", &["GET"], None),
        ("INCR", &["INCRBY"], Some("1")),
    ] {
        let mut group = c.benchmark_group(name);
        for pipeline in PIPELINES {
            let mut server = Inproc::new(InprocOptions {
                is_recorded: false,
                ..Default::default()
            });
            let connection = server.connect();
            if name == "GET" {
                for number in 0..KEYS {
                    let mut bytes = Vec::new();
                    let key = format!("{number:012}");
                    encode_command(&mut bytes, ["SET", key.as_str(), "abcdefghijklmnop"]);
                    server.send(connection, &bytes);
                }
                server.take_output(connection);
            }
            let batches = requests(words, value, pipeline);
            let mut next = 0;
            group.throughput(Throughput::Elements(pipeline));
            group.bench_function(format!("pipeline {pipeline}"), |b| {
                b.iter(|| {
                    next = (next + 1) % batches.len();
                    server.send(connection, black_box(&batches[next]));
                    server.take_output(connection).len()
                });
            });
            let mut check = batches[0].clone();
            check.extend_from_slice(b"PING\r\n");
            server.send(connection, &check);
            let output = server.take_output(connection);
            assert!(!output.contains(&b'-'), "{name} answered an error");
        }
        group.finish();
    }
}

criterion_group!(benches, commands);
criterion_main!(benches);
