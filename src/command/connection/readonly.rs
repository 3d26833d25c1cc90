//! `READONLY` and `READWRITE`: what a replica of a Redis Cluster may be asked.
//!
//! This server is not part of a cluster and says so, as Redis does.

use crate::command::spec::{Categories, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError, error};
use linchpin_protocol::Args;

const FLAGS: Flags = Flags::FAST.with(Flags::LOADING).with(Flags::STALE);

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new("readonly", 1, FLAGS, Keys::NONE, run)
        .group(Group::Cluster)
        .categories(Categories::CONNECTION)
        .since("3.0.0")
        .doc("Would allow reads from a replica of a cluster.", "O(1)"),
    Spec::new("readwrite", 1, FLAGS, Keys::NONE, run)
        .group(Group::Cluster)
        .categories(Categories::CONNECTION)
        .since("3.0.0")
        .doc("Would take READONLY back.", "O(1)"),
];

fn run(_: &mut Cx<'_>, _: Args<'_>) -> Result<(), ReplyError> {
    Err(error::NO_CLUSTER)
}
