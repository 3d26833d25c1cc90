//! Where chance comes from: one number from the environment, so that a run can be repeated.

/// `LINCHPIN_SEED`, or a new one each time.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    from_environment("LINCHPIN_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// How many times as much as usual to try: `LINCHPIN_CASES`, or once.
pub(crate) fn times() -> u32 {
    let times = from_environment("LINCHPIN_CASES").unwrap_or(1);
    u32::try_from(times).unwrap_or(u32::MAX)
}

/// Numbers that follow from a seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `count`, by SplitMix64.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % count
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
