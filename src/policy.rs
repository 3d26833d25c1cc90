//! The eviction policies by their names: what may go when memory is short, and which goes first.
//!
//! A word that settings and engine share; what a policy does stands in the engine.

/// What is evicted when memory is short: `maxmemory-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The key with a deadline that was used longest ago.
    VolatileLru,
    /// The key with a deadline that is used least often.
    VolatileLfu,
    /// The key with a deadline that was changed longest ago.
    VolatileLrm,
    /// Any key with a deadline.
    VolatileRandom,
    /// The key whose deadline comes first.
    VolatileTtl,
    /// The key that was used longest ago.
    AllKeysLru,
    /// The key that is used least often.
    AllKeysLfu,
    /// The key that was changed longest ago.
    AllKeysLrm,
    /// Any key.
    AllKeysRandom,
    /// Nothing: commands that need memory are refused.
    #[default]
    NoEviction,
}

impl Policy {
    /// Every policy, in the order of [`Self::NAMES`].
    pub const ALL: &'static [Self] = &[
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileLrm,
        Self::VolatileRandom,
        Self::VolatileTtl,
        Self::AllKeysLru,
        Self::AllKeysLfu,
        Self::AllKeysLrm,
        Self::AllKeysRandom,
        Self::NoEviction,
    ];

    /// Redis' names for them.
    pub const NAMES: &'static [&'static str] = &[
        "volatile-lru",
        "volatile-lfu",
        "volatile-lrm",
        "volatile-random",
        "volatile-ttl",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-lrm",
        "allkeys-random",
        "noeviction",
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether only keys with a deadline may go.
    #[must_use]
    pub const fn is_volatile(self) -> bool {
        matches!(
            self,
            Self::VolatileLru
                | Self::VolatileLfu
                | Self::VolatileLrm
                | Self::VolatileRandom
                | Self::VolatileTtl
        )
    }

    /// Whether it needs to know how often keys are used.
    #[must_use]
    pub const fn counts_uses(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllKeysLfu)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_policy_stands_where_its_number_says() {
        assert_eq!(Policy::ALL.len(), Policy::NAMES.len());
        for (at, policy) in Policy::ALL.iter().enumerate() {
            assert_eq!(*policy as usize, at);
            assert_eq!(policy.is_volatile(), policy.name().starts_with("volatile-"));
            assert_eq!(policy.counts_uses(), policy.name().ends_with("-lfu"));
        }
    }
}
