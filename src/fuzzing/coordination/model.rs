//! What the specification says that coordination commands do, told in the simplest way.
//!
//! Everything that can end is looked at each millisecond, everybody who waits after each change.
//! Where several things happen in one millisecond, what is over ends first, what that frees is
//! handed over, and only then waits end.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIMIT, SEMAPHORE};

/// Of the only barrier.
pub(super) const PARTIES: usize = 3;

type Key = &'static str;
type Owner = &'static str;

/// What a reply must be.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Of `LOCK.ACQUIRE`; what is none may be anything.
    Hold {
        status: i64,
        fence: Fence,
        left_ms: Option<i64>,
        owner: Option<Owner>,
    },
    /// Of `LOCK.MACQUIRE`.
    Several {
        status: i64,
        fence: Fence,
    },
    /// Of `SEM.ACQUIRE`.
    Permits {
        status: i64,
        fence: Fence,
        free: i64,
    },
    /// Of `BARRIER.AWAIT`.
    Met {
        index: i64,
    },
    Number(i64),
    SomeNumber,
    /// An error that begins so.
    Error(&'static str),
    Null,
    Ok,
    /// A text, which is noted.
    Text,
}

#[derive(Clone, Debug)]
pub(super) enum Fence {
    /// One that was never given out, for the hold of this owner on these keys.
    New(Vec<Key>, Owner),
    Known(i64),
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Exclusive,
    Shared,
    Permits(i64),
}

/// What a hold is asked to live by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Lease(u64),
    Session(usize),
    Conn,
}

/// A request for a hold.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) client: usize,
    pub(super) keys: Vec<Key>,
    pub(super) owner: Owner,
    pub(super) share: Share,
    pub(super) life: Asked,
    pub(super) wait_ms: u64,
    pub(super) delay_ms: u64,
    pub(super) is_several: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Until(u64),
    Session(usize),
    Conn(usize),
}

#[derive(Clone, Debug)]
struct Hold {
    owner: Owner,
    /// 0 until somebody is told.
    fence: i64,
    share: Share,
    life: Life,
    delay_ms: u64,
}

/// A lock or a semaphore.
#[derive(Clone, Debug, Default)]
struct Thing {
    holds: Vec<Hold>,
    /// Until when, and whether those who share are let in.
    delay: Option<(u64, bool)>,
    /// Calls that wait, in order.
    queue: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Session {
    ttl_ms: u64,
    grace_ms: u64,
    delay_ms: u64,
    /// Unless it is bound.
    end_ms: u64,
    bound: Option<usize>,
}

#[derive(Clone, Debug)]
struct Latch {
    remaining: i64,
    counted: BTreeSet<Owner>,
    end_ms: u64,
}

#[derive(Clone, Debug)]
enum Waits {
    For(Wanted),
    Latch(usize),
    Barrier(usize),
}

#[derive(Debug)]
pub(super) struct Model {
    now_ms: u64,
    things: BTreeMap<Key, Thing>,
    sessions: BTreeMap<usize, Session>,
    latch: Option<Latch>,
    mark: i64,
    /// Calls that wait, by their arrival, and until when.
    calls: BTreeMap<u64, (Waits, u64)>,
    arrivals: u64,
    told: Vec<Option<Told>>,
    text: String,
}

impl Wanted {
    fn told(&self, status: i64, fence: Fence, left_ms: Option<i64>, free: i64) -> Told {
        match self.share {
            Share::Permits(_) => Told::Permits {
                status,
                fence,
                free,
            },
            _ if self.is_several => Told::Several { status, fence },
            _ => Told::Hold {
                status,
                fence,
                left_ms,
                owner: Some(self.owner),
            },
        }
    }
}

impl Waits {
    fn is_by(&self, session: usize) -> bool {
        matches!(self, Self::For(wanted) if wanted.life == Asked::Session(session))
    }

    fn client(&self) -> usize {
        match self {
            Self::For(wanted) => wanted.client,
            Self::Latch(client) | Self::Barrier(client) => *client,
        }
    }
}

impl Thing {
    fn free(&self) -> i64 {
        let taken = |hold: &Hold| match hold.share {
            Share::Permits(count) => count,
            _ => 0,
        };
        LIMIT - self.holds.iter().map(taken).sum::<i64>()
    }

