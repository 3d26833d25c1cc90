//! The IDs of one kind, one after the other: where the next begins.

use super::snowflake::Layout;
use super::{AHEAD_MS, Block, IdKind, KSUID_EPOCH_S, Limits, Refusal};
use crate::seeded::{self, Bug};

/// One kind's.
#[derive(Clone, Debug)]
pub(super) struct Series {
    kind: IdKind,
    /// The tick of the last; none before the first. Of snowflakes in milliseconds.
    tick: Option<u64>,
    /// What comes next: of snowflakes a slot, of the others where the next stripe of the tick
    /// begins.
    next: u128,
}

/// How the random part of a kind is divided: its bits, and those of a stripe.
const fn widths(kind: IdKind) -> (u32, u32) {
    match kind {
        IdKind::Snowflake | IdKind::Uuid7 => (74, 48),
        IdKind::Ulid => (80, 54),
        IdKind::Ksuid => (128, 64),
    }
}

impl Series {
    pub(super) fn new(kind: IdKind) -> Self {
        Self {
            kind,
            tick: None,
            next: 0,
        }
    }

    /// The milliseconds of a tick.
    fn tick_ms(&self) -> u64 {
        if self.kind == IdKind::Ksuid { 1_000 } else { 1 }
    }

    /// When the last tick that has given out any begins, in Unix milliseconds; 0 for none.
    pub(super) fn used_ms(&self) -> u64 {
        let used_ms = |tick: u64| tick.saturating_mul(self.tick_ms());
        self.tick.map_or(0, used_ms)
    }

    /// Takes so many.
    pub(super) fn take(
        &mut self,
        count: u32,
        wall_ms: u64,
        limits: &Limits,
        layout: &Layout,
        chance: &mut dyn FnMut() -> u64,
    ) -> Result<Block, Refusal> {
        let high_ms = self.used_ms().max(limits.floor_ms);
        // So far ahead of a clock that is right IDs run by themselves, and what was reserved.
        let bound_ms = limits.bound_ms.max(AHEAD_MS);
        if high_ms > wall_ms.saturating_add(bound_ms) {
            return Err(Refusal::Behind(high_ms - wall_ms));
        }
        if self.kind == IdKind::Snowflake {
            self.take_slots(count, wall_ms, limits, layout)
        } else {
            self.take_stripes(count, wall_ms, limits, chance)
        }
    }

    /// Whether a tick that begins at this time may be given out.
    fn allow(tick_ms: u64, wall_ms: u64, limits: &Limits) -> Result<(), Refusal> {
        let ahead_ms = tick_ms.saturating_sub(wall_ms);
        if ahead_ms > AHEAD_MS {
            return Err(Refusal::UsedUp(ahead_ms - AHEAD_MS));
        }
        if tick_ms > limits.reserved_ms {
            return Err(Refusal::NotReserved);
        }
        Ok(())
    }

    fn take_slots(
        &mut self,
        count: u32,
        wall_ms: u64,
        limits: &Limits,
        layout: &Layout,
    ) -> Result<Block, Refusal> {
        if u64::from(count) > AHEAD_MS * layout.sequences() {
            return Err(Refusal::TooMany);
        }
        let lowest_ms = wall_ms.max(
            limits
                .floor_ms
                .saturating_add(u64::from(limits.floor_ms > 0)),
        );
        let lowest = layout.first_slot(lowest_ms).ok_or(Refusal::OutOfTime)?;
        let first = lowest.max(self.next as u64);
        let last = first + u64::from(count) - 1;
        let last_ms = layout.unix_ms(last);
        layout.first_slot(last_ms).ok_or(Refusal::OutOfTime)?;
        // What is left of a tick that has begun is given out, wherever the clock is.
        if self.tick != Some(last_ms) {
            Self::allow(last_ms, wall_ms, limits)?;
        }
        self.tick = Some(last_ms);
        self.next = u128::from(last + 1);
        if seeded::has(Bug::IdSlotTwice) {
            self.next = u128::from(last);
        }
        Ok(Block::Snowflakes {
            layout: *layout,
            first,
            count,
        })
    }

    fn take_stripes(
        &mut self,
        count: u32,
        wall_ms: u64,
        limits: &Limits,
        chance: &mut dyn FnMut() -> u64,
    ) -> Result<Block, Refusal> {
        let (bits, width_bits) = widths(self.kind);
        let (kind, needed) = (self.kind, u128::from(count) << width_bits);
        let block = |tick, first| Block::Stripes {
            kind,
            tick,
            first,
            width_bits,
            count,
        };
        let clock_tick = wall_ms / self.tick_ms();
        let room_max = u128::MAX >> (128 - bits);
        let mut lowest = clock_tick;
        if let Some(tick) = self.tick {
            if tick >= clock_tick && room_max - self.next >= needed {
                let first = self.next;
                self.next += needed;
                return Ok(block(tick, first));
            }
            lowest = lowest.max(tick + 1);
        } else if limits.floor_ms > 0 {
            lowest = lowest.max(limits.floor_ms / self.tick_ms() + 1);
        }
        if kind == IdKind::Ksuid && lowest.wrapping_sub(KSUID_EPOCH_S) > u64::from(u32::MAX) {
            return Err(Refusal::OutOfTime);
        }
        Self::allow(lowest * self.tick_ms(), wall_ms, limits)?;
        let random = u128::from(chance()) << 64 | u128::from(chance());
        // In the lower half, so that there is room for what follows.
        let first = random >> (129 - bits);
        self.tick = Some(lowest);
        self.next = first + needed;
        Ok(block(lowest, first))
    }
}
