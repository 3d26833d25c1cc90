//! Connections of one worker that wait for the journal, and the task that wakes them.
//!
//! The journal's writer wakes the task, at most once for each time that a mark rises; the task wakes
//! those whose time has come. So the writer wakes one task for each worker, however many wait.

use super::local::Local;
use crate::journal::{Log, Needs};
use crate::sync::{Mutex, Wake};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waits(RefCell<Vec<(Needs, Waker)>>);

impl Waits {
    /// Has a task woken when `needs` is met.
    pub(super) fn add(&self, needs: Needs, task: &Waker) {
        self.0.borrow_mut().push((needs, task.clone()));
    }

    /// Wakes whose needs are met. O(those that wait).
    fn wake_met(&self, log: &Log) {
        self.0.borrow_mut().retain(|(needs, task)| {
            let is_met = log.is_met(*needs);
            if is_met {
                task.wake_by_ref();
            }
            !is_met
        });
    }
}

/// Wakes the task below from the writer's thread.
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(&self) {
        if let Some(task) = &*self.0.lock() {
            task.wake_by_ref();
        }
    }
}

/// Wakes connections as the journal comes on, for as long as the worker runs.
pub(super) async fn relay(local: Rc<Local>) {
    let Some(log) = local.server.journal() else {
        return;
    };
    let relay = Arc::new(Relay(Mutex::new(None)));
    log.watch(local.index, Arc::clone(&relay) as Arc<dyn Wake>);
    std::future::poll_fn(|cx| {
        relay.0.lock().get_or_insert_with(|| cx.waker().clone());
        // First, so that a mark that rises from here on wakes this task again.
        log.wait(local.index);
        local.journal_waits.wake_met(log);
        Poll::<()>::Pending
    })
    .await;
}
