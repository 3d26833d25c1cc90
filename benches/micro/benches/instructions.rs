//! How many instructions do parsing, dispatch, the commonest commands and the end of a key take?
//!
//! Counted by callgrind, so the answer does not depend on what else the machine does;
//! `.ci/instructions` holds it against `instructions.tsv`. Nothing here may depend on time, chance
//! or other threads. What a benchmark needs is made before counting begins and freed after it
//! ended, and every session has run its requests once before, so that no buffer of it grows.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "gungraun's macros make public items"
)]

use gungraun::{library_benchmark, library_benchmark_group, main};
use linchpin_protocol::{Limits, Pipeline, RequestParser, encode_command};
use linchpin_server::clock::Now;
use linchpin_server::command::table;
use linchpin_server::config::Settings;
use linchpin_server::engine::{Deadline, Engine, Options, Slot, Sweeper, Tally, ValueRef};
use linchpin_server::inproc::{Inproc, InprocOptions};
use linchpin_server::policy::Policy;
use std::hint::black_box;
use std::ops::Range;

/// Requests or keys that a benchmark works on.
const COUNT: u64 = 1_024;
/// Keys there are. Some of them collide in the table, as they do in a server.
const KEYS: u64 = 10_000;
/// Visits every number below [`KEYS`] before any twice.
const STRIDE: u64 = 7_919;
const VALUE: &str = "abcdefghijklmnop";
const NOW: Now = Now {
    wall_ms: 1_700_000_000_000,
    wall_sub_us: 0,
    engine_ms: 0,
    mono_us: 0,
};
const DUE: Now = Now {
    wall_ms: NOW.wall_ms + 60_000,
    ..NOW
};

fn name(number: u64) -> String {
    format!("key:{:012}", number * STRIDE % KEYS)
}

fn request(out: &mut Vec<u8>, command: &str, number: u64, value: Option<&str>) {
    let key = name(number);
    let mut words = vec![command, &key];
    words.extend(value);
    encode_command(out, words);
}

/// [`COUNT`] requests, so many in each batch.
fn requests(command: &str, value: Option<&str>, pipeline: u64) -> Vec<Vec<u8>> {
    let batch = |first| {
        let mut bytes = Vec::new();
        for number in first..first + pipeline {
            request(&mut bytes, command, number, value);
        }
        bytes
    };
    (0..COUNT).step_by(pipeline as usize).map(batch).collect()
}

/// A parser and what it is to parse.
struct Parsing {
    parser: RequestParser,
    pipeline: Pipeline,
    limits: Limits,
    input: Vec<u8>,
}

fn parsing(command: &str, value: Option<&str>) -> Parsing {
    Parsing {
        parser: RequestParser::new(),
        pipeline: Pipeline::new(),
        limits: Limits::default(),
        input: requests(command, value, COUNT).concat(),
    }
}

#[library_benchmark(setup = parsing)]
#[bench::get("GET", None)]
#[bench::set("SET", Some(VALUE))]
fn parse_one_by_one(mut parsing: Parsing) -> Parsing {
    let mut rest = parsing.input.as_slice();
    while let Ok(Some(consumed)) = parsing.parser.parse(rest, &parsing.limits) {
        black_box(parsing.parser.args(rest).len());
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty());
    parsing
}

#[library_benchmark(setup = parsing)]
#[bench::get("GET", None)]
fn parse_ahead(mut parsing: Parsing) -> Parsing {
    let mut rest = parsing.input.as_slice();
    while !rest.is_empty() {
        let pipeline = &mut parsing.pipeline;
        black_box(
            parsing
                .parser
                .parse_ahead(rest, &parsing.limits, 32, pipeline),
        );
        rest = &rest[pipeline.end(pipeline.len() - 1)..];
    }
    parsing
}

#[library_benchmark]
#[bench::lower_case("get")]
#[bench::upper_case("GET")]
#[bench::long("INCRBYFLOAT")]
#[bench::unknown("nosuchcommand")]
fn dispatch(name: &str) {
    for _ in 0..COUNT {
        black_box(table::find(black_box(name.as_bytes())).is_some());
    }
}

