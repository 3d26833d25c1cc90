//! Whether memory comes back: a server that lost nine of ten keys beside one that never had them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use linchpin_protocol::encode_command;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::compare::linchpin;
use crate::cores;
use crate::fleet::fill;
use crate::keys::{Kind, name, write_value};
use crate::process::Server;
use crate::workload::Lifetime;

const VALUE_BYTES: usize = 16;
/// One key in so many stays.
const KEPT_PART: u64 = 10;
/// How long a server is given to return what is free.
const SETTLE: Duration = Duration::from_secs(10);
/// Commands sent before their replies are read.
const PIPELINE: usize = 1_000;

/// What to look at.
#[derive(Clone, Debug)]
pub struct ReclaimOptions {
    /// The Linchpin binary; beside this program's own when there is none.
    pub linchpin: Option<PathBuf>,
    /// Keys that the server is filled with.
    pub keys: u64,
    /// What the choice of keys follows from.
    pub seed: u64,
}

/// Fills a server, deletes nine of ten keys at random, and fills another with the rest; answers a
/// table in Markdown. `say` is told what is going on.
///
/// # Errors
/// No Linchpin, a server that fails, or a wrong reply.
pub fn reclaim(options: &ReclaimOptions, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let all = cores::available().context("reading the cores")?;
    let launch = linchpin(options.linchpin.as_deref(), &all)?;
    let mut keys: Vec<u64> = (0..options.keys).collect();
    keys.shuffle(&mut StdRng::seed_from_u64(options.seed));
    let (kept, deleted) = keys.split_at((options.keys / KEPT_PART) as usize);

    say("filling");
    let server = Server::start(&launch)?;
    let range = 0..options.keys;
    fill(server.address(), range, VALUE_BYTES, Lifetime::Endless)?;
    let full = server.resident_bytes()?;
    say("deleting");
    send_each(server.address(), deleted, b":1\r\n", |key| {
        vec![b"DEL".to_vec(), name(Kind::Text, key).to_vec()]
    })?;
    sleep(SETTLE);
    let left = server.resident_bytes()?;
    drop(server);

    say("filling another with what is left");
    let server = Server::start(&launch)?;
    send_each(server.address(), kept, b"+OK\r\n", |key| {
        let mut value = Vec::new();
        write_value(&mut value, key, VALUE_BYTES);
        let key = name(Kind::Text, key).to_vec();
        vec![b"SET".to_vec(), key, value]
    })?;
    sleep(SETTLE);
    let fresh = server.resident_bytes()?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(format!(
        "| resident | MiB |\n| --- | ---: |\n| {} keys | {:.0} |\n\
         | nine of ten deleted, 10 s later | {:.0} |\n| another server with the rest | {:.0} |\n\
         | ratio of the last two | {:.2} |\n",
        options.keys,
        mib(full),
        mib(left),
        mib(fresh),
        left as f64 / fresh as f64,
    ))
}

/// Sends one command for each key, and expects `reply` to each.
fn send_each(
    address: SocketAddr,
    keys: &[u64],
    reply: &[u8],
    mut command: impl FnMut(u64) -> Vec<Vec<u8>>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut requests = Vec::new();
    for keys in keys.chunks(PIPELINE) {
        requests.clear();
        for key in keys {
            encode_command(&mut requests, command(*key));
        }
        stream.write_all(&requests)?;
        let mut replies = vec![0; reply.len() * keys.len()];
        stream.read_exact(&mut replies)?;
        ensure!(!replies.is_empty(), "nothing was sent");
        if replies.chunks(reply.len()).any(|got| got != reply) {
            bail!("a reply was not {:?}", String::from_utf8_lossy(reply));
        }
    }
    Ok(())
}
