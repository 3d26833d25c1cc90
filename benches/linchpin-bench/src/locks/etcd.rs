//! Locks beside etcd's, with all that was granted on the disk before it is told: a lock that nobody
//! else wants, taken and given back.
//!
//! A lock of etcd's is a key that is made unless it is there, with a lease so that it goes with its
//! owner. So a pair is here, over the JSON gateway that etcd brings along, one request after the
//! other on a connection that stays open:
//!
//! ```text
//! a lease each   lease/grant, kv/txn (create unless there), lease/revoke (which deletes the key)
//! a lease kept   kv/txn (create unless there), kv/deleterange
//! Linchpin       LOCK.ACQUIRE ... PX, LOCK.RELEASE, with appendfsync always
//! ```
//!
//! # LIMITATIONS
//!
//! - etcd is there to replicate, and here it does so to nobody: a cluster of one.
//! - The gateway turns JSON into gRPC inside etcd: part of the CPU is its. A client that speaks
//!   gRPC spares that.
//! - etcd takes one core here as the others do; it is made for more.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use linchpin_protocol::{Reply, ReplyLimits, ReplyParser, encode_command};

use super::Bench;
use crate::clock::now;
use crate::compare::load::interleave;
use crate::compare::servers;
use crate::process::{Launch, Process, Server};
use crate::report::{markdown, median, ratio, thousands};
use crate::scratch::Scratch;

const PROGRAM: &str = "etcd";
/// Clients, each with a thread and a connection of its own.
const CLIENTS: [usize; 2] = [1, 50];
/// The lease of a lock, in seconds and in milliseconds: none ends by itself.
const LEASE_S: &str = "60";
const LEASE_MS: &str = "60000";
/// How long etcd may take to answer for the first time, and how long a reply may take.
const START_MAX: Duration = Duration::from_secs(20);
const REPLY_MAX: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);
/// No reply to these requests is longer.
const REPLY_BYTES_MAX: usize = 16 << 10;

/// What a client does for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Linchpin,
    LeaseEach,
    LeaseKept,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Linchpin, "linchpin, always"),
    (Way::LeaseEach, "etcd, a lease each"),
    (Way::LeaseKept, "etcd, a lease kept"),
];

/// What came of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    pairs_per_s: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// The table, or a line that says why there is none.
pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let Some(program) = servers::on_path(PROGRAM) else {
        return Ok(format!("{PROGRAM}: left out, it is not on PATH\n"));
    };
    let linchpin = servers::keeping(&bench.launches[0], "always");
    let etcd = Etcd::start(&program, &linchpin.cores)?;
    let server = Server::start(&linchpin)?;
    let launches = WAYS.map(|(_, name)| Launch {
        name: name.to_owned(),
        ..linchpin.clone()
    });
    let mut rows = Vec::new();
    for clients in CLIENTS {
        (bench.say)(&format!("beside {PROGRAM}, {clients} clients"));
        let time = bench.options.time;
        let rounds = interleave(bench.options.rounds, &launches, &mut bench.rng, |at| {
            let way = WAYS[at].0;
            match way {
                Way::Linchpin => round(way, server.address(), clients, time, || server.cpu()),
                _ => round(way, etcd.address, clients, time, || etcd.process.cpu()),
            }
        })?;
        for ((_, name), of_way) in WAYS.iter().zip(&rounds) {
            let figure = |figure: fn(&Round) -> f64| median(of_way.iter().map(figure));
            rows.push(vec![
                (*name).to_owned(),
                clients.to_string(),
                thousands(figure(|round| round.pairs_per_s)),
                thousands(figure(|round| round.cpu_us)),
                thousands(figure(|round| round.p50_us)),
                thousands(figure(|round| round.p99_us)),
                ratio(of_way, &rounds[1], |round| round.pairs_per_s),
            ]);
        }
    }
    let header = [
        "server",
        "clients",
        "pairs/s",
        "CPU us/pair",
        "p50 us",
        "p99 us",
        "pairs ratio",
    ];
    Ok(format!(
        "etcd {}, one member; ratios are to a lease each\n\n{}",
        etcd.version,
        markdown(&header, 1, &rows)
    ))
}

