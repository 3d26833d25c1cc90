//! A transcript played against a target, step by step: checked, or written anew.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::target::{Target, Tcp, Until};
use super::transcript::{Action, Extent, Item, Transcript, Version, capture, matches, merge};
use crate::process::Server;
use crate::resp::{Reply, encode};

/// The longest `advance` that is a real pause outside this process.
pub(crate) const PAUSE_MS_MAX: u64 = 50;
/// How often a transcript with pauses is played whose deadlines passed while the machine stood
/// still.
const PLAYS_MAX: usize = 10;

/// Against what, and in which protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// 2 or 3.
    pub(crate) protocol: u8,
    /// Time is a number here, not something to wait for.
    pub(crate) is_in_process: bool,
    /// The version of the Redis that is asked; `None` is our own server.
    pub(crate) oracle: Option<Version>,
}

/// Which items of a transcript a mode plays: the first so many, without those that differ.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Whether each item is played (`Some`), and its reply compared (`Some(true)`).
    items: Vec<Option<bool>>,
}

impl Scope {
    /// The scope of `mode` in `transcript`.
    pub(crate) fn new(transcript: &Transcript, mode: Mode) -> Scope {
        let mut items = Vec::with_capacity(transcript.items.len());
        let mut is_over = false;
        let mut differs = Extent::End;
        for item in &transcript.items {
            match &item.action {
                Action::Advance(ms) if *ms > PAUSE_MS_MAX => is_over |= !mode.is_in_process,
                Action::OracleVersion(version, _) => {
                    is_over |= mode.oracle.is_some_and(|oracle| oracle < *version);
                }
                Action::OracleNone(_) => is_over |= mode.oracle.is_some(),
                Action::Differs(_, extent) if mode.oracle.is_some() => differs = *extent,
                _ => {}
            }
            let is_push_in_2 = item.action == Action::Push && mode.protocol == 2;
            let is_left_out = is_over || is_push_in_2 || differs == Extent::Begin;
            items.push((!is_left_out).then_some(differs == Extent::End));
            if item.has_replies() && differs == Extent::Next {
                differs = Extent::End;
            }
        }
        Scope { items }
    }

    /// How many steps are compared.
    pub(crate) fn compared(&self, transcript: &Transcript) -> usize {
        transcript
            .items
            .iter()
            .zip(&self.items)
            .filter(|(item, scope)| item.has_replies() && **scope == Some(true))
            .count()
    }
}

/// Plays `transcript` and compares every reply that `mode` has in common with it.
pub(crate) fn check(
    transcript: &Transcript,
    target: &mut dyn Target,
    mode: Mode,
) -> Result<(), String> {
    if let Some(item) = transcript.unfinished() {
        return Err(format!(
            "line {}: no reply expected; write `! none`",
            item.number
        ));
    }
    Play::new(target, transcript, mode).run(transcript, mode, &mut |item, replies| {
        let expected = item.expected_in(mode.protocol);
        match matches(expected, replies)? {
            true => Ok(()),
            false => Err(format!(
                "expected (RESP{})\n{}\n------ got\n{}\n------",
                mode.protocol,
                expected.join("\n"),
                replies.join("\n")
            )),
        }
    })
}

/// The same over TCP, against a server of its own that `start` starts. Time is real there: if a
/// play with pauses fails in which the machine stood still, it says nothing, and is done again.
pub(crate) fn check_over_tcp(
    transcript: &Transcript,
    mode: Mode,
    mut start: impl FnMut() -> Result<Server, String>,
) -> Result<(), String> {
    let is_pause = |item: &Item| matches!(item.action, Action::Advance(_));
    let has_pauses = transcript.items.iter().any(is_pause);
    let mut plays = 0;
    loop {
        let mut target = Tcp::new(start()?);
        let outcome = check(transcript, &mut target, mode);
        plays += 1;
        let is_void = outcome.is_err() && has_pauses && target.stood_still();
        if !is_void || plays == PLAYS_MAX {
            return outcome;
        }
    }
}

/// Plays `transcript` in RESP2, then in RESP3, and rewrites its expectations.
pub(crate) fn update<'t>(
    transcript: &mut Transcript,
    mut target: impl FnMut() -> Result<Box<dyn Target + 't>, String>,
    mode: Mode,
) -> Result<(), String> {
    for protocol in protocols(transcript) {
        let mut actual = HashMap::new();
        let mode = Mode { protocol, ..mode };
        play_for_update(transcript, target()?.as_mut(), mode, &mut actual)?;
        for item in &mut transcript.items {
            let Some(lines) = actual.get(&item.number) else {
                continue;
            };
            match protocol {
                2 => item.expected = merge(&item.expected, lines)?,
                _ if matches(&item.expected, lines)? => item.expected3 = None,
                _ => {
                    let old = item.expected3.take().unwrap_or_default();
                    item.expected3 = Some(merge(&old, lines)?);
                }
            }
        }
    }
    mark_silent_steps(transcript);
    Ok(())
}

/// The protocol versions a transcript is played in.
pub(crate) fn protocols(transcript: &Transcript) -> RangeInclusive<u8> {
    2..=if transcript.is_resp2_only { 2 } else { 3 }
}

fn play_for_update(
    transcript: &Transcript,
    target: &mut dyn Target,
    mode: Mode,
    actual: &mut HashMap<usize, Vec<String>>,
) -> Result<(), String> {
    let mut play = Play::new(target, transcript, mode);
    play.is_update = true;
    play.run(transcript, mode, &mut |item, replies| {
        actual.insert(item.number, replies.to_vec());
        Ok(())
    })
}

