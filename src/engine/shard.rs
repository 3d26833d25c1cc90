//! One shard of a database: a hash table of entries and what is counted about them.
//!
//! A shard is always reached through its lock. Callers hash the key once and name places in the
//! table by *bucket*; a bucket stays valid until the shard is next changed.
//!
//! Invariants:
//! - no two entries have the same key;
//! - `volatile` and `deadline_sum_ms` are those of the entries in the table, and no deadline is
//!   earlier than its block's bound (`deadlines.rs`);
//! - between two changes, the ledger has what the shard holds on the heap;
//! - only keys of entries in the table have extras (`extras.rs`), and entries with extras are none
//!   that may be evicted;
//! - an entry changes its bucket only when `generation` rises. `SCAN` stands on this.
//!
//! Cost: a look-up reads one cache line of the table, then the entry; see `index.rs` and
//! `arena.rs`.
//!
//! LIMITATIONS: a table grows and shrinks in one go, so the step that does it costs O(entries of
//! this shard).

use super::deadlines::{BLOCK_BUCKETS, Bounds, NEVER_MS};
use super::entry::{Entries, Entry, Place};
use super::extras::{Extra, Extras};
use super::flight::{Flights, PURGE_APART_MS};
use super::form::{self, Form};
use super::hash::KeyHasher;
use super::index::{Hashes, Index};
use super::ledger::{Ledger, Share, usable, usable_slots};
use super::occupancy::Seat;
use super::pool::Pool;
use super::record::Parts;
use super::settle::Settled;
use super::usage::{Draws, Rules, Touch, Usage};
use crate::clock::Now;
use std::sync::Arc;

/// Deadlines count in sums as no later than this, the year 2109.
const DEADLINE_SUMMED_MS_MAX: u64 = 1 << 42;

/// So many bytes of a key that is removed count as one more: they go to the log.
const KEY_BYTES_EACH: usize = 64;

/// How often the age clock rises while as many entries come as there are.
const TICKS_PER_TURNOVER: u64 = 256;

/// The entries whose keys hash to this shard.
///
/// In this order: lock, extras, table and the arena's list of pages then share a cache line, and
/// opening a key touches no other line of the shard.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard {
    extras: Option<Box<Extras>>,
    table: Index,
    entries: Entries,
    volatile: usize,
    /// Of deadlines cut to [`DEADLINE_SUMMED_MS_MAX`], so that it stays within 64 bits.
    deadline_sum_ms: u64,
    bounds: Bounds,
    room: Share,
    seat: Seat,
    draws: Draws,
    /// What is left of evicted keys: 15 bits of the hash and a one, at a place that the hash picks.
    ghosts: Vec<u16>,
}

/// What is known of a shard, or of several added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries, those past their deadline but not yet removed among them.
    pub keys: usize,
    /// Entries with a deadline.
    pub volatile: usize,
    /// Sum of all deadlines, in Unix milliseconds.
    pub deadline_sum_ms: u128,
    /// Bytes held on the heap by entries and tables.
    pub bytes: usize,
    /// Those of them that are tables.
    pub table_bytes: usize,
}

/// What one visit of expiry did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    /// Buckets looked at, entries taken out, entries moved.
    pub(super) effort: usize,
    /// No deadline comes before this Unix time in milliseconds; 0: there is more to do at once.
    pub(super) earliest_ms: u64,
}

impl Census {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.volatile += other.volatile;
        self.deadline_sum_ms += other.deadline_sum_ms;
        self.bytes += other.bytes;
        self.table_bytes += other.table_bytes;
    }
}

impl Shard {
    pub(super) fn new(ledger: &Arc<Ledger>, pool: &Arc<Pool>, seat: Seat) -> Self {
        Self {
            extras: None,
            table: Index::default(),
            entries: Entries::new(pool),
            volatile: 0,
            deadline_sum_ms: 0,
            bounds: Bounds::default(),
            room: Share::new(ledger),
            draws: Draws::seeded(seat.number() as u64),
            seat,
            ghosts: Vec::new(),
        }
    }

