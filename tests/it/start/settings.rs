//! Settings from flags, variables, files and standard input, and which of them win.

use libtest_mimic::Failed;

use crate::Case;
use crate::client::{Client, check};
use crate::process::Launch;

pub(super) const CASES: &[Case] = &[
    ("defaults", defaults),
    ("flags_in_both_forms", flags),
    ("variables", variables),
    ("file_first", file),
    ("file_on_standard_input", standard_input),
    ("included_files", included),
    ("flags_win_over_variables_over_file", precedence),
    ("what_is_not_needed_warns", warnings),
    ("databases_bound_select", databases),
    ("dir_is_absolute", directory),
    ("disable_thp", huge_pages),
];

/// Fails unless the server that starts so has all of these settings.
fn expect_settings(launch: Launch, expected: &[(&str, &str)]) -> Result<(), Failed> {
    let server = launch.start()?;
    let mut client = Client::connect(server.port())?;
    for (name, value) in expected {
        let (name_len, value_len) = (name.len(), value.len());
        client.expect(
            &format!("CONFIG GET {name}"),
            &format!("*2 ${name_len} {name} ${value_len} {value}"),
        )?;
    }
    Ok(())
}

/// However it was written.
fn directory() -> Result<(), Failed> {
    for argument in [".", "./here/"] {
        let server = Launch::on_free_port(&["--dir", argument])?.start()?;
        let mut client = Client::connect(server.port())?;
        let reply = client.call("CONFIG GET dir")?;
        check(reply.contains(" /") && !reply.contains("/."), || {
            reply.clone()
        })?;
    }
    Ok(())
}

/// As the kernel sees the process; one that does not know of it says nothing.
fn huge_pages() -> Result<(), Failed> {
    for (flags, enabled) in [(&[][..], "0"), (&["--disable-thp", "no"][..], "1")] {
        let server = Launch::on_free_port(flags)?.start()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
        let mut lines = status.lines();
        if let Some(line) = lines.find_map(|line| line.strip_prefix("THP_enabled:")) {
            check(line.trim() == enabled, || format!("{flags:?}: {line}"))?;
        }
    }
    Ok(())
}

fn defaults() -> Result<(), Failed> {
    expect_settings(
        Launch::new(&["--port", "0"])?,
        &[
            ("bind", "127.0.0.1 -::1"),
            ("unixsocket", ""),
            ("unixsocketperm", "0"),
            ("databases", "16"),
            ("timeout", "0"),
            ("tcp-keepalive", "60"),
            ("tcp-backlog", "511"),
            ("requirepass", ""),
            ("protected-mode", "yes"),
            ("client-query-buffer-limit", "134217728"),
            (
                "client-output-buffer-limit",
                "normal 268435456 67108864 60 slave 268435456 67108864 60 \
                 pubsub 33554432 8388608 60",
            ),
            ("proto-max-bulk-len", "67108864"),
            ("loglevel", "notice"),
            ("logfile", ""),
            ("log-format", "text"),
            ("hz", "10"),
            ("active-expire-effort", "1"),
            ("lazyfree-lazy-eviction", "no"),
            ("lazyfree-lazy-expire", "no"),
            ("lazyfree-lazy-server-del", "no"),
            ("lazyfree-lazy-user-del", "no"),
            ("lazyfree-lazy-user-flush", "no"),
            ("maxmemory", "0"),
            ("save", ""),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            ("auto-aof-rewrite-percentage", "100"),
            ("auto-aof-rewrite-min-size", "67108864"),
            ("journal-backlog-limit", "67108864"),
        ],
    )
}

