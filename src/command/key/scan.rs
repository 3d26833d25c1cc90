//! `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`: a walk over the keys, some per call.
//!
//! Reply: the cursor for the next call, `0` at the end, and the keys met. A key that is there from
//! the first call to the last is met at least once (`engine/walk.rs`). COUNT is how many keys a
//! call looks at, not how many it answers; a type that is unknown matches nothing.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError};
use crate::glob;
use linchpin_protocol::{Args, Writer, number};

/// Keys looked at unless COUNT says otherwise. Redis' figure.
const COUNT_DEFAULT: usize = 10;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "scan",
    -2,
    Flags::READONLY.with(Flags::TOUCHES_ARBITRARY_KEYS),
    Keys::NONE,
    run,
)
.group(Group::Generic)
.since("2.8.0")
.doc(
    "Goes on with a walk over the keys of the database.",
    "O(1) for a call, O(N) for a walk with N keys in the database",
)
.args(&[
    Arg::new("cursor", ArgKind::Integer),
    Arg::new("pattern", ArgKind::Pattern)
        .token("MATCH")
        .optional(),
    Arg::new("count", ArgKind::Integer)
        .token("COUNT")
        .optional(),
    Arg::new("type", ArgKind::String)
        .token("TYPE")
        .optional()
        .since("6.0.0"),
])
.tips(&[
    "nondeterministic_output",
    "request_policy:special",
    "response_policy:special",
])
.history(&[("6.0.0", "Added the `TYPE` option.")])];

struct Options<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

fn parse(args: Args<'_>) -> Result<Options<'_>, ReplyError> {
    let mut options = Options {
        cursor: number::parse_u64(&args[1]).ok_or(error::INVALID_CURSOR)?,
        pattern: None,
        count: COUNT_DEFAULT,
        kind: None,
    };
    let mut words = Words::new(args.skip(2));
    while words.more() {
        if words.keyword("MATCH") {
            options.pattern = Some(words.take());
        } else if words.keyword("COUNT") {
            let count = words.integer_in(1..=i64::MAX, error::SYNTAX);
            options.count = usize::try_from(count).unwrap_or(usize::MAX);
        } else if words.keyword("TYPE") {
            options.kind = Some(words.take());
        } else {
            words.reject();
        }
    }
    words.finish()?;
    Ok(options)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let options = parse(args)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut keys = Writer::bounded(&mut found, cx.out.version(), cx.out.room());
    let next = cx
        .step
        .scan(cx.conn.db, options.cursor, options.count, |met| {
            let kind = met.type_name.as_bytes();
            if options.kind.is_none_or(|k| k.eq_ignore_ascii_case(kind))
                && options.pattern.is_none_or(|p| glob::selects(p, met.key))
            {
                keys.bulk(met.key);
                count += 1;
            }
        });
    if keys.overflowed() {
        cx.out.overflow();
    }
    cx.out.array(2);
    cx.out.bulk(next.to_string().as_bytes());
    cx.out.array(count);
    cx.out.raw(&found);
    Ok(())
}
