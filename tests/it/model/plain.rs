//! A server so plain that it is unlikely to be wrong: ordered maps, every deadline looked at after
//! every step, watches as a flag on the watcher.
//!
//! It knows what the commands of `strings.rs` and `keys.rs` answer and do, in RESP2 and RESP3, with
//! Redis' error texts written down a second time. It does not know protocol errors, limits or
//! anything of a connection but its database, transaction and watches.

use std::collections::{BTreeMap, BTreeSet};

use super::expect::Expect;

/// One request.
pub(crate) type Request = Vec<Vec<u8>>;
/// A reply, or the line of an error.
pub(crate) type Answer = Result<Expect, String>;

pub(crate) const SYNTAX: &str = "ERR syntax error";
pub(crate) const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const DB_RANGE: &str = "ERR DB index is out of range";

/// The whole server.
pub(crate) struct Plain {
    pub(crate) databases: Vec<BTreeMap<Vec<u8>, Entry>>,
    pub(crate) now_ms: u64,
    connections: Vec<Connection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) text: Vec<u8>,
    pub(crate) deadline_ms: Option<u64>,
}

#[derive(Default)]
struct Connection {
    db: usize,
    resp3: bool,
    queue: Option<Vec<Request>>,
    queue_failed: bool,
    watched: BTreeSet<(usize, Vec<u8>)>,
    dirty: bool,
}

/// One command being run: who calls, with what.
pub(crate) struct Call<'a> {
    pub(crate) plain: &'a mut Plain,
    pub(crate) db: usize,
    pub(crate) resp3: bool,
    pub(crate) name: &'a str,
    pub(crate) words: &'a [Vec<u8>],
}

/// Names and arities of the commands known, as `COMMAND` tells them.
const ARITIES: &[(&str, i64)] = &[
    ("append", 3),
    ("copy", -3),
    ("dbsize", 1),
    ("decr", 2),
    ("decrby", 3),
    ("del", -2),
    ("delex", -2),
    ("delifeq", 3),
    ("digest", 2),
    ("discard", 1),
    ("echo", 2),
    ("exec", 1),
    ("exists", -2),
    ("expire", -3),
    ("expireat", -3),
    ("expiretime", 2),
    ("flushall", -1),
    ("flushdb", -1),
    ("get", 2),
    ("getdel", 2),
    ("getex", -2),
    ("getrange", 4),
    ("getset", 3),
    ("incr", 2),
    ("incrby", 3),
    ("incrbyfloat", 3),
    ("keys", 2),
    ("mget", -2),
    ("move", 3),
    ("mset", -3),
    ("msetex", -4),
    ("msetnx", -3),
    ("multi", 1),
    ("persist", 2),
    ("pexpire", -3),
    ("pexpireat", -3),
    ("pexpiretime", 2),
    ("psetex", 4),
    ("pttl", 2),
    ("randomkey", 1),
    ("rename", 3),
    ("renamenx", 3),
    ("scan", -2),
    ("select", 2),
    ("set", -3),
    ("setex", 4),
    ("setnx", 3),
    ("setrange", 4),
    ("strlen", 2),
    ("substr", 4),
    ("swapdb", 3),
    ("touch", -2),
    ("ttl", 2),
    ("type", 2),
    ("unlink", -2),
    ("unwatch", 1),
    ("watch", -2),
];

impl Plain {
    /// An empty server at this Unix time.
    pub(crate) fn new(databases: usize, now_ms: u64) -> Plain {
        Plain {
            databases: vec![BTreeMap::new(); databases],
            now_ms,
            connections: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, resp3: bool) {
        self.connections.push(Connection {
            resp3,
            ..Connection::default()
        });
    }

    /// The connection's place is taken by a new one.
    pub(crate) fn reconnect(&mut self, connection: usize) {
        let resp3 = self.connections[connection].resp3;
        self.connections[connection] = Connection {
            resp3,
            ..Connection::default()
        };
    }

    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        self.purge();
    }

