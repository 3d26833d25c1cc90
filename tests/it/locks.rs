//! Locks and what goes with them, seen from outside: real processes, real sockets, a real disk,
//! with servers and clients that are killed, stopped and cut off.

mod connections;
pub(crate) mod counter;
mod decisions;
mod histories;
mod leftovers;
mod model;
mod queues;
mod restart;

use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::client::{Client, check};

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("locks::restart", restart::CASES);
    trials.extend(crate::trials_of("locks::counter", counter::CASES));
    trials.extend(crate::trials_of("locks::connections", connections::CASES));
    trials.extend(crate::trials_of("locks::histories", histories::CASES));
    trials.extend(crate::trials_of("locks::decisions", decisions::CASES));
    trials.extend(decisions::slow_trials());
    trials.extend(crate::trials_of("locks::leftovers", leftovers::CASES));
    trials.extend(queues::trials());
    trials.extend(restart::clock_trials());
    trials
}

/// What a command that asks for a hold is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    status: i64,
    fence: i64,
    /// What is left in milliseconds; of a semaphore, the permits that are free.
    third: i64,
}

impl Answer {
    fn read(text: &str) -> Option<Answer> {
        let mut numbers = text.split(' ').skip(1).map_while(|word| {
            let digits = word.strip_prefix(':')?;
            digits.parse().ok()
        });
        Some(Answer {
            status: numbers.next()?,
            fence: numbers.next()?,
            third: numbers.next()?,
        })
    }
}

/// Asks for a hold.
fn ask(client: &mut Client, line: &str) -> Result<Answer, Failed> {
    let text = client.call(line)?;
    Answer::read(&text).ok_or_else(|| format!("{line}: {text}").into())
}

/// Asks for a hold, which must be answered with this status; the fence of the reply.
fn ask_for(client: &mut Client, line: &str, status: i64) -> Result<i64, Failed> {
    let answer = ask(client, line)?;
    check(answer.status == status, || {
        format!("{line}: {answer:?}, not status {status}")
    })?;
    Ok(answer.fence)
}

/// Opens a session and answers its secret name.
fn open_session(client: &mut Client, options: &str) -> Result<String, Failed> {
    let text = client.call(&format!("SESSION.OPEN {options}"))?;
    let sid = text.strip_prefix("$32 ");
    let sid = sid.ok_or_else(|| format!("SESSION.OPEN {options}: {text}"))?;
    Ok(sid.to_owned())
}

/// Lets real time pass.
fn pause(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}
