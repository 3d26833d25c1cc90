//! IDs that rise: who gives them out, at which time, and which may be given out at all.
//!
//! ```text
//!   ID.NEXT --take--> Ids: a series for each kind -----> Block: so many IDs, all its own
//!                      |     used up, or not reserved?       |
//!                      |     the call waits in a queue       +--> each ID of it, outside the lock
//!                      v                                          (snowflake.rs, text.rs)
//!             reserver: "up to this tick", safe on disk
//! ```
//!
//! A *tick* is a millisecond, or a second for KSUIDs, of Unix time. Those of snowflakes have a
//! number of sequences. In those of the other kinds IDs lie in *stripes*: one ID at a random place
//! of each, one stripe behind the other, the first at a random place of the lower half of the tick.
//! So a block is taken by moving a counter, and IDs rise although their distances are random.
//!
//! Invariants:
//! - no ID has a tick above `reserved_ms`, which whoever calls [`Ids::grant`] has made safe before,
//!   and none of a new process one up to what was reserved before it: no ID is given out twice;
//! - the IDs of a kind rise, whoever asks, in the order in which their blocks were taken;
//! - the clock is asked for the tick alone: where it falls back, ticks do not;
//! - nobody overtakes a call of the same kind that waits.
//!
//! Time comes as an argument, and so does chance. What was given out is no state that a restart
//! brings back: the reservation is, and it is not the journal's (`journal/reserver.rs`).
//!
//! Cost: one lock for a block, some 20 ns.
//!
//! LIMITATIONS: a block of snowflakes lies within what is reserved at one time, so COUNT is
//! bounded by a second of the layout. Whoever knows an ID can guess the next of the same tick with
//! a chance of one in the width of a stripe, 2^48 or more.

mod blocklist;
pub mod code;
mod series;
pub mod snowflake;
pub mod text;

use super::coordinator::{Outcome, Settled, Ticket};
use crate::clock::Now;
use crate::seeded::{self, Bug};
use crate::sync::{Mutex, Wake};
use series::Series;
use snowflake::Layout;
use std::collections::VecDeque;
use std::sync::Arc;

/// Ticks are reserved so far ahead, and given out no further ahead of the clock, in milliseconds.
pub const AHEAD_MS: u64 = 1_000;
/// More is reserved when less than this is left.
const LEFT_MS_MIN: u64 = AHEAD_MS / 2;
/// How far the clock may be behind the last tick, unless told otherwise.
const BOUND_MS: u64 = 5_000;
/// Unix seconds at which the time of KSUIDs begins.
const KSUID_EPOCH_S: u64 = 1_400_000_000;

/// The kinds of IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// Time, worker and sequence in 63 bits.
    Snowflake,
    /// A UUID of version 7.
    Uuid7,
    /// A ULID.
    Ulid,
    /// A KSUID.
    Ksuid,
}

impl IdKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Snowflake, Self::Uuid7, Self::Ulid, Self::Ksuid];

    /// The kind with this name, in any case.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let names = ["SNOWFLAKE", "UUID7", "ULID", "KSUID"];
        let at = names
            .iter()
            .position(|name| name.as_bytes().eq_ignore_ascii_case(word))?;
        Some(Self::ALL[at])
    }
}

/// One ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// Its 63 bits.
    Snowflake(u64),
    /// Its 128 bits.
    Uuid7(u128),
    /// Its 128 bits.
    Ulid(u128),
    /// Seconds of its own epoch, and 128 bits.
    Ksuid(u32, u128),
}

impl Id {
    /// The UUID of this Unix millisecond with these 74 bits.
    #[must_use]
    #[inline]
    pub fn uuid7(unix_ms: u64, random: u128) -> Self {
        let (top, low) = (random >> 62 & 0xfff, random & ((1 << 62) - 1));
        let time = u128::from(unix_ms & MS_MASK) << 80;
        Self::Uuid7(time | 7 << 76 | top << 64 | 2 << 62 | low)
    }

    /// The ULID of this Unix millisecond with these 80 bits.
    #[must_use]
    #[inline]
    pub fn ulid(unix_ms: u64, random: u128) -> Self {
        Self::Ulid(u128::from(unix_ms & MS_MASK) << 80 | random & ((1 << 80) - 1))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(self) -> IdKind {
        match self {
            Self::Snowflake(_) => IdKind::Snowflake,
            Self::Uuid7(_) => IdKind::Uuid7,
            Self::Ulid(_) => IdKind::Ulid,
            Self::Ksuid(..) => IdKind::Ksuid,
        }
    }

    /// Its bytes, as a KSUID has them, zeros in front of the others'.
    #[must_use]
    pub fn bytes(self) -> [u8; 20] {
        let (top, low) = match self {
            Self::Snowflake(id) => (0, u128::from(id)),
            Self::Uuid7(id) | Self::Ulid(id) => (0, id),
            Self::Ksuid(time, payload) => (time, payload),
        };
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&top.to_be_bytes());
        bytes[4..].copy_from_slice(&low.to_be_bytes());
        bytes
    }

