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
    /// The key that was used longest ago, those never used again first, after 2Q.
    AllKeys2q,
    /// The same, among keys with a deadline.
    Volatile2q,
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
        Self::AllKeys2q,
        Self::Volatile2q,
        Self::NoEviction,
    ];

    /// Redis' names for them, and our own for 2q.
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
        "allkeys-2q",
        "volatile-2q",
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
                | Self::Volatile2q
        )
    }

    /// What decides which key goes first.
    #[must_use]
    pub const fn order(self) -> Order {
        match self {
            Self::VolatileLru | Self::AllKeysLru => Order::Lru,
            Self::VolatileLfu | Self::AllKeysLfu => Order::Lfu,
            Self::VolatileLrm | Self::AllKeysLrm => Order::Lrm,
            Self::VolatileRandom | Self::AllKeysRandom => Order::Random,
            Self::Volatile2q | Self::AllKeys2q => Order::TwoQ,
            Self::VolatileTtl => Order::Ttl,
            Self::NoEviction => Order::None,
        }
    }

    /// Whether it counts how often keys are used.
    #[must_use]
    pub const fn counts_uses(self) -> bool {
        matches!(self.order(), Order::Lfu)
    }
}

/// What decides which key goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last use, and whether there were several.
    Lru,
    /// How often it was used.
    Lfu,
    /// The last change.
    Lrm,
    /// Chance.
    Random,
    /// The last use; what was never used again goes long before what was.
    TwoQ,
    /// The deadline.
    Ttl,
    /// Nothing goes.
    None,
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
