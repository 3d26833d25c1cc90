//! Every command the server has, and every subcommand, is in some transcript.

use std::collections::{BTreeMap, BTreeSet};

use super::target::{Target, Until};
use super::transcript::{Action, Transcript};
use crate::resp;

/// Asks the server what commands it has and names those that no transcript sends.
pub(crate) fn check(
    target: &mut dyn Target,
    transcripts: &BTreeMap<String, Transcript>,
) -> Result<(), String> {
    let sent: BTreeSet<String> = transcripts
        .values()
        .flat_map(|transcript| &transcript.items)
        .filter_map(|item| match &item.action {
            Action::Command(line) => Some(line.to_lowercase()),
            _ => None,
        })
        .flat_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let command = words.next().unwrap_or_default();
            let subcommand = words.next().map(|word| format!("{command}|{word}"));
            std::iter::once(command).chain(subcommand)
        })
        .collect();
    let missing: Vec<String> = names(target)?
        .into_iter()
        .filter(|name| !sent.contains(name))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("no transcript for {}", missing.join(", "))),
    }
}

/// The names of all commands, subcommands as `client|id`.
fn names(target: &mut dyn Target) -> Result<BTreeSet<String>, String> {
    let conn = target.connect()?;
    let mut ask = |words: &[&str]| {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        target.send(conn, &resp::encode(&words));
        let replies = target.receive(conn, Until::Lines(1))?;
        let lines = replies.iter().flat_map(resp::Reply::lines);
        // Of an array of bulks every other line, from the third on, is a payload.
        Ok::<Vec<String>, String>(lines.skip(2).step_by(2).collect())
    };
    let mut names: BTreeSet<String> = ask(&["COMMAND", "LIST"])?.into_iter().collect();
    // COMMAND LIST leaves subcommands out unless a pattern asks for them.
    names.extend(ask(&["COMMAND", "LIST", "FILTERBY", "PATTERN", "*|*"])?);
    match names.is_empty() {
        true => Err("COMMAND LIST names nothing".to_owned()),
        false => Ok(names),
    }
}
