//! Random histories: what several connections send, and the time that passes.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::plain::Request;

/// Connections of a history.
pub(crate) const CONNECTIONS: usize = 3;
/// The most steps of a history.
const STEPS_MAX: usize = 50;

#[derive(Clone)]
pub(crate) enum Step {
    /// A connection sends a request and gets its reply.
    Request(usize, Request),
    /// A connection walks over all keys, some per call.
    Walk(usize, u8),
    /// Time passes.
    AdvanceMs(u64),
    /// The sweeper goes round.
    Sweep,
    /// A connection goes, whatever it was about, and another takes its place.
    Reconnect(usize),
}

/// As somebody would type it.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Request(connection, request) => {
                write!(f, "{connection}>")?;
                request
                    .iter()
                    .try_for_each(|word| write!(f, " \"{}\"", word.escape_ascii()))
            }
            Step::Walk(connection, count) => write!(f, "{connection}> walk, {count} a call"),
            Step::AdvanceMs(ms) => write!(f, "advance {ms} ms"),
            Step::Sweep => f.write_str("sweep"),
            Step::Reconnect(connection) => write!(f, "{connection}> reconnect"),
        }
    }
}

/// Which commands a history is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// All that we know, and time that passes.
    Ours,
    /// Those of Redis 7.0, at one time.
    Redis,
}

pub(crate) fn histories(dialect: Dialect) -> BoxedStrategy<Vec<Step>> {
    let connection = || 0..CONNECTIONS;
    let request = || (connection(), requests(dialect)).prop_map(|(c, r)| Step::Request(c, r));
    let walk = (connection(), 1..20_u8).prop_map(|(c, count)| Step::Walk(c, count));
    let reconnect = connection().prop_map(Step::Reconnect);
    let step = match dialect {
        Dialect::Redis => prop_oneof![60 => request(), 1 => reconnect].boxed(),
        Dialect::Ours => prop_oneof![
            60 => request(),
            2 => walk,
            4 => select(vec![1_u64, 99, 100, 999, 1_500, 10_000]).prop_map(Step::AdvanceMs),
            2 => Just(Step::Sweep),
            1 => reconnect,
        ]
        .boxed(),
    };
    let steps = prop_oneof![
        12 => step.prop_map(|step| vec![step]),
        1 => watched_transactions(dialect),
    ];
    prop::collection::vec(steps, 1..STEPS_MAX)
        .prop_map(|steps| steps.concat())
        .boxed()
}

/// A transaction that depends on keys, and somebody's request while it does.
fn watched_transactions(dialect: Dialect) -> impl Strategy<Value = Vec<Step>> {
    let (one, other) = (0..CONNECTIONS, 0..CONNECTIONS);
    let watch = line(vec![the("WATCH"), some(word(key()))]);
    let parts = (one, other, watch, requests(dialect), requests(dialect));
    parts.prop_map(|(one, other, watch, between, inside)| {
        let word = |text: &str| Step::Request(one, vec![text.into()]);
        vec![
            Step::Request(one, watch),
            Step::Request(other, between),
            word("MULTI"),
            Step::Request(one, inside),
            word("EXEC"),
        ]
    })
}

type Word = BoxedStrategy<Vec<u8>>;

fn one_of(words: &[&str]) -> Word {
    select(
        words
            .iter()
            .map(|w| w.as_bytes().to_vec())
            .collect::<Vec<_>>(),
    )
    .boxed()
}

fn key() -> Word {
    one_of(&["k", "l", "m", "key\r\n\0", ""])
}

fn value() -> Word {
    let long = "a value of more than forty-four bytes, so that it is stored in another way";
    one_of(&[
        "",
        "a",
        "b",
        "0",
        "10",
        "-3",
        "007",
        "3.5",
        "9223372036854775807",
        "-9223372036854775808",
        "12345678",
        "\0\r\n\u{ff}",
        long,
    ])
}

fn number() -> Word {
    one_of(&[
        "0",
        "1",
        "2",
        "-1",
        "7",
        "-9",
        "100",
        "9223372036854775807",
        "-9223372036854775808",
        "x",
        "1.5",
        "",
    ])
}

/// Words one after the other.
fn line(words: Vec<BoxedStrategy<Request>>) -> BoxedStrategy<Request> {
    words.prop_map(|parts| parts.concat()).boxed()
}

fn word(word: Word) -> BoxedStrategy<Request> {
    word.prop_map(|word| vec![word]).boxed()
}

fn the(text: &'static str) -> BoxedStrategy<Request> {
    Just(text.split(' ').map(|w| w.as_bytes().to_vec()).collect()).boxed()
}

/// A command with these words.
fn command(name: &'static str, words: &[fn() -> Word]) -> BoxedStrategy<Request> {
    let words = words.iter().map(|make| word(make()));
    line(std::iter::once(the(name)).chain(words).collect())
}

