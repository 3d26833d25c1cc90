//! Calls that wait: their reply comes when what they wait for has come about.
//!
//! A command that is to wait writes no reply and leaves what it waits for in [`Cx::parked`]. The
//! session holds it, and runs no further request of this connection before it has been answered.
//! Inside `EXEC` nothing waits: the command answers what is.
//!
//! [`Cx::parked`]: super::Cx::parked

use super::ids::next::Wish;
use super::lock::claim::Form;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Park {
    /// `WAITAOF`: that this frame is on the disk, and so many copies elsewhere.
    Synced {
        /// The frame.
        frame: u64,
        /// Whether the own disk was asked for.
        local: bool,
        /// Copies asked for besides the own one. There are none.
        replicas: u64,
        /// When the call is answered in any case: monotonic milliseconds, or never.
        until_ms: Option<u64>,
    },
    /// `SAVE`: that the snapshot with this number has ended.
    Snapshot {
        /// The snapshot.
        number: u64,
    },
    /// `SHUTDOWN SAVE`: the same, and the server stops then.
    Stop {
        /// The snapshot.
        number: u64,
        /// The server stops even if it was not written.
        is_forced: bool,
    },
    /// A lock or permits: that they are granted, or the wait is over.
    Hold {
        /// The call, as the coordinator knows it.
        call: u64,
        /// How the reply is written.
        form: Form,
    },
    /// `LOCK.OBSERVE`: that somebody holds the lock.
    Observe {
        /// The call, as the coordinator knows it.
        call: u64,
        /// With a fencing token above this.
        after: u64,
    },
    /// `LATCH.AWAIT`: that the latch is open.
    Latch {
        /// The call, as the coordinator knows it.
        call: u64,
    },
    /// `ID.NEXT`: that IDs can be given out.
    Ids {
        /// The call, as the coordinator knows it.
        call: u64,
        /// How the reply is written.
        wish: Wish,
    },
    /// `EXEC` of a queue with `ID.NEXT`: that IDs are reserved. It runs then; nothing of it has.
    Reservation,
    /// `BARRIER.AWAIT`: that all parties have arrived.
    Barrier {
        /// The call, as the coordinator knows it.
        call: u64,
    },
    /// `CACHE.GET`, `IDEMP.BEGIN`: its turn, or that the key has become something.
    Look {
        /// The call, as the coordinator knows it.
        call: u64,
    },
}

impl Park {
    /// Whether it may last for ever: who says that nothing more will be sent is then taken to have
    /// gone.
    #[must_use]
    pub fn may_last(self) -> bool {
        match self {
            Self::Synced {
                replicas, until_ms, ..
            } => replicas > 0 && until_ms.is_none(),
            Self::Snapshot { .. } | Self::Stop { .. } | Self::Ids { .. } | Self::Reservation => {
                false
            }
            // Who goes frees others, and who is granted something must be there.
            Self::Hold { .. }
            | Self::Observe { .. }
            | Self::Latch { .. }
            | Self::Barrier { .. }
            | Self::Look { .. } => true,
        }
    }

    /// The call that the coordinator tells the outcome of, if it is one of its.
    #[must_use]
    pub fn call(self) -> Option<u64> {
        match self {
            Self::Hold { call, .. }
            | Self::Observe { call, .. }
            | Self::Ids { call, .. }
            | Self::Latch { call }
            | Self::Barrier { call }
            | Self::Look { call } => Some(call),
            Self::Synced { .. } | Self::Snapshot { .. } | Self::Stop { .. } | Self::Reservation => {
                None
            }
        }
    }

    /// Whether nothing but the reply comes of it.
    #[must_use]
    pub fn is_for_reply(self) -> bool {
        !matches!(self, Self::Stop { .. })
    }
}