/// A server, a connection to it, and what that sends.
struct Session {
    server: Inproc,
    connection: usize,
    batches: Vec<Vec<u8>>,
}

impl Session {
    fn run(mut self) -> Self {
        for batch in &self.batches {
            self.server.send(self.connection, batch);
            black_box(self.server.take_output(self.connection));
        }
        self
    }
}

fn session(command: &str, value: Option<&str>, pipeline: u64) -> Session {
    let mut server = Inproc::new(InprocOptions {
        is_recorded: false,
        ..Default::default()
    });
    let connection = server.connect();
    let mut bytes = Vec::new();
    for number in 0..KEYS {
        let initial = if command == "INCRBY" { "0" } else { VALUE };
        request(&mut bytes, "SET", number, Some(initial));
    }
    server.send(connection, &bytes);
    server.take_output(connection);
    let batches = requests(command, value, pipeline);
    let session = Session {
        server,
        connection,
        batches,
    };
    let mut session = session.run();
    session.server.send(connection, &session.batches[0]);
    let output = session.server.take_output(connection);
    assert!(!output.contains(&b'-'), "{command} answers an error");
    session
}

#[library_benchmark(setup = session)]
#[bench::get("GET", None, 1)]
#[bench::get_pipelined("GET", None, 128)]
#[bench::set("SET", Some(VALUE), 1)]
#[bench::set_pipelined("SET", Some(VALUE), 128)]
#[bench::incr("INCRBY", Some("1"), 1)]
#[bench::incr_pipelined("INCRBY", Some("1"), 128)]
fn command(session: Session) -> Session {
    session.run()
}

/// Who takes locks: as long as a random token of 128 bits.
const OWNER: &str = "0123456789abcdef0123456789abcdef";

/// [`COUNT`] requests in pairs: a lock that nobody else wants is taken and given back.
fn pairs(pipeline: u64) -> Session {
    let mut server = Inproc::new(InprocOptions {
        is_recorded: false,
        ..Default::default()
    });
    let connection = server.connect();
    let request = |number: u64| {
        let (key, mut bytes) = (name(number / 2), Vec::new());
        if number.is_multiple_of(2) {
            encode_command(&mut bytes, ["LOCK.ACQUIRE", &key, OWNER, "PX", "60000"]);
        } else {
            encode_command(&mut bytes, ["LOCK.RELEASE", &key, OWNER]);
        }
        bytes
    };
    let batch = |first: u64| (first..first + pipeline).flat_map(request).collect();
    let session = Session {
        server,
        connection,
        batches: (0..COUNT).step_by(pipeline as usize).map(batch).collect(),
    };
    let mut session = session.run();
    session.server.send(connection, &request(0));
    let granted = session.server.take_output(connection);
    assert!(
        granted.starts_with(b"*4\r\n:1\r\n"),
        "a lock was left behind"
    );
    session.server.send(connection, &request(1));
    assert_eq!(session.server.take_output(connection), b":1\r\n");
    session
}

#[library_benchmark(setup = pairs)]
#[bench::pair(1)]
#[bench::pair_pipelined(16)]
fn lock(session: Session) -> Session {
    session.run()
}

/// Bytes that [`KEYS_FULL`] keys more than fill.
const MEMORY_MAX: u64 = 2 << 20;
const KEYS_FULL: u64 = 1 << 16;
/// Few, so that shards have as many keys as in a large server, and give back pages as those do.
const SHARDS_FULL: usize = 16;
/// Memory comes back in pages; so many keys make a page more or less a matter of one percent.
const COUNT_EVICTING: u64 = 16 * COUNT;

