//! The coordinator's state from effects, as effects, and as a hash.

use super::namespace::{Numbers, codes_effect};
use super::object::{Barrier, Body, Delay, Held, Hold, Limit, Name};
use super::room::{push_text, text_bytes};
use super::sessions::{Open, Session};
use super::turn::Turn;
use super::{Coordinator, Due, State};
use crate::clock::Now;
use crate::engine::effect::{BadFrame, Coordination, Effect, Life};
use crate::seeded::{self, Bug};
use xxhash_rust::xxh3::xxh3_128;

impl Coordinator {
    /// Does one change again. Nothing is compared with any clock, and nobody is granted anything.
    ///
    /// # Errors
    /// Where it is none on this state.
    pub(in crate::engine) fn apply(&self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        let mut turn = self.turn_without_time(Now::default(), None);
        let outcome = turn.apply(change);
        turn.state.loose.clear();
        turn.to_pump.clear();
        outcome
    }

    /// Adds to `out` the effects that would bring everything back; answers the frame that last
    /// changed something.
    pub(in crate::engine) fn cut(&self, out: &mut Vec<u8>) -> u64 {
        let state = self.0.lock();
        state.tell(&mut |change| Effect::Coordination(*change).push_to(out));
        state.frame
    }

    /// A hash of everything that a restart has to bring back.
    pub(in crate::engine) fn state_hash(&self) -> u128 {
        let state = self.0.lock();
        let mut sum = 0u128;
        let mut bytes = Vec::new();
        state.tell(&mut |change| {
            bytes.clear();
            Effect::Coordination(*change).push_to(&mut bytes);
            sum = sum.wrapping_add(xxh3_128(&bytes));
        });
        sum
    }

    /// Engine time goes on after a restart: nothing ends soon. What connections kept waits for its
    /// owners as long, and a bound session for its grace if that is longer.
    pub(in crate::engine) fn resume(&self, now: Now) {
        let mut state = self.0.lock();
        let state = &mut *state;
        state.resumed_ms = now.engine_ms_up();
        state.lost_ms = Some((now.mono_us / 1_000).wrapping_sub(now.engine_ms));
        for (&number, session) in &mut state.sessions {
            if session.end_ms.is_none() {
                let given_ms = session.grace_ms.max(state.bounds.lease_grace_ms);
                let end_ms = state.resumed_ms.saturating_add(given_ms);
                session.end_ms = Some(end_ms);
                session.given_ms = given_ms;
                session.timer = Some(state.lives.insert(end_ms, Due::Session(number)));
            }
        }
        state.report();
        state.wake_sleeper();
    }

    /// Keys that were tied to a session which has ended are of no use.
    pub(in crate::engine) fn loosen(&self, name: Name) {
        self.0.lock().loose.insert(name);
    }

    /// The names of all objects, or of those in one database, and what they are.
    pub(in crate::engine) fn names(&self, only: Option<u32>) -> Vec<(Name, super::Kind)> {
        let state = self.0.lock();
        let is_wanted = |name: &Name| only.is_none_or(|db| name.db == db);
        let objects = state.objects.iter();
        let objects = objects.filter(|(_, object)| is_wanted(&object.name));
        objects
            .map(|(_, object)| (object.name.clone(), object.kind()))
            .collect()
    }
}

