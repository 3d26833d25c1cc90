//! Snowflakes: IDs of at most 63 bits made of a time, the number of a worker and a sequence.
//!
//! ```text
//!    63 62 ............... 22 21 ....... 12 11 ........ 0      by default
//!   | 0 | ms since the epoch |   worker    |   sequence  |
//! ```
//!
//! A server's snowflakes are told apart by time and sequence, which together are its *slot*: slots
//! are counted one by one, so a used-up millisecond goes over into the next by itself.

/// The most bits an ID has: a signed integer holds it.
const BITS_MAX: u32 = 63;
/// Fewer bits of time are used up within weeks.
const TIME_BITS_MIN: u32 = 32;
/// More sequences than a worker makes in a millisecond.
const SEQUENCE_BITS_MAX: u32 = 22;

/// How a snowflake is made up. Fixed at the first one given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bits of the time in milliseconds.
    pub time_bits: u32,
    /// Bits of the worker's number.
    pub worker_bits: u32,
    /// Bits of the sequence.
    pub sequence_bits: u32,
    /// Unix milliseconds at which time begins.
    pub epoch_ms: u64,
    /// This server's number.
    pub worker: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            time_bits: 41,
            worker_bits: 10,
            sequence_bits: 12,
            // 2020-01-01.
            epoch_ms: 1_577_836_800_000,
            worker: 0,
        }
    }
}

impl Layout {
    /// Whether IDs can be made like this.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let sum =
            u64::from(self.time_bits) + u64::from(self.worker_bits) + u64::from(self.sequence_bits);
        self.time_bits >= TIME_BITS_MIN
            && (1..=SEQUENCE_BITS_MAX).contains(&self.sequence_bits)
            && sum <= u64::from(BITS_MAX)
            && u64::from(self.worker) < 1 << self.worker_bits
    }

    /// IDs of one millisecond.
    #[must_use]
    pub fn sequences(&self) -> u64 {
        1 << self.sequence_bits
    }

    /// The first slot of a millisecond of Unix time; none before the epoch or behind the last.
    #[must_use]
    pub fn first_slot(&self, unix_ms: u64) -> Option<u64> {
        let ms = unix_ms.checked_sub(self.epoch_ms)?;
        (ms < 1 << self.time_bits).then(|| ms << self.sequence_bits)
    }

    /// The millisecond of Unix time that a slot lies in.
    #[must_use]
    pub fn unix_ms(&self, slot: u64) -> u64 {
        self.epoch_ms.saturating_add(slot >> self.sequence_bits)
    }

    /// The ID of a slot.
    #[must_use]
    #[inline]
    pub fn compose(&self, slot: u64) -> u64 {
        let time = slot >> self.sequence_bits;
        let sequence = slot & (self.sequences() - 1);
        (time << (self.worker_bits + self.sequence_bits))
            | (u64::from(self.worker) << self.sequence_bits)
            | sequence
    }

    /// Unix milliseconds, worker and sequence of an ID; none for what has more bits.
    #[must_use]
    pub fn parts(&self, id: u64) -> Option<(u64, u64, u64)> {
        let low_bits = self.worker_bits + self.sequence_bits;
        let time = id >> low_bits;
        let worker = (id >> self.sequence_bits) & ((1 << self.worker_bits) - 1);
        let sequence = id & (self.sequences() - 1);
        let unix_ms = self.epoch_ms.checked_add(time)?;
        (time < 1 << self.time_bits).then_some((unix_ms, worker, sequence))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layouts() -> impl Strategy<Value = Layout> {
        (
            32u32..=63,
            0u32..=20,
            1u32..=22,
            0u64..2_000_000_000_000,
            any::<u32>(),
        )
            .prop_map(
                |(time_bits, worker_bits, sequence_bits, epoch_ms, worker)| Layout {
                    time_bits,
                    worker_bits,
                    sequence_bits,
                    epoch_ms,
                    worker: worker & ((1 << worker_bits) - 1),
                },
            )
            .prop_filter("it fits", Layout::is_possible)
    }

    #[test]
    fn the_default_layout_is_that_of_41_10_and_12_bits() {
        let layout = Layout {
            worker: 0x155,
            epoch_ms: 1_000,
            ..Layout::default()
        };
        assert!(layout.is_possible());
        let slot = layout.first_slot(1_000 + 5).unwrap() + 3;
        assert_eq!(layout.compose(slot), (5 << 22) | (0x155 << 12) | 3);
        assert_eq!(
            layout.parts((5 << 22) | (0x155 << 12) | 3),
            Some((1_005, 0x155, 3))
        );
        assert_eq!(layout.first_slot(999), None, "before the epoch");
        assert_eq!(
            layout.first_slot(1_000 + (1 << 41)),
            None,
            "behind the last millisecond"
        );
    }

    #[test]
    fn what_has_no_room_is_no_layout() {
        let layout = Layout::default();
        assert!(
            !Layout {
                time_bits: 42,
                ..layout
            }
            .is_possible()
        );
        assert!(
            !Layout {
                time_bits: 31,
                ..layout
            }
            .is_possible()
        );
        assert!(
            !Layout {
                sequence_bits: 0,
                ..layout
            }
            .is_possible()
        );
        assert!(
            !Layout {
                worker: 1_024,
                ..layout
            }
            .is_possible()
        );
        assert!(
            Layout {
                worker: 1_023,
                ..layout
            }
            .is_possible()
        );
        assert!(
            Layout {
                worker_bits: 0,
                ..layout
            }
            .is_possible()
        );
    }

    proptest! {
        #[test]
        fn parts_come_back_and_ids_rise(layout in layouts(), at: u64, more in 1u64..9_000) {
            let last = (1u64 << (layout.time_bits + layout.sequence_bits).min(62)) - 10_000;
            let slot = at % last;
            let id = layout.compose(slot);
            prop_assert!(id < 1 << 63);
            prop_assert!(layout.compose(slot + more) > id);
            let sequence = slot & (layout.sequences() - 1);
            let parts = (layout.unix_ms(slot), u64::from(layout.worker), sequence);
            prop_assert_eq!(layout.parts(id), Some(parts));
        }
    }
}
