//! IDs rise and are not given out twice, whatever clock and disk do.

use super::*;
use crate::engine::ids::text::{Form, Text};
use crate::sync::atomic::{AtomicU64, Ordering};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;

const START_MS: u64 = 1_700_000_000_000;

/// Counts how often it was woken.
#[derive(Default)]
struct Counter(AtomicU64);

impl Wake for Counter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn at(wall_ms: u64) -> Now {
    Now {
        wall_ms,
        ..Now::default()
    }
}

fn ids_of(block: &Block, random: &mut StdRng) -> Vec<Id> {
    (0..block.count())
        .map(|index| block.id(index, random.next_u64()))
        .collect()
}

fn take(ids: &Ids, kind: IdKind, count: u32, wall_ms: u64) -> Result<Vec<Id>, Refusal> {
    let mut random = StdRng::seed_from_u64(wall_ms);
    let wanted = Wanted { kind, count };
    match ids.take(wanted, at(wall_ms), None, &mut || random.next_u64())? {
        Taken::Block(block) => Ok(ids_of(&block, &mut random)),
        Taken::Waits => panic!("without a ticket nobody waits"),
    }
}

#[test]
fn a_used_up_tick_goes_over_into_the_next_at_most_a_second_ahead() {
    let ids = Ids::new();
    let kind = IdKind::Snowflake;
    let mut given = 0;
    let refusal = loop {
        match take(&ids, kind, 4_096, START_MS) {
            Ok(block) => given += block.len(),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((given, refusal), (1_001 * 4_096, Refusal::UsedUp(1)));
    assert_eq!(
        take(&ids, kind, 1, START_MS + 1).map(|block| block.len()),
        Ok(1)
    );
}

#[test]
fn a_clock_that_falls_back_is_borne_up_to_the_bound() {
    for kind in IdKind::ALL {
        let ids = Ids::new();
        let first = take(&ids, kind, 1, START_MS).unwrap()[0];
        let second = take(&ids, kind, 1, START_MS - 4_000).unwrap()[0];
        assert!(second.bytes() > first.bytes(), "{kind:?}");
        let behind = take(&ids, kind, 1, START_MS - 6_000);
        assert!(
            matches!(behind, Err(Refusal::Behind(5_000..=6_000))),
            "{behind:?}"
        );
        ids.set_bound(10_000);
        assert!(take(&ids, kind, 1, START_MS - 6_000).is_ok());
    }
}

/// Ticks run ahead of a clock that is right, and so does what a killed process has reserved: that
/// is no clock behind, however little it may be behind.
#[test]
fn ids_that_run_ahead_of_the_clock_are_waited_for_under_any_bound() {
    for kind in IdKind::ALL {
        let ids = Ids::new();
        ids.set_bound(0);
        ids.skip(START_MS + AHEAD_MS);
        let refusal = take(&ids, kind, 1, START_MS).unwrap_err();
        assert!(refusal.is_for_now(), "{kind:?}: {refusal:?}");
        assert!(
            take(&ids, kind, 1, START_MS + AHEAD_MS + 1).is_ok(),
            "{kind:?}"
        );
    }
    let ids = Ids::new();
    ids.set_bound(0);
    let count = 2 * Layout::default().sequences() as u32;
    for _ in 0..2 {
        assert!(take(&ids, IdKind::Snowflake, count, START_MS).is_ok());
    }
    let behind = take(&ids, IdKind::Snowflake, 1, START_MS - AHEAD_MS);
    assert!(matches!(behind, Err(Refusal::Behind(_))), "{behind:?}");
}

#[test]
fn snowflakes_of_a_tick_in_front_of_the_clock_end_with_it() {
    let ids = Ids::new();
    let kind = IdKind::Snowflake;
    take(&ids, kind, 1, START_MS).unwrap();
    let behind_ms = START_MS - 3_000;
    assert_eq!(
        take(&ids, kind, 4_095, behind_ms).map(|block| block.len()),
        Ok(4_095)
    );
    assert_eq!(take(&ids, kind, 1, behind_ms), Err(Refusal::UsedUp(2_001)));
}

#[test]
fn more_than_a_second_of_the_layout_is_never_given_at_once() {
    let ids = Ids::new();
    ids.set_layout(Layout {
        sequence_bits: 1,
        ..Layout::default()
    });
    let kind = IdKind::Snowflake;
    assert_eq!(take(&ids, kind, 2_001, START_MS), Err(Refusal::TooMany));
    assert_eq!(
        take(&ids, kind, 2_000, START_MS).map(|block| block.len()),
        Ok(2_000)
    );
}

#[test]
fn no_tick_is_used_that_is_not_reserved() {
    let (ids, reserver) = (Ids::new(), Arc::new(Counter::default()));
    ids.skip(START_MS);
    ids.set_reserver(Arc::clone(&reserver) as Arc<dyn Wake>, false);
    let now_ms = START_MS + 10;
    assert_eq!(
        take(&ids, IdKind::Ulid, 1, now_ms),
        Err(Refusal::NotReserved)
    );
    assert_eq!(
        take(&ids, IdKind::Ulid, 1, now_ms),
        Err(Refusal::NotReserved)
    );
    assert_eq!(reserver.0.load(Ordering::Relaxed), 1, "it is woken once");
    let wanted = ids.wanted(at(now_ms)).unwrap();
    assert_eq!(
        wanted,
        Reservation {
            until_ms: now_ms + AHEAD_MS,
            layout: None
        }
    );
    assert_eq!(ids.wanted(at(now_ms)), None);
    ids.grant(wanted);
    assert!(take(&ids, IdKind::Ulid, 1, now_ms).is_ok());
    assert!(take(&ids, IdKind::Ulid, 1, now_ms + AHEAD_MS).is_ok());
    assert_eq!(
        take(&ids, IdKind::Ulid, 1, now_ms + AHEAD_MS + 1),
        Err(Refusal::NotReserved)
    );
    // A snowflake is given out only once it is known how they are made up.
    let later_ms = now_ms + AHEAD_MS;
    assert_eq!(
        take(&ids, IdKind::Snowflake, 1, later_ms),
        Err(Refusal::NotReserved)
    );
    let wanted = ids.wanted(at(later_ms)).unwrap();
    assert_eq!(wanted.layout, Some(Layout::default()));
    ids.fail();
    assert_eq!(
        take(&ids, IdKind::Snowflake, 1, later_ms),
        Err(Refusal::NotReservable)
    );
    ids.grant(ids.wanted(at(later_ms)).unwrap());
    assert!(take(&ids, IdKind::Snowflake, 1, later_ms).is_ok());
}

#[test]
fn more_is_reserved_before_it_is_needed() {
    let (ids, reserver) = (Ids::new(), Arc::new(Counter::default()));
    ids.set_reserver(Arc::clone(&reserver) as Arc<dyn Wake>, true);
    let until_ms = START_MS + AHEAD_MS;
    ids.grant(Reservation {
        until_ms,
        layout: None,
    });
    take(&ids, IdKind::Uuid7, 1, START_MS).unwrap();
    assert_eq!(ids.wanted(at(START_MS)), None);
    take(&ids, IdKind::Uuid7, 1, START_MS + LEFT_MS_MIN + 1).unwrap();
    assert!(ids.wanted(at(START_MS + LEFT_MS_MIN + 1)).is_some());
}

#[test]
fn who_waits_is_served_in_order_and_not_overtaken() {
    let ids = Ids::new();
    let kind = IdKind::Snowflake;
    let mut chance = || 0;
    let mut ask = |conn, count, wall_ms| {
        let ticket = (conn > 0).then_some(Ticket { conn, call: 1 });
        ids.take(Wanted { kind, count }, at(wall_ms), ticket, &mut chance)
    };
    while ask(0, 4_096, START_MS).is_ok() {}
    assert_eq!(ask(1, 10_000, START_MS), Ok(Taken::Waits));
    assert_eq!(ask(2, 1, START_MS), Ok(Taken::Waits));
    assert_eq!(
        ask(0, 1, START_MS + 1),
        Err(Refusal::UsedUp(1)),
        "nobody overtakes"
    );
    assert_eq!(ids.due_ms(at(START_MS)), Some(3));
    assert_eq!(ids.serve(at(START_MS + 2), &mut || 0), Vec::new());
    assert_eq!(ask(3, 1, START_MS + 2), Ok(Taken::Waits));
    assert_eq!(ids.withdraw(2), Some(Ticket { conn: 2, call: 1 }));
    assert_eq!(ids.withdraw(2), None);
    let served = ids.serve(at(START_MS + 3), &mut || 0);
    let conns: Vec<u64> = served.iter().map(|settled| settled.ticket.conn).collect();
    assert_eq!(conns, [1, 3]);
    assert_eq!(ids.due_ms(at(START_MS + 3)), None);
}

#[test]
fn snowflakes_outside_their_time_are_refused() {
    let ids = Ids::new();
    let kind = IdKind::Snowflake;
    ids.set_layout(Layout {
        epoch_ms: START_MS + 1,
        ..Layout::default()
    });
    assert_eq!(take(&ids, kind, 1, START_MS), Err(Refusal::OutOfTime));
    let end_ms = START_MS + 1 + (1 << 41);
    assert!(take(&ids, kind, 1, end_ms - 1).is_ok());
    assert_eq!(take(&ids, kind, 1, end_ms), Err(Refusal::OutOfTime));
}

/// What happens to a server that gives out IDs.
#[derive(Clone, Debug)]
enum Event {
    Take(usize, u32),
    /// The clock is set, by so many milliseconds.
    Step(i64),
    /// What was asked for is reserved.
    Reserve,
    /// The process ends, and another begins.
    Restart {
        is_clean: bool,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => (0usize..4, 1u32..300).prop_map(|(kind, count)| Event::Take(kind, count)),
        6 => (0i64..700).prop_map(Event::Step),
        2 => prop::sample::select(vec![3_600_000, -3_600_000, -900, -3_000, 10_000])
            .prop_map(Event::Step),
        6 => Just(Event::Reserve),
        2 => any::<bool>().prop_map(|is_clean| Event::Restart { is_clean }),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    /// Goes red when a restart begins below what was reserved, and when a slot is given out twice.
    #[test]
    fn ids_rise_over_clock_steps_and_restarts(events in events(), seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut wall_ms, mut safe_ms) = (START_MS, 0);
        let mut last = [[0; 20]; 4];
        let begin = |safe_ms| {
            let ids = Ids::new();
            ids.skip(safe_ms);
            ids.set_reserver(Arc::new(Counter::default()), true);
            ids
        };
        let mut ids = begin(safe_ms);
        for event in events {
            match event {
                Event::Take(kind, count) => {
                    let kind = IdKind::ALL[kind];
                    let wanted = Wanted { kind, count };
                    let taken = ids.take(wanted, at(wall_ms), None, &mut || random.next_u64());
                    let Ok(Taken::Block(block)) = taken else { continue };
                    for id in ids_of(&block, &mut random) {
                        prop_assert!(id.bytes() > last[kind as usize], "it was given out before");
                        last[kind as usize] = id.bytes();
                        let unix_ms = match id {
                            Id::Snowflake(id) => ids.layout().parts(id).unwrap().0,
                            _ => id.unix_ms().unwrap(),
                        };
                        prop_assert!(unix_ms <= safe_ms, "it was not reserved");
                    }
                }
                Event::Step(ms) => wall_ms = wall_ms.saturating_add_signed(ms),
                Event::Reserve => {
                    if let Some(wanted) = ids.wanted(at(wall_ms)) {
                        safe_ms = wanted.until_ms;
                        ids.grant(wanted);
                    }
                }
                Event::Restart { is_clean } => {
                    if is_clean {
                        safe_ms = ids.used_ms();
                    }
                    ids = begin(safe_ms);
                }
            }
        }
    }

    #[test]
    fn each_id_is_of_its_kind(count in 1u32..3_000, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let ids = Ids::new();
        for kind in IdKind::ALL {
            let wanted = Wanted { kind, count };
            let taken = ids.take(wanted, at(START_MS), None, &mut || random.next_u64());
            let Ok(Taken::Block(block)) = taken else { panic!("{taken:?}") };
            let made = ids_of(&block, &mut random);
            let texts: HashSet<Vec<u8>> = made
                .iter()
                .map(|id| Text::of(*id, Form::usual(kind)).as_bytes().to_vec())
                .collect();
            prop_assert_eq!(texts.len(), count as usize);
            for id in made {
                prop_assert_eq!(id.kind(), kind);
                if kind != IdKind::Snowflake {
                    prop_assert_eq!(id.unix_ms(), Some(START_MS));
                }
            }
        }
    }
}

/// Threads that take from one series: what each has rises, and none has what another has.
#[test]
fn threads_share_one_series() {
    const ROUNDS: usize = 400;
    let ids = Arc::new(Ids::new());
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let ids = Arc::clone(&ids);
            std::thread::spawn(move || {
                let mut random = StdRng::seed_from_u64(thread);
                let mut made = Vec::new();
                for round in 0..ROUNDS {
                    let kind = IdKind::ALL[round % 4];
                    let now = at(START_MS + round as u64 / 40);
                    let wanted = Wanted { kind, count: 100 };
                    let taken = ids.take(wanted, now, None, &mut || random.next_u64());
                    if let Ok(Taken::Block(block)) = taken {
                        made.extend(ids_of(&block, &mut random));
                    }
                }
                made
            })
        })
        .collect();
    let mut all = HashSet::new();
    for thread in threads {
        let made = thread.join().unwrap();
        for kind in IdKind::ALL {
            let own: Vec<_> = made.iter().filter(|id| id.kind() == kind).collect();
            assert!(own.is_sorted_by(|a, b| a.bytes() < b.bytes()), "{kind:?}");
        }
        for id in made {
            assert!(
                all.insert((id.kind() as u8, id.bytes())),
                "{id:?} came twice"
            );
        }
    }
    assert_eq!(all.len(), 4 * ROUNDS * 100);
}