    /// The Unix milliseconds in it. None for a UUID of another version, and for a snowflake, whose
    /// layout knows.
    #[must_use]
    pub fn unix_ms(self) -> Option<u64> {
        match self {
            Self::Snowflake(_) => None,
            Self::Uuid7(id) => {
                let is_it = id >> 76 & 0xf == 7 && id >> 62 & 3 == 2;
                is_it.then_some((id >> 80) as u64)
            }
            Self::Ulid(id) => Some((id >> 80) as u64),
            Self::Ksuid(time, _) => Some((u64::from(time) + KSUID_EPOCH_S) * 1_000),
        }
    }
}

const MS_MASK: u64 = (1 << 48) - 1;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The kind.
    pub kind: IdKind,
    /// How many, at least one.
    pub count: u32,
}

/// IDs that were given out together, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Snowflakes of slots that follow each other.
    Snowflakes {
        /// How they are made up.
        layout: Layout,
        /// The first slot.
        first: u64,
        /// How many.
        count: u32,
    },
    /// Others: one at a random place of each stripe.
    Stripes {
        /// The kind.
        kind: IdKind,
        /// The tick: milliseconds, or seconds.
        tick: u64,
        /// Where the first stripe begins.
        first: u128,
        /// The width of a stripe is two to the power of this.
        width_bits: u32,
        /// How many.
        count: u32,
    },
}

impl Block {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self {
            Self::Snowflakes { count, .. } | Self::Stripes { count, .. } => *count,
        }
    }

    /// Whether chance has a part in them.
    #[must_use]
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Stripes { .. })
    }

    /// The ID with this index, below the count; `chance` is random for each, where it has a part.
    #[must_use]
    #[inline]
    pub fn id(&self, index: u32, chance: u64) -> Id {
        match *self {
            Self::Snowflakes { layout, first, .. } => {
                Id::Snowflake(layout.compose(first + u64::from(index)))
            }
            Self::Stripes {
                kind,
                tick,
                first,
                width_bits,
                ..
            } => {
                let place = u128::from(chance >> (64 - width_bits));
                let random = first + (u128::from(index) << width_bits) + place;
                match kind {
                    IdKind::Ulid => Id::ulid(tick, random),
                    IdKind::Ksuid => Id::Ksuid(tick.saturating_sub(KSUID_EPOCH_S) as u32, random),
                    IdKind::Uuid7 | IdKind::Snowflake => Id::uuid7(tick, random),
                }
            }
        }
    }
}

/// Why no IDs were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The clock is behind the last tick by so many milliseconds, more than it may be.
    Behind(u64),
    /// What may be given out now is used up, until so many milliseconds from now.
    UsedUp(u64),
    /// No further ticks are reserved yet, but they will be.
    NotReserved,
    /// They cannot be.
    NotReservable,
    /// More than there can be at one time.
    TooMany,
    /// The time of the layout has not begun, or is over.
    OutOfTime,
}

impl Refusal {
    /// Whether it is a matter of time.
    fn is_for_now(self) -> bool {
        matches!(self, Self::UsedUp(_) | Self::NotReserved)
    }
}

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// IDs.
    Block(Block),
    /// The call waits: an outcome comes for its ticket.
    Waits,
}

/// What is to be made safe before IDs can be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Ticks up to here, in Unix milliseconds.
    pub until_ms: u64,
    /// Snowflakes are given out, and made up like this.
    pub layout: Option<Layout>,
}

/// What is told of all IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ticks may be given out up to here, in Unix milliseconds; none where nothing is reserved.
    pub reserved_until_ms: Option<u64>,
    /// Calls that wait.
    pub waiters: usize,
}

/// A call that waits.
#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    count: u32,
}

/// What may be given out.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Ticks up to here may have been given out by a process before this one.
    floor_ms: u64,
    /// None above may be.
    reserved_ms: u64,
    /// How far the clock may be behind.
    bound_ms: u64,
}

struct State {
    series: [Series; 4],
    waiting: [VecDeque<Waiter>; 4],
    limits: Limits,
    layout: Layout,
    /// It is known on disk that snowflakes are made up like this, or never will be.
    is_layout_safe: bool,
    /// Snowflakes were asked for.
    is_layout_wanted: bool,
    /// More is to be reserved.
    wants: bool,
    /// The last reservation failed.
    is_failing: bool,
    /// Makes reservations, if any are needed.
    reserver: Option<Arc<dyn Wake>>,
    /// Calls [`Ids::serve`].
    sleeper: Option<Arc<dyn Wake>>,
}

