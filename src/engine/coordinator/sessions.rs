//! Sessions: holds and keys that end together when their owner gives no sign of life.
//!
//! A session lives by signs of life, or, bound, by its connection and a time of grace after that.
//! A connection has one of its own as well, without grace, that nobody can name.

use super::object::Line;
use super::turn::{End, Lost, Outcome, Turn};
use super::wheel::TimerId;
use super::{Due, Name, Refusal, State};
use crate::engine::effect::Coordination;
use std::collections::{BTreeSet, HashSet};

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Session {
    /// Its secret name; none for that of a connection.
    pub(super) sid: Box<[u8]>,
    pub(super) name: Box<[u8]>,
    pub(super) ttl_ms: u64,
    pub(super) grace_ms: u64,
    pub(super) delay_ms: u64,
    /// Engine time; none while it is bound.
    pub(super) end_ms: Option<u64>,
    /// What it was given when that was last set.
    pub(super) given_ms: u64,
    pub(super) timer: Option<TimerId>,
    /// The connection it is bound to.
    pub(super) bound: Option<u64>,
    /// The connection that opened it or last kept it alive; 0 where that was before a restart.
    pub(super) conn: u64,
    pub(super) holds: HashSet<(u32, u64)>,
    pub(super) keys: BTreeSet<Name>,
    /// Bytes of their names.
    pub(super) key_bytes: usize,
    /// Requests that wait to live by it.
    pub(super) waiting: Line,
}

/// How a session is opened.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Its secret name, drawn by the caller.
    pub sid: &'a [u8],
    /// What its owner calls it.
    pub name: &'a [u8],
    /// How long it lives without a sign of life, in milliseconds.
    pub ttl_ms: u64,
    /// How long it outlives its connection, in milliseconds.
    pub grace_ms: u64,
    /// For how long others are kept out of its locks if it is lost, in milliseconds.
    pub delay_ms: u64,
    /// Whether it is bound to the connection.
    pub is_bound: bool,
    /// The connection that opens it.
    pub conn: u64,
}

/// What is told of a session. Its secret name is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its number.
    pub number: u64,
    /// What its owner calls it.
    pub name: Box<[u8]>,
    /// How long it lives without a sign of life, in milliseconds.
    pub ttl_ms: u64,
    /// What is left of that; none while a connection keeps it.
    pub left_ms: Option<u64>,
    /// How long it outlives its connection, in milliseconds.
    pub grace_ms: u64,
    /// For how long others are kept out of its locks if it is lost, in milliseconds.
    pub delay_ms: u64,
    /// The connection it is bound to.
    pub bound: Option<u64>,
    /// Locks and permits that live by it.
    pub holds: usize,
    /// Keys that live by it.
    pub keys: usize,
    /// Requests that wait to live by it.
    pub waiting: usize,
}

impl Session {
    /// One that nothing lives by yet, with this end.
    pub(super) fn new(open: &Open<'_>, end_ms: Option<u64>, given_ms: u64) -> Self {
        Self {
            sid: open.sid.into(),
            name: open.name.into(),
            ttl_ms: open.ttl_ms,
            grace_ms: open.grace_ms,
            delay_ms: open.delay_ms,
            end_ms,
            given_ms,
            timer: None,
            bound: open.is_bound.then_some(open.conn),
            conn: open.conn,
            holds: HashSet::new(),
            keys: BTreeSet::new(),
            key_bytes: 0,
            waiting: Line::new(),
        }
    }

    fn is_of_connection(&self) -> bool {
        self.sid.is_empty()
    }
}

