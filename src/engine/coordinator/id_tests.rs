//! Namespaces of IDs: no number twice over any crash, no disk waited for without need, and the
//! rules of workers' numbers.

use super::*;
use crate::engine::effect::{Effect, Effects, Share};
use crate::engine::ids::code::{ALPHABET_62, Scheme};
use crate::engine::ledger::Ledger;
use proptest::prelude::*;

fn coordinator() -> Coordinator {
    Coordinator::new(1, &Arc::new(Ledger::new()))
}

fn at(ms: u64) -> Now {
    Now {
        wall_ms: 5_000_000 + ms,
        wall_sub_us: 0,
        engine_ms: ms,
        mono_us: ms * 1_000,
    }
}

/// A coordinator and a log of its frames, of which the first `synced` are safe.
struct Bench {
    coordinator: Coordinator,
    frames: Vec<Vec<u8>>,
    synced: usize,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self {
            coordinator: coordinator(),
            frames: Vec::new(),
            synced: 0,
            now: at(1_000),
        }
    }

    fn turn<R>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let mut frame = Vec::new();
        let mut turn = self.coordinator.turn(self.now, Some(&mut frame));
        let answer = act(&mut turn);
        let frames = &mut self.frames;
        turn.finish(|frame| {
            frames.push(std::mem::take(frame));
            Some(frames.len() as u64)
        });
        answer
    }

    /// Whether an answer that is safe by this may be told.
    fn is_safe(&self, safe_by: SafeBy) -> bool {
        match safe_by {
            SafeBy::Frame(frame) => frame <= self.synced as u64,
            SafeBy::ThisStep => self.frames.len() == self.synced,
        }
    }

    /// The process ends, and what was not synced is lost.
    fn crash(&mut self) {
        self.frames.truncate(self.synced);
        self.coordinator = coordinator();
        for effect in self.frames.iter().flat_map(|frame| Effects::of(frame)) {
            let Ok(Effect::Coordination(change)) = effect else {
                panic!("{effect:?}");
            };
            self.coordinator.apply(&change).unwrap();
        }
    }

    fn range(&mut self, count: u64) -> Range {
        let name = Name::new(0, b"r");
        self.turn(|turn| turn.take_range(&name, count, 1)).unwrap()
    }

    fn worker(&mut self, owner: &[u8], of: u32) -> Result<Claimed, Refusal> {
        let claim = Claim {
            ticket: Ticket { conn: 1, call: 0 },
            owner,
            share: Share::Number { number: 0, of },
            life: Wanted::Lease(1_000),
            delay_ms: 0,
            value: None,
            depth: None,
            wait_ms: 0,
        };
        self.turn(|turn| turn.acquire(&Name::new(0, b"w"), &claim))
    }

    /// The number that an owner has been given, and the time before which it is not to be used.
    fn number(&mut self, owner: &[u8]) -> (u32, u64) {
        let claimed = self.worker(owner, 3);
        let Ok(Claimed::Granted { fence } | Claimed::Again { fence }) = claimed else {
            panic!("{claimed:?}");
        };
        self.turn(|turn| turn.number(&Name::new(0, b"w"), fence))
            .unwrap()
    }
}

fn scheme() -> Scheme {
    Scheme {
        alphabet: ALPHABET_62.into(),
        len: 2,
        is_filtered: false,
        secret: [1, 2],
    }
}

#[test]
fn most_calls_wait_for_no_disk() {
    let mut bench = Bench::new();
    let mut waits = 0;
    for _ in 0..10_000 {
        let range = bench.range(1);
        if !bench.is_safe(range.safe_by) {
            waits += 1;
        }
        // The disk is one call behind.
        bench.synced = bench.frames.len();
    }
    assert_eq!(waits, 1, "only the first");
    assert!(
        bench.frames.len() < 40,
        "{} reservations",
        bench.frames.len()
    );
}

