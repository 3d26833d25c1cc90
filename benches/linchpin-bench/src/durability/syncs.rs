//! How often a server has synced its log.
//!
//! Linchpin says it. redis-server does not, and asking the kernel needs rights that a user has
//! not; but under `always` it writes its log once and syncs it once in each turn of its loop that
//! changed something, so its syncs are its calls of write(2) less those for replies, of which it
//! keeps count.
//!
//! # LIMITATIONS
//!
//! For redis-server it is true under `always` only, and not while it rewrites its log.

use anyhow::Context as _;

use crate::process::{Server, info_field};

const OWN_FIELD: &str = "journal_syncs";

/// Syncs so far, and for redis-server a constant: only differences mean something.
pub(super) fn syncs(server: &Server) -> anyhow::Result<u64> {
    let info = server.info("persistence")?;
    if let Some(syncs) = info_field(&info, OWN_FIELD) {
        return syncs.parse().context(OWN_FIELD);
    }
    let replies = server.info_number("stats", "total_writes_processed")?;
    Ok(server.write_calls()?.saturating_sub(replies))
}
