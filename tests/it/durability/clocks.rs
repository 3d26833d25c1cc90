//! Clocks that step, and a server that stands still: deadlines are those of the wall clock, and
//! nothing else depends on it.
//!
//! The wall clock is libfaketime's, for the server alone: its offset stands in a file, and the
//! monotonic clock is left as it is. That one begins anew in a time name space, as after a reboot.
//! No test sets a clock of the system.
//!
//! Engine time is seen as `lru_clock` of INFO, in seconds.

#![expect(
    clippy::disallowed_methods,
    reason = "a process outside is stopped, and its clock compared, in real time"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

use super::writers::{self, Writer};
use super::{Data, STOP_MAX, kill, loaded, stop};
use crate::client::{Client, check};
use crate::need::{self, Program};
use crate::process::{Launch, Server, TempDir};

const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;
/// How much less may be left of a deadline than was at first, in seconds: what a trial takes.
const PASSED_S_MAX: i64 = 60;
/// Connections that write.
const WRITERS: usize = 4;
/// Steps each has under way.
const DEPTH: usize = 8;
/// How long a clock stays where it was put.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a server stands still.
const STOPPED: Duration = Duration::from_secs(5);
/// The server has run so long when it begins to stand still: more than engine time may then lose.
const RUN_BEFORE: Duration = Duration::from_secs(1);

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let name = |name: &str| format!("durability::clocks::{name}");
    let while_it_runs = name("wall_clock_steps_while_it_runs");
    let over_a_restart = name("wall_clock_steps_over_a_restart");
    let reboot = name("monotonic_clock_begins_anew");
    let needs = &[Program::Faketime];
    let can_reboot = Program::Unshare.path().is_none() || can_reboot();
    vec![
        need::trial(&while_it_runs, needs, steps_while_it_runs),
        need::trial(&over_a_restart, needs, steps_over_a_restart),
        if can_reboot {
            need::trial(&reboot, &[Program::Unshare], begins_anew)
        } else {
            need::trial_without(
                &reboot,
                &[Program::Unshare],
                "the right to a time name space",
            )
        },
        Trial::test(name("a_server_that_stood_still_goes_on"), stood_still),
    ]
}

/// A wall clock for servers.
pub(crate) struct Wall {
    library: String,
    folder: TempDir,
}

impl Wall {
    /// One that is right.
    pub(crate) fn new() -> Result<Wall, Failed> {
        // The program knows where its library is.
        let words = ["-m", "-f", "+0", "printenv", "LD_PRELOAD"];
        let output = Command::new(Program::Faketime.name())
            .args(words)
            .output()?;
        let library = String::from_utf8(output.stdout)?.trim().to_owned();
        check(!library.is_empty(), || {
            "faketime names no library".to_owned()
        })?;
        let wall = Wall {
            library,
            folder: TempDir::new()?,
        };
        wall.put(0)?;
        Ok(wall)
    }

    /// Puts it so far ahead of the true one, or behind.
    pub(crate) fn put(&self, offset_s: i64) -> Result<(), Failed> {
        self.folder.write("new", &format!("{offset_s:+}\n"))?;
        // At once, for the server looks at any moment.
        let path = |name| self.folder.path().join(name);
        Ok(std::fs::rename(path("new"), path("offset"))?)
    }

    pub(crate) fn start(&self, data: &Data) -> Result<Server, Failed> {
        let file = self.folder.path().join("offset");
        let file = file.to_str().ok_or("the path is not UTF-8")?;
        let launch = data
            .launch(&[])?
            .variable("LD_PRELOAD", &self.library)
            .variable("FAKETIME_TIMESTAMP_FILE", file)
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        loaded(launch.start()?)
    }
}

fn unix_s() -> Result<i64, Failed> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_secs())?)
}

/// Fails unless so much is left of the key's life, but for what the trial took; 0: it is gone.
fn expect_left(client: &mut Client, key: &str, left_s: i64) -> Result<(), Failed> {
    if left_s == 0 {
        return client.expect(&format!("GET {key}"), "$-1");
    }
    let found = client.number(&format!("TTL {key}"))?;
    let is_so = (left_s - PASSED_S_MAX..=left_s).contains(&found);
    check(is_so, || {
        format!("{found} s are left of {key}, not {left_s}")
    })
}

/// Keys with a deadline in an hour, told as a life and as a moment, and with one in three days.
fn set_deadlines(client: &mut Client) -> Result<(), Failed> {
    let at_s = unix_s()? + HOUR_S;
    client.expect(&format!("SET relative v EX {HOUR_S}"), "+OK")?;
    client.expect(&format!("SET absolute v EXAT {at_s}"), "+OK")?;
    client.expect("SET later v", "+OK")?;
    client.expect(&format!("PEXPIRE later {}", 3 * DAY_S * 1_000), ":1")?;
    client.expect("SET settled v", "+OK")
}

