//! A worker's expiry: when it looks which keys are due, and for how much of the time.
//!
//! The task sleeps until the next deadline of the worker's share of the shards; who sets an earlier
//! one wakes it (`engine/alarm.rs`). Where more is due than one step takes, steps follow each other
//! with a look at the clients between any two, as long as they stay within their share of the time.
//!
//! Nothing is removed while the journal has no room to note it: what a step may add to it is asked
//! for before the step.
//!
//! Cost: with nothing due the task wakes up `hz` times a second, to notice a clock that was set.

use super::local::Local;
use crate::engine::{Sweeper, Swept, Tally};
use crate::observe::stats::Counts;
use crate::sync::Wake;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Buckets looked at, keys removed and keys moved between two looks at the clients.
const EFFORT_MAX: usize = 1_024;
/// Between two turns there is at least this pause, so that keys due one after the other go
/// together.
const PAUSE_MS_MIN: u64 = 2;
/// Time that was not used can be used later up to this, so that a burst goes at once.
const CREDIT_US_MAX: i64 = 20_000;
/// A step is charged at most this. One that took longer was not at work: the machine had given
/// the core to others.
const STEP_US_MAX: u64 = 2_000;
/// Nothing is earned for time beyond this between two steps: so long the process stood still.
const EARNING_US_MAX: u64 = 1_000_000;

/// What the task waits on beside the time.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(&self) {
        self.0.notify_one();
    }
}

/// What the task may use of the time: a share of it, and what it has not used lately.
#[derive(Debug)]
struct Credit {
    left_us: i64,
    seen_us: u64,
}

impl Credit {
    fn at(mono_us: u64) -> Self {
        Self {
            left_us: CREDIT_US_MAX,
            seen_us: mono_us,
        }
    }

    /// Earns its share of the time since the last call and pays `spent_us` of it.
    fn settle(&mut self, mono_us: u64, share_percent: u64, spent_us: u64) {
        let since_us = mono_us.saturating_sub(self.seen_us).min(EARNING_US_MAX);
        self.seen_us = mono_us;
        let earned_us = (since_us * share_percent / 100).cast_signed();
        let spent_us = spent_us.min(STEP_US_MAX).cast_signed();
        self.left_us = (self.left_us + earned_us - spent_us).min(CREDIT_US_MAX);
    }

    /// How long it has to rest until nothing is owed.
    fn rest_us(&self, share_percent: u64) -> u64 {
        u64::try_from(-self.left_us).unwrap_or(0) * 100 / share_percent
    }
}

/// How often it is looked whether the server has loaded.
const LOADING_LOOK: Duration = Duration::from_millis(10);

/// How often it is looked whether the journal has room again for keys that are removed.
const FULL_LOOK: Duration = Duration::from_millis(20);

/// Runs until its worker ends.
pub(super) async fn run(local: Rc<Local>, workers: usize) {
    let (server, index) = (&local.server, local.index);
    let sleeper = Arc::new(Sleeper(Notify::new()));
    server
        .engine()
        .set_sleeper(index, Arc::clone(&sleeper) as Arc<dyn Wake>);
    // What is being loaded is not decided on: later frames may lengthen a life that is over.
    while server.is_loading() {
        tokio::time::sleep(LOADING_LOOK).await;
    }
    let mut sweeper = Sweeper::new(index, workers);
    let mut credit = Credit::at(server.clock().mono_us());
    loop {
        if !server.may_sweep() {
            // What is due is passed over by whoever looks for it.
            tokio::time::sleep(FULL_LOOK).await;
            continue;
        }
        let settings = Arc::clone(local.worker.borrow_mut().settings());
        // 25 % of the time at effort 1, as in Redis, up to 43 % at 10.
        let share_percent = 23 + 2 * u64::from(settings.active_expire_effort);
        let swept = step(&local, &mut sweeper, &mut credit, share_percent);
        if swept.is_cut_short() {
            let rest_us = credit.rest_us(share_percent);
            if rest_us == 0 {
                tokio::task::yield_now().await;
            } else {
                let pauses = Counts {
                    expiry_pauses: 1,
                    ..Counts::default()
                };
                server.stats().add(index, &pauses);
                let rest_us = rest_us.max(PAUSE_MS_MIN * 1_000);
                tokio::time::sleep(Duration::from_micros(rest_us)).await;
            }
            continue;
        }
        let period_ms = (1_000 / u64::from(settings.hz.max(1))).max(PAUSE_MS_MIN);
        let pause_ms = (swept.next_ms - swept.now_ms).clamp(PAUSE_MS_MIN, period_ms);
        // What falls into the shortest pause needs nobody to ring: it goes at the end of it.
        let ring_before_ms = swept.now_ms + pause_ms - PAUSE_MS_MIN;
        server.engine().lie_down(index, ring_before_ms);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            () = sleeper.0.notified() => {}
        }
    }
}

/// One bounded step, counted and paid for.
fn step(local: &Local, sweeper: &mut Sweeper, credit: &mut Credit, share_percent: u64) -> Swept {
    let (server, index) = (&local.server, local.index);
    let now = server.clock().now();
    let mut tally = Tally::default();
    let swept = sweeper.run(&server.engine().shared(index, now), EFFORT_MAX, &mut tally);
    let done_us = server.clock().mono_us();
    let spent_us = done_us.saturating_sub(now.mono_us);
    credit.settle(done_us, share_percent, spent_us);
    server.stats().note_step(index, spent_us);
    let mut counts = Counts {
        expiry_us: spent_us,
        ..Counts::default()
    };
    counts.add_tally(&tally);
    server.stats().add(index, &counts);
    if let Some(log) = server.journal() {
        // No reply waits for what was removed here.
        log.expect_lazy(index);
    }
    swept
}

#[cfg(test)]
mod tests;
