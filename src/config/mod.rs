//! Every setting of the server, once: name, type, bounds, default, meaning, when it may change.
//!
//! ```text
//! redis.conf ─┐
//! LINCHPIN_*  ├─ load ──> Settings ──┬── get, matching     CONFIG GET
//! --flags    ─┘    ^         ^       └── typed fields      everybody else
//!                  │         └── set_many                  CONFIG SET
//!                  └── reload                              SIGHUP
//! ```
//!
//! Two tables hold all names. [`DIRECTIVES`] has the real settings, each with its field of
//! [`Settings`]. [`INERT`] has every other directive of Redis 7.2, with what is true of it here:
//! a feature that is absent, one that must not be ignored, or a knob without meaning. CONFIG GET,
//! CONFIG SET, the configuration file, flags, environment, `--help` and the settings reference
//! are all derived from these rows.
//!
//! Invariants:
//! - Nothing here reads a file, the environment, a clock or a core count by itself; all are
//!   arguments ([`read_source`] is the one thin exception).
//! - `Settings` is a value: a change makes a new one, checked as a whole, or nothing.
//! - A password is in no `Debug` output, warning or error.
//! - CONFIG GET never claims a feature the server does not have.
//!
//! LIMITATIONS
//! - Values are UTF-8; a password or path of other bytes is refused, not bent.
//! - `include` takes a path, not a pattern.
//! - Redis' hidden debugging directives (`key-load-delay`, `watchdog-period` ...) are unknown.

mod access;
mod error;
mod file;
mod inert;
mod load;
mod nearest;
mod reference;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use error::{EXIT_USAGE, SettingError, StartError};
pub use inert::{Class, INERT, Inert};
pub use load::{FILE_BYTES_MAX, Reload, Sources, Startup, load, read_source, reload};
pub use reference::{help_text, reference_markdown, version_text};
pub use settings::{
    AppendFsync, ClientsMemory, Live, LogFormat, LogLevel, Outcome, OutputLimit, OutputLimits,
    Phase, SavePoint, Secret, Settings,
};
pub use table::{BULK_BYTES_MAX, DIRECTIVES, Directive};
pub use value::Kind;
