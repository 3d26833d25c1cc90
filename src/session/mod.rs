//! Sessions: the protocol state of one connection, without the connection.
//!
//! ```text
//!   bytes --> RequestParser --> resolve --> may it? --+--> run     (a step of the engine)
//!             (linchpin-        (the row)             +--> queue   (inside MULTI)
//!              protocol)                              +--> refuse
//!                                                             replies --> bytes
//! ```
//!
//! A session is a state machine: [`Session::run`] takes bytes received and appends bytes to send.
//! It never waits, does no I/O and asks nobody but the clock it was given for the time, so the
//! driver around it is thin and tests drive it without a socket.
//!
//! Invariants:
//! - replies leave in the order of their requests;
//! - a reply tells what is in the journal as far as was promised, once what [`Ran`] says it needs
//!   has come about; until then nobody sends it;
//! - all commands of one call run in as few batches as the time limit of a batch allows, and no
//!   batch outlives the call;
//! - whatever ends a connection, [`Session::close`] gives back what it held (watches, its place in
//!   the registry).

mod budget;
pub(crate) mod held;
pub(crate) mod kept;
pub(crate) mod outbox;
pub(crate) mod registry;
pub(crate) mod server;
mod told;
mod waits;

use crate::clock::Now;
use crate::command::conn::{Conn, MULTI_BYTES_MAX, MULTI_COMMANDS_MAX, Multi};
use crate::command::cx::find;
use crate::command::error::{self, ReplyError};
use crate::command::host::{ClientState, Host};
use crate::command::spec::{Flags, Group, Spec};
use crate::command::{Cx, Park, make_room, resolve, table, weight};
use crate::config::Settings;
use crate::engine::{Ahead, Batch, FRAME_BYTES_MAX, usable};
use crate::journal::{Admission, Needs};
use crate::observe::calls::Pending;
use crate::observe::stats::Counts;
use crate::pubsub::{Mailbox, Rings, SlowPolicy};
use linchpin_protocol::{
    Args, Limits, Parsed, Pipeline, RequestParser, Version, Writer, peek_second,
};
use registry::Client;
use server::{Outcome, Server};
use std::sync::Arc;
use told::Told;

/// After this much output a call returns, so that it can be sent before more is made.
const OUTPUT_BYTES_SOFT_MAX: usize = 64 << 10;
/// A batch ends with the first command past this many microseconds.
const BATCH_US_MAX: u64 = 1_000;
/// Requests are parsed up to this many ahead of the one that runs, so that their keys are on the
/// way from memory meanwhile.
const REQUESTS_AHEAD_MAX: usize = 16;
/// The clock is read again after this many commands of a batch.
const COMMANDS_PER_CLOCK_READ: u32 = 16;

/// What the registry keeps of each connection: the client, its names, its places in maps.
const STATE_BYTES: usize = usable(size_of::<Client>()) + 128;

/// The first byte of a TLS handshake, which no request begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// One connection's protocol state.
#[derive(Debug)]
pub(crate) struct Session {
    conn: Conn,
    parser: RequestParser,
    client: Arc<Client>,
    command: Option<&'static Spec>,
    /// The call that waits, if one does: nothing runs before it has been answered.
    parked: Option<Park>,
    /// What came of it, where the coordinator was asked.
    arrived: Option<waits::Arrived>,
}

/// What a worker lends to the sessions it runs.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number: its side of the gate, its counters.
    pub(crate) index: usize,
    /// The server it works for.
    pub(crate) server: Arc<Server>,
    settings: Arc<Settings>,
    settings_version: u64,
    calls: Pending,
    pipeline: Pipeline,
    rings: Rings,
    ahead: Ahead,
}

impl Worker {
    /// Worker number `index` of `server`.
    pub(crate) fn new(index: usize, server: Arc<Server>) -> Self {
        let (settings_version, settings) = (server.settings_version(), server.settings());
        Self {
            index,
            server,
            settings,
            settings_version,
            calls: Pending::default(),
            pipeline: Pipeline::new(),
            rings: Rings::default(),
            ahead: Ahead::default(),
        }
    }

    /// The settings in force, read anew if they changed.
    pub(crate) fn settings(&mut self) -> &Arc<Settings> {
        let version = self.server.settings_version();
        if version != self.settings_version {
            self.settings = self.server.settings();
            self.settings_version = version;
        }
        &self.settings
    }
}

/// What a call of [`Session::run`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Bytes of the input that are done with.
    pub(crate) consumed: usize,
    /// Replies made.
    pub(crate) replies: u32,
    /// What must be in the journal before they may be sent.
    pub(crate) needs: Needs,
    /// A call that waited was told what came of it: it is to go on before these replies are sent.
    pub(crate) has_settled: bool,
    /// Why it stopped.
    pub(crate) stop: Stop,
}

