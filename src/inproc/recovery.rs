//! Random histories of all commands that write, played by sessions over a journal: what a recovery
//! makes of the log is the state they left.

use super::*;
use crate::command::host::Host as _;
use crate::command::spec::Flags;
use crate::command::table;
use crate::journal::disk::Disk as JournalDisk;
use crate::journal::disk::sim::SimDisk;
use crate::journal::frame::Kind;
use crate::journal::identity::{Identity, Random, Shape};
use crate::journal::keeper::Keeper;
use crate::journal::recover::{Found, recover};
use crate::journal::segment::{self, End, Reader};
use crate::journal::writer::{self, Threads, Writer};
use crate::journal::{Log, Policy, log};
use crate::sync::Mutex;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::sync::Barrier;

/// Few shards and few keys, so that they meet.
const SHAPE: Shape = Shape {
    shards: 4,
    databases: 3,
};
const CONNECTIONS: usize = 3;
const WORKERS: usize = 4;
/// How often several workers meet.
const ROUNDS: usize = 3_000;

/// Every command that writes, and what may follow its name. Words in capitals that [`fill`] knows
/// stand for others; `SID` stands for the last session that a peer opened, `TOK` for the last token
/// that it was given. None of them waits.
const WRITES: &[(&str, &[&str])] = &[
    ("append", &["KEY VALUE"]),
    (
        "barrier.await",
        &["OBJECT 1 OWNER WAIT 0", "OBJECT 1 OWNER AFTER 0 WAIT 0"],
    ),
    ("cache.abort", &["KEY TOKEN TOK"]),
    (
        "cache.set",
        &[
            "KEY VALUE TOKEN TOK PX 100",
            "KEY VALUE TOKEN TOK PX 100 GRACE 1500 COST 7",
        ],
    ),
    ("cache.stale", &["KEY", "KEY GRACE 1500", "KEY GRACE 0"]),
    (
        "cl.mthrottle",
        &[
            "1 OBJECT 2 10 1 1",
            "2 OBJECT 2 10 1 1 u 9 100 1 3",
            "2 OBJECT 2 10 1 -1 u 9 100 1 -3",
        ],
    ),
    (
        "cl.throttle",
        &["OBJECT 2 10 1", "OBJECT 0 1 9 1", "OBJECT 9 1 9 -1"],
    ),
    (
        "copy",
        &["KEY KEY", "KEY KEY REPLACE", "KEY KEY DB INDEX REPLACE"],
    ),
    ("decr", &["KEY"]),
    ("decrby", &["KEY NUMBER"]),
    ("del", &["KEY", "KEY KEY KEY"]),
    (
        "delex",
        &[
            "KEY",
            "KEY IFEQ VALUE",
            "KEY IFNE VALUE",
            "KEY IFDNE 0000000000000000",
        ],
    ),
    ("delifeq", &["KEY VALUE"]),
    (
        "expire",
        &["KEY SECONDS", "KEY SECONDS NX", "KEY SECONDS GT"],
    ),
    ("expireat", &["KEY AT_S", "KEY AT_S LT"]),
    ("fence.set", &["KEY NUMBER"]),
    ("flushall", &["", "ASYNC"]),
    ("flushdb", &["", "SYNC"]),
    ("getdel", &["KEY"]),
    ("getex", &["KEY PX MILLIS", "KEY EXAT AT_S", "KEY PERSIST"]),
    ("getset", &["KEY VALUE"]),
    ("id.forget", &["SPACE"]),
    (
        "id.range",
        &[
            "SPACE",
            "SPACE COUNT 5",
            "SPACE COUNT 2 STEP 7",
            "SPACE COUNT 4096",
        ],
    ),
    (
        "id.short",
        &["CODES", "CODES LEN 3 COUNT 9", "CODES COUNT 99"],
    ),
    (
        "id.short.config",
        &[
            "CODES ALPHABET abc LEN 3",
            "CODES ALPHABET abcdef LEN 5 BLOCKLIST builtin",
        ],
    ),
    (
        "id.worker",
        &["POOL OWNER MAX 2 PX 100", "POOL OWNER MAX 2 SESSION SID"],
    ),
    ("incr", &["KEY"]),
    ("incrby", &["KEY NUMBER"]),
    ("incrbyfloat", &["KEY FLOAT"]),
    ("idemp.abort", &["OBJECT TOK"]),
    (
        "idemp.begin",
        &["OBJECT OWNER PX 100", "OBJECT f PX 1500 owner OWNER"],
    ),
    (
        "idemp.done",
        &["OBJECT TOK VALUE PX 1500", "OBJECT TOK VALUE PX 100"],
    ),
    (
        "increx",
        &[
            "KEY",
            "KEY BYINT NUMBER UBOUND 15 SATURATE",
            "KEY BYFLOAT FLOAT",
            "KEY EX SECONDS ENX",
            "KEY PXAT AT_MS",
            "KEY PERSIST",
        ],
    ),
    ("latch.down", &["OBJECT OWNER", "OBJECT OWNER 2"]),
    ("latch.set", &["OBJECT 3", "OBJECT 1 PX 100"]),
    (
        "lock.acquire",
        &[
            "OBJECT OWNER PX 100",
            "OBJECT OWNER PX 1500 DELAY 99",
            "OBJECT OWNER PX 1500 REENTER 2",
            "OBJECT OWNER MODE S PX 100 DELAY 1500",
            "OBJECT OWNER SESSION SID",
            "OBJECT OWNER CONN",
        ],
    ),
    ("lock.break", &["OBJECT", "OBJECT DELAY 100"]),
    ("lock.extend", &["OBJECT OWNER PX 1500"]),
    (
        "lock.macquire",
        &[
            "2 OBJECT OBJECT OWNER PX 100",
            "3 OBJECT OBJECT OBJECT OWNER CONN",
        ],
    ),
    ("lock.release", &["OBJECT OWNER", "OBJECT OWNER DEPTH 2"]),
    ("move", &["KEY INDEX"]),
    ("mset", &["KEY VALUE", "KEY VALUE KEY VALUE KEY VALUE"]),
    (
        "msetex",
        &[
            "2 KEY VALUE KEY VALUE PX MILLIS",
            "1 KEY VALUE NX EXAT AT_S",
            "1 KEY VALUE",
        ],
    ),
    ("msetnx", &["KEY VALUE KEY VALUE"]),
    ("persist", &["KEY"]),
    ("pexpire", &["KEY MILLIS", "KEY MILLIS XX"]),
    ("pexpireat", &["KEY AT_MS"]),
    ("psetex", &["KEY MILLIS VALUE"]),
    ("rename", &["KEY KEY"]),
    ("renamenx", &["KEY KEY"]),
    (
        "sem.acquire",
        &[
            "OBJECT OWNER LIMIT 3 PX 100",
            "OBJECT OWNER LIMIT 3 PERMITS 2 SESSION SID",
        ],
    ),
    ("sem.release", &["OBJECT OWNER"]),
    ("sem.resize", &["OBJECT 4"]),
    ("session.bind", &["SID"]),
    ("session.close", &["SID"]),
    ("session.keepalive", &["SID"]),
    (
        "session.open",
        &["TTL 100", "TTL 1500 GRACE 0 DELAY 99 NAME n BIND"],
    ),
    (
        "set",
        &[
            "KEY VALUE",
            "KEY NUMBER",
            "KEY VALUE EX SECONDS",
            "KEY VALUE PX MILLIS NX",
            "KEY VALUE EXAT AT_S GET",
            "KEY VALUE PXAT AT_MS",
            "KEY VALUE KEEPTTL XX",
            "KEY VALUE IFEQ VALUE",
            "KEY VALUE FENCE 9",
            "KEY VALUE PX MILLIS FENCE 9",
            "KEY VALUE SESSION SID",
        ],
    ),
    ("setex", &["KEY SECONDS VALUE"]),
    ("setnx", &["KEY VALUE"]),
    ("setrange", &["KEY OFFSET VALUE"]),
    ("swapdb", &["INDEX INDEX"]),
    ("unlink", &["KEY", "KEY KEY"]),
];

