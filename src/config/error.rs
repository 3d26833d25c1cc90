//! What can be wrong with a setting, and with a start.

use std::fmt;

/// Exit code of a start with unknown or bad settings (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;

/// Why a directive was not set. `Display` is the reason alone, in Redis' words where it has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// There is no directive of this name.
    #[error("unknown directive")]
    Unknown,
    /// The directive is fixed once the server runs.
    #[error("can't set immutable config")]
    Immutable,
    /// The directive is one that Redis guards by `enable-protected-configs`, which is off here.
    #[error("can't set protected config")]
    Protected,
    /// The directive stands twice in one CONFIG SET.
    #[error("duplicate parameter")]
    Duplicate,
    /// Too few or too many words.
    #[error("wrong number of arguments")]
    WordCount,
    /// The value is of the wrong type or out of bounds.
    #[error("{0}")]
    Value(String),
    /// The value asks for a feature this server does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The value is fine by itself, but not beside another setting.
    #[error("{reason}")]
    Conflict {
        /// The directive the reason speaks of first.
        directive: &'static str,
        /// What does not fit together.
        reason: String,
    },
}

impl SettingError {
    /// The error reply of CONFIG SET, without the leading `-` and the line end.
    ///
    /// `argument` is the name to blame, as [`super::Settings::set_many`] answers it.
    #[must_use]
    pub fn reply(&self, argument: &str) -> String {
        match self {
            Self::Unknown => {
                format!("ERR Unknown option or number of arguments for CONFIG SET - '{argument}'")
            }
            reason => format!(
                "ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}"
            ),
        }
    }
}

/// Why the server does not start: one line for standard error. Exit with [`EXIT_USAGE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// Makes the line `origin: what`, with line breaks inside either made visible.
    pub(super) fn new(origin: &impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(one_line(&format!("{origin}: {what}")))
    }

    /// A line that needs no origin.
    pub(super) fn plain(what: impl fmt::Display) -> Self {
        Self(one_line(&what.to_string()))
    }

    /// The exit code this error asks for.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        EXIT_USAGE
    }
}

/// Control characters escaped, so that a hostile name cannot forge a second line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}