/// Lets clients take and give back locks of their own for `time`.
fn round(
    way: Way,
    address: SocketAddr,
    clients: usize,
    time: Duration,
    cpu: impl Fn() -> std::io::Result<Duration>,
) -> anyhow::Result<Round> {
    let ready = Barrier::new(clients + 1);
    let (ready, cpu) = (&ready, &cpu);
    thread::scope(|scope| {
        let start = |number| scope.spawn(move || pairs(way, address, number, time, ready));
        let threads: Vec<_> = (0..clients).map(start).collect();
        ready.wait();
        let (began, cpu_before) = (now(), cpu()?);
        let mut taken_ns = Histogram::<u64>::new(3)?;
        for thread in threads {
            let of_client = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            taken_ns.add(of_client?)?;
        }
        let (took, used) = (began.elapsed(), cpu()?.saturating_sub(cpu_before));
        let count = taken_ns.len() as f64;
        ensure!(count > 0.0, "no pair within {time:?}");
        Ok(Round {
            pairs_per_s: count / took.as_secs_f64(),
            cpu_us: used.as_secs_f64() * 1e6 / count,
            p50_us: taken_ns.value_at_quantile(0.5) as f64 / 1e3,
            p99_us: taken_ns.value_at_quantile(0.99) as f64 / 1e3,
        })
    })
}

/// How long each pair of one client took, in nanoseconds.
fn pairs(
    way: Way,
    address: SocketAddr,
    number: usize,
    time: Duration,
    ready: &Barrier,
) -> anyhow::Result<Histogram<u64>> {
    let client = Client::connect(address).and_then(|mut client| {
        let lease = match way {
            Way::LeaseKept => client.grant()?,
            Way::Linchpin | Way::LeaseEach => String::new(),
        };
        client.pair(way, &name(number), &lease)?;
        Ok((client, lease))
    });
    // Whoever waits for all is not to wait for ever.
    ready.wait();
    let (mut client, lease) = client?;
    let mut taken_ns = Histogram::new(3)?;
    let began = now();
    while began.elapsed() < time {
        let asked = now();
        client.pair(way, &name(number), &lease)?;
        taken_ns.record(u64::try_from(asked.elapsed().as_nanos())?)?;
    }
    Ok(taken_ns)
}