/// What makes transactions, chooses databases, and only looks, which may end keys.
const OTHERS: &[&str] = &[
    "multi",
    "multi",
    "exec",
    "exec",
    "exec",
    "discard",
    "watch KEY",
    "select INDEX",
    "get KEY",
    "ttl KEY",
    "mget KEY KEY",
    "cache.get KEY FILL 99 REFRESH 1500",
    "cache.get KEY FILL 99",
    "dbsize",
];

/// A request, with words in the place of those that stand for others.
fn fill(form: &str, dice: [u8; 8]) -> Vec<u8> {
    let word = |(at, word)| {
        let pick = |from: &[&'static str]| from[usize::from(dice[at % dice.len()]) % from.len()];
        let long = "a-value-of-more-than-forty-four-bytes-so-that-it-is-stored-in-another-way";
        match word {
            "KEY" => pick(&["k", "l", "m", "n", "o", "p"]),
            "OBJECT" => pick(&["x", "y", "z", "k"]),
            "SPACE" => pick(&["r", "q", "k", "c", "w"]),
            "CODES" => pick(&["c", "d", "r"]),
            "POOL" => pick(&["w", "v", "x"]),
            "OWNER" => pick(&["a", "b", "c"]),
            "VALUE" => pick(&["a", "b", "0", "10", "-3", "007", "3.5", long]),
            "NUMBER" => pick(&["1", "7", "-9", "100", "9223372036854775807", "x"]),
            "FLOAT" => pick(&["0.5", "-0.25", "3", "1e3"]),
            "SECONDS" => pick(&["1", "2", "100", "-1", "9223372036854775"]),
            "MILLIS" => pick(&["1", "100", "1500", "-5"]),
            "AT_S" => pick(&["1700000001", "1700000100", "1"]),
            "AT_MS" => pick(&["1700000000100", "1700000009000", "1"]),
            "OFFSET" => pick(&["0", "1", "3", "100", "5000"]),
            "INDEX" => pick(&["0", "1", "2", "3"]),
            other => other,
        }
    };
    let words: Vec<&str> = form.split(' ').enumerate().map(word).collect();
    format!("{}\r\n", words.join(" ")).into_bytes()
}

#[derive(Clone)]
enum Step {
    /// A connection sends a request.
    Request(usize, Vec<u8>),
    /// Time passes: both clocks go on, and deadlines with them.
    AdvanceMs(u64),
    /// The sweeper goes round.
    Sweep,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(connection, line) => write!(f, "{connection}> {}", line.escape_ascii()),
            Self::AdvanceMs(ms) => write!(f, "advance {ms} ms"),
            Self::Sweep => f.write_str("sweep"),
        }
    }
}