/// How much is left of them where the wall clock is so far ahead.
fn expect_deadlines(client: &mut Client, ahead_s: i64) -> Result<(), Failed> {
    let hour_s = (HOUR_S - ahead_s).max(0);
    expect_left(client, "relative", hour_s)?;
    expect_left(client, "absolute", hour_s)?;
    expect_left(client, "later", 3 * DAY_S - ahead_s)?;
    client.expect("GET settled", "$1 v")
}

/// Engine time as it was seen last.
#[derive(Default)]
struct EngineTime {
    seconds: i64,
    /// When a server first told it.
    since: Option<Instant>,
}

impl EngineTime {
    /// Fails if it went back, or on by more than has passed. A reply that is on disk follows, so
    /// that a server that is killed after this must know what was told here.
    fn look(&mut self, client: &mut Client) -> Result<(), Failed> {
        let seconds = client.info_field("lru_clock")?;
        let since = *self.since.get_or_insert_with(Instant::now);
        let last = std::mem::replace(&mut self.seconds, seconds);
        let passed_s = i64::try_from(since.elapsed().as_secs())?;
        check((last..=passed_s + 2).contains(&seconds), || {
            format!("engine time was {last} s and is {seconds} s, {passed_s} s later")
        })?;
        client.call("INCR looks").map(drop)
    }
}

/// Has the writers go on for a moment in which every one takes some steps: what they know of their
/// deadlines is true again.
fn write_on(writers: &mut [Writer], port: u16) -> Result<(), Failed> {
    let before: Vec<usize> = writers.iter().map(|writer| writer.acked).collect();
    writers::write_during(writers, port, || {
        std::thread::sleep(PAUSE);
        Ok(())
    })?;
    let went_on = writers.iter().zip(before);
    for (number, (writer, before)) in went_on.enumerate() {
        let steps = writer.acked - before;
        check(steps >= 2 * DEPTH, || {
            format!("writer {number} took {steps} steps; {:?}", writer.refusal)
        })?;
    }
    Ok(())
}

/// What was acknowledged is there after each of two restarts by a true clock.
fn expect_kept(data: &Data, writers: &mut [Writer]) -> Result<(), Failed> {
    for _ in 0..2 {
        let server = data.start()?;
        writers::settle(writers, server.port())?;
        kill(server)?;
    }
    Ok(())
}

fn steps_while_it_runs() -> Result<(), Failed> {
    for policy in ["always", "everysec"] {
        let (wall, data) = (Wall::new()?, Data::new(policy, 2)?);
        let server = wall.start(&data)?;
        let port = server.port();
        let mut writers = writers::crew(WRITERS, 10, DEPTH);
        let mut client = Client::connect(port)?;
        let mut time = EngineTime::default();
        set_deadlines(&mut client)?;
        writers::write_during(&mut writers, port, || {
            for ahead_s in [0, -DAY_S, 0, -DAY_S] {
                wall.put(ahead_s)?;
                expect_deadlines(&mut client, ahead_s)?;
                time.look(&mut client)?;
                std::thread::sleep(PAUSE);
            }
            client.expect(&format!("SET early v EX {HOUR_S}"), "+OK")?;
            expect_left(&mut client, "early", HOUR_S)?;
            wall.put(0)?;
            expect_left(&mut client, "early", 0)?;
            wall.put(DAY_S)?;
            expect_deadlines(&mut client, DAY_S)?;
            client.expect(&format!("SET late v EX {HOUR_S}"), "+OK")?;
            time.look(&mut client)?;
            std::thread::sleep(PAUSE);
            wall.put(0)?;
            expect_left(&mut client, "late", HOUR_S + DAY_S)?;
            // What has ended does not come back with the clock.
            expect_left(&mut client, "relative", 0)?;
            time.look(&mut client)
        })?;
        write_on(&mut writers, port)?;
        kill(server)?;
        expect_kept(&data, &mut writers)?;
    }
    Ok(())
}

fn steps_over_a_restart() -> Result<(), Failed> {
    let (wall, data) = (Wall::new()?, Data::new("everysec", 2)?);
    let mut writers = writers::crew(WRITERS, 10, DEPTH);
    let mut time = EngineTime::default();
    let server = wall.start(&data)?;
    set_deadlines(&mut Client::connect(server.port())?)?;
    write_on(&mut writers, server.port())?;
    kill(server)?;
    for ahead_s in [-DAY_S, 0, -DAY_S, 0] {
        wall.put(ahead_s)?;
        let server = wall.start(&data)?;
        let mut client = Client::connect(server.port())?;
        expect_deadlines(&mut client, ahead_s)?;
        time.look(&mut client)?;
        if ahead_s == 0 {
            stop(server)?;
        } else {
            kill(server)?;
        }
    }
    let server = wall.start(&data)?;
    write_on(&mut writers, server.port())?;
    kill(server)?;
    expect_kept(&data, &mut writers)?;
    wall.put(DAY_S)?;
    let server = wall.start(&data)?;
    expect_deadlines(&mut Client::connect(server.port())?, DAY_S)?;
    kill(server)?;
    wall.put(0)?;
    let server = wall.start(&data)?;
    let mut client = Client::connect(server.port())?;
    expect_left(&mut client, "relative", 0)?;
    expect_left(&mut client, "later", 3 * DAY_S)?;
    time.look(&mut client)
}

