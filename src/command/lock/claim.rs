//! What the commands that ask for a hold share: their options, their waiting, their replies.

use crate::command::grants::Grant;
use crate::command::spec::{Arg, ArgKind};
use crate::command::words::Words;
use crate::command::{Conn, Cx, Park, ReplyError, error};
use crate::engine::Share;
use crate::engine::coordinator::{
    Claim, Claimed, Kind, Name, Outcome, Refusal, Ticket, Turn, Wanted,
};
use std::borrow::Cow;

/// The longest name of an owner, in bytes.
pub const OWNER_BYTES_MAX: usize = 256;
/// The longest value that a holder proclaims, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// The longest lease, wait or delay: ten years.
pub const MS_MAX: i64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// `PX`, `SESSION` or `CONN`, for the table.
pub const LIFE_ARGS: &[Arg] = &[
    Arg::new("milliseconds", ArgKind::Integer).token("PX"),
    Arg::new("sid", ArgKind::String).token("SESSION"),
    Arg::word("conn", "CONN"),
];
/// `WAIT`, for the table.
pub const WAIT_ARG: Arg = Arg::new("wait", ArgKind::Integer).token("WAIT").optional();

/// The options of a request for a hold, as they were given.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// What the hold lives by.
    pub life: Option<Wanted<'a>>,
    /// How long the call waits, in milliseconds.
    pub wait_ms: Option<u64>,
    /// For how long others are kept out after a loss, in milliseconds.
    pub delay_ms: Option<u64>,
    /// What the owner proclaims.
    pub value: Option<&'a [u8]>,
    /// The depth that this entry makes.
    pub depth: Option<u32>,
}

impl<'a> Options<'a> {
    /// Reads `PX`, `SESSION`, `CONN` or `WAIT`; answers whether it was one of them.
    pub fn read(&mut self, words: &mut Words<'a>) -> bool {
        if words.keyword("PX") {
            let ms = lease_ms(words);
            set_once(words, &mut self.life, Wanted::Lease(ms));
        } else if words.keyword("SESSION") {
            let sid = words.take();
            set_once(words, &mut self.life, Wanted::Session(sid));
        } else if words.keyword("CONN") {
            set_once(words, &mut self.life, Wanted::Conn);
        } else if words.keyword("WAIT") {
            let ms = wait_ms(words);
            set_once(words, &mut self.wait_ms, ms);
        } else {
            return false;
        }
        true
    }

    /// The request, of this owner; a call that runs on behalf of another does not wait.
    ///
    /// # Errors
    /// Where nothing was said of what the hold is to live by.
    pub fn claim(
        &self,
        cx: &mut Cx<'_>,
        owner: &'a [u8],
        share: Share,
    ) -> Result<Claim<'a>, ReplyError> {
        let wait_ms = self.wait_ms.filter(|_| !cx.is_in_exec());
        Ok(Claim {
            ticket: ticket(cx),
            owner,
            share,
            life: self.life.ok_or(error::SYNTAX)?,
            delay_ms: self.delay_ms.unwrap_or(0),
            value: self.value,
            depth: self.depth,
            wait_ms: wait_ms.unwrap_or(0),
        })
    }
}

/// Takes note of an option that may be given once.
pub fn set_once<T>(words: &mut Words<'_>, place: &mut Option<T>, value: T) {
    if place.replace(value).is_some() {
        words.reject();
    }
}

/// The next argument as the length of a lease, in milliseconds.
pub fn lease_ms(words: &mut Words<'_>) -> u64 {
    let ms = words.integer_or(error::INVALID_EXPIRE);
    if !(1..=MS_MAX).contains(&ms) {
        words.fail(error::INVALID_EXPIRE);
    }
    ms.unsigned_abs()
}

/// The next argument as a time that may be nothing, in milliseconds.
pub fn wait_ms(words: &mut Words<'_>) -> u64 {
    let ms = words.integer_or(error::INVALID_EXPIRE);
    if !(0..=MS_MAX).contains(&ms) {
        words.fail(error::INVALID_EXPIRE);
    }
    ms.unsigned_abs()
}

