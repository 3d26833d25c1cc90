//! The Unix socket: beside TCP or alone, its permissions, its file at the start and at the end.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, REPLY_MAX, check};
use crate::process::{Launch, TempDir, port_free};

pub(super) const CASES: &[Case] = &[
    ("alone_with_its_permissions", serves),
    ("beside_tcp", beside_tcp),
    ("its_file_goes_at_the_end", goes),
    ("a_stale_file_is_replaced", stale),
    ("one_in_use_is_refused", in_use),
    ("another_file_is_left_alone", other_file),
];

/// What the socket at `path` answers to PING.
fn ping(path: &Path) -> Result<(), Failed> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(REPLY_MAX))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    check(reply == *b"+PONG\r\n", || format!("{reply:?}"))
}

fn launch(path: &Path) -> Result<Launch, String> {
    let path = path.to_str().ok_or("a path that is not UTF-8")?;
    Launch::on_free_port(&["--unixsocket", path, "--unixsocketperm", "700"])
}

fn serves() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let path = folder.path().join("socket");
    let mut server = launch(&path)?.start()?;
    ping(&path)?;
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    check(mode == 0o700, || format!("{mode:o}"))?;
    server.signal(Signal::TERM)?;
    let line = server.exit_within(Duration::from_secs(5))?.stdout.concat();
    let expected = format!("Server running at {} (linchpin-server ", path.display());
    check(line.starts_with(&expected), || line.clone())
}

/// `port 0` would mean the socket alone, so the port is one that was free a moment ago.
fn beside_tcp() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let path = folder.path().join("socket");
    let start = || {
        let port = port_free()?.to_string();
        launch(&path)?.arguments(&["--port", &port]).start()
    };
    let server = start().or_else(|_| start())?;
    ping(&path)?;
    Client::connect(server.port())?.expect("PING", "+PONG")
}

fn goes() -> Result<(), Failed> {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new()?;
        let path = folder.path().join("socket");
        let mut server = launch(&path)?.start()?;
        let _idle = UnixStream::connect(&path)?;
        ping(&path)?;
        server.signal(signal)?;
        let exit = server.exit_within(Duration::from_secs(5))?;
        check(exit.code == Some(0) && !path.exists(), || {
            format!("{exit:?}, file there: {}", path.exists())
        })?;
    }
    Ok(())
}

/// A server that was killed leaves its file behind.
fn stale() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let path = folder.path().join("socket");
    drop(launch(&path)?.start()?);
    check(path.exists(), || "the killed server took its file".into())?;
    let _server = launch(&path)?.start()?;
    ping(&path)
}

fn in_use() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path)?;
    let exit = launch(&path)?.run()?;
    check(
        exit.code == Some(69) && exit.stderr.len() == 1 && exit.stderr[0].contains("is taken"),
        || format!("{exit:?}"),
    )?;
    check(UnixStream::connect(&path).is_ok(), || "gone".into())
}

fn other_file() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    folder.write("socket", "precious")?;
    let exit = launch(&folder.path().join("socket"))?.run()?;
    check(exit.code == Some(69) && exit.stderr.len() == 1, || {
        format!("{exit:?}")
    })?;
    let text = folder.read("socket")?;
    check(text == "precious", || text.clone())
}