/// A name out of several, a key, and other words.
fn keyed(names: &[&str], words: &[fn() -> Word]) -> BoxedStrategy<Request> {
    let head = [word(one_of(names)), word(key())];
    line(
        head.into_iter()
            .chain(words.iter().map(|make| word(make())))
            .collect(),
    )
}

fn any_of(strategies: Vec<BoxedStrategy<Request>>) -> BoxedStrategy<Request> {
    Union::new(strategies).boxed()
}

/// One to three of the same.
fn some(part: BoxedStrategy<Request>) -> BoxedStrategy<Request> {
    prop::collection::vec(part, 1..4)
        .prop_map(|parts| parts.concat())
        .boxed()
}

/// None to two options; two of the same are left to the transcripts.
fn options(options: Vec<BoxedStrategy<Request>>) -> BoxedStrategy<Request> {
    let different = |parts: Vec<Request>| {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let new = parts.into_iter().filter(|part| {
            let name = part[0].to_ascii_lowercase();
            let is_new = !seen.contains(&name);
            seen.push(name);
            is_new
        });
        new.flatten().collect()
    };
    prop::collection::vec(any_of(options), 0..3)
        .prop_map(different)
        .boxed()
}

fn pair() -> BoxedStrategy<Request> {
    line(vec![word(key()), word(value())])
}

/// `EX` and its like, with a number. Over TCP no deadline is near and none has passed.
fn expiry(dialect: Dialect) -> BoxedStrategy<Request> {
    let (seconds, millis): (&[&str], &[&str]) = match dialect {
        Dialect::Ours => (
            &["1", "2", "100", "0", "-1", "x", "9223372036854775807"],
            &["1", "100", "1500", "0", "-5", "x", "9223372036854775807"],
        ),
        Dialect::Redis => (
            &["100", "5000", "0", "-1", "x", "9223372036854775807"],
            &["100000", "0", "-5", "x", "9223372036854775807"],
        ),
    };
    let (unix_s, unix_ms): (&[&str], &[&str]) = match dialect {
        Dialect::Ours => (
            &["1700000001", "1", "0"],
            &["1700000000100", "1700000009000", "1", "x"],
        ),
        Dialect::Redis => (&["4000000000", "0"], &["4000000000000", "-1", "x"]),
    };
    any_of(vec![
        line(vec![word(one_of(&["EX", "ex"])), word(one_of(seconds))]),
        line(vec![the("PX"), word(one_of(millis))]),
        line(vec![the("EXAT"), word(one_of(unix_s))]),
        line(vec![the("PXAT"), word(one_of(unix_ms))]),
    ])
}

fn requests(dialect: Dialect) -> BoxedStrategy<Request> {
    let mut all = vec![
        (10, strings(dialect)),
        (6, counters()),
        (8, deadlines(dialect)),
        (7, keys()),
        (7, transactions()),
        (3, databases()),
        (1, mistakes()),
    ];
    if dialect == Dialect::Ours {
        all.push((4, newer()));
        all.push((1, the("RANDOMKEY")));
    }
    Union::new_weighted(all).boxed()
}

fn strings(dialect: Dialect) -> BoxedStrategy<Request> {
    let expiry = || expiry(dialect);
    let set_options = options(vec![
        the("NX"),
        the("XX"),
        the("GET"),
        the("KEEPTTL"),
        expiry(),
        expiry(),
        the("nonsense"),
    ]);
    any_of(vec![
        keyed(&["GET", "get", "STRLEN", "GETDEL"], &[]),
        keyed(&["SET", "GETSET", "SETNX", "APPEND"], &[value]),
        keyed(&["SET"], &[value]),
        line(vec![the("SET"), pair(), set_options]),
        keyed(
            &["SETEX", "PSETEX"],
            &[|| one_of(&["100000", "0", "-1", "x"]), value],
        ),
        line(vec![
            the("GETEX"),
            word(key()),
            options(vec![expiry(), the("PERSIST")]),
        ]),
        line(vec![word(one_of(&["MGET", "DEL"])), some(word(key()))]),
        line(vec![word(one_of(&["MSET", "MSETNX"])), some(pair())]),
        keyed(&["GETRANGE", "SUBSTR"], &[number, number]),
        keyed(
            &["SETRANGE"],
            &[|| one_of(&["0", "1", "3", "100", "-1", "x"]), value],
        ),
    ])
}

fn counters() -> BoxedStrategy<Request> {
    any_of(vec![
        keyed(&["INCR", "DECR"], &[]),
        keyed(&["INCRBY", "DECRBY"], &[number]),
        keyed(
            &["INCRBYFLOAT"],
            &[|| one_of(&["0.5", "-0.25", "3", "1e3", "x", "", "nan", "inf"])],
        ),
    ])
}

