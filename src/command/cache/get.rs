//! `CACHE.GET key [FILL ms] [REFRESH ms | BETA f] [WAIT ms]`: a value, or the turn to make it.
//!
//! Reply: `[state, value, ttl, token]`. States, by what there is and who is at work for it:
//!
//! ```text
//!              FILL, and nobody fills     somebody fills           no FILL
//!   fresh      HIT, early WIN             HIT                      HIT
//!   stale      WIN, with the value        STALE                    STALE
//!   nothing    WIN                        BUSY, or waits for it    MISS
//! ```
//!
//! `ttl`, in milliseconds: of a HIT until it is stale, of a STALE one until it is gone (-1: never),
//! of WIN and BUSY until others win too; 0 of a MISS. `token` comes with WIN alone.

use crate::command::host::Host;
use crate::command::lock::claim::{self, WAIT_ARG};
use crate::command::looking;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Conn, Cx, Park, ReplyError, error, value};
use crate::engine::{Ask, Slot, Soft, Step, Wants};
use linchpin_protocol::{Args, Writer, number};

const FLAGS: Flags = Flags::READONLY.with(Flags::FAST).with(Flags::BLOCKING);
/// The widest that early refreshes may be spread.
const BETA_MAX: f64 = 1e6;

/// The row.
pub const SPECS: &[Spec] = &[Spec::new(
    "cache.get",
    -2,
    FLAGS,
    Keys::one(1, KeyFlags::RO.with(KeyFlags::ACCESS)),
    run,
)
.group(Group::Cache)
.since("linchpin 0.1.0")
.doc(
    "Answers a cached value, or a token to the one who is to make it.",
    "O(1)",
)
.args(&[
    Arg::key("key"),
    Arg::new("fill", ArgKind::Integer).token("FILL").optional(),
    Arg::new("early", ArgKind::OneOf(EARLY_ARGS)).optional(),
    WAIT_ARG,
])];

const EARLY_ARGS: &[Arg] = &[
    Arg::new("refresh", ArgKind::Integer).token("REFRESH"),
    Arg::new("beta", ArgKind::Double).token("BETA"),
];

/// When a value that is fresh is made anew.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Early {
    /// Never.
    No,
    /// So many milliseconds before it is stale.
    Within(u64),
    /// By chance, the more likely the nearer that is and the longer it took to make: XFetch.
    Beta(f64),
}

