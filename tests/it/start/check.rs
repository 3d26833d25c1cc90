//! `linchpin-server check`: what it says of a data directory, what it mends, and its exit codes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, check};
use crate::process::{Exit, Launch, TempDir};
use linchpin_server::journal::{frame, identity, segment};

pub(super) const CASES: &[Case] = &[
    ("a_sound_directory", sound),
    ("a_directory_in_use", in_use),
    ("damage_is_told_and_cut_when_told_to", damage),
    ("a_torn_tail", torn_tail),
    ("a_newer_program_s_directory", newer),
    ("directories_that_cannot_be_read", unreadable),
    ("words_it_does_not_know", usage),
];

/// A data directory in which a server noted some keys and then stopped as it should.
struct Stopped {
    home: TempDir,
    data: PathBuf,
}

impl Stopped {
    fn new() -> Result<Stopped, Failed> {
        let home = TempDir::new()?;
        let data = home.path().join("data");
        let stopped = Stopped { home, data };
        let mut server = stopped.launch()?.start()?;
        let mut client = Client::connect(server.port())?;
        for number in 0..20 {
            client.expect(&format!("SET key{number} value{number}"), "+OK")?;
        }
        server.signal(Signal::TERM)?;
        let exit = server.exit_within(Duration::from_secs(10))?;
        check(exit.code == Some(0), || format!("{exit:?}"))?;
        Ok(stopped)
    }

    fn launch(&self) -> Result<Launch, Failed> {
        Ok(Launch::on_free_port(&["--dir", text(&self.data)])?)
    }

    fn check(&self, more: &[&str]) -> Result<Exit, Failed> {
        run(&[&["--dir", text(&self.data)], more].concat())
    }

    /// The first segment of the log.
    fn log(&self) -> PathBuf {
        self.data.join(segment::name(0))
    }
}

fn text(path: &Path) -> &str {
    path.to_str()
        .expect("the temporary directory has a name of UTF-8")
}

fn run(arguments: &[&str]) -> Result<Exit, Failed> {
    Ok(Launch::new(&[&["check"], arguments].concat())?.run()?)
}

/// Fails unless it ended with `code`, wrote nothing to standard error, and some line of standard
/// output begins as each of `lines` does.
fn expect(exit: &Exit, code: i32, lines: &[&str]) -> Result<(), Failed> {
    let is_there = |line: &&str| exit.stdout.iter().any(|said| said.starts_with(*line));
    let is_so = exit.code == Some(code) && exit.stderr.is_empty() && lines.iter().all(is_there);
    check(is_so, || format!("not {code} and {lines:?}: {exit:?}"))
}

/// Fails unless it ended with `code`, one line of standard error and nothing else.
fn expect_refusal(exit: &Exit, code: i32, word: &str) -> Result<(), Failed> {
    let is_one_line = exit.stdout.is_empty() && exit.stderr.len() == 1;
    let is_so = exit.code == Some(code) && is_one_line && exit.stderr.concat().contains(word);
    check(is_so, || format!("not {code} and {word:?}: {exit:?}"))
}

fn sound() -> Result<(), Failed> {
    let stopped = Stopped::new()?;
    let exit = stopped.check(&[])?;
    expect(
        &exit,
        0,
        &[
            "sound: identity: history ",
            "sound: log: 1 segments, 20 frames",
        ],
    )?;
    let is_sound = exit.stdout.iter().all(|line| line.starts_with("sound: "));
    check(is_sound && exit.stdout[1].ends_with(", closed"), || {
        format!("{exit:?}")
    })?;
    // The same directory, from where else a setting may stand.
    let launch = Launch::new(&["check", "linchpin.conf"])?;
    let launch = launch.file("linchpin.conf", &format!("dir {}\n", text(&stopped.data)))?;
    expect(&launch.run()?, 0, &["sound: log: 1 segments, 20 frames"])?;
    let launch = Launch::new(&["check"])?.variable("LINCHPIN_DIR", text(&stopped.data));
    expect(&launch.run()?, 0, &["sound: log: 1 segments, 20 frames"])?;
    let empty = stopped.home.path().join("empty");
    std::fs::create_dir(&empty)?;
    let exit = run(&["--dir", text(&empty), "--repair"])?;
    expect(&exit, 0, &["sound: no server has used this directory"])?;
    check(std::fs::read_dir(&empty)?.next().is_none(), || {
        "left something".to_owned()
    })
}

fn in_use() -> Result<(), Failed> {
    let stopped = Stopped::new()?;
    let server = stopped.launch()?.start()?;
    let owner = format!("in use by process {}", server.pid());
    expect_refusal(&stopped.check(&[])?, 73, &owner)?;
    expect_refusal(&stopped.check(&["--repair"])?, 73, &owner)
}

