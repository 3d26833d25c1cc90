//! `AUTH [username] password`: shows who the caller is.
//!
//! There is one user, `default`, who may do everything; its password is the setting `requirepass`.
//! Without one everybody is `default` from the start, and `AUTH default` takes any password. A
//! failed attempt takes nothing away from a connection that was authenticated before. The password
//! is compared in constant time, and neither logged nor shown by `CLIENT LIST`.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Spec};
use crate::command::{Cx, ReplyError, error};
use linchpin_protocol::Args;

/// What is allowed before authentication, at any time and in no script.
pub(super) const FLAGS: Flags = Flags::NOSCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::NO_AUTH)
    .with(Flags::ALLOW_BUSY);

/// The one user.
pub const DEFAULT_USER: &str = "default";

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new("auth", -2, FLAGS, Keys::NONE, run)
    .group(Group::Connection)
    .doc("Shows who the caller is, by a password.", "O(1)")
    .args(&[
        Arg::new("username", ArgKind::String)
            .optional()
            .since("6.0.0"),
        Arg::new("password", ArgKind::String),
    ])
    .history(&[("6.0.0", "Takes a user name.")])];

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    match (args.get(1), args.get(2), args.get(3)) {
        (Some(password), None, _) => {
            if cx.host.settings().requirepass.is_none() {
                return Err(error::AUTH_WITHOUT_PASSWORD);
            }
            log_in(cx, DEFAULT_USER.as_bytes(), password)?;
        }
        (Some(user), Some(password), None) => log_in(cx, user, password)?,
        _ => return Err(error::SYNTAX),
    }
    cx.out.ok();
    Ok(())
}

/// Makes the caller a user, if there is one of this name and password.
///
/// # Errors
/// [`error::WRONG_PASS`], whichever of the two is wrong.
pub(super) fn log_in(cx: &mut Cx<'_>, user: &[u8], password: &[u8]) -> Result<(), ReplyError> {
    // Not the settings of the batch: a CONFIG SET before this command counts.
    let settings = cx.host.settings();
    let matches = settings
        .requirepass
        .as_ref()
        .is_none_or(|secret| secret.matches(password));
    if user != DEFAULT_USER.as_bytes() || !matches {
        return Err(error::WRONG_PASS);
    }
    cx.conn.authenticated = true;
    Ok(())
}
