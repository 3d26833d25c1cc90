//! Expiry on a real clock and a real event loop: how late keys go, and how long others wait.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::engine::{Census, Deadline, Effect, Effects, SHARDS_DEFAULT, Sink, ValueRef};
use crate::session::server::{Server, ServerOptions};
use crate::sync::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use tokio::task::LocalSet;

/// Keys put in one stay inside the gate.
const BATCH: u64 = 128;

/// Notes how long after its deadline each key went. The deadline is the key's first eight bytes.
struct Lateness {
    clock: Arc<SystemClock>,
    late_us: Mutex<Vec<u64>>,
}

impl Sink for Lateness {
    fn commit(&self, _: usize, frame: &[u8]) -> u64 {
        let now_us = self.clock.now().wall_us();
        for effect in Effects::of(frame) {
            if let Ok(Effect::Remove { key, .. }) = effect {
                let deadline_ms = u64::from_be_bytes(key[..8].try_into().expect("a deadline"));
                let late_us = now_us.checked_sub(deadline_ms * 1_000);
                self.late_us.lock().push(late_us.expect("went early"));
            }
        }
        0
    }
}

/// One worker's expiry, and whoever else wants to run on its thread.
struct Stage {
    clock: Arc<SystemClock>,
    sink: Arc<Lateness>,
    local: Rc<Local>,
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(SystemClock::new());
        let late_us = Mutex::new(Vec::new());
        let sink = Arc::new(Lateness {
            clock: Arc::clone(&clock),
            late_us,
        });
        // Nothing here is to depend on how often the task would wake up by itself.
        let mut settings = Settings::default();
        settings.hz = 1;
        let server = Server::new(ServerOptions {
            settings,
            config_file: None,
            workers: 1,
            databases: 16,
            shards: SHARDS_DEFAULT,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            sink: Some(Box::new(Arc::clone(&sink))),
            disk_double: None,
            seed: 1,
            hash_seed: 1,
            clients_fit: |maxclients| maxclients,
            on_shut_down: Box::new(|| {}),
        });
        let local = Rc::new(Local::new(0, Arc::new(server)));
        Self { clock, sink, local }
    }

    /// Runs `body` beside the expiry task.
    fn run<T>(&self, body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("an event loop");
        let tasks = LocalSet::new();
        tasks.spawn_local(run(Rc::clone(&self.local), 1));
        tasks.block_on(&runtime, body)
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    /// Puts `keys` keys, the one numbered `n` with the deadline `deadline_ms(n)`.
    async fn fill(&self, keys: u64, deadline_ms: impl Fn(u64) -> u64) {
        for first in (0..keys).step_by(BATCH as usize) {
            let batch = self.local.server.engine().shared(0, self.clock.now());
            for number in first..keys.min(first + BATCH) {
                let at = deadline_ms(number);
                let mut key = [0; 16];
                key[..8].copy_from_slice(&at.to_be_bytes());
                key[8..].copy_from_slice(&number.to_be_bytes());
                let mut step = batch.step();
                let mut locked = step.lock_any(0, &key);
                let value = ValueRef::Bytes(b"sixteen bytes...");
                locked.slot(0, &key).put(value, Deadline::At(at));
            }
            drop(batch);
            tokio::task::yield_now().await;
        }
    }

    fn expired(&self) -> u64 {
        self.local.server.stats().sum().expired
    }

    async fn until_expired(&self, keys: u64) {
        while self.expired() < keys {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn census(&self) -> Census {
        let batch = self.local.server.engine().shared(0, self.clock.now());
        batch.step().census()[0]
    }

    /// The least lateness that so many thousandths of the keys did not exceed.
    fn late_ms(&self, thousandths: usize) -> f64 {
        let mut late_us = self.sink.late_us.lock();
        late_us.sort_unstable();
        let at = (late_us.len() * thousandths).div_ceil(1_000).max(1) - 1;
        late_us[at] as f64 / 1_000.0
    }
}

/// A measurement is to be read.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// `rate` keys a second go for `seconds`, while `pending` others wait for a later hour.
fn steady(pending: u64, rate: u64, seconds: u64, fill_ms: u64) -> Stage {
    let stage = Stage::new();
    stage.run(async {
        let start_ms = stage.now_ms();
        stage.fill(pending, |n| start_ms + 3_600_000 + n).await;
        let first_ms = start_ms + fill_ms;
        let due = |n| first_ms + n * 1_000 / rate;
        stage.fill(rate * seconds, due).await;
        assert!(stage.now_ms() < first_ms, "too slow for this test");
        stage.until_expired(rate * seconds).await;
    });
    assert_eq!(stage.census().volatile as u64, pending);
    let expiry_us = stage.local.server.stats().sum().expiry_us;
    tell(&format!(
        "{rate} due a second, {pending} pending: late by p50 {} p99 {} p99.9 {} max {} ms; \
         {:.2} us each",
        stage.late_ms(500),
        stage.late_ms(990),
        stage.late_ms(999),
        stage.late_ms(1_000),
        expiry_us as f64 / (rate * seconds) as f64,
    ));
    stage
}

/// Goes red when the task always sleeps for a period of `hz`.
#[test]
fn keys_go_when_they_are_due() {
    let stage = steady(20_000, 2_000, 1, 3_000);
    // The machine may be busy with other tests; a period of `hz` is a second here.
    assert!(stage.late_ms(500) < 100.0, "{} ms late", stage.late_ms(500));
}

/// A key with little time comes while the task sleeps for another: it is woken. Goes red when
/// `Slot::note_deadline` does not ring.
#[test]
fn a_deadline_before_the_one_slept_for_is_met() {
    let stage = Stage::new();
    stage.run(async {
        stage.fill(1, |_| stage.now_ms() + 3_600_000).await;
        for round in 1..=20 {
            tokio::time::sleep(Duration::from_millis(7)).await;
            let at = stage.now_ms() + 10;
            stage.fill(1, |_| at).await;
            stage.until_expired(round).await;
        }
    });
    assert!(stage.late_ms(500) < 100.0, "{} ms late", stage.late_ms(500));
}

#[test]
#[ignore = "measures, at full size and in release"]
fn slow_a_million_pending_and_fifty_thousand_due_a_second() {
    let stage = steady(1_000_000, 50_000, 10, 10_000);
    assert!(stage.late_ms(999) < 10.0);
}

/// What this thread has had of the processor: it does not count what others took from a step.
fn processor_us() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec.cast_unsigned() * 1_000_000 + spent.tv_nsec.cast_unsigned() / 1_000
}

#[test]
#[ignore = "measures, at full size and in release"]
fn slow_a_million_at_once() {
    const KEYS: u64 = 1_000_000;
    let stage = Stage::new();
    let (took_ms, longest) = stage.run(async {
        let at = stage.now_ms() + 5_000;
        stage.fill(KEYS, |_| at).await;
        assert!(stage.now_ms() < at, "too slow for this test");
        tokio::time::sleep(Duration::from_millis(at - 5 - stage.now_ms())).await;
        let mut longest = (0, 0);
        while stage.expired() < KEYS {
            let before_us = (stage.clock.mono_us(), processor_us());
            tokio::task::yield_now().await;
            longest.0 = (stage.clock.mono_us() - before_us.0).max(longest.0);
            longest.1 = (processor_us() - before_us.1).max(longest.1);
        }
        (stage.now_ms() - at, longest)
    });
    let sum = stage.local.server.stats().sum();
    tell(&format!(
        "{KEYS} at once: gone after {took_ms} ms, {} ms of them at work, with {} pauses; the \
         longest step {} us, {} us of processor time; {} bytes are left",
        sum.expiry_us / 1_000,
        sum.expiry_pauses,
        longest.0,
        longest.1,
        stage.census().bytes,
    ));
    assert!(took_ms < 2_000);
    assert!(stage.census().bytes < 3 << 20);
}
