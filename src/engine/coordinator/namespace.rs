//! Namespaces of numbers: ranges, and the short codes made of them.
//!
//! ```text
//!   1 ........ next ........ safe ............ high          high is state, in a frame
//!   given out  | to be given out at once       |             next is not: after a crash numbers go
//!              |             | once the frame of `high` is   on above high
//!              |             | on the disk
//! ```
//!
//! Numbers are reserved ahead: a frame says that they may have been given out, and a call is
//! answered when the frame that reserved its numbers is on the disk. The next reservation is made
//! while half of the last is left, so that this is seldom waited for. A reservation is as large as
//! all that was given out since the server began: a crash loses no more numbers than were used.
//!
//! Invariants: no number above `high` is given out; numbers rise and none is given out twice; what
//! is known of a namespace goes with `ID.FORGET` alone.
//!
//! Cost: O(1), and an effect for each reservation.

use super::Refusal;
use super::object::{Body, Held, Name};
use super::turn::Turn;
use crate::engine::effect::{BadFrame, Coordination};
use crate::engine::ids::code::{Coder, Scheme};
use crate::seeded::{self, Bug};
use std::ops::Range as Numbered;
use std::sync::Arc;

/// Larger numbers JavaScript does not tell apart.
const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Reserved ahead at least, unless that is a good part of all there are.
const AHEAD_MIN: u64 = 16;
/// Reserved ahead at most.
const AHEAD_MAX: u64 = 1 << 32;
/// No more than this part of all there are is reserved ahead.
const AHEAD_PART: u64 = 64;

/// What makes numbers safe to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeBy {
    /// This frame, which came before.
    Frame(u64),
    /// That of the step they were taken in, or one that it saw.
    ThisStep,
}

/// Numbers at a distance from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// What makes them safe to tell.
    pub safe_by: SafeBy,
}

/// Numbers of codes, and what makes codes of them.
#[derive(Clone, Debug)]
pub struct CodesTaken {
    /// They count from 0.
    pub numbers: Numbered<u64>,
    /// What makes codes of them.
    pub coder: Arc<Coder>,
    /// What makes them safe to tell.
    pub safe_by: SafeBy,
}

/// Numbers from 1 on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    /// The last that was given out.
    last: u64,
    /// Numbers up to here may have been given out.
    high: u64,
    /// The frame that said so, if it is known.
    frame: Option<u64>,
    /// Numbers up to here are safe by an earlier frame.
    safe: (u64, u64),
    /// How many were given out since the server began.
    given: u64,
}

/// A namespace of codes.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Codes {
    pub(super) coder: Arc<Coder>,
    pub(super) numbers: Numbers,
}

/// What became of a request for numbers.
struct Taken {
    last: u64,
    safe_by: SafeBy,
    /// A reservation was made.
    is_reserved: bool,
}

