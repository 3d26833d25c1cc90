//! From file, environment and flags to [`Settings`], at start and again at SIGHUP.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::{SettingError, StartError, one_line};
use super::file::{self, Assignment, Origin, ReadFile};
use super::inert::{Class, INERT};
use super::nearest::nearest;
use super::reference::{help_text, version_text};
use super::settings::{Outcome, Phase, Settings};
use super::table::{DIRECTIVES, Live, Row, row};
use super::value::Kind;

/// What the environment variables of settings begin with.
const VARIABLE_PREFIX: &str = "LINCHPIN_";
/// The file name that means standard input.
const STDIN: &str = "-";

/// What the command line asks for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Startup {
    /// To run.
    Run {
        /// With these settings, valid as a whole.
        settings: Box<Settings>,
        /// What the operator should know: a line each.
        warnings: Vec<String>,
        /// The configuration file, if one was given: `-` is standard input.
        file: Option<PathBuf>,
    },
    /// To print this help and exit 0.
    Help(String),
    /// To print this version and exit 0.
    Version(String),
}

/// What SIGHUP changed: see [`reload`].
#[derive(Debug)]
pub struct Reload {
    /// The settings to run with from now on.
    pub live: Settings,
    /// What the configuration says now: the `base` of the next reload.
    pub base: Settings,
    /// Names of the directives that changed in `live`.
    pub changed: Vec<&'static str>,
    /// Names of directives that the configuration changed but only a restart applies.
    pub restart_needed: Vec<&'static str>,
    /// What the operator should know: a line each.
    pub warnings: Vec<String>,
}

/// Where settings come from. The same value serves the start and every reload.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The arguments behind the program's name.
    pub args: &'a [OsString],
    /// The environment; only `LINCHPIN_*` is looked at.
    pub env: &'a [(String, String)],
    /// Reads a file; [`read_source`] in production.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Reads a configuration file, or standard input where the path is `-`.
