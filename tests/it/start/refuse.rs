//! Starts that are refused: one line that says what is wrong, and an exit code of sysexits.h.

use std::net::TcpListener;

use libtest_mimic::Failed;

use crate::Case;
use crate::client::check;
use crate::process::Launch;

pub(super) const CASES: &[Case] = &[
    ("unknown_names_with_the_nearest", unknown_names),
    ("bad_values", bad_values),
    ("bad_files", bad_files),
    ("bad_variables", bad_variables),
    ("open_to_others_without_a_password", open_to_others),
    ("features_that_would_be_missed", missing_features),
    ("a_password_is_not_shown", password_not_shown),
    ("a_port_that_is_taken", port_taken),
    ("a_log_file_that_cannot_be_written", log_file),
    ("an_address_that_is_not_here", foreign_address),
];

/// Fails unless the start ends with `code` and one line, which holds all of `words`.
fn expect_refusal(launch: Launch, code: i32, words: &[&str]) -> Result<String, Failed> {
    let exit = launch.run()?;
    let is_one_line = exit.stdout.is_empty() && exit.stderr.len() == 1;
    check(exit.code == Some(code) && is_one_line, || {
        format!("not {code} and one line: {exit:?}")
    })?;
    let line = exit.stderr.concat();
    for word in [&["linchpin-server: "], words].concat() {
        check(line.contains(word), || format!("no {word:?} in {line:?}"))?;
    }
    Ok(line)
}

fn expect_refusals(cases: &[(&[&str], &[&str])]) -> Result<(), Failed> {
    for (arguments, words) in cases {
        expect_refusal(Launch::on_free_port(arguments)?, 64, words)?;
    }
    Ok(())
}

fn unknown_names() -> Result<(), Failed> {
    expect_refusals(&[
        (&["--prot", "1"], &["--prot: ", "did you mean `--port`?"]),
        (&["--max-clients=5"], &["did you mean `--maxclients`?"]),
        (&["--appendonli", "no"], &["did you mean `--appendonly`?"]),
        (&["--wholly-unlike-any", "x"], &["no setting has this name"]),
        (&["--", "x"], &["no setting has this name"]),
    ])?;
    let launch = Launch::new(&["linchpin.conf"])?.file("linchpin.conf", "port 0\nmaxclient 5\n")?;
    let words = [
        "linchpin.conf:2: ",
        "`maxclient`",
        "did you mean `maxclients`?",
    ];
    expect_refusal(launch, 64, &words)?;
    let launch = Launch::on_free_port(&[])?.variable("LINCHPIN_MAX_CLIENTS", "5");
    let words = [
        "LINCHPIN_MAX_CLIENTS: ",
        "did you mean LINCHPIN_MAXCLIENTS?",
    ];
    expect_refusal(launch, 64, &words).map(drop)
}

fn bad_values() -> Result<(), Failed> {
    expect_refusals(&[
        (&["--port", "abc"], &["--port: ", "got `abc`"]),
        (&["--port", "65536"], &["--port: ", "got `65536`"]),
        (&["--port", "-1"], &["--port: ", "got `-1`"]),
        (&["--port"], &["--port: "]),
        (&["--port", "1", "2"], &["--port: "]),
        (&["--loglevel", "loud"], &["--loglevel: ", "notice"]),
        (&["--log-format=xml"], &["--log-format: ", "json"]),
        (&["--maxclients", "0"], &["--maxclients: "]),
        (&["--databases", "0"], &["--databases: "]),
        (&["--io-threads", "129"], &["--io-threads: ", "128"]),
        (&["--protected-mode", "maybe"], &["--protected-mode: "]),
        (
            &["--proto-max-bulk-len", "1kb"],
            &["--proto-max-bulk-len: "],
        ),
        (
            &["--client-query-buffer-limit", "64mb"],
            &["at least 1 MiB above proto-max-bulk-len"],
        ),
        (
            &["--client-output-buffer-limit", "normal", "0"],
            &["--client-output-buffer-limit: "],
        ),
        (&["--bind", ""], &["nothing to listen on"]),
    ])
}

