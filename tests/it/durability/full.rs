//! A full disk: a small one of memory, in a name space of its own, so that nobody else sees it and
//! it goes with its holder.

#![expect(
    clippy::disallowed_methods,
    reason = "keys end, and reads are slow, in real time"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};

use super::{kill, loaded};
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::need::{self, Program};
use crate::process::{Launch, Server, TempDir};

const CASES: &[Case] = &[
    ("writes_are_refused_and_go_on_with_room", refused),
    ("a_stop_and_a_start_without_room", stopped),
    ("values_that_take_another_name", carried),
    ("keys_that_end_while_there_is_no_room", ended),
    ("decision_14_nothing_is_granted_or_given_back", held),
];

/// The size of the disk, as mount takes it.
const DISK: &str = "24m";
/// Room is found within this time.
const HEAL_MAX: Duration = Duration::from_secs(5);
/// Reads that nobody holds up take no longer, on a machine that is busy.
const READS_MAX: Duration = Duration::from_secs(15);
/// Writes tried until one is refused; more than fit.
const WRITES_MAX: usize = 5_000;

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let may_mount = Disk::mount().is_ok();
    let trial = |(name, body): &Case| {
        let name = format!("durability::full::{name}");
        let needs = &[Program::Unshare];
        if Program::Unshare.path().is_some() && !may_mount {
            return need::trial_without(&name, needs, "the right to mount a disk of memory");
        }
        need::trial(&name, needs, *body)
    };
    CASES.iter().map(trial).collect()
}

/// A small disk; it is gone when this is dropped.
#[derive(Debug)]
struct Disk {
    holder: Child,
    /// Where it is mounted, for those in the name space.
    folder: TempDir,
}

