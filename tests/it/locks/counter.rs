//! The classical proof: processes that increment a number in a file under a lock, of whom one is
//! killed while it holds the lock and one is stopped until long after its lease. The number is
//! exact, and the write that the stopped one makes when it goes on is refused by its fence.
//!
//! Each is this very program, started again with [`ROLE`] in its environment. A file knows nothing
//! of fences, so that a step writes a new file, and the fenced write of the key `current`, which
//! names the file that counts, is what makes it so. Whoever has the lock claims `current` by its
//! fence before it reads: from then on nobody who held the lock earlier can change what it read.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, getpid, kill_process};

use super::{ask, pause};
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::durability::{Data, kill};
use crate::process::TempDir;

pub(super) const CASES: &[Case] = &[
    ("five_processes_count_to_a_thousand", five),
    ("without_fences_a_stale_holder_does_harm", unfenced),
];

/// The variable that makes this program one of the processes.
const ROLE: &str = "LOCKS_COUNTER_ROLE";
const PROCESSES: usize = 5;
/// How often each increments.
const TIMES: u64 = 200;
/// After how many of its increments a process is killed or stopped.
const CAUGHT_AFTER: u64 = 100;
/// A lease: a process that is stopped for longer has lost it.
const LEASE_MS: u64 = 500;
/// How long a process stays stopped.
const STOPPED_MS: u64 = 2_000;
/// How long all of them may take.
const RUN_MAX: Duration = Duration::from_secs(120);

/// What one process does, as its environment says it.
struct Role<'a> {
    port: u16,
    owner: &'a str,
    times: u64,
    /// What it does to itself after so many increments, with the lock in its hands: what it read is
    /// known to it, and nothing is written.
    caught_after: u64,
    by: &'a str,
    is_fenced: bool,
    folder: &'a Path,
}

impl Role<'_> {
    fn parse(text: &str) -> Option<Role<'_>> {
        let mut words = text.splitn(7, ' ');
        Some(Role {
            port: words.next()?.parse().ok()?,
            owner: words.next()?,
            times: words.next()?.parse().ok()?,
            caught_after: words.next()?.parse().ok()?,
            by: words.next()?,
            is_fenced: words.next()? == "fenced",
            folder: Path::new(words.next()?),
        })
    }

    fn start(&self) -> Result<Child, Failed> {
        let Role {
            port,
            owner,
            times,
            caught_after,
            by,
            is_fenced,
            folder,
        } = self;
        let fenced = if *is_fenced { "fenced" } else { "unfenced" };
        let folder = folder.display();
        let role = format!("{port} {owner} {times} {caught_after} {by} {fenced} {folder}");
        let program = std::env::current_exe()?;
        Ok(Command::new(program).env(ROLE, role).spawn()?)
    }

    /// Increments the number; answers how many of its writes were refused.
    fn run(&self) -> Result<u64, Failed> {
        let mut client = Client::connect(self.port)?;
        let (mut done, mut refused, mut is_caught) = (0, 0, false);
        while done < self.times {
            let line = format!("LOCK.ACQUIRE lock {} PX {LEASE_MS} WAIT 5000", self.owner);
            let hold = ask(&mut client, &line)?;
            if hold.status <= 0 {
                continue;
            }
            let is_to_be_caught = done == self.caught_after && !is_caught;
            is_caught |= is_to_be_caught;
            if self.step(&mut client, hold.fence, is_to_be_caught)? {
                done += 1;
            } else {
                refused += 1;
            }
            client.call(&format!(
                "LOCK.RELEASE lock {} FENCE {}",
                self.owner, hold.fence
            ))?;
        }
        Ok(refused)
    }

    /// One increment by the holder with this fence; whether it counts.
    fn step(&self, client: &mut Client, fence: i64, is_caught: bool) -> Result<bool, Failed> {
        if self.is_fenced && !passed(&client.call(&format!("FENCE.SET current {fence}"))?)? {
            return Ok(false);
        }
        let number = read(client, self.folder)?;
        if is_caught {
            let signal = match self.by {
                "kill" => Signal::KILL,
                _ => Signal::STOP,
            };
            kill_process(getpid(), signal)?;
        }
        let name = format!("{}.{fence}", self.owner);
        std::fs::write(self.folder.join(&name), (number + 1).to_string())?;
        let option = if self.is_fenced {
            format!(" FENCE {fence}")
        } else {
            String::new()
        };
        passed(&client.call(&format!("SET current {name}{option}"))?)
    }
}

