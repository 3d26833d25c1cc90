//! Entry points for fuzzers; not for use in programs.
//!
//! A fuzz target is one call of one of these functions. They panic when a promise of the server is
//! broken, whatever the input. `cargo test` calls them with every file of the fuzzers' corpora.

mod coordination;
mod journal;

pub use coordination::coordination;
pub use journal::{journal_recover, snapshot_load};

use crate::config::{Secret, Settings};
use crate::inproc::{Inproc, InprocOptions};
use linchpin_protocol::{ReplyError, ReplyLimits, ReplyParser};

/// What begins a control: two bytes that no client sends, but what happens meanwhile.
const CONTROL: u8 = 0xff;
const CONNECTIONS: usize = 4;
/// Few enough that keys meet in one.
const SHARDS: usize = 2;
/// So short that no value takes long to make.
const BULK_BYTES_MAX: u64 = 4 << 10;
/// Memory a connection may hold for each byte it sent: its requests wait as bytes, then as words.
/// Most is held by a subscription to a name of one byte.
const HELD_PER_BYTE_MAX: usize = 256;
/// And without having sent anything.
const HELD_BYTES_MIN: usize = 1 << 10;

/// Plays `input` as what several connections send to a server in virtual time. Its bytes are what
/// one connection sends, but for controls, which begin with `0xff`:
///
/// ```text
///   0 .. 3     the bytes that follow come from this connection
///   |          what came so far arrives alone
///   t n        n * n milliseconds pass
///   s          the sweeper goes round
///   c          the connection is closed by the client; another takes its place
///   p          at the very beginning: a password, `secret`, is set
///   0xff       this byte itself
/// ```
///
/// # Panics
///
/// When a reply is not well formed; when a closed connection is answered; when a connection holds
/// memory out of proportion to what it sent, or another connection's PING is not answered; when the
/// effects do not lead to the same state in a second engine; and when closed connections leave
/// anything.
pub fn resp_sequence(input: &[u8]) {
    let mut settings = Settings::default();
    settings.proto_max_bulk_len = BULK_BYTES_MAX;
    let mut rest = input;
    if let Some(after) = input.strip_prefix(&[CONTROL, b'p']) {
        settings.requirepass = Some(Secret::new("secret"));
        rest = after;
    }
    let mut stage = Stage::new(settings);
    let mut piece = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != CONTROL {
            piece.push(byte);
            continue;
        }
        let Some((&control, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        if control == CONTROL {
            piece.push(control);
            continue;
        }
        stage.send(&std::mem::take(&mut piece));
        match control {
            b'0'..=b'3' => stage.at = usize::from(control - b'0'),
            b't' => {
                let (&n, after) = rest.split_first().unwrap_or((&0, rest));
                rest = after;
                stage.advance_ms(u64::from(n) * u64::from(n));
            }
            b's' => stage.server.sweep(),
            b'c' => stage.reconnect(),
            _ => {}
        }
    }
    stage.send(&piece);
    stage.end();
}

/// A server and those connected to it.
struct Stage {
    server: Inproc,
    clients: [Peer; CONNECTIONS],
    /// The client that sends.
    at: usize,
    /// Sends nothing but PING.
    witness: usize,
}

/// A client as the fuzzer sees it.
struct Peer {
    number: usize,
    sent_bytes: usize,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let mut server = Inproc::new(InprocOptions {
            settings,
            shards: SHARDS,
            ..Default::default()
        });
        let witness = server.connect();
        let clients = [(); CONNECTIONS].map(|()| Peer::connect(&mut server));
        Self {
            server,
            clients,
            at: 0,
            witness,
        }
    }

    fn send(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let client = &self.clients[self.at];
        let was_closed = self.server.is_closed(client.number);
        let may_answer = |client: &Peer| self.server.is_waiting(client.number);
        let may_answer: Vec<bool> = self.clients.iter().map(may_answer).collect();
        let client = &mut self.clients[self.at];
        self.server.send(client.number, piece);
        client.sent_bytes += piece.len();
        let held_max = HELD_BYTES_MIN + HELD_PER_BYTE_MAX * client.sent_bytes;
        let held = self.server.held_bytes(client.number);
        assert!(
            held <= held_max,
            "{held} bytes held, {} sent",
            client.sent_bytes
        );
        for (number, client) in self.clients.iter().enumerate() {
            let output = self.server.take_output(client.number);
            assert_well_formed(&output);
            let silent = number != self.at || was_closed;
            let silent = silent && !may_answer[number];
            // News of a loss and messages of channels come unasked.
            let is_push = output.first() == Some(&b'>') || is_message(&output);
            assert!(
                !silent || output.is_empty() || is_push,
                "an answer to nothing"
            );
        }
        self.ping();
    }

    /// Lets time pass.
    fn advance_ms(&mut self, ms: u64) {
        self.server.advance_ms(ms);
        self.take_unasked();
    }

    /// Takes what calls that waited are answered, and news, where nobody sent anything.
    fn take_unasked(&mut self) {
        for client in &self.clients {
            assert_well_formed(&self.server.take_output(client.number));
        }
    }

    /// Whatever others do, somebody else is served: unless the server stops, and through a new
    /// connection where the old one was killed.
    fn ping(&mut self) {
        if self.server.is_stopping() {
            return;
        }
        if self.server.is_closed(self.witness) {
            self.witness = self.server.connect();
        }
        self.server.send(self.witness, b"PING\r\n");
        let output = self.server.take_output(self.witness);
        let refused = output.starts_with(b"-NOAUTH ");
        assert!(
            refused || output == b"+PONG\r\n",
            "PING is answered {}",
            output.escape_ascii()
        );
    }

    fn reconnect(&mut self) {
        self.server.close(self.clients[self.at].number);
        self.take_unasked();
        self.clients[self.at] = Peer::connect(&mut self.server);
    }

    fn end(mut self) {
        self.ping();
        self.server.check_replay();
        self.server.close(self.witness);
        for client in &self.clients {
            self.server.close(client.number);
        }
        assert_eq!(self.server.leftovers(), (0, 0), "something is left over");
    }
}