/// Puts `! none` under the steps that turned out to have no reply.
fn mark_silent_steps(transcript: &mut Transcript) {
    let items = std::mem::take(&mut transcript.items);
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        let is_silent = item.expected.is_empty() && item.expected3.is_none();
        let is_silent = is_silent && item.has_replies();
        let is_marked = items.peek().is_some_and(|next| next.action == Action::None);
        let number = item.number;
        transcript.items.push(item);
        if is_silent && !is_marked {
            transcript.items.push(Item {
                number,
                text: "! none".to_owned(),
                action: Action::None,
                expected: Vec::new(),
                expected3: None,
            });
        }
    }
}

type Judge<'a> = dyn FnMut(&Item, &[String]) -> Result<(), String> + 'a;

/// One run of a transcript: which connections are open, and what the last directive asked for.
struct Play<'a> {
    target: &'a mut dyn Target,
    protocol: u8,
    conns: HashMap<String, usize>,
    current: String,
    /// The lines of the last reply, and what `! save` kept of such.
    last: Vec<String>,
    saved: HashMap<String, String>,
    /// Elements are sorted in groups of so many before the next comparison.
    sorted: Option<usize>,
    /// Everything that comes is wanted, not just as much as is expected.
    is_update: bool,
    /// The step's reply counts; else it is another than expected, and of unknown length.
    is_compared: bool,
}

impl<'a> Play<'a> {
    fn new(target: &'a mut dyn Target, transcript: &Transcript, mode: Mode) -> Play<'a> {
        Play {
            target,
            protocol: if transcript.is_resp2_only {
                2
            } else {
                mode.protocol
            },
            conns: HashMap::new(),
            current: "a".to_owned(),
            last: Vec::new(),
            saved: HashMap::new(),
            sorted: None,
            is_update: false,
            is_compared: true,
        }
    }

    fn run(
        mut self,
        transcript: &Transcript,
        mode: Mode,
        judge: &mut Judge<'_>,
    ) -> Result<(), String> {
        let scope = Scope::new(transcript, mode);
        for (item, scope) in transcript.items.iter().zip(scope.items) {
            let Some(is_compared) = scope else { continue };
            let context = |error: String| format!("line {}: {}\n{error}", item.number, item.text);
            self.is_compared = is_compared;
            match self.step(item).map_err(context)? {
                Some(lines) if is_compared => judge(item, &lines).map_err(context)?,
                _ => {}
            }
        }
        self.finish()
    }

    /// Does what `item` asks; the reply lines if it awaits any.
    fn step(&mut self, item: &Item) -> Result<Option<Vec<String>>, String> {
        match &item.action {
            Action::Command(_) | Action::Raw(_) | Action::Push => {
                let conn = self.conn()?;
                let bytes = item.bytes(&self.saved)?;
                self.target.send(conn, &bytes);
                self.last = self.receive(conn, item)?;
                return Ok(Some(self.last.clone()));
            }
            Action::Save(name, pattern) => {
                self.saved
                    .insert(name.clone(), capture(pattern, &self.last)?);
            }
            Action::Closed => {
                let conn = self.conn()?;
                if !self.target.is_closed(conn) {
                    return Err("the connection stays open".to_owned());
                }
            }
            Action::Conn(name) => {
                self.current.clone_from(name);
                self.conn()?;
            }
            Action::New => {
                if let Some(conn) = self.conns.remove(&self.current) {
                    self.close(conn)?;
                }
                self.conn()?;
            }
            Action::Advance(ms) => self.target.advance(*ms)?,
            Action::Sorted(group) => self.sorted = Some(*group),
            Action::Nothing | Action::None | Action::Differs(..) => {}
            Action::OracleVersion(..) | Action::OracleNone(_) => {}
        }
        Ok(None)
    }

    /// The current connection, opened (and put into RESP3 by HELLO) on first use.
    fn conn(&mut self) -> Result<usize, String> {
        if let Some(conn) = self.conns.get(&self.current) {
            return Ok(*conn);
        }
        let conn = self.target.connect()?;
        self.conns.insert(self.current.clone(), conn);
        if self.protocol == 3 {
            self.target
                .send(conn, &encode(&[b"HELLO".to_vec(), b"3".to_vec()]));
            let replies = self.target.receive(conn, Until::Lines(1))?;
            let lines = lines_of(&replies);
            if !lines.first().is_some_and(|header| header.starts_with('%')) {
                return Err(format!("HELLO 3 answered {lines:?}"));
            }
        }
        Ok(conn)
    }

    fn receive(&mut self, conn: usize, item: &Item) -> Result<Vec<String>, String> {
        let until = match self.is_update || !self.is_compared {
            true => Until::Quiet,
            false => Until::Lines(item.expected_in(self.protocol).len()),
        };
        let mut replies = self.target.receive(conn, until)?;
        if let Some(group) = self.sorted.take() {
            replies.iter_mut().for_each(|reply| reply.sort(group));
        }
        Ok(lines_of(&replies))
    }

    fn finish(mut self) -> Result<(), String> {
        let conns: Vec<usize> = self.conns.drain().map(|(_, conn)| conn).collect();
        for conn in conns {
            self.close(conn)?;
        }
        self.target.finish()
    }

    fn close(&mut self, conn: usize) -> Result<(), String> {
        let left = self.target.close(conn)?;
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("more replies than expected: {:?}", lines_of(&left))),
        }
    }
}

fn lines_of(replies: &[Reply]) -> Vec<String> {
    replies.iter().flat_map(Reply::lines).collect()
}
