//! The server in this process: no socket, and a clock that only `! advance` moves.

use std::collections::HashMap;

use linchpin_server::inproc::Inproc;

use super::target::{Target, Until};
use crate::resp::{self, Reply};
use crate::variant::Variant;

/// A server without sockets.
pub(crate) struct InProcess {
    server: Inproc,
    /// Bytes taken from each connection that make no whole reply yet.
    unfinished: HashMap<usize, Vec<u8>>,
}

impl InProcess {
    /// A server with these settings, run in this way.
    pub(crate) fn new(
        settings: &[(String, String)],
        variant: Variant,
    ) -> Result<InProcess, String> {
        Ok(InProcess {
            server: Inproc::new(variant.options(settings)?),
            unfinished: HashMap::new(),
        })
    }
}

impl Target for InProcess {
    fn connect(&mut self) -> Result<usize, String> {
        Ok(self.server.connect())
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        self.server.send(conn, bytes);
    }

    fn receive(&mut self, conn: usize, until: Until) -> Result<Vec<Reply>, String> {
        let bytes = self.unfinished.entry(conn).or_default();
        bytes.extend(self.server.take_output(conn));
        let (replies, taken) = resp::split(bytes)?;
        bytes.drain(..taken);
        match bytes.is_empty() || matches!(until, Until::Lines(_)) {
            true => Ok(replies),
            false => Err(format!("an unfinished reply: {}", resp::escape(bytes))),
        }
    }

    fn is_closed(&mut self, conn: usize) -> bool {
        self.server.is_closed(conn)
    }

    fn close(&mut self, conn: usize) -> Result<Vec<Reply>, String> {
        self.server.close(conn);
        self.receive(conn, Until::End)
    }

    fn advance(&mut self, ms: u64) -> Result<(), String> {
        self.server.advance_ms(ms);
        self.server.sweep();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.server.check_replay();
        match self.server.leftovers() {
            (0, 0) => Ok(()),
            (conns, keys) => Err(format!(
                "{conns} connections and {keys} watched keys outlive their clients"
            )),
        }
    }
}
