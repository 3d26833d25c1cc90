//! Fillers and waiting calls, as operations on a key: see `flight.rs`.
//!
//! LIMITATIONS: a turn that is handed to a call and removed by somebody before its connection has
//! looked is taken anew by that call, with the same token. One that was told of to a connection
//! that ends at that moment stays until its time is over.

use super::{Locked, Slot, Step};
use crate::engine::coordinator::{Name, Ticket};
use crate::engine::flight::{Ask, Spent, Wants};
use crate::engine::form::{self, Soft};
use crate::engine::idempotency::Record;
use crate::engine::value::ValueRef;
use crate::seeded::{self, Bug};
use crate::sync::atomic::Ordering;
use std::sync::Arc;

impl Slot<'_> {
    /// Whether somebody fills the key: until this engine time in milliseconds others wait for it.
    #[must_use]
    pub fn filled_until_ms(&self) -> Option<u64> {
        let flights = self.shard.flights()?;
        let flight = flights.get(self.hash, self.key)?;
        flight.filled_until_ms(self.ctx.now.engine_ms)
    }

    /// Whether this token counts: it was given for the key, and nothing was written since.
    #[must_use]
    pub fn has_token(&self, token: u64) -> bool {
        let flights = self.shard.flights();
        let flight = flights.and_then(|flights| flights.get(self.hash, self.key));
        flight.is_some_and(|flight| flight.has(token, self.ctx.now.engine_ms))
    }

    /// Gives a token to whoever is to fill the key; others wait for it for `fill_ms`.
    pub fn give_token(&mut self, token: u64, fill_ms: u64) {
        let now = self.ctx.now;
        let (hash, key) = (self.hash, self.key);
        let until_ms = self.shard.change_flights(|flights| {
            flights.change_or_make(hash, key, |flight| {
                flight.give(token, fill_ms, now.engine_ms)
            })
        });
        self.engine.has_tokens.store(true, Ordering::Relaxed);
        self.note_deadline(until_ms.map(|until_ms| form::hint_ms(until_ms, now)));
    }

    /// Takes back the token of who fills the key, or lets who began a request not have begun it, if
    /// it is not done; whoever waits is next. Answers whether there was anything to take back.
    pub fn give_back(&mut self, token: u64) -> bool {
        let is_begun = match self.record() {
            Ok(Some(record)) => record.token == token && record.response.is_none(),
            _ => false,
        };
        if is_begun {
            return self.remove();
        }
        let (hash, key) = (self.hash, self.key);
        let taken = self.shard.change_flights(|flights| {
            flights.change(hash, key, |flight| (flight.take(token), flight.is_awaited))
        });
        let (was_there, is_awaited) = taken.unwrap_or_default();
        if is_awaited {
            self.ctx.touched.push((self.db, self.key.into()));
        }
        was_there
    }

    /// What this token is good for.
    #[must_use]
    pub fn judge_token(&self, token: u64) -> Spent {
        let flights = self.shard.flights();
        let flight = flights.and_then(|flights| flights.get(self.hash, self.key));
        flight.map_or(Spent::Void, |flight| {
            flight.judge(token, self.ctx.now.engine_ms)
        })
    }

    /// Gives the key, which is a string or not there, a value with a token that is good: tokens
    /// given after it stay good, those before are void.
    pub fn fill(&mut self, token: u64, value: ValueRef<'_>, deadline_ms: u64, soft: Soft) {
        let (hash, key) = (self.hash, self.key);
        let rest = self
            .shard
            .change_flights(|flights| flights.change(hash, key, |flight| flight.spend(token)));
        self.put_cached(value, deadline_ms, soft);
        if let Some(rest) = rest {
            self.shard.change_flights(|flights| {
                flights.restore(hash, key, rest);
                None::<()>
            });
        }
    }

    /// All tokens of the key are void; whoever waits is next. Every change of the key calls it, and
    /// so does the removal of one that is not there.
    #[cold]
    pub(super) fn void_tokens(&mut self) {
        if seeded::has(Bug::TokenOutlivesWrite) {
            return;
        }
        let (hash, key) = (self.hash, self.key);
        let is_awaited = self.shard.change_flights(|flights| {
            flights.change(hash, key, |flight| {
                flight.void();
                flight.is_awaited
            })
        });
        if is_awaited == Some(true) {
            self.ctx.touched.push((self.db, self.key.into()));
        }
    }

    /// Parks a call until it is its turn, or the key has become something else, at most `wait_ms`;
    /// answers whether it waits: there is a bound on how many may.
    pub fn await_turn(&mut self, ticket: Ticket, ask: &Arc<Ask>, wait_ms: u64) -> bool {
        let name = Name::new(self.database.id, self.key);
        let (engine, layout) = (self.engine, self.layout);
        let until_ms = self.busy_until_ms();
        let (hash, key) = (self.hash, self.key);
        let was_awaited = self
            .shard
            .flights()
            .and_then(|flights| flights.get(hash, key))
            .is_some_and(|flight| flight.is_awaited);
        let waits = self.ctx.coordinate(engine, layout, |turn| {
            let waits = turn.await_key(&name, ticket, ask, wait_ms);
            if let Some(until_ms) = until_ms.filter(|_| waits && !was_awaited) {
                turn.look_at(&name, until_ms);
            }
            waits
        });
        if waits {
            self.shard.change_flights(|flights| {
                flights.change_or_make(hash, key, |flight| flight.is_awaited = true)
            });
        }
        waits
    }

    /// Until when the key is somebody's: engine milliseconds.
    fn busy_until_ms(&self) -> Option<u64> {
        let now_ms = self.ctx.now.engine_ms;
        match self.record() {
            Ok(Some(record)) if record.is_busy(now_ms) => Some(record.end_ms),
            _ => self.filled_until_ms(),
        }
    }

    /// Whether somebody waits for the key, as far as is known.
    fn is_awaited(&self) -> bool {
        let flights = self.shard.flights();
        let flight = flights.and_then(|flights| flights.get(self.hash, self.key));
        flight.is_some_and(|flight| flight.is_awaited)
    }

    /// Hands the key to whoever waits first, if it is nobody's, or tells all who wait to look at
    /// what it is now. Whoever is about to ask for the key itself calls it, so that nobody is
    /// overtaken. Answers whether the key is somebody's.
    pub fn hand_over(&mut self) -> bool {
        if !self.is_awaited() {
            return self.busy_until_ms().is_some();
        }
        let name = Name::new(self.database.id, self.key);
        let (engine, layout) = (self.engine, self.layout);
        if self.busy_until_ms().is_some() {
            return true;
        }
        let ask = engine.coordinator.first_ask(&name);
        let is_given = ask.is_some_and(|ask| self.give_turn(&ask));
        let until_ms = self.busy_until_ms();
        let is_awaited = self.ctx.coordinate(engine, layout, |turn| {
            let is_awaited = is_given && turn.tell_first(&name);
            if !is_given {
                turn.tell_all(&name);
            }
            if let Some(until_ms) = until_ms.filter(|_| is_awaited) {
                turn.look_at(&name, until_ms);
            }
            is_awaited
        });
        let (hash, key) = (self.hash, self.key);
        self.shard.change_flights(|flights| {
            flights.change(hash, key, |flight| flight.is_awaited = is_awaited)
        });
        is_given
    }

    /// Gives the key to who asks for it, if it is such a key; answers whether it is.
    fn give_turn(&mut self, ask: &Ask) -> bool {
        match &ask.wants {
            Wants::Fill { fill_ms } if !self.exists() => {
                self.give_token(ask.token, *fill_ms);
                true
            }
            Wants::Begin {
                owner,
                fingerprint,
                ttl_ms,
            } => {
                let may_begin = match self.record() {
                    Ok(old) => old.is_none_or(|old| old.response.is_none()),
                    Err(_) => false,
                };
                if may_begin {
                    self.begin(ask.token, *ttl_ms, owner, fingerprint);
                }
                may_begin
            }
            Wants::Fill { .. } => false,
        }
    }

    /// Lets a request be begun, which nobody has begun or whose time is over.
    pub fn begin(&mut self, token: u64, ttl_ms: u64, owner: &[u8], fingerprint: &[u8]) {
        let is_retry = matches!(self.record(), Ok(Some(_)));
        self.set_record(&Record {
            end_ms: self.ctx.now.engine_ms.saturating_add(ttl_ms),
            token,
            is_retry,
            owner,
            fingerprint,
            response: None,
        });
    }
}