///
/// # Errors
/// Those of reading, and bytes that are not UTF-8.
pub fn read_source(path: &Path) -> io::Result<String> {
    if path == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

/// Reads all settings: flags win over environment over file over defaults, and of the same kind
/// the later one wins.
///
/// # Errors
/// One line that names the place, what is wrong, and the name that was probably meant.
pub fn load(
    args: &[OsString],
    env: &[(String, String)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Startup, StartError> {
    let line = match parse_args(args)? {
        Asked::Help => return Ok(Startup::Help(help_text())),
        Asked::Version => return Ok(Startup::Version(version_text())),
        Asked::Run(line) => line,
    };
    let (settings, warnings) = assemble(&line, env, read_file)?;
    Ok(Startup::Run {
        settings: Box::new(settings),
        warnings,
        file: line.file.map(PathBuf::from),
    })
}

/// Reads everything again and carries what changed since `base` over to `live`.
///
/// A directive whose configured value is the one of the last time keeps what CONFIG SET made of
/// it meanwhile; a directive that only a start can set is named instead of changed.
///
/// # Errors
/// Those of [`load`], and settings that do not fit together; nothing is changed then. Settings
/// that came from standard input cannot be read again.
pub fn reload(
    base: &Settings,
    live: &Settings,
    sources: Sources<'_>,
) -> Result<Reload, StartError> {
    let Asked::Run(line) = parse_args(sources.args)? else {
        return Err(StartError::plain("there is nothing to reload"));
    };
    if line.file.as_deref() == Some(STDIN) {
        return Err(StartError::plain(
            "settings from standard input cannot be read again",
        ));
    }
    let (next, warnings) = assemble(&line, sources.env, sources.read_file)?;
    let mut reload = Reload {
        live: live.clone(),
        base: next,
        changed: Vec::new(),
        restart_needed: Vec::new(),
        warnings,
    };
    for directive in DIRECTIVES {
        let value = directive.field.get(&reload.base);
        if value == directive.field.get(base) {
            continue;
        }
        if directive.live != Live::Live {
            reload.restart_needed.push(directive.name);
            continue;
        }
        let outcome = reload.live.set(directive.name, &[&value], Phase::Live);
        let outcome =
            outcome.map_err(|error| StartError::plain(format!("{}: {error}", directive.name)))?;
        if outcome == Outcome::Changed {
            reload.changed.push(directive.name);
        }
    }
    reload.live.validate().map_err(StartError::plain)?;
    Ok(reload)
}

/// What the arguments say, before any of it is looked up.
enum Asked {
    Help,
    Version,
    Run(CommandLine),
}

struct CommandLine {
    file: Option<String>,
    flags: Vec<Assignment>,
}

/// Takes the arguments apart: the file, then flags with the words behind them.
fn parse_args(args: &[OsString]) -> Result<Asked, StartError> {
    let mut line = CommandLine {
        file: None,
        flags: Vec::new(),
    };
    for arg in args {
        let arg = arg.to_str().ok_or_else(|| {
            StartError::plain(format!("argument {} is not valid UTF-8", arg.display()))
        })?;
        match arg {
            "-h" | "--help" => return Ok(Asked::Help),
            "-v" | "-V" | "--version" => return Ok(Asked::Version),
            _ => {}
        }
        if let Some(flag) = arg.strip_prefix("--") {
            let (name, word) = match flag.split_once('=') {
                Some((name, word)) => (name, Some(word.to_owned())),
                None => (flag, None),
            };
            line.flags.push(Assignment {
                origin: Origin::Flag(format!("--{name}")),
                name: name.to_owned(),
                words: word.into_iter().collect(),
            });
        } else if let Some(flag) = line.flags.last_mut() {
            flag.words.push(arg.to_owned());
        } else if line.file.is_some() || (arg.starts_with('-') && arg != STDIN) {
            let what = "is neither a setting (--name value) nor the one configuration file";
            return Err(StartError::new(&arg, what));
        } else {
            line.file = Some(arg.to_owned());
        }
    }
    Ok(Asked::Run(line))
}

/// Applies file, environment and flags, in this order, to the defaults.
fn assemble(
    line: &CommandLine,
    env: &[(String, String)],
    read_file: ReadFile<'_>,
) -> Result<(Settings, Vec<String>), StartError> {
    let from_file = match &line.file {
        Some(path) => file::read(path, read_file)?,
        None => Vec::new(),
    };
    let from_env = variables(env)?;
    let mut settings = Settings::default();
    let mut notes = Notes::default();
    for assignment in from_file.iter().chain(&from_env).chain(&line.flags) {
        apply(&mut settings, assignment, &mut notes)?;
    }
    settings.validate().map_err(StartError::plain)?;
    Ok((settings, notes.into_warnings()))
}

/// The assignments of the environment, sorted by name so that their order is always the same.
fn variables(env: &[(String, String)]) -> Result<Vec<Assignment>, StartError> {
    let mut assignments = Vec::new();
    for (variable, value) in env {
        let Some(suffix) = variable.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        let is = |name: &&str| variable_suffix(name).eq_ignore_ascii_case(suffix);
        let name = file_names()
            .find(is)
            .ok_or_else(|| unknown_variable(variable, suffix))?;
        if value.starts_with("tcp://") {
            return Err(service_link(variable));
        }
        assignments.push(Assignment {
            origin: Origin::Variable(variable.clone()),
            name: name.to_owned(),
            words: vec![value.clone()],
        });
    }
    assignments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(assignments)
}

/// What stands behind the prefix in the variable of directive `name`.
fn variable_suffix(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

fn unknown_variable(variable: &str, suffix: &str) -> StartError {
    if suffix.contains("SERVICE_") || suffix.contains("_TCP") {
        return service_link(variable);
    }
    let suffixes: Vec<String> = file_names().map(variable_suffix).collect();
    let hint = nearest(suffix, suffixes.iter().map(String::as_str))
        .map(|near| format!("; did you mean {VARIABLE_PREFIX}{near}?"));
    let hint = hint.unwrap_or_default();
    StartError::new(&variable, format!("no setting has this name{hint}"))
}

/// Kubernetes announces a service called `linchpin` by variables that look like settings.
fn service_link(variable: &str) -> StartError {
    StartError::new(
        &variable,
        "this looks like a service link of Kubernetes, not like a setting: give the pod \
         `enableServiceLinks: false`, or the service another name",
    )
}

/// Sets one directive and notes what is to be said of it.
fn apply(
    settings: &mut Settings,
    assignment: &Assignment,
    notes: &mut Notes,
) -> Result<(), StartError> {
    let Assignment {
        origin,
        name,
        words,
    } = assignment;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match settings.set(name, &words, Phase::Start) {
        Ok(Outcome::Ignored(warning)) => notes.add(origin, name, &warning),
        Ok(Outcome::Changed | Outcome::Unchanged) => {}
        Err(error) => return Err(explain(origin, name, &words, &error)),
    }
    Ok(())
}

/// One line for what is wrong with an assignment; it never shows a secret, nor the value of a name
/// nobody knows, which could be one.
fn explain(origin: &Origin, name: &str, words: &[&str], error: &SettingError) -> StartError {
    let subject = match origin {
        Origin::Line(..) => format!("{name}: "),
        Origin::Flag(_) | Origin::Variable(_) => String::new(),
    };
    let what = match error {
        SettingError::Unknown => {
            let hint = match (nearest(name, file_names()), origin) {
                (Some(near), Origin::Flag(_)) => format!("; did you mean `--{near}`?"),
                (Some(near), _) => format!("; did you mean `{near}`?"),
                (None, _) => String::new(),
            };
            match origin {
                Origin::Line(..) => format!("no setting is called `{name}`{hint}"),
                Origin::Flag(_) | Origin::Variable(_) => {
                    format!("no setting has this name{hint}")
                }
            }
        }
        SettingError::Value(reason) => {
            let secret = row(name).is_some_and(|row| matches!(row.kind(), Kind::Secret));
            let got = if secret {
                String::new()
            } else {
                format!(", got `{}`", words.join(" "))
            };
            format!("{subject}{reason}{got}")
        }
        SettingError::WordCount => format!("{subject}{error}, got {}", words.len()),
        error => error.to_string(),
    };
    StartError::new(origin, what)
}

/// Every name a file, flag or variable may use.
fn file_names() -> impl Iterator<Item = &'static str> {
    let inert = INERT
        .iter()
        .flat_map(|inert| [Some(inert.name), inert.alias])
        .flatten();
    DIRECTIVES
        .iter()
        .map(|directive| directive.name)
        .chain(inert)
}

/// Warnings in the making: each directive is mentioned once, and all mere knobs share a line,
/// as a stock redis.conf sets dozens of them.
#[derive(Default)]
struct Notes {
    knobs: BTreeSet<&'static str>,
    lines: Vec<(&'static str, String)>,
}

impl Notes {
    fn add(&mut self, origin: &Origin, name: &str, warning: &str) {
        let Some(Row::Inert(inert)) = row(name) else {
            return;
        };
        if inert.class == Class::Tuning {
            self.knobs.insert(inert.name);
            return;
        }
        // A later line wins, so its warning does.
        self.lines.retain(|(other, _)| *other != inert.name);
        self.lines
            .push((inert.name, one_line(&format!("{origin}: {warning}"))));
    }

    fn into_warnings(self) -> Vec<String> {
        let mut warnings: Vec<String> = self.lines.into_iter().map(|(_, line)| line).collect();
        if !self.knobs.is_empty() {
            let names: Vec<&str> = self.knobs.into_iter().collect();
            warnings.push(format!(
                "accepted without effect here: {}",
                names.join(", ")
            ));
        }
        warnings
    }
}