/// The next argument as the name of an owner.
pub fn owner<'a>(words: &mut Words<'a>) -> &'a [u8] {
    let owner = words.take();
    if owner.is_empty() || owner.len() > OWNER_BYTES_MAX {
        words.fail(error::BAD_OWNER);
    }
    owner
}

/// The next argument as a count that is at least one and has 31 bits.
pub fn count(words: &mut Words<'_>) -> u32 {
    let count = words.integer_in(1..=i64::from(i32::MAX), error::COUNT_OUT_OF_RANGE);
    u32::try_from(count).unwrap_or(1)
}

/// The next argument as a fencing token.
pub fn fence(words: &mut Words<'_>) -> u64 {
    words
        .integer_in(0..=(1 << 53) - 1, error::COUNT_OUT_OF_RANGE)
        .unsigned_abs()
}

/// Reads what is left of a call that waits for something behind a number: `AFTER` and `WAIT`.
pub fn after_and_wait(words: &mut Words<'_>) -> (Option<u64>, Option<u64>) {
    let (mut after, mut wait) = (None, None);
    while words.more() {
        if words.keyword("AFTER") {
            let number = fence(words);
            set_once(words, &mut after, number);
        } else if words.keyword("WAIT") {
            let ms = wait_ms(words);
            set_once(words, &mut wait, ms);
        } else {
            words.reject();
        }
    }
    (after, wait)
}

/// Names this call of the connection.
pub fn ticket(cx: &mut Cx<'_>) -> Ticket {
    next_ticket(cx.conn)
}

/// Names a call of a connection.
pub fn next_ticket(conn: &mut Conn) -> Ticket {
    conn.calls += 1;
    conn.is_coordinated = true;
    Ticket {
        conn: conn.id,
        call: conn.calls,
    }
}

/// What a reply says of a hold, or of what stands in the way of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// 1 granted, 2 held before, 0 not granted, -1 in lock-delay.
    pub status: i64,
    /// The fencing token.
    pub fence: u64,
    /// What is left in milliseconds; -1 for what a connection keeps.
    pub ttl_ms: i64,
    /// Whose it is.
    pub owner: Cow<'a, [u8]>,
    /// Which of the keys that were named is in the way; -1 for none.
    pub blocker: i64,
    /// Permits of a semaphore that nobody has.
    pub free: i64,
    /// The number of a pool's, and the Unix milliseconds before which it is not to be used.
    pub number: (u32, u64),
}

/// How a hold is told of: the commands that ask for one differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[status, fence, ttl, owner]`.
    Lock,
    /// `[status, fence, ttl, blocker]`.
    Locks,
    /// `[status, fence, free]`.
    Permits,
    /// `[number, fence, ttl, not before]`, or null.
    Worker,
}

/// What to tell of an answer, as it is at the time of this turn; none of a call that waits.
pub fn tell<'a>(turn: &'a Turn<'_>, names: &[Name], claimed: &Claimed) -> Option<Told<'a>> {
    let free = names.first().and_then(|name| turn.free(name)).unwrap_or(0);
    match claimed {
        Claimed::Parked => None,
        Claimed::Granted { fence } | Claimed::Again { fence } => {
            let hold = names.first().and_then(|name| turn.kept(name, *fence));
            let is_first = matches!(claimed, Claimed::Granted { .. });
            let number = names.first().and_then(|name| turn.number(name, *fence));
            Some(hold.map_or_else(over, |(owner, ttl_ms)| Told {
                status: if is_first { 1 } else { 2 },
                fence: *fence,
                ttl_ms: ttl(ttl_ms),
                owner: Cow::Borrowed(owner),
                blocker: -1,
                free,
                number: number.unwrap_or_default(),
            }))
        }
        Claimed::Refused {
            fence,
            ttl_ms,
            owner,
            index,
            is_delayed,
        } => Some(Told {
            status: if *is_delayed { -1 } else { 0 },
            fence: *fence,
            ttl_ms: ttl(*ttl_ms),
            owner: Cow::Owned(owner.to_vec()),
            blocker: i64::try_from(*index).unwrap_or(-1),
            free,
            number: (0, 0),
        }),
    }
}

