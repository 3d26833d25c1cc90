//! The one hash of a key: computed once per access, it gives the shard, the probe and the slot.
//!
//! foldhash in its `quality` form, seeded at random once per process. It is fast and, with a secret
//! seed, keeps an outsider from choosing keys that collide; it does not claim to resist somebody
//! who can measure every single answer.
//!
//! LIMITATIONS: of all seeds two are no secret worth having. Under 0 the words that keys are mixed
//! with can be guessed, and under `u64::MAX` every key has the same hash; a random seed is one of
//! them once in 2^63 starts.

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::hash::{Hash, Hasher};

/// Hashes keys under one secret seed.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    own: u64,
    shared: SharedSeed,
}

impl KeyHasher {
    /// A hasher whose every answer follows from `seed`. O(1), some 100 ns.
    ///
    /// Not foldhash's `SeedableRandomState`: that wants its shared half for the life of the
    /// process, which leaks it with every engine that a test or a fuzzer makes.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self {
            own: seed.rotate_left(32),
            shared: SharedSeed::from_u64(seed),
        }
    }

    /// The hash of `key`. O(length).
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.own, &self.shared);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What the last eight bytes of a key are mixed with under seed 0. A key that ends in the same
    /// multiplies the rest of itself by zero.
    const BLINDING: u64 = 0x8000_0000_8000_0001;
    const KEYS: u64 = 20_000;

    /// Cuts of snapshots are noted by shard, and the log is applied by them: a directory cannot be
    /// read with another hash. If this changes, the format of snapshots gets a new version.
    #[test]
    fn the_hash_of_a_key_stays_what_it_is() {
        let hasher = KeyHasher::seeded(0x1122_3344_5566_7788);
        let hashes = [&b""[..], b"k", b"key:000000000012", &[7; 100]].map(|key| hasher.hash(key));
        let expected = [
            0x3625_0617_4b67_b910,
            0xe90a_d53a_cc8f_1f8b,
            0x4679_9352_cbf2_01e5,
            0xb11f_7917_54f2_c0d3,
        ];
        assert_eq!(hashes, expected);
    }

    #[test]
    fn the_seed_decides() {
        let (a, b, c) = (
            KeyHasher::seeded(1),
            KeyHasher::seeded(1),
            KeyHasher::seeded(2),
        );
        assert_eq!(a.hash(b"key"), b.hash(b"key"));
        assert_ne!(a.hash(b"key"), c.hash(b"key"));
    }

    fn key(words: [u64; 2]) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&words[0].to_ne_bytes());
        key[8..].copy_from_slice(&words[1].to_ne_bytes());
        key
    }

    /// A name, and the key of each number.
    type Shape = (&'static str, fn(u64) -> [u8; 16]);

    /// Keys that somebody who knows the seed, or guesses at structure, would send.
    fn shapes() -> [Shape; 5] {
        [
            ("blinding", |n| key([n, BLINDING])),
            ("low bits", |n| key([n, 0])),
            ("high bits", |n| key([0, n.rotate_right(17)])),
            ("both halves alike", |n| key([n, n])),
            ("complements", |n| {
                key([n >> 1, n >> 1].map(|word| if n & 1 == 0 { word } else { !word }))
            }),
        ]
    }

    #[test]
    fn the_greatest_seed_is_of_no_use() {
        let hasher = KeyHasher::seeded(u64::MAX);
        assert_eq!(hasher.hash(b"key"), hasher.hash(b"another key"));
    }

    #[test]
    fn who_knows_the_seed_makes_keys_collide_in_all_bits() {
        let hasher = KeyHasher::seeded(0);
        let hashes: HashSet<u64> = (0..KEYS)
            .map(|n| hasher.hash(&key([n, BLINDING])))
            .collect();
        assert_eq!(hashes.len(), 1);
    }

    /// Shard, home group and tag of keys of every shape are those of random keys: no part of the
    /// table gets twice its share.
    #[test]
    fn who_does_not_know_the_seed_makes_no_keys_collide() {
        let parts: [fn(u64) -> u64; 3] = [
            |hash| hash >> 32 & 255,
            |hash| hash >> 24 & 255,
            |hash| hash >> 56,
        ];
        for seed in [1, 2, 0x1157_c41f, !1, 1 << 63] {
            let hasher = KeyHasher::seeded(seed);
            for (shape, key) in shapes() {
                let hashes: HashSet<u64> = (0..KEYS).map(|n| hasher.hash(&key(n))).collect();
                assert_eq!(hashes.len() as u64, KEYS, "{shape} under {seed}");
                for part in parts {
                    let mut counts = [0_u64; 256];
                    for &hash in &hashes {
                        counts[part(hash) as usize] += 1;
                    }
                    let most = counts.iter().max();
                    assert!(
                        most <= Some(&(KEYS / 128)),
                        "{shape} under {seed}: {most:?}"
                    );
                }
            }
        }
    }
}
