//! What does an operation on one key cost, from locking its shard to letting go of it?
//!
//! Each iteration enters the gate once and works on [`BATCH`] keys, as a pipeline does; times are
//! for the whole batch, and the throughput is in keys. Keys come in an order without pattern, once
//! from few that stay in the caches and once from many that do not.

#![forbid(unsafe_code)]

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use linchpin_server::clock::Now;
use linchpin_server::engine::{Deadline, Engine, Options, Settler, Slot, Sweeper, Tally, ValueRef};
use std::time::Duration;

const BATCH: usize = 128;
/// As `net/worker.rs` has them.
const SETTLING_EFFORT: usize = 8_192;
const PURGED_SHARDS: usize = 4;
const KEYS_FEW: u64 = 10_000;
const KEYS_MANY: u64 = if cfg!(debug_assertions) {
    20_000
} else {
    2_000_000
};
/// Odd, so that multiplying by it visits every number below a power of two.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
const NOW: Now = Now {
    wall_ms: 1_700_000_000_000,
    wall_sub_us: 0,
    engine_ms: 0,
    mono_us: 0,
};
const VALUE: ValueRef<'static> = ValueRef::Bytes(b"abcdefghijklmnop");

fn name(number: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = number;
    for digit in name[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// An engine that holds `keys` keys with `value`.
fn engine(keys: u64, value: ValueRef<'_>, deadline: Deadline) -> Engine {
    let engine = Engine::new(Options::default(), None);
    let batch = engine.shared(0, NOW);
    for number in 0..keys {
        let key = name(number);
        batch
            .step()
            .lock_any(0, &key)
            .slot(0, &key)
            .put(value, deadline);
    }
    drop(batch);
    engine
}

/// Does `act` with each of `keys`, in one batch.
fn each(engine: &Engine, now: Now, keys: &[[u8; 16]], mut act: impl FnMut(&mut Slot<'_>)) {
    let batch = engine.shared(0, now);
    for key in keys {
        act(&mut batch.step().lock_any(0, key).slot(0, key));
    }
}

/// Batches of keys, the next one at every call.
fn batches(keys: u64) -> impl FnMut() -> Vec<[u8; 16]> {
    let mut next = 0_u64;
    move || {
        let draw = |_| {
            next = next.wrapping_add(1);
            name((next.wrapping_mul(STRIDE) >> 20) % keys)
        };
        (0..BATCH).map(draw).collect()
    }
}

fn operation(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (engine, keys): (&Engine, u64),
    mut act: impl FnMut(&mut Slot<'_>),
) {
    let mut next = batches(keys);
    group.bench_function(name, |b| {
        b.iter_batched(
            &mut next,
            |keys| each(engine, NOW, &keys, &mut act),
            BatchSize::SmallInput,
        );
    });
}

fn one_key(c: &mut Criterion) {
    for (name, keys) in [("few keys", KEYS_FEW), ("many keys", KEYS_MANY)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(BATCH as u64));
        let texts = engine(keys, VALUE, Deadline::None);
        operation(&mut group, "get", (&texts, keys), |slot| {
            assert!(slot.read().is_some());
        });
        operation(&mut group, "put", (&texts, keys), |slot| {
            slot.put(VALUE, Deadline::None);
        });
        operation(&mut group, "put with deadline", (&texts, keys), |slot| {
            slot.put(VALUE, Deadline::At(NOW.wall_ms + 60_000));
        });
        drop(texts);
        let counters = engine(keys, ValueRef::Int(0), Deadline::None);
        operation(&mut group, "incr", (&counters, keys), |slot| {
            let Some(ValueRef::Int(count)) = slot.read() else {
                panic!("a counter holds a number");
            };
            slot.put(ValueRef::Int(count + 1), Deadline::Keep);
        });
        group.finish();
    }
}

/// Finding a key past its deadline removes it; that the batch puts it back is part of the time.
fn expiring(c: &mut Criterion) {
    let mut group = c.benchmark_group("expire");
    group.throughput(Throughput::Elements(BATCH as u64));
    let due_ms = NOW.wall_ms + 1;
    let engine = engine(KEYS_FEW, VALUE, Deadline::At(due_ms));
    let after = Now {
        wall_ms: due_ms,
        ..NOW
    };
    let mut next = batches(KEYS_FEW);
    group.bench_function("put, then find expired", |b| {
        b.iter_batched(
            &mut next,
            |keys| {
                each(&engine, NOW, &keys, |slot| {
                    slot.put(VALUE, Deadline::At(due_ms));
                });
                each(&engine, after, &keys, |slot| assert!(!slot.exists()));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A worker's turn of expiry: with nothing due, which is what most turns find, and with a batch of
/// keys due among many that are not.
fn sweeping(c: &mut Criterion) {
    let mut group = c.benchmark_group("expiry");
    let due_ms = NOW.wall_ms + 1;
    let engine = engine(KEYS_MANY, VALUE, Deadline::At(NOW.wall_ms + 3_600_000));
    let after = Now {
        wall_ms: due_ms,
        ..NOW
    };
    let mut sweeper = Sweeper::new(0, 1);
    let mut turn = |now| {
        let mut tally = Tally::default();
        sweeper.run(&engine.shared(0, now), usize::MAX, &mut tally);
        tally.expired
    };
    group.bench_function("a turn with nothing due", |b| b.iter(|| turn(NOW)));
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut numbers = KEYS_MANY..;
    let mut put = || {
        let keys: Vec<_> = numbers.by_ref().take(BATCH).map(name).collect();
        each(&engine, NOW, &keys, |slot| {
            slot.put(VALUE, Deadline::At(due_ms));
        });
    };
    group.bench_function("a turn with a batch due", |b| {
        b.iter_batched(
            &mut put,
            |()| assert_eq!(turn(after), BATCH as u64),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// What the task that tidies does between two looks at the clients, so many times.
const STEPS: u64 = 16;

/// Giving memory back: a step of settling after nine of ten keys went, and one of a purge after one
/// of ten did.
fn tidying(c: &mut Criterion) {
    let mut group = c.benchmark_group("tidying");
    group.throughput(Throughput::Elements(STEPS));
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(1));
    let without = |goes: fn(u64) -> bool| {
        let engine = engine(KEYS_MANY, VALUE, Deadline::None);
        let keys: Vec<_> = (0..KEYS_MANY).filter(|key| goes(*key)).map(name).collect();
        each(&engine, NOW, &keys, |slot| assert!(slot.remove()));
        engine
    };
    group.bench_function("steps of settling", |b| {
        b.iter_batched_ref(
            || (without(|key| key % 10 != 3), Settler::default()),
            |(engine, settler)| {
                for _ in 0..STEPS {
                    settler.run(&engine.shared(0, NOW).step(), SETTLING_EFFORT);
                }
            },
            BatchSize::PerIteration,
        );
    });
    let to_purge = || {
        let engine = without(|key| key % 10 == 3);
        engine.shared(0, NOW).step().ask_purge();
        engine
    };
    group.bench_function("steps of a purge", |b| {
        b.iter_batched_ref(
            to_purge,
            |engine| {
                for _ in 0..STEPS {
                    engine.shared(0, NOW).step().purge_some(PURGED_SHARDS);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, one_key, expiring, sweeping, tidying);
criterion_main!(benches);
