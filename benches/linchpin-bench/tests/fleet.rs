//! Fleets against a server of this test: what arrives, what is counted, what is refused.

#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linchpin_bench::{
    Command, Fleet, Lifetime, Limit, LoadError, Outcome, Pace, Pattern, Shape, Workload,
    WorkloadOptions, fill,
};
use linchpin_protocol::{Limits, RequestParser};

/// A server that answers every request with `reply`, but nothing before `silent` requests of a
/// connection have arrived.
struct Parrot {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Parrot {
    fn start(reply: &'static [u8], silent: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || answer(stream, reply, silent, &counter));
            }
        });
        Self { address, requests }
    }
}

fn answer(mut stream: TcpStream, reply: &[u8], silent: u64, counter: &AtomicU64) {
    stream.set_nodelay(true).expect("it is a TCP socket");
    let (mut parser, mut unread, mut piece) = (RequestParser::new(), Vec::new(), [0; 16 << 10]);
    let (mut seen, mut owed) = (0, 0);
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        unread.extend_from_slice(&piece[..len]);
        let mut at = 0;
        while let Ok(Some(consumed)) = parser.parse(&unread[at..], &Limits::default()) {
            at += consumed;
            seen += 1;
            owed += 1;
        }
        unread.drain(..at);
        counter.store(counter.load(Ordering::Relaxed).max(seen), Ordering::Relaxed);
        // The reply is torn, so that it arrives in pieces.
        let replies = reply.repeat(if seen >= silent { owed } else { 0 });
        let (one, two) = replies.split_at(replies.len() / 3);
        if seen >= silent {
            owed = 0;
        }
        if stream
            .write_all(one)
            .and_then(|()| stream.write_all(two))
            .is_err()
        {
            break;
        }
    }
}

const ONE: Shape = Shape {
    connections: 1,
    pipeline: 1,
    threads: 1,
};

fn load(
    parrot: &Parrot,
    command: &[&str],
    shape: Shape,
    pace: Pace,
    requests: u64,
) -> Result<Outcome, LoadError> {
    let workload = Workload::new(&WorkloadOptions {
        command: Command::from_words(command).expect("placeholders are known"),
        keys: 1_000,
        pattern: Pattern::Zipf(1.0),
        value_bytes: 5,
        seed: 3,
    });
    Fleet::connect(parrot.address, shape, &workload)?.run(
        &workload,
        pace,
        Limit::Requests(requests),
    )
}

#[test]
fn closed_loops_send_as_many_requests_as_told() {
    let commands: [(&[&str], &[u8]); 3] = [
        (&["SET"], b"+OK\r\n"),
        (&["INCR"], b":17\r\n"),
        (&["HGETALL", "{key}"], b"*2\r\n$1\r\na\r\n:1\r\n"),
    ];
    for (command, reply) in commands {
        let parrot = Parrot::start(reply, 0);
        for (connections, pipeline, threads) in [(1, 1, 1), (7, 16, 1), (9, 128, 2), (1, 3, 4)] {
            let shape = Shape {
                connections,
                pipeline,
                threads,
            };
            let outcome = load(&parrot, command, shape, Pace::Closed, 5_001);
            let outcome = outcome.expect("all replies are right");
            assert_eq!(outcome.operations, 5_001, "{command:?}, {shape:?}");
            assert_eq!(outcome.latency_ns.len(), 5_001, "{command:?}, {shape:?}");
        }
    }
}

#[test]
fn fills_set_every_key_once() {
    let parrot = Parrot::start(b"+OK\r\n", 0);
    fill(parrot.address, 100..1_333, 16, Lifetime::Seconds(60)).expect("all replies are right");
    assert_eq!(parrot.requests.load(Ordering::Relaxed), 1_233);
}

#[test]
fn open_loops_count_from_when_requests_were_due() {
    const REQUESTS: u64 = 500;
    const REQUESTS_PER_S: f64 = 5_000.0;
    // Nothing is answered before the last request is there, a tenth of a second after the first.
    let parrot = Parrot::start(b"+OK\r\n", REQUESTS);
    let pace = Pace::Open {
        requests_per_s: REQUESTS_PER_S,
    };
    let outcome = load(&parrot, &["SET"], ONE, pace, REQUESTS).expect("all replies are right");
    assert_eq!(outcome.operations, REQUESTS);
    assert!(outcome.elapsed >= Duration::from_millis(99));
    assert!(outcome.latency_us(1.0) >= 99_000.0);
    // The last were answered at once, the first waited longest: half of them waited half the time.
    assert!(outcome.latency_us(0.5) >= 49_000.0);
}

#[test]
fn open_loops_keep_their_rate() {
    let parrot = Parrot::start(b"+OK\r\n", 0);
    let shape = Shape {
        connections: 3,
        pipeline: 2,
        threads: 1,
    };
    let pace = Pace::Open {
        requests_per_s: 10_000.0,
    };
    let outcome = load(&parrot, &["SET"], shape, pace, 1_000).expect("all replies are right");
    assert_eq!(outcome.operations, 1_000);
    assert!(outcome.elapsed >= Duration::from_millis(99), "{outcome:?}");
}

#[test]
fn wrong_replies_end_a_run() {
    for (command, reply) in [
        ("SET", &b"-ERR no\r\n"[..]),
        ("GET", b"$5\r\nwrong\r\n"),
        ("GET", b"$-1\r\n"),
        ("INCR", b"+OK\r\n"),
        ("PING", b"-ERR no\r\n"),
    ] {
        let outcome = load(&Parrot::start(reply, 0), &[command], ONE, Pace::Closed, 10);
        assert!(
            matches!(outcome, Err(LoadError::Wrong(_))),
            "{command}: {outcome:?}"
        );
    }
}

#[test]
fn more_replies_than_requests_end_a_run() {
    let parrot = Parrot::start(b":1\r\n:2\r\n", 0);
    let outcome = load(&parrot, &["INCR"], ONE, Pace::Closed, 10);
    assert!(matches!(outcome, Err(LoadError::Wrong(_))), "{outcome:?}");
}

#[test]
fn closed_connections_end_a_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let parrot = Parrot {
        address: listener.local_addr().expect("it is bound"),
        requests: Arc::default(),
    };
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        // All is read: a socket closed with unread input would be reset instead.
        let _ = stream.read(&mut [0; 1_024]);
    });
    let outcome = load(&parrot, &["SET"], ONE, Pace::Closed, 10);
    assert!(matches!(outcome, Err(LoadError::Closed)), "{outcome:?}");
}
