//! What do parsing a request, finding its command and writing a reply cost?

#![forbid(unsafe_code)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linchpin_protocol::{Limits, RequestParser, Version, Writer, encode_command};
use linchpin_server::command::table;
use std::hint::black_box;

/// Keys that the MSET sets.
const MSET_KEYS: usize = 10;
/// Requests in a pipeline.
const PIPELINE: usize = 128;

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, words);
    bytes
}

/// Parses all of `input`; answers the number of arguments, so that none can be left out.
fn parse(parser: &mut RequestParser, limits: &Limits, mut input: &[u8]) -> usize {
    let mut arguments = 0;
    while let Ok(Some(consumed)) = parser.parse(input, limits) {
        arguments += parser.args(input).len();
        input = &input[consumed..];
    }
    arguments
}

fn parsing(c: &mut Criterion) {
    let mut mset = vec!["MSET"];
    mset.extend([["key:000000001234", "abcdefghijklmnop"]; MSET_KEYS].as_flattened());
    let get = request(&["GET", "key:000000001234"]);
    let requests = [
        (
            "SET",
            request(&["SET", "key:000000001234", "abcdefghijklmnop"]),
        ),
        ("MSET of 10", request(&mset)),
        ("GET x 128", get.repeat(PIPELINE)),
        ("GET", get),
    ];
    let mut group = c.benchmark_group("parse");
    let limits = Limits::default();
    for (name, input) in &requests {
        group.throughput(Throughput::Bytes(input.len() as u64));
        let mut parser = RequestParser::new();
        group.bench_function(*name, |b| {
            b.iter(|| parse(&mut parser, &limits, black_box(input)));
        });
    }
    group.finish();
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    for name in ["get", "GET", "INCRBYFLOAT", "nosuchcommand"] {
        group.bench_function(name, |b| {
            b.iter(|| table::find(black_box(name.as_bytes())).is_some());
        });
    }
    group.finish();
}

fn writing(c: &mut Criterion) {
    let mut out = Vec::with_capacity(64 << 10);
    let mut group = c.benchmark_group("write");
    let mut reply = |name: &str, write: fn(&mut Writer<'_>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                write(&mut Writer::new(&mut out, Version::Resp2));
                black_box(&out).len()
            });
        });
    };
    reply("+OK", |writer| writer.ok());
    reply("integer", |writer| writer.integer(black_box(123_456)));
    reply("null", |writer| writer.null());
    reply("bulk of 16 B", |writer| {
        writer.bulk(black_box(b"abcdefghijklmnop"));
    });
    reply("bulk of 4 KiB", |writer| {
        writer.bulk(black_box(&[b'x'; 4 << 10]));
    });
    reply("array of 10 bulks", |writer| {
        writer.array(MSET_KEYS);
        (0..MSET_KEYS).for_each(|_| writer.bulk(black_box(b"abcdefghijklmnop")));
    });
    group.finish();
}

criterion_group!(benches, parsing, dispatch, writing);
criterion_main!(benches);
