//! Strings and counters of the plain server.

use super::expect::Expect;
use super::plain::{Answer, Call, SYNTAX, integer};

const EXPIRIES: [&str; 4] = ["EX", "PX", "EXAT", "PXAT"];
const CONDITIONS: [&str; 6] = ["NX", "XX", "IFEQ", "IFNE", "IFDEQ", "IFDNE"];

/// Options by name, each with its value if it has one.
struct Options<'a>(Vec<(String, &'a [u8])>);

impl<'a> Options<'a> {
    /// Reads options out of `allowed`; at most one condition and one that says what becomes of the
    /// deadline.
    fn parse(words: &'a [Vec<u8>], allowed: &[&str]) -> Result<Options<'a>, String> {
        let mut options = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = String::from_utf8_lossy(word).to_ascii_uppercase();
            if !allowed.contains(&name.as_str()) {
                return Err(SYNTAX.into());
            }
            let has_value = EXPIRIES.contains(&name.as_str()) || name.starts_with("IF");
            let value = if has_value {
                words.next().ok_or(SYNTAX)?
            } else {
                &b""[..]
            };
            let is_digest = value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit);
            if name.starts_with("IFD") && !is_digest {
                return Err("ERR must be exactly 16 hexadecimal characters".into());
            }
            options.push((name, value));
        }
        let among = |group: &[&str]| {
            let names = options.iter().map(|(name, _)| name.as_str());
            names.filter(|name| group.contains(name)).count()
        };
        let ttl = ["EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST"];
        if among(&ttl) > 1 || among(&CONDITIONS) > 1 {
            return Err(SYNTAX.into());
        }
        Ok(Options(options))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(option, _)| option == name)
    }

    /// The option among `group` that is given.
    fn among(&self, group: &[&str]) -> Option<(&str, &'a [u8])> {
        self.0
            .iter()
            .find(|(option, _)| group.contains(&option.as_str()))
            .map(|(option, value)| (option.as_str(), *value))
    }
}

