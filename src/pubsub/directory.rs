//! Channels by their names.

use super::Mailbox;
use super::topic::Topic;
use crate::glob;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

type Part = HashMap<Arc<[u8]>, Arc<Topic>>;

/// The topics that have subscribers.
#[derive(Debug)]
pub(super) struct Directory {
    parts: Box<[Mutex<Part>]>,
    /// Picks the part of a name.
    hasher: RandomState,
    len: AtomicUsize,
}

impl Directory {
    /// An empty one in so many parts.
    pub(super) fn new(parts: usize) -> Self {
        Self {
            parts: (0..parts).map(|_| Mutex::new(Part::new())).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn part(&self, name: &[u8]) -> &Mutex<Part> {
        match self.parts.len() {
            1 => &self.parts[0],
            parts => &self.parts[self.hasher.hash_one(name) as usize % parts],
        }
    }

    pub(super) fn subscribe(&self, name: &[u8], mailbox: &Arc<Mailbox>) {
        let mut part = self.part(name).lock();
        if let Some(topic) = part.get(name) {
            return topic.add(mailbox);
        }
        let name: Arc<[u8]> = name.into();
        let topic = Topic::new(Arc::clone(&name));
        topic.add(mailbox);
        part.insert(name, Arc::new(topic));
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unsubscribe(&self, name: &[u8], conn: u64) {
        let mut part = self.part(name).lock();
        if part.get(name).is_some_and(|topic| topic.remove(conn)) {
            part.remove(name);
            shrink(&mut part);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The topic of this name, if it has subscribers. It may lose them at any time.
    pub(super) fn find(&self, name: &[u8]) -> Option<Arc<Topic>> {
        if self.len() == 0 {
            return None;
        }
        self.part(name).lock().get(name).cloned()
    }

    /// All names that match, in order.
    pub(super) fn names(&self, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        for part in &self.parts {
            names.extend(part.lock().keys().cloned());
        }
        names.retain(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
        names.sort_unstable();
        names
    }
}

/// Gives memory back where most of a table is empty.
pub(super) fn shrink<K: std::hash::Hash + Eq, V>(table: &mut HashMap<K, V>) {
    if table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}
