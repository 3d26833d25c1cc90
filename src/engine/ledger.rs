//! The ledger: how many bytes the process holds, kept by those who hold them.
//!
//! ```text
//!   shards, their arrays  --- Share ---> store   \
//!   watched keys          -------------> store    \
//!   connections           -------------> clients   >  held = what maxmemory bounds
//!   workers, base         -------------> fixed    /
//!   free pages            -------------> spare         beside it
//! ```
//!
//! Each holder remembers what it last reported and reports only the change, so the sums are exact
//! and nobody adds up. A shard changes what it holds by pages, tables and large entries: writing a
//! small record into a page that is there reports nothing and touches no shared line.
//!
//! Bytes are those the allocator sets aside, not those asked of it: [`usable`] rounds a request to
//! the size class it is served from.
//!
//! Invariants: an account is the sum of what its holders reported last; a holder that goes away has
//! reported nothing more to hold.
//!
//! LIMITATIONS: what the allocator keeps for itself (headers of its pages, room it has not yet
//! given back to the kernel) is not counted; resident memory is above `held` by that much.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::Arc;

/// Free pages count against a bound where they are more than this part of the store ...
pub(super) const SPARE_PART: usize = 64;
/// ... and this, a chunk of pages: what the pool may keep once pages have moved.
pub(super) const SPARE_BYTES: usize = 256 << 10;
/// Up to here size classes are 16 bytes apart.
const FINE_BYTES_MAX: usize = 128;
/// Up to here there are four size classes to each doubling; more is rounded to whole slices.
const CLASS_BYTES_MAX: usize = 512 << 10;
/// What larger requests are rounded to.
const SLICE_BYTES: usize = 64 << 10;

/// The bytes an allocation of `bytes` takes: the size classes of mimalloc, and of jemalloc where
/// its are small. Multiples of 16 up to 128, from there four classes to each doubling up to
/// 512 KiB, then multiples of 64 KiB. Nothing asked takes nothing.
#[must_use]
#[inline]
pub const fn usable(bytes: usize) -> usize {
    if bytes <= FINE_BYTES_MAX {
        return match bytes {
            1..=8 => 8,
            _ => bytes.next_multiple_of(16),
        };
    }
    if bytes > CLASS_BYTES_MAX {
        return bytes.next_multiple_of(SLICE_BYTES);
    }
    let doubling = usize::BITS - 1 - (bytes - 1).leading_zeros();
    bytes.next_multiple_of(1 << (doubling - 2))
}

/// The bytes that room for `capacity` values of type `T` takes.
#[must_use]
#[inline]
pub const fn usable_slots<T>(capacity: usize) -> usize {
    usable(capacity * size_of::<T>())
}

/// The bytes a hash map of the standard library takes that has room for `capacity` entries: a
/// power of two of buckets, at most seven eighths of them used, and a byte of control for each.
#[must_use]
pub(super) const fn usable_map<K, V>(capacity: usize) -> usize {
    /// Control bytes past the last bucket, so that a group can be read from any.
    const GROUP_BYTES: usize = 16;
    let buckets = match capacity {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (capacity * 8 / 7).next_power_of_two(),
    };
    usable(buckets * (size_of::<(K, V)>() + 1) + GROUP_BYTES)
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Keys, values and what they are found by; flushed databases until they are freed.
    Store,
    /// Connections: buffers, queues, their state.
    Clients,
    /// The program, its workers and their buffers.
    Fixed,
    /// Free pages of the pool. They are held, and yet whoever needs a page gets one of them, so the
    /// few that `pool.rs` keeps are no part of what a bound is compared with.
    Spare,
}

/// The bytes held, by account.
#[derive(Debug)]
pub struct Ledger {
    store: CachePadded<AtomicUsize>,
    clients: CachePadded<AtomicUsize>,
    fixed: CachePadded<AtomicUsize>,
    spare: CachePadded<AtomicUsize>,
    peak: AtomicUsize,
}

impl Ledger {
    /// A ledger of nothing.
    #[must_use]
    pub(super) fn new() -> Self {
        let account = || CachePadded::new(AtomicUsize::new(0));
        Self {
            store: account(),
            clients: account(),
            fixed: account(),
            spare: account(),
            peak: AtomicUsize::new(0),
        }
    }