impl Turn<'_> {
    fn apply(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        match *change {
            Coordination::Hold { db, key, fence, .. } => {
                self.put_hold(&Name::new(db, key), fence, change)
            }
            Coordination::EndHold { db, key, fence } => {
                let id = self.state.find(db, key).ok_or(BadFrame)?;
                self.state.take_hold(id, fence).ok_or(BadFrame)?;
                self.retire_if_empty(id);
                Ok(())
            }
            Coordination::Delay { db, key, .. } => self.put_delay(&Name::new(db, key), change),
            Coordination::EndDelay { db, key } => {
                let id = self.state.find(db, key).ok_or(BadFrame)?;
                self.end_delay(id, true);
                self.retire_if_empty(id);
                Ok(())
            }
            Coordination::Session { number, .. } => {
                self.put_session(number, change);
                Ok(())
            }
            Coordination::EndSession { number } => {
                let session = self.state.sessions.remove(&number).ok_or(BadFrame)?;
                if let Some(timer) = session.timer {
                    self.state.lives.remove(timer);
                }
                self.state.sids.remove(&session.sid);
                self.state.heap_bytes -= session.heap_bytes();
                if session.holds.is_empty() {
                    Ok(())
                } else {
                    Err(BadFrame)
                }
            }
            Coordination::Counted { fence, session } => {
                self.state.skip_fences(fence);
                self.state.session = self.state.session.max(session);
                Ok(())
            }
            _ => self.apply_to_count(change),
        }
    }

    /// Does again what happened to something that is counted.
    fn apply_to_count(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        match *change {
            Coordination::Pin { db, key, limit } => {
                let name = Name::new(db, key);
                let id = self.object(&name, || Body::Held(Held::of_semaphore(limit)));
                let held = self.state.objects[id as usize].held_mut().ok_or(BadFrame)?;
                held.limit = Some(Limit {
                    permits: limit,
                    is_pinned: true,
                });
                Ok(())
            }
            Coordination::Latch {
                db,
                key,
                remaining,
                end_ms,
            } => {
                if self.state.find(db, key).is_some() {
                    return Err(BadFrame);
                }
                self.put_latch(&Name::new(db, key), remaining, end_ms);
                Ok(())
            }
            Coordination::CountDown {
                db,
                key,
                owner,
                remaining,
            } => {
                let id = self.state.find(db, key).ok_or(BadFrame)?;
                let Body::Latch(latch) = &mut self.state.objects[id as usize].body else {
                    return Err(BadFrame);
                };
                latch.remaining = remaining;
                self.state.heap_bytes += push_text(&mut latch.counted, owner);
                Ok(())
            }
            Coordination::Forget { db, key } => {
                let id = self.state.find(db, key).ok_or(BadFrame)?;
                self.forget(id, true);
                self.retire_if_empty(id);
                Ok(())
            }
            _ => self.apply_to_barrier(change),
        }
    }

    fn apply_to_barrier(&mut self, change: &Coordination<'_>) -> Result<(), BadFrame> {
        match *change {
            Coordination::Trip {
                db,
                key,
                parties,
                generation,
                until_ms,
            } => {
                let barrier = Barrier {
                    parties,
                    tripped: None,
                };
                let id = self.object(&Name::new(db, key), || Body::Barrier(barrier));
                self.state.skip_fences(generation);
                self.put_tripped(id, generation, Vec::new(), until_ms);
                Ok(())
            }
            Coordination::Arrival { db, key, owner } => {
                let id = self.state.find(db, key).ok_or(BadFrame)?;
                let Body::Barrier(barrier) = &mut self.state.objects[id as usize].body else {
                    return Err(BadFrame);
                };
                let tripped = barrier.tripped.as_mut().ok_or(BadFrame)?;
                self.state.heap_bytes += push_text(&mut tripped.owners, owner);
                Ok(())
            }
            _ => self.apply_to_namespace(change),
        }
    }

    fn put_hold(
        &mut self,
        name: &Name,
        fence: u64,
        change: &Coordination<'_>,
    ) -> Result<(), BadFrame> {
        let Coordination::Hold {
            owner,
            share,
            depth,
            life,
            ttl_ms,
            delay_ms,
            value,
            since_ms,
            ..
        } = *change
        else {
            return Err(BadFrame);
        };
        let id = self.object(name, || Body::Held(Held::of_share(share)));
        if self.state.objects[id as usize].held().is_none() {
            return Err(BadFrame);
        }
        self.apply_number(id, share)?;
        if let Life::Session { number } = life
            && !self.state.sessions.contains_key(&number)
        {
            return Err(BadFrame);
        }
        self.state.take_hold(id, fence);
        let hold = Hold {
            owner: owner.into(),
            fence,
            share,
            depth,
            life,
            ttl_ms,
            delay_ms,
            value: value.map(Box::from),
            since_ms,
            conn: 0,
            timer: None,
        };
        self.state.skip_fences(fence);
        self.state.put_hold(id, hold);
        Ok(())
    }

    fn put_delay(&mut self, name: &Name, change: &Coordination<'_>) -> Result<(), BadFrame> {
        let Coordination::Delay {
            until_ms,
            ms,
            fence,
            owner,
            admits_shared,
            ..
        } = *change
        else {
            return Err(BadFrame);
        };
        let id = self.object(name, || Body::Held(Held::of_lock()));
        self.end_delay(id, true);
        let timer = self.state.lives.insert(until_ms, Due::Delay(id));
        let held = self.state.objects[id as usize].held_mut().ok_or(BadFrame)?;
        held.delay = Some(Delay {
            until_ms,
            ms,
            fence,
            owner: owner.into(),
            admits_shared,
            timer,
        });
        self.state.heap_bytes += text_bytes(owner);
        self.state.skip_fences(fence);
        Ok(())
    }

    fn put_session(&mut self, number: u64, change: &Coordination<'_>) {
        let Coordination::Session {
            sid,
            name,
            ttl_ms,
            grace_ms,
            delay_ms,
            end_ms,
            ..
        } = *change
        else {
            return;
        };
        let state = &mut *self.state;
        state.session = state.session.max(number);
        // That of a connection has no time of its own but the grace after a restart, which a
        // snapshot may have been cut in.
        let is_of_connection = sid.is_empty();
        let given_ms = if is_of_connection {
            u64::MAX
        } else {
            ttl_ms.max(grace_ms)
        };
        let session = state.sessions.entry(number).or_insert_with(|| {
            let open = Open {
                sid,
                name,
                ttl_ms,
                grace_ms,
                delay_ms,
                is_bound: false,
                conn: 0,
            };
            let session = Session::new(&open, end_ms, given_ms);
            state.heap_bytes += session.heap_bytes();
            session
        });
        if let Some(timer) = session.timer.take() {
            state.lives.remove(timer);
        }
        session.end_ms = end_ms;
        if let Some(end_ms) = end_ms {
            session.timer = Some(state.lives.insert(end_ms, Due::Session(number)));
        }
        if !sid.is_empty() {
            state.sids.insert(sid.into(), number);
        }
    }
}

