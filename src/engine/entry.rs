//! The entries of one shard: small ones as records in an arena, the others on their own.
//!
//! An entry is named by a 32-bit [`Place`]; only the shard's table keeps places, so whatever moves
//! an entry tells the table.

use super::arena::{Arena, Evacuated, Handle};
use super::extras::Kind;
use super::form::{self, Form};
use super::large::Large;
use super::ledger::usable_slots;
use super::pool::Pool;
use super::record::{self, Parts, Record};
use super::settle::Settled;
use super::usage::Usage;
use super::value::{Encoding, ValueRef};
use crate::clock::Now;
use crate::seeded::{self, Bug};
use std::sync::Arc;

/// `OBJECT ENCODING` calls values up to this length `embstr`, as Redis does.
const EMBSTR_BYTES_MAX: usize = 44;

/// Where an entry is: a handle of the arena, or the number of a large entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u32);

#[cfg(all(test, not(loom)))]
impl Place {
    /// A place of no entry, for tests of what keeps places.
    pub(super) fn test(number: u32) -> Self {
        Self(number)
    }

    /// The number it was made of.
    pub(super) fn test_number(self) -> u32 {
        self.0
    }
}

/// The entries of one shard.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entries {
    arena: Arena,
    large: Vec<Option<Box<Large>>>,
    large_vacant: Vec<u32>,
    large_bytes: usize,
    /// Of the two lists.
    list_bytes: usize,
}

/// An entry to be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'a> {
    Small(Record<'a>),
    Large(&'a Large),
}

impl<'a> Entry<'a> {
    /// The key.
    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        match self {
            Self::Small(record) => record.key(),
            Self::Large(large) => &large.key,
        }
    }

    /// Whether it is the entry of `key`.
    #[inline]
    pub(super) fn is_of(self, key: &[u8]) -> bool {
        match self {
            Self::Small(record) => record.is_of(key),
            Self::Large(large) => *large.key == *key,
        }
    }

    /// The value.
    #[inline]
    pub(super) fn value(self) -> ValueRef<'a> {
        match self {
            Self::Small(record) => record.value(),
            Self::Large(large) => large.value(),
        }
    }

    /// What it is.
    #[inline]
    pub(super) fn form(self) -> Form {
        match self {
            Self::Small(record) => record.form(),
            Self::Large(large) => large.form,
        }
    }

    /// Whether it is a limit or a record: no string, not evicted, and over by engine time.
    #[inline]
    pub(super) fn is_kept(self) -> bool {
        match self {
            Self::Small(record) => record.is_kept(),
            Self::Large(large) => large.form.is_kept(),
        }
    }

    /// What a kept entry is.
    pub(super) fn kind(self) -> Option<Kind> {
        self.form().kind()
    }

    /// From this engine time in milliseconds on a kept entry is over.
    #[inline]
    pub(super) fn lapse_ms(self) -> Option<u64> {
        if self.is_kept() && !seeded::has(Bug::HintIsDeadline) {
            return form::lapse_ms(self.form(), self.value());
        }
        None
    }

    /// Whether its time is over.
    #[inline]
    pub(super) fn is_due(self, now: Now) -> bool {
        let Some(deadline_ms) = self.deadline_ms() else {
            return false;
        };
        match self.lapse_ms() {
            Some(at) => at <= now.engine_ms,
            None => deadline_ms <= now.wall_ms,
        }
    }

    /// From this Unix time in milliseconds on the key is gone; `None`: never. Of a kept entry, when
    /// to look whether it is.
    #[inline]
    pub(super) fn deadline_ms(self) -> Option<u64> {
        match self {
            Self::Small(record) => record.deadline_ms(),
            Self::Large(large) => large.deadline_ms,
        }
    }

    /// What is known of its uses.
    #[inline]
    pub(super) fn usage(self) -> Usage {
        match self {
            Self::Small(record) => record.usage(),
            Self::Large(large) => large.usage,
        }
    }

    /// Whether the value grew in place.
    pub(super) fn is_grown(self) -> bool {
        matches!(self, Self::Large(large) if large.is_grown())
    }

    /// How the value is held, in Redis' words.
    pub(super) fn encoding(self) -> Encoding {
        match self.value() {
            ValueRef::Int(_) => Encoding::Int,
            ValueRef::Bytes(bytes) if !self.is_grown() && bytes.len() <= EMBSTR_BYTES_MAX => {
                Encoding::Embstr
            }
            ValueRef::Bytes(_) => Encoding::Raw,
        }
    }

    fn parts(self) -> Parts<'a> {
        match self {
            Self::Small(record) => record.parts(),
            Self::Large(large) => large.parts(),
        }
    }
}