fn flags() -> Result<(), Failed> {
    expect_settings(
        Launch::on_free_port(&[
            "--timeout",
            "7",
            "--hz=20",
            "--CLIENT-OUTPUT-BUFFER-LIMIT",
            "normal",
            "1mb",
            "512kb",
            "5",
            "--requirepass=",
            "--databases",
            "3",
            "--databases",
            "4",
        ])?,
        &[
            ("timeout", "7"),
            ("hz", "20"),
            (
                "client-output-buffer-limit",
                "normal 1048576 524288 5 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            ),
            ("databases", "4"),
        ],
    )
}

fn variables() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&[])?
        .variable("LINCHPIN_TIMEOUT", "11")
        .variable("LINCHPIN_PROTO_MAX_BULK_LEN", "2mb")
        .variable("LINCHPIN_CLIENT_OUTPUT_BUFFER_LIMIT", "pubsub 0 0 0")
        .variable("LINCHPINTIMEOUT", "another program's");
    expect_settings(
        launch,
        &[
            ("timeout", "11"),
            ("proto-max-bulk-len", "2097152"),
            (
                "client-output-buffer-limit",
                "normal 268435456 67108864 60 slave 268435456 67108864 60 pubsub 0 0 0",
            ),
        ],
    )
}

const FILE: &str = "# A comment.\n\nport 0\nbind 127.0.0.1\n  TIMEOUT   12  \nhz \"15\"\r\n";

fn file() -> Result<(), Failed> {
    let launch = Launch::new(&["linchpin.conf", "--tcp-keepalive", "9"])?;
    let expected = [("timeout", "12"), ("hz", "15"), ("tcp-keepalive", "9")];
    expect_settings(launch.file("linchpin.conf", FILE)?, &expected)
}

fn standard_input() -> Result<(), Failed> {
    let launch = Launch::new(&["-", "--tcp-keepalive", "9"])?.input(FILE);
    let expected = [("timeout", "12"), ("hz", "15"), ("tcp-keepalive", "9")];
    expect_settings(launch, &expected)
}

/// What stands behind an `include` wins over what it includes.
fn included() -> Result<(), Failed> {
    let launch = Launch::new(&["linchpin.conf"])?
        .file(
            "linchpin.conf",
            "port 0\nbind 127.0.0.1\ntimeout 1\nhz 11\ninclude more.conf\nhz 13\nsave 60 1000\n",
        )?
        .file("more.conf", "timeout 2\nhz 12\ninclude most.conf\n")?
        .file("most.conf", "tcp-keepalive 3\nsave 900 1\nsave 300 10\n")?;
    let expected = [
        ("timeout", "2"),
        ("hz", "13"),
        ("tcp-keepalive", "3"),
        ("save", "900 1 300 10 60 1000"),
    ];
    expect_settings(launch, &expected)
}

fn precedence() -> Result<(), Failed> {
    let launch = Launch::new(&["linchpin.conf", "--timeout", "3"])?
        .file(
            "linchpin.conf",
            "port 0\nbind 127.0.0.1\ntimeout 1\nhz 11\ntcp-keepalive 21\n",
        )?
        .variable("LINCHPIN_TIMEOUT", "2")
        .variable("LINCHPIN_HZ", "12");
    let expected = [("timeout", "3"), ("hz", "12"), ("tcp-keepalive", "21")];
    expect_settings(launch, &expected)
}

/// Each absent feature that was asked for has a line of its own, mere knobs share one; a directive
/// set to what is the case anyway is nothing to speak of.
fn warnings() -> Result<(), Failed> {
    let launch = Launch::on_free_port(&[
        "--notify-keyspace-events",
        "KEA",
        "--rdbcompression",
        "no",
        "--activerehashing",
        "no",
        "--daemonize",
        "no",
    ])?;
    let server = launch.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect(
        "CONFIG GET notify-keyspace-events",
        "*2 $22 notify-keyspace-events $0 ",
    )?;
    let line = server.log_line("notify-keyspace-events KEA has no effect")?;
    check(line.contains("WARN"), || line)?;
    server.log_line("accepted without effect here: activerehashing, rdbcompression")?;
    let log = server.log().join("\n");
    check(!log.contains("daemonize"), || log.clone())?;
    client.expect("CONFIG SET notify-keyspace-events \"\"", "+OK")?;
    let refusal = client.call("CONFIG SET notify-keyspace-events KEA")?;
    check(refusal.starts_with("-ERR CONFIG SET failed"), || refusal)
}

fn databases() -> Result<(), Failed> {
    let server = Launch::on_free_port(&["--databases", "2"])?.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SELECT 1", "+OK")?;
    client.expect("SELECT 2", "-ERR DB index is out of range")
}
