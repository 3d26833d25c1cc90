//! Looking through a data directory that no server has, and repairing it when told to.
//!
//! Everything is read that a start would read, and more: all snapshots, and every effect of the
//! log. What is found is one line each, with file and offset.
//!
//! A repair leaves a directory that starts, and says what that costs:
//!
//! | found | done |
//! |---|---|
//! | a snapshot that was not finished, segments and snapshots that a newer one replaces | removed |
//! | a torn tail, frames that build on changes that are in no log | cut, as a start would |
//! | the log ends before where it was closed | the loss is accepted |
//! | damage in the log | all from there on is copied to `lost-*.bin`, then cut off |
//! | a damaged snapshot that an older one and the log replace | renamed to `*.damaged` |
//! | anything else: no sound snapshot reaches the log, or the identity is damaged | nothing |
//!
//! Without being told to, nothing is written.
//!
//! LIMITATIONS: a segment is held in memory as a whole when frames behind damage are counted.

use super::disk::{self, Access, Disk, remove_if_there};
use super::error::{DIRECTORY, Error};
use super::frame::{self, Kind};
use super::identity::{Identity, NAME, Owner};
use super::segment::{self, End, LogError, Reader, Segment};
use super::snapshot::{self, Named, Part, SnapshotReader, Summary};
use super::snapshotting;
use crate::engine::{BadFrame, Effects};
use std::fmt;
use std::io;

const COPY_BYTES: usize = 1024 * 1024;
/// Where in a frame its version stands: looked at first, for a checksum costs more.
const VERSION_AT: usize = 16;

/// Said of damage that a repair would mend.
const CAN_REPAIR: &str = "nothing was changed. Restore the directory from a backup, or give \
    --repair, which cuts this out and keeps what it cuts";

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Sound,
    /// Left by a crash; the next start sees to it.
    Leftover,
    /// A start refuses the directory for this.
    Damage,
    /// Something was changed.
    Repaired,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sound => "sound",
            Self::Leftover => "leftover",
            Self::Damage => "damage",
            Self::Repaired => "repaired",
        })
    }
}

/// One line about the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub grade: Grade,
    /// What it is.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.grade, self.text)
    }
}

/// What was found, in the order of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One line each.
    pub findings: Vec<Finding>,
    /// Whether a server starts on it now.
    pub can_start: bool,
}

impl Report {
    /// 0 where a server starts on the directory, else 65.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.can_start { 0 } else { 65 }
    }

    fn add(&mut self, grade: Grade, text: impl Into<String>) {
        let text = text.into();
        self.findings.push(Finding { grade, text });
    }
}

/// A snapshot that was read through.
struct Good {
    named: Named,
    summary: Summary,
}

/// What was read of the log.
#[derive(Default)]
struct Scanned {
    /// Those that a snapshot replaces; they were not read.
    covered: Vec<Segment>,
    /// How many are not replaced by a snapshot.
    segments: usize,
    /// The one that was read last, and those behind it.
    open: Option<Segment>,
    later: Vec<Segment>,
    /// Number of the last frame before them.
    first: u64,
    end: End,
    /// Number of the frame behind its end, if that builds on changes that are in no log.
    gap: Option<u64>,
    /// Why the log cannot be read behind its end, if that is damage.
    damage: Option<Error>,
}

/// Looks through the directory, and repairs it if told to.
///
/// # Errors
///
/// Where another process has it, a newer program wrote it, or the disk fails.
pub fn check(disk: &dyn Disk, repair: bool) -> Result<Report, Error> {
    let _owner = Owner::take_to_read(disk)?;
    let mut report = Report::default();
    let identity = match Identity::load(disk) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            report.add(Grade::Sound, "no server has used this directory");
            report.can_start = true;
            return Ok(report);
        }
        Err(error @ Error::Corrupt { .. }) => {
            report.add(Grade::Damage, error.what());
            report.add(
                Grade::Damage,
                cannot_repair("nothing can be read without it"),
            );
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.add(Grade::Sound, about(&identity));
    for name in snapshot::unfinished(disk)? {
        let text = format!("{name}: a snapshot that was not finished");
        report.add(Grade::Leftover, text);
    }
    let (good, bad) = read_snapshots(disk, &identity, &mut report)?;
    let newest = good.last().map_or(0, |good| good.named.begin);
    let scanned = read_log(disk, &identity, newest, &mut report)?;
    let base = good.iter().rev().find(|good| reaches(good, &scanned));
    let can_go_on = base.is_some() || scanned.first == 0;
    // A start reads the newest alone; an older one may be damaged.
    let newest = good.iter().map(|good| &good.named).chain(&bad).max();
    let is_newest = newest == base.map(|base| &base.named);
    if !can_go_on || (!is_newest && scanned.damage.is_some()) {
        let what = "no sound snapshot reaches the sound part of the log";
        report.add(Grade::Damage, what);
        report.add(Grade::Damage, cannot_repair(what));
        return Ok(report);
    }
    report.can_start = is_newest && scanned.damage.is_none();
    if repair {
        let aside = bad.iter().chain(good.iter().map(|good| &good.named));
        let kept = base.map(|base| base.named.begin);
        let aside: Vec<&Named> = aside.filter(|named| Some(named.begin) > kept).collect();
        mend(disk, &scanned, &aside, &mut report)?;
        tidy(disk, &identity, kept, &mut report)?;
        accept_end(disk, identity, &scanned)?;
        report.can_start = true;
    } else if !report.can_start {
        report.add(Grade::Damage, CAN_REPAIR);
    }
    Ok(report)
}

