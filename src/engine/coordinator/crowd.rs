//! Crowds: very many who wait, come, go and are forgotten. Ends of waits are told of soon, grants
//! come in order, and nothing is left of those who are gone.
//!
//! Time is what this thread has computed and what it would have slept, so that a busy machine is
//! not taken for a slow coordinator.
//!
//! An optimized build has crowds of the size that is promised, another one a tenth of it.

use super::*;
use crate::engine::effect::Share;
use crate::engine::ledger::Ledger;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How late the end of a wait may be told.
const LATE_MAX: Duration = Duration::from_millis(10);
const fn scaled(full: u64) -> u64 {
    if cfg!(debug_assertions) {
        full / 10
    } else {
        full
    }
}

fn coordinator() -> (Coordinator, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::new());
    (Coordinator::new(1, &ledger), ledger)
}

fn at_us(us: u64) -> Now {
    let ms = 1_000 + us / 1_000;
    Now {
        wall_ms: 5_000_000 + ms,
        wall_sub_us: 0,
        engine_ms: ms,
        mono_us: 1_000_000 + us,
    }
}

fn name(number: u64) -> Name {
    Name::new(0, format!("lock:{number}").as_bytes())
}

fn claim(owner: &[u8], conn: u64, wait_ms: u64) -> Claim<'_> {
    Claim {
        ticket: Ticket { conn, call: 1 },
        owner,
        share: Share::Exclusive,
        life: Wanted::Lease(3_600_000),
        delay_ms: 0,
        value: None,
        depth: None,
        wait_ms,
    }
}

/// One turn at a time; what came of calls that waited.
fn turn<R>(
    coordinator: &Coordinator,
    now: Now,
    act: impl FnOnce(&mut Turn<'_>) -> R,
) -> (R, Vec<Settled>) {
    let mut frame = Vec::new();
    let mut turn = coordinator.turn(now, Some(&mut frame));
    let answer = act(&mut turn);
    (answer, turn.finish(|_| None).settled)
}

/// Microseconds this thread has computed for.
fn computed_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time)
        .expect("it is positive")
        .as_micros() as u64
}

/// Lets so many wait for so many locks, each until a moment of its own, and answers how late each
/// was told, the latest last.
fn lateness(waiters: u64, locks: u64) -> Vec<Duration> {
    let (coordinator, _ledger) = coordinator();
    for lock in 0..locks {
        let held = claim(b"holder", 1, 0);
        turn(&coordinator, at_us(0), |turn| {
            turn.acquire(&name(lock), &held)
        })
        .0
        .ok();
    }
    // In no order, thirty a millisecond.
    let wait_ms = |waiter: u64| 60_000 + (waiter * 7_919) % (waiters / 30).max(100);
    for waiter in 0..waiters {
        let owner = format!("waiter {waiter}");
        let claim = claim(owner.as_bytes(), waiter + 10, wait_ms(waiter));
        let lock = name(waiter % locks);
        let (claimed, _) = turn(&coordinator, at_us(0), |turn| turn.acquire(&lock, &claim));
        assert_eq!(claimed, Ok(Claimed::Parked));
    }
    // All have waited for almost as long as the first will.
    let began_us = computed_us();
    let mut slept_us = 59_990_000;
    let mut late = Vec::new();
    while (late.len() as u64) < waiters {
        let now_us = slept_us + computed_us() - began_us;
        let sleep_ms = coordinator.sleep_ms(at_us(now_us));
        slept_us += sleep_ms.expect("somebody waits") * 1_000;
        let now_us = slept_us + computed_us() - began_us;
        let ((), settled) = turn(&coordinator, at_us(now_us), |_| ());
        let told_us = slept_us + computed_us() - began_us;
        for settled in settled {
            assert!(
                matches!(settled.outcome, Outcome::Refused { .. }),
                "{settled:?}"
            );
            let due_us = wait_ms(settled.ticket.conn - 10) * 1_000;
            // Never early.
            let late_us = told_us.checked_sub(due_us).expect("told before its time");
            late.push(Duration::from_micros(late_us));
        }
    }
    late.sort_unstable();
    late
}

fn expect_timely(waiters: u64, locks: u64) {
    let late = lateness(waiters, locks);
    let latest = late[late.len() - 1];
    let median = late[late.len() / 2];
    assert!(
        latest <= LATE_MAX,
        "{median:?} late, and {latest:?} at most"
    );
}

#[test]
fn a_hundred_thousand_time_outs_are_told_in_time() {
    expect_timely(scaled(100_000), 1_000);
}

#[test]
fn time_outs_of_one_queue_are_told_in_time() {
    // Goes red when what leaves a queue from its middle looks through it.
    expect_timely(scaled(100_000), 1);
}

