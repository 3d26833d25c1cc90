//! Keys and databases of the plain server.

use super::expect::Expect;
use super::plain::{Answer, Call, SYNTAX, integer};

impl Call<'_> {
    /// The reply, if this is a command on keys or databases.
    pub(crate) fn key(&mut self) -> Option<Answer> {
        let words = self.words;
        let key = words.first().map_or(&b""[..], |key| key);
        Some(match self.name {
            "echo" => Ok(Expect::bulk(key)),
            "del" | "unlink" => {
                let removed = words.iter().filter(|key| self.remove(key)).count();
                Ok(Expect::integer(removed as i64))
            }
            "exists" | "touch" => {
                let there = words.iter().filter(|key| self.get(key).is_some()).count();
                Ok(Expect::integer(there as i64))
            }
            "type" => Ok(Expect::simple(match self.get(key) {
                Some(_) => "string",
                None => "none",
            })),
            "expire" | "pexpire" | "expireat" | "pexpireat" => self.expire(key),
            "ttl" | "pttl" | "expiretime" | "pexpiretime" => Ok(self.ttl(key)),
            "persist" => {
                let has_deadline = self.get(key).is_some_and(|e| e.deadline_ms.is_some());
                if has_deadline {
                    let text = self.text(key);
                    self.put(key, &text, None);
                }
                Ok(Expect::integer(i64::from(has_deadline)))
            }
            "rename" | "renamenx" => self.rename(key),
            "copy" => self.copy(key),
            "move" => self.move_to(key),
            "keys" => Ok(self.names(key)),
            "scan" => self.scan(),
            "randomkey" => {
                let keys = self.plain.databases[self.db].keys();
                let keys: std::collections::BTreeSet<_> = keys.cloned().collect();
                Ok(if keys.is_empty() {
                    Expect::null(self.resp3)
                } else {
                    Expect::OneOf(keys)
                })
            }
            "dbsize" => {
                let keys = self.plain.databases[self.db].len();
                Ok(Expect::integer(keys as i64))
            }
            "flushdb" | "flushall" => self.flush(),
            "swapdb" => self.swapdb(),
            _ => return None,
        })
    }

    fn expire(&mut self, key: &[u8]) -> Answer {
        let mut flags = Vec::new();
        for word in &self.words[2..] {
            let flag = String::from_utf8_lossy(word).to_ascii_uppercase();
            if !["NX", "XX", "GT", "LT"].contains(&flag.as_str()) {
                let given = String::from_utf8_lossy(word);
                return Err(format!("ERR Unsupported option {given}"));
            }
            flags.push(flag);
        }
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        let (nx, xx, gt, lt) = (has("NX"), has("XX"), has("GT"), has("LT"));
        if nx && (xx || gt || lt) {
            let text = "NX and XX, GT or LT options at the same time are not compatible";
            return Err(format!("ERR {text}"));
        }
        if gt && lt {
            let text = "GT and LT options at the same time are not compatible";
            return Err(format!("ERR {text}"));
        }
        let amount = i128::from(integer(&self.words[1])?);
        let unit = if self.name.starts_with('p') { 1 } else { 1_000 };
        let now_ms = i128::from(self.plain.now_ms);
        let base_ms = if self.name.ends_with("at") { 0 } else { now_ms };
        let new_ms = i64::try_from(amount * unit)
            .ok()
            .and_then(|ms| i64::try_from(i128::from(ms) + base_ms).ok())
            .ok_or_else(|| format!("ERR invalid expire time in '{}' command", self.name))?;
        let new_ms = i128::from(new_ms);
        let Some(entry) = self.get(key) else {
            return Ok(Expect::integer(0));
        };
        let old_ms = entry.deadline_ms.map(i128::from);
        if nx && old_ms.is_some()
            || xx && old_ms.is_none()
            || gt && old_ms.is_none_or(|old_ms| new_ms <= old_ms)
            || lt && old_ms.is_some_and(|old_ms| new_ms >= old_ms)
        {
            return Ok(Expect::integer(0));
        }
        if new_ms <= now_ms {
            self.remove(key);
        } else {
            let text = self.text(key);
            self.put(key, &text, Some(new_ms as u64));
        }
        Ok(Expect::integer(1))
    }

    fn ttl(&self, key: &[u8]) -> Expect {
        let Some(entry) = self.get(key) else {
            return Expect::integer(-2);
        };
        let Some(at) = entry.deadline_ms else {
            return Expect::integer(-1);
        };
        let left = at - self.plain.now_ms;
        Expect::integer(match self.name {
            "ttl" => (left + 500) / 1_000,
            "pttl" => left,
            "expiretime" => (at + 500) / 1_000,
            _ => at,
        } as i64)
    }

    fn rename(&mut self, from: &[u8]) -> Answer {
        let to = &self.words[1];
        let Some(entry) = self.get(from).cloned() else {
            return Err("ERR no such key".into());
        };
        let only_new = self.name == "renamenx";
        let renamed = from != &to[..] && !(only_new && self.get(to).is_some());
        if renamed {
            self.remove(from);
            self.plain.put(self.db, to, entry);
        }
        Ok(if only_new {
            Expect::integer(i64::from(renamed))
        } else {
            Expect::ok()
        })
    }

    fn copy(&mut self, from: &[u8]) -> Answer {
        let (mut db, mut replace) = (self.db, false);
        let mut words = self.words[2..].iter();
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"REPLACE") {
                replace = true;
            } else if word.eq_ignore_ascii_case(b"DB") {
                db = self.plain.database(words.next().ok_or(SYNTAX)?)?;
            } else {
                return Err(SYNTAX.into());
            }
        }
        let to = &self.words[1];
        if db == self.db && from == &to[..] {
            return Err("ERR source and destination objects are the same".into());
        }
        let Some(entry) = self.get(from).cloned() else {
            return Ok(Expect::integer(0));
        };
        let copied = replace || !self.plain.databases[db].contains_key(to);
        if copied {
            self.plain.put(db, to, entry);
        }
        Ok(Expect::integer(i64::from(copied)))
    }

    fn move_to(&mut self, key: &[u8]) -> Answer {
        let db = self.plain.database(&self.words[1])?;
        if db == self.db {
            return Err("ERR source and destination objects are the same".into());
        }
        let taken = self.plain.databases[db].contains_key(key);
        let moved = self.get(key).cloned().filter(|_| !taken);
        let answer = Expect::integer(i64::from(moved.is_some()));
        if let Some(entry) = moved {
            self.remove(key);
            self.plain.put(db, key, entry);
        }
        Ok(answer)
    }

    /// Keys by pattern: `*`, or a name without wildcards.
    fn names(&self, pattern: &[u8]) -> Expect {
        let keys = self.plain.databases[self.db].keys();
        let matches = |key: &&Vec<u8>| pattern == b"*" || ***key == *pattern;
        Expect::Set(keys.filter(matches).cloned().collect())
    }

    /// A walk in one call: a COUNT above all keys there are.
    fn scan(&self) -> Answer {
        if integer(&self.words[0]).is_err() {
            return Err("ERR invalid cursor".into());
        }
        Ok(Expect::Array(vec![Expect::bulk(b"0"), self.names(b"*")]))
    }

    fn flush(&mut self) -> Answer {
        match self.words {
            [] => {}
            [mode] if [&b"SYNC"[..], b"ASYNC"].contains(&&mode.to_ascii_uppercase()[..]) => {}
            _ => return Err(SYNTAX.into()),
        }
        let databases = if self.name == "flushdb" {
            self.db..self.db + 1
        } else {
            0..self.plain.databases.len()
        };
        for db in databases {
            let keys: Vec<_> = self.plain.databases[db].keys().cloned().collect();
            for key in keys {
                self.plain.remove(db, &key);
            }
        }
        Ok(Expect::ok())
    }

    fn swapdb(&mut self) -> Answer {
        for (word, which) in self.words.iter().zip(["first", "second"]) {
            integer(word).map_err(|_| format!("ERR invalid {which} DB index"))?;
        }
        let a = self.plain.database(&self.words[0])?;
        let b = self.plain.database(&self.words[1])?;
        if a != b {
            self.plain.databases.swap(a, b);
            let keys = [a, b].map(|db| self.plain.databases[db].keys().cloned().collect());
            for key in keys.into_iter().flat_map(|keys: Vec<Vec<u8>>| keys) {
                self.plain.touch(a, &key);
                self.plain.touch(b, &key);
            }
        }
        Ok(Expect::ok())
    }
}