fn steps(count_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let forms = WRITES.iter().flat_map(|(name, forms)| {
        let form = move |form: &&str| format!("{name} {form}").trim_end().to_owned();
        forms.iter().map(form)
    });
    // Flushes and swaps come seldom, so that there is something left in the end, and sessions are
    // opened seldom, so that there are few.
    let (whole, forms): (Vec<String>, Vec<String>) = forms.partition(|form| {
        let starts = |name| form.starts_with(name);
        ["flush", "session.open", "swapdb"].into_iter().any(starts)
    });
    let others = OTHERS.to_vec();
    let filled = |(form, dice): (String, [u8; 8])| fill(&form, dice);
    let write = (select(forms), any::<[u8; 8]>()).prop_map(filled);
    let whole = (select(whole), any::<[u8; 8]>()).prop_map(filled);
    let other = (select(others).prop_map(str::to_owned), any::<[u8; 8]>()).prop_map(filled);
    let request = prop_oneof![120 => write, 1 => whole, 30 => other];
    let step = prop_oneof![
        60 => (0..CONNECTIONS, request).prop_map(|(number, line)| Step::Request(number, line)),
        3 => select(vec![1, 99, 1_500, 10_000]).prop_map(Step::AdvanceMs),
        2 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..count_max)
}

#[test]
fn every_command_that_writes_is_in_the_histories() {
    let writes = table::commands().filter(|spec| spec.flags.has(Flags::WRITE));
    let writes: Vec<&str> = writes.map(|spec| spec.name).collect();
    let mut known: Vec<&str> = WRITES.iter().map(|(name, _)| *name).collect();
    for name in &writes {
        assert!(known.contains(name), "{name} is in no history");
    }
    known.retain(|name| !writes.contains(name));
    assert!(known.is_empty(), "{known:?} write nothing");
}