fn cannot_repair(why: &str) -> String {
    format!("this cannot be repaired: {why}. Restore the directory from a backup")
}

fn about(identity: &Identity) -> String {
    let Identity {
        run,
        shards,
        databases,
        ..
    } = identity;
    let history = identity.history_text();
    format!("{NAME}: history {history}, {run} starts, {databases} databases of {shards} shards")
}

/// Whether snapshot and log together are one state.
fn reaches(good: &Good, scanned: &Scanned) -> bool {
    let is_alone = scanned.segments == 0;
    let number = if is_alone {
        good.named.begin
    } else {
        scanned.end.number
    };
    scanned.first <= good.named.begin && number >= good.summary.highest
}

/// Those that are sound, and those that are damaged; the newest last.
fn read_snapshots(
    disk: &dyn Disk,
    identity: &Identity,
    report: &mut Report,
) -> Result<(Vec<Good>, Vec<Named>), Error> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for named in snapshot::list(disk)?.into_iter().rev() {
        match read_snapshot(disk, &named, identity) {
            Ok(summary) => {
                let Summary {
                    parts,
                    items_bytes,
                    highest,
                } = summary;
                let (name, begin) = (&named.name, named.begin);
                let text = format!(
                    "{name}: {parts} parts, {items_bytes} bytes of entries, cut from frame {begin} \
                     to {highest}"
                );
                report.add(Grade::Sound, text);
                good.push(Good { named, summary });
            }
            Err(error @ Error::Corrupt { .. }) => {
                let is_replaced = !good.is_empty();
                let grade = if is_replaced {
                    Grade::Leftover
                } else {
                    Grade::Damage
                };
                report.add(grade, error.what());
                bad.push(named);
            }
            Err(error) => return Err(error),
        }
    }
    good.reverse();
    Ok((good, bad))
}

fn read_snapshot(disk: &dyn Disk, named: &Named, identity: &Identity) -> Result<Summary, Error> {
    let mut reader = SnapshotReader::open(disk, named, identity)?;
    let mut items = Vec::new();
    loop {
        let offset = reader.offset();
        match reader.next(&mut items)? {
            None => return Ok(reader.summary()),
            Some(Part::Map { .. }) => {}
            Some(Part::Shard(_)) => {
                if let Some(bad) = Effects::of(&items).find_map(Result::err) {
                    return Err(Error::corrupt(&named.name, offset, bad.to_string()));
                }
            }
        }
    }
}

