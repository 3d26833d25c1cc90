//! IDs seen from outside: servers that are killed while clients take IDs, clocks that step, and
//! whether other people's libraries read what is given out.

mod kills;
pub(crate) mod processes;
mod settings;
mod steps;

use libtest_mimic::Trial;

use crate::client::Client;
use libtest_mimic::Failed;

/// All trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_of("ids::kills", kills::CASES);
    trials.extend(kills::trials());
    trials.extend(crate::trials_of("ids::processes", processes::CASES));
    trials.extend(crate::trials_of("ids::settings", settings::CASES));
    trials.extend(steps::trials());
    trials
}

/// The IDs of a reply with COUNT, in order; none where it is an error.
fn taken(client: &mut Client, line: &str) -> Result<Vec<String>, Failed> {
    let text = client.call(line)?;
    if !text.starts_with('*') {
        return Ok(Vec::new());
    }
    let is_id = |word: &&str| !word.starts_with(['*', '$']);
    Ok(text.split(' ').filter(is_id).map(str::to_owned).collect())
}
