//! The task that ends what is due is not left asleep: every interleaving of its going to sleep and
//! of what comes meanwhile.

use super::*;
use crate::engine::effect::Share;
use loom::sync::Notify;
use loom::thread;

const NOW: Now = Now {
    wall_ms: 9_000,
    wall_sub_us: 0,
    engine_ms: 1_000,
    mono_us: 1_000_000,
};
const LEASE_MS: u64 = 50;

fn claim(owner: &'static [u8]) -> Claim<'static> {
    Claim {
        ticket: Ticket { conn: 1, call: 1 },
        owner,
        share: Share::Exclusive,
        life: Wanted::Lease(LEASE_MS),
        delay_ms: 0,
        value: None,
        depth: None,
        wait_ms: 0,
    }
}

struct Bell(Notify);

impl Wake for Bell {
    fn wake(&self) {
        self.0.notify();
    }
}

struct Stage {
    coordinator: Coordinator,
    bell: Arc<Bell>,
}

impl Stage {
    fn new() -> Arc<Self> {
        let bell = Arc::new(Bell(Notify::new()));
        let coordinator = Coordinator::new(1, &Arc::new(Ledger::new()));
        coordinator.set_sleeper(Arc::clone(&bell) as Arc<dyn Wake>);
        Arc::new(Self { coordinator, bell })
    }

    fn turn<R>(&self, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let mut turn = self.coordinator.turn(NOW, None);
        let answer = act(&mut turn);
        turn.finish(|_| None);
        answer
    }

    /// What the task does until it would sleep no longer than this.
    fn sleep_until(&self, sleep_ms_max: u64) {
        loop {
            self.turn(|_| ());
            match self.coordinator.sleep_ms(NOW) {
                Some(ms) if ms <= sleep_ms_max => break,
                _ => self.bell.0.wait(),
            }
        }
    }
}

/// A lease is given while the task goes to sleep. A lost wake-up shows as a task that sleeps for
/// ever. Goes red when `sleep_ms` does not note until when the task sleeps, or lets go of the mutex
/// before it does.
#[test]
fn a_new_deadline_wakes_the_task() {
    loom::model(|| {
        let stage = Stage::new();
        let asking = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                stage.turn(|turn| turn.acquire(&Name::new(0, b"k"), &claim(b"o")))
            })
        };
        stage.sleep_until(LEASE_MS);
        let claimed = asking.join().unwrap();
        assert_eq!(claimed, Ok(Claimed::Granted { fence: 1 }));
    });
}

/// A grant that found nobody comes back while the task goes to sleep, and is given back. Goes red
/// when `return_grant` wakes nobody.
#[test]
fn a_grant_that_comes_back_wakes_the_task() {
    loom::model(|| {
        let stage = Stage::new();
        let name = Name::new(0, b"k");
        let granted = stage.turn(|turn| turn.acquire(&name, &claim(b"o")));
        assert_eq!(granted, Ok(Claimed::Granted { fence: 1 }));
        let returning = {
            let (stage, name) = (Arc::clone(&stage), name.clone());
            thread::spawn(move || stage.coordinator.return_grant(vec![name], 1))
        };
        while stage.coordinator.is_in_use(0, b"k") {
            stage.turn(|_| ());
            if stage.coordinator.sleep_ms(NOW) != Some(0) && stage.coordinator.is_in_use(0, b"k") {
                stage.bell.0.wait();
            }
        }
        returning.join().unwrap();
    });
}