/// Every form writes where it can: none is a mistake from the start.
#[test]
fn every_form_is_one_that_its_command_takes() {
    for (name, forms) in WRITES {
        for form in *forms {
            let stage = Stage::new(1);
            let mut peers = stage.peers(0);
            let line = fill(&format!("{name} {form}"), [0; 8]);
            if form.contains("SID") {
                stage.request(&mut peers, 0, b"session.open\r\n");
            }
            let reply = stage.request(&mut peers, 0, &line);
            let is_fine = !reply.starts_with(b"-") || reply.starts_with(b"-ERR no such key");
            let reply = String::from_utf8_lossy(&reply).into_owned();
            // A key copied or moved onto itself is refused by name.
            assert!(is_fine || reply.contains("same"), "{name} {form}: {reply}");
            stage.close();
        }
    }
}

#[test]
fn settings_that_changed_while_loading_are_in_force() {
    let stage = Stage::new(1);
    let log = stage.server.journal().expect("it runs");
    assert_eq!(log.policy(), Policy::No);
    stage.close();
}

/// A server with its journal on a disk in memory.
struct Stage {
    server: Arc<Server>,
    clock: Arc<ManualClock>,
    disk: SimDisk,
    identity: Identity,
    threads: Threads,
}

/// A worker and those it serves, in one thread.
struct Peers {
    worker: Worker,
    sessions: Vec<Session>,
    /// The session that was opened last, by its secret name.
    sid: String,
    /// The token that was given last.
    token: String,
}

impl Stage {
    fn new(workers: usize) -> Self {
        let disk = SimDisk::new();
        let identity = Identity::begin(&disk, Random::FIXED, SHAPE).expect("a new directory");
        identity.store(&disk).expect("a disk in memory takes it");
        let clock = Arc::new(ManualClock::at(START_WALL_MS));
        let mut settings = Settings::default();
        settings.databases = SHAPE.databases;
        let server = Arc::new(Server::new(ServerOptions {
            databases: settings.databases,
            settings,
            config_file: None,
            workers,
            shards: SHAPE.shards as usize,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            sink: None,
            disk_double: None,
            seed: SEED,
            hash_seed: identity.hash_seed,
            clients_fit: |maxclients| maxclients,
            on_shut_down: Box::new(|| {}),
        }));
        let log = Arc::new(Log::new(
            log::Options {
                workers,
                number: 0,
                policy: Policy::Always,
                backlog_bytes_max: 64 << 20,
            },
            |why| panic!("{why}"),
        ));
        let on_disk: Arc<dyn JournalDisk> = Arc::new(disk.clone());
        let options = writer::Options {
            id: identity.log_id(),
            segment_bytes_max: 4 << 10,
        };
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let (own, end) = (Arc::clone(&on_disk), End::default());
        let writer = Writer::open(Arc::clone(&log), own, Arc::clone(&as_clock), options, &end)
            .expect("a disk in memory takes it");
        let threads = writer::spawn(writer).expect("there are threads");
        let keeper = Keeper::new(on_disk, identity, Arc::clone(&log), as_clock);
        // As a client may while the server loads.
        let changed = server.change_settings(&[(b"appendfsync", b"no")]);
        changed.expect("it can be changed");
        server.begin_keeping(log, Arc::new(keeper), Found::default());
        Self {
            server,
            clock,
            disk,
            identity,
            threads,
        }
    }