/// The words that start a server in a name space in which the machine has just been started.
fn rebooted() -> Result<Vec<String>, Failed> {
    let uptime = std::fs::read_to_string(Path::new("/proc/uptime"))?;
    let uptime_s = uptime.split('.').next().and_then(|text| text.parse().ok());
    let uptime_s: u64 = uptime_s.ok_or("no uptime")?;
    let mut words = vec![Program::Unshare.name().to_owned(), "--time".to_owned()];
    if !rustix::process::geteuid().is_root() {
        words.push("--map-root-user".to_owned());
    }
    words.extend(["--fork", "--kill-child", "--monotonic"].map(str::to_owned));
    words.push(format!("-{}", uptime_s.saturating_sub(1)));
    Ok(words)
}

fn can_reboot() -> bool {
    rebooted().is_ok_and(|words| {
        let status = Command::new(&words[0])
            .args(&words[1..])
            .arg("true")
            .status();
        status.is_ok_and(|status| status.success())
    })
}

fn begins_anew() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let mut writers = writers::crew(WRITERS, 10, DEPTH);
    let mut time = EngineTime::default();
    let start = |is_rebooted: bool| -> Result<Server, Failed> {
        let launch: Launch = data.launch(&[])?;
        if !is_rebooted {
            return loaded(launch.start()?);
        }
        let words = rebooted()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        loaded(launch.under(&words).start()?)
    };
    for is_rebooted in [false, true, false, true] {
        let server = start(is_rebooted)?;
        let mut client = Client::connect(server.port())?;
        if time.since.is_none() {
            set_deadlines(&mut client)?;
        }
        writers::settle(&mut writers, server.port())?;
        expect_deadlines(&mut client, 0)?;
        time.look(&mut client)?;
        write_on(&mut writers, server.port())?;
        kill_inner(server, &mut client)?;
    }
    expect_kept(&data, &mut writers)
}

/// Kills a server that may be the child of what started it, and waits for both.
fn kill_inner(mut server: Server, client: &mut Client) -> Result<(), Failed> {
    let pid = i32::try_from(client.info_field("process_id")?)?;
    let pid = Pid::from_raw(pid).ok_or("no process has this number")?;
    kill_process(pid, Signal::KILL)?;
    server.exit_within(STOP_MAX)?;
    Ok(())
}

/// Nothing is lost, nothing ends early, and the time in which it stood still counts for deadlines,
/// but for no more than a second as engine time.
fn stood_still() -> Result<(), Failed> {
    for policy in ["always", "everysec", "no"] {
        let data = Data::new(policy, 2)?;
        let mut server = data.start()?;
        let port = server.port();
        let mut writers = writers::crew(WRITERS, 10, DEPTH);
        let mut client = Client::connect(port)?;
        set_deadlines(&mut client)?;
        std::thread::sleep(RUN_BEFORE);
        client.expect("SET short v PX 2000", "+OK")?;
        client.expect("SET long v PX 60000", "+OK")?;
        let engine_s = client.info_field("lru_clock")?;
        let before = Instant::now();
        writers::write_during(&mut writers, port, || {
            std::thread::sleep(PAUSE);
            server.signal(Signal::STOP)?;
            std::thread::sleep(STOPPED);
            server.signal(Signal::CONT)?;
            client.expect("GET short", "$-1")?;
            let left_ms = client.number("PTTL long")?;
            let passed_ms = i64::try_from(before.elapsed().as_millis())?;
            let is_right = (60_000 - passed_ms - 1_000..=60_000 - 3_000).contains(&left_ms);
            check(is_right, || {
                format!("{left_ms} ms are left, {passed_ms} passed")
            })?;
            let engine_s = client.info_field("lru_clock")? - engine_s;
            let most_s = passed_ms / 1_000 - 1;
            check((0..=most_s).contains(&engine_s), || {
                format!("{engine_s} s of engine time in {passed_ms} ms")
            })?;
            std::thread::sleep(PAUSE);
            Ok(())
        })?;
        write_on(&mut writers, port)?;
        expect_deadlines(&mut client, 0)?;
        let ended = server.exit_within(Duration::ZERO);
        check(ended.is_err(), || format!("it ended: {ended:?}"))?;
        server.signal(Signal::KILL)?;
        server.exit_within(STOP_MAX)?;
        expect_kept(&data, &mut writers)?;
    }
    Ok(())
}