    fn in_the_way(&self, share: Share) -> impl Iterator<Item = &Hold> {
        let is_in_the_way = move |hold: &&Hold| match share {
            Share::Exclusive => true,
            Share::Shared => hold.share != Share::Shared,
            Share::Permits(_) => false,
        };
        self.holds.iter().filter(is_in_the_way)
    }

    fn admits(&self, share: Share) -> bool {
        let is_delayed = |(_, admits): (u64, bool)| !(admits && share == Share::Shared);
        match share {
            Share::Permits(count) => count <= self.free(),
            _ => !self.delay.is_some_and(is_delayed) && self.in_the_way(share).next().is_none(),
        }
    }

    fn of(&self, owner: Owner) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.owner == owner)
    }
}

// What the player asks of it.
impl Model {
    pub(super) fn new(clients: usize) -> Self {
        Self {
            now_ms: 0,
            things: BTreeMap::new(),
            sessions: BTreeMap::new(),
            latch: None,
            mark: 0,
            calls: BTreeMap::new(),
            arrivals: 0,
            told: vec![None; clients],
            text: String::new(),
        }
    }

    pub(super) fn is_waiting(&self, client: usize) -> bool {
        self.calls
            .values()
            .any(|(waits, _)| waits.client() == client)
    }

    pub(super) fn has_session(&self, session: usize) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(super) fn exists(&self, key: &str) -> bool {
        let is_there = |thing: &Thing| {
            !thing.holds.is_empty() || thing.delay.is_some() || !thing.queue.is_empty()
        };
        self.things.get(key).is_some_and(is_there)
    }

    pub(super) fn current_fence(&self, key: Key) -> Option<i64> {
        Some(self.things.get(key)?.holds.first()?.fence)
    }

    pub(super) fn take_told(&mut self, client: usize) -> Option<Told> {
        self.told[client].take()
    }

    /// Permits that nobody has now.
    pub(super) fn free_now(&self) -> i64 {
        self.things.get(SEMAPHORE).map_or(LIMIT, Thing::free)
    }

    pub(super) fn note_text(&mut self, text: &str) {
        self.text = text.into();
    }

    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub(super) fn note_fence(&mut self, key: Key, owner: Owner, fence: i64) {
        let holds = self.things.get_mut(key).map(|thing| &mut thing.holds);
        let mut own = holds
            .into_iter()
            .flatten()
            .filter(|hold| hold.owner == owner);
        if let Some(hold) = own.next() {
            hold.fence = fence;
        }
    }

    fn tell(&mut self, client: usize, told: Told) {
        let before = self.told[client].replace(told);
        assert!(before.is_none(), "the model answers twice");
    }
}

// Holds.
impl Model {
    pub(super) fn acquire(&mut self, wanted: &Wanted) {
        if let Asked::Session(session) = wanted.life
            && !self.has_session(session)
        {
            self.tell(wanted.client, Told::Error("NOSESSION"));
            return;
        }
        let hold_of = |key: &Key| {
            self.things
                .get(key)
                .and_then(|thing| thing.of(wanted.owner))
        };
        let holds: Vec<Option<Hold>> = wanted
            .keys
            .iter()
            .map(|key| hold_of(key).cloned())
            .collect();
        let fences: BTreeSet<Option<i64>> = holds
            .iter()
            .map(|hold| {
                let hold = hold.as_ref()?;
                let is_of_kind = !wanted.is_several || hold.share == Share::Exclusive;
                is_of_kind.then_some(hold.fence)
            })
            .collect();
        if let (1, Some(Some(fence))) = (fences.len(), fences.first()) {
            self.acquire_again(wanted, *fence);
        } else if holds.iter().any(Option::is_some) {
            self.tell(wanted.client, Told::Error("ERR"));
        } else {
            self.grant_or_wait(wanted);
        }
        self.hand_over();
    }

