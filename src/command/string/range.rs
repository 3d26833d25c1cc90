//! `STRLEN`, `GETRANGE` and its old name `SUBSTR`, `SETRANGE`: a value's length and its parts.
//!
//! A key that is not there counts as an empty string. Places count bytes from 0, those below zero
//! from the end.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Run, Spec};
use crate::command::{Cx, ReplyError, value, words};
use crate::engine::{Deadline, IntText, ValueRef};
use linchpin_protocol::Args;
use std::ops::Range;

const RANGE_ARGS: &[Arg] = &[
    Arg::key("key"),
    Arg::new("start", ArgKind::Integer),
    Arg::new("end", ArgKind::Integer),
];

const fn row(name: &'static str, arity: i16, flags: Flags, keys: KeyFlags, run: Run) -> Spec {
    Spec::new(name, arity, flags, Keys::one(1, keys), run).group(Group::String)
}

/// The rows.
pub const SPECS: &[Spec] = &[
    row(
        "strlen",
        2,
        Flags::READONLY.with(Flags::FAST),
        KeyFlags::RO,
        run_strlen,
    )
    .since("2.2.0")
    .doc("Answers the length of a string value in bytes.", "O(1)")
    .args(&[Arg::key("key")]),
    row(
        "getrange",
        4,
        Flags::READONLY,
        KeyFlags::RO.with(KeyFlags::ACCESS),
        run_getrange,
    )
    .since("2.4.0")
    .doc(
        "Answers the bytes of a string value from one place to another, both included.",
        "O(N) with N bytes answered",
    )
    .args(RANGE_ARGS),
    row(
        "substr",
        4,
        Flags::READONLY,
        KeyFlags::RO.with(KeyFlags::ACCESS),
        run_getrange,
    )
    .doc(
        "Answers the bytes of a string value from one place to another, both included.",
        "O(N) with N bytes answered",
    )
    .args(RANGE_ARGS)
    .deprecated("2.0.0", "`GETRANGE`"),
    row(
        "setrange",
        4,
        Flags::WRITE.with(Flags::DENYOOM).with(Flags::UNFORESEEN),
        KeyFlags::RW.with(KeyFlags::UPDATE),
        run_setrange,
    )
    .since("2.2.0")
    .doc(
        "Writes bytes at a place in a string value, zeros before them where it is shorter.",
        "O(N) with N bytes written; now and then the value moves to a larger place",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("offset", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ]),
];

fn run_strlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let value = locked.slot(db, key).read().map_or(0, |v| v.text_bytes());
    cx.out.integer(value as i64);
    Ok(())
}

fn run_getrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let (start, end) = (words::integer(&args[2])?, words::integer(&args[3])?);
    let (db, key) = (cx.db(), &args[1]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let mut scratch = IntText::default();
    let text = slot.read().map_or(&b""[..], |v| v.text(&mut scratch));
    cx.out.bulk(&text[part(text.len(), start, end)]);
    Ok(())
}

/// The bytes from `start` to `end`, both included, of a text of `len` bytes. Places before the
/// first byte are the first, places after the last are the last; an end before the start is
/// nothing.
fn part(len: usize, start: i64, end: i64) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let place = |at: i64| {
        if at < 0 {
            at.saturating_add(len).max(0)
        } else {
            at
        }
    };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end {
        return 0..0;
    }
    start.cast_unsigned() as usize..end.cast_unsigned() as usize + 1
}

fn run_setrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let offset = words::integer(&args[2])?;
    let offset = usize::try_from(offset).map_err(|_| error::OFFSET_OUT_OF_RANGE)?;
    let (db, key, bytes) = (cx.db(), &args[1], &args[3]);
    let mut locked = cx.step.lock(db, key)?;
    let mut slot = locked.slot(db, key);
    let len = if bytes.is_empty() {
        // Nothing to write: a key that is not there is not made, one that is keeps its encoding.
        slot.value().map_or(0, |v| v.text_bytes())
    } else {
        value::check_len(cx.settings, offset.checked_add(bytes.len()))?;
        if !slot.exists() {
            slot.put(ValueRef::Bytes(b""), Deadline::None);
        }
        slot.write_range(offset, bytes)
    };
    cx.out.integer(len as i64);
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::part;
    use proptest::prelude::*;

    /// The rules as Redis' documentation has them, one byte at a time.
    fn naive(text: &[u8], start: i64, end: i64) -> Vec<u8> {
        let len = text.len() as i128;
        let (start, end) = (i128::from(start), i128::from(end));
        if start < 0 && end < 0 && start > end {
            return Vec::new();
        }
        let from_front = |at: i128| if at < 0 { (at + len).max(0) } else { at };
        let within = |at: usize| (from_front(start)..=from_front(end)).contains(&(at as i128));
        (0..text.len())
            .filter(|&at| within(at))
            .map(|at| text[at])
            .collect()
    }

    proptest! {
        #[test]
        fn a_part_has_the_bytes_between_its_ends(
            text in prop::collection::vec(any::<u8>(), 0..20),
            start in prop_oneof![-25_i64..25, any::<i64>()],
            end in prop_oneof![-25_i64..25, any::<i64>()],
        ) {
            prop_assert_eq!(&text[part(text.len(), start, end)], naive(&text, start, end));
        }
    }

    /// Both ends far before the first byte: the first byte, unless they are the wrong way round.
    #[test]
    fn ends_before_the_text() {
        assert_eq!(part(5, -100, -99), 0..1);
        assert_eq!(part(5, -100, -101), 0..0);
        assert_eq!(part(0, 0, -1), 0..0);
        assert_eq!(part(5, i64::MIN, i64::MAX), 0..5);
    }
}
