//! The `linchpin-server` binary: flags, configuration, run; exit codes as sysexits.h has them.

#[cfg(not(loom))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(loom))]
fn main() -> std::process::ExitCode {
    give_memory_back_at_once();
    server::main()
}

/// Lets the allocator return free memory to the system when it becomes free. It waits a second by
/// default, and then for somebody to allocate: a server that was flushed and has nothing to do
/// would keep all it had. Measured on values of 2 to 300 KB the returning costs nothing.
#[cfg(not(loom))]
#[allow(unsafe_code)]
fn give_memory_back_at_once() {
    /// `mi_option_purge_delay` of `mimalloc.h`, in milliseconds; the crate leaves it out.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = libmimalloc_sys::mi_option_use_numa_nodes - 1;
    /// What it is unless the environment says otherwise. No option near it begins with this.
    const PURGE_DELAY_DEFAULT_MS: std::ffi::c_long = 1_000;
    // SAFETY: the call writes one number into a table of the allocator's own, and checks the index.
    // No other thread has been started. A wrong index would set another of its options.
    unsafe {
        debug_assert!(
            std::env::var_os("MIMALLOC_PURGE_DELAY").is_some()
                || libmimalloc_sys::mi_option_get(PURGE_DELAY) == PURGE_DELAY_DEFAULT_MS,
            "this is another option"
        );
        libmimalloc_sys::mi_option_set(PURGE_DELAY, 0);
    }
}

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
mod server {
    use linchpin_server::config::{self, Settings, Sources, Startup};
    use linchpin_server::journal::{self, disk::RealDisk, error::Error};
    use linchpin_server::{net, observe};
    use std::ffi::OsString;
    use std::io::{self, IsTerminal, Write};
    use std::path::Path;
    use std::process::ExitCode;
    use std::thread::available_parallelism;

    pub(crate) fn main() -> ExitCode {
        let args: Vec<OsString> = std::env::args_os().skip(1).collect();
        let env: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        match config::load(&args, &env, &config::read_source) {
            Ok(Startup::Help(text) | Startup::Version(text)) => {
                match say(text.trim_end()) {
                    // Who reads only the beginning has read enough.
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
                    _ => ExitCode::SUCCESS,
                }
            }
            Ok(Startup::Run {
                settings,
                warnings,
                ineffective,
                file,
            }) => {
                let sources = Sources {
                    args: &args,
                    env: &env,
                    read_file: &config::read_source,
                };
                if let (1.., Some(path)) = (ineffective, &settings.logfile) {
                    point_to_warnings(ineffective, path);
                }
                run(*settings, &warnings, file, sources)
            }
            Ok(Startup::Check { dir, repair }) => check(&dir, repair),
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    /// A line on standard output.
    fn say(line: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{line}")
    }

    /// A line on standard error, if anybody listens.
    fn complain(error: &dyn std::fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "linchpin-server: {error}");
    }

    /// Looks through a data directory, and mends it if told to. The exit code says what came of it,
    /// also where nobody takes the lines.
    fn check(dir: &Path, repair: bool) -> ExitCode {
        let checked = RealDisk::open(dir)
            .map_err(|source| Error::io(&dir.display().to_string(), source))
            .and_then(|disk| journal::check::check(&disk, repair));
        match checked {
            Ok(report) => {
                let _ = report
                    .findings
                    .iter()
                    .try_for_each(|finding| say(&finding.to_string()));
                ExitCode::from(report.exit_code())
            }
            Err(error) => {
                complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn run(
        settings: Settings,
        warnings: &[String],
        config_file: Option<std::path::PathBuf>,
        sources: Sources<'_>,
    ) -> ExitCode {
        if let Err(error) = observe::log::start(&settings) {
            let path = settings.logfile.as_deref().unwrap_or("".as_ref()).display();
            complain(&format_args!("cannot write the log file {path}: {error}"));
            return ExitCode::from(73);
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if settings.disable_thp
            && let Err(error) = rustix::thread::disable_transparent_huge_pages(true)
        {
            tracing::warn!(%error, "disable-thp: the system refused; growing may stall clients");
        }
        let cores = available_parallelism().map_or(1, usize::from);
        let workers = settings.io_threads.map_or(cores, |n| n.max(1) as usize);
        if io::stdout().is_terminal() {
            banner(workers);
        }
        let on_ready = |place: &str| {
            let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
            let line = format!("Server running at {place} (linchpin-server {version}, pid {pid})");
            if let Err(error) = say(&line) {
                tracing::warn!(%error, "standard output cannot be written; {line}");
            }
        };
        let start = net::Start {
            settings,
            config_file,
            workers,
            sources,
            on_ready: &on_ready,
        };
        match net::run(start) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    /// Warnings are in the log; whoever starts the server may look only here.
    fn point_to_warnings(ineffective: usize, logfile: &Path) {
        let logfile = logfile.display();
        let (settings, have) = if ineffective == 1 {
            ("setting", "has")
        } else {
            ("settings", "have")
        };
        complain(&format_args!(
            "{ineffective} {settings} {have} no effect; see {logfile}"
        ));
    }

    /// For people at a terminal.
    fn banner(workers: usize) {
        // Nobody needs it so much that its loss should be told.
        let _ = say(&format!(
            "Linchpin {}: distributed primitives behind the Redis protocol, {workers} workers.\n\
             Try: redis-cli set greeting hello EX 60. Stop with Ctrl-C.",
            env!("CARGO_PKG_VERSION")
        ));
    }
}
