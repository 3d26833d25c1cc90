//! Who is at work for a key, and who waits for what comes of it: tokens of fillers and the calls
//! that wait, of keys that are there or not.
//!
//! ```text
//!   shard --- extras --- flights --->  key  ---> tokens      one for each filler, in order
//!                      (most shards              spent       the token that was last written with
//!                       have none)               is_awaited  somebody waits
//!                                                    |
//!                                    coordinator: the calls that wait, in order (lookers.rs)
//! ```
//!
//! None of this is state: it is in no journal and no snapshot, and a restart forgets it. That is
//! safe, for a token that nobody knows writes nothing.
//!
//! Every change of a key goes through [`Slot`](super::Slot), which asks for the key's flight if the
//! shard has extras: the tokens are void then, and whoever waits is seen to when the step lets go
//! of its shards, so that all it did is one frame.
//!
//! Invariant: a key with a token that counts, or that somebody waits for, has a row.
//!
//! Cost: 72 bytes and the key for each, 24 for a token, for as long as one could be written with; a
//! shard without them pays nothing.
//!
//! LIMITATIONS: a row that nobody awaits is dropped up to a second late.

use super::ledger::{usable, usable_slots};
use hashbrown::HashTable;

/// A token counts for so many times its fill, ...
const LIFE_FILLS: u64 = 10;
/// ... and for so long at least, in milliseconds.
const LIFE_MS_MIN: u64 = 60_000;
/// What is over is looked for no more often than this, in milliseconds.
pub(super) const PURGE_APART_MS: u64 = 1_000;

/// What a call waits to do once it is its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The token that it is given then: drawn by chance when it came, below 2^53.
    pub token: u64,
    /// What for.
    pub wants: Wants,
}

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// To fill a cache.
    Fill {
        /// For so many milliseconds others wait for it.
        fill_ms: u64,
    },
    /// To do a request once.
    Begin {
        /// Who asks; empty: nobody said.
        owner: Box<[u8]>,
        /// What is asked for.
        fingerprint: Box<[u8]>,
        /// How long it has, in milliseconds.
        ttl_ms: u64,
    },
}

impl Ask {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let text = match &self.wants {
            Wants::Fill { .. } => 0,
            Wants::Begin {
                owner, fingerprint, ..
            } => usable(owner.len()) + usable(fingerprint.len()),
        };
        usable(size_of::<Self>()) + text
    }
}

/// What a token was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It counts.
    Good,
    /// The value that is there was written with it.
    Before,
    /// It is void.
    Void,
}

/// The token of a filler. Times in engine milliseconds.
#[derive(Clone, Copy, Debug)]
struct Token {
    number: u64,
    /// Others wait until then.
    fill_until_ms: u64,
    /// From then on it is void.
    until_ms: u64,
}

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Flight {
    hash: u64,
    key: Box<[u8]>,
    tokens: Vec<Token>,
    /// Kept for who repeats a call, until the time the token would have been void.
    spent: Option<Token>,
    pub(super) is_awaited: bool,
}

impl Flight {
    fn is_of(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }

    /// Until when others wait for whoever was given the last token, if it is not over.
    pub(super) fn filled_until_ms(&self, now_ms: u64) -> Option<u64> {
        let last = self.tokens.last()?;
        Some(last.fill_until_ms).filter(|until_ms| *until_ms > now_ms)
    }

    /// Whether this token counts.
    pub(super) fn has(&self, number: u64, now_ms: u64) -> bool {
        let is_it = |token: &Token| token.number == number && token.until_ms > now_ms;
        self.tokens.iter().any(is_it)
    }

    /// Gives a token; answers when it is void by itself.
    pub(super) fn give(&mut self, number: u64, fill_ms: u64, now_ms: u64) -> u64 {
        self.tokens.retain(|token| token.until_ms > now_ms);
        let life_ms = fill_ms.saturating_mul(LIFE_FILLS).max(LIFE_MS_MIN);
        let until_ms = now_ms.saturating_add(life_ms);
        self.tokens.push(Token {
            number,
            fill_until_ms: now_ms.saturating_add(fill_ms),
            until_ms,
        });
        until_ms
    }

