//! `INFO [section ...]`: how the server is, in lines `field:value`.
//!
//! Without a section, or with `default`, the usual ones; `all` adds those about single commands and
//! `everything` all there are. Names of sections that are not there are passed over.

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "info",
    -1,
    Flags::LOADING.with(Flags::STALE),
    Keys::NONE,
    run,
)
.group(Group::Server)
.categories(Categories::DANGEROUS)
.doc(
    "Tells how the server is.",
    "O(N) with N connections and shards",
)
.args(&[Arg::new("section", ArgKind::String).optional().multiple()])
.tips(&[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
])
.history(&[("7.0.0", "Takes several sections.")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let section = |word: &[u8]| String::from_utf8_lossy(word).to_ascii_lowercase();
    let sections: Vec<String> = args.skip(1).iter().map(section).collect();
    let text = cx.host.info(&sections, &cx.step.census(), &cx.step.tally());
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}
