//! Logging: where lines go, in which form, and from which level on.
//!
//! Lines go to the log file, or to standard error without one; standard output has only the line
//! that says where the server listens. No line ever holds an argument of a command: they may be
//! secrets.

use crate::config::{LogFormat, LogLevel, Settings};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The level of the running logger, once there is one.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging for the whole process.
///
/// # Errors
/// If the log file cannot be opened for appending.
pub fn start(settings: &Settings) -> io::Result<()> {
    let (writer, ansi) = match &settings.logfile {
        Some(path) => (BoxMakeWriter::new(LogFile::open(path)?), false),
        None => (
            BoxMakeWriter::new(io::stderr),
            io::IsTerminal::is_terminal(&io::stderr()),
        ),
    };
    let (level, handle) = reload::Layer::new(filter(settings.loglevel));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false);
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(level)
        .with(lines)
        .try_init();
    if started.is_ok() {
        // Only the process' own logger has a level to change.
        let _ = LEVEL.set(handle);
    }
    Ok(())
}

/// Changes the level of a running logger.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.modify(|current| *current = filter(level))
    {
        tracing::warn!(%error, "the log level could not be changed");
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

/// A log file that is opened anew for each line, so that it can be moved away at any time.
struct LogFile {
    path: PathBuf,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        append(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Box<dyn io::Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match append(&self.path) {
            Ok(file) => Box::new(file),
            Err(_) => Box::new(io::stderr()),
        }
    }
}