/// A full server, and `SET`s of keys that it has not.
fn full(policy: Policy) -> Session {
    let mut settings = Settings::default();
    settings.maxmemory = MEMORY_MAX;
    settings.maxmemory_policy = policy;
    let mut server = Inproc::new(InprocOptions {
        settings,
        shards: SHARDS_FULL,
        is_recorded: false,
        ..Default::default()
    });
    let connection = server.connect();
    let batch = |first| {
        let mut bytes = Vec::new();
        for number in first..first + 128 {
            encode_command(&mut bytes, ["SET", &format!("key:{number:012}"), VALUE]);
        }
        bytes
    };
    let batches = |numbers: Range<u64>| numbers.step_by(128).map(batch).collect();
    let session = Session {
        server,
        connection,
        batches: batches(0..KEYS_FULL),
    };
    let mut session = session.run();
    session.batches = batches(KEYS_FULL..KEYS_FULL + COUNT_EVICTING);
    session.server.send(connection, b"INFO stats\r\n");
    let info = session.server.take_output(connection);
    let info = String::from_utf8_lossy(&info);
    assert!(info.contains("evicted_keys:") && !info.contains("evicted_keys:0"));
    session
}

#[library_benchmark(setup = full)]
#[bench::lru(Policy::AllKeysLru)]
#[bench::lfu(Policy::AllKeysLfu)]
#[bench::random(Policy::AllKeysRandom)]
fn evict(session: Session) -> Session {
    session.run()
}

/// An engine, and keys in it whose turn it is.
struct Keyspace {
    engine: Engine,
    keys: Vec<String>,
}

impl Keyspace {
    fn each(&self, now: Now, mut act: impl FnMut(&mut Slot<'_>)) {
        let batch = self.engine.shared(0, now);
        for key in &self.keys {
            let key = key.as_bytes();
            act(&mut batch.step().lock_any(0, key).slot(0, key));
        }
    }
}

/// An engine of [`KEYS`] keys; [`COUNT`] of them have this deadline.
fn keyspace(deadline: Deadline) -> Keyspace {
    let mut keyspace = Keyspace {
        engine: Engine::new(Options::default(), None),
        keys: (0..KEYS).map(name).collect(),
    };
    let put = |slot: &mut Slot<'_>, deadline| {
        slot.put(ValueRef::Bytes(VALUE.as_bytes()), deadline);
    };
    keyspace.each(NOW, |slot| put(slot, Deadline::None));
    keyspace.keys.truncate(COUNT as usize);
    keyspace.each(NOW, |slot| put(slot, deadline));
    keyspace
}

#[library_benchmark(setup = keyspace)]
#[bench::read(Deadline::None)]
fn key_read(keyspace: Keyspace) -> Keyspace {
    keyspace.each(NOW, |slot| assert!(slot.read().is_some()));
    keyspace
}

#[library_benchmark(setup = keyspace)]
#[bench::without_deadline(Deadline::None)]
#[bench::with_deadline(Deadline::At(DUE.wall_ms))]
fn key_put(keyspace: Keyspace) -> Keyspace {
    keyspace.each(NOW, |slot| {
        slot.put(ValueRef::Bytes(VALUE.as_bytes()), Deadline::Keep);
    });
    keyspace
}

#[library_benchmark(setup = keyspace)]
#[bench::found(Deadline::At(DUE.wall_ms))]
fn key_expire(keyspace: Keyspace) -> Keyspace {
    keyspace.each(DUE, |slot| assert!(!slot.exists()));
    keyspace
}

// A turn of expiry that finds nothing due, and one that finds all.
#[library_benchmark(setup = keyspace)]
#[bench::nothing_due(Deadline::None)]
#[bench::all_due(Deadline::At(DUE.wall_ms))]
fn expiry(keyspace: Keyspace) -> Keyspace {
    let mut tally = Tally::default();
    let batch = keyspace.engine.shared(0, DUE);
    let swept = Sweeper::new(0, 1).run(&batch, usize::MAX, &mut tally);
    assert!(!swept.is_cut_short());
    drop(batch);
    assert_eq!(tally.expired % COUNT, 0);
    keyspace
}

library_benchmark_group!(name = parsing_group; benchmarks = parse_one_by_one, parse_ahead);
library_benchmark_group!(name = dispatch_group; benchmarks = dispatch);
library_benchmark_group!(name = command_group; benchmarks = command, lock, evict);
library_benchmark_group!(
    name = engine_group;
    benchmarks = key_read, key_put, key_expire, expiry
);

main!(
    library_benchmark_groups = parsing_group,
    dispatch_group,
    command_group,
    engine_group
);