    /// Judges a token that somebody wants to write with.
    pub(super) fn judge(&self, number: u64, now_ms: u64) -> Spent {
        if self.has(number, now_ms) {
            Spent::Good
        } else if self.spent.is_some_and(|spent| spent.number == number) {
            Spent::Before
        } else {
            Spent::Void
        }
    }

    /// Takes a token back; answers whether it was there.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.number != number);
        self.tokens.len() < before
    }

    /// All tokens are void, and none was written with.
    pub(super) fn void(&mut self) {
        self.tokens = Vec::new();
        self.spent = None;
    }

    /// A token is written with: those given before it are void. Answers what is to be put back
    /// once the write has made all void.
    pub(super) fn spend(&mut self, number: u64) -> Rest {
        let at = self.tokens.iter().position(|token| token.number == number);
        let newer = at.map_or_else(Vec::new, |at| self.tokens.split_off(at + 1));
        Rest {
            newer,
            spent: at.and_then(|_| self.tokens.pop()),
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        !self.is_awaited && self.until_ms() <= now_ms
    }

    /// When nothing of it counts any more, if nobody waits.
    fn until_ms(&self) -> u64 {
        let all = self.tokens.iter().chain(&self.spent);
        all.map(|token| token.until_ms).max().unwrap_or(0)
    }

    fn heap_bytes(&self) -> usize {
        usable(self.key.len()) + usable_slots::<Token>(self.tokens.capacity())
    }
}

/// What a write with a token leaves of the others.
#[derive(Debug)]
pub(super) struct Rest {
    newer: Vec<Token>,
    spent: Option<Token>,
}

/// The flights of one shard.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: HashTable<Flight>,
    /// Of keys and tokens.
    text_bytes: usize,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What is known of this key.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&Flight> {
        self.table.find(hash, |flight| flight.is_of(hash, key))
    }

    /// Changes what is known of a key, if anything is; a row that says nothing goes.
    pub(super) fn change<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        change: impl FnOnce(&mut Flight) -> R,
    ) -> Option<R> {
        let found = self
            .table
            .find_entry(hash, |flight| flight.is_of(hash, key));
        let mut row = found.ok()?;
        let flight = row.get_mut();
        self.text_bytes -= flight.heap_bytes();
        let answer = change(flight);
        if flight.is_over(0) {
            row.remove();
        } else {
            self.text_bytes += flight.heap_bytes();
        }
        Some(answer)
    }

    /// The same for a key of which nothing may be known yet.
    pub(super) fn change_or_make<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        change: impl FnOnce(&mut Flight) -> R,
    ) -> Option<R> {
        if self.get(hash, key).is_none() {
            let flight = Flight {
                hash,
                key: key.into(),
                tokens: Vec::new(),
                spent: None,
                is_awaited: false,
            };
            self.text_bytes += flight.heap_bytes();
            self.table.insert_unique(hash, flight, |flight| flight.hash);
        }
        self.change(hash, key, change)
    }

    /// Puts back what a write with a token leaves of the others.
    pub(super) fn restore(&mut self, hash: u64, key: &[u8], rest: Rest) {
        self.change_or_make(hash, key, |flight| {
            (flight.tokens, flight.spent) = (rest.newer, rest.spent);
        });
    }

    /// Drops what is over; answers the engine time at which the next is.
    pub(super) fn purge(&mut self, now_ms: u64) -> Option<u64> {
        let (mut next_ms, mut text_bytes) = (None::<u64>, 0);
        self.table.retain(|flight| {
            let is_kept = !flight.is_over(now_ms);
            if is_kept {
                text_bytes += flight.heap_bytes();
                if !flight.is_awaited {
                    let until_ms = flight.until_ms();
                    next_ms = Some(next_ms.map_or(until_ms, |next_ms| next_ms.min(until_ms)));
                }
            }
            is_kept
        });
        self.text_bytes = text_bytes;
        self.table.shrink_to(0, |flight| flight.hash);
        next_ms
    }

    /// Drops all tokens.
    pub(super) fn drop_tokens(&mut self) {
        self.table.iter_mut().for_each(Flight::void);
        self.purge(0);
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        usable(self.table.allocation_size()) + self.text_bytes
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
