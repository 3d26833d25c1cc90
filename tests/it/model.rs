//! Random histories against a plain model and against redis-server, byte for byte.
//!
//! A history is what three connections send, one of them in RESP3, and the time that passes. It is
//! played to our server in process, run in a way that chance chooses (shards, workers, eviction
//! policy), and to a plain model (`plain.rs`), or to redis-server over TCP.
//! Afterwards the two must hold the same keys; the effects of the history, applied to a second
//! engine, must have led to the same state; and connections that have gone must have left nothing.
//!
//! `LINCHPIN_SEED` plays the histories of an earlier run again, `LINCHPIN_CASES` multiplies their
//! number. A history that failed is kept in `model/regressions.txt` and played first ever after.

mod expect;
mod history;
mod keys;
mod oracle;
mod plain;
mod play;
mod strings;

use libtest_mimic::{Failed, Trial};
use proptest::sample::select;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner};

use self::history::{Dialect, Step, histories};
use self::oracle::Oracle;
use self::play::Play;
use crate::chance;
use crate::need::{self, Program};
use crate::variant::Variant;

const CASES: u32 = 1_000;
const REGRESSIONS: &str = "tests/it/model/regressions.txt";

/// The trials: the model, and the oracle.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("model::plain", || {
            run(Dialect::Ours, 2 * CASES, |history, variant| {
                Play::new(variant, None)?.history(history)
            })
        }),
        need::trial("model::redis", &[Program::RedisServer], || {
            let mut oracle = Oracle::start()?;
            run(Dialect::Redis, CASES, move |history, variant| {
                oracle.reset()?;
                Play::new(variant, Some(&mut oracle))?.history(history)
            })
        }),
    ]
}

/// Plays random histories until one fails, and then shorter ones that fail as well, if they can on
/// a server that is run as plainly as possible.
fn run(
    dialect: Dialect,
    cases: u32,
    play: impl FnMut(&[Step], Variant) -> Result<(), String>,
) -> Result<(), Failed> {
    let seed = chance::seed();
    let persistence = FileFailurePersistence::Direct(REGRESSIONS);
    let config = Config {
        cases: cases.saturating_mul(chance::times()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(persistence)),
        source_file: Some(file!()),
        ..Config::default()
    };
    let inputs = (histories(dialect), select(Variant::all()));
    // proptest shares its body; histories are played one after the other.
    let play = std::cell::RefCell::new(play);
    let outcome = TestRunner::new(config).run(&inputs, |(history, variant)| {
        (*play.borrow_mut())(&history, variant).map_err(TestCaseError::fail)
    });
    outcome.map_err(|error| format!("LINCHPIN_SEED={seed}: {error}").into())
}