fn deadlines(dialect: Dialect) -> BoxedStrategy<Request> {
    let flags = || options(["NX", "XX", "GT", "LT", "nonsense"].map(the).to_vec());
    // Redis' clock runs: whether one time from now is greater than another, equal one is not told.
    let relative_flags = || match dialect {
        Dialect::Ours => flags(),
        Dialect::Redis => options(["NX", "XX", "nonsense"].map(the).to_vec()),
    };
    let near: (&[&str], &[&str]) = match dialect {
        Dialect::Ours => (&["1", "2", "100"], &["1", "100", "1500"]),
        Dialect::Redis => (&["100", "5000"], &["100000"]),
    };
    let far = |words: &[&'static str]| {
        let odd = [
            "0",
            "-1",
            "x",
            "9223372036854775807",
            "-9223372036854775808",
        ];
        word(one_of(&[words, &odd].concat()))
    };
    any_of(vec![
        line(vec![
            the("EXPIRE"),
            word(key()),
            far(near.0),
            relative_flags(),
        ]),
        line(vec![
            the("PEXPIRE"),
            word(key()),
            far(near.1),
            relative_flags(),
        ]),
        line(vec![
            the("EXPIREAT"),
            word(key()),
            far(&["4000000000", "1"]),
            flags(),
        ]),
        line(vec![
            the("PEXPIREAT"),
            word(key()),
            far(&["4000000000000"]),
            flags(),
        ]),
        keyed(
            &["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST"],
            &[],
        ),
        keyed(&["TTL", "PERSIST"], &[]),
    ])
}

fn keys() -> BoxedStrategy<Request> {
    let copy_options = options(vec![
        the("REPLACE"),
        the("DB 1"),
        the("DB 0"),
        the("DB 99"),
        the("DB x"),
        the("DB"),
        the("no"),
    ]);
    any_of(vec![
        line(vec![
            word(one_of(&["DEL", "UNLINK", "EXISTS", "TOUCH"])),
            some(word(key())),
        ]),
        keyed(&["TYPE"], &[]),
        keyed(&["RENAME", "RENAMENX"], &[key]),
        line(vec![the("COPY"), word(key()), word(key()), copy_options]),
        keyed(&["MOVE"], &[|| one_of(&["0", "1", "1", "99", "x"])]),
        command("KEYS", &[|| one_of(&["*", "k", "l"])]),
        the("SCAN 0 COUNT 1000"),
        the("ECHO hello"),
    ])
}

fn transactions() -> BoxedStrategy<Request> {
    any_of(vec![
        the("MULTI"),
        the("MULTI"),
        the("EXEC"),
        the("EXEC"),
        the("EXEC"),
        the("DISCARD"),
        line(vec![the("WATCH"), some(word(key()))]),
        line(vec![the("WATCH"), some(word(key()))]),
        the("UNWATCH"),
    ])
}

fn databases() -> BoxedStrategy<Request> {
    let index = || one_of(&["0", "0", "1", "1", "15", "16", "-1", "x"]);
    any_of(vec![
        command("SELECT", &[index]),
        command("SELECT", &[|| one_of(&["0", "1"])]),
        command("SWAPDB", &[index, index]),
        the("SWAPDB 0 1"),
        the("DBSIZE"),
        line(vec![
            word(one_of(&["FLUSHDB", "FLUSHALL"])),
            options(vec![the("SYNC"), the("ASYNC"), the("nonsense")]),
        ]),
    ])
}

/// What Redis 7.0 has not.
fn newer() -> BoxedStrategy<Request> {
    let conditions = || {
        let digest = || one_of(&["0000000000000000", "e6c632b61e964e1f", "x"]);
        any_of(vec![
            line(vec![word(one_of(&["IFEQ", "IFNE", "ifeq"])), word(value())]),
            line(vec![word(one_of(&["IFDEQ", "IFDNE"])), word(digest())]),
            the("IFEQ"),
        ])
    };
    let expiry = || expiry(Dialect::Ours);
    let set_options = options(vec![
        conditions(),
        conditions(),
        the("GET"),
        expiry(),
        the("NX"),
    ]);
    let msetex_options = options(vec![
        the("NX"),
        the("XX"),
        the("KEEPTTL"),
        expiry(),
        expiry(),
    ]);
    let count = || one_of(&["1", "1", "2", "2", "0", "9", "x"]);
    any_of(vec![
        line(vec![the("SET"), pair(), set_options]),
        keyed(&["DIGEST", "DELEX"], &[]),
        line(vec![the("DELEX"), word(key()), conditions()]),
        keyed(&["DELEX"], &[|| one_of(&["NX", "x"]), value]),
        keyed(&["DELIFEQ"], &[value]),
        line(vec![
            the("MSETEX"),
            word(count()),
            some(pair()),
            msetex_options,
        ]),
    ])
}

/// What no command takes: unknown names, too few words, too many.
fn mistakes() -> BoxedStrategy<Request> {
    let lines = [
        "GET",
        "GET a b",
        "set k",
        "NONSENSE",
        "nonsense a b",
        "EXEC now",
        "WATCH",
        "MULTI x",
    ];
    any_of(lines.map(the).to_vec())
}