/// Why a call of [`Session::run`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What is left of the input is no whole request.
    NeedsInput,
    /// There is enough output to send before going on.
    OutputFull,
    /// The next request would change something while too much waits to be written to the journal.
    JournalBehind,
    /// The last request waits; see [`Session::may_resume`].
    Parked,
    /// The connection is to be closed once the output is sent.
    Close,
    /// A reply would have been longer than the output limit allows: the connection is to be closed
    /// at once, for what it was sent is not whole.
    Overflow,
}

/// How full the driver's buffers are, for `CLIENT LIST`, and what the driver holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BufferUse {
    /// All that the driver holds for this connection, buffers it borrowed left out.
    pub(crate) held_bytes: usize,
    pub(crate) input_bytes: usize,
    pub(crate) input_capacity: usize,
    pub(crate) output_bytes: usize,
    pub(crate) output_capacity: usize,
}

impl Session {
    /// The session of a connection that has just opened.
    pub(crate) fn new(client: Arc<Client>, settings: &Settings) -> Self {
        let conn = Conn::new(client.id(), settings.requirepass.is_none());
        Self {
            conn,
            parser: RequestParser::new(),
            client,
            command: None,
            parked: None,
            arrived: None,
        }
    }

    /// Executes the complete requests in `input`, which begins where the last call stopped, and
    /// appends their replies to `out`.
    pub(crate) fn run(&mut self, input: &[u8], out: &mut Vec<u8>, worker: &mut Worker) -> Ran {
        let settings = Arc::clone(worker.settings());
        let server = &*worker.server;
        let (calls, pipeline) = (&mut worker.calls, &mut worker.pipeline);
        let out_start = out.len();
        let lent = (calls, &worker.rings);
        let mut turn = Turn::new(server, &settings, worker.index, self.client.state(), lent);
        turn.client_bytes = self.client.holding().bytes();
        turn.out_len_max = out_start.saturating_add(output_bytes_max(&settings));
        turn.out_len_soft_max = out_start + OUTPUT_BYTES_SOFT_MAX;
        let mut at = 0;
        self.resume(&mut turn, out);
        let stop = loop {
            if self.parked.is_some() {
                break Stop::Parked;
            }
            if self.conn.closing {
                break Stop::Close;
            }
            let rest = &input[at..];
            if rest.first() == Some(&TLS_HANDSHAKE) {
                self.conn.closing = true;
                at = input.len();
                continue;
            }
            let limits = limits(&settings, self.conn.authenticated);
            let requests_max = self.requests_ahead_max();
            let parsed = self
                .parser
                .parse_ahead(rest, &limits, requests_max, pipeline);
            let (taken, stop) = self.run_ahead(rest, pipeline, &mut turn, out);
            at += taken;
            self.parked = turn.parked.take();
            if let Some(stop) = stop {
                self.parser.reset();
                break stop;
            }
            if let Some(stop) = self.must_stop(&turn, out) {
                break stop;
            }
            match parsed {
                Parsed::Full => {}
                Parsed::NeedsInput => break Stop::NeedsInput,
                Parsed::Malformed(error) => {
                    self.conn.closing = true;
                    at = input.len();
                    let mut line = b"ERR Protocol error: ".to_vec();
                    error.write_text(&mut line);
                    Writer::new(out, self.conn.resp).error_bytes(&line);
                    turn.replies += 1;
                    turn.counts.errors += 1;
                    server.calls().count_error(turn.worker, "ERR");
                }
            }
        };
        turn.settle();
        // With the batch over: whoever is woken finds all of it.
        turn.batch = None;
        server.hub().ring(turn.rings);
        turn.counts.input_bytes += at as u64;
        self.command = turn.command.or(self.command);
        server.stats().add(worker.index, &turn.counts);
        Ran {
            consumed: at,
            replies: turn.replies,
            needs: turn.told.needs(server.journal()),
            has_settled: turn.has_settled,
            stop,
        }
    }

    /// Runs the requests in `pipeline`; answers the bytes they took and, if not all of them ran,
    /// why.
    fn run_ahead(
        &mut self,
        input: &[u8],
        pipeline: &Pipeline,
        turn: &mut Turn<'_>,
        out: &mut Vec<u8>,
    ) -> (usize, Option<Stop>) {
        if pipeline.len() > 1 {
            turn.fetch(&self.conn, input, pipeline);
        }
        let mut at = 0;
        for index in 0..pipeline.len() {
            if index > 0
                && let Some(stop) = self.must_stop(turn, out)
            {
                return (at, Some(stop));
            }
            let args = pipeline.args(input, index);
            let start = out.len();
            if !args.is_empty() && !turn.execute(&mut self.conn, args, out) {
                let waits = turn.parked.is_some();
                let stop = if waits {
                    Stop::Parked
                } else {
                    Stop::JournalBehind
                };
                return (at, Some(stop));
            }
            self.conn.grants.place(start, out.len());
            at = pipeline.end(index);
        }
        (at, None)
    }

