//! redis-server over TCP, asked the same and compared byte for byte.
//!
//! What it may answer otherwise: times to live, which run on while we stand still, and the order of
//! keys.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use linchpin_protocol::Reply;

use super::expect::parse;
use super::history::CONNECTIONS;
use crate::process::Server;
use crate::resp;

/// Longer than any reply takes on a busy machine.
const REPLY_MAX: Duration = Duration::from_secs(20);
/// This connection speaks RESP3.
const RESP3: usize = 2;

pub(crate) struct Oracle {
    connections: Vec<TcpStream>,
    server: Server,
}

impl Oracle {
    pub(crate) fn start() -> Result<Oracle, String> {
        let server = Server::redis(&[])?;
        let mut oracle = Oracle {
            connections: Vec::new(),
            server,
        };
        for connection in 0..CONNECTIONS {
            let stream = oracle.connect(connection)?;
            oracle.connections.push(stream);
        }
        Ok(oracle)
    }

    /// Begins anew: no keys, fresh connections.
    pub(crate) fn reset(&mut self) -> Result<(), String> {
        for connection in 0..CONNECTIONS {
            self.reconnect(connection)?;
        }
        ask(&mut self.connections[0], b"FLUSHALL\r\n").map(drop)
    }

    pub(crate) fn reconnect(&mut self, connection: usize) -> Result<(), String> {
        self.connections[connection] = self.connect(connection)?;
        Ok(())
    }

    fn connect(&self, connection: usize) -> Result<TcpStream, String> {
        let mut stream = self.server.connect().map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(REPLY_MAX))
            .map_err(|error| error.to_string())?;
        if connection == RESP3 {
            ask(&mut stream, b"HELLO 3\r\n")?;
        }
        Ok(stream)
    }

    /// Sends the request and compares what comes back with our `reply`.
    pub(crate) fn compare(
        &mut self,
        connection: usize,
        name: &str,
        request: &[Vec<u8>],
        reply: &[u8],
    ) -> Result<(), String> {
        let theirs = ask(&mut self.connections[connection], &resp::encode(request))?;
        if theirs == reply
            || canonical(name, &theirs).is_some_and(|c| Some(c) == canonical(name, reply))
        {
            return Ok(());
        }
        Err(format!(
            "{name} {:?}: redis-server answers {}, we answer {}",
            &request[1..],
            resp::escape(&theirs),
            resp::escape(reply)
        ))
    }
}

/// Sends a request and reads one reply.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("redis-server: {error}");
    stream.write_all(request).map_err(failed)?;
    let (mut reply, mut chunk) = (Vec::new(), [0; 4_096]);
    while parse(&reply).is_none() {
        match stream.read(&mut chunk).map_err(failed)? {
            0 => return Err("redis-server has hung up".into()),
            len => reply.extend_from_slice(&chunk[..len]),
        }
    }
    Ok(reply)
}

/// The reply without what may differ; `None` for commands of which nothing may.
fn canonical(name: &str, reply: &[u8]) -> Option<Reply> {
    let tells_time = ["ttl", "pttl", "expiretime", "pexpiretime", "exec"].contains(&name);
    let lists_keys = ["keys", "scan", "exec"].contains(&name);
    if !tells_time && !lists_keys {
        return None;
    }
    let (mut reply, _) = parse(reply)?;
    smooth(&mut reply, tells_time, lists_keys);
    Some(reply)
}

fn smooth(reply: &mut Reply, tells_time: bool, lists_keys: bool) {
    match reply {
        Reply::Integer(n) if tells_time => *n = (*n).min(10),
        Reply::Array(items) => {
            for item in &mut *items {
                smooth(item, tells_time, lists_keys);
            }
            let is_bulk = |item: &Reply| matches!(item, Reply::Bulk(_));
            if lists_keys && items.iter().all(is_bulk) {
                items.sort_by_key(super::expect::bulk_of);
            }
        }
        _ => {}
    }
}
