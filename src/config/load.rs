//! From file, environment and flags to [`Settings`], at start and again at SIGHUP.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::access::{Row, row};
use super::error::{SettingError, StartError, one_line};
use super::file::{self, Assignment, Origin, ReadFile};
use super::inert::{Class, INERT};
use super::nearest::nearest;
use super::reference::{help_text, version_text};
use super::settings::{Live, Outcome, Phase, Settings};
use super::table::DIRECTIVES;
use super::value::Kind;

/// What the environment variables of settings begin with.
const VARIABLE_PREFIX: &str = "LINCHPIN_";
/// Longest configuration file: a device or a data file given by mistake ends here.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// The file name that means standard input.
const STDIN: &str = "-";
/// The first argument that has a data directory looked through instead of a server started.
const CHECK: &str = "check";
/// The flag that has it mended too.
const REPAIR: &str = "repair";

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
        /// How many settings have no effect, which is what the warnings are about.
        ineffective: usize,
        /// The configuration file, if one was given: `-` is standard input.
        file: Option<PathBuf>,
    },
    /// To look through a data directory, start nothing, and exit.
    Check {
        /// The directory.
        dir: PathBuf,
        /// Whether to mend what can be mended.
        repair: bool,
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
/// Those of reading, bytes that are not UTF-8, and files above [`FILE_BYTES_MAX`].
pub fn read_source(path: &Path) -> io::Result<String> {
    if path == Path::new(STDIN) {
        return read_bounded(io::stdin().lock());
    }
    read_bounded(std::fs::File::open(path)?)
}

fn read_bounded(source: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    let bytes = source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
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
        Asked::Check(mut line) => {
            let repair = take_repair(&mut line)?;
            // Also of the file and the environment: the directory that this server would have.
            let (settings, _) = assemble(&line, env, read_file)?;
            let dir = settings.dir;
            return Ok(Startup::Check { dir, repair });
        }
        Asked::Run(line) => line,
    };
    let (settings, notes) = assemble(&line, env, read_file)?;
    Ok(Startup::Run {
        settings: Box::new(settings),
        ineffective: notes.len(),
        warnings: notes.into_warnings(),
        file: line.file.map(PathBuf::from),
    })
}

/// Reads everything again and carries what changed since `base` over to `live`. `base` is what
/// [`load`] or the last reload answered, untouched.
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
    let (next, notes) = assemble(&line, sources.env, sources.read_file)?;
    let mut reload = Reload {
        live: live.clone(),
        base: next,
        changed: Vec::new(),
        restart_needed: Vec::new(),
        warnings: notes.into_warnings(),
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
    reload.live.retune(base, &reload.base);
    reload.live.validate().map_err(StartError::plain)?;
    Ok(reload)
}

/// What the arguments say, before any of it is looked up.
enum Asked {
    Help,
    Version,
    Check(CommandLine),
    Run(CommandLine),
}

struct CommandLine {
    file: Option<String>,
    flags: Vec<Assignment>,
}