impl Entries {
    /// No entries; room for small ones comes from `pool`.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            arena: Arena::new(pool),
            large: Vec::new(),
            large_vacant: Vec::new(),
            large_bytes: 0,
            list_bytes: 0,
        }
    }

    /// Forgets all entries and gives everything back.
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        (self.large, self.large_vacant) = (Vec::new(), Vec::new());
        (self.large_bytes, self.list_bytes) = (0, 0);
    }

    /// Where room for small entries comes from.
    #[cfg(loom)]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.arena.pool()
    }

    /// See [`Arena::settle`].
    pub(super) fn settle(&mut self, from: usize, limit: u32, effort_max: usize) -> Settled {
        self.arena.settle(from, limit, effort_max)
    }

    /// The entry at `place`.
    #[inline]
    pub(super) fn get(&self, place: Place) -> Entry<'_> {
        if place.0 < Handle::LIMIT {
            return Entry::Small(Record(self.arena.get(Handle(place.0))));
        }
        Entry::Large(
            self.large[(place.0 - Handle::LIMIT) as usize]
                .as_deref()
                .expect("in use"),
        )
    }

    /// Has the list of pages fetched from memory.
    #[inline]
    pub(super) fn fetch_pages(&self) {
        self.arena.fetch_pages();
    }

    /// Has an entry fetched from memory.
    #[inline]
    pub(super) fn fetch(&self, place: Place) {
        if place.0 < Handle::LIMIT {
            self.arena.fetch(Handle(place.0));
        }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, parts: &Parts<'_>) -> Place {
        let Some(bytes) = parts.bytes() else {
            return self.add_large(Large::new(parts));
        };
        let handle = self.arena.alloc(bytes);
        parts.write(self.arena.get_mut(handle));
        Place(handle.0)
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, place: Place) {
        if place.0 < Handle::LIMIT {
            let handle = Handle(place.0);
            let len = Record(self.arena.get(handle)).len();
            self.arena.free(handle, len);
        } else {
            let number = place.0 - Handle::LIMIT;
            if let Some(large) = self.large[number as usize].take() {
                self.large_bytes -= large.heap_bytes();
                self.large_vacant.push(number);
                self.count_list_bytes();
            }
        }
    }

    /// Gives an entry new parts, its key as it was, if that takes no more than writing over the old
    /// ones; answers whether it did.
    #[inline]
    pub(super) fn rewrite(&mut self, place: Place, parts: &Parts<'_>) -> bool {
        place.0 < Handle::LIMIT && parts.rewrite(self.arena.get_mut(Handle(place.0)))
    }

    /// Gives an entry new parts, its key among them; answers where it now is.
    pub(super) fn replace(&mut self, place: Place, parts: &Parts<'_>) -> Place {
        if place.0 < Handle::LIMIT
            && let Some(bytes) = parts.bytes()
        {
            let handle = Handle(place.0);
            if Arena::same_room(bytes, Record(self.arena.get(handle)).len()) {
                parts.write(self.arena.get_mut(handle));
                return place;
            }
        }
        self.remove(place);
        self.add(parts)
    }

    /// Sets or takes away a deadline; answers where the entry now is.
    pub(super) fn set_deadline_ms(&mut self, place: Place, deadline_ms: Option<u64>) -> Place {
        if place.0 >= Handle::LIMIT {
            self.large_mut(place, |large| large.deadline_ms = deadline_ms);
            return place;
        }
        self.change(place, |parts| parts.deadline_ms = deadline_ms)
    }

    /// Makes an entry another form of string; answers where the entry now is.
    pub(super) fn set_form(&mut self, place: Place, form: Form) -> Place {
        if place.0 >= Handle::LIMIT {
            self.large_mut(place, |large| large.form = form);
            return place;
        }
        self.change(place, |parts| parts.form = form)
    }

    /// Gives a small entry parts that it may have no room for where it is.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Parts<'_>)) -> Place {
        let record = Record(self.arena.get(Handle(place.0)));
        let mut copy = [0; record::BYTES_MAX];
        let len = record.len();
        copy[..len].copy_from_slice(&record.0[..len]);
        let mut parts = Record(&copy).parts();
        change(&mut parts);
        self.replace(place, &parts)
    }

    /// Notes what is known of the uses of an entry.
    #[inline]
    pub(super) fn set_usage(&mut self, place: Place, usage: Usage) {
        if place.0 < Handle::LIMIT {
            record::set_usage(self.arena.get_mut(Handle(place.0)), usage);
        } else {
            self.large_mut(place, |large| large.usage = usage);
        }
    }

    /// Changes the text of a value in place; answers where the entry now is, and the new length.
    pub(super) fn grow(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> (Place, usize) {
        let place = if place.0 < Handle::LIMIT {
            let large = Large::new(&self.get(place).parts());
            self.remove(place);
            self.add_large(large)
        } else {
            place
        };
        let len = self.large_mut(place, |large| {
            let text = large.grow();
            change(text);
            text.len()
        });
        (place, len)
    }

    /// Whether a page is worth evacuating.
    pub(super) fn is_sparse(&self) -> bool {
        self.arena.is_sparse()
    }

    /// Whether there are holes at all.
    pub(super) fn has_holes(&self) -> bool {
        self.arena.has_holes()
    }

    /// Bytes of pages between records.
    pub(super) fn hole_bytes(&self) -> usize {
        self.arena.hole_bytes()
    }

    /// Whether a page can be given back by moving its records into the holes of others.
    pub(super) fn can_give_back(&mut self) -> bool {
        self.arena.can_give_back()
    }

    /// Moves the records of the page with most holes, telling of each: its key, where it was, where
    /// it is. A bounded step: a page is at most 4 KiB.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(&[u8], Place, Place)) {
        let Some(evacuated) = self.arena.evacuate() else {
            return;
        };
        self.move_records(&evacuated, &mut moved);
        self.arena.retire(evacuated);
    }

    fn move_records(&mut self, evacuated: &Evacuated, moved: &mut impl FnMut(&[u8], Place, Place)) {
        for (old, bytes) in evacuated.records() {
            let new = self.arena.alloc(bytes.len());
            self.arena.get_mut(new)[..bytes.len()].copy_from_slice(bytes);
            moved(Record(bytes).key(), Place(old.0), Place(new.0));
        }
    }

    /// Bytes held on the heap. Three fields added.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.arena.heap_bytes() + self.large_bytes + self.list_bytes
    }

    /// Bytes of the rooms of all entries. O(pages).
    pub(super) fn room_bytes(&self) -> usize {
        self.arena.room_bytes() + self.large_bytes
    }

    /// Bytes of the room of one entry.
    pub(super) fn room_bytes_of(&self, place: Place) -> usize {
        match self.get(place) {
            Entry::Small(record) => Arena::room_bytes_of(record.len()),
            Entry::Large(large) => large.heap_bytes(),
        }
    }

    fn count_list_bytes(&mut self) {
        self.list_bytes = usable_slots::<Option<Box<Large>>>(self.large.capacity())
            + usable_slots::<u32>(self.large_vacant.capacity());
    }

    fn add_large(&mut self, large: Large) -> Place {
        self.large_bytes += large.heap_bytes();
        let large = Some(Box::new(large));
        let number = if let Some(number) = self.large_vacant.pop() {
            self.large[number as usize] = large;
            number
        } else {
            self.large.push(large);
            self.count_list_bytes();
            u32::try_from(self.large.len() - 1).expect("a shard has fewer than 2^31 entries")
        };
        assert!(
            number < Handle::LIMIT,
            "a shard has fewer than 2^31 large entries"
        );
        Place(Handle::LIMIT + number)
    }

    fn large_mut<R>(&mut self, place: Place, change: impl FnOnce(&mut Large) -> R) -> R {
        let large = self.large[(place.0 - Handle::LIMIT) as usize]
            .as_deref_mut()
            .expect("in use");
        let bytes = large.heap_bytes();
        let result = change(large);
        self.large_bytes = self.large_bytes - bytes + large.heap_bytes();
        result
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::form::Soft;
    use crate::engine::usage::Mark;
    use crate::engine::value::IntText;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// What an entry is, without any layout.
    #[derive(Clone, Debug, PartialEq)]
    struct Naive {
        text: Vec<u8>,
        int: bool,
        grown: bool,
        form: Form,
        deadline_ms: Option<u64>,
        usage: Usage,
    }

    #[derive(Clone, Debug)]
    enum Op {
        Put(Vec<u8>, Option<u64>, Usage),
        PutInt(i64, Option<u64>, Usage),
        Append(Vec<u8>),
        WriteRange(usize, Vec<u8>),
        Deadline(Option<u64>),
        Form(Form),
        Used(Usage),
        Remove,
    }

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..max)
    }

    fn ops() -> impl Strategy<Value = Vec<(u8, Op)>> {
        let at = || {
            prop_oneof![
                Just(None),
                any::<u64>().prop_map(Some),
                (0u64..1 << 47).prop_map(Some)
            ]
        };
        let usage = || {
            (0u32..1 << 24, any::<u16>()).prop_map(|(accessed_s, mark)| Usage {
                accessed_s,
                mark: Mark(mark),
            })
        };
        let soft_at = prop_oneof![0u64..1 << 47, any::<u64>()];
        let form = prop_oneof![
            Just(Form::Plain),
            Just(Form::Limit),
            Just(Form::Idempotency),
            (soft_at, any::<u32>())
                .prop_map(|(at_ms, cost_ms)| Form::Cached(Soft { at_ms, cost_ms })),
        ];
        let op = prop_oneof![
            4 => (bytes(60), at(), usage()).prop_map(|(b, d, a)| Op::Put(b, d, a)),
            1 => (bytes(2_000), at(), usage()).prop_map(|(b, d, a)| Op::Put(b, d, a)),
            2 => (any::<i64>(), at(), usage()).prop_map(|(n, d, a)| Op::PutInt(n, d, a)),
            1 => bytes(40).prop_map(Op::Append),
            1 => (0usize..90, bytes(40)).prop_map(|(at, b)| Op::WriteRange(at, b)),
            1 => at().prop_map(Op::Deadline),
            2 => form.prop_map(Op::Form),
            1 => usage().prop_map(Op::Used),
            3 => Just(Op::Remove),
        ];
        prop::collection::vec((any::<u8>(), op), 1..400)
    }

    /// Keys of different lengths, so that every form of the length field is met.
    fn key_of(number: u8) -> Vec<u8> {
        let len = match number % 8 {
            0 => 0,
            1 => 127,
            2 => 128,
            3 => 1_600,
            _ => 6,
        };
        let mut key = vec![b'k'; len];
        key.extend_from_slice(&number.to_le_bytes());
        key
    }

    fn check(entry: Entry<'_>, key: &[u8], naive: &Naive) {
        assert_eq!(entry.key(), key);
        assert_eq!(entry.value().text(&mut IntText::default()), naive.text);
        assert_eq!(matches!(entry.value(), ValueRef::Int(_)), naive.int);
        assert_eq!(entry.form(), naive.form);
        assert_eq!(entry.is_kept(), naive.form.is_kept());
        assert_eq!(entry.deadline_ms(), naive.deadline_ms);
        assert_eq!(entry.usage(), naive.usage);
        let encoding = match naive {
            Naive { int: true, .. } => Encoding::Int,
            Naive {
                grown: false, text, ..
            } if text.len() <= 44 => Encoding::Embstr,
            _ => Encoding::Raw,
        };
        assert_eq!(entry.encoding(), encoding);
    }

    /// Puts an entry where the one of its key is, if there is one.
    fn put(entries: &mut Entries, place: Option<Place>, parts: &Parts<'_>) -> (Place, Naive) {
        let place = match place {
            Some(place) => entries.replace(place, parts),
            None => entries.add(parts),
        };
        let naive = Naive {
            text: parts.value.text(&mut IntText::default()).to_vec(),
            int: matches!(parts.value, ValueRef::Int(_)),
            grown: false,
            form: Form::Plain,
            deadline_ms: parts.deadline_ms,
            usage: parts.usage,
        };
        (place, naive)
    }

    fn apply(
        entries: &mut Entries,
        known: &mut HashMap<Vec<u8>, (Place, Naive)>,
        key: Vec<u8>,
        op: Op,
    ) {
        let old = known.remove(&key);
        let place = old.as_ref().map(|(place, _)| *place);
        let put = |entries: &mut Entries, value, deadline_ms, usage| {
            let parts = Parts {
                key: &key,
                value,
                form: Form::Plain,
                deadline_ms,
                usage,
            };
            put(entries, place, &parts)
        };
        let new = match (op, old.clone()) {
            (Op::Put(b, d, a), _) => put(entries, ValueRef::Bytes(&b), d, a),
            (Op::PutInt(n, d, a), _) => put(entries, ValueRef::Int(n), d, a),
            (_, None) => return,
            (Op::Remove, Some((place, _))) => {
                entries.remove(place);
                return;
            }
            (Op::Append(suffix), Some((place, mut naive))) => {
                naive.text.extend_from_slice(&suffix);
                (naive.int, naive.grown) = (false, true);
                (
                    entries
                        .grow(place, |text| text.extend_from_slice(&suffix))
                        .0,
                    naive,
                )
            }
            (Op::WriteRange(at, b), Some((place, mut naive))) => {
                let write = |text: &mut Vec<u8>| {
                    text.resize(text.len().max(at + b.len()), 0);
                    text[at..at + b.len()].copy_from_slice(&b);
                };
                write(&mut naive.text);
                (naive.int, naive.grown) = (false, true);
                (entries.grow(place, write).0, naive)
            }
            (Op::Deadline(at), Some((place, mut naive))) => {
                naive.deadline_ms = at;
                (entries.set_deadline_ms(place, at), naive)
            }
            (Op::Form(form), Some((place, mut naive))) => {
                naive.form = form;
                (entries.set_form(place, form), naive)
            }
            (Op::Used(at), Some((place, mut naive))) => {
                naive.usage = at;
                entries.set_usage(place, at);
                (place, naive)
            }
        };
        known.insert(key, new);
    }

    proptest! {
        #[test]
        fn entries_are_what_was_put_into_them_wherever_they_move(ops in ops()) {
            let (mut entries, mut known) = (Entries::new(&Pool::test()), HashMap::new());
            for (number, op) in ops {
                apply(&mut entries, &mut known, key_of(number), op);
                if number % 16 == 0 {
                    entries.compact(|key, old, new| {
                        let place = &mut known.get_mut(key).expect("a live entry").0;
                        assert_eq!(*place, old);
                        *place = new;
                    });
                }
                for (key, (place, naive)) in &known {
                    check(entries.get(*place), key, naive);
                }
            }
        }
    }

    /// 20,000 entries of mixed sizes, three quarters removed at random: the room shrinks with them.
    #[test]
    fn room_is_given_back_when_entries_go() {
        let mut entries = Entries::new(&Pool::test());
        let mut places: Vec<(Vec<u8>, Place)> = Vec::new();
        for n in 0..20_000u32 {
            let key = n.to_string().into_bytes();
            let value = vec![b'v'; 10 + (n as usize * 7) % 60];
            let value = ValueRef::Bytes(&value);
            let parts = Parts {
                key: &key,
                value,
                form: Form::Plain,
                deadline_ms: None,
                usage: Usage::default(),
            };
            let place = entries.add(&parts);
            places.push((key, place));
        }
        let full = entries.heap_bytes();
        let mut index: HashMap<Vec<u8>, Place> = places.into_iter().collect();
        let doomed: Vec<_> = index
            .keys()
            .filter(|key| key[key.len() - 1] % 4 != 0)
            .cloned()
            .collect();
        for key in doomed {
            entries.remove(index.remove(&key).expect("it was added"));
            if entries.is_sparse() {
                entries.compact(|key, _, new| {
                    index.insert(key.to_vec(), new);
                });
            }
        }
        let left = index.len() as f64 / 20_000.0;
        let room = entries.heap_bytes() as f64 / full as f64;
        assert!(
            room < left * 1.3 + 0.01,
            "{room:.3} of the room for {left:.3} of the entries"
        );
    }
}
