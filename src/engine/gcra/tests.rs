//! Limits against what redis-cell answers, and against a model that counts down a debt.

use super::*;
use proptest::prelude::*;

/// A bucket as it is told to children: so much is owed, and time pays it back.
#[derive(Debug, Default)]
struct Model {
    debt_ns: i128,
    at_ns: i128,
}

impl Model {
    /// What a call is answered: limited, remaining, retry, reset.
    fn ask(
        &mut self,
        [burst, count, period_s]: [i64; 3],
        now_ms: u64,
        quantity: i64,
    ) -> (bool, i128, Option<i128>, i128) {
        let now_ns = i128::from(now_ms) * 1_000_000;
        self.debt_ns = (self.debt_ns - (now_ns - self.at_ns)).max(0);
        self.at_ns = now_ns;
        let one_ns = i128::from(period_s) * 1_000_000_000 / i128::from(count);
        let all_ns = one_ns * (i128::from(burst) + 1);
        let asked_ns = one_ns * i128::from(quantity);
        let is_limited = quantity > 0 && self.debt_ns + asked_ns > all_ns;
        let mut retry_ns = None;
        if !is_limited {
            self.debt_ns = (self.debt_ns + asked_ns).max(0);
        } else if asked_ns <= all_ns {
            retry_ns = Some(self.debt_ns + asked_ns - all_ns);
        }
        let remaining = ((all_ns - self.debt_ns) / one_ns).max(0);
        (is_limited, remaining, retry_ns, self.debt_ns)
    }
}

/// What is kept after a verdict.
fn kept(full_ns: Option<u64>, verdict: &Verdict, now_ms: u64) -> Option<u64> {
    let full_ns = match verdict.change {
        Change::Stays => full_ns,
        Change::FullAt(full_ns) => Some(full_ns),
        Change::Full => None,
    };
    // Its entry vanishes in the millisecond in which the bucket is full.
    full_ns.filter(|full_ns| full_ns.div_ceil(NS_PER_MS) > now_ms)
}

#[test]
fn answers_are_those_of_redis_cell() {
    let table = include_str!("../../../tests/data/redis-cell-throttle.txt");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let rate = Rate::new(4, 1, 1).unwrap();
    let (mut full_ns, mut cases) = (None, 0);
    for row in rows {
        let numbers: Vec<i64> = row.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [at_ms, quantity, limited, remaining, reset_ms, retry_ms] = numbers[..] else {
            panic!("{row}");
        };
        // Engine time begins anywhere.
        let now_ms = 77_777 + at_ms.unsigned_abs();
        let verdict = rate.judge(full_ns, now_ms, quantity);
        full_ns = kept(full_ns, &verdict, now_ms);
        let retry = verdict.retry_ns.map_or(-1, |ns| (ns / 1_000_000) as i64);
        let reset = (verdict.reset_ns / 1_000_000) as i64;
        let told = [
            i64::from(verdict.is_limited),
            verdict.remaining,
            reset,
            retry,
        ];
        assert_eq!(told, [limited, remaining, reset_ms, retry_ms], "{row}");
        assert_eq!(verdict.limit, 5);
        cases += 1;
    }
    assert_eq!(cases, 15);
}

#[test]
fn figures_out_of_range_make_no_limit() {
    assert!(Rate::new(0, 1, 1).is_some());
    for [burst, count, period_s] in [
        [-1, 1, 1],
        [0, 0, 1],
        [0, 1, 0],
        [i64::MIN, 1, 1],
        [i64::MAX, 1, 1],
        [0, i64::MAX, 1],
        [0, 1, i64::MAX],
        [0, -1, -1],
    ] {
        assert_eq!(Rate::new(burst, count, period_s), None);
    }
    let century_s = 100 * 365 * 24 * 60 * 60;
    assert!(Rate::new(0, 1, century_s).is_some() && Rate::new(0, 1, century_s + 1).is_none());
    assert!(Rate::new(0, 1_000_000_000, 1).is_some() && Rate::new(0, 1_000_000_001, 1).is_none());
}

#[test]
fn seconds_that_have_begun_count() {
    assert_eq!(
        [0, 1, 1_000_000_000, 1_000_000_001].map(whole_seconds),
        [0, 1, 1, 2]
    );
}

fn figures() -> impl Strategy<Value = [i64; 3]> {
    prop_oneof![
        (0i64..20, 1i64..50, 1i64..100),
        (0i64..1 << 20, 1i64..1 << 30, 1i64..1 << 10),
    ]
    .prop_map(|(burst, count, period_s)| [burst, count, period_s])
}

fn quantity() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(1i64),
        4 => -3i64..30,
        1 => any::<i64>(),
    ]
}

proptest! {
    /// Also when the figures change from call to call.
    #[test]
    fn verdicts_are_those_of_the_model(
        figures in prop::collection::vec(figures(), 1..3),
        calls in prop::collection::vec(
            (0u64..3_000, quantity(), any::<prop::sample::Index>()),
            1..80,
        ),
    ) {
        let (mut model, mut full_ns, mut now_ms) = (Model::default(), None, 5);
        for (pause_ms, quantity, which) in calls {
            now_ms += pause_ms;
            let figures = *which.get(&figures);
            let rate = Rate::new(figures[0], figures[1], figures[2]).unwrap();
            let verdict = rate.judge(full_ns, now_ms, quantity);
            full_ns = kept(full_ns, &verdict, now_ms);
            let told = (
                verdict.is_limited,
                i128::from(verdict.remaining),
                verdict.retry_ns.map(i128::from),
                i128::from(verdict.reset_ns),
            );
            prop_assert_eq!(told, model.ask(figures, now_ms, quantity));
        }
    }

    /// The promise of a limit, told without any bucket: in no time is more given out than its
    /// burst and what came back meanwhile.
    #[test]
    fn no_window_has_more_than_the_burst_and_what_came_back(
        figures in figures(),
        calls in prop::collection::vec((0u64..2_000, 1i64..4), 1..60),
    ) {
        let [burst, count, period_s] = figures;
        let rate = Rate::new(burst, count, period_s).unwrap();
        let (mut full_ns, mut now_ms, mut given) = (None, 1, Vec::new());
        for (pause_ms, quantity) in calls {
            now_ms += pause_ms;
            let verdict = rate.judge(full_ns, now_ms, quantity);
            full_ns = kept(full_ns, &verdict, now_ms);
            if !verdict.is_limited {
                given.push((now_ms, quantity));
            }
        }
        let one_ns = i128::from(period_s) * 1_000_000_000 / i128::from(count);
        for (first, &(from_ms, _)) in given.iter().enumerate() {
            let mut sum = 0;
            for &(at_ms, quantity) in &given[first..] {
                sum += i128::from(quantity);
                let back = i128::from(at_ms - from_ms) * 1_000_000 / one_ns;
                prop_assert!(sum <= i128::from(burst) + 1 + back);
            }
        }
    }
}