impl Locked<'_> {
    /// Sees to those who wait for keys that were changed.
    #[cold]
    pub(super) fn hand_over_touched(&mut self) {
        while let Some((db, key)) = self.ctx.touched.pop() {
            self.slot(db, &key).hand_over();
        }
    }
}

impl Step<'_> {
    /// Hands over keys whose time somebody waits for, at most `max` of them; answers whether there
    /// may be more.
    pub fn hand_over_due(&mut self, max: usize) -> bool {
        let names = self.engine.coordinator.take_due_names(max);
        let has_more = names.len() == max;
        for name in names {
            let layout = self.view.layout();
            let place = layout.iter().position(|database| database.id == name.db);
            let Some(db) = place.and_then(|place| u32::try_from(place).ok()) else {
                continue;
            };
            let mut locked = self.lock_any(db, &name.key);
            let mut slot = locked.slot(db, &name.key);
            if slot.hand_over() && slot.is_awaited() {
                // Its time was put off, or this is the next one's: it is looked at again then.
                slot.look_again(&name);
            }
        }
        has_more
    }

    /// Drops the tokens of all keys, if there are any: what can be given up without a loss.
    pub(in crate::engine) fn drop_tokens(&mut self) {
        if !self.engine.has_tokens.swap(false, Ordering::Relaxed) {
            return;
        }
        for db in 0..self.databases() {
            for shard in self.database(db).shards_in_use() {
                shard.lock().drop_tokens();
            }
        }
    }
}

impl Slot<'_> {
    fn look_again(&mut self, name: &Name) {
        let (engine, layout) = (self.engine, self.layout);
        if let Some(until_ms) = self.busy_until_ms() {
            self.ctx
                .coordinate(engine, layout, |turn| turn.look_at(name, until_ms));
        }
    }
}
