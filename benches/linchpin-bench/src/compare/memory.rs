//! Memory for each key and for each idle connection, from what is resident.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linchpin_protocol::Reply;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::VALUE_BYTES;
use crate::fleet::fill;
use crate::keys::KEY_BYTES;
use crate::process::{Launch, Server};
use crate::report::{IdleRow, MemoryRow};
use crate::workload::Lifetime;

/// What an empty server is given to finish starting.
const SETTLE_EMPTY: Duration = Duration::from_millis(300);
const TTL_S: u64 = 1_000_000;
/// What a server is given to finish moving its tables.
const SETTLE: Duration = Duration::from_millis(1_500);
/// What a server is given to let go of the buffers of connections that went quiet.
const SETTLE_IDLE: Duration = Duration::from_secs(5);
const IDLE_CONNECTIONS: usize = 10_000;
/// File descriptors that this program has beside idle connections.
const FDS_RESERVED: u64 = 100;

/// Bytes per key beyond key and value, for keys with and without a time to live.
pub(super) fn per_key(
    sizes: &[u64],
    launches: &[Launch],
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<MemoryRow>> {
    let mut rows = Vec::new();
    for has_ttl in [false, true] {
        for launch in launches {
            let ttl = if has_ttl { " with TTL" } else { "" };
            say(&format!("memory per key{ttl}: {}", launch.name));
            let server = Server::start(launch)?;
            let lifetime = if has_ttl {
                Lifetime::Seconds(TTL_S)
            } else {
                Lifetime::Endless
            };
            let overhead_bytes = overheads(&server, sizes, lifetime);
            rows.push(MemoryRow {
                server: launch.name.clone(),
                has_ttl,
                overhead_bytes: overhead_bytes.with_context(|| launch.name.clone())?,
            });
        }
    }
    Ok(rows)
}

fn overheads(server: &Server, sizes: &[u64], lifetime: Lifetime) -> anyhow::Result<Vec<f64>> {
    // The connection that fills has left its mark before the empty server is weighed.
    fill(server.address(), 0..1, VALUE_BYTES, lifetime)?;
    sleep(SETTLE_EMPTY);
    let empty = server.resident_bytes()?;
    let mut filled = 0;
    let mut overheads = Vec::new();
    for keys in sizes {
        fill(server.address(), filled..*keys, VALUE_BYTES, lifetime)?;
        filled = *keys;
        match server.ask(&["DBSIZE"])? {
            Reply::Integer(size) if u64::try_from(size) == Ok(*keys) => {}
            other => bail!("{keys} keys were set, but DBSIZE answers {other:?}"),
        }
        sleep(SETTLE);
        let taken = server.resident_bytes()?.saturating_sub(empty);
        overheads.push(taken as f64 / *keys as f64 - (KEY_BYTES + VALUE_BYTES) as f64);
    }
    Ok(overheads)
}

/// Bytes per connection that has said one thing and then nothing.
pub(super) fn idle_connections(
    launches: &[Launch],
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<IdleRow>> {
    let connections = raise_connections(IDLE_CONNECTIONS)?;
    let mut rows = Vec::new();
    for launch in launches {
        say(&format!("{connections} idle connections: {}", launch.name));
        let server = Server::start(launch)?;
        sleep(SETTLE_EMPTY);
        let before = server.resident_bytes()?;
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut stream = TcpStream::connect(server.address())?;
            ping(&mut stream)?;
            open.push(stream);
        }
        sleep(SETTLE_IDLE);
        let taken = server.resident_bytes()?.saturating_sub(before);
        rows.push(IdleRow {
            server: launch.name.clone(),
            connections,
            bytes_each: taken as f64 / connections as f64,
        });
    }
    Ok(rows)
}

/// As many of `wanted` connections as the limit on file descriptors allows, after raising it as far
/// as it goes. The servers inherit it.
pub(crate) fn raise_connections(wanted: usize) -> anyhow::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let allowed = limit
        .maximum
        .unwrap_or(u64::MAX)
        .saturating_sub(FDS_RESERVED);
    Ok(wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX)))
}

fn ping(stream: &mut TcpStream) -> anyhow::Result<()> {
    use std::io::{Read as _, Write as _};
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    if reply != *b"+PONG\r\n" {
        bail!("PING was answered {:?}", String::from_utf8_lossy(&reply));
    }
    Ok(())
}
