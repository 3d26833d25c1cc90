//! `INFO [section ...]`: how the server is, in lines `field:value`.
//!
//! Without a section, or with `default`, the usual ones; `all` adds those about single commands and
//! `everything` all there are. Names of sections that are not there are passed over.
//!
//! With the section on keys the reply waits for the journal, as any that tells of changes.

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

/// Sections that say how many keys there are, and names for several with one that does.
const TELL_OF_KEYS: [&str; 4] = ["default", "all", "everything", "keyspace"];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let section = |word: &[u8]| String::from_utf8_lossy(word).to_ascii_lowercase();
    let sections: Vec<String> = args.skip(1).iter().map(section).collect();
    let tells_of_keys = |name: &String| TELL_OF_KEYS.contains(&name.as_str());
    // How the server is can be asked while the disk does not come on.
    let census = if sections.is_empty() || sections.iter().any(tells_of_keys) {
        cx.step.census()
    } else {
        cx.step.census_unsettled()
    };
    let text = cx.host.info(&sections, &census, &cx.step.tally());
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}