    /// Why the next request is not to run now.
    fn must_stop(&self, turn: &Turn<'_>, out: &[u8]) -> Option<Stop> {
        if turn.overflowed {
            Some(Stop::Overflow)
        } else if turn.parked.is_some() || self.parked.is_some() {
            Some(Stop::Parked)
        } else if self.conn.closing {
            Some(Stop::Close)
        } else if out.len() >= turn.out_len_soft_max {
            Some(Stop::OutputFull)
        } else {
            None
        }
    }

    /// What the call that waits waits for, if there is one.
    pub(crate) fn parked(&self) -> Option<Park> {
        self.parked
    }

    /// Whether there is a call that waits, and what it waits for has come about.
    pub(crate) fn may_resume(&self, worker: &Worker) -> bool {
        let server = &worker.server;
        if self.parked.is_some_and(|park| park.call().is_some()) {
            return self.may_answer(server);
        }
        self.parked
            .is_some_and(|park| server.outcome(park).is_some())
    }

    /// What the call that waits needs of the journal, if it is that.
    pub(crate) fn parked_needs(&self) -> Option<Needs> {
        match self.parked {
            Some(Park::Synced { frame, .. }) => Some(Needs::synced(frame)),
            Some(park) if park.call().is_some() => self.arrived_needs(),
            _ => None,
        }
    }

    /// Answers the call that waits, if what it waits for has come about.
    fn resume(&mut self, turn: &mut Turn<'_>, out: &mut Vec<u8>) {
        if self.parked.is_some_and(|park| park.call().is_some()) {
            if self.may_answer(turn.server) {
                self.answer(turn, out);
            }
            return;
        }
        let outcome = self.parked.and_then(|park| turn.server.outcome(park));
        let Some(outcome) = outcome else {
            return;
        };
        self.parked = None;
        if outcome == Outcome::Stop {
            turn.server.shut_down();
            self.conn.closing = true;
        }
        let start = out.len();
        outcome.write(&mut Writer::new(out, self.conn.resp));
        if self.conn.replies.silences() {
            out.truncate(start);
        }
        turn.replies += u32::from(out.len() > start);
    }

    /// A request that may change what the parser allows, as authenticating does, is run before the
    /// next is parsed.
    fn requests_ahead_max(&self) -> usize {
        if self.conn.authenticated {
            REQUESTS_AHEAD_MAX
        } else {
            1
        }
    }

    /// Tells that `input` will be run soon, but not before other connections have been read: the
    /// key of its first request is fetched from memory meanwhile.
    pub(crate) fn announce(&self, input: &[u8], worker: &mut Worker) {
        if let Some(key) = peek_second(input) {
            // The time is of no matter to a hint.
            let batch = worker.server.engine().shared(worker.index, Now::default());
            batch.fetch_next(&mut worker.ahead, self.conn.db, key);
        }
    }

    /// Shows others what the connection is like after a batch.
    pub(crate) fn refresh(&mut self, worker: &Worker, active_ms: u64, buffers: BufferUse) {
        let state = ClientState {
            active_ms,
            db: self.conn.db,
            multi: self.conn.multi.as_ref().map(|multi| multi.queue.len()),
            multi_bytes: self
                .conn
                .multi
                .as_ref()
                .map_or(0, |multi| multi.queue_bytes),
            watched: self.conn.watched.len(),
            subscriptions: self.conn.subscriptions(),
            no_evict: self.conn.no_evict,
            input_bytes: buffers.input_bytes,
            input_capacity: buffers.input_capacity,
            output_bytes: buffers.output_bytes,
            output_capacity: buffers.output_capacity,
            command: self.command,
            resp: self.conn.resp,
            closing: self.conn.closing,
            waits: self.parked.is_some(),
        };
        self.client.refresh(state, &mut self.conn);
        self.report(worker, buffers.held_bytes);
    }

    /// Tells the ledger what the connection holds, `driver_bytes` of it in its driver, and ends
    /// connections if all hold too much. Costs next to nothing where it holds what it did.
    pub(crate) fn report(&mut self, worker: &Worker, driver_bytes: usize) {
        let bytes = STATE_BYTES + driver_bytes + self.held_bytes();
        let (server, no_evict) = (&worker.server, self.conn.no_evict);
        let budget = server.registry().budget();
        if budget.report(&self.client, bytes, no_evict) {
            server.evict_clients(worker.index);
        }
    }

    /// Tells that half a request is held, in a buffer of `input_bytes`.
    pub(crate) fn report_arrival(
        &mut self,
        worker: &Worker,
        driver_bytes: usize,
        input_bytes: usize,
    ) {
        self.report(worker, driver_bytes);
        worker.server.engine().allow_arrival(input_bytes);
    }

    /// The least length of input at which another call of `run` can do something.
    pub(crate) fn input_needed(&self) -> usize {
        self.parser.bytes_needed()
    }

