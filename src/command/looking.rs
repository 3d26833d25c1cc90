//! Calls that wait for a key: for their turn to fill it, or to do a request once.
//!
//! Such a call is made again whenever it is told to look, with what is left of its wait, and once
//! more without any when that is over: so its reply is what a try is answered then. It has drawn
//! its token when it came, and knows by it whether the key was handed to it meanwhile.

use super::cache::get;
use super::conn::Conn;
use super::error::{self, ReplyError};
use super::host::Host;
use super::idempotency::begin;
use super::lock::claim;
use super::park::Park;
use super::words::Words;
use crate::engine::{Ask, Slot, Step, Wants, usable};
use linchpin_protocol::Writer;
use std::sync::Arc;

/// Tokens are below this.
const TOKENS: u64 = 1 << 53;

/// A token that nobody guesses.
pub fn draw_token(host: &dyn Host) -> u64 {
    host.random() % (TOKENS - 1) + 1
}

/// The next argument as a token.
pub fn token(words: &mut Words<'_>) -> u64 {
    words
        .integer_in(0..=TOKENS.cast_signed() - 1, error::COUNT_OUT_OF_RANGE)
        .unsigned_abs()
}

/// A call that waits.
#[derive(Clone, Debug)]
pub struct Looking {
    /// The database that was selected.
    pub db: u32,
    /// The key.
    pub key: Box<[u8]>,
    /// What it wants.
    pub ask: Arc<Ask>,
    /// The end of its wait, in monotonic milliseconds.
    until_ms: u64,
}

impl Looking {
    /// Bytes on the heap, but for what the engine counts.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        usable(size_of::<Self>()) + usable(self.key.len())
    }
}

/// Parks a call at a key that is somebody's, if it is to wait and may; answers what it waits for.
pub fn park(
    slot: &mut Slot<'_>,
    conn: &mut Conn,
    (db, key): (u32, &[u8]),
    ask: impl FnOnce() -> Ask,
    wait_ms: u64,
) -> Option<Park> {
    if wait_ms == 0 {
        return None;
    }
    let (ticket, ask) = (claim::next_ticket(conn), Arc::new(ask()));
    if !slot.await_turn(ticket, &ask, wait_ms) {
        return None;
    }
    let now_ms = slot.now().mono_us / 1_000;
    conn.looking = Some(Box::new(Looking {
        db,
        key: key.into(),
        ask,
        until_ms: now_ms.saturating_add(wait_ms),
    }));
    Some(Park::Look { call: ticket.call })
}

/// Makes a call again; answers what it waits for, if it has to go on waiting.
///
/// # Errors
/// What the client is told instead.
pub fn look(
    step: &mut Step<'_>,
    conn: &mut Conn,
    out: &mut Writer<'_>,
    looking: &Looking,
    is_over: bool,
) -> Result<Option<Park>, ReplyError> {
    let now_ms = step.now().mono_us / 1_000;
    let left_ms = looking.until_ms.saturating_sub(now_ms);
    let wait_ms = if is_over { 0 } else { left_ms };
    let name = (looking.db, &*looking.key);
    match &looking.ask.wants {
        Wants::Fill { fill_ms } => {
            let asked = get::Asked::again(*fill_ms, wait_ms);
            let chance = get::Chance::Drawn(looking.ask.token);
            get::get(step, conn, out, name, &asked, chance)
        }
        Wants::Begin {
            owner,
            fingerprint,
            ttl_ms,
        } => {
            let asked = begin::Asked {
                owner,
                fingerprint,
                ttl_ms: *ttl_ms,
                token: looking.ask.token,
                wait_ms,
            };
            begin::begin(step, conn, out, name, &asked)
        }
    }
}

/// Gives back what was handed to a call that nobody can be told of.
pub fn give_back(step: &mut Step<'_>, looking: &Looking) {
    let (db, key) = (looking.db, &*looking.key);
    step.lock_any(db, key)
        .slot(db, key)
        .give_back(looking.ask.token);
}
