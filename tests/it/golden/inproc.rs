//! The server in this process: no socket, and a clock that only `! advance` moves.

use linchpin_server::config::{Phase, Settings};
use linchpin_server::inproc::Inproc;

use super::target::{Target, Until};
use crate::resp::{self, Reply};

/// A server without sockets.
pub(crate) struct InProcess(Inproc);

impl InProcess {
    /// A server with these settings.
    pub(crate) fn new(settings: &[(String, String)]) -> Result<InProcess, String> {
        let mut all = Settings::default();
        for (name, value) in settings {
            let words: Vec<&str> = value.split(' ').collect();
            all.set(name, &words, Phase::Start)
                .map_err(|error| format!("{name} {value}: {error:?}"))?;
        }
        Ok(InProcess(Inproc::new(all)))
    }
}

impl Target for InProcess {
    fn connect(&mut self) -> Result<usize, String> {
        Ok(self.0.connect())
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        self.0.send(conn, bytes);
    }

    fn receive(&mut self, conn: usize, _until: Until) -> Result<Vec<Reply>, String> {
        let bytes = self.0.take_output(conn);
        let (replies, taken) = resp::split(&bytes)?;
        match &bytes[taken..] {
            [] => Ok(replies),
            rest => Err(format!("an unfinished reply: {}", resp::escape(rest))),
        }
    }

    fn is_closed(&mut self, conn: usize) -> bool {
        self.0.is_closed(conn)
    }

    fn close(&mut self, conn: usize) -> Result<Vec<Reply>, String> {
        self.0.close(conn);
        self.receive(conn, Until::End)
    }

    fn advance(&mut self, ms: u64) -> Result<(), String> {
        self.0.advance_ms(ms);
        self.0.sweep();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.0.check_replay();
        match self.0.leftovers() {
            (0, 0) => Ok(()),
            (conns, keys) => Err(format!(
                "{conns} connections and {keys} watched keys outlive their clients"
            )),
        }
    }
}
