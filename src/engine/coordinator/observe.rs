//! Looking at objects: whether a fence is current, who holds, who waits, and waiting to see a
//! holder.

use super::Kind;
use super::object::{Contention, Hold, Name};
use super::queue::Wants;
use super::turn::{Outcome, Ticket, Turn};
use super::{Refusal, State};
use crate::engine::effect::{Life, Share};
use std::sync::Arc;

/// What is told of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldInfo {
    /// Whose it is.
    pub owner: Box<[u8]>,
    /// The fencing token.
    pub fence: u64,
    /// How much it takes.
    pub share: Share,
    /// How deep its owner has entered.
    pub depth: u32,
    /// What is left of it, in milliseconds; none where a connection keeps it.
    pub ttl_ms: Option<u64>,
    /// The number of its session, if it lives by one.
    pub session: Option<u64>,
    /// Milliseconds since the grant.
    pub age_ms: u64,
    /// What its owner proclaims.
    pub value: Option<Box<[u8]>>,
    /// The connection that last acquired or extended; 0 where that was before a restart.
    pub conn: u64,
}

/// What is told of a request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterInfo {
    /// Who waits.
    pub owner: Box<[u8]>,
    /// How much it wants.
    pub share: Share,
    /// Milliseconds since it came.
    pub waited_ms: u64,
    /// The connection that waits.
    pub conn: u64,
}

/// What is told of a lock or semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What it is.
    pub kind: Kind,
    /// Permits there are, of a semaphore, and whether that stays.
    pub limit: Option<(u32, bool)>,
    /// Permits that nobody has; may be negative.
    pub free: i64,
    /// Who holds it, in the order of their grants.
    pub holds: Vec<HoldInfo>,
    /// Who waits, in order.
    pub waiters: Vec<WaiterInfo>,
    /// What is left of a lock-delay, in milliseconds.
    pub delay_ms: Option<u64>,
    /// What happened since it came to be.
    pub contention: Contention,
}

/// Some objects, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where to go on; 0 at the end.
    pub cursor: u64,
    /// Their keys.
    pub keys: Vec<Box<[u8]>>,
}