    /// Bytes held of requests received, by the parser, by `MULTI` and by `WATCH`, of grants
    /// that were not told of yet, and of subscriptions with what waits for them.
    pub(crate) fn held_bytes(&self) -> usize {
        let multi = self.conn.multi.as_ref();
        let queue = multi.map_or(0, Multi::heap_bytes);
        let (watched, grants) = (
            self.conn.watched.heap_bytes(),
            self.conn.grants.heap_bytes(),
        );
        let subscriber = self.conn.subscriber.as_ref();
        let subscriptions = subscriber.map_or(0, |known| known.heap_bytes());
        usable(self.parser.retained_bytes()) + queue + watched + grants + subscriptions
    }

    /// Whether commands other than `AUTH` and its like may run.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.conn.authenticated
    }

    /// The protocol version in force.
    pub(crate) fn resp(&self) -> Version {
        self.conn.resp
    }

    /// Where messages come in, if the connection listens to anything or has to take some.
    pub(crate) fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        let subscriber = self.conn.subscriber.as_ref();
        subscriber.map(|subscriber| subscriber.mailbox())
    }

    /// Whether it listens to anything.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.conn.is_subscribed()
    }

    /// Whether it ends when more messages wait for it than may: else they are dropped.
    pub(crate) fn ends_when_slow(&self) -> bool {
        self.is_subscribed() && self.conn.slow_policy == SlowPolicy::Disconnect
    }

    /// Appends messages that came in until the output is `len_max` long.
    pub(crate) fn take_messages(&mut self, out: &mut Vec<u8>, len_max: usize) {
        take_messages(&mut self.conn, out, len_max);
    }

    /// The connection as others see it.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The first `bytes` of the output, all of them sent, were taken away.
    pub(crate) fn shift_output(&mut self, bytes: usize) {
        self.conn.grants.shift(bytes);
    }

    /// The replies made so far leave as they are: none waits for the journal.
    pub(crate) fn finalize_output(&mut self) {
        self.conn.grants.finalize();
    }

    /// Gives back what the connection held, which worker `worker` ran, with `sent` bytes of its
    /// output sent. Nothing but another call of it may follow.
    pub(crate) fn close(&mut self, server: &Server, worker: usize, sent: usize) {
        self.leave_coordinator(server, worker, sent);
        for watched in self.conn.watched.take() {
            server.engine().unwatch(watched);
        }
        if let Some(subscriber) = &mut self.conn.subscriber {
            subscriber.leave(server.hub());
        }
        server.registry().close(self.client.id());
        server.registry().budget().leave(&self.client);
    }
}

fn limits(settings: &Settings, authenticated: bool) -> Limits {
    if !authenticated {
        return Limits::unauthenticated();
    }
    let bulk_bytes_max = usize::try_from(settings.proto_max_bulk_len).unwrap_or(usize::MAX);
    Limits {
        bulk_bytes_max,
        ..Limits::default()
    }
}

/// Bytes of replies that may be unsent, of one command as of all.
fn output_bytes_max(settings: &Settings) -> usize {
    match settings.client_output_buffer_limit.normal.hard_bytes {
        0 => usize::MAX,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    }
}

/// Appends messages that came in until the output is `len_max` long.
fn take_messages(conn: &mut Conn, out: &mut Vec<u8>, len_max: usize) {
    let Some(subscriber) = &conn.subscriber else {
        return;
    };
    let mailbox = subscriber.mailbox();
    mailbox.take(out, conn.resp, len_max);
    if subscriber.total() == 0 && mailbox.waiting_bytes() == 0 {
        conn.subscriber = None;
    }
}

/// One call of [`Session::run`]: the batch it is in, if any, and what it counts.
struct Turn<'e> {
    server: &'e Server,
    settings: &'e Settings,
    worker: usize,
    state: ClientState,
    /// What the client reported last: its input among it.
    client_bytes: usize,
    /// What was kept on disk is still being read.
    is_loading: bool,
    batch: Option<Batch<'e>>,
    batch_started_us: u64,
    batch_commands: u32,
    /// The coarse clock when the batch began, or when the clock was last read.
    batch_coarse: u64,
    /// Whether the request may change something, and was admitted to the journal.
    is_write: bool,
    /// Memory is short for it.
    is_short: bool,
    /// What the request has claimed of the journal's room.
    claimed_bytes: u64,
    /// From this on the output is to be sent before more is made.
    out_len_soft_max: usize,
    /// The output may not grow beyond this, whatever a command answers.
    out_len_max: usize,
    /// A reply was cut off there.
    overflowed: bool,
    /// The frames that the replies tell of.
    told: Told,
    /// A call that waited was told what came of it.
    has_settled: bool,
    replies: u32,
    /// The last request waits for this.
    parked: Option<Park>,
    counts: Counts,
    /// Calls that wait for the next reading of the clock.
    calls: &'e mut Pending,
    /// Connections that messages were left for.
    rings: &'e Rings,
    command: Option<&'static Spec>,
}