#[test]
fn a_pool_gives_the_number_that_was_not_used_for_longest() {
    let mut bench = Bench::new();
    let name = Name::new(0, b"w");
    let mut numbers = [0; 3];
    for (at, owner) in [b"a", b"b", b"c"].into_iter().enumerate() {
        numbers[at] = bench.number(owner).0;
    }
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(bench.number(b"b"), (1, 0), "the same for the same owner");
    assert!(matches!(bench.worker(b"d", 3), Ok(Claimed::Refused { .. })));
    assert_eq!(bench.worker(b"d", 4), Err(Refusal::Limit(3)));
    for owner in [b"c", b"a"] {
        bench.now = at(bench.now.engine_ms + 1);
        bench.turn(|turn| turn.release(&name, owner, None, None));
    }
    let not_before_ms = at(1_001).wall_ms + 5_000;
    assert_eq!(bench.number(b"d"), (2, not_before_ms));
    assert_eq!(bench.number(b"e").0, 0);
}

#[test]
fn a_number_that_was_lost_rests() {
    let mut bench = Bench::new();
    for owner in [b"a", b"b", b"c"] {
        bench.number(owner);
    }
    bench.now = at(1_500);
    let name = Name::new(0, b"w");
    bench
        .turn(|turn| turn.extend(&name, b"c", 600_000, None, 1))
        .unwrap();
    bench.now = at(2_000);
    assert!(matches!(bench.worker(b"d", 3), Ok(Claimed::Refused { .. })));
    bench.synced = bench.frames.len();
    bench.crash();
    bench.now = at(61_999);
    assert!(matches!(bench.worker(b"d", 3), Ok(Claimed::Refused { .. })));
    bench.now = at(62_000);
    assert_eq!(bench.number(b"d"), (0, at(2_000).wall_ms + 5_000));
    assert_eq!(bench.number(b"e").0, 1);
    assert_eq!(
        bench.turn(|turn| turn.forget_namespace(&name)),
        Err(Refusal::InUse)
    );
}

/// What fixes the codes of a key for good is a call that was answered by some.
#[test]
fn a_call_for_too_many_codes_fixes_nothing() {
    let mut bench = Bench::new();
    let name = Name::new(0, b"c");
    let small = Scheme { len: 1, ..scheme() };
    let taken = bench.turn(|turn| turn.take_codes(&name, &small, None, 63));
    assert_eq!(taken.unwrap_err(), Refusal::CodesExhausted);
    assert!(bench.frames.is_empty(), "nothing is told to a restart");
    let taken = bench.turn(|turn| turn.take_codes(&name, &scheme(), Some(scheme().len), 1));
    assert!(taken.is_ok());
}

/// A restart has the rests of the past before it again, among them that of a number which somebody
/// else has had since.
#[test]
fn the_end_of_an_earlier_rest_frees_no_number_after_a_crash() {
    let mut bench = Bench::new();
    bench.worker(b"a", 1).unwrap();
    bench.now = at(2_000);
    assert!(matches!(bench.worker(b"b", 1), Ok(Claimed::Refused { .. })));
    bench.now = at(62_000);
    assert!(matches!(bench.worker(b"b", 1), Ok(Claimed::Granted { .. })));
    bench.synced = bench.frames.len();
    bench.crash();
    bench.now = at(62_500);
    assert!(matches!(bench.worker(b"c", 1), Ok(Claimed::Refused { .. })));
}

/// The rests of a pool that was forgotten end in the one that came after it.
#[test]
fn the_end_of_a_forgotten_rest_frees_no_number() {
    let mut bench = Bench::new();
    let name = Name::new(0, b"w");
    bench.worker(b"a", 1).unwrap();
    bench
        .turn(|turn| turn.extend(&name, b"a", 100_000, None, 1))
        .unwrap();
    bench.now = at(101_000);
    assert!(matches!(bench.worker(b"b", 1), Ok(Claimed::Refused { .. })));
    bench.now = at(102_000);
    assert!(bench.turn(|turn| turn.forget_namespace(&name)).unwrap());
    bench.worker(b"b", 1).unwrap();
    bench.now = at(103_000);
    assert!(matches!(bench.worker(b"c", 1), Ok(Claimed::Refused { .. })));
    bench.now = at(163_000);
    assert!(matches!(bench.worker(b"c", 1), Ok(Claimed::Granted { .. })));
    bench
        .turn(|turn| turn.extend(&name, b"c", 600_000, None, 1))
        .unwrap();
    bench.now = at(202_500);
    assert!(matches!(bench.worker(b"d", 1), Ok(Claimed::Refused { .. })));
}