fn damage() -> Result<(), Failed> {
    let stopped = Stopped::new()?;
    let mut bytes = std::fs::read(stopped.log())?;
    let place = bytes.windows(7).position(|window| window == b"value12");
    bytes[place.ok_or("the log holds no such value")?] ^= 1;
    std::fs::write(stopped.log(), &bytes)?;
    let refused = stopped.launch()?.run()?;
    check(refused.code == Some(65), || format!("{refused:?}"))?;

    let lines = [
        "damage: log-0000000000000000.seg: damaged at byte ",
        "damage: nothing was changed",
    ];
    expect(&stopped.check(&[])?, 65, &lines)?;
    check(std::fs::read(stopped.log())? == bytes, || {
        "it was changed".to_owned()
    })?;

    let exit = stopped.check(&["--repair"])?;
    let lines = [
        lines[0],
        "repaired: the log was cut behind frame 12: 7 sound frames and ",
    ];
    expect(&exit, 0, &lines)?;
    let kept = std::fs::read_dir(&stopped.data)?.filter_map(Result::ok);
    let kept = kept.map(|entry| entry.file_name());
    check(
        kept.into_iter()
            .any(|name| name.to_string_lossy().starts_with("lost-")),
        || "what was cut is gone".to_owned(),
    )?;
    expect(&stopped.check(&[])?, 0, &["sound: log: "])?;
    let server = stopped.launch()?.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("GET key11", "$7 value11")?;
    client.expect("DBSIZE", ":12")
}

fn torn_tail() -> Result<(), Failed> {
    let stopped = Stopped::new()?;
    let bytes = std::fs::read(stopped.log())?;
    // Into the closing record, as if the power had gone before that was synced.
    std::fs::write(stopped.log(), &bytes[..bytes.len() - 3])?;
    let path = stopped.data.join(identity::NAME);
    let found = identity::Identity::parse(&std::fs::read(&path)?);
    let mut identity = found.map_err(|why| format!("{why:?}"))?;
    identity.closed_at = 0;
    std::fs::write(&path, identity.encode())?;
    let leftover = "leftover: log-0000000000000000.seg: a torn tail of ";
    expect(&stopped.check(&[])?, 0, &[leftover])?;
    let exit = stopped.check(&["--repair"])?;
    expect(
        &exit,
        0,
        &[
            leftover,
            "repaired: log-0000000000000000.seg: the torn tail",
        ],
    )?;
    let exit = stopped.check(&[])?;
    let is_gone = !exit
        .stdout
        .iter()
        .any(|line| line.starts_with("leftover: "));
    check(is_gone && exit.code == Some(0), || format!("{exit:?}"))
}

fn newer() -> Result<(), Failed> {
    let stopped = Stopped::new()?;
    let path = stopped.data.join(identity::NAME);
    let mut bytes = std::fs::read(&path)?;
    bytes[12] = 200;
    let crc = frame::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes)?;
    expect_refusal(
        &stopped.check(&["--repair"])?,
        78,
        "format version 200 is newer",
    )
}

fn unreadable() -> Result<(), Failed> {
    let home = TempDir::new()?;
    let missing = home.path().join("missing");
    expect_refusal(
        &run(&["--dir", text(&missing)])?,
        74,
        "missing: No such file",
    )?;
    check(!missing.exists(), || "it was made".to_owned())?;
    home.write("file", "")?;
    let file = home.path().join("file");
    expect_refusal(&run(&["--dir", text(&file)])?, 74, "file: Not a directory")?;
    if rustix::process::geteuid().is_root() {
        // Nothing is forbidden to root.
        return Ok(());
    }
    use std::os::unix::fs::PermissionsExt as _;
    let stopped = Stopped::new()?;
    let forbidden = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(stopped.data.join(identity::NAME), forbidden)?;
    expect_refusal(&stopped.check(&[])?, 77, "identity cannot be used")
}

fn usage() -> Result<(), Failed> {
    expect_refusal(&run(&["--repair", "yes"])?, 64, "--repair takes no value")?;
    expect_refusal(&run(&["--dri", "x"])?, 64, "did you mean `--dir`?")?;
    expect_refusal(&run(&["missing.conf"])?, 64, "missing.conf: cannot be read")?;
    let server = Launch::on_free_port(&["--repair"])?.run()?;
    expect_refusal(&server, 64, "--repair: no setting has this name")?;
    let help = run(&["--help"])?;
    check(help.code == Some(0) && help.stdout.len() > 20, || {
        format!("{help:?}")
    })
}