/// Gives out IDs.
pub struct Ids(Mutex<State>);

impl Ids {
    pub(super) fn new() -> Self {
        let limits = Limits {
            floor_ms: 0,
            reserved_ms: u64::MAX,
            bound_ms: BOUND_MS,
        };
        Self(Mutex::new(State {
            series: IdKind::ALL.map(Series::new),
            waiting: [(); 4].map(|()| VecDeque::new()),
            limits,
            layout: Layout::default(),
            is_layout_safe: true,
            is_layout_wanted: false,
            wants: false,
            is_failing: false,
            reserver: None,
            sleeper: None,
        }))
    }

    /// How snowflakes are made up from now on. To be said before any is given out.
    pub fn set_layout(&self, layout: Layout) {
        self.0.lock().layout = layout;
    }

    /// How snowflakes are made up.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.0.lock().layout
    }

    /// How far the clock may be behind the last tick, in milliseconds.
    pub fn set_bound(&self, bound_ms: u64) {
        self.0.lock().limits.bound_ms = bound_ms;
    }

    /// Ticks up to here are not given out: a process before this one may have done so.
    pub fn skip(&self, until_ms: u64) {
        if !seeded::has(Bug::IdReuse) {
            let floor_ms = &mut self.0.lock().limits.floor_ms;
            *floor_ms = until_ms.max(*floor_ms);
        }
    }

    /// From now on ticks are given out as far as they were reserved, and `reserver` is woken where
    /// that is not far enough. `is_layout_safe`: the layout need not be made known first.
    pub(crate) fn set_reserver(&self, reserver: Arc<dyn Wake>, is_layout_safe: bool) {
        let mut state = self.0.lock();
        state.limits.reserved_ms = state.limits.floor_ms;
        state.reserver = Some(reserver);
        state.is_layout_safe = is_layout_safe;
    }

    /// Says who is woken when a call begins to wait, and when more was reserved: it then calls
    /// [`Ids::serve`].
    pub(crate) fn set_sleeper(&self, sleeper: Arc<dyn Wake>) {
        self.0.lock().sleeper = Some(sleeper);
    }

    /// Whether ticks of the present are reserved, or never will be: what may not wait need not be
    /// refused. If not, more is reserved.
    #[must_use]
    pub fn is_ready(&self, now: Now) -> bool {
        let mut state = self.0.lock();
        let is_ready = state.limits.reserved_ms > now.wall_ms && state.is_layout_safe;
        state.is_layout_wanted |= !is_ready;
        is_ready || state.want() == Refusal::NotReservable
    }

    /// What is to be reserved, if anything is; it is not asked for twice.
    #[must_use]
    pub fn wanted(&self, now: Now) -> Option<Reservation> {
        let mut state = self.0.lock();
        if !std::mem::take(&mut state.wants) {
            return None;
        }
        let ahead_ms = now.wall_ms.saturating_add(AHEAD_MS);
        Some(Reservation {
            until_ms: state.limits.reserved_ms.max(ahead_ms),
            layout: state.is_layout_wanted.then_some(state.layout),
        })
    }

    /// This is safe on disk.
    pub fn grant(&self, reservation: Reservation) {
        let mut state = self.0.lock();
        state.is_failing = false;
        state.limits.reserved_ms = reservation.until_ms.max(state.limits.reserved_ms);
        state.is_layout_safe |= reservation.layout.is_some();
        state.wake_sleeper();
    }

    /// Nothing can be made safe at the moment. Calls that wait for it are told; a later call asks
    /// again.
    pub fn fail(&self) {
        let mut state = self.0.lock();
        state.is_failing = true;
        state.wake_sleeper();
    }

    /// What may be given out, and how many calls wait for it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let state = self.0.lock();
        let reserved_ms = state.limits.reserved_ms;
        Totals {
            reserved_until_ms: Some(reserved_ms).filter(|_| state.reserver.is_some()),
            waiters: state.waiting.iter().map(VecDeque::len).sum(),
        }
    }

    /// The last tick that may have been given out, in Unix milliseconds: what a process after this
    /// one has to begin above. Nothing may be given out afterwards.
    #[must_use]
    pub fn used_ms(&self) -> u64 {
        let state = self.0.lock();
        let used_ms = state.series.iter().map(|series| series.used_ms());
        used_ms.max().unwrap_or(0).max(state.limits.floor_ms)
    }

    /// Gives out IDs; or has the call with this ticket wait for them.
    ///
    /// # Errors
    /// Where there are none, and there is no ticket or no use in waiting.
    #[inline]
    pub fn take(
        &self,
        wanted: Wanted,
        now: Now,
        ticket: Option<Ticket>,
        chance: &mut dyn FnMut() -> u64,
    ) -> Result<Taken, Refusal> {
        let mut state = self.0.lock();
        let is_behind_others = !state.waiting[wanted.kind as usize].is_empty();
        let refusal = if is_behind_others {
            Refusal::UsedUp(1)
        } else {
            match state.take(wanted, now, chance) {
                Ok(block) => return Ok(Taken::Block(block)),
                Err(refusal) => refusal,
            }
        };
        let ticket = ticket.filter(|_| refusal.is_for_now()).ok_or(refusal)?;
        let count = wanted.count;
        state.waiting[wanted.kind as usize].push_back(Waiter { ticket, count });
        state.wake_sleeper();
        Ok(Taken::Waits)
    }

    /// Outcomes for calls that waited for what can be given out now.
    pub fn serve(&self, now: Now, chance: &mut dyn FnMut() -> u64) -> Vec<Settled> {
        let mut state = self.0.lock();
        let mut settled = Vec::new();
        for kind in IdKind::ALL {
            while let Some(waiter) = state.waiting[kind as usize].pop_front() {
                let count = waiter.count;
                let taken = state.take(Wanted { kind, count }, now, chance);
                if taken.is_err_and(Refusal::is_for_now) {
                    state.waiting[kind as usize].push_front(waiter);
                    break;
                }
                settled.push(Settled {
                    ticket: waiter.ticket,
                    outcome: Outcome::Ids(taken),
                });
            }
        }
        settled
    }

    /// Milliseconds until a call that waits may be served; none where none waits for the clock.
    #[must_use]
    pub fn due_ms(&self, now: Now) -> Option<u64> {
        let mut state = self.0.lock();
        let due_ms = IdKind::ALL.map(|kind| {
            let count = state.waiting[kind as usize].front()?.count;
            match state.check(Wanted { kind, count }, now) {
                Some(Refusal::UsedUp(ms)) => Some(ms),
                Some(Refusal::NotReserved) => None,
                _ => Some(0),
            }
        });
        due_ms.into_iter().flatten().min()
    }

    /// The call of a connection waits no longer; answers its ticket, if it has waited.
    pub fn withdraw(&self, conn: u64) -> Option<Ticket> {
        let mut state = self.0.lock();
        state.waiting.iter_mut().find_map(|waiting| {
            let place = waiting
                .iter()
                .position(|waiter| waiter.ticket.conn == conn)?;
            waiting.remove(place).map(|waiter| waiter.ticket)
        })
    }
}