/// Takes the arguments apart: `check`, the file, then flags with the words behind them.
fn parse_args(args: &[OsString]) -> Result<Asked, StartError> {
    let is_check = args.first().is_some_and(|arg| arg == CHECK);
    let mut line = CommandLine {
        file: None,
        flags: Vec::new(),
    };
    for (index, arg) in args.iter().enumerate().skip(usize::from(is_check)) {
        // The argument is not shown: it could be a password.
        let arg = arg.to_str().ok_or_else(|| {
            StartError::plain(format!("argument {} is not valid UTF-8", index + 1))
        })?;
        match arg {
            "--help" => return Ok(Asked::Help),
            "--version" => return Ok(Asked::Version),
            // Behind a flag these could be its value.
            "-h" if line.flags.is_empty() => return Ok(Asked::Help),
            "-v" | "-V" if line.flags.is_empty() => return Ok(Asked::Version),
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
    Ok(if is_check {
        Asked::Check(line)
    } else {
        Asked::Run(line)
    })
}

/// Takes `--repair`, which is no setting, off the flags; answers whether it was there.
fn take_repair(line: &mut CommandLine) -> Result<bool, StartError> {
    let is_repair = |flag: &Assignment| flag.name == REPAIR;
    let repair = line.flags.iter().find(|flag| is_repair(flag));
    if let Some(word) = repair.and_then(|flag| flag.words.first()) {
        return Err(StartError::new(&word, "--repair takes no value"));
    }
    let repair = repair.is_some();
    line.flags.retain(|flag| !is_repair(flag));
    Ok(repair)
}

/// Applies file, environment and flags, in this order, to the defaults.
fn assemble(
    line: &CommandLine,
    env: &[(String, String)],
    read_file: ReadFile<'_>,
) -> Result<(Settings, Notes), StartError> {
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
    Ok((settings, notes))
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
    if suffix.starts_with("SERVICE_") || suffix.starts_with("PORT_") {
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
        // A later line that says the truth takes back what an earlier one claimed.
        Ok(Outcome::Changed | Outcome::Unchanged) => notes.retract(name),
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
        self.retract(inert.name);
        self.lines
            .push((inert.name, one_line(&format!("{origin}: {warning}"))));
    }

    fn retract(&mut self, name: &str) {
        if let Some(Row::Inert(inert)) = row(name) {
            self.lines.retain(|(other, _)| *other != inert.name);
        }
    }

    fn len(&self) -> usize {
        self.knobs.len() + self.lines.len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXIT_USAGE;

    /// One start: a file called `f`, variables, arguments separated by blanks.
    #[derive(Clone, Copy, Default)]
    struct Case<'a> {
        file: &'a str,
        env: &'a [(&'a str, &'a str)],
        args: &'a str,
    }

    impl Case<'_> {
        fn args(&self) -> Vec<OsString> {
            self.args
                .split_terminator(' ')
                .map(OsString::from)
                .collect()
        }

        fn env(&self) -> Vec<(String, String)> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            self.env.iter().map(owned).collect()
        }

        fn open(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("f" | STDIN) => Ok(self.file.to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn load(&self) -> Result<Startup, StartError> {
            load(&self.args(), &self.env(), &|path| self.open(path))
        }

        fn run(&self) -> (Settings, Vec<String>) {
            match self.load() {
                Ok(Startup::Run {
                    settings, warnings, ..
                }) => (*settings, warnings),
                other => panic!("{} does not run: {other:?}", self.args),
            }
        }

        fn reload(&self, base: &Settings, live: &Settings) -> Result<Reload, StartError> {
            let (args, env) = (self.args(), self.env());
            let read_file = |path: &Path| self.open(path);
            reload(
                base,
                live,
                Sources {
                    args: &args,
                    env: &env,
                    read_file: &read_file,
                },
            )
        }
    }

    #[test]
    fn check_takes_the_directory_from_where_a_start_would() {
        let checked = |args, file| {
            let case = Case {
                args,
                file,
                ..Case::default()
            };
            match case.load() {
                Ok(Startup::Check { dir, repair }) => (dir.display().to_string(), repair),
                other => panic!("{args} checks nothing: {other:?}"),
            }
        };
        assert_eq!(checked("check", ""), ("./linchpin-data".to_owned(), false));
        assert_eq!(
            checked("check f --repair", "dir a\n"),
            ("a".to_owned(), true)
        );
        assert_eq!(
            checked("check f --repair --dir=b", "dir a\n"),
            ("b".to_owned(), true)
        );
        for args in ["check --repair no", "check --repair=no", "check x y"] {
            let case = Case {
                args,
                ..Case::default()
            };
            assert!(case.load().is_err(), "{args}");
        }
    }

    #[test]
    fn where_a_value_comes_from() {
        let check = |file: &str, env: &[(&str, &str)], args: &str, name: &str, expect: &str| {
            let (settings, _) = Case { file, env, args }.run();
            assert_eq!(
                settings.get(name).as_deref(),
                Some(expect),
                "{file:?} {env:?} {args}"
            );
        };
        check("", &[], "", "hz", "10");
        check("hz 1", &[], "", "hz", "10");
        check("hz 1", &[], "f", "hz", "1");
        check("hz 1", &[], "-", "hz", "1");
        check("hz 1\nHZ 2", &[], "f", "hz", "2");
        check("hz 1", &[("LINCHPIN_HZ", "2"), ("HZ", "9")], "f", "hz", "2");
        check("hz 1", &[("LINCHPIN_HZ", "2")], "f --hz 3", "hz", "3");
        check(
            "hz 1",
            &[("LINCHPIN_HZ", "2")],
            "f --hz=3 --HZ 4",
            "hz",
            "4",
        );
        check(
            "",
            &[("LINCHPIN_PROTO_MAX_BULK_LEN", "2mb")],
            "",
            "proto-max-bulk-len",
            "2097152",
        );
        check(
            "",
            &[("LINCHPIN_BIND", "127.0.0.2 ::1")],
            "",
            "bind",
            "127.0.0.2 ::1",
        );
        check(
            "",
            &[],
            "--bind 127.0.0.2 -::1 --hz 3",
            "bind",
            "127.0.0.2 -::1",
        );
        check("", &[], "--save --hz 3", "hz", "3");
        check("", &[], "--requirepass=a=b", "requirepass", "a=b");
        check("", &[], "--requirepass -v", "requirepass", "-v");
        check("logfile \"\"", &[], "f --logfile x", "logfile", "x");
        let limits = "normal 1 2 3 slave 268435456 67108864 60 pubsub 4 5 6";
        check(
            "client-output-buffer-limit normal 1 2 3\nclient-output-buffer-limit pubsub 4 5 6",
            &[],
            "f",
            "client-output-buffer-limit",
            limits,
        );
    }

    #[test]
    fn no_arguments_are_the_defaults() {
        let (settings, warnings) = Case::default().run();
        assert_eq!(settings, Settings::default());
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn one_clear_line() {
        let check = |file: &str, env: &[(&str, &str)], args: &str, expect: &str| {
            let error = Case { file, env, args }.load().expect_err("it is refused");
            assert_eq!(error.to_string(), expect);
            assert_eq!(error.exit_code(), EXIT_USAGE);
        };
        let unknown = "--maxclient: no setting has this name; did you mean `--maxclients`?";
        check("", &[], "--maxclient 5", unknown);
        let unknown = "f:2: no setting is called `prot`; did you mean `port`?";
        check("hz 1\nprot 6379", &[], "f", unknown);
        let unknown =
            "LINCHPIN_MAX_CLIENTS: no setting has this name; did you mean LINCHPIN_MAXCLIENTS?";
        check("", &[("LINCHPIN_MAX_CLIENTS", "5")], "", unknown);
        check(
            "",
            &[],
            "--frobnicate 5",
            "--frobnicate: no setting has this name",
        );
        check(
            "",
            &[],
            "-p 5",
            "-p: is neither a setting (--name value) nor the one configuration file",
        );
        check(
            "",
            &[],
            "f g",
            "g: is neither a setting (--name value) nor the one configuration file",
        );
        check("", &[], "g", "g: cannot be read: entity not found");
        check("", &[], "--hz", "--hz: wrong number of arguments, got 0");
        check(
            "hz 1 2",
            &[],
            "f",
            "f:1: hz: wrong number of arguments, got 2",
        );
        let integer = "f:1: hz: argument couldn't be parsed into an integer, got `x`";
        check("hz x", &[], "f", integer);
        let flag = "LINCHPIN_PROTECTED_MODE: argument must be 'yes' or 'no', got `1`";
        check("", &[("LINCHPIN_PROTECTED_MODE", "1")], "", flag);
        let flag = "--activerehashing: argument must be 'yes' or 'no', got `maybe`";
        check("", &[], "--activerehashing maybe", flag);
        let tls = "--tls-port: tls-port is not supported: this version has no TLS; put a TLS \
                   proxy in front";
        check("", &[], "--tls-port 6380", tls);
        let exposed = "bind 0.0.0.0 would let anybody in: set requirepass, or protected-mode no \
                       if the network is trusted";
        check("", &[], "--bind 0.0.0.0", exposed);
        let forged = "f:1: no setting is called `a\\nb`";
        check("\"a\\nb\" 1", &[], "f", forged);
        let link = "this looks like a service link of Kubernetes, not like a setting: give the pod \
                    `enableServiceLinks: false`, or the service another name";
        for (name, value) in [
            ("LINCHPIN_PORT", "tcp://10.0.0.1:6379"),
            ("LINCHPIN_SERVICE_HOST", "10.0.0.1"),
        ] {
            check("", &[(name, value)], "", &format!("{name}: {link}"));
        }
    }

    #[test]
    fn secrets_are_in_no_line() {
        let long = "hunter2".repeat(3000);
        let long = [("LINCHPIN_REQUIREPASS", long.as_str())];
        let file = |file| Case {
            file,
            args: "f",
            ..Case::default()
        };
        for case in [
            file("requirepass hunter2 b"),
            file("requirepas hunter2"),
            file("requirepass \"hunter2"),
            file("masterauth hunter2"),
            file("tls-key-file-pass hunter2"),
            file("user default on >hunter2"),
            Case {
                args: "--requirepas=hunter2",
                ..Case::default()
            },
            Case {
                env: &long,
                ..Case::default()
            },
        ] {
            let error = case.load().expect_err("it is refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn arguments_that_are_not_text() {
        use std::os::unix::ffi::OsStringExt as _;
        let args = [
            OsString::from("--requirepass"),
            OsString::from_vec(b"hunter2\xff".to_vec()),
        ];
        let error = load(&args, &[], &|_| Ok(String::new())).expect_err("it is refused");
        assert_eq!(error.to_string(), "argument 2 is not valid UTF-8");
    }

    #[test]
    fn help_and_version() {
        for args in ["-h", "--help", "f --hz 1 --help"] {
            let startup = Case {
                args,
                ..Case::default()
            }
            .load();
            assert!(matches!(startup, Ok(Startup::Help(text)) if text.contains("--maxclients")));
        }
        for args in ["-v", "-V", "--version", "--hz x --version"] {
            let startup = Case {
                args,
                ..Case::default()
            }
            .load();
            assert!(matches!(startup, Ok(Startup::Version(text)) if text.ends_with("0\n")));
        }
    }

    #[test]
    fn warnings_say_what_does_not_happen() {
        let check = |file: &str, expect: &[&str]| {
            let (_, warnings) = Case {
                file,
                args: "f",
                ..Case::default()
            }
            .run();
            assert_eq!(warnings, expect, "{file}");
        };
        check("appendonly no\nsave 1 1\nmaxmemory 0\nport 1", &[]);
        check("daemonize yes\nDaemonize no", &[]);
        check(
            "notify-keyspace-events KEA",
            &[
                "f:1: notify-keyspace-events KEA has no effect: changes of keys are not \
               published",
            ],
        );
        check(
            "slowlog-log-slower-than 1\nslowlog-log-slower-than 2",
            &["f:2: slowlog-log-slower-than 2 has no effect: slow commands are not recorded"],
        );
        check(
            "rdbcompression yes\nactiverehashing no\nactiverehashing no\nlua-time-limit 5",
            &[
                "accepted without effect here: activerehashing, busy-reply-threshold, \
               rdbcompression",
            ],
        );
    }

    #[test]
    fn reload_applies_what_the_file_changed() {
        let case = |file| Case {
            file,
            args: "f",
            ..Case::default()
        };
        let (base, _) = case("hz 1\nmaxclients 5\nport 1\nset-max-intset-entries 7").run();
        let pairs = [(&b"maxclients"[..], &b"6"[..]), (b"timeout", b"3")];
        let (live, _) = base.set_many(&pairs).expect("both are live");

        let same = case("hz 1\nmaxclients 5\nport 1\nset-max-intset-entries 7");
        let same = same.reload(&base, &live).expect("nothing is wrong");
        assert_eq!(same.live, live);
        assert_eq!((same.changed, same.restart_needed), (vec![], vec![]));

        let reload = case("hz 2\nmaxclients 5\nport 2\nset-max-intset-entries 8");
        let reload = reload.reload(&base, &live).expect("nothing is wrong");
        assert_eq!(reload.changed, ["hz"]);
        assert_eq!(reload.restart_needed, ["port"]);
        let live = &reload.live;
        assert_eq!(
            (live.hz, live.maxclients, live.timeout_s, live.port),
            (2, 6, 3, 1)
        );
        assert_eq!(live.get("set-max-intset-entries").as_deref(), Some("8"));
        assert_eq!((reload.base.hz, reload.base.port), (2, 2));

        let gone = case("")
            .reload(&reload.base, live)
            .expect("nothing is wrong");
        assert_eq!((gone.live.hz, gone.live.maxclients), (10, 10_000));
        assert_eq!(
            gone.live.get("set-max-intset-entries").as_deref(),
            Some("512")
        );
    }

    #[test]
    fn reload_refuses_as_a_whole() {
        let case = |file| Case {
            file,
            args: "f",
            ..Case::default()
        };
        let (base, _) = case("requirepass a\nbind *").run();
        assert!(case("hz 2\nhz x").reload(&base, &base).is_err());
        assert!(case("bind *").reload(&base, &base).is_err());
        // The file is fine by itself, but the listener it forgot is still there.
        let error = case("")
            .reload(&base, &base)
            .expect_err("the server would be open");
        assert!(
            error.to_string().contains("would let anybody in"),
            "{error}"
        );
        let stdin = Case {
            args: "-",
            ..Case::default()
        };
        assert!(stdin.reload(&base, &base).is_err());
    }

    #[test]
    fn sources_are_bounded() {
        let text = |bytes: u64| read_bounded(io::repeat(b'#').take(bytes)).map(|text| text.len());
        assert!(text(FILE_BYTES_MAX).is_ok());
        assert!(text(FILE_BYTES_MAX + 1).is_err());
    }
}
