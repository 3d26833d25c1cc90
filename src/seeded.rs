//! Bugs put in on purpose, to show that the tests would find them.
//!
//! They exist in one test build, that of the feature `seeded-bugs`, and there one of them is chosen
//! by the environment variable `SEEDED_BUG`. `.ci/seeded` runs the tests that each must turn red.
//! In every other build [`has`] is `false` before anything is compiled.

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("seeded-bugs is for tests: no optimised build may lose data on purpose");

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// What was written counts as synced before the sync is made.
    AckBeforeSync,
    /// A sync that failed is made again, and believed.
    RetryAfterFailedSync,
    /// Any bad frame of the log is taken for the beginning of its torn tail.
    CutInTheMiddle,
    /// A frame gets its number when the locks of what it changed are gone.
    NumberAfterUnlock,
    /// Leases run on the time of day.
    WallClockLeases,
    /// A freed lock goes to the head of its queue without a look at what else is in the way.
    GrantWithoutRecheck,
    /// Fencing tokens begin anew after a restart.
    FenceReuse,
    /// Who waits is granted a lock though its connection has gone.
    GrantAfterDisconnect,
    /// A release is not asked for its fencing token.
    StaleRelease,
    /// IDs of a process begin where those of the one before it may have been.
    IdReuse,
    /// Two blocks of snowflakes that follow each other share a slot.
    IdSlotTwice,
    /// That numbers may have been given out is in no frame.
    RangeUnreserved,
    /// Who fills a cache may do so though the key was written meanwhile.
    TokenOutlivesWrite,
    /// What ends by engine time ends when the hint to expiry says.
    HintIsDeadline,
}

/// Whether the bug is in this process.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
#[inline]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// Whether the bug is in this process.
///
/// # Panics
/// If `SEEDED_BUG` is the name of no bug.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub(crate) fn has(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();
    let choose = || {
        std::env::var("SEEDED_BUG")
            .ok()
            .filter(|name| name != "none")
            .map(|name| match name.as_str() {
                "ack-before-sync" => Bug::AckBeforeSync,
                "retry-after-failed-sync" => Bug::RetryAfterFailedSync,
                "cut-in-the-middle" => Bug::CutInTheMiddle,
                "number-after-unlock" => Bug::NumberAfterUnlock,
                "wall-clock-leases" => Bug::WallClockLeases,
                "grant-without-recheck" => Bug::GrantWithoutRecheck,
                "fence-reuse" => Bug::FenceReuse,
                "grant-after-disconnect" => Bug::GrantAfterDisconnect,
                "stale-release" => Bug::StaleRelease,
                "id-reuse" => Bug::IdReuse,
                "id-slot-twice" => Bug::IdSlotTwice,
                "range-unreserved" => Bug::RangeUnreserved,
                "token-outlives-write" => Bug::TokenOutlivesWrite,
                "hint-is-deadline" => Bug::HintIsDeadline,
                _ => panic!("SEEDED_BUG={name}: there is no such bug"),
            })
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}
