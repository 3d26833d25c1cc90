//! Sequences of keys: recorded ones from files, drawn ones, and what true LRU makes of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::keys::{Draw, Pattern};

/// Recorded traces, in the order of the table.
const RECORDED: [&str; 5] = ["2_pools", "loop", "multi3", "sprite", "web12"];
/// The one that is a sequence of integers instead of lines.
const BINARY: &str = "web12";
const ZIPF_KEYS: u64 = 50_000;
const ZIPF_ACCESSES: usize = 400_000;

/// The keys that somebody asked for, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) keys: Vec<u64>,
}

impl Trace {
    /// Reads all recorded traces of a folder and draws one more by Zipf's law with exponent 1.
    pub(super) fn all(folder: &Path, seed: u64) -> anyhow::Result<Vec<Self>> {
        let mut traces = Vec::new();
        for name in RECORDED {
            let path = folder.join(name).with_extension("trace");
            let bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
            let keys = if name == BINARY {
                words(&bytes)
            } else {
                lines(&bytes)
            };
            ensure!(!keys.is_empty(), "{}: no keys", path.display());
            let name = name.to_owned();
            traces.push(Self { name, keys });
        }
        let mut draw = Draw::new(Pattern::Zipf(1.0), ZIPF_KEYS, seed);
        traces.push(Self {
            name: "Zipf 1.0".to_owned(),
            keys: (0..ZIPF_ACCESSES).map(|_| draw.next()).collect(),
        });
        Ok(traces)
    }

    /// How many different keys there are.
    pub(super) fn distinct(&self) -> usize {
        self.keys.iter().collect::<HashSet<_>>().len()
    }

    /// The share of accesses that find their key in a cache of `entries` which lets the least
    /// recently used key go.
    pub(super) fn lru_ratio(&self, entries: usize) -> f64 {
        let (mut last, mut order, mut hits) = (HashMap::new(), BTreeMap::new(), 0);
        for (at, key) in self.keys.iter().enumerate() {
            if let Some(before) = last.insert(*key, at) {
                order.remove(&before);
                hits += 1;
            }
            order.insert(at, *key);
            if order.len() > entries
                && let Some((_, oldest)) = order.pop_first()
            {
                last.remove(&oldest);
            }
        }
        f64::from(hits) / self.keys.len() as f64
    }
}

/// One key a line; blanks around it do not count, lines without a number are skipped.
fn lines(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let key = |line: &str| line.trim().parse().ok();
    text.lines().filter_map(key).collect()
}

/// 32-bit integers, most significant byte first.
fn words(bytes: &[u8]) -> Vec<u64> {
    let key = |word: &[u8; 4]| u32::from_be_bytes(*word).into();
    bytes.as_chunks().0.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_lines_and_from_words() {
        assert_eq!(lines(b" 5\r\n7 \n\n*\n12"), [5, 7, 12]);
        assert_eq!(words(&[0, 0, 1, 2, 255, 0, 0, 0, 9]), [258, 255 << 24]);
    }

    #[test]
    fn lru_hits_what_was_used_lately() {
        let trace = |keys: &[u64]| Trace {
            name: String::new(),
            keys: keys.to_vec(),
        };
        let looping = trace(&[1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!((looping.lru_ratio(2), looping.distinct()), (0.0, 3));
        assert!((looping.lru_ratio(3) - 6.0 / 9.0).abs() < 1e-9);
        assert!((trace(&[1, 2, 1, 3, 1, 2]).lru_ratio(2) - 2.0 / 6.0).abs() < 1e-9);
    }
}
