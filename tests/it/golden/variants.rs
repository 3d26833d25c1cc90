//! Every transcript again, with the server run in other ways: the replies are the same.
//!
//! A transcript in which a reply does show how the server is run says so at its top
//! (`! without lfu <reason>`), and is played without that. It must need to be: a transcript whose
//! replies are the same after all fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::inproc::InProcess;
use super::run::{self, Mode};
use super::transcript::Transcript;
use crate::process::Server;
use crate::variant::Variant;

/// Plays `transcript` in this process in the ways of this turn, in one protocol version each.
pub(crate) fn check_in_process(transcript: &Transcript, turn: usize) -> Result<(), String> {
    for (at, variant) in Variant::round(turn).into_iter().enumerate() {
        if plays(transcript, variant) {
            // In the turns after a whole go at all variants, each meets the other version.
            let protocol = protocol(transcript, at + turn / Variant::TURNS);
            play(transcript, variant, protocol).map_err(|error| format!("{variant}: {error}"))?;
        }
    }
    let Some(aspect) = transcript.without else {
        return Ok(());
    };
    let shows = |variant| {
        let mut protocols = run::protocols(transcript);
        protocols.any(|protocol| play(transcript, variant, protocol).is_err())
    };
    let mut variants = Variant::all().into_iter();
    match variants.any(|variant| aspect.is_in(variant) && shows(variant)) {
        true => Ok(()),
        false => Err(format!("`! without {}` is not needed", aspect.name())),
    }
}

/// Plays `transcript` against processes with one and with four workers, each with a policy and in a
/// protocol version that `turn` chooses.
pub(crate) fn check_over_tcp(transcript: &Transcript, turn: usize) -> Result<(), String> {
    for (at, workers) in [1, 4].into_iter().enumerate() {
        let mut variants = Variant::all();
        variants.retain(|variant| {
            let is_process = variant.shards == Variant::PLAIN.shards;
            is_process && variant.workers == workers && plays(transcript, *variant)
        });
        // There is always the one without a policy.
        let variant = variants[turn % variants.len()];
        let settings = variant.settings(&transcript.settings);
        let mode = Mode {
            protocol: protocol(transcript, turn + at),
            is_in_process: false,
            oracle: None,
        };
        run::check_over_tcp(transcript, mode, || Server::linchpin(&settings))
            .map_err(|error| format!("{variant}: {error}"))?;
    }
    Ok(())
}

/// One of the protocol versions that `transcript` is played in.
fn protocol(transcript: &Transcript, number: usize) -> u8 {
    let is_second = number % 2 == 1;
    let protocols = run::protocols(transcript);
    if is_second {
        *protocols.end()
    } else {
        *protocols.start()
    }
}

/// Whether the transcript is to have the same replies with the server run in this way.
fn plays(transcript: &Transcript, variant: Variant) -> bool {
    !transcript
        .without
        .is_some_and(|aspect| aspect.is_in(variant))
}

/// Plays `transcript` in this process.
fn play(transcript: &Transcript, variant: Variant, protocol: u8) -> Result<(), String> {
    let mode = Mode {
        protocol,
        is_in_process: true,
        oracle: None,
    };
    let mut target = InProcess::new(&transcript.settings, variant)?;
    // Caught, for whoever reads of a panic must learn how the server was run.
    catch_unwind(AssertUnwindSafe(|| {
        run::check(transcript, &mut target, mode)
    }))
    .unwrap_or_else(|_| Err("panicked; what it said is above".to_owned()))
}
