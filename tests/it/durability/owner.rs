//! Directories a server must not or cannot use: one line, an exit code, nothing touched.

use libtest_mimic::Failed;

use super::{Data, kill, stop};
use crate::Case;
use crate::client::{Client, check};
use crate::process::{Exit, Launch};

pub(super) const CASES: &[Case] = &[
    ("a_second_server_names_the_first", second),
    ("a_directory_that_cannot_be_made", not_a_directory),
    ("a_file_that_cannot_be_written", unwritable),
    ("a_newer_format", newer),
    ("fewer_databases_than_have_keys", fewer_databases),
    ("files_without_their_identity", lost_identity),
];

/// The one line of a start that ends with `code`, which holds all of `words`.
pub(super) fn expect_refusal(launch: Launch, code: i32, words: &[&str]) -> Result<String, Failed> {
    let exit: Exit = launch.run()?;
    check(exit.code == Some(code), || format!("not {code}: {exit:?}"))?;
    let said = exit.stderr.iter();
    let lines: Vec<_> = said
        .filter(|line| line.starts_with("linchpin-server: "))
        .collect();
    let [line] = lines.as_slice() else {
        return Err(format!("not one line: {exit:?}").into());
    };
    for word in words {
        check(line.contains(word), || format!("no {word:?} in {line:?}"))?;
    }
    Ok((*line).clone())
}

fn second() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SET k v", "+OK")?;
    let pid = format!("in use by process {}", server.pid());
    for _ in 0..2 {
        expect_refusal(data.launch(&[])?, 73, &[&pid])?;
    }
    client.expect("APPEND k w", ":2")?;
    kill(server)?;
    // Its end let go of the directory, however it came.
    let server = data.start()?;
    Client::connect(server.port())?.expect("GET k", "$2 vw")
}

fn not_a_directory() -> Result<(), Failed> {
    let data = Data::with(&[])?;
    data.folder.write("data", "a file stands here")?;
    let path = data.path();
    let path = path.to_str().ok_or("the path is not UTF-8")?;
    expect_refusal(data.launch(&[])?, 74, &[path])?;
    let below = format!("{path}/deeper");
    expect_refusal(Launch::on_free_port(&["--dir", &below])?, 74, &[&below])?;
    expect_refusal(
        Launch::on_free_port(&["--dir", "/proc/nowhere"])?,
        74,
        &["/proc/nowhere"],
    )?;
    Ok(())
}

/// A directory in the place of a file; root may write everything else.
fn unwritable() -> Result<(), Failed> {
    let data = Data::with(&[])?;
    std::fs::create_dir_all(data.path().join("lock"))?;
    expect_refusal(data.launch(&[])?, 74, &["lock"])?;
    std::fs::remove_dir(data.path().join("lock"))?;
    std::fs::create_dir_all(data.path().join("identity.tmp/in the way"))?;
    expect_refusal(data.launch(&[])?, 74, &["identity"])?;
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        use std::os::unix::fs::PermissionsExt as _;
        let read_only = std::fs::Permissions::from_mode(0o555);
        std::fs::set_permissions(data.path(), read_only)?;
        expect_refusal(data.launch(&[])?, 77, &["data"])?;
        let writable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(data.path(), writable)?;
    }
    Ok(())
}

/// Formats a later program may have: each file says so in its own place, under a sound checksum.
fn newer() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("SET k v", "+OK")?;
    stop(server)?;
    let identity = data.path().join("identity");
    let sound = std::fs::read(&identity)?;
    let mut bytes = sound.clone();
    bytes[12] += 1;
    let crc = crc32c(&bytes[12..]).to_le_bytes();
    bytes[8..12].copy_from_slice(&crc);
    std::fs::write(&identity, &bytes)?;
    let words = ["identity", "format version 4", "newer than this program"];
    expect_refusal(data.launch(&[])?, 78, &words)?;
    check(std::fs::read(&identity)? == bytes, || {
        "it was changed".to_owned()
    })?;
    std::fs::write(&identity, sound)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("GET k", "$1 v")
}

fn fewer_databases() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SELECT 9", "+OK")?;
    client.expect("SET k v", "+OK")?;
    stop(server)?;
    let words = ["databases 9: ", "database 9", "at least 10"];
    expect_refusal(data.launch(&["--databases", "9"])?, 78, &words)?;
    let server = super::loaded(data.launch(&["--databases", "10"])?.start()?)?;
    let mut client = Client::connect(server.port())?;
    client.expect("SELECT 9", "+OK")?;
    client.expect("GET k", "$1 v")
}

fn lost_identity() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    stop(data.start()?)?;
    std::fs::remove_file(data.path().join("identity"))?;
    expect_refusal(data.launch(&[])?, 65, &["identity", "log-"]).map(drop)
}

/// CRC-32C, a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}
