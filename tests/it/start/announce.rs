//! What the server prints when it starts, and that it serves from then on.

use std::net::TcpListener;
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, REPLY_MAX, check, eventually};
use crate::process::Launch;

pub(super) const CASES: &[Case] = &[
    ("one_line_on_standard_output", one_line),
    ("both_loopbacks_with_one_free_port", both_loopbacks),
    ("help", help),
    ("help_that_nobody_reads", help_unread),
    ("version", version),
    ("workers_as_io_threads_says", workers),
    ("goes_on_when_nobody_reads_its_output", unheard),
];

/// The line of a server on `port`.
fn ready_line(port: u16, pid: u32) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("Server running at 127.0.0.1:{port} (linchpin-server {version}, pid {pid})")
}

fn one_line() -> Result<(), Failed> {
    let mut server = Launch::new(&["--port", "0"])?.start()?;
    let expected = ready_line(server.port(), server.pid());
    Client::connect(server.port())?.expect("PING", "+PONG")?;
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(Duration::from_secs(5))?;
    check(exit.code == Some(0) && exit.stdout == [expected], || {
        format!("{exit:?}")
    })
}

fn both_loopbacks() -> Result<(), Failed> {
    let server = Launch::new(&["--port", "0"])?.start()?;
    let mut v4 = Client::connect(server.port())?;
    v4.expect("PING", "+PONG")?;
    if TcpListener::bind("[::1]:0").is_err() {
        return Ok(());
    }
    let mut v6 = Client::connect_to(("::1", server.port()))?;
    v6.expect("SET k v6", "+OK")?;
    v4.expect("GET k", "$2 v6")
}

fn help() -> Result<(), Failed> {
    for flag in ["--help", "-h"] {
        let exit = Launch::new(&[flag])?.run()?;
        check(exit.code == Some(0) && exit.stderr.is_empty(), || {
            format!("{exit:?}")
        })?;
        for word in ["Usage:", "  --port ", "  --requirepass ", "LINCHPIN_"] {
            let is_there = exit.stdout.iter().any(|line| line.contains(word));
            check(is_there, || format!("no {word:?} in {exit:?}"))?;
        }
    }
    // It wins over whatever else is wrong.
    let exit = Launch::new(&["--port", "abc", "--help"])?.run()?;
    check(exit.code == Some(0), || format!("{exit:?}"))
}

/// A pager may leave before it has read everything.
fn help_unread() -> Result<(), Failed> {
    let exit = Launch::new(&["--help"])?.unheard().run()?;
    check(exit.code == Some(0), || format!("{exit:?}"))
}

fn version() -> Result<(), Failed> {
    let line = format!("linchpin-server {}", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V", "-v"] {
        let exit = Launch::new(&[flag])?.run()?;
        check(
            exit.code == Some(0) && exit.stderr.is_empty() && exit.stdout == [line.as_str()],
            || format!("{exit:?}"),
        )?;
    }
    Ok(())
}

fn workers() -> Result<(), Failed> {
    for count in ["1", "4"] {
        let server = Launch::on_free_port(&["--io-threads", count])?.start()?;
        let mut client = Client::connect(server.port())?;
        client.expect(
            "CONFIG GET io-threads",
            &format!("*2 $10 io-threads $1 {count}"),
        )?;
        let named = client.info_field("worker_threads")?.to_string();
        check(named == count, || named)?;
        // A thread takes its name once it runs.
        eventually(&format!("{count} workers"), REPLY_MAX, || {
            let mut threads = 0;
            for task in std::fs::read_dir(format!("/proc/{}/task", server.pid()))? {
                let name = std::fs::read_to_string(task?.path().join("comm"))?;
                threads += usize::from(name.starts_with("worker-"));
            }
            Ok((threads.to_string() == count).then_some(()))
        })?;
    }
    Ok(())
}

/// A log pipe whose reader has gone, as behind `| head`: the server loses its words, not its life.
fn unheard() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&["--loglevel", "debug", "--crash-log-enabled", "yes"])?;
    let mut server = launch.unheard().start()?;
    let mut client = Client::connect(server.port())?;
    for _ in 0..10 {
        // Each end of a connection is a line of the log.
        Client::connect(server.port())?.expect("QUIT", "+OK")?;
    }
    server.signal(Signal::HUP)?;
    client.expect("PING", "+PONG")?;
    let panics = client.info_field("connection_panics")?;
    check(panics == 0, || format!("{panics} panics"))?;
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(Duration::from_secs(5))?;
    check(exit.code == Some(0), || format!("{exit:?}"))
}