impl Call<'_> {
    /// The reply, if this is a command on strings.
    pub(crate) fn string(&mut self) -> Option<Answer> {
        let words = self.words;
        let key = words.first().map_or(&b""[..], |key| key);
        Some(match self.name {
            "get" => Ok(self.value(key)),
            "set" => self.set(key),
            "setnx" => {
                let new = self.get(key).is_none();
                if new {
                    self.put(key, &words[1], None);
                }
                Ok(Expect::integer(i64::from(new)))
            }
            "setex" => self.setex(key, "EX"),
            "psetex" => self.setex(key, "PX"),
            "getset" => {
                let old = self.value(key);
                self.put(key, &words[1], None);
                Ok(old)
            }
            "getdel" => {
                let old = self.value(key);
                self.remove(key);
                Ok(old)
            }
            "getex" => self.getex(key),
            "mget" => Ok(Expect::Array(words.iter().map(|k| self.value(k)).collect())),
            "mset" | "msetnx" => self.mset(),
            "msetex" => self.msetex(),
            "append" => {
                let text = [self.text(key), words[1].clone()].concat();
                self.rewrite(key, &text);
                Ok(Expect::integer(text.len() as i64))
            }
            "strlen" => Ok(Expect::integer(self.text(key).len() as i64)),
            "getrange" | "substr" => self.getrange(key),
            "setrange" => self.setrange(key),
            "incr" => self.add(key, Ok(1)),
            "decr" => self.add(key, Ok(-1)),
            "incrby" => self.add(key, integer(&words[1])),
            "decrby" => self.add(
                key,
                integer(&words[1]).and_then(|n| {
                    n.checked_neg()
                        .ok_or_else(|| "ERR decrement would overflow".into())
                }),
            ),
            "incrbyfloat" => self.add_float(key),
            "digest" => Ok(match self.get(key) {
                Some(entry) => Expect::bulk(digest(&entry.text).as_bytes()),
                None => Expect::null(self.resp3),
            }),
            "delex" => self.delex(key),
            "delifeq" => Ok(self.remove_if(key, "IFEQ", &words[1])),
            _ => return None,
        })
    }

    fn set(&mut self, key: &[u8]) -> Answer {
        let allowed = [&EXPIRIES[..], &CONDITIONS, &["GET", "KEEPTTL"]].concat();
        let options = Options::parse(&self.words[2..], &allowed)?;
        let deadline_ms = match options.among(&EXPIRIES) {
            Some((unit, word)) => Some(self.deadline_ms(unit, word)?),
            None if options.has("KEEPTTL") => self.get(key).and_then(|entry| entry.deadline_ms),
            None => None,
        };
        let old = self.value(key);
        let holds = options
            .among(&CONDITIONS)
            .is_none_or(|(condition, operand)| self.holds(key, condition, operand));
        if holds {
            self.put(key, &self.words[1], deadline_ms);
        }
        Ok(match (options.has("GET"), holds) {
            (true, _) => old,
            (false, true) => Expect::ok(),
            (false, false) => Expect::null(self.resp3),
        })
    }

    fn setex(&mut self, key: &[u8], unit: &str) -> Answer {
        let deadline_ms = self.deadline_ms(unit, &self.words[1])?;
        self.put(key, &self.words[2], Some(deadline_ms));
        Ok(Expect::ok())
    }

    fn getex(&mut self, key: &[u8]) -> Answer {
        let allowed = [&EXPIRIES[..], &["PERSIST"]].concat();
        let options = Options::parse(&self.words[1..], &allowed)?;
        let Some(old) = self.get(key).cloned() else {
            return Ok(Expect::null(self.resp3));
        };
        if let Some((unit, word)) = options.among(&EXPIRIES) {
            let deadline_ms = self.deadline_ms(unit, word)?;
            self.put(key, &old.text, Some(deadline_ms));
        } else if options.has("PERSIST") && old.deadline_ms.is_some() {
            self.put(key, &old.text, None);
        }
        Ok(Expect::bulk(&old.text))
    }

    fn mset(&mut self) -> Answer {
        if !self.words.len().is_multiple_of(2) {
            return Err(format!(
                "ERR wrong number of arguments for '{}' command",
                self.name
            ));
        }
        let taken = |pair: &[Vec<u8>]| self.get(&pair[0]).is_some();
        let only_new = self.name == "msetnx";
        if only_new && self.words.chunks(2).any(taken) {
            return Ok(Expect::integer(0));
        }
        for pair in self.words.chunks(2) {
            self.put(&pair[0], &pair[1], None);
        }
        Ok(if only_new {
            Expect::integer(1)
        } else {
            Expect::ok()
        })
    }

    fn msetex(&mut self) -> Answer {
        let keys = integer(&self.words[0]).ok().filter(|n| *n > 0);
        let keys = keys.and_then(|n| i32::try_from(n).ok());
        let keys = keys.ok_or("ERR invalid numkeys value")? as usize;
        if self.words.len() < 1 + 2 * keys {
            return Err("ERR wrong number of key-value pairs".into());
        }
        let (pairs, options) = self.words[1..].split_at(2 * keys);
        let allowed = [&EXPIRIES[..], &["NX", "XX", "KEEPTTL"]].concat();
        let options = Options::parse(options, &allowed)?;
        let deadline_ms = match options.among(&EXPIRIES) {
            Some((unit, word)) => Some(self.deadline_ms(unit, word)?),
            None => None,
        };
        let there = |pair: &[Vec<u8>]| self.get(&pair[0]).is_some();
        if options.has("NX") && pairs.chunks(2).any(there)
            || options.has("XX") && !pairs.chunks(2).all(there)
        {
            return Ok(Expect::integer(0));
        }
        for pair in pairs.chunks(2) {
            if options.has("KEEPTTL") {
                self.rewrite(&pair[0], &pair[1]);
            } else {
                self.put(&pair[0], &pair[1], deadline_ms);
            }
        }
        Ok(Expect::integer(1))
    }

    fn getrange(&self, key: &[u8]) -> Answer {
        let (start, end) = (integer(&self.words[1])?, integer(&self.words[2])?);
        let text = self.text(key);
        let len = text.len() as i64;
        if start < 0 && end < 0 && start > end {
            return Ok(Expect::bulk(b""));
        }
        let from_front = |at: i64| if at < 0 { (at + len).max(0) } else { at };
        let range = from_front(start)..=from_front(end);
        let inside = (0..).zip(&text).filter(|(at, _)| range.contains(at));
        Ok(Expect::bulk(&inside.map(|(_, b)| *b).collect::<Vec<u8>>()))
    }

    fn setrange(&mut self, key: &[u8]) -> Answer {
        let offset = integer(&self.words[1])?;
        let offset = usize::try_from(offset).map_err(|_| "ERR offset is out of range")?;
        let (mut text, new) = (self.text(key), &self.words[2]);
        if !new.is_empty() {
            text.resize(text.len().max(offset + new.len()), 0);
            text[offset..offset + new.len()].copy_from_slice(new);
            self.rewrite(key, &text);
        }
        Ok(Expect::integer(text.len() as i64))
    }

    fn add(&mut self, key: &[u8], increment: Result<i64, String>) -> Answer {
        let increment = increment?;
        let old = self.get(key).map_or(Ok(0), |entry| integer(&entry.text))?;
        let new = old
            .checked_add(increment)
            .ok_or("ERR increment or decrement would overflow")?;
        self.rewrite(key, new.to_string().as_bytes());
        Ok(Expect::integer(new))
    }

    fn add_float(&mut self, key: &[u8]) -> Answer {
        let old = self.get(key).map_or(Ok(0.0), |entry| float(&entry.text))?;
        let new = old + float(&self.words[1])?;
        if !new.is_finite() {
            return Err("ERR increment would produce NaN or Infinity".into());
        }
        // Not `-0`, which printing would tell from 0.
        let text = (new + 0.0).to_string();
        self.rewrite(key, text.as_bytes());
        Ok(Expect::bulk(text.as_bytes()))
    }

    fn delex(&mut self, key: &[u8]) -> Answer {
        match self.words {
            [_] => Ok(self.remove_if(key, "XX", b"")),
            [_, condition, operand] => {
                let condition = String::from_utf8_lossy(condition).to_ascii_uppercase();
                if !condition.starts_with("IF") || !CONDITIONS.contains(&condition.as_str()) {
                    return Err("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE".into());
                }
                Options::parse(&self.words[1..], &CONDITIONS)?;
                Ok(self.remove_if(key, &condition, operand))
            }
            _ => Err("ERR wrong number of arguments for 'delex' command".into()),
        }
    }

    fn remove_if(&mut self, key: &[u8], condition: &str, operand: &[u8]) -> Expect {
        let removed = self.holds(key, condition, operand) && self.remove(key);
        Expect::integer(i64::from(removed))
    }

    fn holds(&self, key: &[u8], condition: &str, operand: &[u8]) -> bool {
        let text = self.get(key).map(|entry| &entry.text[..]);
        let has_digest = |text: &[u8]| digest(text).as_bytes().eq_ignore_ascii_case(operand);
        match condition {
            "NX" => text.is_none(),
            "XX" => text.is_some(),
            "IFEQ" => text == Some(operand),
            "IFNE" => text != Some(operand),
            "IFDEQ" => text.is_some_and(has_digest),
            "IFDNE" => !text.is_some_and(has_digest),
            other => unreachable!("no condition {other}"),
        }
    }

    /// The deadline that an option of a writing command asks for.
    fn deadline_ms(&self, unit: &str, word: &[u8]) -> Result<u64, String> {
        let amount = i128::from(integer(word)?);
        let scaled = if unit.starts_with('E') {
            amount * 1_000
        } else {
            amount
        };
        let base_ms = if unit.ends_with("AT") {
            0
        } else {
            i128::from(self.plain.now_ms)
        };
        i64::try_from(scaled + base_ms)
            .ok()
            .filter(|_| amount > 0)
            .map(|at| at as u64)
            .ok_or_else(|| format!("ERR invalid expire time in '{}' command", self.name))
    }
}

fn float(word: &[u8]) -> Result<f64, String> {
    let text = std::str::from_utf8(word).ok();
    let text = text.filter(|text| !text.to_ascii_lowercase().contains("nan"));
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| "ERR value is not a valid float".into())
}

/// Whether sums of these two are exact in 64 bits, so that printing them is no matter of taste.
pub(crate) fn is_exact_float(word: &[u8]) -> bool {
    let Ok(value) = float(word) else { return true };
    value.is_infinite() || (value * 1_024.0).fract() == 0.0 && value.abs() < 1e9
}

fn digest(text: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text))
}