/// The order in which they came is the order in which they are granted, to the last.
#[test]
fn a_thousand_waiters_are_granted_in_order() {
    let (coordinator, _ledger) = coordinator();
    let now = at_us(0);
    let key = name(0);
    turn(&coordinator, now, |turn| {
        turn.acquire(&key, &claim(b"0", 1, 0))
    })
    .0
    .ok();
    for waiter in 1..=1_000 {
        let owner = waiter.to_string();
        let claim = claim(owner.as_bytes(), waiter + 1, 60_000);
        let (claimed, _) = turn(&coordinator, now, |turn| turn.acquire(&key, &claim));
        assert_eq!(claimed, Ok(Claimed::Parked));
    }
    let mut last = 0;
    for holder in 0..1_000_u64 {
        let owner = holder.to_string();
        let (_, settled) = turn(&coordinator, now, |turn| {
            turn.release(&key, owner.as_bytes(), None, None)
        });
        let [
            Settled {
                ticket,
                outcome: Outcome::Granted { fence, .. },
            },
        ] = &settled[..]
        else {
            panic!("{settled:?}");
        };
        assert_eq!(ticket.conn, holder + 2);
        assert!(*fence > last);
        last = *fence;
    }
}

/// Nothing stays behind of a million names, of owners that crashed, of waiters that left.
#[test]
fn a_million_names_leave_nothing() {
    let (coordinator, ledger) = coordinator();
    let names = scaled(1_000_000);
    let mut before = None;
    let mut now_us = 0;
    for round in 0..names / 1_000 {
        for number in 0..1_000 {
            let key = name(round * 1_000 + number);
            let conn = 10 + number;
            let mut lease = claim(b"owner", conn, 0);
            // A third is released, a third lost to time, a third lost with its connection.
            lease.life = match number % 3 {
                2 => Wanted::Conn,
                _ => Wanted::Lease(500),
            };
            turn(&coordinator, at_us(now_us), |turn| {
                turn.acquire(&key, &lease).expect("it is free");
                let waiter = claim(b"abandoned", 10_000 + conn, 250);
                assert_eq!(turn.acquire(&key, &waiter), Ok(Claimed::Parked));
            });
            turn(&coordinator, at_us(now_us), |turn| match number % 6 {
                0 => turn.disconnect(10_000 + conn),
                _ => assert!(turn.unblock(10_000 + conn, true) || number % 2 == 0),
            });
            turn(&coordinator, at_us(now_us), |turn| match number % 3 {
                0 => drop(turn.release(&key, b"owner", None, None)),
                1 => {}
                _ => turn.disconnect(conn),
            });
        }
        now_us += 1_000_000;
        turn(&coordinator, at_us(now_us), |_| ());
        while !coordinator.take_loose(4_096).is_empty() {}
        turn(&coordinator, at_us(now_us), |_| ());
        let mut state = coordinator.0.lock();
        assert!(state.objects.is_empty() && state.requests.is_empty());
        assert!(state.conns.is_empty() && state.sessions.is_empty() && state.sids.is_empty());
        assert!(state.waiting.is_empty() && state.observers.is_empty());
        assert!(state.table.is_empty() && state.loose.is_empty());
        assert_eq!(state.heap_bytes, 0);
        assert_eq!(state.next_due(), (u64::MAX, u64::MAX));
        drop(state);
        let held = ledger.total();
        assert_eq!(held, *before.get_or_insert(held), "after round {round}");
    }
}

/// A crowd that has gone gives its memory back, but for what a small server has anyway.
#[test]
fn a_crowd_that_is_gone_leaves_no_memory() {
    const KEPT_BYTES_MAX: usize = 64 << 10;
    let (coordinator, ledger) = coordinator();
    let before = ledger.total();
    let crowd = scaled(100_000);
    for owner in 0..crowd {
        let (key, owned) = (name(owner), owner.to_string());
        turn(&coordinator, at_us(0), |turn| {
            let claimed = turn.acquire(&key, &claim(b"holder", 1, 0));
            claimed.expect("it is free");
            let waiter = claim(owned.as_bytes(), owner + 10, 1_000);
            assert_eq!(turn.acquire(&key, &waiter), Ok(Claimed::Parked));
            let mut conn = claim(owned.as_bytes(), owner + 10, 0);
            conn.life = Wanted::Conn;
            let own = Name::new(1, owned.as_bytes());
            turn.acquire(&own, &conn).expect("it is free");
        });
    }
    let full = ledger.total() - before;
    assert!(full > crowd as usize * 100, "{full}");
    for owner in 0..crowd {
        turn(&coordinator, at_us(0), |turn| turn.disconnect(owner + 10));
    }
    turn(&coordinator, at_us(3_700_000_000), |_| ());
    while !coordinator.take_loose(4_096).is_empty() {}
    turn(&coordinator, at_us(3_700_000_000), |_| ());
    let left = ledger.total() - before;
    assert!(left <= KEPT_BYTES_MAX, "{left} bytes of {full}");
    let state = coordinator.0.lock();
    let maps = [
        state.conns.capacity(),
        state.waiting.capacity(),
        state.sessions.capacity(),
        state.sids.capacity(),
    ];
    assert!(maps.iter().all(|capacity| *capacity <= 1_024), "{maps:?}");
}