impl Early {
    /// Whether it is time, with so many milliseconds left; a random number is drawn if that
    /// decides.
    fn is_due(self, left_ms: u64, cost_ms: u32, random: impl FnOnce() -> u64) -> bool {
        match self {
            Self::No => false,
            Self::Within(ms) => left_ms <= ms,
            Self::Beta(_) if cost_ms == 0 => false,
            Self::Beta(beta) => {
                // Above 0 and at most 1, in steps of 2^-53.
                let chance = ((random() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                -f64::from(cost_ms) * beta * chance.ln() >= left_ms as f64
            }
        }
    }
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    fill_ms: Option<u64>,
    early: Early,
    wait_ms: u64,
}

impl Asked {
    /// A call that waited to fill, made again.
    #[must_use]
    pub fn again(fill_ms: u64, wait_ms: u64) -> Self {
        Self {
            fill_ms: Some(fill_ms),
            early: Early::No,
            wait_ms,
        }
    }
}

/// Where a call has its numbers from. Most need none: they are drawn where one decides.
#[derive(Clone, Copy)]
pub enum Chance<'a> {
    /// It has drawn its token before, and may have been given it meanwhile.
    Drawn(u64),
    /// The server draws.
    Host(&'a dyn Host),
}

impl Chance<'_> {
    /// The token that was drawn before.
    fn drawn(self) -> Option<u64> {
        match self {
            Self::Drawn(token) => Some(token),
            Self::Host(_) => None,
        }
    }

    /// The token of the call, if it needs one.
    fn token(self) -> u64 {
        match self {
            Self::Drawn(token) => token,
            Self::Host(host) => looking::draw_token(host),
        }
    }

    /// A number that decides when to refresh. A call made again refreshes nothing.
    fn number(self) -> u64 {
        match self {
            Self::Drawn(_) => 0,
            Self::Host(host) => host.random(),
        }
    }
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (mut fill_ms, mut early, mut wait_ms) = (None, None, None);
    while words.more() {
        if words.keyword("FILL") {
            let ms = claim::lease_ms(&mut words);
            claim::set_once(&mut words, &mut fill_ms, ms);
        } else if words.keyword("REFRESH") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut early, Early::Within(ms));
        } else if words.keyword("BETA") {
            let beta = beta(&mut words);
            claim::set_once(&mut words, &mut early, Early::Beta(beta));
        } else if words.keyword("WAIT") {
            let ms = claim::wait_ms(&mut words);
            claim::set_once(&mut words, &mut wait_ms, ms);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let asked = Asked {
        fill_ms,
        early: early.unwrap_or(Early::No),
        wait_ms: wait_ms.filter(|_| !cx.is_in_exec()).unwrap_or(0),
    };
    let (name, chance) = ((cx.db(), &args[1]), Chance::Host(cx.host));
    cx.parked = get(&mut cx.step, cx.conn, &mut cx.out, name, &asked, chance)?;
    Ok(())
}

fn beta(words: &mut Words<'_>) -> f64 {
    let beta = number::parse_f64(words.take()).filter(|beta| (0.0..=BETA_MAX).contains(beta));
    beta.unwrap_or_else(|| {
        words.fail(error::NOT_FLOAT);
        0.0
    })
}

/// Answers the call, or parks it and answers what it waits for.
///
/// # Errors
/// Where the key is no string.
pub fn get(
    step: &mut Step<'_>,
    conn: &mut Conn,
    out: &mut Writer<'_>,
    (db, key): (u32, &[u8]),
    asked: &Asked,
    chance: Chance<'_>,
) -> Result<Option<Park>, ReplyError> {
    let mut locked = step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    if slot.exists() {
        answer_value(&mut slot, out, asked, chance);
        return Ok(None);
    }
    let Some(fill_ms) = asked.fill_ms else {
        write(&mut slot, out, "MISS", 0, None);
        return Ok(None);
    };
    // Handed to this call while it waited, or free to be taken.
    let is_won = chance.drawn().is_some_and(|token| slot.has_token(token));
    if is_won || !slot.hand_over() {
        let token = chance.token();
        if !is_won {
            slot.give_token(token, fill_ms);
        }
        let left_ms = fill_left_ms(&slot);
        write(&mut slot, out, "WIN", left_ms, Some(token));
        return Ok(None);
    }
    let ask = || Ask {
        token: chance.token(),
        wants: Wants::Fill { fill_ms },
    };
    let parked = looking::park(&mut slot, conn, (db, key), ask, asked.wait_ms);
    if parked.is_none() {
        let left_ms = fill_left_ms(&slot);
        write(&mut slot, out, "BUSY", left_ms, None);
    }
    Ok(parked)
}

/// Answers a value that is there, and lets the caller make it anew where it is time and nobody
/// does.
fn answer_value(slot: &mut Slot<'_>, out: &mut Writer<'_>, asked: &Asked, chance: Chance<'_>) {
    let now_ms = slot.now().wall_ms;
    let (soft, deadline_ms) = (slot.soft(), slot.deadline_ms());
    // EXPIRE may have let it be gone before it is stale.
    let soft_ms = soft.map(|soft| soft.at_ms);
    let fresh_until_ms = soft_ms.into_iter().chain(deadline_ms).min();
    let left_ms = fresh_until_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
    let is_stale = left_ms == Some(0);
    let cost_ms = soft.map_or(0, |soft: Soft| soft.cost_ms);
    let is_early = || left_ms.is_some_and(|ms| asked.early.is_due(ms, cost_ms, || chance.number()));
    if let Some(fill_ms) = asked.fill_ms
        && (is_stale || is_early())
        && slot.filled_until_ms().is_none()
    {
        let token = chance.token();
        slot.give_token(token, fill_ms);
        let left_ms = fill_left_ms(slot);
        write(slot, out, "WIN", left_ms, Some(token));
    } else if is_stale {
        let left_ms = deadline_ms.map_or(-1, |at_ms| at_ms.saturating_sub(now_ms).cast_signed());
        write(slot, out, "STALE", left_ms, None);
    } else {
        write(slot, out, "HIT", left_ms.map_or(-1, u64::cast_signed), None);
    }
}

/// For how long others still wait for whoever fills the key.
fn fill_left_ms(slot: &Slot<'_>) -> i64 {
    let until_ms = slot.filled_until_ms().unwrap_or(0);
    until_ms.saturating_sub(slot.now().engine_ms).cast_signed()
}

fn write(slot: &mut Slot<'_>, out: &mut Writer<'_>, state: &str, ttl_ms: i64, token: Option<u64>) {
    out.array(4);
    out.bulk(state.as_bytes());
    value::write(out, slot.read());
    out.integer(ttl_ms);
    match token {
        Some(token) => out.integer(token.cast_signed()),
        None => out.null(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// One in `e` values of chance refreshes where as much is left as it costs; all do at the end,
    /// and none without a cost.
    #[test]
    fn chance_refreshes_the_sooner_the_nearer_the_end_is() {
        let share = |left_ms, cost_ms, beta: f64| {
            let due = |n: &u64| Early::Beta(beta).is_due(left_ms, cost_ms, || n << 44);
            (0..1_u64 << 20).filter(due).count() as f64 / (1_u64 << 20) as f64
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(close(share(100, 100, 1.0), (-1.0_f64).exp()));
        assert!(close(share(100, 100, 2.0), (-0.5_f64).exp()));
        assert!(close(share(400, 100, 2.0), (-2.0_f64).exp()));
        assert!(close(share(0, 100, 1.0), 1.0));
        assert!(close(share(1, 0, 1.0), 0.0) && close(share(1, 100, 0.0), 0.0));
        assert!(Early::Within(5).is_due(5, 0, || 0) && !Early::Within(5).is_due(6, 0, || 0));
        assert!(!Early::No.is_due(0, 9, || 0));
    }
}
