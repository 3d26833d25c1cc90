//! Why a data directory cannot be used, and the exit code that says so.

use super::segment::LogError;
use std::io;

/// What stands for the directory itself where an error names a file.
pub const DIRECTORY: &str = "the data directory";

const WHAT_TO_DO: &str = "Nothing was changed. Restore the directory from a backup, or let \
    `linchpin-server check --dir DIR` say what is damaged and, with --repair, cut it out";

/// A data directory that cannot be used. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("the data directory is in use by {}", owner(*pid))]
    Owned {
        /// That process, if it could be read.
        pid: Option<u32>,
    },
    /// The system does not let this process in.
    #[error("{file} cannot be used: {source}")]
    Denied {
        /// The file, or what stands for the directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed.
    #[error("{file}: {source}")]
    Io {
        /// The file, or what stands for the directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that had been safe are not what was written.
    #[error("{file}: damaged at byte {offset}: {reason}. {WHAT_TO_DO}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A newer program wrote this.
    #[error(
        "{file}: format version {version} is newer than this program, which knows up to {known}. \
         Nothing was changed; use the program that wrote it"
    )]
    Newer {
        /// The file.
        file: String,
        /// The version it has.
        version: u32,
        /// The newest version known.
        known: u32,
    },
    /// It was given up because the server stops.
    #[error("given up: the server stops")]
    Stopped,
    /// The log was not safe in time up to where a snapshot needs it.
    #[error("given up: the log is not on the disk up to where the snapshot needs it")]
    LogBehind,
    /// The settings have snowflakes made up in another way than those given out.
    #[error(
        "the data directory has given out snowflakes of worker {}, epoch {} and layout {} {} {}, \
         and the settings say otherwise; set id-snowflake-worker, id-snowflake-epoch and \
         id-snowflake-layout to these",
        recorded.worker, recorded.epoch_ms, recorded.time_bits, recorded.worker_bits,
        recorded.sequence_bits
    )]
    OtherSnowflakes {
        /// How those given out are made up.
        recorded: crate::engine::ids::snowflake::Layout,
    },
    /// The settings leave out databases that have keys.
    #[error(
        "databases {configured}: the data directory has keys in database {}; set databases to at \
         least {used}",
        used.saturating_sub(1)
    )]
    TooFewDatabases {
        /// What the settings say.
        configured: u32,
        /// The least that holds all keys.
        used: u32,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl Error {
    /// What the system said about a file.
    #[must_use]
    pub fn io(file: &str, source: io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let file = file.to_owned();
        match source.kind() {
            PermissionDenied | ReadOnlyFilesystem => Self::Denied { file, source },
            _ => Self::Io { file, source },
        }
    }

    /// A file that is not what was written.
    #[must_use]
    pub fn corrupt(file: &str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            reason: reason.into(),
        }
    }

    /// What is wrong, without what there is to do about it.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Corrupt {
                file,
                offset,
                reason,
            } => format!("{file}: damaged at byte {offset}: {reason}"),
            other => other.to_string(),
        }
    }

    /// As sysexits.h has them: 65 damaged, 73 in use, 74 input or output, 77 not permitted, 78 not
    /// for this program or these settings.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Corrupt { .. } => 65,
            Self::Owned { .. } => 73,
            Self::Io { .. } | Self::Stopped | Self::LogBehind => 74,
            Self::Denied { .. } => 77,
            Self::Newer { .. } | Self::TooFewDatabases { .. } | Self::OtherSnowflakes { .. } => 78,
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { file, source } => Self::io(&file, source),
            LogError::Corrupt {
                file,
                offset,
                position,
                synced,
                reason,
            } => Self::Corrupt {
                file,
                offset,
                reason: format!(
                    "{reason}; this is position {position} of the log, and all before {synced} \
                     had been safe"
                ),
            },
            LogError::Newer {
                file,
                version,
                known,
                ..
            } => Self::Newer {
                file,
                version,
                known,
            },
            LogError::Foreign { file } => {
                Self::corrupt(&file, 0, "it belongs to another data directory")
            }
        }
    }
}
