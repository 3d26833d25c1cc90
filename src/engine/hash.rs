//! The one hash of a key: computed once per access, it gives the shard, the probe and the slot.
//!
//! foldhash in its `quality` form, seeded at random once per process. It is fast and, with a secret
//! seed, keeps an outsider from choosing keys that collide; it does not claim to resist somebody
//! who can measure every single answer.

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use std::hash::BuildHasher;

/// Hashes keys under one secret seed.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher(SeedableRandomState);

impl KeyHasher {
    /// A hasher whose every answer follows from `seed`.
    ///
    /// foldhash wants its shared half for the life of the process: 32 bytes are leaked per call,
    /// which is once per engine.
    pub(crate) fn seeded(seed: u64) -> Self {
        let shared: &'static SharedSeed = Box::leak(Box::new(SharedSeed::from_u64(seed)));
        Self(SeedableRandomState::with_seed(seed.rotate_left(32), shared))
    }

    /// The hash of `key`. O(length).
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
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