/// A lock's name: 16 signs of base64, so that it can stand in JSON for bytes as it is.
fn name(number: usize) -> String {
    format!("lock{number:012}")
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        let unread = Vec::new();
        Ok(Self { stream, unread })
    }

    /// Takes a lock and gives it back.
    fn pair(&mut self, way: Way, lock: &str, lease: &str) -> anyhow::Result<()> {
        match way {
            Way::Linchpin => {
                let owner = lock;
                let taken = self.command(&["LOCK.ACQUIRE", lock, owner, "PX", LEASE_MS])?;
                let is_taken = matches!(&taken, Reply::Array(parts)
                    if parts.first() == Some(&Reply::Integer(1)));
                ensure!(is_taken, "LOCK.ACQUIRE: {taken:?}");
                let freed = self.command(&["LOCK.RELEASE", lock, owner])?;
                ensure!(freed == Reply::Integer(1), "LOCK.RELEASE: {freed:?}");
            }
            Way::LeaseEach => {
                let lease = self.grant()?;
                self.create(lock, &lease)?;
                self.post(
                    "/v3/lease/revoke",
                    &format!(r#"{{"ID":"{lease}"}}"#),
                    "header",
                )?;
            }
            Way::LeaseKept => {
                self.create(lock, lease)?;
                let key = format!(r#"{{"key":"{lock}"}}"#);
                self.post("/v3/kv/deleterange", &key, r#""deleted":"1""#)?;
            }
        }
        Ok(())
    }

    /// A new lease's number.
    fn grant(&mut self) -> anyhow::Result<String> {
        let wanted = format!(r#"{{"TTL":{LEASE_S}}}"#);
        let reply = self.post("/v3/lease/grant", &wanted, r#""ID":"#)?;
        let number = reply
            .split_once(r#""ID":""#)
            .and_then(|(_, rest)| rest.split_once('"'));
        let (number, _) = number.with_context(|| format!("lease/grant: {reply}"))?;
        Ok(number.to_owned())
    }

    /// Makes a key unless it is there.
    fn create(&mut self, key: &str, lease: &str) -> anyhow::Result<()> {
        let is_absent =
            format!(r#"{{"key":"{key}","target":"CREATE","create_revision":0,"result":"EQUAL"}}"#);
        let put =
            format!(r#"{{"request_put":{{"key":"{key}","value":"{key}","lease":"{lease}"}}}}"#);
        let transaction = format!(r#"{{"compare":[{is_absent}],"success":[{put}]}}"#);
        self.post("/v3/kv/txn", &transaction, r#""succeeded":true"#)?;
        Ok(())
    }

    fn command(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut request = Vec::new();
        encode_command(&mut request, words);
        self.stream.write_all(&request)?;
        let mut parser = ReplyParser::new();
        loop {
            self.read()?;
            let progress = parser.parse(&self.unread, &ReplyLimits::default())?;
            self.unread.drain(..progress.consumed);
            if let Some(reply) = progress.reply {
                return Ok(reply);
            }
        }
    }

    /// Sends a request to the gateway, whose reply must be good and have `expected` in it.
    fn post(&mut self, path: &str, body: &str, expected: &str) -> anyhow::Result<String> {
        let len = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {PROGRAM}\r\nContent-Length: {len}\r\n\r\n");
        self.stream.write_all((head + body).as_bytes())?;
        let reply = loop {
            self.read()?;
            if let Some(len) = reply_len(&self.unread)? {
                break self.unread.drain(..len).collect();
            }
        };
        let reply = String::from_utf8(reply)?;
        ensure!(
            reply.starts_with("HTTP/1.1 200 ") && reply.contains(expected),
            "{path} {body}: {reply}"
        );
        Ok(reply)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 4_096];
        let len = self.stream.read(&mut piece)?;
        ensure!(len > 0, "the connection ended before the reply");
        self.unread.extend_from_slice(&piece[..len]);
        Ok(())
    }
}

/// The length of the HTTP reply at the start of `bytes`, if all of it is there.
fn reply_len(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    ensure!(
        bytes.len() <= REPLY_BYTES_MAX,
        "a reply of over {REPLY_BYTES_MAX} bytes"
    );
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let len = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, len) = len.with_context(|| format!("a reply without a length: {head}"))?;
    let len = head.len() + "\r\n\r\n".len() + len.parse::<usize>()?;
    Ok((bytes.len() >= len).then_some(len))
}

/// A running etcd; its directory goes with it.
struct Etcd {
    // Before the directory, so that it ends before that is removed.
    process: Process,
    address: SocketAddr,
    version: String,
    _directory: Scratch,
}

impl Etcd {
    fn start(program: &Path, cores: &[usize]) -> anyhow::Result<Self> {
        let directory = Scratch::new_in(&std::env::temp_dir())?;
        let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.push(listener?.local_addr()?);
        }
        let [clients, peers] = addresses[..] else {
            bail!("two addresses");
        };
        let mut command = Command::new(program);
        command
            .args(["--name", "one", "--log-level", "error"])
            .args(["--listen-client-urls", &format!("http://{clients}")])
            .args(["--advertise-client-urls", &format!("http://{clients}")])
            .args(["--listen-peer-urls", &format!("http://{peers}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peers}")])
            .args(["--initial-cluster", &format!("one=http://{peers}")])
            .arg("--data-dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command, cores)?;
        let started = now();
        loop {
            match version(clients) {
                Ok(version) => {
                    return Ok(Self {
                        process,
                        address: clients,
                        version,
                        _directory: directory,
                    });
                }
                Err(error) if started.elapsed() > START_MAX => {
                    return Err(error.context(format!("{PROGRAM} does not answer")));
                }
                Err(_) => thread::sleep(START_POLL),
            }
        }
    }
}

/// The version of an etcd that grants leases already.
fn version(address: SocketAddr) -> anyhow::Result<String> {
    let mut client = Client::connect(address)?;
    client.grant()?;
    let reply = client.post("/v3/maintenance/status", "{}", r#""version":"#)?;
    let version = reply
        .split_once(r#""version":""#)
        .and_then(|(_, rest)| rest.split_once('"'));
    let (version, _) = version.context("a status without a version")?;
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_whole_when_its_body_is() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP";
        let whole = reply.len() - "HTTP".len();
        for len in 0..whole {
            assert_eq!(reply_len(&reply[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(reply_len(&reply[..whole]).unwrap(), Some(whole));
        assert_eq!(reply_len(reply).unwrap(), Some(whole));
        assert!(reply_len(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n").is_err());
    }
}
