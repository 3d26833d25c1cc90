//! SIGHUP: the configuration is read again while the server runs.

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};

pub(super) const CASES: &[Case] = &[
    ("what_is_live_takes_effect", live),
    ("what_needs_a_restart_is_named", restart_needed),
    ("a_broken_file_changes_nothing", broken_file),
    ("config_set_survives_what_did_not_change", config_set),
    ("flags_still_win", flags),
    ("without_a_file_it_is_harmless", no_file),
];

const BASE: &str = "port 0\nbind 127.0.0.1\n";

fn server(text: &str, arguments: &[&str]) -> Result<Server, String> {
    Launch::new(&["linchpin.conf"])?
        .arguments(arguments)
        .file("linchpin.conf", &format!("{BASE}{text}"))?
        .start()
}

/// Replaces the file, sends the signal and waits for the line of the log that holds `said`.
fn reload(server: &Server, text: &str, said: &str) -> Result<String, Failed> {
    server
        .home()
        .write("linchpin.conf", &format!("{BASE}{text}"))?;
    server.signal(Signal::HUP)?;
    Ok(server.log_line(said)?)
}

fn live() -> Result<(), Failed> {
    let server = server("", &[])?;
    let mut before = Client::connect(server.port())?;
    before.expect("PING", "+PONG")?;
    let text = "maxclients 2\nrequirepass secret\ntimeout 100\n";
    let line = reload(&server, text, "configuration read again")?;
    for name in ["maxclients", "requirepass", "timeout"] {
        check(line.contains(name), || line.clone())?;
    }
    check(!line.contains("secret"), || line.clone())?;
    // Who is in stays in.
    before.expect("CONFIG GET timeout", "*2 $7 timeout $3 100")?;
    before.expect("CONFIG GET maxclients", "*2 $10 maxclients $1 2")?;
    let mut after = Client::connect(server.port())?;
    after.expect("GET k", "-NOAUTH Authentication required.")?;
    after.expect("AUTH secret", "+OK")?;
    let refused = Client::connect(server.port())?.receive()?.lines().concat();
    check(refused == "-ERR max number of clients reached", || refused)?;
    reload(&server, "", "changed: maxclients, requirepass, timeout")?;
    drop(after);
    eventually("defaults again", crate::client::REPLY_MAX, || {
        let text = before.call("CONFIG GET requirepass")?;
        Ok((text == "*2 $11 requirepass $0 ").then_some(()))
    })?;
    Client::connect(server.port())?.expect("PING", "+PONG")
}

fn restart_needed() -> Result<(), Failed> {
    let server = server("", &[])?;
    let text = "databases 4\nio-threads 3\nhz 50\n";
    let line = reload(&server, text, "need a restart: ")?;
    check(
        line.ends_with("need a restart: databases, io-threads"),
        || line,
    )?;
    server.log_line("changed: hz")?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG GET databases", "*2 $9 databases $2 16")?;
    client.expect("CONFIG GET hz", "*2 $2 hz $2 50")
}

fn broken_file() -> Result<(), Failed> {
    let server = server("timeout 5\n", &[])?;
    let mut client = Client::connect(server.port())?;
    for (text, said) in [
        ("timeout 6\nhz fast\n", "linchpin.conf:4: hz"),
        ("timeout 6\ntimeot 7\n", "did you mean `timeout`"),
        ("timeout 6\nmaxclients \"1\n", "quotes"),
        ("timeout 6\nbind 0.0.0.0\n", "would let anybody in"),
    ] {
        let line = reload(&server, text, said)?;
        check(line.contains("configuration not changed"), || line)?;
        client.expect("CONFIG GET timeout", "*2 $7 timeout $1 5")?;
    }
    std::fs::remove_file(server.home().path().join("linchpin.conf"))?;
    server.signal(Signal::HUP)?;
    server.log_line("linchpin.conf: cannot be read")?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $1 5")?;
    reload(&server, "timeout 8\n", "changed: timeout")?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $1 8")
}

fn config_set() -> Result<(), Failed> {
    let server = server("timeout 5\n", &[])?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG SET timeout 77 hz 33", "+OK")?;
    reload(&server, "timeout 5\nmaxclients 9\n", "changed: maxclients")?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $2 77")?;
    client.expect("CONFIG GET hz", "*2 $2 hz $2 33")?;
    reload(&server, "timeout 6\nmaxclients 9\n", "changed: timeout")?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $1 6")
}

fn flags() -> Result<(), Failed> {
    let server = server("", &["--timeout", "5"])?;
    reload(&server, "timeout 6\nhz 20\n", "changed: hz")?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $1 5")
}

fn no_file() -> Result<(), Failed> {
    let server = Launch::on_free_port(&[])?.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG SET timeout 77", "+OK")?;
    server.signal(Signal::HUP)?;
    server.log_line("configuration read again")?;
    client.expect("CONFIG GET timeout", "*2 $7 timeout $2 77")?;
    let server = Launch::new(&["-"])?.input(BASE).start()?;
    server.signal(Signal::HUP)?;
    server.log_line("settings from standard input cannot be read again")?;
    Client::connect(server.port())?.expect("PING", "+PONG")
}
