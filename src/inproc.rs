//! The server without sockets, in virtual time: for tests, fuzzers and models.
//!
//! The same sessions, commands and engine as behind a socket, driven by hand. Time moves only when
//! it is told to. Every effect is recorded and can be replayed into a second engine whose state
//! must then be the same ([`Inproc::check_replay`]).

mod disk;
#[cfg(all(test, not(loom)))]
mod loading;
#[cfg(all(test, not(loom)))]
mod recovery;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::clock::{Clock, ManualClock};
use crate::command::host::{Durability, Host};
use crate::config::Settings;
use crate::engine::{
    Engine, Frame, Recorder, SHARDS_DEFAULT, Settler, Sink, Sweeper, Tally, usable,
};
use crate::pubsub::Mailbox;
use crate::session::outbox::Post;
use crate::session::registry::{Client, Origin};
use crate::session::server::{Server, ServerOptions};
use crate::session::{BufferUse, Session, Stop, Worker};
use crate::sync::Wake;
use disk::Disk;
use std::sync::Arc;

pub use disk::DiskMood;

/// When virtual time begins: a second that no deadline of a test is near.
const START_WALL_MS: u64 = 1_700_000_000_000;
/// As behind a socket, larger buffers go back to the allocator when they are empty.
const INPUT_KEPT_BYTES_MAX: usize = 64 << 10;
const SEED: u64 = 0x1157_c41f;

/// A server in this thread.
pub struct Inproc {
    clock: Arc<ManualClock>,
    recorder: Arc<Recorder>,
    disk: Arc<Disk>,
    server: Arc<Server>,
    workers: Vec<Worker>,
    connections: Vec<Connection>,
    replica: Engine,
}

struct Connection {
    /// The number of its worker.
    worker: usize,
    session: Session,
    client: Arc<Client>,
    input: Vec<u8>,
    output: Vec<u8>,
    closed: bool,
}

/// Nobody sleeps here, so nobody is woken.
struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// How a server in this thread is made.
#[derive(Debug)]
pub struct InprocOptions {
    /// The settings to begin with.
    pub settings: Settings,
    /// Shards per database, a power of two, at most 1,024: with few of them keys meet in one shard,
    /// as they do among many keys.
    pub shards: usize,
    /// Workers, at least 1, among which the connections are dealt in turn. They take turns in this
    /// thread too: what they do to each other at one time is not seen here.
    pub workers: usize,
    /// Whether effects are recorded. Without, it is as the real server without a journal, and
    /// [`Inproc::check_replay`] has nothing to compare and fails once anything was written: for
    /// benchmarks, whose record would have no end.
    pub is_recorded: bool,
}

impl Default for InprocOptions {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            shards: SHARDS_DEFAULT,
            workers: 1,
            is_recorded: true,
        }
    }
}

impl Inproc {
    /// A server without a connection.
    #[must_use]
    pub fn new(options: InprocOptions) -> Self {
        let recorder = Arc::new(Recorder::new());
        let record = || Box::new(Arc::clone(&recorder)) as Box<dyn Sink>;
        let sink = options.is_recorded.then(record);
        let clock = Arc::new(ManualClock::at(START_WALL_MS));
        let disk = Arc::new(Disk::new(START_WALL_MS / 1_000));
        let replica_options = crate::engine::Options {
            databases: options.settings.databases,
            ..Default::default()
        };
        let server = Arc::new(Server::new(ServerOptions {
            databases: options.settings.databases,
            settings: options.settings,
            config_file: None,
            workers: options.workers,
            shards: options.shards,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            sink,
            disk_double: Some(Arc::clone(&disk) as Arc<dyn Durability>),
            seed: SEED,
            hash_seed: SEED,
            clients_fit: |maxclients| maxclients,
            on_shut_down: Box::new(|| {}),
        }));
        let worker = |index| Worker::new(index, Arc::clone(&server));
        Self {
            clock,
            recorder,
            disk,
            workers: (0..options.workers).map(worker).collect(),
            server,
            connections: Vec::new(),
            replica: Engine::new(replica_options, None),
        }
    }

