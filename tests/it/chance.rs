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

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