impl Disk {
    fn mount() -> Result<Disk, Failed> {
        let folder = TempDir::new()?;
        let script =
            format!("mount -t tmpfs -o size={DISK} tmpfs \"$1\" && echo ready && read end");
        let mut command = Command::new(Program::Unshare.name());
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let holder = command
            .args(["sh", "-c", &script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut disk = Disk { holder, folder };
        let stdout = disk.holder.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        check(line == "ready\n", || "not mounted".to_owned())?;
        Ok(disk)
    }

    /// A path on it, for those outside the name space.
    fn path(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        let folder = self.folder.path().strip_prefix("/");
        Path::new(&root)
            .join(folder.unwrap_or(self.folder.path()))
            .join(name)
    }

    /// A start of a server with its data on it.
    fn launch(&self) -> Result<Launch, Failed> {
        let path = self.folder.path().join("data");
        let path = path.to_str().ok_or("the path is not UTF-8")?;
        let pid = self.holder.id().to_string();
        let mut words = vec!["nsenter", "--target", &pid, "--mount"];
        if !rustix::process::geteuid().is_root() {
            words.extend(["--user", "--preserve-credentials"]);
        }
        Ok(Launch::on_free_port(&["--dir", path, "--io-threads", "2"])?.under(&words))
    }

    fn start(&self) -> Result<Server, Failed> {
        loaded(self.launch()?.start()?)
    }

    /// Takes all the room there is.
    fn fill(&self) -> Result<(), Failed> {
        let mut file = std::fs::File::create(self.path("filler"))?;
        let block = [1; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }

    fn free(&self) -> Result<(), Failed> {
        Ok(std::fs::remove_file(self.path("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Both fail only if the process is already gone, which is what is wanted.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Keys that were acknowledged: `key<n>`, of so many bytes each.
#[derive(Debug, Default)]
struct Written(Vec<usize>);

impl Written {
    /// Writes one key of `bytes`; answers whether it was taken. Fails unless it was that or
    /// refused, and is there or not there accordingly.
    fn write(&mut self, client: &mut Client, bytes: usize) -> Result<bool, Failed> {
        let number = self.0.len();
        let reply = client.call(&format!("SET key{number} \"\\*{bytes}{{v}}\""))?;
        let is_taken = reply == "+OK";
        let is_refused = reply.starts_with("-MISCONF ");
        check(is_taken || is_refused, || reply)?;
        let expected = if is_taken { bytes } else { 0 };
        client.expect(&format!("STRLEN key{number}"), &format!(":{expected}"))?;
        if is_taken {
            self.0.push(bytes);
        }
        Ok(is_taken)
    }

    /// Writes until one is refused.
    fn write_until_refused(&mut self, client: &mut Client, bytes: usize) -> Result<(), Failed> {
        for _ in 0..WRITES_MAX {
            if !self.write(client, bytes)? {
                return Ok(());
            }
        }
        Err(format!("{WRITES_MAX} writes of {bytes} bytes and none refused").into())
    }

    /// Fails unless these keys are there, and no others.
    fn expect(&self, client: &mut Client) -> Result<(), Failed> {
        for (number, bytes) in self.0.iter().enumerate() {
            client.expect(&format!("STRLEN key{number}"), &format!(":{bytes}"))?;
        }
        client.expect("DBSIZE", &format!(":{}", self.0.len()))
    }
}

/// What a copy or another name writes is as long as the value, however short the command: it is
/// refused where that does not fit, alone and in a transaction, even one that made the value.
fn carried() -> Result<(), Failed> {
    const BYTES: usize = 3_000_000;
    let disk = Disk::mount()?;
    let server = disk.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect(&format!("SET value \"\\*{BYTES}{{v}}\""), "+OK")?;
    let mut copies = 0;
    let refused = loop {
        let reply = client.call(&format!("COPY value copy{copies}"))?;
        if reply != ":1" {
            break reply;
        }
        copies += 1;
    };
    check((1..8).contains(&copies), || format!("{copies} copies"))?;
    check(refused.starts_with("-MISCONF "), || refused)?;
    for line in ["RENAME value v", "RENAMENX value v", "MOVE value 1"] {
        let reply = client.call(line)?;
        check(reply.starts_with("-MISCONF "), || {
            format!("{line}: {reply}")
        })?;
    }
    client.expect("MULTI", "+OK")?;
    let reply = client.call("COPY value v")?;
    check(reply.starts_with("-MISCONF "), || reply)?;
    client.expect("DISCARD", "+OK")?;
    client.expect("MULTI", "+OK")?;
    client.expect("SET small \"\\*20000{s}\"", "+QUEUED")?;
    for copy in 0..200 {
        client.expect(&format!("COPY small small{copy}"), "+QUEUED")?;
    }
    let reply = client.call("EXEC")?;
    check(reply.starts_with("-EXECABORT "), || reply)?;
    let keys = format!(":{}", copies + 1);
    client.expect("DBSIZE", &keys)?;
    kill(server)?;
    let server = disk.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("DBSIZE", &keys)?;
    client.expect(&format!("STRLEN copy{}", copies - 1), &format!(":{BYTES}"))
}

fn refused() -> Result<(), Failed> {
    let disk = Disk::mount()?;
    let server = disk.start()?;
    let mut client = Client::connect(server.port())?;
    let mut written = Written::default();
    for round in 0..3 {
        for _ in 0..20 {
            check(written.write(&mut client, 1_000)?, || "refused".to_owned())?;
        }
        disk.fill()?;
        for bytes in [100_000, 10_000, 100, 1] {
            written.write_until_refused(&mut client, bytes)?;
        }
        for line in [
            "APPEND key0 \"\\*99{x}\"",
            "INCRBY n 1000000000",
            "MSET a 1 b 2",
            "GETSET key0 value",
        ] {
            let reply = client.call(line)?;
            check(reply.starts_with("-MISCONF "), || {
                format!("{line}: {reply}")
            })?;
        }
        client.expect("MULTI", "+OK")?;
        client.call("SET inside v")?;
        let reply = client.call("EXEC")?;
        check(reply.starts_with('-'), || format!("EXEC: {reply}"))?;
        // All of it can be read, and in another connection, too.
        written.expect(&mut client)?;
        written.expect(&mut Client::connect(server.port())?)?;
        disk.free()?;
        eventually("a write is taken", HEAL_MAX, || {
            Ok(written.write(&mut client, 1_000)?.then_some(()))
        })?;
        check(written.write(&mut client, 100_000)?, || {
            format!("refused in round {round}")
        })?;
    }
    kill(server)?;
    let server = disk.start()?;
    written.expect(&mut Client::connect(server.port())?)
}

/// Who holds a lock keeps it, and nobody gets one, until there is room again.
fn held() -> Result<(), Failed> {
    let disk = Disk::mount()?;
    let server = disk.start()?;
    let mut client = Client::connect(server.port())?;
    let told = client.call("LOCK.ACQUIRE held me PX 600000")?;
    check(told.starts_with("*4 :1 "), || told.clone())?;
    let told = client.call("SEM.ACQUIRE sem me LIMIT 2 PX 600000")?;
    check(told.starts_with("*3 :1 "), || told)?;
    client.expect("LATCH.SET latch 2", ":1")?;
    disk.fill()?;
    let mut written = Written::default();
    for bytes in [100_000, 10_000, 100, 1] {
        written.write_until_refused(&mut client, bytes)?;
    }
    let refused = [
        "LOCK.ACQUIRE new me PX 600000",
        "LOCK.ACQUIRE held me PX 600000",
        "LOCK.EXTEND held me PX 600000",
        "LOCK.RELEASE held me",
        "LOCK.BREAK held",
        "SEM.ACQUIRE sem other LIMIT 2 PX 600000",
        "SEM.RELEASE sem me",
        "LATCH.DOWN latch me",
        "BARRIER.AWAIT barrier 1 me WAIT 0",
        "SESSION.OPEN",
        "FENCE.SET mark 1",
    ];
    for line in refused {
        // A segment that is of no more use may have gone meanwhile.
        written.write_until_refused(&mut client, 1)?;
        let reply = client.call(line)?;
        check(reply.starts_with("-MISCONF "), || {
            format!("{line}: {reply}")
        })?;
    }
    // Nothing of it has come about.
    client.expect("EXISTS held sem latch new barrier mark", ":3")?;
    let told = client.call("LATCH.INFO latch")?;
    check(told.contains("remaining :2"), || told)?;
    disk.free()?;
    eventually("it is given back", HEAL_MAX, || {
        Ok((client.call("LOCK.RELEASE held me")? == ":1").then_some(()))
    })?;
    client.expect("SEM.RELEASE sem me", ":1")?;
    client.expect("LATCH.DOWN latch me", ":1")?;
    kill(server)
}

/// To note that keys have ended takes more room than there is: they are gone all the same, nobody
/// waits for it, and it is noted once there is room.
fn ended() -> Result<(), Failed> {
    const KEYS: usize = 2_500;
    const LIFE: Duration = Duration::from_secs(8);
    let disk = Disk::mount()?;
    let server = disk.start()?;
    let mut client = Client::connect(server.port())?;
    let until = Instant::now() + LIFE;
    let at = SystemTime::now().duration_since(UNIX_EPOCH)? + LIFE;
    let at_ms = at.as_millis();
    for key in 0..KEYS {
        let line = format!("SET \"key{key}\\*2000{{k}}\" v PXAT {at_ms}");
        client.expect(&line, "+OK")?;
    }
    client.expect("SET stays here", "+OK")?;
    client.expect("DBSIZE", &format!(":{}", KEYS + 1))?;
    disk.fill()?;
    let mut written = Written::default();
    for bytes in [100_000, 10_000, 100] {
        written.write_until_refused(&mut client, bytes)?;
    }
    check(Instant::now() < until, || "they ended too early".to_owned())?;
    std::thread::sleep(until - Instant::now() + Duration::from_millis(100));
    let mut readers = [client, Client::connect(server.port())?];
    for client in &mut readers {
        let begun = Instant::now();
        for key in 0..KEYS {
            client.expect(&format!("GET \"key{key}\\*2000{{k}}\""), "$-1")?;
        }
        client.expect("GET stays", "$4 here")?;
        let took = begun.elapsed();
        check(took < READS_MAX, || format!("{KEYS} reads took {took:?}"))?;
    }
    disk.free()?;
    let [mut client, _] = readers;
    let left = format!(":{}", written.0.len() + 1);
    eventually("they are removed", HEAL_MAX, || {
        Ok((client.call("DBSIZE")? == left).then_some(()))
    })?;
    kill(server)?;
    let server = disk.start()?;
    Client::connect(server.port())?.expect("DBSIZE", &left)
}

/// A server on a full disk can be stopped, or killed. What was acknowledged is there once there is
/// room, whether a start without room was refused or not.
fn stopped() -> Result<(), Failed> {
    for is_killed in [false, true] {
        let disk = Disk::mount()?;
        let mut server = disk.start()?;
        let mut client = Client::connect(server.port())?;
        let mut written = Written::default();
        disk.fill()?;
        for bytes in [10_000, 100] {
            written.write_until_refused(&mut client, bytes)?;
        }
        let signal = match is_killed {
            true => rustix::process::Signal::KILL,
            false => rustix::process::Signal::TERM,
        };
        server.signal(signal)?;
        let exit = server.exit_within(super::STOP_MAX)?;
        let code = (!is_killed).then_some(0);
        check(exit.code == code, || format!("{exit:?}"))?;
        disk.fill()?;
        super::owner::expect_refusal(disk.launch()?, 74, &["No space left on device"])?;
        disk.free()?;
        for _ in 0..2 {
            let server = disk.start()?;
            written.expect(&mut Client::connect(server.port())?)?;
            kill(server)?;
        }
    }
    Ok(())
}
