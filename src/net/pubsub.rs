//! The task of each worker that wakes its connections when messages came for them.
//!
//! Publishers on other threads wake this one task, once for each of their batches; waking a task of
//! the own thread costs no system call.

use super::local::Local;
use crate::sync::Wake;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Wakes the relay.
struct RelayWaker(Waker);

impl Wake for RelayWaker {
    fn wake(&self) {
        self.0.wake_by_ref();
    }
}

/// Wakes connections as messages come, for as long as the worker runs.
pub(super) async fn relay(local: Rc<Local>) {
    std::future::poll_fn(|cx| {
        let bell = local.server.hub().bell(local.index);
        bell.hang(|| Box::new(RelayWaker(cx.waker().clone())));
        bell.answer();
        Poll::<()>::Pending
    })
    .await;
}