impl Turn<'_> {
    /// Whether a hold with this fence is in force.
    #[must_use]
    pub fn is_current(&self, name: &Name, fence: u64) -> bool {
        let id = self.find(name);
        let held = id.and_then(|id| self.state.objects[id as usize].held());
        held.is_some_and(|held| held.of_fence(fence).is_some())
    }

    /// Nothing, where a hold with this fence is in force.
    ///
    /// # Errors
    /// Who holds it instead.
    pub fn assert_current(&self, name: &Name, fence: u64) -> Result<(), Refusal> {
        if self.is_current(name, fence) {
            return Ok(());
        }
        let id = self.find(name);
        let held = id.and_then(|id| self.state.objects[id as usize].held());
        let newest = held.and_then(|held| held.holds.iter().map(|hold| hold.fence).max());
        Err(newest.map_or(Refusal::NotHeld, Refusal::Fenced))
    }

    /// The hold with this fence, as it is now.
    #[must_use]
    pub fn hold(&self, name: &Name, fence: u64) -> Option<HoldInfo> {
        let id = self.find(name)?;
        let held = self.state.objects[id as usize].held()?;
        let hold = held.holds.get(held.of_fence(fence)?)?;
        Some(self.describe(hold))
    }

    /// Whose the hold with this fence is, and what is left of it in milliseconds, where it ends by
    /// itself.
    #[must_use]
    pub fn kept(&self, name: &Name, fence: u64) -> Option<(&[u8], Option<u64>)> {
        let id = self.find(name)?;
        let held = self.state.objects[id as usize].held()?;
        let hold = held.holds.get(held.of_fence(fence)?)?;
        let ends_ms = self.state.hold_ends_ms(hold);
        let left_ms = ends_ms.map(|ends| self.now.left_ms(ends));
        Some((&hold.owner, left_ms))
    }

    /// Permits of a semaphore that nobody has.
    #[must_use]
    pub fn free(&self, name: &Name) -> Option<i64> {
        let id = self.find(name)?;
        Some(self.state.objects[id as usize].held()?.free())
    }

    /// The newest hold with a fence above `after`.
    #[must_use]
    pub fn newest_above(&self, name: &Name, after: u64) -> Option<HoldInfo> {
        let id = self.find(name)?;
        let held = self.state.objects[id as usize].held()?;
        let newest = held.holds.iter().max_by_key(|hold| hold.fence)?;
        (newest.fence > after).then(|| self.describe(newest))
    }

    /// Waits to see a hold with a fence above `after`; answers whether the call waits.
    ///
    /// # Errors
    /// Where the key is neither a lock nor nothing.
    pub fn observe(
        &mut self,
        name: &Name,
        after: u64,
        ticket: Ticket,
        wait_ms: u64,
    ) -> Result<bool, Refusal> {
        if self.kind(name).is_some_and(|kind| kind != Kind::Lock) {
            return Err(Refusal::WrongKind);
        }
        let is_seen = self.newest_above(name, after).is_some();
        if is_seen || wait_ms == 0 || !self.has_room_to_wait(&[]) {
            return Ok(false);
        }
        let wants = Wants::Observe(name.clone(), after);
        self.park_observer(wants, name, ticket, wait_ms);
        Ok(true)
    }

    /// A hold has come to be: those who wait to see it are told.
    pub(super) fn wake_observers(&mut self, name: &Name, fence: u64) {
        if !self.state.observers.contains_key(name) {
            return;
        }
        let Some(seen) = self.hold(name, fence).map(Arc::new) else {
            return;
        };
        self.answer_observers(name, |wants| match wants {
            Wants::Observe(name, after) if fence > *after => {
                Some(Outcome::Observed(name.clone(), Arc::clone(&seen)))
            }
            _ => None,
        });
    }

    /// What is to be known of a lock or semaphore.
    ///
    /// # Errors
    /// Where the key is something else.
    pub fn info(&self, name: &Name, kind: Kind) -> Result<Option<Info>, Refusal> {
        let Some(id) = self.find(name) else {
            return Ok(None);
        };
        let object = &self.state.objects[id as usize];
        if object.kind() != kind {
            return Err(Refusal::WrongKind);
        }
        let Some(held) = object.held() else {
            return Err(Refusal::WrongKind);
        };
        let delay = held.delay.as_ref();
        let delay_ends = delay.map(|delay| self.state.at_least(delay.until_ms, delay.ms));
        let waiters = object.queue.values();
        Ok(Some(Info {
            kind,
            limit: held.limit.map(|limit| (limit.permits, limit.is_pinned)),
            free: held.free(),
            holds: held.holds.iter().map(|hold| self.describe(hold)).collect(),
            waiters: waiters.filter_map(|id| self.waiter(*id)).collect(),
            delay_ms: delay_ends.map(|ends| self.now.left_ms(ends)),
            contention: object.contention,
        }))
    }

    /// Keys of locks of a database, from a place on; `is_wanted` picks them, `max` bounds how many
    /// are looked at. One that is there all the time is listed.
    #[must_use]
    pub fn list(
        &self,
        db: u32,
        cursor: u64,
        max: usize,
        session: Option<u64>,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Listed {
        let start = usize::try_from(cursor).unwrap_or(usize::MAX);
        let end = self
            .state
            .objects
            .iter()
            .next_back()
            .map_or(0, |(id, _)| id + 1);
        let stop = start.saturating_add(max).min(end);
        let mut keys = Vec::new();
        for id in start..stop {
            let Some(object) = self.state.objects.get(id) else {
                continue;
            };
            let lives_by = |hold: &Hold| match hold.life {
                Life::Session { number } => session.is_none_or(|only| only == number),
                Life::Lease { .. } => session.is_none(),
            };
            let holds = object.held().map_or(&[][..], |held| &held.holds);
            let is_of_session = session.is_none() || holds.iter().any(lives_by);
            let is_lock = object.kind() == Kind::Lock && object.name.db == db;
            if is_lock && is_of_session && is_wanted(&object.name.key) {
                keys.push(object.name.key.clone());
            }
        }
        let cursor = if stop >= end { 0 } else { stop as u64 };
        Listed { cursor, keys }
    }

    fn waiter(&self, id: u32) -> Option<WaiterInfo> {
        let request = self.state.requests.get(id as usize)?;
        let Wants::Hold { share, .. } = request.wants else {
            return None;
        };
        let now_ms = self.now.mono_us / 1_000;
        Some(WaiterInfo {
            owner: request.owner.clone(),
            share,
            waited_ms: now_ms.saturating_sub(request.since_ms),
            conn: request.ticket.conn,
        })
    }

    fn describe(&self, hold: &Hold) -> HoldInfo {
        let ends_ms = self.state.hold_ends_ms(hold);
        HoldInfo {
            owner: hold.owner.clone(),
            fence: hold.fence,
            share: hold.share,
            depth: hold.depth,
            ttl_ms: ends_ms.map(|ends| self.now.left_ms(ends)),
            session: self.state.named_session(hold),
            age_ms: self.now.engine_ms.saturating_sub(hold.since_ms),
            value: hold.value.clone(),
            conn: hold.conn,
        }
    }
}

impl State {
    /// The number of the session that a hold lives by, if its owner opened it.
    fn named_session(&self, hold: &Hold) -> Option<u64> {
        match hold.life {
            Life::Session { number } if !self.is_of_connection(number) => Some(number),
            _ => None,
        }
    }
}
