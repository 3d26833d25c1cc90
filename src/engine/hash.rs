//! The one hash of a key: computed once per access, it gives the shard, the probe and the slot.
//!
//! foldhash in its `quality` form, seeded at random once per process. It is fast and, with a secret
//! seed, keeps an outsider from choosing keys that collide; it does not claim to resist somebody
//! who can measure every single answer.

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
}