    fn acquire_again(&mut self, wanted: &Wanted, fence: i64) {
        let mut left_ms = None;
        for key in &wanted.keys {
            let life = self.life(wanted);
            let thing = self.things.entry(key).or_default();
            let own = thing
                .holds
                .iter_mut()
                .find(|hold| hold.owner == wanted.owner);
            let Some(hold) = own else { continue };
            match (hold.share, wanted.share) {
                (Share::Shared, Share::Exclusive) => {
                    self.tell(wanted.client, Told::Error("ERR lock upgrade"));
                    return;
                }
                (Share::Permits(has), Share::Permits(asks)) if has != asks => {
                    self.tell(wanted.client, Told::Error("ERR"));
                    return;
                }
                _ => {}
            }
            hold.life = match (hold.life, life) {
                (Life::Until(old), Life::Until(new)) => Life::Until(old.max(new)),
                (_, new) => new,
            };
            let hold = hold.clone();
            if let Asked::Session(session) = wanted.life {
                self.renew(session);
            }
            left_ms = self.left_ms(&hold);
        }
        let free = self.free(wanted);
        let told = wanted.told(2, Fence::Known(fence), left_ms, free);
        self.tell(wanted.client, told);
    }

    fn free(&self, wanted: &Wanted) -> i64 {
        self.things.get(wanted.keys[0]).map_or(LIMIT, Thing::free)
    }

    fn life(&self, wanted: &Wanted) -> Life {
        match wanted.life {
            Asked::Lease(ms) => Life::Until(self.now_ms + ms),
            Asked::Session(session) => Life::Session(session),
            Asked::Conn => Life::Conn(wanted.client),
        }
    }

    /// What is left of a hold; none where a reply may say anything.
    fn left_ms(&self, hold: &Hold) -> Option<i64> {
        match hold.life {
            Life::Until(end_ms) => Some((end_ms - self.now_ms) as i64),
            Life::Session(session) => {
                let session = &self.sessions[&session];
                let left_ms = session.end_ms.saturating_sub(self.now_ms);
                session.bound.is_none().then_some(left_ms as i64)
            }
            Life::Conn(_) => Some(-1),
        }
    }

    /// The place of an owner's call in a queue, or its end.
    fn place(&self, key: Key, owner: Owner) -> usize {
        let queue = self.things.get(key).map_or(&[][..], |thing| &thing.queue);
        let is_own = |id: &u64| self.wanted(*id).is_some_and(|wanted| wanted.owner == owner);
        queue.iter().position(is_own).unwrap_or(queue.len())
    }

    fn wanted(&self, id: u64) -> Option<&Wanted> {
        match &self.calls.get(&id)?.0 {
            Waits::For(wanted) => Some(wanted),
            _ => None,
        }
    }

    fn overtakes(&self, key: Key, share: Share, before: usize) -> bool {
        let Some(thing) = self.things.get(key) else {
            return false;
        };
        thing.queue[..before].iter().any(|id| {
            let other = self.wanted(*id).map(|wanted| wanted.share);
            share != Share::Shared || other != Some(Share::Shared)
        })
    }

    fn grant_or_wait(&mut self, wanted: &Wanted) {
        let is_free = |key: &Key| {
            let admits = self
                .things
                .get(key)
                .is_none_or(|thing| thing.admits(wanted.share));
            let place = self.place(key, wanted.owner);
            admits && !self.overtakes(key, wanted.share, place)
        };
        let is_free = wanted.keys.iter().all(is_free);
        let is_lock = !matches!(wanted.share, Share::Permits(_));
        if !is_free && wanted.wait_ms > 0 && is_lock && self.closes_circle(wanted) {
            self.tell(wanted.client, Told::Error("DEADLOCK"));
            return;
        }
        let places: Vec<usize> = wanted
            .keys
            .iter()
            .map(|key| self.place(key, wanted.owner))
            .collect();
        for key in &wanted.keys {
            let place = self.place(key, wanted.owner);
            let id = self
                .things
                .get(key)
                .and_then(|thing| thing.queue.get(place));
            if let Some(id) = id.copied() {
                self.refuse(id);
            }
        }
        if is_free {
            self.grant(wanted);
        } else if wanted.wait_ms == 0 {
            let told = self.refusal(wanted);
            self.tell(wanted.client, told);
        } else {
            self.arrivals += 1;
            for (key, place) in wanted.keys.iter().zip(places) {
                let queue = &mut self.things.entry(key).or_default().queue;
                queue.insert(place.min(queue.len()), self.arrivals);
            }
            let waits = Waits::For(wanted.clone());
            let until_ms = self.now_ms + wanted.wait_ms;
            self.calls.insert(self.arrivals, (waits, until_ms));
        }
    }

