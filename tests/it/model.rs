//! Random histories against a plain model and against redis-server, byte for byte.
//!
//! A history is what three connections send, one of them in RESP3, and the time that passes. It is
//! played to our server in process and to a plain model (`plain.rs`), or to redis-server over TCP.
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
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};

use self::history::{Dialect, Step, histories};
use self::oracle::Oracle;
use self::play::Play;
use crate::chance;
use crate::need::{self, Program};

const CASES: u32 = 1_000;
const REGRESSIONS: &str = "tests/it/model/regressions.txt";

/// The trials: the model with as many shards as there are by default and with two, and the oracle.
pub(crate) fn trials() -> Vec<Trial> {
    let plain = |shards| {
        move || {
            run(Dialect::Ours, |history| {
                Play::new(shards, None).history(history)
            })
        }
    };
    vec![
        Trial::test("model::plain", plain(256)),
        Trial::test("model::plain_with_two_shards", plain(2)),
        need::trial("model::redis", &[Program::RedisServer], || {
            let mut oracle = Oracle::start()?;
            run(Dialect::Redis, move |history| {
                oracle.reset()?;
                Play::new(256, Some(&mut oracle)).history(history)
            })
        }),
    ]
}

/// Plays random histories until one fails, and then shorter ones that fail as well.
fn run(dialect: Dialect, play: impl FnMut(&[Step]) -> Result<(), String>) -> Result<(), Failed> {
    let seed = chance::seed();
    let persistence = FileFailurePersistence::Direct(REGRESSIONS);
    let config = Config {
        cases: CASES.saturating_mul(chance::times()),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(persistence)),
        source_file: Some(file!()),
        ..Config::default()
    };
    // proptest shares its body; histories are played one after the other.
    let play = std::cell::RefCell::new(play);
    let outcome = TestRunner::new(config).run(&histories(dialect), |history| {
        (*play.borrow_mut())(&history).map_err(proptest::test_runner::TestCaseError::fail)
    });
    outcome.map_err(|error| format!("LINCHPIN_SEED={seed}: {error}").into())
}