fn bad_files() -> Result<(), Failed> {
    let missing = Launch::new(&["missing.conf"])?;
    expect_refusal(missing, 64, &["missing.conf: cannot be read"])?;
    let two = Launch::new(&["a.conf", "b.conf"])?.file("a.conf", "")?;
    expect_refusal(two.file("b.conf", "")?, 64, &["b.conf"])?;
    for (text, words) in [
        ("port \"0\n", ["linchpin.conf:1: ", "quotes"]),
        ("port 0\nport\n", ["linchpin.conf:2: ", "port"]),
        ("include missing.conf\n", ["missing.conf", "cannot be read"]),
        ("include linchpin.conf\n", ["linchpin.conf:1: ", "deeper"]),
        ("include *.conf\n", ["linchpin.conf:1: ", "pattern"]),
    ] {
        let launch = Launch::new(&["linchpin.conf"])?.file("linchpin.conf", text)?;
        expect_refusal(launch, 64, &words)?;
    }
    expect_refusal(Launch::new(&["-"])?.input("prt 1\n"), 64, &["-:1: "]).map(drop)
}

fn bad_variables() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&[])?.variable("LINCHPIN_HZ", "fast");
    expect_refusal(launch, 64, &["LINCHPIN_HZ: ", "got `fast`"])?;
    let launch = Launch::on_free_port(&[])?.variable("LINCHPIN_PORT", "tcp://10.0.0.1:6379");
    expect_refusal(launch, 64, &["LINCHPIN_PORT: ", "enableServiceLinks"]).map(drop)
}

fn open_to_others() -> Result<(), Failed> {
    for address in ["0.0.0.0", "*", "::", "192.0.2.1"] {
        let launch = Launch::new(&["--port", "0", "--bind", "127.0.0.1", address])?;
        expect_refusal(launch, 64, &["requirepass", "protected-mode no", address])?;
    }
    for trusted in [["--requirepass", "pw"], ["--protected-mode", "no"]] {
        let arguments = [&["--port", "0", "--bind", "0.0.0.0"], &trusted[..]].concat();
        Launch::new(&arguments)?.start()?;
    }
    Ok(())
}

fn missing_features() -> Result<(), Failed> {
    expect_refusals(&[
        (&["--cluster-enabled", "yes"], &["cluster-enabled"]),
        (&["--replicaof", "127.0.0.1", "6379"], &["replicaof"]),
        (&["--tls-port", "6380"], &["tls-port"]),
        (&["--aclfile", "users.acl"], &["aclfile"]),
        (&["--masterauth", "hunter2"], &["masterauth"]),
    ])
}

fn password_not_shown() -> Result<(), Failed> {
    let too_long = "hunter2".repeat(2_500);
    for arguments in [
        &["--requirepass", &too_long][..],
        &["--requirepass", "hunter2", "hunter2"],
        &["--require-pass", "hunter2"],
        &["--requirepas=hunter2"],
        &["--masterauth", "hunter2"],
    ] {
        let line = expect_refusal(Launch::on_free_port(arguments)?, 64, &[])?;
        check(!line.contains("hunter2"), || line.clone())?;
    }
    Ok(())
}

fn port_taken() -> Result<(), Failed> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let launch = Launch::new(&["--port", &port])?;
    let address = format!("127.0.0.1:{port} is taken");
    expect_refusal(launch, 69, &[&address])?;
    // However many free ports are drawn, none is free twice.
    let launch = Launch::new(&["--port", "0", "--bind", "127.0.0.1", "127.0.0.1"])?;
    expect_refusal(launch, 69, &["127.0.0.1:", " is taken"])?;
    // `-` forgives an address that is not there, but not one that somebody else has.
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        return Ok(());
    };
    let port = taken.local_addr()?.port().to_string();
    let launch = Launch::new(&["--port", &port])?;
    let address = format!(":{port} is taken");
    expect_refusal(launch, 69, &[&address]).map(drop)
}

fn log_file() -> Result<(), Failed> {
    for path in [".", "missing/folder.log"] {
        let launch = Launch::on_free_port(&["--logfile", path])?;
        expect_refusal(launch, 73, &["cannot write the log file", path])?;
    }
    Ok(())
}

/// An address of the block for documentation, which no machine has.
fn foreign_address() -> Result<(), Failed> {
    let arguments = ["--port", "0", "--protected-mode", "no", "--bind"];
    let launch = Launch::new(&[&arguments[..], &["192.0.2.1"]].concat())?;
    expect_refusal(launch, 69, &["cannot listen on 192.0.2.1"])?;
    let optional = [&arguments[..], &["-192.0.2.1", "127.0.0.1"]].concat();
    Launch::new(&optional)?.start().map(drop)?;
    let launch = Launch::new(&[&arguments[..], &["-192.0.2.1"]].concat())?;
    expect_refusal(launch, 69, &["cannot listen on -192.0.2.1"]).map(drop)
}