impl State {
    /// No fencing token up to here is given out again.
    fn skip_fences(&mut self, fence: u64) {
        if !seeded::has(Bug::FenceReuse) {
            self.fence = self.fence.max(fence);
        }
    }

    /// Tells everything that a restart has to bring back, as effects, sessions first.
    fn tell(&self, tell: &mut dyn FnMut(&Coordination<'_>)) {
        for (&number, session) in &self.sessions {
            tell(&Coordination::Session {
                number,
                sid: &session.sid,
                name: &session.name,
                ttl_ms: session.ttl_ms,
                grace_ms: session.grace_ms,
                delay_ms: session.delay_ms,
                end_ms: session.end_ms,
            });
        }
        for (_, object) in &self.objects {
            tell_object(object, tell);
        }
        if self.fence > 0 || self.session > 0 {
            tell(&Coordination::Counted {
                fence: self.fence,
                session: self.session,
            });
        }
    }
}

fn tell_object(object: &super::object::Object, tell: &mut dyn FnMut(&Coordination<'_>)) {
    let name = &object.name;
    let (db, key) = (name.db, &*name.key);
    if let Body::Codes(codes) = &object.body {
        tell(&codes_effect(name, codes.coder.scheme()));
    }
    if let Some(high) = object.numbers().map(Numbers::high).filter(|high| *high > 0) {
        tell(&Coordination::Numbers { db, key, high });
    }
    match &object.body {
        Body::Range(_) | Body::Codes(_) => {}
        Body::Held(held) => {
            held.tell_pool(name, tell);
            if let Some(limit) = held.limit.filter(|limit| limit.is_pinned) {
                let limit = limit.permits;
                tell(&Coordination::Pin { db, key, limit });
            }
            for hold in &held.holds {
                tell(&hold.as_effect(name));
            }
            if let Some(delay) = &held.delay {
                tell(&delay.as_effect(name));
            }
        }
        Body::Latch(latch) => {
            let (remaining, end_ms) = (latch.remaining, latch.end_ms);
            tell(&Coordination::Latch {
                db,
                key,
                remaining,
                end_ms,
            });
            for owner in &latch.counted {
                tell(&Coordination::CountDown {
                    db,
                    key,
                    owner,
                    remaining,
                });
            }
        }
        Body::Barrier(barrier) => {
            let Some(tripped) = &barrier.tripped else {
                return;
            };
            tell(&Coordination::Trip {
                db,
                key,
                parties: barrier.parties,
                generation: tripped.generation,
                until_ms: tripped.until_ms,
            });
            for owner in &tripped.owners {
                tell(&Coordination::Arrival { db, key, owner });
            }
        }
    }
}
