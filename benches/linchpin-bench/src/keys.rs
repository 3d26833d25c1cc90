//! Keys by number, their values, and which of them a request draws.
//!
//! Every key has [`KEY_BYTES`] bytes and every value of a run the same length, so that all requests
//! of a workload have one length. A value follows from its key: whoever reads it can check it.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 16;
const DIGITS: usize = 12;
/// The number of keys that the digits can tell apart.
pub(crate) const KEYS_MAX: u64 = 1_000_000_000_000;

/// What a key holds; it stands in the key's first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, [`write_value`].
    Text,
    /// An integer that INCR can count on.
    Counter,
}

/// Which keys requests are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Each key as likely as any other.
    Uniform,
    /// The key of rank k with a likelihood in proportion to k to the power of minus this exponent,
    /// which is at least 0. Key number 0 has rank 1.
    Zipf(f64),
    /// One after the other, beginning with this number.
    Sequential(u64),
}

/// Draws key numbers below `keys`.
pub(crate) struct Draw {
    rng: StdRng,
    keys: u64,
    next: Next,
}

enum Next {
    Uniform,
    Zipf(Zipf<f64>),
    Sequential(u64),
}

impl Draw {
    /// A sequence that follows from `seed`, of at least one key.
    ///
    /// # Panics
    /// If a Zipf exponent is negative or not a number.
    pub(crate) fn new(pattern: Pattern, keys: u64, seed: u64) -> Self {
        let keys = keys.clamp(1, KEYS_MAX);
        let next = match pattern {
            Pattern::Uniform => Next::Uniform,
            Pattern::Zipf(exponent) => {
                let zipf = Zipf::new(keys as f64, exponent);
                Next::Zipf(zipf.expect("there is a key, and the exponent is at least 0"))
            }
            Pattern::Sequential(first) => Next::Sequential(first),
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            keys,
            next,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        match &mut self.next {
            Next::Uniform => self.rng.random_range(0..self.keys),
            Next::Zipf(zipf) => (zipf.sample(&mut self.rng) as u64 - 1).min(self.keys - 1),
            Next::Sequential(next) => {
                let key = *next % self.keys;
                *next += 1;
                key
            }
        }
    }
}

/// The name of key `number`.
pub(crate) fn name(kind: Kind, number: u64) -> [u8; KEY_BYTES] {
    let mut name = match kind {
        Kind::Text => *b"key:000000000000",
        Kind::Counter => *b"num:000000000000",
    };
    let mut rest = number;
    for digit in name[KEY_BYTES - DIGITS..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Appends the value of key `number`: `bytes` letters, so that no server can store it as a number.
pub(crate) fn write_value(out: &mut Vec<u8>, number: u64, bytes: usize) {
    // splitmix64: neighbours get values that have nothing in common.
    let mut state = number;
    for _ in 0..bytes.div_ceil(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        out.extend(mixed.to_le_bytes().map(|byte| b'a' + byte % 26));
    }
    out.truncate(out.len() - (8 - bytes % 8) % 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 100_000;

    fn share_of_each(pattern: Pattern, keys: u64) -> Vec<f64> {
        let mut draw = Draw::new(pattern, keys, 7);
        let mut counts = vec![0_u64; keys as usize];
        (0..DRAWS).for_each(|_| counts[draw.next() as usize] += 1);
        counts
            .iter()
            .map(|count| *count as f64 / DRAWS as f64)
            .collect()
    }

    /// Fails if a share is further than five standard deviations from what it should be.
    #[track_caller]
    fn check_shares(pattern: Pattern, expected: &[f64]) {
        let shares = share_of_each(pattern, expected.len() as u64);
        for (key, (share, expected)) in shares.iter().zip(expected).enumerate() {
            let deviation = (expected * (1.0 - expected) / DRAWS as f64).sqrt();
            assert!(
                (share - expected).abs() < 5.0 * deviation,
                "{pattern:?}: key {key} has {share}, not {expected}"
            );
        }
    }

    #[test]
    fn zipf_shares_are_the_analytic_ones() {
        for exponent in [0.5, 0.99, 1.0, 1.3] {
            let weights: Vec<f64> = (1..=200)
                .map(|rank| f64::from(rank).powf(-exponent))
                .collect();
            let sum: f64 = weights.iter().sum();
            let expected: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
            check_shares(Pattern::Zipf(exponent), &expected);
        }
    }

    #[test]
    fn uniform_shares_are_equal() {
        check_shares(Pattern::Uniform, &[0.01; 100]);
    }

    #[test]
    fn sequences_begin_where_they_are_told_and_wrap() {
        let mut draw = Draw::new(Pattern::Sequential(3), 5, 0);
        assert_eq!([(); 4].map(|()| draw.next()), [3, 4, 0, 1]);
    }

    #[test]
    fn names_have_one_length() {
        assert_eq!(&name(Kind::Text, 0), b"key:000000000000");
        assert_eq!(&name(Kind::Counter, 98_765), b"num:000000098765");
        assert_eq!(&name(Kind::Text, KEYS_MAX - 1), b"key:999999999999");
    }

    #[test]
    fn values_have_the_length_asked_for_and_differ() {
        for bytes in [0, 1, 7, 8, 9, 16, 100] {
            let mut out = b"before".to_vec();
            write_value(&mut out, 5, bytes);
            assert_eq!(out.len(), 6 + bytes);
            assert!(out[6..].iter().all(u8::is_ascii_lowercase));
        }
        let value = |number| {
            let mut out = Vec::new();
            write_value(&mut out, number, 16);
            out
        };
        assert_eq!(value(1), value(1));
        assert_ne!(value(1), value(2));
    }
}
