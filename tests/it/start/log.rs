//! The log: where it goes, its forms and levels, and what must never stand in it.

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, REPLY_MAX, check, eventually};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[
    ("json_lines_are_json", json),
    ("secrets_are_never_in_it", secrets),
    ("loglevel_changes_while_running", level),
    ("a_file_may_be_moved_away", moved),
    ("warnings_in_a_file_are_pointed_to", pointer),
];

/// Opens a connection and ends it, which is a line at loglevel `debug`; answers its number.
fn come_and_go(server: &Server) -> Result<String, Failed> {
    let mut client = Client::connect(server.port())?;
    let id = client.number("CLIENT ID")?;
    client.expect("QUIT", "+OK")?;
    client.expect_end()?;
    Ok(format!("client_id={id}"))
}

fn json() -> Result<(), Failed> {
    let mut server = Launch::on_free_port(&[
        "--log-format",
        "json",
        "--loglevel",
        "debug",
        "--crash-log-enabled",
        "yes",
    ])?
    .start()?;
    Client::connect(server.port())?.expect("ECHO \"a\\\"b\\n\"", "$4 a\"b\\n")?;
    Client::connect(server.port())?.send_raw(b"\"\xff\r\n")?;
    come_and_go(&server)?;
    server.signal(Signal::HUP)?;
    server.log_line("configuration read again")?;
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(REPLY_MAX)?;
    check(exit.stderr.len() >= 4, || format!("{exit:?}"))?;
    for line in &exit.stderr {
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        for field in ["timestamp", "level", "message"] {
            check(value[field].is_string(), || format!("no {field} in {line}"))?;
        }
    }
    Ok(())
}

/// Everything that holds a secret is sent, well formed and not, and none of it is logged.
fn secrets() -> Result<(), Failed> {
    let launch = Launch::new(&["linchpin.conf"])?.file(
        "linchpin.conf",
        "port 0\nbind 127.0.0.1\nloglevel debug\nrequirepass hunter1\n",
    )?;
    let mut server = launch.start()?;
    let mut client = Client::connect(server.port())?;
    for line in [
        "AUTH hunter2",
        "AUTH hunter2 hunter3 hunter4",
        "AUTH default hunter5",
        "HELLO 3 AUTH default hunter6",
        "HELLO 9 AUTH default hunter7",
        "hunter8 hunter9",
        "AUTH hunter1",
        "HELLO 3 AUTH default hunter1 SETNAME hunter10",
        "SET hunter11 hunter12",
        "CONFIG SET requirepass hunter13 hz hunter14",
        "CONFIG SET requirepass hunter13",
        "MULTI",
        "AUTH hunter13",
        "EXEC",
        "GET hunter11 hunter15",
        "CLIENT KILL ID 1 hunter16",
    ] {
        client.call(line)?;
    }
    client.send_raw(b"hunter17 \"hunter18\r\n")?;
    client.replies_to_end()?;
    server.home().write(
        "linchpin.conf",
        "port 0\nbind 127.0.0.1\nloglevel debug\nrequirepass hunter19\n",
    )?;
    server.signal(Signal::HUP)?;
    server.log_line("changed: requirepass")?;
    server.home().write(
        "linchpin.conf",
        "port 0\nbind 127.0.0.1\nrequirepass \"hunter20\n",
    )?;
    server.signal(Signal::HUP)?;
    server.log_line("configuration not changed")?;
    server
        .home()
        .write("linchpin.conf", "requirepass hunter21 hunter22\n")?;
    server.signal(Signal::HUP)?;
    server.log_line("wrong number of arguments")?;
    server.signal(Signal::TERM)?;
    let exit = server.exit_within(REPLY_MAX)?;
    let told = exit.stderr.iter().find(|line| line.contains("hunter"));
    check(told.is_none(), || format!("{told:?}"))
}

fn level() -> Result<(), Failed> {
    let server = Launch::on_free_port(&[])?.start()?;
    let mut client = Client::connect(server.port())?;
    let quiet = come_and_go(&server)?;
    client.expect("CONFIG SET loglevel debug", "+OK")?;
    let loud = come_and_go(&server)?;
    server.log_line(&loud)?;
    let log = server.log().join("\n");
    check(!log.contains(&quiet), || log)?;
    client.expect("CONFIG SET loglevel nothing", "+OK")?;
    let quiet = come_and_go(&server)?;
    client.expect("CONFIG SET loglevel verbose", "+OK")?;
    let loud = come_and_go(&server)?;
    server.log_line(&loud)?;
    let log = server.log().join("\n");
    check(!log.contains(&quiet), || log)
}

/// Whoever starts the server by hand looks at its standard error.
fn pointer() -> Result<(), Failed> {
    for (arguments, settings) in [
        (&["--activerehashing", "no"][..], "1 setting has"),
        (
            &[
                "--lazyfree-lazy-expire",
                "yes",
                "--hll-sparse-max-bytes",
                "9",
            ],
            "2 settings have",
        ),
    ] {
        let all = [&["--logfile", "server.log"], arguments].concat();
        let server = Launch::on_free_port(&all)?.start()?;
        server.log_line(&format!("{settings} no effect; see server.log"))?;
        let log = server.home().read("server.log")?;
        check(log.contains("accepted without effect"), || log)?;
    }
    Ok(())
}

/// As log rotation does it: the next line makes the file anew.
fn moved() -> Result<(), Failed> {
    let arguments = ["--logfile", "server.log", "--loglevel", "debug"];
    let server = Launch::on_free_port(&arguments)?.start()?;
    let home = server.home().path();
    let expect_line = |text: &str| {
        eventually(text, REPLY_MAX, || {
            let log = server.home().read("server.log").unwrap_or_default();
            Ok(log.contains(text).then_some(()))
        })
    };
    let first = come_and_go(&server)?;
    expect_line(&first)?;
    std::fs::rename(home.join("server.log"), home.join("server.log.1"))?;
    let second = come_and_go(&server)?;
    expect_line(&second)?;
    check(server.log().is_empty(), || server.log().join("\n"))
}
