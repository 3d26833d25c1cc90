//! `SELECT index`: picks the database the connection works in.

use crate::command::error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError, words};
use linchpin_protocol::Args;

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "select",
    2,
    Flags::FAST.with(Flags::LOADING).with(Flags::STALE),
    Keys::NONE,
    run,
)
.group(Group::Connection)
.doc("Picks the database for the commands that follow.", "O(1)")
.args(&[Arg::new("index", ArgKind::Integer)])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    cx.conn.db = database(cx, &args[1])?;
    cx.out.ok();
    Ok(())
}

/// The number of a database that is there.
///
/// # Errors
/// Where `word` is no number, or no database has it.
pub fn database(cx: &Cx<'_>, word: &[u8]) -> Result<u32, ReplyError> {
    existing(cx, index(word)?)
}

/// The number of a database, whether or not it is there.
///
/// # Errors
/// Where `word` is no number, or none that any database could have.
pub fn index(word: &[u8]) -> Result<i32, ReplyError> {
    i32::try_from(words::integer(word)?).map_err(|_| error::NOT_INT32)
}

/// The same number, if the database is there. A data directory that once had more databases keeps
/// them in the engine, empty: the settings decide.
///
/// # Errors
/// [`error::DB_OUT_OF_RANGE`] if not.
pub fn existing(cx: &Cx<'_>, index: i32) -> Result<u32, ReplyError> {
    u32::try_from(index)
        .ok()
        .filter(|&db| db < cx.step.databases().min(cx.host.settings().databases))
        .ok_or(error::DB_OUT_OF_RANGE)
}
