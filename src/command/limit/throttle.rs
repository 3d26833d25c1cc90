//! `CL.THROTTLE` and `CL.MTHROTTLE`: a rate limit, or several at once, of which all admit or none.
//!
//! Replies: `[limited, limit, remaining, retry, reset]`, as redis-cell has them: 0 or 1, what a
//! full bucket holds, what it holds now, the seconds until the same may be asked for again (-1
//! where there is nothing to wait for), the seconds until it is full. For several
//! `[limited, blocker, five for each]`, the blocker -1 where all admit. Seconds that have begun
//! count as whole.

use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::{Change, Rate, Slot, Verdict, WrongType, whole_seconds};
use linchpin_protocol::{Args, Writer};

const FLAGS: Flags = Flags::WRITE
    .with(Flags::DENYOOM)
    .with(Flags::MAKES_MISSING)
    .with(Flags::FAST);
const KEY_FLAGS: KeyFlags = KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE);
/// Limits that one call may name.
const LIMITS_MAX: i64 = 1_024;

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("cl.throttle", -5, FLAGS, Keys::one(1, KEY_FLAGS), run)
        .group(Group::Limit)
        .since("linchpin 0.1.0")
        .doc(
            "Takes units out of a bucket that refills, if it has as many.",
            "O(1)",
        )
        .args(&[
            Arg::key("key"),
            Arg::new("max-burst", ArgKind::Integer),
            Arg::new("count", ArgKind::Integer),
            Arg::new("period", ArgKind::Integer),
            Arg::new("quantity", ArgKind::Integer).optional(),
        ]),
    Spec::new(
        "cl.mthrottle",
        -7,
        FLAGS.with(Flags::MOVABLE_KEYS),
        Keys::counted(1, 5, KEY_FLAGS),
        run_all,
    )
    .group(Group::Limit)
    .since("linchpin 0.1.0")
    .doc(
        "Takes units out of several buckets that refill, if each has as many.",
        "O(N log N) with N limits",
    )
    .args(&[
        Arg::new("numlimits", ArgKind::Integer),
        Arg::new("limit", ArgKind::Block(LIMIT_ARGS)).multiple(),
    ]),
];

const LIMIT_ARGS: &[Arg] = &[
    Arg::key("key"),
    Arg::new("max-burst", ArgKind::Integer),
    Arg::new("count", ArgKind::Integer),
    Arg::new("period", ArgKind::Integer),
    Arg::new("quantity", ArgKind::Integer),
];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let figures = [(); 3].map(|()| words.integer());
    let quantity = if words.more() { words.integer() } else { 1 };
    words.finish()?;
    let rate = rate(figures)?;
    let (db, key, now_ms) = (cx.db(), &args[1], cx.now().engine_ms);
    let mut locked = cx.step.lock_any(db, key);
    let mut slot = locked.slot(db, key);
    let verdict = rate.judge(slot.limit()?, now_ms, quantity);
    keep(&mut slot, verdict.change);
    write(&mut cx.out, &verdict);
    Ok(())
}

/// What one limit of several is asked.
struct Asked<'a> {
    key: &'a [u8],
    rate: Rate,
    quantity: i64,
}

fn run_all(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let asked = parse_all(args)?;
    let (db, now_ms) = (cx.db(), cx.now().engine_ms);
    let mut locked = cx
        .step
        .lock_any_all(db, asked.iter().map(|asked| asked.key));
    let mut judge = |asked: &Asked<'_>| {
        let full_ns = locked.slot(db, asked.key).limit()?;
        let verdict = asked.rate.judge(full_ns, now_ms, asked.quantity);
        // What is told of it where another limit does not admit.
        Ok((verdict, asked.rate.judge(full_ns, now_ms, 0)))
    };
    let verdicts: Result<Vec<(Verdict, Verdict)>, WrongType> =
        asked.iter().map(&mut judge).collect();
    let verdicts = verdicts?;
    let blocker = verdicts.iter().position(|(verdict, _)| verdict.is_limited);
    cx.out.array(2 + verdicts.len());
    cx.out.integer(i64::from(blocker.is_some()));
    cx.out.integer(blocker.map_or(-1, |at| at as i64));
    for (asked, (verdict, peeked)) in asked.iter().zip(&verdicts) {
        if blocker.is_none() {
            keep(&mut locked.slot(db, asked.key), verdict.change);
        }
        let is_own = blocker.is_none() || verdict.is_limited;
        write(&mut cx.out, if is_own { verdict } else { peeked });
    }
    Ok(())
}

fn parse_all(args: Args<'_>) -> Result<Vec<Asked<'_>>, ReplyError> {
    let mut words = Words::new(args.skip(1));
    let count = words.integer_in(1..=LIMITS_MAX, error::BAD_NUMKEYS);
    let mut asked = Vec::new();
    for _ in 0..count {
        if !words.more() {
            words.reject();
            break;
        }
        let key = words.take();
        let figures = [(); 3].map(|()| words.integer());
        asked.push((key, figures, words.integer()));
    }
    words.finish()?;
    let mut keys: Vec<&[u8]> = asked.iter().map(|(key, ..)| *key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(error::DUPLICATE_KEY);
    }
    let with_rate = |(key, figures, quantity)| {
        Ok(Asked {
            key,
            rate: rate(figures)?,
            quantity,
        })
    };
    asked.into_iter().map(with_rate).collect()
}

fn rate([burst, count, period_s]: [i64; 3]) -> Result<Rate, ReplyError> {
    Rate::new(burst, count, period_s).ok_or(error::BAD_LIMIT)
}

/// Keeps what became of a limit. One whose bucket is full is nothing.
fn keep(slot: &mut Slot<'_>, change: Change) {
    match change {
        Change::Stays => {}
        Change::FullAt(full_ns) => slot.set_limit(full_ns),
        Change::Full => {
            slot.remove();
        }
    }
}

fn write(out: &mut Writer<'_>, verdict: &Verdict) {
    out.array(5);
    out.integer(i64::from(verdict.is_limited));
    out.integer(verdict.limit);
    out.integer(verdict.remaining);
    out.integer(verdict.retry_ns.map_or(-1, whole_seconds));
    out.integer(whole_seconds(verdict.reset_ns));
}
