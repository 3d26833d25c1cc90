//! System calls that fail, by strace: an error ends the server without another acknowledgement, a
//! slow sync keeps only those waiting who need it, a disk that cannot reserve is waited for.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server may take to answer is real time"
)]

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::crash::strace;
use super::{Data, kill, loaded, writers};
use crate::Case;
use crate::client::{Client, check};
use crate::need::{self, Program};
use crate::process::{Launch, Server};

const CASES: &[Case] = &[
    ("a_write_that_fails_ends_it", write_fails),
    ("a_sync_that_fails_ends_it", sync_fails),
    ("a_sync_of_the_second_that_fails_ends_it", lazy_sync_fails),
    ("a_slow_sync_under_always", slow_sync),
    ("a_slow_sync_of_the_second", slow_lazy_sync),
    ("no_room_at_a_write_is_waited_for", no_room_at_a_write),
];

/// How long a server may take to end after its disk failed.
const END_MAX: Duration = Duration::from_secs(20);
/// How long each sync takes on the slow disk; more than a second is told of.
const SLOW_US: u32 = 1_200_000;
/// What does not wait for the slow disk is answered sooner than this.
const PROMPT: Duration = Duration::from_millis(500);

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let trial = |(name, body): &Case| {
        let name = format!("durability::faults::{name}");
        need::trial(&name, &[Program::Strace], *body)
    };
    CASES.iter().map(trial).collect()
}

fn under(launch: Launch, words: &[String]) -> Launch {
    launch.under(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A server whose calls `call` end as `injection` says.
pub(super) fn start(data: &Data, call: &str, injection: &str) -> Result<Server, Failed> {
    loaded(under(data.launch(&[])?, &strace(call, injection)).start()?)
}

/// Runs writers until the `nth` call fails, once. Fails unless the server then ends with the code
/// and the line for it, and the acknowledged is there at the next start. Answers how many steps
/// were acknowledged.
fn expect_end(policy: &str, call: &str, nth: usize, crew: (usize, usize)) -> Result<usize, Failed> {
    let data = Data::new(policy, 2)?;
    let (count, depth) = crew;
    let mut writers = writers::crew(count, 10, depth);
    let mut server = start(&data, call, &format!("error=EIO:when={nth}"))?;
    let port = server.port();
    let exit = writers::write_during(&mut writers, port, || Ok(server.exit_within(END_MAX)?))?;
    let last = exit.stderr.last().map(String::as_str).unwrap_or_default();
    let is_told = last.contains("nothing was acknowledged since") && last.contains("os error 5");
    check(exit.code == Some(70) && is_told, || format!("{exit:?}"))?;
    let acked = writers::acked(&writers);
    for _ in 0..2 {
        let server = data.start()?;
        writers::settle(&mut writers, server.port())?;
        kill(server)?;
    }
    Ok(acked)
}

/// A write that is tried again would be done. The first ones are those of the start.
fn write_fails() -> Result<(), Failed> {
    for policy in ["always", "everysec", "no"] {
        for nth in [30, 80, 150] {
            expect_end(policy, "pwrite64", nth, (4, 8))?;
        }
    }
    Ok(())
}

/// One client with one step under way has a sync for each, so it counts them. What a failed sync
/// did not bring to the disk is still in the kernel's memory: only the count can tell.
fn sync_fails() -> Result<(), Failed> {
    for nth in [3, 30, 100] {
        expect_end("always", "fdatasync", nth, (4, 8))?;
        let acked = expect_end("always", "fdatasync", nth, (1, 1))?;
        check(acked < nth, || {
            format!("{acked} steps with {} syncs", nth - 1)
        })?;
    }
    Ok(())
}

fn lazy_sync_fails() -> Result<(), Failed> {
    expect_end("everysec", "fdatasync", 3, (4, 8)).map(drop)
}

/// Who writes waits for the disk; who reads what is safe already does not.
fn slow_sync() -> Result<(), Failed> {
    const KEYS: usize = 5;
    let data = Data::new("always", 2)?;
    let server = start(&data, "fdatasync", &format!("delay_enter={SLOW_US}"))?;
    let mut writer = Client::connect(server.port())?;
    let keys: Vec<_> = (0..KEYS).map(|key| format!("settled{key} {key}")).collect();
    let asked = Instant::now();
    writer.expect(&format!("MSET {}", keys.join(" ")), "+OK")?;
    let took = asked.elapsed();
    check(took > PROMPT, || format!("acknowledged after {took:?}"))?;
    let clients = (0..KEYS).map(|_| Client::connect(server.port()));
    let mut readers = clients.collect::<Result<Vec<_>, _>>()?;
    let asked = Instant::now();
    writer.send("SET slow v")?;
    // Its shard may be that of one of them, which then waits.
    let mut prompt = 0;
    for (key, reader) in readers.iter_mut().enumerate() {
        reader.send(&format!("GET settled{key}"))?;
    }
    for (key, reader) in readers.iter_mut().enumerate() {
        let reply = reader.receive()?.lines().join(" ");
        check(reply == format!("$1 {key}"), || reply)?;
        prompt += usize::from(asked.elapsed() < PROMPT);
    }
    check(prompt > 0, || "no read was answered meanwhile".to_owned())?;
    // Who reads what is not safe yet waits with it.
    let mut reader = Client::connect(server.port())?;
    reader.expect("GET slow", "$1 v")?;
    let took = asked.elapsed();
    check(took > PROMPT, || format!("told of after {took:?}"))?;
    let reply = writer.receive()?.lines().join(" ");
    check(reply == "+OK", || reply)?;
    server.log_line("the disk took long to sync the log")?;
    kill(server)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("GET slow", "$1 v")
}

/// The sync of the second keeps nobody waiting, however long it takes.
fn slow_lazy_sync() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = start(&data, "fdatasync", &format!("delay_enter={SLOW_US}"))?;
    let mut client = Client::connect(server.port())?;
    let started = Instant::now();
    let mut writes = 0;
    while started.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        client.expect("INCR count", &format!(":{}", writes + 1))?;
        let took = asked.elapsed();
        check(took < PROMPT, || format!("acknowledged after {took:?}"))?;
        writes += 1;
    }
    server.log_line("the disk took long to sync the log")?;
    kill(server)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("INCR count", &format!(":{}", writes + 1))
}

/// On a file system that cannot reserve, a write may find no room: its frames wait in memory, its
/// reply with them, until there is room. It is neither refused nor lost nor done twice.
fn no_room_at_a_write() -> Result<(), Failed> {
    for policy in ["always", "everysec"] {
        let data = Data::new(policy, 2)?;
        let mut words = strace("pwrite64", "error=ENOSPC:when=40..42");
        words[6] = "--trace=pwrite64,fallocate".to_owned();
        words.push("--inject=fallocate:error=EOPNOTSUPP".to_owned());
        let server = loaded(under(data.launch(&[])?, &words).start()?)?;
        let mut client = Client::connect(server.port())?;
        let mut longest = Duration::ZERO;
        let mut count = 0;
        while longest < Duration::from_secs(1) {
            let asked = Instant::now();
            count += 1;
            client.expect("INCR count", &format!(":{count}"))?;
            longest = longest.max(asked.elapsed());
            check(count < 200, || format!("the longest took {longest:?}"))?;
        }
        check(longest < Duration::from_secs(8), || format!("{longest:?}"))?;
        client.expect("INCR count", &format!(":{}", count + 1))?;
        kill(server)?;
        let server = data.start()?;
        Client::connect(server.port())?.expect(
            "GET count",
            &format!("${} {}", (count + 1).to_string().len(), count + 1),
        )?;
    }
    Ok(())
}