impl<'e> Turn<'e> {
    fn new(
        server: &'e Server,
        settings: &'e Settings,
        worker: usize,
        state: ClientState,
        (calls, rings): (&'e mut Pending, &'e Rings),
    ) -> Self {
        Self {
            server,
            settings,
            worker,
            state,
            client_bytes: 0,
            is_loading: server.is_loading(),
            batch: None,
            batch_started_us: 0,
            batch_commands: 0,
            batch_coarse: 0,
            is_write: false,
            is_short: false,
            claimed_bytes: 0,
            out_len_soft_max: usize::MAX,
            out_len_max: usize::MAX,
            overflowed: false,
            told: Told::default(),
            has_settled: false,
            replies: 0,
            parked: None,
            counts: Counts::default(),
            calls,
            rings,
            command: None,
        }
    }

    /// Has the keys of these requests fetched from memory while the first of them run.
    fn fetch(&mut self, conn: &Conn, input: &[u8], pipeline: &Pipeline) {
        let keys = (0..pipeline.len()).filter_map(|index| pipeline.args(input, index).get(1));
        self.batch(false).fetch(conn.db, keys);
    }

    /// One request: refused, queued or run. Answers whether it was any of these; else it is to be
    /// tried again when the journal has caught up.
    fn execute(&mut self, conn: &mut Conn, args: Args<'_>, out: &mut Vec<u8>) -> bool {
        let admitted = self.admit(conn, args);
        if matches!(admitted, Ok(Admitted::Later)) {
            return false;
        }
        conn.replies.begin();
        if conn.subscriber.is_some() {
            self.take_before(conn, &admitted, out);
        }
        let start = out.len();
        let (mut calls, mut is_push) = (1, false);
        match admitted {
            Ok(Admitted::Run(spec)) => {
                is_push = spec.flags.has(Flags::PUSHES);
                calls = self.run(conn, spec, args, out);
            }
            Ok(Admitted::Later) => {}
            Ok(Admitted::Queued) => Writer::new(out, conn.resp).simple("QUEUED"),
            Ok(Admitted::HangUp) => {
                conn.closing = true;
                self.server.note_http(conn.id);
            }
            Err(error) => {
                let error = self.refuse(conn, args, error);
                Writer::new(out, conn.resp).error_bytes(&error.line());
            }
        }
        if self.claimed_bytes > 0 {
            self.server
                .give_back(std::mem::take(&mut self.claimed_bytes));
        }
        // Each of EXEC's replies was settled for itself.
        if calls == 1 && conn.replies.silences() && !is_push {
            out.truncate(start);
        }
        self.replies += u32::from(out.len() > start);
        if conn.subscriber.is_some() {
            take_messages(conn, out, self.out_len_soft_max);
        }
        true
    }

    /// Takes the messages that came before a request. All of them before one that runs alone: none
    /// is to stand in the midst of what `EXEC` answers.
    fn take_before(
        &self,
        conn: &mut Conn,
        admitted: &Result<Admitted, ReplyError>,
        out: &mut Vec<u8>,
    ) {
        let is_alone = matches!(admitted, Ok(Admitted::Run(spec)) if spec.flags.has(Flags::ALONE));
        let len_max = if is_alone {
            usize::MAX
        } else {
            self.out_len_soft_max
        };
        take_messages(conn, out, len_max);
    }

    /// Decides what becomes of a request, in the order in which Redis looks.
    fn admit(&mut self, conn: &mut Conn, args: Args<'_>) -> Result<Admitted, ReplyError> {
        let Some(spec) = recognize(conn, args)? else {
            return Ok(Admitted::HangUp);
        };
        if conn.resp == Version::Resp2 && !spec.flags.has(Flags::SUBSCRIBER) && conn.is_subscribed()
        {
            return Err(ReplyError::not_while_subscribed(spec.name));
        }
        if self.is_loading && !spec.flags.has(Flags::LOADING) {
            return Err(error::LOADING);
        }
        // What is being loaded is not evicted: later frames build on it.
        self.is_short =
            !self.is_loading && self.server.engine().is_over_bound() && !self.make_room(spec, args);
        if self.is_short && needs_memory(conn, spec) && !self.makes_nothing(conn, spec, args) {
            return Err(error::OUT_OF_MEMORY);
        }
        if spec.name == "exec" && self.waits_for_ids(conn) {
            self.parked = Some(Park::Reservation);
            return Ok(Admitted::Later);
        }
        let written = self.bytes_written(conn, spec, args);
        self.is_write = written.is_some();
        if let Some(bytes) = written {
            if bytes > FRAME_BYTES_MAX {
                return Err(error::FRAME_TOO_LONG);
            }
            let (admission, claimed_bytes) = self.server.claim_write(bytes);
            self.claimed_bytes = claimed_bytes;
            match admission {
                Admission::Ok => {}
                Admission::Behind => return Ok(Admitted::Later),
                Admission::Full => return Err(error::JOURNAL_FULL),
                Admission::Broken => return Err(error::JOURNAL_BROKEN),
            }
            if let Some(multi) = &mut conn.multi {
                multi.admitted_bytes = bytes;
            }
        }
        enqueue_or_run(conn, spec, args)
    }