impl Peer {
    fn connect(server: &mut Inproc) -> Self {
        Self {
            number: server.connect(),
            sent_bytes: 0,
        }
    }
}

/// Whether the bytes begin with a message of a channel, as protocol version 2 writes it.
fn is_message(output: &[u8]) -> bool {
    let beginnings: [&[u8]; 3] = [
        b"*3\r\n$7\r\nmessage\r\n",
        b"*3\r\n$8\r\nsmessage\r\n",
        b"*4\r\n$8\r\npmessage\r\n",
    ];
    beginnings.iter().any(|bytes| output.starts_with(bytes))
}

/// The bytes must be whole replies, one after the other.
fn assert_well_formed(mut output: &[u8]) {
    let mut parser = ReplyParser::new();
    while !output.is_empty() {
        let progress = parser.parse(output, &ReplyLimits::default());
        if progress == Err(ReplyError::NestedPush) {
            // What EXEC answers to SUBSCRIBE has confirmations inside, as Redis' has.
            return;
        }
        let whole = progress.as_ref().is_ok_and(|done| done.reply.is_some());
        assert!(whole, "{progress:?} of {}", output.escape_ascii());
        output = &output[progress.map_or(0, |done| done.consumed)..];
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::command::table;
    use std::path::Path;

    #[test]
    fn coordination() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/coordination");
        for file in std::fs::read_dir(&folder).expect("the corpus lies in the repository") {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| super::coordination(&input));
            assert!(outcome.is_ok(), "{}", path.display());
        }
    }

    /// Inputs by chance, so that the target is seen to work without a fuzzer.
    #[test]
    fn coordination_by_chance() {
        use rand::{Rng, SeedableRng};
        for seed in 0..200 {
            let mut input = [0; 800];
            rand::rngs::SmallRng::seed_from_u64(seed).fill_bytes(&mut input);
            super::coordination(&input);
        }
    }

    /// The corpus, replayed; every command is in it, so that a fuzzer need not guess names.
    #[test]
    fn resp_sequence() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/resp_sequence");
        let mut corpus = Vec::new();
        for file in std::fs::read_dir(&folder).expect("the corpus lies in the repository") {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| super::resp_sequence(&input));
            assert!(outcome.is_ok(), "{}", path.display());
            corpus.extend(input.to_ascii_lowercase());
            corpus.push(b'\n');
        }
        let has = |name: &str| {
            let words = name.replace('|', " ").into_bytes();
            corpus.windows(words.len()).any(|window| window == words)
        };
        let missing: Vec<_> = table::all().iter().map(|spec| spec.name).collect();
        let missing: Vec<_> = missing.into_iter().filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "no seed has {missing:?}");
    }
}