/// Plays the part that the environment names, if it names one.
pub(crate) fn play() -> Option<Result<(), Failed>> {
    let role = std::env::var(ROLE).ok()?;
    let Some(role) = Role::parse(&role) else {
        return Some(Err(format!("{ROLE}: {role}").into()));
    };
    let refused = role.run();
    Some(refused.and_then(|refused| {
        let path = role.folder.join(format!("{}.refused", role.owner));
        Ok(std::fs::write(path, refused.to_string())?)
    }))
}

/// Whether a fenced write was made.
fn passed(reply: &str) -> Result<bool, Failed> {
    let is_refused = reply.starts_with("-FENCED ");
    check(reply == "+OK" || is_refused, || reply.to_owned())?;
    Ok(!is_refused)
}

/// The number in the file that counts.
fn read(client: &mut Client, folder: &Path) -> Result<u64, Failed> {
    let reply = client.call("GET current")?;
    let name = reply.split(' ').nth(1).ok_or_else(|| reply.clone())?;
    Ok(std::fs::read_to_string(folder.join(name))?.parse()?)
}

fn signal(child: &Child, signal: Signal) -> Result<(), Failed> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or("no such process")?, signal)?)
}

/// Waits until a process has stopped itself.
fn await_stop(child: &Child) -> Result<(), Failed> {
    let path = format!("/proc/{}/stat", child.id());
    eventually("a process stops itself", RUN_MAX, || {
        let text = std::fs::read_to_string(&path)?;
        let state = text
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        Ok((state == Some('T')).then_some(()))
    })
}

/// Waits for the end of a process; whether it ended by itself and well.
fn end(child: &mut Child) -> Result<bool, Failed> {
    eventually("a process ends", RUN_MAX, || Ok(child.try_wait()?)).map(|status| status.success())
}

/// A place where the number is zero, and a server with the key that says where.
fn begin() -> Result<(Data, crate::process::Server, Client, TempDir), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let folder = TempDir::new()?;
    folder.write("zero", "0")?;
    client.expect("SET current zero", "+OK")?;
    Ok((data, server, client, folder))
}

fn five() -> Result<(), Failed> {
    let (_data, server, mut client, folder) = begin()?;
    let owners: Vec<String> = (0..PROCESSES)
        .map(|number| format!("owner{number}"))
        .collect();
    let role = |number: usize| Role {
        port: server.port(),
        owner: &owners[number],
        times: TIMES,
        caught_after: if number < 2 { CAUGHT_AFTER } else { TIMES },
        by: if number == 0 { "kill" } else { "stop" },
        is_fenced: true,
        folder: folder.path(),
    };
    let children = (0..PROCESSES).map(|number| role(number).start());
    let mut children = children.collect::<Result<Vec<_>, _>>()?;
    let is_well = end(&mut children[0])?;
    check(!is_well, || "the first was not killed".to_owned())?;
    // Its next life is another owner, who does the rest.
    let heir = Role {
        owner: "heir",
        times: TIMES - CAUGHT_AFTER,
        caught_after: TIMES,
        ..role(0)
    };
    children[0] = heir.start()?;
    await_stop(&children[1])?;
    pause(STOPPED_MS);
    signal(&children[1], Signal::CONT)?;
    for child in &mut children {
        let is_well = end(child)?;
        check(is_well, || "a process failed".to_owned())?;
    }
    let refused = std::fs::read_to_string(folder.path().join("owner1.refused"))?;
    check(refused != "0", || {
        "the write of a stale holder was not refused".to_owned()
    })?;
    let number = read(&mut client, folder.path())?;
    check(number == PROCESSES as u64 * TIMES, || format!("{number}"))?;
    client.expect("EXISTS lock", ":0")?;
    kill(server)
}

/// What the fences are for: the same without them, and the number is wrong.
fn unfenced() -> Result<(), Failed> {
    let (_data, server, mut client, folder) = begin()?;
    let role = |owner, caught_after| Role {
        port: server.port(),
        owner,
        times: 10,
        caught_after,
        by: "stop",
        is_fenced: false,
        folder: folder.path(),
    };
    let mut stale = role("stale", 5).start()?;
    await_stop(&stale)?;
    let mut other = role("other", TIMES).start()?;
    check(end(&mut other)?, || "a process failed".to_owned())?;
    signal(&stale, Signal::CONT)?;
    check(end(&mut stale)?, || "a process failed".to_owned())?;
    let number = read(&mut client, folder.path())?;
    // What the other did is overwritten.
    check(number == 10, || format!("{number}"))?;
    kill(server)
}