/// What to tell of a call that waited, as it is at the time of this turn.
///
/// # Errors
/// Where the answer is an error.
pub fn tell_outcome<'a>(turn: &'a Turn<'_>, outcome: &Outcome) -> Result<Told<'a>, ReplyError> {
    match outcome {
        Outcome::Granted { names, fence } => {
            let claimed = Claimed::Granted { fence: *fence };
            Ok(tell(turn, names, &claimed).unwrap_or_else(over))
        }
        Outcome::Refused { tried, free } => {
            let told = tell(turn, &[], tried).unwrap_or_else(over);
            Ok(Told {
                free: *free,
                ..told
            })
        }
        Outcome::NoSession => Err(error::NO_SESSION),
        Outcome::Unblocked => Err(error::UNBLOCKED),
        _ => Ok(over()),
    }
}

/// What to tell of a grant when its reply may leave.
#[must_use]
pub fn tell_late<'a>(turn: &'a Turn<'_>, grant: &Grant) -> Told<'a> {
    let fence = grant.fence;
    let claimed = if grant.is_again {
        Claimed::Again { fence }
    } else {
        Claimed::Granted { fence }
    };
    tell(turn, &grant.names, &claimed).unwrap_or_else(over)
}

/// A hold that was over before it could be told of.
fn over<'a>() -> Told<'a> {
    Told {
        status: 0,
        fence: 0,
        ttl_ms: 0,
        owner: Cow::Borrowed(b""),
        blocker: 0,
        free: 0,
        number: (0, 0),
    }
}

fn ttl(ttl_ms: Option<u64>) -> i64 {
    ttl_ms.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
}

impl Told<'_> {
    /// Writes the reply.
    pub fn write(&self, out: &mut linchpin_protocol::Writer<'_>, form: Form) {
        let fence = i64::try_from(self.fence).unwrap_or(i64::MAX);
        if form == Form::Worker && self.status <= 0 {
            out.null_array();
            return;
        }
        out.array(if form == Form::Permits { 3 } else { 4 });
        if form == Form::Worker {
            out.integer(self.number.0.into());
        } else {
            out.integer(self.status);
        }
        out.integer(fence);
        match form {
            Form::Lock => {
                out.integer(self.ttl_ms);
                out.bulk(&self.owner);
            }
            Form::Locks => {
                out.integer(self.ttl_ms);
                out.integer(self.blocker);
            }
            Form::Permits => out.integer(self.free),
            Form::Worker => {
                out.integer(self.ttl_ms);
                out.integer(i64::try_from(self.number.1).unwrap_or(i64::MAX));
            }
        }
    }
}

/// Runs a request for one object of one key, and writes its reply or parks the call.
///
/// # Errors
/// What the client is told instead.
pub fn run_one(
    cx: &mut Cx<'_>,
    key: &[u8],
    claim: &Claim<'_>,
    form: Form,
) -> Result<(), ReplyError> {
    let db = cx.db();
    let names = vec![Name::new(cx.step.db_id(db), key)];
    let is_short = cx.is_short;
    let mut locked = cx.step.lock_object(db, key);
    let answered = locked.coordinate_key(db, key, |turn| {
        if is_short {
            turn.deny_growth();
        }
        let claimed = turn.acquire(&names[0], claim)?;
        Ok(answer(turn, &names, &claimed, &mut cx.out, form))
    });
    drop(locked);
    let answered = answered?.map_err(|refusal: Refusal| refused(&refusal))?;
    finish(cx, names, answered, claim, form);
    Ok(())
}

/// What was answered: the status and the fencing token.
#[derive(Clone, Copy, Debug)]
pub struct Answered(i64, u64);