    fn grant(&mut self, wanted: &Wanted) {
        let hold = Hold {
            owner: wanted.owner,
            fence: 0,
            share: wanted.share,
            life: self.life(wanted),
            delay_ms: wanted.delay_ms,
        };
        for key in &wanted.keys {
            let thing = self.things.entry(key).or_default();
            thing.holds.push(hold.clone());
        }
        if let Asked::Session(session) = wanted.life {
            self.renew(session);
        }
        let fence = Fence::New(wanted.keys.clone(), wanted.owner);
        let told = wanted.told(1, fence, self.left_ms(&hold), self.free(wanted));
        self.tell(wanted.client, told);
    }

    /// What a try is answered that is not granted.
    fn refusal(&self, wanted: &Wanted) -> Told {
        let share = wanted.share;
        let of_key = |key: &Key| self.things.get(key).filter(|thing| !thing.admits(share));
        let (mut status, mut left_ms, mut owner) = (0, Some(0), None);
        let mut fence = Fence::Known(0);
        if let Some(thing) = wanted.keys.iter().find_map(of_key) {
            (fence, left_ms) = (Fence::Any, None);
            let mut holds = thing.in_the_way(share);
            match (holds.next(), holds.next(), thing.delay) {
                (Some(only), None, _) => {
                    left_ms = self.left_ms(only);
                    // One that was granted in this step is not known yet.
                    if only.fence > 0 {
                        fence = Fence::Known(only.fence);
                    }
                    owner = Some(only.owner);
                }
                (None, _, Some((until_ms, _))) => {
                    status = -1;
                    left_ms = Some((until_ms - self.now_ms) as i64);
                }
                _ => {}
            }
        } else if !wanted.is_several {
            let queue = self
                .things
                .get(wanted.keys[0])
                .map_or(&[][..], |thing| &thing.queue);
            let head = queue.first().and_then(|id| self.wanted(*id));
            owner = Some(head.map_or("", |head| head.owner));
        }
        match wanted.told(status, fence, left_ms, self.free(wanted)) {
            Told::Hold {
                status,
                fence,
                left_ms,
                ..
            } => Told::Hold {
                status,
                fence,
                left_ms,
                owner,
            },
            Told::Permits { status, free, .. } => Told::Permits {
                status,
                fence: Fence::Any,
                free,
            },
            other => other,
        }
    }

    /// Whether an owner that waits for this would wait for itself.
    fn closes_circle(&self, wanted: &Wanted) -> bool {
        let mut to_see = self.waits_for(wanted);
        let mut seen = BTreeSet::new();
        while let Some(owner) = to_see.pop() {
            if owner == wanted.owner {
                return true;
            }
            if !seen.insert(owner) {
                continue;
            }
            for (waits, _) in self.calls.values() {
                if let Waits::For(other) = waits
                    && other.owner == owner
                {
                    to_see.extend(self.waits_for(other));
                }
            }
        }
        false
    }

    /// Owners of holds in the way of a request for locks, and of the request just ahead of it.
    fn waits_for(&self, wanted: &Wanted) -> Vec<Owner> {
        let mut owners = Vec::new();
        if matches!(wanted.share, Share::Permits(_)) {
            return owners;
        }
        for key in &wanted.keys {
            let Some(thing) = self.things.get(key) else {
                continue;
            };
            owners.extend(thing.in_the_way(wanted.share).map(|hold| hold.owner));
            let place = self.place(key, wanted.owner);
            let ahead = place.checked_sub(1).map(|at| thing.queue[at]);
            owners.extend(
                ahead
                    .and_then(|id| self.wanted(id))
                    .map(|ahead| ahead.owner),
            );
        }
        owners
    }

