//! The context a command runs in.

use super::conn::Conn;
use super::error::{self, ReplyError};
use super::host::{ClientState, Host};
use super::park::Park;
use super::spec::{Flags, Spec};
use crate::clock::Now;
use crate::config::Settings;
use crate::engine::{Need, Step};
use crate::pubsub::Rings;
use linchpin_protocol::{Args, Writer};

/// Everything a command may touch.
pub struct Cx<'a> {
    /// The step this command is, or is part of: the way to the data.
    pub step: Step<'a>,
    /// The calling connection.
    pub conn: &'a mut Conn,
    /// Where the reply goes.
    pub out: Writer<'a>,
    /// The server around.
    pub host: &'a dyn Host,
    /// The settings in force when the batch began.
    pub settings: &'a Settings,
    /// The row of the command that runs.
    pub spec: &'static Spec,
    /// What the registry last saw of the caller; `multi` is that of the `EXEC` in course, if any.
    pub state: ClientState,
    /// Commands run on behalf of this one, as `EXEC` runs them, in their order.
    pub inner: Vec<InnerCall>,
    /// Connections that it has left messages for.
    pub rings: &'a Rings,
    /// The call waits for this instead of answering.
    pub parked: Option<Park>,
    /// The reply waits for the disk, though its command is not of the class durable.
    pub is_durable: bool,
    /// Memory is short, and eviction did not help: nothing more may be made.
    pub is_short: bool,
    /// The reply waits until the disk has this frame; 0 for none.
    pub durable_frame: u64,
}

/// A command that ran on behalf of another.
#[derive(Clone, Copy, Debug)]
pub struct InnerCall {
    /// The command.
    pub spec: &'static Spec,
    /// The code of the error it answered.
    pub error: Option<&'static str>,
}

/// The longest key, in bytes.
pub const KEY_LEN_MAX: usize = 64 << 10;

impl Cx<'_> {
    /// The time of this step.
    #[must_use]
    pub fn now(&self) -> Now {
        self.step.now()
    }

    /// Whether this command runs on behalf of `EXEC`.
    #[must_use]
    pub fn is_in_exec(&self) -> bool {
        !self.inner.is_empty()
    }

    /// The database the caller selected.
    #[must_use]
    pub fn db(&self) -> u32 {
        self.conn.db
    }
}

/// Has the engine make room for a call, and has it noted how that went; answers whether the call
/// may run, as far as memory goes. `counted_bytes` of what the client sent are counted as held. To
/// be called where there is no room, with nothing locked.
#[cold]
pub fn make_room(
    step: &mut Step<'_>,
    host: &dyn Host,
    spec: &Spec,
    args: Args<'_>,
    counted_bytes: usize,
) -> bool {
    let need = if spec.flags.has(Flags::UNFORESEEN) {
        Need::UNFORESEEN
    } else {
        Need::of(args.bytes_len(), counted_bytes)
    };
    let may_run = step.make_room(need);
    host.note_room(step.has_room());
    may_run
}

/// Finds the row for a call and checks what can be known without running it: that the command and,
/// for a container, its subcommand exist, that the number of arguments is possible and that no key
/// is too long.
///
/// # Errors
/// What the client is told.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Spec, ReplyError> {
    let spec = find(args)?;
    if !spec.takes(args.len()) {
        return Err(ReplyError::wrong_arity(spec.name));
    }
    if args.bytes_len() > KEY_LEN_MAX {
        check_keys(spec, args)?;
    }
    Ok(spec)
}

/// Finds the row for a call, which may still be refused for its arguments.
///
/// # Errors
/// What the client is told where there is no such command or subcommand.
#[inline]
pub fn find(args: Args<'_>) -> Result<&'static Spec, ReplyError> {
    let unknown = || ReplyError::unknown_command(&args[0], args.skip(1).iter());
    let spec = super::table::find(&args[0]).ok_or_else(unknown)?;
    if spec.flags.has(Flags::CONTAINER)
        && let Some(own) = args.get(1)
    {
        let unknown = || ReplyError::unknown_subcommand(spec.name, own);
        return super::table::find_sub(spec, own).ok_or_else(unknown);
    }
    Ok(spec)
}

#[cold]
fn check_keys(spec: &Spec, args: Args<'_>) -> Result<(), ReplyError> {
    let positions = spec.keys.positions(args).unwrap_or_default();
    if positions
        .iter()
        .any(|(at, _)| args[*at].len() > KEY_LEN_MAX)
    {
        return Err(error::KEY_TOO_LONG);
    }
    Ok(())
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("command", &self.spec.name)
            .finish_non_exhaustive()
    }
}