    /// Whether what was queued gives out IDs, and they are not reserved yet.
    fn waits_for_ids(&self, conn: &Conn) -> bool {
        let has_ids = |multi: &Multi| {
            let mut queue = multi.queue.iter();
            queue.any(|(spec, _)| spec.name == "id.next")
        };
        conn.multi.as_ref().is_some_and(has_ids)
            && self.server.stopping_since_ms().is_none()
            && !self
                .server
                .engine()
                .ids()
                .is_ready(self.server.clock().now())
    }

    /// About how many bytes a request may add to the journal; `None` for one that changes nothing.
    /// `EXEC` is what it runs.
    fn bytes_written(&mut self, conn: &Conn, spec: &Spec, args: Args<'_>) -> Option<usize> {
        match &conn.multi {
            Some(multi) if spec.name == "exec" => {
                weight::of_queue(&self.batch(false).step(), conn.db, multi)
            }
            _ => weight::of_call(spec, args, |key| {
                self.batch(false).step().value_bytes(conn.db, key)
            }),
        }
    }

    /// Has the engine evict what the policy allows; answers whether a request may run.
    #[cold]
    fn make_room(&mut self, spec: &Spec, args: Args<'_>) -> bool {
        if !self.server.may_evict() {
            return false;
        }
        let (server, counted_bytes) = (self.server, self.client_bytes);
        let mut step = self.batch(false).step();
        let may_run = make_room(&mut step, server, spec, args, counted_bytes);
        let tally = step.take_tally();
        drop(step);
        self.counts.add_tally(&tally);
        may_run
    }

    /// Whether a request that may need memory needs none: all its keys are there, and it is not to
    /// wait, which takes memory too.
    #[cold]
    fn makes_nothing(&mut self, conn: &Conn, spec: &Spec, args: Args<'_>) -> bool {
        let may_wait = || args.iter().any(|word| word.eq_ignore_ascii_case(b"WAIT"));
        if conn.multi.is_some()
            || !spec.flags.has(Flags::MAKES_MISSING)
            || spec.flags.has(Flags::BLOCKING) && may_wait()
        {
            return false;
        }
        let keys = spec.keys.positions(args).unwrap_or_default();
        let mut step = self.batch(false).step();
        let mut exists = |key| step.lock_any(conn.db, key).slot(conn.db, key).exists();
        !keys.is_empty()
            && keys
                .iter()
                .all(|(at, _)| args.get(*at).is_some_and(&mut exists))
    }

    /// Counts a request that was refused, and answers what the client is told.
    fn refuse(&mut self, conn: &mut Conn, args: Args<'_>, error: ReplyError) -> ReplyError {
        self.counts.rejected_calls += 1;
        self.counts.errors += 1;
        let error = self.spoil(conn, args, error);
        let spec = find(args).ok();
        self.server.calls().reject(self.worker, spec, error.code());
        error
    }

    /// A request that was not even queued spoils the transaction; an EXEC ends it.
    fn spoil(&self, conn: &mut Conn, args: Args<'_>, error: ReplyError) -> ReplyError {
        if args[0].eq_ignore_ascii_case(b"exec") {
            conn.multi = None;
            for watched in conn.watched.take() {
                self.server.engine().unwatch(watched);
            }
            return ReplyError::exec_aborted_by(&error);
        }
        if let Some(multi) = &mut conn.multi {
            multi.failed = true;
        }
        error
    }

    /// Runs a command; answers how many calls it was, those on behalf of EXEC among them.
    fn run(
        &mut self,
        conn: &mut Conn,
        spec: &'static Spec,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> usize {
        let alone = spec.flags.has(Flags::ALONE);
        if spec.group == Group::Server {
            // It may be about to show or reset what was counted so far.
            self.settle();
        }
        let (host, settings, state, resp) = (self.server, self.settings, self.state, conn.resp);
        let out_len_max = self.out_len_max;
        let (is_write, is_short, rings) = (self.is_write, self.is_short, self.rings);
        let mut cx = Cx {
            step: self.batch(alone).step(),
            conn,
            out: Writer::bounded(out, resp, out_len_max),
            host,
            settings,
            spec,
            state,
            inner: Vec::new(),
            rings,
            parked: None,
            is_durable: false,
            is_short,
            durable_frame: 0,
        };
        if !is_write {
            cx.step.only_look();
        }
        let result = (spec.run)(&mut cx, args);
        if let Err(error) = &result {
            cx.out.error_bytes(&error.line());
        }
        let (tally, inner) = (cx.step.take_tally(), std::mem::take(&mut cx.inner));
        let (overflowed, calls) = (cx.out.overflowed(), 1 + inner.len());
        let (frame, parked) = (cx.step.commit(), cx.parked);
        let (is_durable, durable_frame) = (cx.is_durable, cx.durable_frame);
        let has_settled = cx.step.has_settled();
        cx.conn.note_frame(tally.changes, frame);
        drop(cx);
        let ran = inner.iter().map(|call| call.spec);
        self.told.note(frame, spec, ran);
        if is_durable {
            self.told.note_durable(frame);
        } else if durable_frame > 0 {
            self.told.note_durable(durable_frame);
        }
        self.parked = parked;
        self.has_settled |= has_settled;
        self.overflowed |= overflowed;
        for call in &inner {
            self.count(call.spec, call.error);
        }
        self.count(spec, result.as_ref().err().map(ReplyError::code));
        self.counts.denied_logins += u64::from(result == Err(error::WRONG_PASS));
        self.counts.add_tally(&tally);
        self.command = Some(spec);
        self.end_batch_if_due(alone);
        calls
    }

