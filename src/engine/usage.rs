//! What is remembered about the uses of an entry, and which entry goes first.
//!
//! ```text
//!   accessed: u24    seconds of engine time at the last use (or change): OBJECT IDLETIME
//!   mark: u16        lru, lrm, 2q:  | class: 2 | age: 14 |     lfu:  | - : 8 | count: 8 |
//! ```
//!
//! RECENCY is not told in seconds: a cache may turn over many times in one. *Age* is a clock of
//! the engine that rises with insertions, 256 to 1,024 times while as many entries come as there
//! are (`shard.rs` says when), so it is as fine for ten entries as for ten million. Its 14 bits go
//! round after 16 to 64 such turnovers.
//!
//! CLASS tells entries that are used again from those that came once. It rises at the first use,
//! then at every second, then at every fourth; and it stretches the time that an entry may lie
//! unused: under lru to 2, 4 and 16 times that of class 0, under 2q to 8 and 64 times. One entry in
//! 128 begins at the highest class: in a loop over more keys than there is room for, where every
//! entry goes just before its next use, those few survive the round, and from then on they stay.
//! Under 2q an entry also begins higher if its key went not long ago (its *ghost* is still there).
//!
//! COUNT is Redis' logarithmic counter: it rises with a chance that falls as it grows, and loses
//! one for each `lfu-decay-time` without a use.
//!
//! Cost: a use writes two to five bytes, or none where nothing changed.
//!
//! LIMITATIONS: an entry left alone for longer than the age goes round looks younger than it is.
//! After a change between lfu and another policy, marks of the old kind are read as the new kind
//! until they are next written.

use super::evict::Bound;
use crate::policy::Order;

/// The first access time that cannot be told from an earlier one: 194 days.
const ACCESSED_S_END: u32 = 1 << 24;

const AGE_BITS: u32 = 14;
const AGE_MASK: u16 = (1 << AGE_BITS) - 1;
/// How many times each class doubles the time allowed under lru.
const LRU_DOUBLINGS: [u32; 4] = [0, 1, 2, 4];
/// The highest class, where each makes the time allowed eight times as long.
const TWO_Q_CLASS_MAX: u16 = 2;
/// One in so many entries begins at the highest class.
const LUCKY: u64 = 128;

/// The count of a new entry, as in Redis: so that it is not gone before it can be used.
const COUNT_NEW: u8 = 5;
const SECONDS_PER_MINUTE: u32 = 60;

/// What a policy remembers of an entry's uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u16);

/// What is known of an entry's uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Engine time of the last use, in seconds, modulo 194 days.
    pub(super) accessed_s: u32,
    /// What the policy remembers.
    pub(super) mark: Mark,
}

/// What was done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Read,
    Write,
}

/// How uses are noted and entries compared during one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    order: Order,
    now_s: u32,
    lfu_log_factor: u32,
    lfu_decay_min: u32,
}

/// A source of numbers that look random.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// Those that follow from a seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number: SplitMix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

impl Mark {
    fn recent(class: u16, age: u16) -> Self {
        Self(class << AGE_BITS | age & AGE_MASK)
    }

    fn class(self) -> u16 {
        self.0 >> AGE_BITS
    }

    /// Ticks of the age clock since then.
    fn idle(self, age: u16) -> u64 {
        u64::from(age.wrapping_sub(self.0) & AGE_MASK)
    }

    fn count(self) -> u8 {
        self.0 as u8
    }
}

impl Usage {
    /// Seconds since the last use.
    fn idle_s(self, now_s: u32) -> u32 {
        now_s.wrapping_sub(self.accessed_s) % ACCESSED_S_END
    }
}

impl Rules {
    /// The rules of a bound at a time.
    pub(super) fn new(bound: &Bound, now_s: u32) -> Self {
        Self {
            order: bound.policy.order(),
            now_s: now_s % ACCESSED_S_END,
            lfu_log_factor: bound.lfu_log_factor,
            lfu_decay_min: bound.lfu_decay_min,
        }
    }

    /// Seconds since the last use, unless uses are counted.
    pub(super) fn idle_s(&self, usage: Usage) -> Option<u32> {
        (self.order != Order::Lfu).then(|| usage.idle_s(self.now_s))
    }

    /// Whether an entry that goes is remembered, to be known again if it comes back.
    pub(super) fn remembers(&self) -> bool {
        self.order == Order::TwoQ
    }

    /// The usage of a new entry. `returns`: one that went not long ago comes back.
    pub(super) fn fresh(&self, age: u16, returns: bool, draws: &mut Draws) -> Usage {
        let mark = match self.order {
            Order::Lfu => Mark(COUNT_NEW.into()),
            Order::Lrm => Mark::recent(0, age),
            _ if draws.one_in(LUCKY) => Mark::recent(self.class_max(), age),
            _ => Mark::recent(returns.into(), age),
        };
        Usage {
            accessed_s: self.now_s,
            mark,
        }
    }

    /// The usage of an entry after a use.
    #[inline]
    pub(super) fn used(&self, old: Usage, touch: Touch, age: u16, draws: &mut Draws) -> Usage {
        let mark = match self.order {
            Order::Lfu => self.counted(old, draws),
            Order::Lrm if touch == Touch::Read => return old,
            Order::Lrm => Mark::recent(0, age),
            _ => {
                let class = old.mark.class();
                let rises = class < self.class_max() && draws.one_in(1 << class);
                Mark::recent(class + u16::from(rises), age)
            }
        };
        Usage {
            accessed_s: self.now_s,
            mark,
        }
    }

    /// How often an entry is used, if that is counted.
    pub(super) fn frequency(&self, usage: Usage) -> Option<u8> {
        (self.order == Order::Lfu).then(|| self.decayed(usage))
    }

    /// The count of an entry, less what it lost by not being used.
    fn decayed(&self, usage: Usage) -> u8 {
        let count = usage.mark.count();
        if self.lfu_decay_min == 0 {
            return count;
        }
        let idle_min = usage.idle_s(self.now_s) / SECONDS_PER_MINUTE;
        let lost = idle_min / self.lfu_decay_min;
        count.saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// The rank of an entry among those that may go: the highest goes first.
    pub(super) fn rank(&self, usage: Usage, deadline_ms: Option<u64>, age: u16) -> u64 {
        let (idle, idle_s) = (usage.mark.idle(age), u64::from(usage.idle_s(self.now_s)));
        let class = usage.mark.class();
        let rank = match self.order {
            Order::Lru => (idle << 4) >> LRU_DOUBLINGS[usize::from(class)],
            Order::TwoQ => (idle << (3 * TWO_Q_CLASS_MAX)) >> (3 * class.min(TWO_Q_CLASS_MAX)),
            Order::Lrm => idle,
            Order::Lfu => u64::from(u8::MAX - self.decayed(usage)),
            Order::Ttl => return deadline_ms.map_or(0, |at| u64::MAX - at),
            Order::Random | Order::None => return 0,
        };
        // Among those that used to be equal, seconds decide.
        rank << 24 | idle_s
    }

    fn class_max(&self) -> u16 {
        if self.order == Order::TwoQ {
            TWO_Q_CLASS_MAX
        } else {
            LRU_DOUBLINGS.len() as u16 - 1
        }
    }

    fn counted(&self, old: Usage, draws: &mut Draws) -> Mark {
        let count = self.decayed(old);
        let base = u64::from(count.saturating_sub(COUNT_NEW));
        let rises = count < u8::MAX && draws.one_in(base * u64::from(self.lfu_log_factor) + 1);
        Mark(u16::from(count) + u16::from(rises))
    }
}
