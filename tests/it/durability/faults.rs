//! System calls that fail, by strace: an error ends the server without another acknowledgement, a
//! slow sync keeps only those waiting who need it, a disk that cannot reserve is waited for.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a server may take to answer is real time"
)]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::crash::strace;
use super::{Data, kill, loaded, writers};
use crate::Case;
use crate::client::{Client, check, eventually};
use crate::need::{self, Program};
use crate::process::{Launch, Server};

const CASES: &[Case] = &[
    ("a_write_that_fails_ends_it", write_fails),
    ("a_sync_that_fails_ends_it", sync_fails),
    ("a_sync_of_the_second_that_fails_ends_it", lazy_sync_fails),
    ("a_slow_sync_under_always", slow_sync),
    ("a_slow_sync_of_the_second", slow_lazy_sync),
    ("no_room_at_a_write_is_waited_for", no_room_at_a_write),
    ("a_disk_that_does_not_come_back", hanging),
    ("replies_that_are_left_out_while_others_wait", silenced),
    ("clients_of_a_server_that_reads_slowly", loading),
];

/// How long a server may take to end after its disk failed.
const END_MAX: Duration = Duration::from_secs(20);
/// How long each sync takes on the slow disk; more than a second is told of.
const SLOW_US: u32 = 1_200_000;
/// A server listens within this time.
const LISTENS_MAX: Duration = Duration::from_secs(10);
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
pub(crate) fn start(data: &Data, call: &str, injection: &str) -> Result<Server, Failed> {
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

/// Who waits for a sync or a write that does not come back is told so after half a minute; whoever
/// needs nothing of the disk goes on, and so does everybody once it has come back.
fn hanging() -> Result<(), Failed> {
    const HANGS_US: u32 = 33_000_000;
    const STUCK: Duration = Duration::from_secs(30);
    // Behind the calls of the start.
    const NTH: usize = 40;
    let hang = |(policy, call): (&'static str, &'static str)| -> Result<(), Failed> {
        let data = Data::new(policy, 2)?;
        let injection = format!("delay_enter={HANGS_US}:when={NTH}");
        let server = start(&data, call, &injection)?;
        let mut reader = Client::connect(server.port())?;
        let mut writer = Client::connect(server.port())?;
        writer.stream().set_read_timeout(Some(STUCK * 2))?;
        for _ in 0..2 * NTH {
            let begun = Instant::now();
            let reply = writer.call("SET key value")?;
            let took = begun.elapsed();
            if reply != "+OK" {
                let is_so = reply.starts_with("-UNKNOWN ") && took > STUCK - STUCK / 10;
                check(is_so, || format!("{reply} after {took:?}"))?;
                reader.expect("GET other", "$-1")?;
                eventually("the disk comes back", STUCK, || {
                    Ok((writer.call("SET key value")? == "+OK").then_some(()))
                })?;
                return kill(server);
            }
            check(took < STUCK, || format!("acknowledged after {took:?}"))?;
        }
        Err(format!("{call} hung nowhere").into())
    };
    let cases = [("always", "fdatasync"), ("everysec", "pwrite64")];
    std::thread::scope(|scope| {
        let hanging = cases.map(|case| scope.spawn(move || hang(case)));
        let joined = hanging.map(|thread| thread.join().expect("a case does not panic"));
        joined.into_iter().collect()
    })
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

/// Replies that wait keep their order, and those that CLIENT REPLY leaves out stay out.
fn silenced() -> Result<(), Failed> {
    let data = Data::new("always", 2)?;
    let server = start(&data, "fdatasync", "delay_enter=300000")?;
    let mut client = Client::connect(server.port())?;
    for _ in 0..2 {
        client.expect("DEL a b c", ":0")?;
        for line in [
            "SET a 1",
            "CLIENT REPLY SKIP",
            "SET b 2",
            "GET a",
            "CLIENT REPLY OFF",
            "SET c 3",
            "GET c",
            "NOSUCHCOMMAND",
            "CLIENT REPLY ON",
            "GET b",
            "MULTI",
            "INCR a",
            "CLIENT REPLY OFF",
            "INCR b",
            "CLIENT REPLY ON",
            "INCR c",
            "EXEC",
            "DEL a b c",
            "PING",
        ] {
            client.send(line)?;
        }
        for expected in [
            "+OK", "$1 1", "+OK", "$1 2", "+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED",
            "+QUEUED",
        ] {
            let reply = client.receive()?.lines().join(" ");
            check(reply == expected, || format!("{reply}, not {expected}"))?;
        }
        // Of the array, the length and what was not left out.
        client.send("ECHO end")?;
        let mut rest = Vec::new();
        while rest.last().is_none_or(|last| last != "$3 end") {
            rest.push(client.receive()?.lines().join(" "));
        }
        let expected = ["*5 :2 +OK :4 :3 +PONG", "$3 end"];
        check(rest == expected, || format!("{rest:?}"))?;
    }
    kill(server)
}

/// Whoever comes while much is read is told so, and served afterwards.
fn loading() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    for key in 0..20 {
        client.expect(&format!("SET key{key} \"\\*300000{{v}}\""), "+OK")?;
    }
    kill(server)?;
    let socket = data.folder.path().join("socket");
    let path = socket.to_str().ok_or("the path is not UTF-8")?.to_owned();
    let words = strace("pread64", "delay_enter=100000");
    let launch = under(data.launch(&["--unixsocket", &path])?, &words);
    let server = std::thread::scope(|scope| {
        let starting = scope.spawn(|| launch.start());
        let early = eventually("it listens", LISTENS_MAX, || {
            Ok(UnixStream::connect(&socket).ok())
        })?;
        let replies = converse(
            early,
            "GET key0\r\nSET key0 v\r\nDBSIZE\r\nMULTI\r\nGET key0\r\nEXEC\r\n",
        )?;
        let told = "-LOADING Redis is loading the dataset in memory\r\n";
        let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
        let expected = [told, told, told, "+OK\r\n", told, aborted].concat();
        check(replies == expected, || replies.escape_debug().to_string())?;
        let started = starting.join().map_err(|_| "the start panicked")?;
        Ok::<_, Failed>(started?)
    })?;
    let late = UnixStream::connect(&socket)?;
    let replies = converse(late, "DBSIZE\r\nSTRLEN key19\r\n")?;
    check(replies == ":20\r\n:300000\r\n", || replies.clone())?;
    kill(server)
}

/// All that is answered to some lines.
fn converse(mut socket: UnixStream, lines: &str) -> Result<String, Failed> {
    socket.write_all(lines.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut replies = String::new();
    socket.read_to_string(&mut replies)?;
    Ok(replies)
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