    /// Opens a connection and answers its number.
    pub fn connect(&mut self) -> usize {
        let number = self.connections.len();
        let origin = Origin {
            addr: format!("127.0.0.1:{}", 50_000 + number).into(),
            laddr: "127.0.0.1:6379".into(),
            fd: -1,
            unix: false,
        };
        let opened_ms = self.clock.now().mono_us / 1_000;
        let worker = number % self.workers.len();
        let registry = self.server.registry();
        let client = registry.open(origin, opened_ms, worker, Arc::new(Nobody));
        let session = Session::new(Arc::clone(&client), self.workers[worker].settings());
        let (input, output) = (Vec::new(), Vec::new());
        self.connections.push(Connection {
            worker,
            session,
            client,
            input,
            output,
            closed: false,
        });
        number
    }

    /// Lets a connection receive bytes and execute what is complete.
    ///
    /// # Panics
    /// If no connection has this number.
    pub fn send(&mut self, connection: usize, bytes: &[u8]) {
        let this = &mut self.connections[connection];
        if !this.closed {
            this.input.extend_from_slice(bytes);
            self.execute(connection);
            self.resume();
        }
    }

    /// Executes what a connection has received.
    fn execute(&mut self, connection: usize) {
        let this = &mut self.connections[connection];
        let worker = &mut self.workers[this.worker];
        loop {
            let ran = this.session.run(&this.input, &mut this.output, worker);
            this.input.drain(..ran.consumed);
            if this.input.is_empty() && this.input.capacity() > INPUT_KEPT_BYTES_MAX {
                this.input = Vec::new();
            }
            let now_ms = self.clock.now().mono_us / 1_000;
            let held_bytes = usable(this.input.capacity()) + usable(this.output.capacity());
            let buffers = BufferUse {
                held_bytes,
                ..BufferUse::default()
            };
            this.session.refresh(worker, now_ms, buffers);
            match ran.stop {
                Stop::NeedsInput | Stop::JournalBehind | Stop::Parked => break,
                Stop::OutputFull => {}
                Stop::Close | Stop::Overflow => {
                    self.close(connection);
                    break;
                }
            }
        }
    }

    /// Goes on with the connections whose calls waited for what has now come about.
    fn resume(&mut self) {
        loop {
            self.disk.settle(self.clock.now().wall_ms / 1_000);
            self.deliver_posts();
            let may_resume = |number: &usize| {
                let this = &self.connections[*number];
                !this.closed && this.session.may_resume(&self.workers[this.worker])
            };
            let Some(number) = (0..self.connections.len()).find(may_resume) else {
                break;
            };
            self.execute(number);
        }
        if self.server.stopping_since_ms().is_some() {
            (0..self.connections.len()).for_each(|number| self.close(number));
        }
    }

    /// Tells the disk how to do from now on.
    pub fn set_disk(&mut self, mood: DiskMood) {
        self.disk.set_mood(mood, self.recorder.numbered());
        self.resume();
    }

    /// What a connection was sent since the last call.
    ///
    /// # Panics
    /// If no connection has this number.
    pub fn take_output(&mut self, connection: usize) -> Vec<u8> {
        let this = &mut self.connections[connection];
        this.session.shift_output(this.output.len());
        std::mem::take(&mut this.output)
    }

    /// Whether a connection has ended.
    ///
    /// # Panics
    /// If no connection has this number.
    #[must_use]
    pub fn is_closed(&self, connection: usize) -> bool {
        self.connections[connection].closed
    }

    /// Bytes a connection holds of what it sent: waiting for the rest of a request, or for `EXEC`.
    ///
    /// # Panics
    /// If no connection has this number.
    #[must_use]
    pub fn held_bytes(&self, connection: usize) -> usize {
        let this = &self.connections[connection];
        this.input.capacity() + this.session.held_bytes()
    }