    pub(crate) fn is_in_multi(&self, connection: usize) -> bool {
        self.connections[connection].queue.is_some()
    }

    /// Whether a command of this name waits for `EXEC`.
    pub(crate) fn has_queued(&self, connection: usize, name: &str) -> bool {
        let queue = self.connections[connection].queue.iter().flatten();
        let mut names = queue.map(|request| &request[0]);
        names.any(|queued| queued.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The keys a connection sees.
    pub(crate) fn keys(&self, connection: usize) -> BTreeSet<Vec<u8>> {
        let db = self.connections[connection].db;
        self.databases[db].keys().cloned().collect()
    }

    /// The entry a connection sees.
    pub(crate) fn entry(&self, connection: usize, key: &[u8]) -> Option<&Entry> {
        self.databases[self.connections[connection].db].get(key)
    }

    /// What a connection's request is answered.
    pub(crate) fn run(&mut self, connection: usize, request: &[Vec<u8>]) -> Expect {
        let caller = &mut self.connections[connection];
        let name = match resolve(request) {
            Ok(name) => name,
            Err(line) if request[0].eq_ignore_ascii_case(b"exec") => {
                caller.forget();
                let why = line.trim_start_matches("ERR ");
                return Expect::error(&format!(
                    "EXECABORT Transaction discarded because of: {why}"
                ));
            }
            Err(line) => {
                caller.queue_failed |= caller.queue.is_some();
                return Expect::error(&line);
            }
        };
        let at_once = ["multi", "exec", "discard", "watch"].contains(&name.as_str());
        match &mut caller.queue {
            Some(queue) if !at_once => {
                queue.push(request.to_vec());
                Expect::simple("QUEUED")
            }
            _ => {
                let answer = self.execute(connection, &name, request);
                self.purge();
                answer.unwrap_or_else(|line| Expect::error(&line))
            }
        }
    }

    fn execute(&mut self, connection: usize, name: &str, request: &[Vec<u8>]) -> Answer {
        let caller = &mut self.connections[connection];
        match (name, caller.queue.is_some()) {
            ("multi", true) => Err("ERR MULTI calls can not be nested".into()),
            ("watch", true) => Err("ERR WATCH inside MULTI is not allowed".into()),
            ("exec", false) => Err("ERR EXEC without MULTI".into()),
            ("discard", false) => Err("ERR DISCARD without MULTI".into()),
            ("multi", false) => {
                (caller.queue, caller.queue_failed) = (Some(Vec::new()), false);
                Ok(Expect::ok())
            }
            ("watch", false) => {
                let keys = request[1..].iter().map(|key| (caller.db, key.clone()));
                caller.watched.extend(keys);
                Ok(Expect::ok())
            }
            ("unwatch", _) => {
                (caller.watched, caller.dirty) = (BTreeSet::new(), false);
                Ok(Expect::ok())
            }
            ("discard", true) => {
                caller.forget();
                Ok(Expect::ok())
            }
            ("exec", true) => self.exec(connection),
            ("select", _) => {
                let db = self.database(&request[1])?;
                self.connections[connection].db = db;
                Ok(Expect::ok())
            }
            _ => {
                let (db, resp3) = (caller.db, caller.resp3);
                let mut call = Call {
                    plain: self,
                    db,
                    resp3,
                    name,
                    words: &request[1..],
                };
                call.string().or_else(|| call.key()).expect("a known name")
            }
        }
    }

    fn exec(&mut self, connection: usize) -> Answer {
        let caller = &mut self.connections[connection];
        let resp3 = caller.resp3;
        let old = caller.forget();
        if old.queue_failed {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        if old.dirty {
            return Ok(Expect::null_array(resp3));
        }
        let mut replies = Vec::new();
        for request in old.queue.unwrap_or_default() {
            let name = request[0].to_ascii_lowercase();
            let name = String::from_utf8(name).expect("a known name is ASCII");
            let answer = self.execute(connection, &name, &request);
            replies.push(answer.unwrap_or_else(|line| Expect::error(&line)));
            self.purge();
        }
        Ok(Expect::Array(replies))
    }

    /// The database that `word` names.
    pub(crate) fn database(&self, word: &[u8]) -> Result<usize, String> {
        let index = integer(word)?;
        usize::try_from(index)
            .ok()
            .filter(|&index| index < self.databases.len())
            .ok_or_else(|| DB_RANGE.into())
    }

    /// Whoever watches this key has something to know.
    pub(crate) fn touch(&mut self, db: usize, key: &[u8]) {
        for connection in &mut self.connections {
            connection.dirty |= connection.watched.contains(&(db, key.to_vec()));
        }
    }

    pub(crate) fn put(&mut self, db: usize, key: &[u8], entry: Entry) {
        self.databases[db].insert(key.to_vec(), entry);
        self.touch(db, key);
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let removed = self.databases[db].remove(key)?;
        self.touch(db, key);
        Some(removed)
    }

    fn purge(&mut self) {
        for db in 0..self.databases.len() {
            let due = |entry: &Entry| entry.deadline_ms.is_some_and(|at| at <= self.now_ms);
            let due = self.databases[db].iter().filter(|(_, entry)| due(entry));
            let due: Vec<_> = due.map(|(key, _)| key.clone()).collect();
            for key in due {
                self.remove(db, &key);
            }
        }
    }
}

impl Connection {
    /// Gives up the transaction and the watches; answers how they were.
    fn forget(&mut self) -> Connection {
        let fresh = Connection {
            db: self.db,
            resp3: self.resp3,
            ..Connection::default()
        };
        std::mem::replace(self, fresh)
    }
}

/// The name of a command that is known and has a possible number of arguments.
fn resolve(request: &[Vec<u8>]) -> Result<String, String> {
    let given = String::from_utf8_lossy(&request[0]).into_owned();
    let name = given.to_ascii_lowercase();
    let Some((_, arity)) = ARITIES.iter().find(|(known, _)| *known == name) else {
        let quote = |word: &Vec<u8>| format!("'{}' ", String::from_utf8_lossy(word));
        let rest: String = request[1..].iter().map(quote).collect();
        return Err(format!(
            "ERR unknown command '{given}', with args beginning with: {rest}"
        ));
    };
    let len = request.len() as i64;
    if *arity < 0 && len >= -arity || len == *arity {
        return Ok(name);
    }
    Err(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

/// An integer in exactly the form that printing gives it.
pub(crate) fn integer(word: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok().filter(|n: &i64| n.to_string() == text))
        .ok_or_else(|| NOT_INTEGER.into())
}

impl Call<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.plain.databases[self.db].get(key)
    }

    /// The text of a key, nothing where it is not there.
    pub(crate) fn text(&self, key: &[u8]) -> Vec<u8> {
        self.get(key).map_or(Vec::new(), |entry| entry.text.clone())
    }

    pub(crate) fn put(&mut self, key: &[u8], text: &[u8], deadline_ms: Option<u64>) {
        let entry = Entry {
            text: text.to_vec(),
            deadline_ms,
        };
        self.plain.put(self.db, key, entry);
    }

    /// Gives a key another text; its deadline stays.
    pub(crate) fn rewrite(&mut self, key: &[u8], text: &[u8]) {
        let deadline_ms = self.get(key).and_then(|entry| entry.deadline_ms);
        self.put(key, text, deadline_ms);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.plain.remove(self.db, key).is_some()
    }

    /// The value of a key as a reply.
    pub(crate) fn value(&self, key: &[u8]) -> Expect {
        self.get(key)
            .map_or(Expect::null(self.resp3), |entry| Expect::bulk(&entry.text))
    }
}
