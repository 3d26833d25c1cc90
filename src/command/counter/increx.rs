//! `INCREX key [BYINT n | BYFLOAT x] [LBOUND l] [UBOUND u] [SATURATE] [expiry] [ENX]`: a counter
//! with bounds and a deadline, as rate limiters need it.
//!
//! Reply: the new number and what was really added, integers by default and with BYINT, numbers
//! with BYFLOAT (RESP2: strings). A sum outside the bounds, or outside the type, changes nothing at
//! all and answers the old number and 0; with SATURATE the bound is taken instead. The deadline
//! stays where no option is given; ENX sets one only where there is none; one that has passed
//! already removes the key.
//!
//! Every option may stand once. Assumed, where Redis' page and tests are silent: numbers are looked
//! at after the syntax, in the order increment, LBOUND, UBOUND, expiry; infinite bounds are the
//! ends of the type.

use super::decimal::Number;
use super::incr::as_integer;
use super::incrbyfloat::as_number;
use crate::command::error;
use crate::command::expiry::{EXPIRY_OR_PERSIST_ARGS, Ttl};
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::engine::{Deadline, Slot, ValueRef};
use linchpin_protocol::{Args, Version, Writer, number};

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "increx",
    -2,
    Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
    Keys::one(
        1,
        KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    ),
    run,
)
.group(Group::String)
.since("8.8.0")
.doc(
    "Adds to the number a key holds, within bounds, and sets the key's deadline.",
    "O(1)",
)
.args(&[
    Arg::key("key"),
    Arg::new(
        "increment",
        ArgKind::OneOf(&[
            Arg::new("float", ArgKind::Double).token("BYFLOAT"),
            Arg::new("integer", ArgKind::Integer).token("BYINT"),
        ]),
    )
    .optional(),
    Arg::word("saturate", "SATURATE").optional(),
    Arg::new("lowerbound", ArgKind::String)
        .token("LBOUND")
        .optional(),
    Arg::new("upperbound", ArgKind::String)
        .token("UBOUND")
        .optional(),
    Arg::new("expiration", ArgKind::OneOf(EXPIRY_OR_PERSIST_ARGS)).optional(),
    Arg::word("enx", "ENX").optional(),
])];

/// The options as they stand in the call, numbers not yet looked at.
struct Options<'a> {
    integer: Option<&'a [u8]>,
    float: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    enx: bool,
    ttl: Ttl<'a>,
}