impl State {
    fn take(
        &mut self,
        wanted: Wanted,
        now: Now,
        chance: &mut dyn FnMut() -> u64,
    ) -> Result<Block, Refusal> {
        let is_snowflake = wanted.kind == IdKind::Snowflake;
        if is_snowflake && !self.is_layout_safe {
            self.is_layout_wanted = true;
            return Err(self.want());
        }
        self.is_layout_wanted |= is_snowflake;
        let series = &mut self.series[wanted.kind as usize];
        let taken = series.take(
            wanted.count,
            now.wall_ms,
            &self.limits,
            &self.layout,
            chance,
        );
        if self.reserver.is_some() {
            let needed_ms = series.used_ms().max(now.wall_ms);
            let is_short = self.limits.reserved_ms < needed_ms.saturating_add(LEFT_MS_MIN);
            if taken == Err(Refusal::NotReserved) {
                return Err(self.want());
            }
            if is_short {
                self.want();
            }
        }
        taken
    }

    /// Whether and why a call would be refused.
    fn check(&mut self, wanted: Wanted, now: Now) -> Option<Refusal> {
        if wanted.kind == IdKind::Snowflake && !self.is_layout_safe {
            return Some(Refusal::NotReserved);
        }
        let mut series = self.series[wanted.kind as usize].clone();
        let taken = series.take(
            wanted.count,
            now.wall_ms,
            &self.limits,
            &self.layout,
            &mut || 0,
        );
        taken.err()
    }

    /// Sees to it that more is reserved; answers what a call is told that cannot go on without.
    #[cold]
    fn want(&mut self) -> Refusal {
        let Some(reserver) = &self.reserver else {
            return Refusal::NotReserved;
        };
        if !std::mem::replace(&mut self.wants, true) {
            reserver.wake();
        }
        if self.is_failing {
            Refusal::NotReservable
        } else {
            Refusal::NotReserved
        }
    }

    fn wake_sleeper(&self) {
        if let Some(sleeper) = &self.sleeper {
            sleeper.wake();
        }
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
