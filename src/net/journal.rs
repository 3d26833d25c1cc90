//! Connections of one worker that wait for the journal, and the task that wakes them.
//!
//! ```text
//!   connection --add--> waits          writer's thread: a mark rises
//!                         |                 | wakes, once
//!                       relay <-------------+
//!                         | wakes those whose needs are met, and waits for what comes next
//! ```
//!
//! So the writer wakes one task for each worker, however many wait. And the relay, which runs when
//! all connections that were ready have, asks the writer once for all of them: what they changed is
//! one write and one sync.

use super::local::Local;
use crate::journal::{Log, Needs};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Somebody whose next request waits for room.
#[derive(Debug)]
struct Behind {
    /// The writer's count of looks before it asked in vain.
    looks: u64,
    task: Waker,
    /// It was woken.
    is_woken: Rc<Cell<bool>>,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waits {
    waits: RefCell<Vec<(Needs, Waker)>>,
    behind: RefCell<Vec<Behind>>,
    /// What the relay waits for: the least of each mark; 0 for nothing.
    awaited: Cell<Needs>,
    /// What the writer was last asked for.
    asked: Cell<Needs>,
    relay: RefCell<Option<Waker>>,
    /// The log wakes the relay.
    is_watched: Cell<bool>,
    /// How far the log was written when the relay last looked.
    written: Cell<u64>,
}

impl Waits {
    /// Has a task woken when `needs` is met.
    pub(super) fn add(&self, needs: Needs, task: &Waker) {
        self.waits.borrow_mut().push((needs, task.clone()));
        if (self.awaited.get() != self.awaited.get().least(needs)
            || !self.asked.get().covers(needs))
            && let Some(relay) = &*self.relay.borrow()
        {
            relay.wake_by_ref();
        }
    }

    /// Has a task woken when there may be room. Whoever calls this asks for room once more
    /// afterwards, and waits only if there is none: what came in between is then seen.
    /// Answers where it is told that it was woken for this.
    pub(super) fn add_behind(&self, log: &Log, task: &Waker) -> Rc<Cell<bool>> {
        let is_woken = Rc::new(Cell::new(false));
        self.behind.borrow_mut().push(Behind {
            looks: log.room_looks(),
            task: task.clone(),
            is_woken: Rc::clone(&is_woken),
        });
        if let Some(relay) = &*self.relay.borrow() {
            relay.wake_by_ref();
        }
        is_woken
    }

    /// Wakes those for whom there may be room by now.
    fn wake_behind(&self, log: &Log, written_before: u64) {
        let (looks, has_come_on) = (log.room_looks(), log.written() != written_before);
        self.behind.borrow_mut().retain(|behind| {
            let may_go = has_come_on || behind.looks != looks || log.is_broken();
            if may_go {
                behind.is_woken.set(true);
                behind.task.wake_by_ref();
            }
            !may_go
        });
    }

    /// Wakes whose needs are met, asks for what the others need, and answers what they need first.
    /// O(those that wait).
    fn wake_met(&self, log: &Log) -> Needs {
        let (mut least, mut most) = (Needs::default(), Needs::default());
        self.waits.borrow_mut().retain(|(needs, task)| {
            let is_met = log.is_met(*needs);
            if is_met {
                task.wake_by_ref();
            } else {
                least = least.least(*needs);
                most = most.most(*needs);
            }
            !is_met
        });
        self.awaited.set(least);
        if !self.asked.get().covers(most) {
            self.asked.set(most);
            log.request(most);
        }
        least
    }

    /// One turn of the relay.
    fn poll(&self, worker: usize, log: &Log, cx: &Context<'_>) {
        if !self.is_watched.replace(true) {
            let task = cx.waker().clone();
            log.watch(worker, move || task.wake_by_ref());
        }
        loop {
            let written = self.written.replace(log.written());
            self.wake_behind(log, written);
            let mut least = self.wake_met(log);
            if !self.behind.borrow().is_empty() {
                // Whatever is written makes room.
                least = least.least(Needs::written(self.written.get() + 1));
            }
            if least == Needs::default() || !log.wait(worker, least) {
                // A look for room that this has not seen came before it said that it sleeps.
                let looks = log.room_looks();
                if self
                    .behind
                    .borrow()
                    .iter()
                    .all(|behind| behind.looks == looks)
                {
                    return;
                }
            } else if log.is_broken() {
                // No mark will rise again; what waits is given up by the tick.
                self.wake_behind(log, written);
                return;
            }
        }
    }
}

/// Wakes connections as the journal comes on, for as long as the worker runs.
pub(super) async fn relay(local: Rc<Local>) {
    std::future::poll_fn(|cx| {
        let waits = &local.journal_waits;
        // Before there is a journal, nobody waits for it.
        let mut relay = waits.relay.borrow_mut();
        relay.get_or_insert_with(|| cx.waker().clone());
        drop(relay);
        if let Some(log) = local.server.journal() {
            waits.poll(local.index, log, cx);
        }
        Poll::<()>::Pending
    })
    .await;
}