fn parse(mut words: Words<'_>) -> Result<Options<'_>, ReplyError> {
    let mut options = Options {
        integer: None,
        float: None,
        lower: None,
        upper: None,
        saturate: false,
        enx: false,
        ttl: Ttl::Unsaid,
    };
    while words.more() {
        let told = options.ttl != Ttl::Unsaid;
        let again = if options.ttl.read(&mut words, "PERSIST", Ttl::Persist) {
            told
        } else if words.keyword("BYINT") {
            options.integer.replace(words.take()).is_some() || options.float.is_some()
        } else if words.keyword("BYFLOAT") {
            options.float.replace(words.take()).is_some() || options.integer.is_some()
        } else if words.keyword("LBOUND") {
            options.lower.replace(words.take()).is_some()
        } else if words.keyword("UBOUND") {
            options.upper.replace(words.take()).is_some()
        } else if words.keyword("SATURATE") {
            std::mem::replace(&mut options.saturate, true)
        } else if words.keyword("ENX") {
            std::mem::replace(&mut options.enx, true)
        } else {
            true
        };
        if again || options.enx && options.ttl == Ttl::Persist {
            words.reject();
        }
    }
    words.finish()?;
    if options.enx && options.ttl == Ttl::Unsaid {
        return Err(error::ENX_WITHOUT_EXPIRY);
    }
    Ok(options)
}

/// What errors call the number that is added.
const INCREMENT: &str = "Increment";

/// What to add and how far it may lead.
struct Addition<N> {
    increment: N,
    lower: N,
    upper: N,
    saturate: bool,
}

impl<N: Copy + PartialOrd> Addition<N> {
    /// Reads the three numbers; `range` is the type's.
    fn new(
        options: &Options<'_>,
        increment: Option<&[u8]>,
        one: N,
        range: (N, N),
        parse: impl Fn(&[u8], &str) -> Result<N, ReplyError>,
    ) -> Result<Self, ReplyError> {
        let read = |word: Option<&[u8]>, name, unsaid| word.map_or(Ok(unsaid), |w| parse(w, name));
        let increment = read(increment, INCREMENT, one)?;
        let lower = read(options.lower, "LBOUND", range.0)?;
        let upper = read(options.upper, "UBOUND", range.1)?;
        if lower > upper {
            return Err(error::BOUNDS_CROSSED);
        }
        Ok(Self {
            increment,
            lower,
            upper,
            saturate: options.saturate,
        })
    }

    /// Where an addition leads whose sum is `sum`, or beyond the type in the direction of the
    /// increment; `None` if it may not be.
    fn arrive(&self, sum: Option<N>, down: bool) -> Option<N> {
        let above = sum.map_or(!down, |sum| sum > self.upper);
        let below = sum.map_or(down, |sum| sum < self.lower);
        match (above, below) {
            (false, false) => sum,
            (true, _) => self.saturate.then_some(self.upper),
            (_, true) => self.saturate.then_some(self.lower),
        }
    }
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let options = parse(Words::new(args.skip(2)))?;
    if options.float.is_some() {
        run_float(cx, &args[1], &options)
    } else {
        run_integer(cx, &args[1], &options)
    }
}

fn run_integer(cx: &mut Cx<'_>, key: &[u8], options: &Options<'_>) -> Result<(), ReplyError> {
    let range = (i64::MIN, i64::MAX);
    let addition = Addition::new(options, options.integer, 1, range, |word, name| {
        let error = || ReplyError::err(format!("{name} is not an integer or out of range"));
        number::parse_i64(word).ok_or_else(error)
    })?;
    let (deadline, db) = (deadline(cx, options)?, cx.db());
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let old = slot.value().map_or(Ok(0), as_integer)?;
    let sum = old.checked_add(addition.increment);
    let new = addition.arrive(sum, addition.increment < 0);
    let added = new
        .unwrap_or(old)
        .checked_sub(old)
        .ok_or(error::APPLIED_OVERFLOW)?;
    if let Some(new) = new {
        write(&mut slot, ValueRef::Int(new), deadline, options.enx);
    }
    cx.out.array(2);
    cx.out.integer(new.unwrap_or(old));
    cx.out.integer(added);
    Ok(())
}

fn run_float(cx: &mut Cx<'_>, key: &[u8], options: &Options<'_>) -> Result<(), ReplyError> {
    let range = (Number::MIN, Number::MAX);
    let addition = Addition::new(options, options.float, Number::ZERO, range, parse_float)?;
    let (deadline, db) = (deadline(cx, options)?, cx.db());
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let old = slot.value().map_or(Ok(Number::ZERO), as_number)?;
    if old.is_infinite() {
        return Err(error::VALUE_INFINITE);
    }
    let sum = old.checked_add(addition.increment);
    let new = addition.arrive(sum, addition.increment.is_negative());
    let added = new
        .unwrap_or(old)
        .checked_sub(old)
        .ok_or(error::APPLIED_INFINITE)?;
    if let Some(new) = new {
        let text = new.to_string();
        write(
            &mut slot,
            ValueRef::Bytes(text.as_bytes()),
            deadline,
            options.enx,
        );
    }
    cx.out.array(2);
    write_number(&mut cx.out, new.unwrap_or(old));
    write_number(&mut cx.out, added);
    Ok(())
}

fn parse_float(word: &[u8], name: &str) -> Result<Number, ReplyError> {
    let n = Number::parse(word)
        .ok_or_else(|| ReplyError::err(format!("{name} is not a valid float")))?;
    match (n.is_infinite(), name) {
        (false, _) => Ok(n),
        (true, INCREMENT) => Err(error::INCREMENT_INFINITE),
        (true, _) if n.is_negative() => Ok(Number::MIN),
        (true, _) => Ok(Number::MAX),
    }
}

/// What becomes of the deadline, and whether that is in the past.
fn deadline(cx: &Cx<'_>, options: &Options<'_>) -> Result<(Deadline, bool), ReplyError> {
    let now = cx.now();
    let deadline = options.ttl.deadline(Deadline::Keep, now, cx.spec.name)?;
    let past = matches!(deadline, Deadline::At(at) if at <= now.wall_ms);
    Ok((deadline, past))
}

fn write(slot: &mut Slot<'_>, new: ValueRef<'_>, (deadline, past): (Deadline, bool), enx: bool) {
    if enx && slot.deadline_ms().is_some() {
        slot.put(new, Deadline::Keep);
    } else if past {
        slot.remove();
    } else {
        slot.put(new, deadline);
    }
}

/// Writes all digits of a number, more than an `f64` may have.
fn write_number(out: &mut Writer<'_>, n: Number) {
    let text = n.to_string();
    match out.version() {
        Version::Resp2 => out.bulk(text.as_bytes()),
        Version::Resp3 => {
            out.raw(format!(",{text}\r\n").as_bytes());
        }
    }
}