    /// Counts a call that ran.
    #[inline]
    fn count(&mut self, spec: &'static Spec, error: Option<&'static str>) {
        self.counts.commands += 1;
        self.calls.note(spec);
        if let Some(code) = error {
            self.counts.errors += 1;
            self.server.calls().fail(self.worker, spec, code);
        }
    }

    /// Gives the calls made so far their time.
    fn settle(&mut self) {
        if !self.calls.is_empty() {
            let now_us = self.server.clock().mono_us();
            self.server.calls().settle(self.worker, self.calls, now_us);
            self.note_step(now_us);
        }
    }

    /// Notes how long the batch has lasted.
    fn note_step(&self, now_us: u64) {
        let busy_us = now_us.saturating_sub(self.batch_started_us);
        self.server.stats().note_step(self.worker, busy_us);
    }

    /// The batch to run in, begun now if there is none of the kind.
    fn batch(&mut self, alone: bool) -> &Batch<'e> {
        if self
            .batch
            .as_ref()
            .is_some_and(|batch| batch.is_alone() != alone)
        {
            // Before the next one is asked for: nobody waits for the gate holding a side of it.
            self.batch = None;
        }
        let (server, worker) = (self.server, self.worker);
        let (started_us, commands) = (&mut self.batch_started_us, &mut self.batch_commands);
        let coarse = &mut self.batch_coarse;
        let calls = &mut *self.calls;
        self.batch.get_or_insert_with(|| {
            let now = server.clock().now();
            (*started_us, *commands, *coarse) = (now.mono_us, 0, server.clock().coarse());
            server.calls().settle(worker, calls, now.mono_us);
            let engine = server.engine();
            if alone {
                engine.alone(now)
            } else {
                engine.shared(worker, now)
            }
        })
    }

    /// Ends the batch with the first command past its time. The exact clock is read now and then,
    /// and whenever the coarse one has moved on: a slow command is noticed at once.
    fn end_batch_if_due(&mut self, alone: bool) {
        self.batch_commands += 1;
        let coarse = self.server.clock().coarse();
        if alone {
            self.batch = None;
            self.settle();
        } else if coarse != self.batch_coarse
            || self.batch_commands.is_multiple_of(COMMANDS_PER_CLOCK_READ)
        {
            self.batch_coarse = coarse;
            let elapsed_us = self
                .server
                .clock()
                .mono_us()
                .saturating_sub(self.batch_started_us);
            if elapsed_us > BATCH_US_MAX {
                self.batch = None;
                self.server.stats().note_step(self.worker, elapsed_us);
            }
        }
    }
}