    pub(super) fn release(&mut self, client: usize, key: Key, owner: Owner, fence: Option<i64>) {
        let hold = self
            .things
            .get(key)
            .and_then(|thing| thing.of(owner))
            .cloned();
        let is_it = |hold: &Hold| fence.is_none_or(|fence| fence == hold.fence);
        match hold {
            Some(hold) if is_it(&hold) => {
                self.end_hold(key, owner, None);
                self.tell(client, Told::Number(1));
            }
            Some(_) => self.tell(client, Told::Number(0)),
            None => {
                self.tell(client, Told::Number(0));
                let place = self.place(key, owner);
                let own = self
                    .things
                    .get(key)
                    .and_then(|thing| thing.queue.get(place));
                if let (None, Some(id)) = (fence, own.copied()) {
                    self.refuse(id);
                }
            }
        }
        self.hand_over();
    }

    pub(super) fn extend(
        &mut self,
        client: usize,
        key: Key,
        owner: Owner,
        lease_ms: u64,
        fence: Option<i64>,
    ) {
        let end_ms = self.now_ms + lease_ms;
        let holds = self.things.get_mut(key).map(|thing| &mut thing.holds);
        let mut own = holds
            .into_iter()
            .flatten()
            .filter(|hold| hold.owner == owner);
        let own = own.next();
        let told = match own.filter(|hold| fence.is_none_or(|fence| fence == hold.fence)) {
            None => Told::Number(0),
            Some(hold) => match &mut hold.life {
                Life::Until(until_ms) => {
                    *until_ms = end_ms;
                    Told::Number(1)
                }
                Life::Session(_) => Told::Error("ERR lock lives with its session"),
                Life::Conn(_) => Told::Error("ERR lock lives with its connection"),
            },
        };
        self.tell(client, told);
    }

    pub(super) fn check(&mut self, client: usize, key: Key, fence: i64, is_assert: bool) {
        let holds = self.things.get(key).map_or(&[][..], |thing| &thing.holds);
        let is_current = holds.iter().any(|hold| hold.fence == fence);
        let told = match (is_assert, is_current) {
            (false, _) => Told::Number(i64::from(is_current)),
            (true, true) => Told::Ok,
            (true, false) if holds.is_empty() => Told::Error("NOTHELD"),
            (true, false) => Told::Error("FENCED"),
        };
        self.tell(client, told);
    }

    /// Ends a hold; `lost` is the delay that its session adds, where it was not given back.
    fn end_hold(&mut self, key: Key, owner: Owner, lost: Option<u64>) {
        let Some(thing) = self.things.get_mut(key) else {
            return;
        };
        let Some(at) = thing.holds.iter().position(|hold| hold.owner == owner) else {
            return;
        };
        let hold = thing.holds.remove(at);
        let delay_ms = lost.map_or(0, |added| added.max(hold.delay_ms));
        if delay_ms > 0 && !matches!(hold.share, Share::Permits(_)) {
            let until_ms = self.now_ms + delay_ms;
            let admits = hold.share == Share::Shared;
            if thing.delay.is_none_or(|(old_ms, _)| old_ms < until_ms) {
                thing.delay = Some((until_ms, admits));
            }
        }
    }

    /// Takes a call out of all queues.
    fn take(&mut self, id: u64) -> Option<Waits> {
        let (waits, _) = self.calls.remove(&id)?;
        for thing in self.things.values_mut() {
            thing.queue.retain(|other| *other != id);
        }
        if let Waits::For(wanted) = &waits
            && let Asked::Session(session) = wanted.life
            && !self.is_waited_by(session)
        {
            self.renew(session);
        }
        Some(waits)
    }

    /// Ends a wait as its time does.
    fn refuse(&mut self, id: u64) {
        let told = match self.take(id) {
            Some(Waits::For(wanted)) => (wanted.client, self.refusal(&wanted)),
            Some(other) => (other.client(), Told::Null),
            None => return,
        };
        self.tell(told.0, told.1);
    }

    /// Gives what is free to those who head its queue.
    fn hand_over(&mut self) {
        while let Some(id) = self.first_that_can() {
            if let Some(Waits::For(wanted)) = self.take(id) {
                self.grant(&wanted);
            }
        }
    }

    fn first_that_can(&self) -> Option<u64> {
        let can = |id: &u64| {
            let Some(wanted) = self.wanted(*id) else {
                return false;
            };
            wanted.keys.iter().all(|key| {
                let thing = &self.things[key];
                thing.queue.first() == Some(id) && thing.admits(wanted.share)
            })
        };
        let heads = self.things.values().filter_map(|thing| thing.queue.first());
        heads.copied().find(can)
    }
}

