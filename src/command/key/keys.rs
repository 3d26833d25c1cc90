//! `KEYS pattern`: all keys of the database that match a glob, in no order.
//!
//! LIMITATIONS: looks at every key while everybody else waits, and builds the whole reply; `SCAN`
//! does neither.

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use crate::glob;
use linchpin_protocol::{Args, Writer};

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "keys",
    2,
    Flags::READONLY.with(Flags::ALONE),
    Keys::NONE,
    run,
)
.group(Group::Generic)
.categories(Categories::DANGEROUS)
.doc(
    "Answers all keys that match a pattern.",
    "O(N) with N keys in the database",
)
.args(&[Arg::new("pattern", ArgKind::Pattern)])
.tips(&["request_policy:all_shards", "nondeterministic_output_order"])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let pattern = &args[1];
    let (mut found, mut count) = (Vec::new(), 0);
    let mut keys = Writer::bounded(&mut found, cx.out.version(), cx.out.room());
    cx.step.each_key(cx.conn.db, |key| {
        if glob::selects(pattern, key) {
            keys.bulk(key);
            count += 1;
        }
    });
    if keys.overflowed() {
        cx.out.overflow();
    }
    cx.out.array(count);
    cx.out.raw(&found);
    Ok(())
}