/// Writes what there is to tell; none of a call that waits.
pub fn answer(
    turn: &Turn<'_>,
    names: &[Name],
    claimed: &Claimed,
    out: &mut linchpin_protocol::Writer<'_>,
    form: Form,
) -> Option<Answered> {
    let told = tell(turn, names, claimed)?;
    told.write(out, form);
    Some(Answered(told.status, told.fence))
}

/// Notes the grant that was answered, or parks the call.
pub fn finish(
    cx: &mut Cx<'_>,
    names: Vec<Name>,
    answered: Option<Answered>,
    claim: &Claim<'_>,
    form: Form,
) {
    match answered {
        Some(Answered(status, fence)) => {
            if status > 0 {
                let form = (!cx.is_in_exec()).then_some(form);
                cx.conn.grants.push(names, fence, form, status == 2);
            }
        }
        None => {
            cx.parked = Some(Park::Hold {
                call: claim.ticket.call,
                form,
            });
        }
    }
}

/// What a client is told of a refusal.
#[must_use]
pub fn refused(refusal: &Refusal) -> ReplyError {
    match refusal {
        Refusal::WrongKind => error::WRONG_TYPE,
        Refusal::NoSession => error::NO_SESSION,
        Refusal::Fenced(fence) => {
            ReplyError::with_code("FENCED", format!("current fence is {fence}"))
        }
        Refusal::NotHeld => error::NOT_HELD,
        Refusal::Upgrade => error::LOCK_UPGRADE,
        Refusal::LivesWith(keeper) => ReplyError::err(format!("lock lives with its {keeper}")),
        Refusal::Deadlock(circle) => {
            let shown = circle.shown.iter();
            let names: Vec<_> = shown.map(|owner| String::from_utf8_lossy(owner)).collect();
            let (first, names) = (&names[0], names.join(" -> "));
            let text = if circle.owners == circle.shown.len() {
                format!("waiting would close the cycle {names} -> {first}")
            } else {
                let owners = circle.owners;
                format!("waiting would close the cycle {names} -> ... -> {first}, {owners} owners")
            };
            ReplyError::with_code("DEADLOCK", text)
        }
        Refusal::Limit(limit) => {
            let text = format!("conflicting limit, current is {limit}");
            ReplyError::with_code("LIMIT", text)
        }
        Refusal::TooMany => error::TOO_MANY_PERMITS,
        Refusal::Permits => error::OTHER_PERMITS,
        Refusal::HeldInPart => error::HELD_IN_PART,
        Refusal::NotReserved => error::FENCES_NOT_RESERVED,
        Refusal::NoRoom => error::OUT_OF_MEMORY,
        Refusal::RangeExhausted => error::RANGE_EXHAUSTED,
        Refusal::CodesExhausted => error::CODES_EXHAUSTED,
        Refusal::InUse => error::HELD,
    }
}

/// Kinds of objects that can be held.
pub const HELD: [Kind; 3] = [Kind::Lock, Kind::Semaphore, Kind::IdWorker];

/// Lets the coordinator take a turn on a key that is of one of these kinds, or nothing.
///
/// # Errors
/// Where it is something else.
pub fn on_object<R>(
    cx: &mut Cx<'_>,
    key: &[u8],
    kinds: &[Kind],
    act: impl FnOnce(&mut Turn<'_>, &Name) -> R,
) -> Result<R, ReplyError> {
    let (db, name) = (cx.db(), Name::new(cx.step.db_id(cx.db()), key));
    let mut locked = cx.step.lock_object(db, key);
    locked.coordinate_key(db, key, |turn| {
        if turn.kind(&name).is_some_and(|kind| !kinds.contains(&kind)) {
            return Err(error::WRONG_TYPE);
        }
        Ok(act(turn, &name))
    })?
}

/// Writes `[generation, index]`, or null.
pub fn write_met(out: &mut linchpin_protocol::Writer<'_>, outcome: &Outcome) {
    match outcome {
        Outcome::Met { generation, index } => {
            out.array(2);
            out.integer(i64::try_from(*generation).unwrap_or(i64::MAX));
            out.integer(i64::try_from(*index).unwrap_or(i64::MAX));
        }
        _ => out.null_array(),
    }
}