// Sessions, connections and time.
impl Model {
    pub(super) fn open(&mut self, client: usize, number: usize, times: [u64; 3], is_bound: bool) {
        let [ttl_ms, grace_ms, delay_ms] = times;
        let session = Session {
            ttl_ms,
            grace_ms,
            delay_ms,
            end_ms: self.now_ms + ttl_ms,
            bound: is_bound.then_some(client),
        };
        self.sessions.insert(number, session);
        self.tell(client, Told::Text);
    }

    pub(super) fn keep_alive(&mut self, client: usize, session: usize) {
        self.renew(session);
        let told = match self.sessions.get(&session) {
            None => Told::Error("NOSESSION"),
            Some(Session { bound: Some(_), .. }) => Told::SomeNumber,
            Some(session) => Told::Number(session.ttl_ms as i64),
        };
        self.tell(client, told);
    }

    pub(super) fn bind(&mut self, client: usize, session: usize) {
        let told = match self.sessions.get_mut(&session) {
            None => Told::Error("NOSESSION"),
            Some(session) => {
                session.bound = Some(client);
                Told::Ok
            }
        };
        self.tell(client, told);
    }

    pub(super) fn close(&mut self, client: usize, session: usize) {
        let count = self.end_session(session, false);
        self.tell(client, Told::Number(count));
        self.hand_over();
    }

    fn renew(&mut self, session: usize) {
        let now_ms = self.now_ms;
        if let Some(session) = self.sessions.get_mut(&session)
            && session.bound.is_none()
        {
            session.end_ms = now_ms + session.ttl_ms;
        }
    }

    fn is_waited_by(&self, session: usize) -> bool {
        self.calls.values().any(|(waits, _)| waits.is_by(session))
    }

    /// Ends a session and all that lives by it; answers how many holds.
    fn end_session(&mut self, number: usize, is_lost: bool) -> i64 {
        let Some(session) = self.sessions.remove(&number) else {
            return 0;
        };
        let holds = self.holds_by(Life::Session(number));
        for (key, owner) in &holds {
            self.end_hold(key, owner, is_lost.then_some(session.delay_ms));
        }
        for id in self.calls_of(|waits| waits.is_by(number)) {
            if let Some(waits) = self.take(id) {
                self.tell(waits.client(), Told::Error("NOSESSION"));
            }
        }
        holds.len() as i64
    }

    fn calls_of(&self, is_meant: impl Fn(&Waits) -> bool) -> Vec<u64> {
        let calls = self.calls.iter().filter(|(_, (waits, _))| is_meant(waits));
        calls.map(|(id, _)| *id).collect()
    }

    fn holds_by(&self, life: Life) -> Vec<(Key, Owner)> {
        let mut found = Vec::new();
        for (key, thing) in &self.things {
            let by = thing.holds.iter().filter(|hold| hold.life == life);
            found.extend(by.map(|hold| (*key, hold.owner)));
        }
        found
    }

    pub(super) fn leave(&mut self, client: usize) {
        for id in self.calls_of(|waits| waits.client() == client) {
            self.take(id);
        }
        for (key, owner) in self.holds_by(Life::Conn(client)) {
            self.end_hold(key, owner, Some(0));
        }
        let now_ms = self.now_ms;
        let mut over = Vec::new();
        for (number, session) in &mut self.sessions {
            if session.bound == Some(client) {
                session.bound = None;
                session.end_ms = now_ms + session.grace_ms;
                if session.grace_ms == 0 {
                    over.push(*number);
                }
            }
        }
        for session in over {
            self.end_session(session, true);
        }
        self.hand_over();
    }

    pub(super) fn unblock(&mut self, client: usize, other: usize, is_error: bool) {
        let call = self.calls_of(|waits| waits.client() == other).pop();
        self.tell(client, Told::Number(i64::from(call.is_some())));
        match call {
            Some(id) if is_error => {
                self.take(id);
                self.tell(other, Told::Error("UNBLOCKED"));
            }
            Some(id) => self.refuse(id),
            None => {}
        }
        self.hand_over();
    }