    /// Notes that a holder that had `from` bytes now has `to`.
    #[inline]
    pub fn change(&self, account: Account, from: usize, to: usize) {
        // loom would try every order of these sums, which order nothing.
        if from != to && !cfg!(loom) {
            self.change_slow(account, from, to);
        }
    }

    #[cold]
    fn change_slow(&self, account: Account, from: usize, to: usize) {
        let account = match account {
            Account::Store => &self.store,
            Account::Clients => &self.clients,
            Account::Fixed => &self.fixed,
            Account::Spare => &self.spare,
        };
        // Each holder takes back only what it had added, so a sum never passes below zero.
        account.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        if to > from {
            self.note_peak();
        }
    }

    /// Bytes of one account.
    #[must_use]
    pub fn bytes(&self, account: Account) -> usize {
        match account {
            Account::Store => self.store.load(Ordering::Relaxed),
            Account::Clients => self.clients.load(Ordering::Relaxed),
            Account::Fixed => self.fixed.load(Ordering::Relaxed),
            Account::Spare => self.spare.load(Ordering::Relaxed),
        }
    }

    /// Bytes of all accounts.
    #[must_use]
    pub fn total(&self) -> usize {
        self.held() + self.bytes(Account::Spare)
    }

    /// Bytes of all accounts but free pages.
    #[must_use]
    #[inline]
    pub fn held(&self) -> usize {
        self.bytes(Account::Store) + self.bytes(Account::Clients) + self.bytes(Account::Fixed)
    }

    /// What `maxmemory` bounds: all that is held, and free pages beyond what the pool may keep.
    /// Four loads of lines that are written when somebody takes or gives back a page.
    #[must_use]
    #[inline]
    pub fn bounded(&self) -> usize {
        let allowed = self.bytes(Account::Store) / SPARE_PART + SPARE_BYTES;
        self.held() + self.bytes(Account::Spare).saturating_sub(allowed)
    }

    /// The most that was ever held.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed).max(self.total())
    }

    /// Begins to look for the peak anew.
    pub fn reset_peak(&self) {
        self.peak.store(self.total(), Ordering::Relaxed);
    }

    fn note_peak(&self) {
        let total = self.total();
        if total > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(total, Ordering::Relaxed);
        }
    }
}

/// What one holder has of the store. Dropped, it holds nothing.
#[derive(Debug)]
pub(super) struct Share {
    ledger: Arc<Ledger>,
    bytes: usize,
}

impl Share {
    /// A share of nothing.
    pub(super) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            bytes: 0,
        }
    }

    /// Reports that the holder now has so much.
    #[inline]
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.ledger.change(Account::Store, self.bytes, bytes);
            self.bytes = bytes;
        }
    }

    /// The ledger it is a share of.
    #[cfg(loom)]
    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

/// A second holder of as much.
#[cfg(test)]
impl Clone for Share {
    fn clone(&self) -> Self {
        let mut share = Self::new(&self.ledger);
        share.set(self.bytes);
        share
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn requests_are_rounded_to_size_classes() {
        for (bytes, class) in [
            (0, 0),
            (1, 8),
            (9, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1_025, 1_280),
            (65_536, 65_536),
            (65_537, 81_920),
            (524_288, 524_288),
            (524_289, 589_824),
            (1_000_000, 1_048_576),
        ] {
            assert_eq!(usable(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn no_request_is_rounded_by_more_than_a_quarter() {
        for bytes in 33..1_100_000 {
            let usable = usable(bytes);
            assert!(
                usable >= bytes && usable <= bytes + bytes.div_ceil(4) + 15,
                "{bytes}"
            );
        }
    }

    #[test]
    fn shares_add_up_and_end_with_their_holders() {
        let ledger = Arc::new(Ledger::new());
        let (mut a, mut b) = (Share::new(&ledger), Share::new(&ledger));
        a.set(100);
        b.set(50);
        a.set(30);
        ledger.change(Account::Clients, 0, 7);
        assert_eq!(ledger.bytes(Account::Store), 80);
        assert_eq!((ledger.held(), ledger.peak()), (87, 150));
        drop(a);
        drop(b);
        assert_eq!(ledger.held(), 7);
        ledger.reset_peak();
        assert_eq!(ledger.peak(), 7);
    }
}
