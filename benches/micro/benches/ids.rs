//! What does an ID cost, taken and written as text? And a short code?
//!
//! Each iteration takes a block of a thousand, as `ID.NEXT ... COUNT 1000` and `ID.SHORT` do, and
//! writes each of them; the throughput is in IDs. Chance comes from a generator as good as the
//! server's. The clock goes on as fast as snowflakes are used up.

#![forbid(unsafe_code)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use linchpin_server::clock::Now;
use linchpin_server::engine::ids::code::{ALPHABET_62, CODE_LEN_MAX, Coder, Scheme};
use linchpin_server::engine::ids::text::{Form, Text};
use linchpin_server::engine::ids::{IdKind, Taken, Wanted};
use linchpin_server::engine::{Engine, Options};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::hint::black_box;

const COUNT: u32 = 1_000;

fn rising(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ids");
    group.throughput(Throughput::Elements(COUNT.into()));
    let engine = Engine::new(Options::default(), None);
    let mut random = StdRng::seed_from_u64(1);
    let mut wall_ms = 1_700_000_000_000;
    for (name, kind) in [
        ("snowflake", IdKind::Snowflake),
        ("uuid7", IdKind::Uuid7),
        ("ulid", IdKind::Ulid),
        ("ksuid", IdKind::Ksuid),
    ] {
        let (form, count) = (Form::usual(kind), COUNT);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                wall_ms += 1;
                let now = Now {
                    wall_ms,
                    ..Now::default()
                };
                let wanted = Wanted { kind, count };
                let taken = engine
                    .ids()
                    .take(wanted, now, None, &mut || random.next_u64());
                let Ok(Taken::Block(block)) = taken else {
                    panic!("{taken:?}");
                };
                for index in 0..count {
                    let chance = if block.is_random() {
                        random.next_u64()
                    } else {
                        0
                    };
                    black_box(Text::of(block.id(index, chance), form).as_bytes());
                }
            });
        });
    }
    group.finish();
}

fn short(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codes");
    group.throughput(Throughput::Elements(COUNT.into()));
    let coder = Coder::new(Scheme {
        alphabet: ALPHABET_62.into(),
        len: 7,
        is_filtered: false,
        secret: [1, 2],
    })
    .expect("a scheme");
    let mut next = 0;
    let mut text = [0; CODE_LEN_MAX];
    group.bench_function("base 62, 7 letters", |bencher| {
        bencher.iter(|| {
            for number in next..next + u64::from(COUNT) {
                black_box(coder.write(number, &mut text));
            }
            next += u64::from(COUNT);
        });
    });
    group.finish();
}

criterion_group!(benches, rising, short);
criterion_main!(benches);