    /// A millisecond passes.
    pub(super) fn pass(&mut self) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        let is_over = |session: &Session| session.bound.is_none() && session.end_ms <= now_ms;
        let sessions = self.sessions.iter().filter(|(_, session)| is_over(session));
        let sessions: Vec<usize> = sessions.map(|(number, _)| *number).collect();
        for session in sessions {
            if self.is_waited_by(session) {
                self.renew(session);
            } else {
                self.end_session(session, true);
            }
        }
        let mut over = Vec::new();
        for (key, thing) in &mut self.things {
            thing.delay = thing.delay.filter(|(until_ms, _)| *until_ms > now_ms);
            let ended = |hold: &&Hold| matches!(hold.life, Life::Until(end_ms) if end_ms <= now_ms);
            over.extend(
                thing
                    .holds
                    .iter()
                    .filter(ended)
                    .map(|hold| (*key, hold.owner)),
            );
        }
        for (key, owner) in over {
            self.end_hold(key, owner, Some(0));
        }
        if self
            .latch
            .as_ref()
            .is_some_and(|latch| latch.end_ms <= now_ms)
        {
            self.latch = None;
            self.answer_latch(&Told::Null);
        }
        self.hand_over();
        let calls = self.calls.iter();
        let calls = calls.filter(|(_, (_, until_ms))| *until_ms <= now_ms);
        let calls: Vec<u64> = calls.map(|(id, _)| *id).collect();
        for id in calls {
            self.refuse(id);
            self.hand_over();
        }
    }
}

// Latches, barriers, and what is written with fences.
impl Model {
    pub(super) fn set_latch(&mut self, client: usize, remaining: i64, lease_ms: u64) {
        let is_new = self.latch.is_none();
        if is_new {
            self.latch = Some(Latch {
                remaining,
                counted: BTreeSet::new(),
                end_ms: self.now_ms + lease_ms,
            });
        }
        self.tell(client, Told::Number(i64::from(is_new)));
    }

    pub(super) fn count_down(&mut self, client: usize, owner: Owner, count: i64) {
        let Some(latch) = &mut self.latch else {
            self.tell(client, Told::Number(-1));
            return;
        };
        let was_open = latch.remaining == 0;
        if !was_open && latch.counted.insert(owner) {
            latch.remaining = (latch.remaining - count).max(0);
        }
        let remaining = latch.remaining;
        self.tell(client, Told::Number(remaining));
        if remaining == 0 && !was_open {
            self.answer_latch(&Told::Number(1));
        }
    }

    pub(super) fn await_latch(&mut self, client: usize, wait_ms: u64) {
        if self
            .latch
            .as_ref()
            .is_some_and(|latch| latch.remaining == 0)
        {
            self.tell(client, Told::Number(1));
        } else if wait_ms == 0 {
            self.tell(client, Told::Null);
        } else {
            self.wait(Waits::Latch(client), wait_ms);
        }
    }

    fn wait(&mut self, waits: Waits, wait_ms: u64) {
        self.arrivals += 1;
        let until_ms = self.now_ms + wait_ms;
        self.calls.insert(self.arrivals, (waits, until_ms));
    }

    fn answer_latch(&mut self, told: &Told) {
        for id in self.calls_of(|waits| matches!(waits, Waits::Latch(_))) {
            if let Some(waits) = self.take(id) {
                self.tell(waits.client(), told.clone());
            }
        }
    }

    /// Each client arrives by a name of its own.
    pub(super) fn arrive(&mut self, client: usize, wait_ms: u64) {
        let here = self.calls_of(|waits| matches!(waits, Waits::Barrier(_)));
        if here.len() + 1 < PARTIES {
            if wait_ms == 0 {
                self.tell(client, Told::Null);
            } else {
                self.wait(Waits::Barrier(client), wait_ms);
            }
            return;
        }
        for (index, id) in here.iter().enumerate() {
            if let Some(waits) = self.take(*id) {
                let index = index as i64;
                self.tell(waits.client(), Told::Met { index });
            }
        }
        let index = here.len() as i64;
        self.tell(client, Told::Met { index });
    }

    pub(super) fn write(&mut self, client: usize, fence: i64) {
        let passes = fence >= self.mark;
        self.mark = self.mark.max(fence);
        let told = if passes {
            Told::Ok
        } else {
            Told::Error("FENCED")
        };
        self.tell(client, told);
    }
}