impl Numbers {
    /// Those of which the ones up to `high` may have been given out.
    pub(super) fn after(high: u64) -> Self {
        Self {
            last: high,
            high,
            frame: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn high(&self) -> u64 {
        self.high
    }

    /// The last reservation was made by this frame.
    pub(super) fn note_frame(&mut self, frame: u64) {
        if self.frame.is_none() {
            self.frame = Some(frame);
        }
    }

    /// Takes so many of those up to `max`; none where there are fewer left.
    fn take(&mut self, count: u64, max: u64) -> Option<Taken> {
        let last = self.last.checked_add(count).filter(|last| *last <= max)?;
        self.last = last;
        self.given = self.given.saturating_add(count);
        let ahead = self.given.clamp(AHEAD_MIN, AHEAD_MAX).min(max / AHEAD_PART);
        let left = self.high.saturating_sub(last);
        let is_reserved = last > self.high || (self.high < max && left < ahead / 2);
        if is_reserved {
            let frame = self.frame.unwrap_or(u64::MAX);
            self.safe = (self.high, frame);
            self.high = last.saturating_add(ahead).min(max);
            self.frame = None;
        }
        let frame = if last <= self.safe.0 {
            Some(self.safe.1).filter(|frame| *frame < u64::MAX)
        } else {
            self.frame
        };
        Some(Taken {
            last,
            safe_by: frame.map_or(SafeBy::ThisStep, SafeBy::Frame),
            is_reserved,
        })
    }
}

impl Turn<'_> {
    /// Takes `count` numbers at a distance of `step`.
    ///
    /// # Errors
    /// Where the key is something else, or there are not so many.
    pub fn take_range(&mut self, name: &Name, count: u64, step: u64) -> Result<Range, Refusal> {
        let width = count
            .checked_mul(step)
            .filter(|width| *width <= NUMBER_MAX)
            .ok_or(Refusal::RangeExhausted)?;
        if self.state.find(name.db, &name.key).is_none() {
            self.touched.push(name.clone());
        }
        let id = self.object(name, || Body::Range(Numbers::default()));
        let Body::Range(numbers) = &mut self.state.objects[id as usize].body else {
            return Err(Refusal::WrongKind);
        };
        let taken = numbers
            .take(width, NUMBER_MAX)
            .ok_or(Refusal::RangeExhausted)?;
        self.finish_taking(id, &taken);
        Ok(Range {
            first: taken.last - width + 1,
            last: taken.last - step + 1,
            safe_by: taken.safe_by,
        })
    }

    /// Takes `count` codes, or as many as are left; of the scheme that the namespace has, or of
    /// `fresh` if it is new.
    ///
    /// # Errors
    /// Where the key is something else, its codes have another length than `len`, or there are not
    /// so many left. A new key stays what it was.
    pub fn take_codes(
        &mut self,
        name: &Name,
        fresh: &Scheme,
        len: Option<u32>,
        count: u32,
    ) -> Result<CodesTaken, Refusal> {
        let is_new = self.state.find(name.db, &name.key).is_none();
        if is_new && fresh.codes().is_none_or(|codes| codes < u64::from(count)) {
            return Err(Refusal::CodesExhausted);
        }
        let id = self.codes(name, fresh)?;
        let Body::Codes(codes) = &mut self.state.objects[id as usize].body else {
            return Err(Refusal::WrongKind);
        };
        let has = codes.coder.scheme().len;
        if len.is_some_and(|len| len != has) {
            return Err(Refusal::Limit(has));
        }
        let coder = Arc::clone(&codes.coder);
        let taken = codes.numbers.take(count.into(), coder.codes());
        let taken = taken.ok_or(Refusal::CodesExhausted)?;
        self.finish_taking(id, &taken);
        Ok(CodesTaken {
            numbers: taken.last - u64::from(count)..taken.last,
            coder,
            safe_by: taken.safe_by,
        })
    }

    /// Fixes what the codes of a namespace are made of.
    ///
    /// # Errors
    /// Where the key is something else, or that is fixed otherwise.
    pub fn configure_codes(&mut self, name: &Name, scheme: &Scheme) -> Result<(), Refusal> {
        let id = self.codes(name, scheme)?;
        match &self.state.objects[id as usize].body {
            Body::Codes(codes) if codes.coder.scheme().is_like(scheme) => Ok(()),
            Body::Codes(codes) => Err(Refusal::Limit(codes.coder.scheme().len)),
            _ => Err(Refusal::WrongKind),
        }
    }

    /// Forgets what was given out; answers whether anything was known.
    ///
    /// # Errors
    /// Where the key is something else, or in use.
    pub fn forget_namespace(&mut self, name: &Name) -> Result<bool, Refusal> {
        let Some(id) = self.state.find(name.db, &name.key) else {
            return Ok(false);
        };
        let object = &self.state.objects[id as usize];
        if !object.is_namespace() {
            return Err(Refusal::WrongKind);
        }
        if !object.queue.is_empty() || object.held().is_some_and(|held| !held.holds.is_empty()) {
            return Err(Refusal::InUse);
        }
        self.forget(id, true);
        Ok(true)
    }

    /// The codes of a name, made by this scheme if there are none.
    fn codes(&mut self, name: &Name, fresh: &Scheme) -> Result<u32, Refusal> {
        if let Some(id) = self.state.find(name.db, &name.key) {
            return Ok(id);
        }
        let coder = Coder::new(fresh.clone()).ok_or(Refusal::CodesExhausted)?;
        let id = self.put_codes(name, coder);
        self.emit(&codes_effect(name, fresh));
        self.touched.push(name.clone());
        Ok(id)
    }

    fn put_codes(&mut self, name: &Name, coder: Coder) -> u32 {
        let codes = Codes {
            coder: Arc::new(coder),
            numbers: Numbers::after(0),
        };
        self.state.heap_bytes += codes.heap_bytes();
        self.object(name, || Body::Codes(Box::new(codes)))
    }

    fn finish_taking(&mut self, id: u32, taken: &Taken) {
        if taken.is_reserved && !seeded::has(Bug::RangeUnreserved) {
            let object = &self.state.objects[id as usize];
            let Some(numbers) = object.numbers() else {
                return;
            };
            let (name, high) = (object.name.clone(), numbers.high());
            self.emit(&Coordination::Numbers {
                db: name.db,
                key: &name.key,
                high,
            });
            self.reserving = Some(id);
        }
        self.touch(id);
    }
}

impl Turn<'_> {
    /// Does again what happened to a namespace.
    pub(super) fn apply_to_namespace(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        match *change {
            Coordination::Numbers { db, key, high } => {
                let name = Name::new(db, key);
                let id = self.object(&name, || Body::Range(Numbers::default()));
                let numbers = self.state.objects[id as usize].numbers_mut();
                let numbers = numbers.ok_or(BadFrame)?;
                *numbers = Numbers::after(high.max(numbers.high));
                Ok(())
            }
            Coordination::Codes {
                db,
                key,
                alphabet,
                len,
                is_filtered,
                secret,
            } => {
                let scheme = Scheme {
                    alphabet: alphabet.into(),
                    len,
                    is_filtered,
                    secret: [secret.0, secret.1],
                };
                if self.state.find(db, key).is_some() {
                    return Err(BadFrame);
                }
                let coder = Coder::new(scheme).ok_or(BadFrame)?;
                self.put_codes(&Name::new(db, key), coder);
                Ok(())
            }
            _ => self.apply_rest(change),
        }
    }

    /// Takes what is known of numbers, codes or workers off an object, which is to be retired.
    pub(super) fn clear_namespace(&mut self, id: u32) {
        let object = &mut self.state.objects[id as usize];
        let bytes = object.namespace_bytes();
        match &mut object.body {
            Body::Held(held) => held.pool = None,
            body => *body = Body::Held(Held::of_lock()),
        }
        self.state.heap_bytes -= bytes;
    }
}

/// Tells what a restart has to bring back of a namespace of codes, but for its numbers.
pub(super) fn codes_effect<'a>(name: &'a Name, scheme: &'a Scheme) -> Coordination<'a> {
    Coordination::Codes {
        db: name.db,
        key: &name.key,
        alphabet: &scheme.alphabet,
        len: scheme.len,
        is_filtered: scheme.is_filtered,
        secret: (scheme.secret[0], scheme.secret[1]),
    }
}

impl Codes {
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Coder>() + self.coder.scheme().alphabet.len()
    }
}