    /// A worker with its connections.
    fn peers(&self, index: usize) -> Peers {
        let mut worker = Worker::new(index, Arc::clone(&self.server));
        let session = |_| {
            let origin = Origin {
                addr: "127.0.0.1:50000".into(),
                laddr: "127.0.0.1:6379".into(),
                fd: -1,
                unix: false,
            };
            let client = self.server.registry().open(origin, 0, 0, Arc::new(Nobody));
            Session::new(client, worker.settings())
        };
        let sessions = (0..CONNECTIONS).map(session).collect();
        Peers {
            worker,
            sessions,
            sid: "none".to_owned(),
            token: "1".to_owned(),
        }
    }

    fn request(&self, peers: &mut Peers, number: usize, line: &[u8]) -> Vec<u8> {
        let line = String::from_utf8_lossy(line)
            .replace("SID", &peers.sid)
            .replace("TOK\r", &format!("{}\r", peers.token))
            .replace("TOK ", &format!("{} ", peers.token));
        let mut reply = Vec::new();
        loop {
            let ran = peers.sessions[number].run(line.as_bytes(), &mut reply, &mut peers.worker);
            if ran.stop != Stop::JournalBehind {
                assert_eq!((ran.consumed, ran.stop), (line.len(), Stop::NeedsInput));
                if line.starts_with("session.open")
                    && let Some(sid) = String::from_utf8_lossy(&reply).strip_prefix("$32\r\n")
                {
                    peers.sid = sid.trim_end().to_owned();
                }
                if line.starts_with("idemp.begin") || line.starts_with("cache.get") {
                    let text = String::from_utf8_lossy(&reply);
                    let last = text.trim_end().rsplit(':').next();
                    peers.token = last
                        .filter(|n| n.parse::<u64>().is_ok())
                        .map_or_else(|| peers.token.clone(), ToOwned::to_owned);
                }
                return reply;
            }
            // Until the journal's thread has made room.
            std::thread::yield_now();
        }
    }

    fn play(&self, peers: &mut Peers, step: &Step) {
        match step {
            Step::Request(number, line) => {
                self.request(peers, *number, line);
            }
            Step::AdvanceMs(ms) => self.clock.advance_ms(*ms),
            Step::Sweep => {
                let index = peers.worker.index;
                let batch = self.server.engine().shared(index, self.clock.now());
                let mut sweeper = Sweeper::new(index, self.server.workers());
                while sweeper
                    .run(&batch, usize::MAX, &mut Tally::default())
                    .is_cut_short()
                {}
            }
        }
    }

    /// What the timer of the coordinator does.
    fn end_due(&self) {
        let batch = self.server.engine().shared(0, self.clock.now());
        batch.step().coordinate(|_| ());
    }

    /// The number of the last frame, and the state behind it.
    fn state(&self) -> (u64, u128) {
        let log = self.server.journal().expect("it was begun");
        (log.numbered(), self.server.engine().state_hash())
    }

    /// Ends the journal as a stop does; what is left is the disk.
    fn close(self) -> (SimDisk, Identity) {
        self.threads.close().expect("a disk in memory takes it");
        (self.disk, self.identity)
    }
}

fn options(identity: &Identity) -> crate::engine::Options {
    crate::engine::Options {
        databases: identity.databases,
        shards: identity.shards as usize,
        hash_seed: identity.hash_seed,
        ..Default::default()
    }
}

/// What a start makes of a directory: the last frame, and the state.
fn recovered(disk: &SimDisk, identity: &Identity) -> (u64, u128) {
    let engine = Engine::new(options(identity), None);
    let found = recover(disk, identity, &engine, identity.databases, &mut |_| {});
    let found = found.expect("it is sound");
    (found.end.number, engine.state_hash())
}