    /// The bucket of `key`. Expected O(1).
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.table
            .find(hash, |place| self.entries.get(place).is_of(key))
    }

    /// Has fetched from memory what `find` reads of the table for this hash.
    #[inline]
    pub(super) fn fetch_table(&self, hash: u64) {
        self.table.prefetch(hash);
        self.entries.fetch_pages();
    }

    /// Has fetched from memory the entry that `find` will probably look at for this hash.
    #[inline]
    pub(super) fn fetch_entry(&self, hash: u64) {
        if let Some(place) = self.table.guess(hash) {
            self.entries.fetch(place);
        }
    }

    /// Has the entry in `bucket` fetched from memory, if there is any.
    #[inline]
    pub(super) fn fetch_bucket(&self, bucket: usize) {
        if let Some(place) = self.table.get(bucket) {
            self.entries.fetch(place);
        }
    }

    /// The entry in `bucket`.
    #[inline]
    pub(super) fn at(&self, bucket: usize) -> Option<Entry<'_>> {
        self.table.get(bucket).map(|place| self.entries.get(place))
    }

    /// The bucket of the entry whose key has this hash. Expected O(1), and a hash of each entry
    /// that looks like it.
    pub(super) fn find_hash(&self, hash: u64, hasher: &KeyHasher) -> Option<usize> {
        self.table.find(hash, |place| {
            hasher.hash(self.entries.get(place).key()) == hash
        })
    }

    /// Notes a use of the entry in `bucket`.
    #[inline]
    pub(super) fn touch(&mut self, bucket: usize, rules: &Rules, touch: Touch, age: u16) {
        if let Some(place) = self.table.get(bucket) {
            let old = self.entries.get(place).usage();
            let new = rules.used(old, touch, age, &mut self.draws);
            // A key read often is written seldom, and its cache line stays clean.
            if new != old {
                self.entries.set_usage(place, new);
            }
        }
    }

    /// The usage of the entry in `bucket` after a write, or of a new one.
    pub(super) fn written(
        &mut self,
        bucket: Option<usize>,
        hash: u64,
        rules: &Rules,
        age: u16,
    ) -> Usage {
        match bucket.and_then(|bucket| self.at(bucket)) {
            Some(entry) => {
                let old = entry.usage();
                rules.used(old, Touch::Write, age, &mut self.draws)
            }
            None => {
                let returns = rules.remembers() && self.is_ghost(hash);
                rules.fresh(age, returns, &mut self.draws)
            }
        }
    }

    /// Whether the age clock is to rise, asked after each entry that came. As many entries as there
    /// are in all shards raise it [`TICKS_PER_TURNOVER`] times, if the others have as many as this
    /// one; with one entry or none to a shard, each raises it.
    pub(super) fn ticks(&mut self) -> bool {
        let others = (self.table.len() as u64).saturating_sub(1);
        let entries = others * self.seat.shards() as u64;
        entries <= TICKS_PER_TURNOVER || self.draws.next() % entries < TICKS_PER_TURNOVER
    }

    /// Takes out the entry in `bucket`, which is there, and gives back what room it can.
    pub(super) fn evict(&mut self, bucket: usize, hash: u64, rules: &Rules, hasher: &KeyHasher) {
        if rules.remembers() {
            self.remember(hash);
        }
        self.remove(bucket, hasher);
        if self.len() == 0 {
            self.table.release();
            self.entries.clear();
            self.bounds = Bounds::default();
        } else {
            self.give_back(hasher);
        }
        self.report();
    }

    /// Moves the entries of pages together until no further page can be given back.
    pub(super) fn give_back(&mut self, hasher: &KeyHasher) {
        while self.entries.can_give_back() {
            self.compact(hasher);
        }
    }

    /// Remembers that a key was evicted. Half as many are remembered as there are entries.
    fn remember(&mut self, hash: u64) {
        let wanted = (self.table.len().next_power_of_two() / 2).max(1);
        if self.ghosts.len() < wanted || self.ghosts.len() > 4 * wanted {
            self.ghosts = vec![0; wanted];
        }
        let place = ghost_place(hash, self.ghosts.len());
        self.ghosts[place] = ghost(hash);
    }

    fn is_ghost(&self, hash: u64) -> bool {
        !self.ghosts.is_empty() && self.ghosts[ghost_place(hash, self.ghosts.len())] == ghost(hash)
    }

    /// Adds an entry whose key is not there yet; answers its bucket.
    pub(super) fn insert(&mut self, hash: u64, parts: &Parts<'_>, hasher: &KeyHasher) -> usize {
        debug_assert!(self.find(hash, parts.key).is_none());
        self.note_deadline(parts.deadline_ms);
        if parts.form.is_kept() {
            self.note_kept(1);
        }
        let place = self.entries.add(parts);
        let (entries, rebuilds) = (&self.entries, self.table.rebuilds());
        let keys = Keys { entries, hasher };
        let bucket = self.table.insert(hash, place, &keys);
        self.bound_anew_since(rebuilds);
        self.lower_bound(bucket, parts.deadline_ms);
        self.report();
        bucket
    }

    /// Gives the entry in `bucket`, which is there, new parts; the key stays the same.
    pub(super) fn replace(&mut self, bucket: usize, parts: &Parts<'_>, hasher: &KeyHasher) {
        let place = self.place(bucket);
        let old = self.entries.get(place);
        let (old_ms, was_kept) = (old.deadline_ms(), old.is_kept());
        if was_kept != parts.form.is_kept() {
            self.note_kept(if was_kept { -1 } else { 1 });
        }
        if parts.deadline_ms != old_ms {
            self.note_deadline(parts.deadline_ms);
            self.forget_deadline(old_ms);
            self.lower_bound(bucket, parts.deadline_ms);
            if self.has_extras() {
                self.note_extra_deadline(bucket, parts.deadline_ms, hasher);
            }
        }
        if self.entries.rewrite(place, parts) {
            return;
        }
        let place = self.entries.replace(place, parts);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
    }

    /// Sets or takes away the deadline of the entry in `bucket`, which is there.
    pub(super) fn set_deadline_ms(
        &mut self,
        bucket: usize,
        deadline_ms: Option<u64>,
        hasher: &KeyHasher,
    ) {
        let old_ms = self.at(bucket).and_then(Entry::deadline_ms);
        if self.has_extras() {
            self.note_extra_deadline(bucket, deadline_ms, hasher);
        }
        self.note_deadline(deadline_ms);
        self.forget_deadline(old_ms);
        self.lower_bound(bucket, deadline_ms);
        let place = self
            .entries
            .set_deadline_ms(self.place(bucket), deadline_ms);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
    }

    /// Makes the entry in `bucket`, a string that is there, another form of string.
    pub(super) fn set_form(&mut self, bucket: usize, form: Form, hasher: &KeyHasher) {
        let place = self.entries.set_form(self.place(bucket), form);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
    }

    /// Changes the text of the entry in `bucket`, which is there; answers the new length.
    pub(super) fn grow(
        &mut self,
        bucket: usize,
        hasher: &KeyHasher,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let (place, len) = self.entries.grow(self.place(bucket), change);
        self.table.set(bucket, place);
        self.compact_if_sparse(hasher);
        self.report();
        len
    }

    /// Takes out the entry in `bucket`, which is there. Shrinks a table that has become sparse.
    pub(super) fn remove(&mut self, bucket: usize, hasher: &KeyHasher) {
        self.take(bucket, hasher);
        self.tidy(hasher);
    }

    /// The same, for who has hashed the key.
    pub(super) fn remove_hashed(&mut self, bucket: usize, hash: u64, hasher: &KeyHasher) {
        let place = self.place(bucket);
        let deadline_ms = self.entries.get(place).deadline_ms();
        self.take_place(bucket, place, hash, deadline_ms);
        self.tidy(hasher);
    }

    /// Gives back what an entry has left behind.
    #[inline]
    fn tidy(&mut self, hasher: &KeyHasher) {
        self.compact_if_sparse(hasher);
        self.shrink_if_sparse(hasher);
        self.report();
    }

    /// Takes out the entry in `bucket`, which is there, leaving every other one in its bucket.
    fn take(&mut self, bucket: usize, hasher: &KeyHasher) {
        let place = self.place(bucket);
        let entry = self.entries.get(place);
        let (hash, deadline_ms) = (hasher.hash(entry.key()), entry.deadline_ms());
        self.take_place(bucket, place, hash, deadline_ms);
    }

    #[inline]
    fn take_place(&mut self, bucket: usize, place: Place, hash: u64, deadline_ms: Option<u64>) {
        if self.has_extras() {
            self.drop_extra(bucket, hash);
        }
        self.forget_deadline(deadline_ms);
        self.table.remove(bucket, hash);
        self.entries.remove(place);
    }

    /// Notes that a kept entry came (1) or went (-1).
    fn note_kept(&mut self, step: isize) {
        self.extras.get_or_insert_default().note_kept(step);
        self.drop_empty_extras();
    }

    /// Whether anything is known of keys that somebody fills or waits for.
    #[inline]
    pub(super) fn has_flights(&self) -> bool {
        self.flights().is_some_and(|flights| !flights.is_empty())
    }

    /// What is known of keys that somebody fills or waits for.
    #[inline]
    pub(super) fn flights(&self) -> Option<&Flights> {
        self.extras.as_ref().map(|extras| &extras.flights)
    }

    /// Changes what is known of keys that somebody fills or waits for.
    pub(super) fn change_flights<R>(
        &mut self,
        change: impl FnOnce(&mut Flights) -> Option<R>,
    ) -> Option<R> {
        let answer = change(&mut self.extras.get_or_insert_default().flights);
        self.drop_empty_extras();
        self.report();
        answer
    }

    /// Drops all tokens.
    pub(super) fn drop_tokens(&mut self) {
        if self.has_extras() {
            self.change_flights(|flights| {
                flights.drop_tokens();
                None::<()>
            });
        }
    }

    /// Drops what is known of keys that nobody fills any more; answers when to look again.
    #[cold]
    fn purge_flights(&mut self, now: Now) -> u64 {
        let next_ms = self.change_flights(|flights| flights.purge(now.engine_ms));
        let soon_ms = now.wall_ms.saturating_add(PURGE_APART_MS);
        next_ms.map_or(NEVER_MS, |at_ms| form::hint_ms(at_ms, now).max(soon_ms))
    }

    /// Whether any entry is a kept one.
    #[inline]
    pub(super) fn has_kept(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.kept() > 0)
    }

    /// Whether the entry with this key is a kept one whose time is not over.
    #[cold]
    pub(super) fn is_kept(&self, hash: u64, key: &[u8], now: Now) -> bool {
        let entry = self.find(hash, key).and_then(|bucket| self.at(bucket));
        self.has_kept() && entry.is_some_and(|entry| entry.is_kept() && !entry.is_due(now))
    }

    /// Whether any entry has extras.
    #[inline]
    pub(super) fn has_extras(&self) -> bool {
        self.extras.is_some()
    }

    /// The extras of all entries.
    pub(super) fn extras(&self) -> impl Iterator<Item = (&[u8], &Extra)> {
        self.extras.iter().flat_map(|extras| extras.iter())
    }

    /// What the entry with this key has beside value and deadline.
    #[inline]
    pub(super) fn extra(&self, hash: u64, key: &[u8]) -> Extra {
        match &self.extras {
            None => Extra::default(),
            Some(extras) => extras.get(hash, key),
        }
    }

    /// The same, for who has not hashed the key.
    #[inline]
    pub(super) fn extra_of(&self, key: &[u8], hasher: &KeyHasher) -> Extra {
        if self.has_extras() {
            return self.find_extra_of(key, hasher);
        }
        Extra::default()
    }

    #[cold]
    fn find_extra_of(&self, key: &[u8], hasher: &KeyHasher) -> Extra {
        self.extra(hasher.hash(key), key)
    }

    /// Whether an entry of the shard may not be evicted.
    #[inline]
    pub(super) fn is_spared(&self, entry: Entry<'_>, hasher: &KeyHasher) -> bool {
        self.has_extras()
            && (entry.is_kept() || self.find_extra_of(entry.key(), hasher) != Extra::default())
    }

    /// The entry with this key, which is there, has this beside value and deadline from now on.
    pub(super) fn set_extra(&mut self, bucket: usize, hash: u64, key: &[u8], extra: Extra) {
        let is_volatile = self.at(bucket).and_then(Entry::deadline_ms).is_some();
        let extras = self.extras.get_or_insert_default();
        extras.set(hash, key, extra, is_volatile);
        self.drop_empty_extras();
        self.report();
    }

    #[cold]
    fn note_extra_deadline(&mut self, bucket: usize, at: Option<u64>, hasher: &KeyHasher) {
        let key = self.entries.get(self.place(bucket)).key();
        if let Some(extras) = &mut self.extras {
            extras.note_deadline(hasher.hash(key), key, at.is_some());
        }
    }

    /// Takes out what the entry with this key has beside value and deadline.
    #[cold]
    fn drop_extra(&mut self, bucket: usize, hash: u64) {
        let entry = self.entries.get(self.place(bucket));
        if let Some(extras) = &mut self.extras {
            extras.remove(hash, entry.key());
            extras.note_kept(-isize::from(entry.is_kept()));
        }
        self.drop_empty_extras();
    }

    fn drop_empty_extras(&mut self) {
        if self.extras.as_ref().is_some_and(|extras| extras.is_empty()) {
            self.extras = None;
        }
    }

    fn place(&self, bucket: usize) -> Place {
        self.table.get(bucket).expect("the bucket is in use")
    }

    /// Moves the entries of one page where there are too many holes; answers how many. Buckets
    /// stay.
    #[inline]
    fn compact_if_sparse(&mut self, hasher: &KeyHasher) -> usize {
        if self.entries.is_sparse() {
            return self.compact(hasher);
        }
        0
    }

    fn compact(&mut self, hasher: &KeyHasher) -> usize {
        let table = &mut self.table;
        let mut moved = 0;
        self.entries.compact(|key, old, new| {
            let bucket = table.find(hasher.hash(key), |place| place == old);
            table.set(bucket.expect("the table has every entry"), new);
            moved += 1;
        });
        moved
    }

    /// Moves the entries of one page, if that page has holes. Buckets stay.
    pub(super) fn purge(&mut self, hasher: &KeyHasher) {
        if self.entries.has_holes() {
            self.compact(hasher);
            self.report();
        }
    }

    fn shrink_if_sparse(&mut self, hasher: &KeyHasher) {
        let (entries, rebuilds) = (&self.entries, self.table.rebuilds());
        self.table.shrink_if_sparse(&Keys { entries, hasher });
        self.bound_anew_since(rebuilds);
    }

    /// Moves pages out of chunks that are to be emptied: see [`Settler`](super::Settler).
    pub(super) fn settle(&mut self, from: usize, limit: u32, effort_max: usize) -> Settled {
        self.entries.settle(from, limit, effort_max)
    }

    /// Visits up to `buckets` buckets from `from` on; answers the next one to visit, or `None` when
    /// the table was walked to its end.
    pub(super) fn walk(
        &self,
        from: usize,
        buckets: usize,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<usize> {
        let end = from.saturating_add(buckets).min(self.table.buckets());
        for bucket in from..end {
            if let Some(entry) = self.at(bucket) {
                visit(entry);
            }
        }
        (end < self.table.buckets()).then_some(end)
    }

    /// Takes out entries due at `now`, telling their keys and what else they had, and gives
    /// their memory back. Goes on, block by block and page by page, until buckets looked at,
    /// entries taken out and entries moved have come to `effort_max`; answers how many have.
    pub(super) fn expire(
        &mut self,
        now: Now,
        effort_max: usize,
        hasher: &KeyHasher,
        mut due: impl FnMut(&[u8], Option<Extra>),
    ) -> Expired {
        let now_ms = now.wall_ms;
        self.bounds.visit(now_ms);
        let flights_ms = if self.has_extras() {
            self.purge_flights(now)
        } else {
            NEVER_MS
        };
        let (mut effort, mut from) = (0, 0);
        while effort < effort_max
            && let Some(block) = self.bounds.next_due(from, now_ms)
        {
            effort += self.expire_block(block, now, hasher, &mut due);
            from = block + 1;
        }
        self.shrink_if_sparse(hasher);
        // Not before: what is moved may be due itself.
        let mut gains = true;
        while effort < effort_max && gains && self.entries.is_sparse() {
            let holes = self.entries.hole_bytes();
            effort += self.compact_if_sparse(hasher);
            // Records of which two do not fit in a page leave holes wherever they are.
            gains = self.entries.hole_bytes() < holes;
        }
        self.report();
        let earliest_ms = if effort < effort_max {
            self.bounds.earliest_ms().min(flights_ms)
        } else {
            0
        };
        Expired {
            effort,
            earliest_ms,
        }
    }

    /// Takes out what is due in one block and gives the block its true bound.
    fn expire_block(
        &mut self,
        block: usize,
        now: Now,
        hasher: &KeyHasher,
        due: &mut impl FnMut(&[u8], Option<Extra>),
    ) -> usize {
        let (mut earliest_ms, mut taken) = (NEVER_MS, 0);
        let first = block * BLOCK_BUCKETS;
        for bucket in first..first + BLOCK_BUCKETS {
            let Some(entry) = self.at(bucket) else {
                continue;
            };
            let Some(at) = entry.deadline_ms() else {
                continue;
            };
            if at > now.wall_ms {
                earliest_ms = earliest_ms.min(at);
            } else if let Some(lapse_ms) = entry.lapse_ms().filter(|_| !entry.is_due(now)) {
                let hint_ms = form::hint_ms(lapse_ms, now);
                self.set_deadline_ms(bucket, Some(hint_ms), hasher);
                earliest_ms = earliest_ms.min(hint_ms);
            } else {
                let key = entry.key();
                taken += 1 + key.len() / KEY_BYTES_EACH;
                let extra = self.has_extras().then(|| self.extra_of(key, hasher));
                due(key, extra);
                self.take(bucket, hasher);
            }
        }
        self.bounds.set(block, earliest_ms);
        BLOCK_BUCKETS + taken
    }

    /// Checks what `deadlines.rs` promises; answers the earliest deadline, or [`NEVER_MS`].
    #[cfg(all(test, not(loom)))]
    pub(super) fn check_bounds(&self) -> u64 {
        let mut earliest_ms = NEVER_MS;
        for bucket in 0..self.table.buckets() {
            if let Some(at) = self.at(bucket).and_then(Entry::deadline_ms) {
                assert!(self.bounds.bound_ms(bucket) <= Some(at), "a bound too late");
                earliest_ms = earliest_ms.min(at);
            }
        }
        assert!(self.bounds.earliest_ms() <= earliest_ms);
        assert_eq!(self.bounds.heap_bytes() > 0, self.volatile > 0);
        earliest_ms
    }

    /// How often entries may have changed buckets, modulo 2^32.
    pub(crate) fn generation(&self) -> u32 {
        self.table.rebuilds()
    }

    /// Number of buckets, used or not.
    pub(crate) fn buckets(&self) -> usize {
        self.table.buckets()
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is counted about this shard.
    pub(crate) fn census(&self) -> Census {
        Census {
            keys: self.table.len(),
            volatile: self.volatile,
            deadline_sum_ms: self.deadline_sum_ms.into(),
            bytes: self.heap_bytes(),
            table_bytes: usable(self.table.heap_bytes()),
        }
    }

    /// Gives the blocks new bounds if the table was rebuilt since it had counted so many rebuilds.
    #[inline]
    fn bound_anew_since(&mut self, rebuilds: u32) {
        if self.table.rebuilds() != rebuilds {
            let (buckets, entries) = (self.table.buckets(), &self.entries);
            let deadlines = (0..buckets).filter_map(|bucket| {
                let place = self.table.get(bucket)?;
                Some((bucket, entries.get(place).deadline_ms()?))
            });
            self.bounds.rebuild(buckets, deadlines);
        }
    }

    #[inline]
    fn lower_bound(&mut self, bucket: usize, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.bounds.lower(bucket, self.table.buckets(), at);
        }
    }

    /// An empty shard that reports to the same ledger, but sits nowhere.
    #[cfg(loom)]
    pub(super) fn emptied(&self) -> Self {
        let seat = Seat::new(&super::occupancy::Occupancy::new(1), 0);
        Self::new(self.room.ledger(), self.entries.pool(), seat)
    }

    /// Bytes held on the heap. O(1).
    fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes()
            + usable(self.table.heap_bytes())
            + usable(self.bounds.heap_bytes())
            + self.extras.as_ref().map_or(0, |extras| extras.heap_bytes())
            + usable_slots::<u16>(self.ghosts.capacity())
    }

    /// Bytes the entry in `bucket`, which is there, takes: its own room, and an even share of what
    /// the shard holds besides rooms of entries, that is of its table, of holes and of pages that
    /// are not full. The sum over all entries is what the shard holds. O(pages).
    pub(super) fn entry_bytes(&self, bucket: usize) -> usize {
        let shared = self.heap_bytes() - self.entries.room_bytes();
        let own = self.entries.room_bytes_of(self.place(bucket));
        own + shared.div_ceil(self.table.len())
    }

    /// Tells the ledger and the other shards' list if what is held has changed.
    #[inline]
    fn report(&mut self) {
        let (mut entries, mut volatile) = (self.table.len(), self.volatile);
        if let Some(extras) = &self.extras {
            entries -= extras.spared();
            volatile -= extras.volatile();
        }
        self.seat.report(entries, volatile);
        self.room.set(self.heap_bytes());
    }

    fn note_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile += 1;
            let summed_ms = at.min(DEADLINE_SUMMED_MS_MAX);
            self.deadline_sum_ms = self.deadline_sum_ms.wrapping_add(summed_ms);
        }
    }

    fn forget_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(at) = deadline_ms {
            self.volatile -= 1;
            if self.volatile == 0 {
                self.bounds.clear();
            }
            let summed_ms = at.min(DEADLINE_SUMMED_MS_MAX);
            self.deadline_sum_ms = self.deadline_sum_ms.wrapping_sub(summed_ms);
        }
    }
}

/// The keys of a shard's entries, for its table.
struct Keys<'s> {
    entries: &'s Entries,
    hasher: &'s KeyHasher,
}

impl Hashes for Keys<'_> {
    fn hash(&self, place: Place) -> u64 {
        self.hasher.hash(self.entries.get(place).key())
    }

    fn fetch(&self, place: Place) {
        self.entries.fetch(place);
    }
}

/// Where the ghost of a key stands. The bits below pick the shard.
fn ghost_place(hash: u64, ghosts: usize) -> usize {
    (hash >> 42) as usize & (ghosts - 1)
}

fn ghost(hash: u64) -> u16 {
    (hash >> 16) as u16 | 1
}
