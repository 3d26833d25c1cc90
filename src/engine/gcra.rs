//! Rate limits: the generic cell rate algorithm, in whole nanoseconds.
//!
//! A limit is a bucket of `burst + 1` units that refills by one unit each *interval*. All that is
//! known of one is when its bucket will be full again, and that is what is kept:
//!
//! ```text
//!   now                      full
//!    |<------- debt ---------->|             what was taken and has not come back
//!    |<------------- depth ------------>|    (burst + 1) intervals: an empty bucket
//!                              |<------>|    what may be taken now
//! ```
//!
//! A call takes `quantity` intervals if the debt then stays within the depth. Nothing ticks, and
//! the figures may change from call to call: a bucket that was made smaller is over-drawn until its
//! debt has shrunk.
//!
//! Invariant: within any time `t`, no more than `burst + 1 + t / interval` units are given out by
//! one bucket whose figures stay.

use super::form::NS_PER_MS;

const NS_PER_S: u64 = 1_000_000_000;
/// The longest time a bucket may take to refill: a hundred years.
const DEPTH_NS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * NS_PER_S;

/// The figures of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units that a full bucket holds.
    limit: i64,
    /// Nanoseconds in which one unit comes back.
    interval_ns: u64,
    /// Nanoseconds in which a bucket refills.
    depth_ns: u64,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing was given, though something was asked for.
    pub is_limited: bool,
    /// Units that a full bucket holds.
    pub limit: i64,
    /// Units that can be taken now.
    pub remaining: i64,
    /// When the same may be asked for again: nanoseconds from now; none where that is no matter of
    /// time.
    pub retry_ns: Option<u64>,
    /// When the bucket is full again: nanoseconds from now.
    pub reset_ns: u64,
    /// What becomes of what is kept.
    pub change: Change,
}

/// What becomes of what is kept of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Stays,
    /// The bucket is full at this nanosecond of engine time.
    FullAt(u64),
    /// It is full now.
    Full,
}

impl Rate {
    /// A bucket of `burst + 1` units, of which `count` come back in `period_s` seconds.
    ///
    /// None where a figure is out of range: `burst` below 0, `count` or `period_s` below 1, more
    /// than one unit a nanosecond, or more than a hundred years for a bucket to refill.
    #[must_use]
    pub fn new(burst: i64, count: i64, period_s: i64) -> Option<Self> {
        let limit = burst.checked_add(1).filter(|limit| *limit >= 1)?;
        let count = u64::try_from(count).ok().filter(|count| *count >= 1)?;
        let period_s = u64::try_from(period_s).ok().filter(|s| *s >= 1)?;
        let interval_ns = period_s.checked_mul(NS_PER_S)? / count;
        let depth_ns = interval_ns.checked_mul(limit.cast_unsigned())?;
        (1..=DEPTH_NS_MAX).contains(&depth_ns).then_some(Self {
            limit,
            interval_ns,
            depth_ns,
        })
    }

    /// Judges a call that asks for `quantity` units at this engine time in milliseconds, of a
    /// bucket that is full at `full_ns`; none: it is full. A quantity of 0 only looks, a negative
    /// one brings units back.
    #[must_use]
    pub fn judge(&self, full_ns: Option<u64>, now_ms: u64, quantity: i64) -> Verdict {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let debt_ns = full_ns.unwrap_or(0).saturating_sub(now_ns);
        let asked_ns = i128::from(self.interval_ns) * i128::from(quantity);
        let wanted_ns = i128::from(debt_ns) + asked_ns;
        let over_ns = wanted_ns - i128::from(self.depth_ns);
        let is_limited = quantity > 0 && over_ns > 0;
        let new_debt_ns = if is_limited || quantity == 0 {
            debt_ns
        } else {
            // No more than the debt was, or than the depth: both fit.
            u64::try_from(wanted_ns.max(0)).unwrap_or(debt_ns)
        };
        let is_possible = asked_ns <= i128::from(self.depth_ns);
        let retry_ns = u64::try_from(over_ns).ok();
        let left_ns = self.depth_ns.saturating_sub(new_debt_ns);
        Verdict {
            is_limited,
            limit: self.limit,
            remaining: (left_ns / self.interval_ns).cast_signed(),
            retry_ns: retry_ns.filter(|_| is_limited && is_possible),
            reset_ns: new_debt_ns,
            change: match new_debt_ns {
                debt if debt == debt_ns => Change::Stays,
                0 => Change::Full,
                debt => Change::FullAt(now_ns.saturating_add(debt)),
            },
        }
    }
}

/// Nanoseconds as whole seconds, begun ones counted.
#[must_use]
pub fn whole_seconds(ns: u64) -> i64 {
    ns.div_ceil(NS_PER_S).cast_signed()
}

#[cfg(all(test, not(loom)))]
mod tests;
