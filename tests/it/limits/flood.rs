//! Keys chosen to collide: they are no slower than others for a server whose seed is secret.
//!
//! foldhash multiplies the two halves of a short key, each mixed with a word that follows from the
//! seed. Whoever knows the word of the second half makes that factor zero, and the first half is
//! free: any number of keys then agrees in all 64 bits of the hash, hence in shard, home group and
//! tag. The keys here are made so for seed 0.

use std::time::Duration;

use libtest_mimic::Failed;
use linchpin_server::clock::Now;
use linchpin_server::engine::{Deadline, Engine, Options, ValueRef};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::Case;
use crate::chance;

/// The word of the second half under seed 0.
const BLINDING: u64 = 0x8000_0000_8000_0001;
/// Keys of a flood; `LINCHPIN_CASES` multiplies them.
const KEYS: usize = 100_000;
/// Enough to see that they collide, and few enough to wait for.
const KEYS_COLLIDING: usize = 4_000;
/// Of so many rounds the fastest counts: what else the machine does makes none faster.
const ROUNDS: usize = 3;
const NOW: Now = Now {
    wall_ms: 1_700_000_000_000,
    wall_sub_us: 0,
    engine_ms: 0,
    mono_us: 0,
};

pub(super) const CASES: &[Case] = &[
    ("colliding_keys_are_no_slower", no_slower),
    ("keys_collide_under_the_seed_they_were_made_for", collides),
];

/// Distinct keys of 16 bytes that agree in their hash under seed 0.
fn colliding(count: usize) -> Vec<[u8; 16]> {
    with_second_half(count, |_| BLINDING)
}

fn random(count: usize, seed: u64) -> Vec<[u8; 16]> {
    let mut random = StdRng::seed_from_u64(seed);
    with_second_half(count, |_| random.random())
}

/// Keys that count in their first half.
fn with_second_half(count: usize, mut second: impl FnMut(u64) -> u64) -> Vec<[u8; 16]> {
    let key = |number: u64| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_ne_bytes());
        key[8..].copy_from_slice(&second(number).to_ne_bytes());
        key
    };
    (0..count as u64).map(key).collect()
}

/// The processor time that inserting all `keys` takes this thread.
fn insert(keys: &[[u8; 16]], hash_seed: u64) -> Duration {
    let options = Options {
        hash_seed,
        ..Options::default()
    };
    let engine = Engine::new(options, None);
    let batch = engine.shared(0, NOW);
    let start = thread_time();
    for key in keys {
        let mut step = batch.step();
        let value = ValueRef::Bytes(b"value");
        step.lock_any(0, key)
            .slot(0, key)
            .put(value, Deadline::None);
    }
    let took = thread_time() - start;
    assert_eq!(batch.step().len(0), keys.len());
    took
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is never negative")
}

/// The least times for keys chosen to collide and for random ones, under one seed.
fn times(count: usize, hash_seed: u64) -> (Duration, Duration) {
    let (chosen, others) = (colliding(count), random(count, hash_seed));
    let mut least = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        least.0 = least.0.min(insert(&chosen, hash_seed));
        least.1 = least.1.min(insert(&others, hash_seed));
    }
    least
}

fn no_slower() -> Result<(), Failed> {
    let seed = chance::seed();
    // Few first: should they collide after all, nobody has to wait for the square of many.
    for count in [
        KEYS_COLLIDING,
        KEYS.saturating_mul(chance::times() as usize),
    ] {
        let (chosen, others) = times(count, seed);
        if chosen > others * 2 {
            let what = format!("{count} keys take {chosen:?}, random ones {others:?}");
            return Err(format!("LINCHPIN_SEED={seed}: {what}").into());
        }
    }
    Ok(())
}

/// Without this the other trial would pass with any keys.
fn collides() -> Result<(), Failed> {
    let (chosen, others) = times(KEYS_COLLIDING, 0);
    if chosen < others * 8 {
        return Err(format!("{chosen:?} for keys that collide, {others:?} for random ones").into());
    }
    Ok(())
}
