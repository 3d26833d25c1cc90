//! `MSET key value [key value ...]` and `MSETNX`: several keys get their values at once.
//!
//! `MSET` answers OK. `MSETNX` answers 1, or 0 and writes nothing where one of the keys is there
//! already. A key named twice gets its last value.

use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Spec};
use crate::command::{Cx, ReplyError, value};
use crate::engine::{Deadline, Locked};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::WRITE.with(Flags::DENYOOM);

/// The documentation of keys with their values.
pub const PAIRS_ARG: Arg = Arg::new(
    "data",
    ArgKind::Block(&[Arg::key("key"), Arg::new("value", ArgKind::String)]),
)
.multiple();

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "mset",
        -3,
        FLAGS,
        Keys::rest(1, 2, KeyFlags::OW.with(KeyFlags::UPDATE)),
        run_mset,
    )
    .group(Group::String)
    .since("1.0.1")
    .doc(
        "Gives several keys their string values, all in one step.",
        "O(N) with N keys named",
    )
    .args(&[PAIRS_ARG])
    .tips(&[
        "request_policy:multi_shard",
        "response_policy:all_succeeded",
    ]),
    Spec::new(
        "msetnx",
        -3,
        FLAGS,
        Keys::rest(1, 2, KeyFlags::OW.with(KeyFlags::INSERT)),
        run_msetnx,
    )
    .group(Group::String)
    .since("1.0.1")
    .doc(
        "Gives several keys their string values if none of the keys is there.",
        "O(N) with N keys named",
    )
    .args(&[PAIRS_ARG])
    .tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
];

/// Keys and values in turn.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    words: Args<'a>,
    count: usize,
}

impl<'a> Pairs<'a> {
    /// The first `count` pairs of `words`; `None` where there are not that many.
    #[must_use]
    pub fn new(words: Args<'a>, count: usize) -> Option<Self> {
        (count <= words.len() / 2).then_some(Self { words, count })
    }

    /// The keys.
    pub fn keys(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.words.iter().step_by(2).take(self.count)
    }

    /// Gives each key its value and this deadline.
    pub fn write(self, locked: &mut Locked<'_>, db: u32, deadline: Deadline) {
        for (key, word) in self.keys().zip(self.words.skip(1).iter().step_by(2)) {
            locked.slot(db, key).put(value::encode(word), deadline);
        }
    }
}

fn parse<'a>(cx: &Cx<'_>, args: Args<'a>) -> Result<Pairs<'a>, ReplyError> {
    let words = args.skip(1);
    Pairs::new(words, words.len() / 2)
        .filter(|_| words.len().is_multiple_of(2))
        .ok_or_else(|| ReplyError::wrong_arity(cx.spec.name))
}

fn run_mset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let pairs = parse(cx, args)?;
    let db = cx.db();
    let mut locked = cx.step.lock_all(db, pairs.keys())?;
    pairs.write(&mut locked, db, Deadline::None);
    cx.out.ok();
    Ok(())
}

fn run_msetnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let pairs = parse(cx, args)?;
    let db = cx.db();
    let mut locked = cx.step.lock_any_all(db, pairs.keys());
    let free = pairs.keys().all(|key| !locked.slot(db, key).exists());
    if free {
        pairs.write(&mut locked, db, Deadline::None);
    }
    cx.out.integer(i64::from(free));
    Ok(())
}