proptest! {
    /// Whatever is lost, given back, broken, forgotten or begun anew: of the holds that are current
    /// no two have one number. Goes red where a rest that ends frees a number that is held again.
    #[test]
    fn no_number_is_held_twice(
        events in prop::collection::vec((0u8..8, 0u8..4, 1u64..80_000), 1..150),
    ) {
        let (mut bench, name) = (Bench::new(), Name::new(0, b"w"));
        let mut fences = Vec::new();
        for (event, owner, ms) in events {
            let owner = &[b'a' + owner][..];
            match event {
                0..=2 => {
                    if let Ok(Claimed::Granted { fence }) = bench.worker(owner, 2) {
                        fences.push(fence);
                    }
                }
                3 => {
                    let extended = bench.turn(|turn| turn.extend(&name, owner, ms, None, 1));
                    prop_assert!(extended.is_ok());
                }
                4 | 5 => bench.now = at(bench.now.engine_ms + ms),
                6 => {
                    bench.synced = bench.frames.len();
                    bench.crash();
                }
                _ => {
                    let how = Break { fence: None, delay_ms: 0 };
                    bench.turn(|turn| turn.break_holds(&name, how));
                    prop_assert_eq!(bench.turn(|turn| turn.forget_namespace(&name)).err(), None);
                }
            }
            let numbers: Vec<_> = bench.turn(|turn| {
                let held = fences.iter().filter_map(|fence| turn.number(&name, *fence));
                held.map(|(number, _)| number).collect()
            });
            let distinct: std::collections::HashSet<_> = numbers.iter().collect();
            prop_assert_eq!(numbers.len(), distinct.len(), "{:?}", numbers);
        }
    }

    /// Whatever a crash takes, no number or code that was told comes again. Goes red where no frame
    /// says what was reserved, and where a call is told what an earlier frame does not cover.
    #[test]
    fn no_number_comes_twice_over_any_crash(
        events in prop::collection::vec((0u8..5, 1u64..50), 1..200),
    ) {
        let mut bench = Bench::new();
        let name = Name::new(0, b"c");
        let (mut told, mut codes_told) = (0, 0);
        // Answers that wait for the disk.
        let mut held: Vec<(bool, u64, usize)> = Vec::new();
        for (event, count) in events {
            match event {
                0 | 1 => {
                    let range = bench.range(count);
                    prop_assert!(range.first > told, "{} was told before", range.first);
                    if bench.is_safe(range.safe_by) {
                        told = range.last;
                    } else {
                        held.push((true, range.last, bench.frames.len()));
                    }
                }
                2 => {
                    let taken = bench.turn(|turn| turn.take_codes(&name, &scheme(), None, 3));
                    let Ok(taken) = taken else { continue };
                    prop_assert!(taken.numbers.start >= codes_told, "a code was told before");
                    if bench.is_safe(taken.safe_by) {
                        codes_told = taken.numbers.end;
                    } else {
                        held.push((false, taken.numbers.end, bench.frames.len()));
                    }
                }
                3 => {
                    bench.synced = bench.frames.len();
                    for (is_range, last, _) in held.drain(..) {
                        if is_range {
                            told = told.max(last);
                        } else {
                            codes_told = codes_told.max(last);
                        }
                    }
                }
                _ => {
                    bench.crash();
                    held.clear();
                }
            }
        }
    }
}