    /// Whether a connection's last call waits for something.
    ///
    /// # Panics
    /// If no connection has this number.
    #[must_use]
    pub fn is_waiting(&self, connection: usize) -> bool {
        self.connections[connection].session.parked().is_some()
    }

    /// Whether somebody asked the server to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.server.stopping_since_ms().is_some()
    }

    /// Ends a connection from the client's side.
    ///
    /// # Panics
    /// If no connection has this number.
    pub fn close(&mut self, connection: usize) {
        let this = &mut self.connections[connection];
        if !this.closed {
            this.closed = true;
            this.session.close(&self.server, this.worker, usize::MAX);
            self.resume();
        }
    }

    /// Lets time pass, and the coordinator end what it has ended.
    pub fn advance_ms(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        self.end_due();
        self.resume();
    }

    /// What the timer of the coordinator does.
    fn end_due(&mut self) {
        let batch = self.server.engine().shared(0, self.clock.now());
        let mut step = batch.step();
        step.coordinate(|_| ());
        while step.hand_over_due(usize::MAX) {}
        while step.drop_loose(usize::MAX) {}
        step.commit();
        drop(step);
        let random = || Host::random(&*self.server);
        let engine = self.server.engine();
        engine.serve_ids(self.clock.now(), &mut { random });
    }

    /// Lets every worker's sweeper go once round its shards.
    pub fn sweep(&mut self) {
        let mut tally = Tally::default();
        for worker in 0..self.workers.len() {
            let batch = self.server.engine().shared(worker, self.clock.now());
            let mut sweeper = Sweeper::new(worker, self.workers.len());
            while sweeper.run(&batch, usize::MAX, &mut tally).is_cut_short() {}
        }
    }

    /// Does what workers do now and then: frees what was flushed, gives sparse memory back.
    pub fn settle(&mut self) {
        let engine = self.server.engine();
        while engine.free_some(usize::MAX) {}
        let batch = engine.shared(0, self.clock.now());
        while batch.step().purge_some(usize::MAX) {}
        let mut settler = Settler::default();
        while settler.run(&batch.step(), usize::MAX) {}
    }

    /// Takes out the frames recorded since the last call, having applied them to the replica.
    fn replay(&self) -> Vec<Frame> {
        let frames = self.recorder.take();
        for frame in &frames {
            let applied = self.replica.apply(frame.bytes());
            applied.expect("an engine can read what an engine wrote");
        }
        frames
    }

    /// Applies what was recorded to a second engine and compares the two.
    ///
    /// # Panics
    /// If the states differ: some change left no effect, or a wrong one.
    pub fn check_replay(&self) {
        let frames = self.replay();
        let same = self.server.engine().state_hash() == self.replica.state_hash();
        let effects: Vec<_> = frames.iter().map(Frame::effects).collect();
        assert!(
            same,
            "the effects do not lead to the same state; the last were {effects:?}"
        );
    }

    /// Number of open connections and of keys they watch: both 0 when all have gone.
    #[must_use]
    pub fn leftovers(&self) -> (usize, usize) {
        (
            self.server.registry().len(),
            self.server.engine().watched_keys(),
        )
    }

    fn deliver_posts(&mut self) {
        for worker in 0..self.workers.len() {
            self.server.hub().bell(worker).answer();
        }
        for number in 0..self.connections.len() {
            let this = &mut self.connections[number];
            let posts = this.client.outbox().take();
            let is_cut_off = |mailbox: &Arc<Mailbox>| mailbox.is_cut_off();
            let is_cut_off = this.session.mailbox().is_some_and(is_cut_off);
            let is_over = posts.contains(&Post::Close) || is_cut_off;
            for post in posts {
                // Every frame is as good as on the disk.
                let _ = this.session.note_post(post, &mut this.output);
            }
            if !this.closed {
                this.session.take_messages(&mut this.output, usize::MAX);
            }
            if is_over {
                self.close(number);
            }
        }
    }
}

impl std::fmt::Debug for Inproc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inproc")
            .field("connections", &self.connections.len())
            .finish()
    }
}