/// Where each frame of the log begins.
fn frames(disk: &SimDisk, identity: &Identity) -> Vec<(u64, u64)> {
    let mut reader = Reader::new(disk, identity.log_id()).expect("it can be listed");
    let mut frames = Vec::new();
    while let Some(entry) = reader.next().expect("it is sound") {
        if entry.kind == Kind::Effects {
            frames.push((entry.number, entry.position));
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One worker: every prefix of the log is the state behind some request, so that each request
    /// is there whole or not at all, and each transaction.
    #[test]
    fn every_prefix_of_the_log_is_a_state_that_was_there(steps in steps(120)) {
        let stage = Stage::new(1);
        let mut peers = stage.peers(0);
        let mut states = BTreeMap::from([stage.state()]);
        for step in &steps {
            // What time has ended has a frame of its own, in which nobody asked for anything.
            stage.end_due();
            states.extend([stage.state()]);
            let (before, _) = stage.state();
            stage.play(&mut peers, step);
            let (after, hash) = stage.state();
            // A sweep leaves a frame for each key; what lies between two of them nobody saw.
            let is_one = after <= before + 1;
            prop_assert!(is_one || matches!(step, Step::Sweep), "{step:?} left {before}..{after}");
            states.insert(after, hash);
        }
        let last = stage.state();
        let (disk, identity) = stage.close();
        prop_assert_eq!(recovered(&disk.kill(), &identity), last);
        for (number, position) in frames(&disk, &identity) {
            let prefix = disk.kill();
            segment::cut(&prefix, position).expect("a disk in memory takes it");
            let (found, hash) = recovered(&prefix, &identity);
            prop_assert_eq!(found + 1, number);
            if let Some(expected) = states.get(&found) {
                prop_assert_eq!(hash, *expected, "behind frame {}", found);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Four workers in threads of their own, at the same keys. They play the same rounds again and
    /// again, and meet behind each: the log up to there is what they left. Goes red when frames are
    /// numbered behind the locks, for which it takes so many rounds. Nobody opens a session: after
    /// so many rounds there would be too many to hash.
    #[test]
    fn the_log_of_several_workers_is_the_state_they_left(
        histories in prop::collection::vec(steps(12), WORKERS),
    ) {
        let stage = Stage::new(WORKERS);
        let (states, meeting) = (Mutex::new(BTreeMap::new()), Barrier::new(WORKERS));
        std::thread::scope(|scope| {
            let opens = |step: &Step| {
                matches!(step, Step::Request(_, line) if line.starts_with(b"session.open"))
            };
            for (index, steps) in histories.iter().enumerate() {
                let steps: Vec<&Step> = steps.iter().filter(|step| !opens(step)).collect();
                let (stage, states, meeting) = (&stage, &states, &meeting);
                scope.spawn(move || {
                    let mut peers = stage.peers(index);
                    for _ in 0..ROUNDS {
                        meeting.wait();
                        steps.iter().for_each(|step| stage.play(&mut peers, step));
                        if meeting.wait().is_leader() {
                            let (number, hash) = stage.state();
                            states.lock().insert(number, hash);
                        }
                    }
                });
            }
        });
        let last = stage.state();
        let (disk, identity) = stage.close();
        prop_assert_eq!(recovered(&disk.kill(), &identity), last);
        // Once through the log, for a recovery of every prefix would take long.
        let (twin, states) = (Engine::new(options(&identity), None), states.into_inner());
        let mut reader = Reader::new(&disk, identity.log_id()).expect("it can be listed");
        while let Some(entry) = reader.next().expect("it is sound") {
            if entry.kind == Kind::Effects {
                prop_assert_eq!(twin.apply(entry.payload), Ok(()));
                let expected = states.get(&entry.number);
                let is_same = expected.is_none_or(|hash| *hash == twin.state_hash());
                prop_assert!(is_same, "behind frame {}", entry.number);
            }
        }
    }
}