enum Admitted {
    Run(&'static Spec),
    Queued,
    HangUp,
    Later,
}

/// The row of a request that the caller may make; `None` for a browser's.
fn recognize(conn: &Conn, args: Args<'_>) -> Result<Option<&'static Spec>, ReplyError> {
    let spec = match resolve(args) {
        Ok(spec) => spec,
        Err(_) if is_http(&args[0]) => return Ok(None),
        // A stranger does not learn which commands there are.
        Err(_) if !conn.authenticated && table::find(&args[0]).is_none() => {
            return Err(error::NO_AUTH);
        }
        Err(error) => return Err(error),
    };
    if !conn.authenticated && !spec.flags.has(Flags::NO_AUTH) {
        return Err(error::NO_AUTH);
    }
    Ok(Some(spec))
}

/// Whether a request is refused while memory is short. Whatever would be queued is: a queue takes
/// memory, too. `EXEC` is where a queued command would be.
fn needs_memory(conn: &Conn, spec: &Spec) -> bool {
    let queued = conn.multi.as_ref();
    let in_queue = |multi: &Multi| {
        let mut queue = multi.queue.iter();
        queue.any(|(spec, _)| spec.flags.has(Flags::DENYOOM))
    };
    if spec.flags.has(Flags::IMMEDIATE) {
        return spec.name == "exec" && queued.is_some_and(in_queue);
    }
    queued.is_some() || spec.flags.has(Flags::DENYOOM) && !spec.flags.has(Flags::JUDGES_ROOM)
}

/// Queues a request inside `MULTI`; else it is to be run now.
fn enqueue_or_run(
    conn: &mut Conn,
    spec: &'static Spec,
    args: Args<'_>,
) -> Result<Admitted, ReplyError> {
    let Some(multi) = &mut conn.multi else {
        return Ok(Admitted::Run(spec));
    };
    if spec.flags.has(Flags::IMMEDIATE) {
        return Ok(Admitted::Run(spec));
    }
    if spec.flags.has(Flags::NO_MULTI) {
        return Err(error::NOT_IN_MULTI);
    }
    let bytes = multi.queue_bytes + args.bytes_len();
    if multi.queue.len() == MULTI_COMMANDS_MAX || bytes > MULTI_BYTES_MAX {
        return Err(error::MULTI_TOO_LONG);
    }
    multi.queue_bytes = bytes;
    if !multi.failed {
        multi.push(spec, args.to_request());
    }
    Ok(Admitted::Queued)
}

/// The first words of an HTTP request: somebody's browser was sent here, perhaps against its will.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::{Clock, Now};
    use crate::session::registry::Origin;
    use crate::session::server::ServerOptions;
    use crate::sync::Wake;
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// Goes on by `step_us` whenever it is asked, and counts the batches: each reads it once.
    struct RunningClock {
        step_us: u64,
        mono_us: AtomicU64,
        batches: AtomicU64,
    }

    impl Clock for RunningClock {
        fn now(&self) -> Now {
            self.batches.fetch_add(1, Ordering::Relaxed);
            Now {
                wall_ms: 1_000,
                mono_us: self.mono_us(),
                ..Now::default()
            }
        }

        fn mono_us(&self) -> u64 {
            self.mono_us.fetch_add(self.step_us, Ordering::Relaxed)
        }

        fn coarse(&self) -> u64 {
            self.mono_us() / 1_000
        }
    }

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn server(clock: Arc<dyn Clock>) -> Arc<Server> {
        Arc::new(Server::new(ServerOptions {
            settings: Settings::default(),
            config_file: None,
            workers: 1,
            databases: 16,
            shards: 1,
            clock,
            sink: None,
            disk_double: None,
            seed: 1,
            hash_seed: 1,
            clients_fit: |maxclients| maxclients,
            on_shut_down: Box::new(|| {}),
        }))
    }

    fn session(server: &Server, worker: &mut Worker) -> Session {
        let origin = Origin {
            addr: "a:1".into(),
            laddr: "b:2".into(),
            fd: -1,
            unix: false,
        };
        let client = server.registry().open(origin, 0, 0, Arc::new(Nobody));
        Session::new(client, worker.settings())
    }

    /// Runs 100 commands on a clock that goes on by `step_us` at a time; answers the batches made.
    fn batches(step_us: u64) -> u64 {
        let (mono_us, batches) = (AtomicU64::new(0), AtomicU64::new(0));
        let clock = Arc::new(RunningClock {
            step_us,
            mono_us,
            batches,
        });
        let server = server(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut worker = Worker::new(0, Arc::clone(&server));
        let mut session = session(&server, &mut worker);
        let before = clock.batches.load(Ordering::Relaxed);
        let mut out = Vec::new();
        let ran = session.run(&b"INCR n\r\n".repeat(100), &mut out, &mut worker);
        assert_eq!((ran.consumed, ran.stop), (800, Stop::NeedsInput));
        assert_eq!((ran.replies, ran.needs), (100, Needs::default()));
        assert!(out.ends_with(b":100\r\n"));
        clock.batches.load(Ordering::Relaxed) - before
    }

    #[test]
    fn who_hands_a_lock_over_is_known_to_have() {
        let server = server(Arc::new(crate::clock::ManualClock::at(1_000)));
        let mut worker = Worker::new(0, Arc::clone(&server));
        let [mut holder, mut waiter] = [(); 2].map(|()| session(&server, &mut worker));
        let mut run = |session: &mut Session, request: &[u8]| {
            let ran = session.run(request, &mut Vec::new(), &mut worker);
            (ran.stop, ran.has_settled)
        };
        let held = run(&mut holder, b"LOCK.ACQUIRE k a PX 1000\r\n");
        assert_eq!(held, (Stop::NeedsInput, false));
        let waits = run(&mut waiter, b"LOCK.ACQUIRE k b PX 1000 WAIT 1000\r\n");
        assert_eq!(waits, (Stop::Parked, false));
        let freed = run(&mut holder, b"LOCK.RELEASE k a\r\nPING\r\n");
        assert_eq!(freed, (Stop::NeedsInput, true));
    }

    #[test]
    fn a_batch_ends_with_the_first_command_past_its_time() {
        assert_eq!(batches(0), 1, "time that stands still ends no batch");
        assert_eq!(batches(2_000), 100, "a slow command ends its batch");
    }
}
