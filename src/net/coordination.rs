//! Ends what time has ended in the coordinator: leases, waits, sessions, delays. Serves calls that
//! wait for IDs. One task for all of the server.
//!
//! The task sleeps until something is due; who sets an earlier deadline wakes it. A turn of the
//! coordinator ends what is due by itself, so commands never see what is over; the task is for what
//! nobody asks for. After it, keys that somebody waits for to be free by now are handed over, and
//! entries that have lost their object or session are removed, some at a time.
//!
//! Cost: with nothing due the task wakes up once a second, to notice that the server stood still.

use super::local::Local;
use crate::command::host::Host;
use crate::sync::Wake;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Entries removed between two looks at the clients.
const LOOSE_MAX: usize = 256;
/// The longest sleep.
const SLEEP_MS_MAX: u64 = 1_000;
/// How often it is looked whether the server has loaded.
const LOADING_LOOK: Duration = Duration::from_millis(10);

/// What the task waits on beside the time.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(&self) {
        self.0.notify_one();
    }
}

/// Runs until its worker ends.
pub(super) async fn run(local: Rc<Local>) {
    let server = &local.server;
    while server.is_loading() {
        tokio::time::sleep(LOADING_LOOK).await;
    }
    let sleeper = Arc::new(Sleeper(Notify::new()));
    let coordinator = server.engine().coordinator();
    coordinator.set_sleeper(Arc::clone(&sleeper) as Arc<dyn Wake>);
    let ids = server.engine().ids();
    ids.set_sleeper(Arc::clone(&sleeper) as Arc<dyn Wake>);
    loop {
        if turn(&local) {
            tokio::task::yield_now().await;
            continue;
        }
        let now = server.clock().now();
        let sleep_ms = coordinator.sleep_ms(now).into_iter().chain(ids.due_ms(now));
        let sleep_ms = sleep_ms.min().unwrap_or(SLEEP_MS_MAX).min(SLEEP_MS_MAX);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(sleep_ms)) => {}
            () = sleeper.0.notified() => {}
        }
    }
}

/// One bounded step; answers whether there is more to do at once.
fn turn(local: &Local) -> bool {
    let (server, index) = (&local.server, local.index);
    let now = server.clock().now();
    let batch = server.engine().shared(index, now);
    let mut step = batch.step();
    step.coordinate(|_| ());
    let has_due = step.hand_over_due(LOOSE_MAX);
    let has_more = step.drop_loose(LOOSE_MAX) || has_due;
    step.commit();
    drop(step);
    drop(batch);
    let random = || Host::random(&**server);
    server.engine().serve_ids(now, &mut { random });
    let spent_us = server.clock().mono_us().saturating_sub(now.mono_us);
    server.stats().note_step(index, spent_us);
    has_more
}