/// Reads the log behind what the snapshot at `begin` replaces.
fn read_log(
    disk: &dyn Disk,
    identity: &Identity,
    begin: u64,
    report: &mut Report,
) -> Result<Scanned, Error> {
    let all = segment::list(disk).map_err(|source| Error::io(DIRECTORY, source))?;
    let covered = segment::covered(disk, identity.log_id(), &all, begin)?;
    if covered > 0 {
        let text = format!("{covered} segments that the snapshot replaces");
        report.add(Grade::Leftover, text);
    }
    let (covered, segments) = all.split_at_checked(covered).unwrap_or((&[], &all));
    let mut reader = Reader::over(disk, identity.log_id(), segments.to_vec());
    let (mut frames, mut marks) = (0u64, 0u64);
    let (mut gap, mut damage, mut end) = (None, None, None);
    loop {
        match reader.next() {
            Ok(None) => break,
            Ok(Some(entry)) if entry.kind != Kind::Effects => marks = marks.saturating_add(1),
            Ok(Some(entry)) => {
                let (position, number) = (entry.position, entry.number);
                // Of those up to the snapshot a start wants to know only that they are there.
                let is_needed = number > begin;
                gap = (is_needed && Effects::tell_of_a_gap(entry.payload)).then_some(number);
                let bad = || Effects::of(entry.payload).find_map(Result::err);
                // Behind a gap a start looks at nothing more.
                let bad = (is_needed && gap.is_none()).then(bad).flatten();
                if gap.is_some() || bad.is_some() {
                    damage = bad.map(|bad| bad_effects(&reader, position, &bad));
                    end = Some(reader.end_before(position, number));
                    break;
                }
                frames = frames.saturating_add(1);
            }
            Err(error @ (LogError::Corrupt { .. } | LogError::Foreign { .. })) => {
                damage = Some(error.into());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let is_whole = end.is_none() && damage.is_none();
    let end = end.unwrap_or_else(|| reader.end().clone());
    if is_whole {
        damage = identity.check_end(segments, end.position).err();
    }
    let first = reader.first_number().unwrap_or(begin);
    let scanned = Scanned {
        covered: covered.to_vec(),
        segments: segments.len(),
        open: reader.open_segment().cloned(),
        later: reader.unopened().cloned().collect(),
        first,
        end,
        gap,
        damage,
    };
    tell_log(&scanned, frames, marks, report);
    Ok(scanned)
}

/// What there is to say of the log, which has so many frames and marks.
fn tell_log(scanned: &Scanned, frames: u64, marks: u64, report: &mut Report) {
    let Scanned {
        segments,
        first,
        open,
        end,
        gap,
        damage,
        ..
    } = scanned;
    let number = end.number;
    let how = if end.is_closed {
        "closed"
    } else {
        "not closed"
    };
    report.add(
        Grade::Sound,
        format!(
            "log: {segments} segments, {frames} frames behind frame {first} up to {number}, \
             {marks} marks, {how}"
        ),
    );
    if let Some(torn) = &end.torn {
        let (file, offset, len) = (&torn.file, torn.offset, torn.bytes_len);
        let reason = torn.reason;
        let text = format!("{file}: a torn tail of {len} bytes from byte {offset} on: {reason}");
        report.add(Grade::Leftover, text);
    }
    if let (Some(gap), Some(open)) = (gap, open) {
        let (file, offset) = (&open.name, end.position.saturating_sub(open.base));
        let text = format!(
            "{file}: from frame {gap} on, at byte {offset}, the log builds on changes that are in \
             no log: the journal was switched on, and no snapshot was written after that. A start \
             cuts it there, and has the state of frame {number}"
        );
        report.add(Grade::Leftover, text);
    }
    if let Some(damage) = damage {
        report.add(Grade::Damage, damage.what());
    }
}

/// A frame at `position` that holds something that is no effect.
fn bad_effects(reader: &Reader<'_>, position: u64, bad: &BadFrame) -> Error {
    let at = |segment: &Segment| (segment.name.clone(), segment.base);
    let (name, base) = reader
        .open_segment()
        .map_or_else(|| (DIRECTORY.to_owned(), 0), at);
    let offset = position.saturating_sub(base);
    Error::corrupt(&name, offset, bad.to_string())
}

/// Makes the log end where it is sound, and puts snapshots aside that are not to be used.
fn mend(
    disk: &dyn Disk,
    scanned: &Scanned,
    aside: &[&Named],
    report: &mut Report,
) -> Result<(), Error> {
    let position = scanned.end.position;
    if scanned.damage.is_some() {
        let lost = keep_lost(disk, scanned)?;
        let Lost {
            name,
            bytes,
            frames,
        } = lost;
        report.add(
            Grade::Repaired,
            format!(
                "the log was cut behind frame {}: {frames} sound frames and {bytes} bytes are \
                 lost, and kept in {name}",
                scanned.end.number
            ),
        );
    } else if let Some(torn) = &scanned.end.torn {
        let text = format!(
            "{}: the torn tail of {} bytes was cut",
            torn.file, torn.bytes_len
        );
        report.add(Grade::Repaired, text);
    } else if scanned.gap.is_some() {
        let number = scanned.end.number;
        let text = format!("the log was cut behind frame {number}, where a start cuts it");
        report.add(Grade::Repaired, text);
    }
    if scanned.damage.is_some() {
        // What the cut leaves may no longer say that they are replaced, and is not sound then.
        for segment in &scanned.covered {
            disk.remove(&segment.name)
                .map_err(|source| Error::io(&segment.name, source))?;
        }
        // They may overlap what was read; the newest go first, so that a crash leaves no gap.
        for segment in scanned.later.iter().rev() {
            disk.remove(&segment.name)
                .and_then(|()| disk.sync_dir())
                .map_err(|source| Error::io(&segment.name, source))?;
        }
    }
    segment::cut(disk, position)?;
    for named in aside {
        let to = format!("{}.damaged", named.name);
        disk.rename(&named.name, &to)
            .and_then(|()| disk.sync_dir())
            .map_err(|source| Error::io(&named.name, source))?;
        let text = format!("{}: renamed to {to}; the log replaces it", named.name);
        report.add(Grade::Repaired, text);
    }
    Ok(())
}

/// Removes what is of no use; `begin` is that of the snapshot that counts.
fn tidy(
    disk: &dyn Disk,
    identity: &Identity,
    begin: Option<u64>,
    report: &mut Report,
) -> Result<(), Error> {
    for name in snapshot::unfinished(disk)? {
        remove_if_there(disk, &name).map_err(|source| Error::io(&name, source))?;
        report.add(Grade::Repaired, format!("{name}: removed"));
    }
    match begin {
        Some(begin) => snapshotting::remove_replaced(disk, identity, begin),
        None => Ok(()),
    }
}

/// Last of all, lets a log that was cut end where it ends now.
fn accept_end(disk: &dyn Disk, mut identity: Identity, scanned: &Scanned) -> Result<(), Error> {
    if scanned.end.position >= identity.closed_at {
        return Ok(());
    }
    identity.closed_at = 0;
    identity.store(disk)
}

/// What a cut takes away.
struct Lost {
    name: String,
    bytes: u64,
    frames: u64,
}

/// Copies all from the end of the log on into a file of its own, and makes that safe.
fn keep_lost(disk: &dyn Disk, scanned: &Scanned) -> Result<Lost, Error> {
    let position = scanned.end.position;
    let name = format!("lost-{position:016x}.bin");
    let io_error = |source: io::Error| Error::io(&name, source);
    remove_if_there(disk, &name).map_err(io_error)?;
    let into = disk.create(&name).map_err(io_error)?;
    let (mut bytes, mut frames, mut written) = (0u64, 0u64, 0u64);
    let later = scanned.later.iter().map(|segment| (segment, 0));
    let open = scanned.open.iter();
    let open = open.map(|segment| (segment, position.saturating_sub(segment.base)));
    for (segment, start) in open.chain(later) {
        let lost = read_from(disk, &segment.name, start)?;
        disk::write_all_at(&*into, written, &lost).map_err(io_error)?;
        written = written.saturating_add(lost.len() as u64);
        // Zeros at the end of a file were written ahead.
        let used = lost.iter().rposition(|byte| *byte != 0);
        bytes = bytes.saturating_add(used.map_or(0, |last| (last as u64).saturating_add(1)));
        frames = frames.saturating_add(frames_in(&lost));
    }
    into.sync()
        .and_then(|()| disk.sync_dir())
        .map_err(io_error)?;
    Ok(Lost {
        name,
        bytes,
        frames,
    })
}

/// How many frames of effects in there are sound, wherever they begin.
fn frames_in(bytes: &[u8]) -> u64 {
    let (mut at, mut count) = (0usize, 0u64);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let has_version = rest.get(VERSION_AT) == Some(&frame::VERSION);
        let found = has_version.then(|| frame::parse(rest).ok()).flatten();
        let len = match found {
            Some(frame) => {
                count = count.saturating_add(u64::from(frame.kind == Kind::Effects));
                usize::try_from(frame.bytes_len()).unwrap_or(usize::MAX)
            }
            None => 1,
        };
        at = at.saturating_add(len);
    }
    count
}

fn read_from(disk: &dyn Disk, name: &str, start: u64) -> Result<Vec<u8>, Error> {
    let io_error = |source| Error::io(name, source);
    let file = disk.open(name, Access::Read).map_err(io_error)?;
    let mut bytes = Vec::new();
    loop {
        let have = bytes.len();
        bytes.resize(have.saturating_add(COPY_BYTES), 0);
        let into = bytes.get_mut(have..).unwrap_or_default();
        let offset = start.saturating_add(have as u64);
        let read = disk::read_full_at(&*file, offset, into).map_err(io_error)?;
        bytes.truncate(have.saturating_add(read));
        if read < COPY_BYTES {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