impl Turn<'_> {
    /// Opens a session; answers its number.
    pub fn open_session(&mut self, open: &Open<'_>) -> u64 {
        self.state.session += 1;
        let number = self.state.session;
        let end_ms = (!open.is_bound).then(|| self.in_ms(open.ttl_ms));
        let session = Session::new(open, end_ms, open.ttl_ms);
        self.state.heap_bytes += session.heap_bytes();
        if !open.sid.is_empty() {
            self.state.sids.insert(open.sid.into(), number);
        }
        self.state.sessions.insert(number, session);
        if open.is_bound {
            let conn = self.conn(open.conn);
            if open.sid.is_empty() {
                conn.own = Some(number);
            } else {
                conn.bound.push(number);
            }
        }
        self.set_session_end(number);
        number
    }

    /// A sign of life: it lives its time from now. Answers what is left, in milliseconds.
    ///
    /// # Errors
    /// Where there is no such session.
    pub fn keep_alive(&mut self, sid: &[u8], conn: u64) -> Result<Option<u64>, Refusal> {
        let number = self.state.number_of(sid)?;
        let now_ms = self.in_ms(0);
        if let Some(session) = self.state.sessions.get_mut(&number) {
            session.conn = conn;
            if session.bound.is_none() {
                session.end_ms = Some(now_ms.saturating_add(session.ttl_ms));
                session.given_ms = session.ttl_ms;
            }
        }
        self.set_session_end(number);
        let ends_ms = self.state.session_ends_ms(number);
        Ok(ends_ms.map(|ends| self.now.left_ms(ends)))
    }

    /// Binds a session to a connection: it lives as long as that, and its grace.
    ///
    /// # Errors
    /// Where there is no such session.
    pub fn bind(&mut self, sid: &[u8], conn: u64) -> Result<(), Refusal> {
        let number = self.state.number_of(sid)?;
        self.unbind(number);
        if let Some(session) = self.state.sessions.get_mut(&number) {
            session.bound = Some(conn);
            session.conn = conn;
            session.end_ms = None;
        }
        self.conn(conn).bound.push(number);
        self.set_session_end(number);
        Ok(())
    }

    /// Ends a session as its owner wishes; answers how many holds and keys went with it.
    pub fn close_session(&mut self, sid: &[u8]) -> usize {
        let Ok(number) = self.state.number_of(sid) else {
            return 0;
        };
        self.end_session(number, End::Clean)
    }

    /// What is to be known of a session.
    ///
    /// # Errors
    /// Where there is no such session.
    pub fn session(&self, sid: &[u8]) -> Result<SessionInfo, Refusal> {
        let number = self.state.number_of(sid)?;
        self.session_info(number).ok_or(Refusal::NoSession)
    }

    /// All sessions that can be named, by their number.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let named = self.state.sids.values();
        let mut all: Vec<SessionInfo> = named
            .filter_map(|number| self.session_info(*number))
            .collect();
        all.sort_unstable_by_key(|session| session.number);
        all
    }

    fn session_info(&self, number: u64) -> Option<SessionInfo> {
        let session = self.state.sessions.get(&number)?;
        let ends_ms = self.state.session_ends_ms(number);
        Some(SessionInfo {
            number,
            name: session.name.clone(),
            ttl_ms: session.ttl_ms,
            left_ms: ends_ms.map(|ends| self.now.left_ms(ends)),
            grace_ms: session.grace_ms,
            delay_ms: session.delay_ms,
            bound: session.bound,
            holds: session.holds.len(),
            keys: session.keys.len(),
            waiting: session.waiting.len(),
        })
    }

    /// The session of the connection itself, made when it is first asked for.
    pub(super) fn session_of_conn(&mut self, conn: u64) -> u64 {
        if let Some(own) = self.conn(conn).own {
            return own;
        }
        self.open_session(&Open {
            sid: &[],
            name: &[],
            ttl_ms: 0,
            grace_ms: 0,
            delay_ms: 0,
            is_bound: true,
            conn,
        })
    }

    /// Something was granted to live by it: that is a sign of life.
    pub(super) fn renew(&mut self, number: u64) {
        let now_ms = self.in_ms(0);
        let Some(session) = self.state.sessions.get_mut(&number) else {
            return;
        };
        if session.bound.is_none() {
            session.end_ms = Some(now_ms.saturating_add(session.ttl_ms));
            session.given_ms = session.ttl_ms;
            self.set_session_end(number);
        }
    }

    /// A request waits to live by it.
    pub(super) fn keep_alive_while_parked(&mut self, number: u64, place: u64, request: u32) {
        self.state.change_session(number, |session| {
            session.waiting.insert(place, request);
        });
    }

    /// The request with this place does not wait any more.
    pub(super) fn leave_session(&mut self, number: u64, place: u64) {
        self.state.change_session(number, |session| {
            session.waiting.remove(&place);
        });
        let session = self.state.sessions.get(&number);
        if session.is_some_and(|session| session.waiting.is_empty()) {
            self.renew(number);
        }
    }

    /// The time of a session is over, unless a call that waits keeps it alive.
    pub(super) fn end_session_lost(&mut self, number: u64) {
        let Some(session) = self.state.sessions.get_mut(&number) else {
            return;
        };
        session.timer = None;
        if !session.waiting.is_empty() {
            self.renew(number);
            return;
        }
        self.lose_session(number);
    }

    fn lose_session(&mut self, number: u64) {
        let Some(session) = self.state.sessions.get(&number) else {
            return;
        };
        let (delay_ms, conn) = (session.delay_ms, session.conn);
        let is_named = !session.is_of_connection();
        self.end_session(number, End::Lost { delay_ms });
        if is_named && conn != 0 {
            self.lost.push(Lost::Session { conn, number });
        }
    }

    /// Ends what lives by a connection alone, as its end would.
    pub fn end_own_session(&mut self, conn: u64) {
        let of_conn = self.state.conns.get(&conn);
        if let Some(own) = of_conn.and_then(|of_conn| of_conn.own) {
            self.lose_session(own);
        }
    }

    /// Ends all that lives by a connection, and leaves what is bound to it to its grace.
    pub(super) fn end_sessions_of(&mut self, conn: u64) {
        let Some(of_conn) = self.state.conns.remove(&conn) else {
            return;
        };
        if let Some(own) = of_conn.own {
            self.lose_session(own);
        }
        let now_ms = self.in_ms(0);
        for number in of_conn.bound {
            let Some(session) = self.state.sessions.get_mut(&number) else {
                continue;
            };
            session.bound = None;
            if session.grace_ms == 0 {
                self.lose_session(number);
                continue;
            }
            session.end_ms = Some(now_ms.saturating_add(session.grace_ms));
            session.given_ms = session.grace_ms;
            self.set_session_end(number);
        }
    }

    fn unbind(&mut self, number: u64) {
        let session = self.state.sessions.get_mut(&number);
        let Some(conn) = session.and_then(|session| session.bound.take()) else {
            return;
        };
        if let Some(of_conn) = self.state.conns.get_mut(&conn) {
            of_conn.bound.retain(|other| *other != number);
            if of_conn.own == Some(number) {
                of_conn.own = None;
            }
        }
        self.drop_conn_if_empty(conn);
    }

    /// Sets the timer of a session to its end, and tells of what it is now like.
    fn set_session_end(&mut self, number: u64) {
        let state = &mut *self.state;
        let Some(session) = state.sessions.get_mut(&number) else {
            return;
        };
        if let Some(timer) = session.timer.take() {
            state.lives.remove(timer);
        }
        if let Some(end_ms) = session.end_ms {
            session.timer = Some(state.lives.insert(end_ms, Due::Session(number)));
        }
        let (sid, name) = (session.sid.clone(), session.name.clone());
        let change = Coordination::Session {
            number,
            sid: &sid,
            name: &name,
            ttl_ms: session.ttl_ms,
            grace_ms: session.grace_ms,
            delay_ms: session.delay_ms,
            end_ms: session.end_ms,
        };
        self.emit(&change);
    }

    /// Ends a session and all that lives by it; answers how many holds and keys.
    fn end_session(&mut self, number: u64, end: End) -> usize {
        self.unbind(number);
        let Some(mut session) = self.state.sessions.remove(&number) else {
            return 0;
        };
        self.state.heap_bytes -= session.heap_bytes();
        if let Some(timer) = session.timer.take() {
            self.state.lives.remove(timer);
        }
        self.state.sids.remove(&session.sid);
        let count = session.holds.len() + session.keys.len();
        let mut holds: Vec<(u32, u64)> = session.holds.drain().collect();
        // In the order of their grants, so that what follows is the same every time.
        holds.sort_unstable_by_key(|(id, fence)| (*fence, *id));
        for (id, fence) in holds {
            self.end_hold(id, fence, end);
        }
        for request in std::mem::take(&mut session.waiting).into_values() {
            let request = self.take_request(request);
            self.settle(request.ticket, Outcome::NoSession);
        }
        self.touched.extend(session.keys.iter().cloned());
        self.state.loose.extend(session.keys);
        self.emit(&Coordination::EndSession { number });
        count
    }
}

impl State {
    fn number_of(&self, sid: &[u8]) -> Result<u64, Refusal> {
        self.sids.get(sid).copied().ok_or(Refusal::NoSession)
    }

    /// When a session ends by itself; none while its connection keeps it.
    pub(super) fn session_ends_ms(&self, number: u64) -> Option<u64> {
        let session = self.sessions.get(&number)?;
        Some(self.at_least(session.end_ms?, session.given_ms))
    }

    /// Whether a session is that of a connection itself.
    pub(super) fn is_of_connection(&self, number: u64) -> bool {
        let session = self.sessions.get(&number);
        session.is_some_and(Session::is_of_connection)
    }
}
