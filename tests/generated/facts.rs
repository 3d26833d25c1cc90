//! Our rows beside Valkey's: arity, flags, categories, keys, chapter, version.
//!
//! Every difference is either a mistake or stands in [`ALLOWED`] with its reason; a reason that is
//! no longer needed is itself a finding.
//!
//! LIMITATIONS: `movablekeys` is not among Valkey's facts (its server computes it) and is not
//! compared; nor are arguments, whose names are for people.

use linchpin_server::command::spec::{Find, Flags, KeySpec, Spec};
use linchpin_server::command::table;
use std::collections::{BTreeMap, BTreeSet};

const VALKEY: &str = include_str!("../data/valkey-commands.tsv");

/// Command, column, reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("client|slowpolicy", "name", "our own"),
    ("pubsub|stats", "name", "our own"),
    ("delex", "name", "of Redis 8.4"),
    ("delifeq", "name", "of Valkey 9.0, newer than these facts"),
    ("digest", "name", "of Redis 8.4"),
    ("increx", "name", "of Redis 8.8"),
    ("fence.set", "name", "our own"),
    ("barrier.await", "name", "our own"),
    ("barrier.info", "name", "our own"),
    ("cache.abort", "name", "our own"),
    ("cache.get", "name", "our own"),
    ("cache.set", "name", "our own"),
    ("cache.stale", "name", "our own"),
    ("id.decode", "name", "our own"),
    ("id.forget", "name", "our own"),
    ("id.next", "name", "our own"),
    ("id.range", "name", "our own"),
    ("id.short", "name", "our own"),
    ("id.short.config", "name", "our own"),
    ("id.worker", "name", "our own"),
    ("idemp.abort", "name", "our own"),
    ("idemp.begin", "name", "our own"),
    ("idemp.done", "name", "our own"),
    ("idemp.info", "name", "our own"),
    ("cl.mthrottle", "name", "our own"),
    ("cl.throttle", "name", "of the module redis-cell"),
    ("latch.await", "name", "our own"),
    ("latch.down", "name", "our own"),
    ("latch.info", "name", "our own"),
    ("latch.set", "name", "our own"),
    ("lock.acquire", "name", "our own"),
    ("lock.assert", "name", "our own"),
    ("lock.break", "name", "our own"),
    ("lock.check", "name", "our own"),
    ("lock.extend", "name", "our own"),
    ("lock.info", "name", "our own"),
    ("lock.list", "name", "our own"),
    ("lock.macquire", "name", "our own"),
    ("lock.observe", "name", "our own"),
    ("lock.release", "name", "our own"),
    ("sem.acquire", "name", "our own"),
    ("sem.info", "name", "our own"),
    ("sem.release", "name", "our own"),
    ("sem.resize", "name", "our own"),
    ("session.bind", "name", "our own"),
    ("session.close", "name", "our own"),
    ("session.info", "name", "our own"),
    ("session.keepalive", "name", "our own"),
    ("session.list", "name", "our own"),
    ("session.open", "name", "our own"),
    (
        "msetex",
        "name",
        "of Redis 8.4, and of Valkey 9.1, newer than these facts",
    ),
    (
        "command|getkeys",
        "arity",
        "as in Redis 7.0: a call without arguments has no keys",
    ),
    (
        "command|getkeysandflags",
        "arity",
        "as in Redis 7.0: a call without arguments has no keys",
    ),
    (
        "publish",
        "flags",
        "there is nobody to replicate to, and Redis 7.0 does not tell may_replicate",
    ),
    (
        "spublish",
        "flags",
        "there is nobody to replicate to, and Redis 7.0 does not tell may_replicate",
    ),
    (
        "multi",
        "flags",
        "as in Redis 7.0: inside MULTI the command itself says what is wrong",
    ),
    (
        "watch",
        "flags",
        "as in Redis 7.0: inside MULTI the command itself says what is wrong",
    ),
];

/// What Valkey says of one command.
struct Facts<'a> {
    arity: &'a str,
    flags: &'a str,
    categories: &'a str,
    keys: &'a str,
    group: &'a str,
    since: &'a str,
}

fn read() -> BTreeMap<&'static str, Facts<'static>> {
    let lines = VALKEY.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, arity, flags, categories, keys, group, since] = columns[..] else {
                panic!("not seven columns: {line}");
            };
            let facts = Facts {
                arity,
                flags,
                categories,
                keys,
                group,
                since,
            };
            (name, facts)
        })
        .collect()
}

/// Every difference nobody has given a reason for, and every reason without a difference.
pub(crate) fn check() -> Vec<String> {
    let facts = read();
    let mut differences = BTreeMap::new();
    for spec in table::all() {
        match facts.get(spec.name) {
            Some(facts) => compare(spec, facts, &mut differences),
            None => {
                let what = "Valkey has no such command".to_owned();
                differences.insert((spec.name, "name"), what);
            }
        }
    }
    let allowed: BTreeSet<(&str, &str)> = ALLOWED.iter().map(|row| (row.0, row.1)).collect();
    let unneeded = allowed.iter().filter(|row| !differences.contains_key(*row));
    let mut findings: Vec<String> = unneeded
        .map(|(name, column)| format!("{name}, {column}: allowed, but there is no difference"))
        .collect();
    let new = differences
        .iter()
        .filter(|(row, _)| !allowed.contains(*row));
    findings.extend(new.map(|((name, column), what)| format!("{name}, {column}: {what}")));
    findings
}

type Differences = BTreeMap<(&'static str, &'static str), String>;

fn compare(spec: &'static Spec, facts: &Facts<'_>, differences: &mut Differences) {
    let flags = spec
        .flags
        .words()
        .filter(|word| Flags::from_word(word.as_bytes()) != MOVABLE);
    let keys: Vec<String> = spec.keys.specs().iter().map(places).collect();
    let ours = [
        ("arity", spec.arity.to_string(), facts.arity),
        ("flags", sorted(flags), facts.flags),
        (
            "categories",
            sorted(spec.categories.words()),
            facts.categories,
        ),
        ("keys", or_none(keys.join("; ")), facts.keys),
        ("group", spec.group.word().to_owned(), facts.group),
        ("since", spec.since.to_owned(), facts.since),
    ];
    for (column, ours, theirs) in ours {
        if ours != theirs {
            let what = format!("ours is {ours}, Valkey's {theirs}");
            differences.insert((spec.name, column), what);
        }
    }
}

const MOVABLE: Option<Flags> = Some(Flags::MOVABLE_KEYS);

fn places(keys: &KeySpec) -> String {
    let find = match keys.find {
        Find::Range { last, step } => format!("range {last} {step}"),
        Find::Keynum { step } => format!("keynum 0 1 {step}"),
    };
    let flags: Vec<String> = keys.flags.words().map(str::to_lowercase).collect();
    let flags = sorted(flags.iter().map(String::as_str));
    format!("index {} {find} {flags}", keys.begin)
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: BTreeSet<&str> = words.collect();
    or_none(words.into_iter().collect::<Vec<_>>().join(","))
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
