//! How many connections of one worker are woken by one call.
//!
//! ```text
//!   ringer: put the mailboxes in under the lock; if the bell was silent, ring it
//!   relay:  unmark; take all under the lock; wake their tasks, which are of the same thread
//! ```

use super::Mailbox;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, OnceLock, Wake};
use std::cell::RefCell;
use std::sync::Arc;

/// One worker's mailboxes that have something for connections which do not know.
pub struct Bell {
    ready: Mutex<Vec<Arc<Mailbox>>>,
    is_rung: AtomicBool,
    relay: OnceLock<Box<dyn Wake>>,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            ready: Mutex::new(Vec::new()),
            is_rung: AtomicBool::new(false),
            relay: OnceLock::new(),
        }
    }

    /// Says whom to wake when it is rung; whoever comes second is not heard.
    pub(crate) fn hang(&self, relay: impl FnOnce() -> Box<dyn Wake>) {
        self.relay.get_or_init(relay);
    }

    /// Wakes the connections that have something. Called by the relay alone.
    pub fn answer(&self) {
        self.is_rung.store(false, Ordering::Release);
        let ready = std::mem::take(&mut *self.ready.lock());
        ready.iter().for_each(|mailbox| mailbox.wake());
    }

    fn ring(&self, woken: &mut Vec<Arc<Mailbox>>) {
        self.ready.lock().append(woken);
        if !self.is_rung.swap(true, Ordering::AcqRel)
            && let Some(relay) = self.relay.get()
        {
            relay.wake();
        }
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

/// The connections that a batch has something for, by their workers. They are woken at its end; if
/// it panics, at that of the next one.
#[derive(Debug, Default)]
pub struct Rings {
    woken: RefCell<Vec<Vec<Arc<Mailbox>>>>,
}

impl Rings {
    pub(super) fn add(&self, mailbox: &Arc<Mailbox>) {
        let worker = mailbox.worker();
        let mut woken = self.woken.borrow_mut();
        if woken.len() <= worker {
            woken.resize_with(worker + 1, Vec::new);
        }
        woken[worker].push(Arc::clone(mailbox));
    }

    pub(super) fn ring(&self, bells: &[Bell]) {
        for (woken, bell) in self.woken.borrow_mut().iter_mut().zip(bells) {
            if !woken.is_empty() {
                bell.ring(woken);
            }
        }
    }
}
