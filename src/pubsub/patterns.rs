//! Patterns, found by the literal text they begin or end with.
//!
//! ```text
//!   news.*      begins with "news."    heads: 5 -> { "news." -> [news.*, news.??] }
//!   *.created   ends with ".created"   tails: 8 -> { ".created" -> [*.created] }
//!   [ab]*       neither                heads: 0 -> { "" -> [[ab]*] }
//! ```
//!
//! A channel is looked up once for each length that there is, so a thousand patterns with heads of
//! a few lengths cost a few look-ups, and the glob is tried only on those whose end fits.
//!
//! LIMITATIONS: patterns that share their longer end, such as `*a*b` ten thousand times over, are
//! all tried.

use super::Mailbox;
use super::directory::shrink;
use super::topic::Topic;
use crate::glob;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The patterns that have subscribers.
#[derive(Debug)]
pub(super) struct Patterns {
    index: Mutex<Index>,
    len: AtomicUsize,
}

/// Patterns of one end, by its length and its text.
type Ends = BTreeMap<usize, HashMap<Box<[u8]>, Vec<Arc<Topic>>>>;

#[derive(Debug, Default)]
struct Index {
    heads: Ends,
    tails: Ends,
}

impl Patterns {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            index: Mutex::new(Index::default()),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn subscribe(&self, pattern: &[u8], mailbox: &Arc<Mailbox>) {
        let mut index = self.index.lock();
        let (ends, end) = index.place(pattern);
        let texts = ends.entry(end.len()).or_default();
        let topics = texts.entry(end.into()).or_default();
        if let Some(topic) = topics.iter().find(|topic| topic.name() == pattern) {
            return topic.add(mailbox);
        }
        let topic = Topic::new(pattern.into());
        topic.add(mailbox);
        topics.push(Arc::new(topic));
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsubscribe(&self, pattern: &[u8], conn: u64) {
        let mut index = self.index.lock();
        let (ends, end) = index.place(pattern);
        let Some(texts) = ends.get_mut(&end.len()) else {
            return;
        };
        let Some(topics) = texts.get_mut(end) else {
            return;
        };
        let is_over = |topic: &Arc<Topic>| topic.name() == pattern && topic.remove(conn);
        let Some(at) = topics.iter().position(is_over) else {
            return;
        };
        topics.swap_remove(at);
        self.len.fetch_sub(1, Ordering::Relaxed);
        if topics.is_empty() {
            texts.remove(end);
            shrink(texts);
        }
        if texts.is_empty() {
            ends.remove(&end.len());
        }
    }

    /// The patterns that match a channel. They may lose their subscribers at any time.
    pub(super) fn matching(&self, channel: &[u8]) -> Vec<Arc<Topic>> {
        if self.len() == 0 {
            return Vec::new();
        }
        let mut topics = self.index.lock().candidates(channel);
        // Not under the lock: a pattern may take its time.
        topics.retain(|topic| glob::matches(topic.name(), channel));
        topics
    }

    /// How many patterns a publish tries on a channel.
    #[cfg(all(test, not(loom)))]
    pub(super) fn tried(&self, channel: &[u8]) -> usize {
        self.index.lock().candidates(channel).len()
    }
}

impl Index {
    /// Where a pattern belongs: to the longer of its ends.
    fn place<'a>(&mut self, pattern: &'a [u8]) -> (&mut Ends, &'a [u8]) {
        let (head, tail) = literal_ends(pattern);
        if tail.len() > head.len() {
            (&mut self.tails, tail)
        } else {
            (&mut self.heads, head)
        }
    }

    /// All patterns that may match a channel, by their ends.
    fn candidates(&self, channel: &[u8]) -> Vec<Arc<Topic>> {
        let mut topics = Vec::new();
        for (len, texts) in self.heads.range(..=channel.len()) {
            let found = texts.get(&channel[..*len]);
            topics.extend(found.into_iter().flatten().cloned());
        }
        for (len, texts) in self.tails.range(..=channel.len()) {
            let found = texts.get(&channel[channel.len() - len..]);
            topics.extend(found.into_iter().flatten().cloned());
        }
        topics
    }
}

/// What every text that a pattern matches begins with, and what it ends with. A pattern without any
/// special character is all head.
fn literal_ends(pattern: &[u8]) -> (&[u8], &[u8]) {
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let Some(first) = pattern.iter().position(is_special) else {
        return (pattern, &[]);
    };
    // Behind a bracket nothing is literal for sure: it may never be closed.
    let tail = if pattern.contains(&b'[') {
        &[]
    } else {
        let last = pattern.iter().rposition(is_special).unwrap_or(first);
        &pattern[last + 1..]
    };
    (&pattern[..first], tail)
}
