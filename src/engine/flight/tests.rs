//! Tokens and who waits for them, on one key and in one shard.

use super::*;
use crate::clock::Now;
use crate::engine::coordinator::Ticket;
use crate::engine::{
    Bound, Deadline, Engine, Need, Options, Recorder, Slot, Soft, Sweeper, Tally, ValueRef,
};
use std::sync::Arc;

const KEY: &[u8] = b"k";
const SOFT: Soft = Soft {
    at_ms: 1 << 40,
    cost_ms: 0,
};

fn engine() -> Engine {
    let options = Options {
        databases: 2,
        shards: 1,
        ..Options::default()
    };
    Engine::new(options, None)
}

fn at(ms: u64) -> Now {
    Now {
        wall_ms: 1_000_000 + ms,
        engine_ms: 1_000 + ms,
        mono_us: 5_000_000 + ms * 1_000,
        ..Now::default()
    }
}

fn on<R>(engine: &Engine, now: Now, act: impl FnOnce(&mut Slot<'_>) -> R) -> R {
    let batch = engine.shared(0, now);
    let mut step = batch.step();
    let mut locked = step.lock_any(0, KEY);
    act(&mut locked.slot(0, KEY))
}

fn spent(engine: &Engine, now: Now, token: u64) -> Spent {
    on(engine, now, |slot| slot.judge_token(token))
}

/// Every way in which a key is changed, that there is at this level. Goes red when any leaves out
/// `note_change`, and when the removal of a missing key does nothing.
#[test]
fn every_change_makes_tokens_void() {
    type Act = fn(&mut Slot<'_>);
    let changes: [(&str, Act); 9] = [
        ("put", |slot| slot.put(ValueRef::Int(1), Deadline::None)),
        ("append", |slot| {
            slot.append(b"x");
        }),
        ("write_range", |slot| {
            slot.write_range(3, b"x");
        }),
        ("set_deadline", |slot| slot.set_deadline(Some(1 << 40))),
        ("remove", |slot| {
            slot.remove();
        }),
        ("remove what is not there", |slot| {
            slot.remove();
        }),
        ("raise_fence", |slot| slot.raise_fence(7)),
        ("set_soft", |slot| slot.set_soft(SOFT)),
        ("fill", |slot| slot.fill(9, ValueRef::Int(2), 1 << 41, SOFT)),
    ];
    for (number, (name, change)) in changes.into_iter().enumerate() {
        let engine = engine();
        on(&engine, at(0), |slot| {
            if !(5..=6).contains(&number) {
                slot.put(ValueRef::Bytes(b"v"), Deadline::None);
            }
            slot.give_token(5, 1_000);
        });
        assert_eq!(spent(&engine, at(1), 5), Spent::Good, "{name}");
        on(&engine, at(1), change);
        assert_eq!(spent(&engine, at(1), 5), Spent::Void, "{name}");
    }
}

#[test]
fn whole_databases_make_tokens_void() {
    let engine = engine();
    on(&engine, at(0), |slot| slot.give_token(5, 1_000));
    let batch = engine.alone(at(0));
    batch.step().clear(0, crate::engine::Free::Now);
    drop(batch);
    assert_eq!(spent(&engine, at(0), 5), Spent::Void);
    on(&engine, at(0), |slot| slot.give_token(6, 1_000));
    engine.alone(at(0)).step().swap(0, 1);
    assert_eq!(spent(&engine, at(0), 6), Spent::Void);
}

/// Nobody changed anything where a value went at its end, or was evicted.
#[test]
fn what_only_goes_leaves_tokens() {
    let engine = engine();
    on(&engine, at(0), |slot| {
        slot.put(ValueRef::Int(1), Deadline::At(at(10).wall_ms));
        slot.give_token(5, 1_000);
    });
    assert!(!on(&engine, at(10), |slot| slot.exists()));
    assert_eq!(spent(&engine, at(10), 5), Spent::Good);
}

#[test]
fn a_token_counts_until_a_newer_one_was_written_with() {
    let engine = engine();
    let give = |token| on(&engine, at(0), |slot| slot.give_token(token, 1_000));
    let fill = |token| {
        on(&engine, at(1), |slot| {
            slot.fill(token, ValueRef::Int(1), 1 << 41, SOFT);
        });
    };
    [1, 2, 3].into_iter().for_each(give);
    fill(2);
    assert_eq!(
        [1, 2, 3].map(|t| spent(&engine, at(1), t)),
        [Spent::Void, Spent::Before, Spent::Good]
    );
    fill(3);
    assert_eq!(
        [2, 3].map(|t| spent(&engine, at(1), t)),
        [Spent::Void, Spent::Before]
    );
    on(&engine, at(1), |slot| {
        slot.put(ValueRef::Int(7), Deadline::None);
    });
    assert_eq!(spent(&engine, at(1), 3), Spent::Void);
}

#[test]
fn rows_go_when_their_tokens_are_over_and_leave_no_memory() {
    let engine = engine();
    let before = engine.ledger().total();
    on(&engine, at(0), |slot| slot.give_token(5, 1_000));
    let with = engine.ledger().total();
    assert!(with > before);
    assert_eq!(spent(&engine, at(59_999), 5), Spent::Good);
    let mut tally = Tally::default();
    let mut sweep = |ms| {
        let batch = engine.shared(0, at(ms));
        Sweeper::new(0, 1)
            .run(&batch, usize::MAX, &mut tally)
            .next_ms
    };
    assert_eq!(sweep(59_000), at(60_000).wall_ms);
    assert_eq!(sweep(60_000), u64::MAX);
    let left = engine.ledger().total();
    // What a database holds that was used.
    on(&engine, at(60_000), |slot| assert!(!slot.exists()));
    assert_eq!(engine.ledger().total(), left);
    on(&engine, at(60_000), |slot| slot.give_token(5, 1_000));
    on(&engine, at(60_000), |slot| assert!(slot.give_back(5)));
    assert_eq!(engine.ledger().total(), left);
}

#[test]
fn tokens_go_before_a_command_is_refused() {
    let engine = engine();
    on(&engine, at(0), |slot| slot.give_token(5, 1_000));
    engine.set_bound(Bound {
        bytes_max: 1,
        ..Bound::default()
    });
    let batch = engine.shared(0, at(0));
    assert!(!batch.step().make_room(Need::NOTHING));
    drop(batch);
    assert_eq!(spent(&engine, at(0), 5), Spent::Void);
}

fn asks(token: u64) -> Arc<Ask> {
    let wants = Wants::Begin {
        owner: Box::default(),
        fingerprint: Box::from(&b"f"[..]),
        ttl_ms: 100,
    };
    Arc::new(Ask { token, wants })
}

/// Who aborts and who is next are in one frame: after a crash both are the case, or neither.
#[test]
fn a_request_is_handed_over_in_the_frame_that_frees_it() {
    let recorder = Arc::new(Recorder::new());
    let options = Options {
        databases: 1,
        shards: 1,
        ..Options::default()
    };
    let engine = Engine::new(options, Some(Box::new(Arc::clone(&recorder))));
    on(&engine, at(0), |slot| slot.begin(1, 100, b"a", b"f"));
    let ticket = |conn| Ticket { conn, call: 1 };
    for conn in [2, 3] {
        let waits = on(&engine, at(0), |slot| {
            slot.await_turn(ticket(conn), &asks(conn), 1_000)
        });
        assert!(waits);
    }
    let _ = recorder.take();
    on(&engine, at(1), |slot| assert!(slot.give_back(1)));
    let frames = recorder.take();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0].effects().len(), 2, "{frames:?}");
    let holder = |now| {
        on(&engine, now, |slot| {
            slot.record().map(|r| r.map(|r| r.token))
        })
    };
    assert_eq!(holder(at(1)), Ok(Some(2)));
    // Its time is over without a word: the next one's turn, whoever comes to look.
    let batch = engine.shared(0, at(101));
    let mut step = batch.step();
    step.coordinate(|_| ());
    assert!(!step.hand_over_due(10));
    drop(step);
    drop(batch);
    assert_eq!(holder(at(101)), Ok(Some(3)));
    assert!(on(&engine, at(101), |slot| slot
        .record()
        .unwrap()
        .unwrap()
        .is_retry));
}
