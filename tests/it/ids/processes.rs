//! Eight processes take IDs of every kind while their server is killed again and again: of all that
//! anybody was ever told, in replies that came whole or not, nothing comes twice, and to each
//! process it rises, over all its connections.
//!
//! Each is this very program, started again with [`ROLE`] in its environment. It writes down an ID
//! as soon as it has read it. The server is killed when the files have grown to places that chance
//! has chosen, so that it is always in the midst of giving out more.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::Case;
use crate::chance::{self, Dice};
use crate::client::{check, eventually};
use crate::durability::{Data, kill, stop};
use crate::process::{Server, TempDir};

pub(super) const CASES: &[Case] = &[
    ("eight_processes_are_told_nothing_twice", || {
        play_all(&["--appendfsync", "everysec"], KINDS)
    }),
    ("eight_processes_without_a_journal", || {
        play_all(&["--appendonly", "no"], &KINDS[..KINDS_THAT_RISE])
    }),
];

/// The variable that makes this program one of the processes.
const ROLE: &str = "IDS_TAKER_ROLE";
const PROCESSES: usize = 8;
/// How many of each kind a process takes; `LINCHPIN_CASES` multiplies them: 20 makes a million.
const GOAL: u64 = 50_000;
/// How often the server is killed, and once more for each of `LINCHPIN_CASES`.
const KILLS: u32 = 2;
/// Of so many at a time, in turn.
const COUNTS: [u64; 4] = [1, 7, 100, 1_000];
/// How long one kill waits for the next place, and all processes for their end.
const RUN_MAX: Duration = Duration::from_secs(240);
/// How long a reply may take: a server that was killed and started again is ahead of the clock.
const REPLY_MAX: Duration = Duration::from_secs(20);
/// Until somebody who found no server looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is asked for, and how it is written down: records of one length, which begin with their
/// lowest number or ID and end with the highest.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    line: &'static str,
    /// Bytes of an ID.
    len: usize,
    /// IDs of a record: two of a range, its first and its last.
    per_record: usize,
    rises: bool,
}

impl Kind {
    const fn ids(name: &'static str, line: &'static str, len: usize) -> Kind {
        Kind {
            name,
            line,
            len,
            per_record: 1,
            rises: true,
        }
    }

    fn record_len(&self) -> usize {
        self.len * self.per_record
    }

    /// Whether everything in the record `later` is above everything in `earlier`.
    fn is_above(&self, later: &[u8], earlier: &[u8]) -> bool {
        later[..self.len] > earlier[earlier.len() - self.len..]
    }
}

const KINDS: &[Kind] = &[
    Kind::ids("snowflake", "ID.NEXT SNOWFLAKE AS HEX COUNT", 16),
    Kind::ids("uuid7", "ID.NEXT UUID7 COUNT", 36),
    Kind::ids("ulid", "ID.NEXT ULID COUNT", 26),
    Kind::ids("ksuid", "ID.NEXT KSUID COUNT", 27),
    Kind {
        per_record: 2,
        ..Kind::ids("range", "ID.RANGE range COUNT", 20)
    },
    Kind {
        rises: false,
        ..Kind::ids("code", "ID.SHORT codes COUNT", 7)
    },
];
/// The first so many need no journal.
const KINDS_THAT_RISE: usize = 4;

/// The file in which a process writes down what it was told.
fn path(folder: &Path, kind: &Kind, process: usize) -> PathBuf {
    folder.join(format!("{}.{process}", kind.name))
}

/// One process, and what it has of one kind.
struct Taker {
    kind: &'static Kind,
    file: BufWriter<File>,
    last: Vec<u8>,
    taken: u64,
}

impl Taker {
    fn new(folder: &Path, kind: &'static Kind, process: usize) -> Result<Taker, Failed> {
        Ok(Taker {
            kind,
            file: BufWriter::new(File::create(path(folder, kind, process))?),
            last: Vec::new(),
            taken: 0,
        })
    }

    /// Asks for so many. None where the server is gone, of which some may have been told before.
    fn take(&mut self, server: &mut BufReader<TcpStream>, count: u64) -> Result<(), Ended> {
        let line = format!("{} {count}\r\n", self.kind.line);
        server.get_mut().write_all(line.as_bytes())?;
        let head = read_line(server)?;
        let elements = head.strip_prefix('*').and_then(|head| head.parse().ok());
        let elements: usize = elements.ok_or(Ended::Wrong(head))?;
        let mut record = Vec::new();
        for _ in 0..elements {
            read_element(server, self.kind.len, &mut record)?;
            if record.len() == self.kind.record_len() {
                self.note(&record)?;
                record.clear();
            }
        }
        self.taken += count;
        Ok(self.file.flush()?)
    }

    fn note(&mut self, record: &[u8]) -> Result<(), Ended> {
        let is_above = self.last.is_empty() || self.kind.is_above(record, &self.last);
        if self.kind.rises && !is_above {
            let text = [record, &self.last].map(String::from_utf8_lossy);
            return Err(Ended::Wrong(format!("{} after {}", text[0], text[1])));
        }
        self.last.clear();
        self.last.extend_from_slice(record);
        Ok(self.file.write_all(record)?)
    }
}

/// Why no more is read.
enum Ended {
    /// The server is gone.
    Gone,
    /// This is not what it may say.
    Wrong(String),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Ended::Wrong("no reply".to_owned()),
            _ => Ended::Gone,
        }
    }
}

fn read_line(server: &mut BufReader<TcpStream>) -> Result<String, Ended> {
    let mut line = String::new();
    server.read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or(Ended::Gone)?;
    Ok(line.to_owned())
}

/// Adds an element to a record: a string of `len` bytes, or a number in as many digits.
fn read_element(
    server: &mut BufReader<TcpStream>,
    len: usize,
    record: &mut Vec<u8>,
) -> Result<(), Ended> {
    let head = read_line(server)?;
    if let Some(number) = head.strip_prefix(':') {
        record.extend_from_slice(format!("{number:0>len$}").as_bytes());
    } else if head.strip_prefix('$') == Some(&len.to_string()) {
        let start = record.len();
        record.resize(start + len, 0);
        server.read_exact(&mut record[start..])?;
        read_line(server)?;
    } else {
        return Err(Ended::Wrong(head));
    }
    Ok(())
}

/// Plays the part that the environment names, if it names one.
pub(crate) fn play() -> Option<Result<(), Failed>> {
    let role = std::env::var(ROLE).ok()?;
    let mut words = role.splitn(4, ' ');
    let mut number = || words.next()?.parse().ok();
    let numbers = (number(), number(), number());
    let (Some(process), Some(kinds), Some(goal)) = numbers else {
        return Some(Err(format!("{ROLE}: {role}").into()));
    };
    let folder = Path::new(words.next().unwrap_or("."));
    Some(take_all(folder, process, kinds, goal as u64))
}

/// Takes of the first so many kinds until there are so many of each.
fn take_all(folder: &Path, process: usize, kinds: usize, goal: u64) -> Result<(), Failed> {
    let takers = KINDS[..kinds].iter();
    let takers = takers.map(|kind| Taker::new(folder, kind, process));
    let mut takers = takers.collect::<Result<Vec<_>, _>>()?;
    let mut counts = COUNTS.into_iter().cycle().skip(process);
    while takers.iter().any(|taker| taker.taken < goal) {
        std::thread::sleep(LOOK_AGAIN);
        let port = std::fs::read_to_string(folder.join("port"))?;
        let Ok(server) = TcpStream::connect(format!("127.0.0.1:{port}")) else {
            continue;
        };
        server.set_nodelay(true)?;
        server.set_read_timeout(Some(REPLY_MAX))?;
        match take_from(&mut BufReader::new(server), &mut takers, &mut counts, goal) {
            Ok(()) | Err(Ended::Gone) => {}
            Err(Ended::Wrong(what)) => return Err(format!("process {process}: {what}").into()),
        }
        for taker in &mut takers {
            taker.file.flush()?;
        }
    }
    Ok(())
}

fn take_from(
    server: &mut BufReader<TcpStream>,
    takers: &mut [Taker],
    counts: &mut impl Iterator<Item = u64>,
    goal: u64,
) -> Result<(), Ended> {
    while takers.iter().any(|taker| taker.taken < goal) {
        let count = counts.next().unwrap_or(1);
        for taker in takers.iter_mut().filter(|taker| taker.taken < goal) {
            taker.take(server, count)?;
        }
    }
    Ok(())
}

/// Processes that end with the trial.
struct Processes(Vec<Child>);

impl Processes {
    fn start(folder: &Path, kinds: usize, goal: u64) -> Result<Processes, Failed> {
        let mut processes = Processes(Vec::new());
        for process in 0..PROCESSES {
            let role = format!("{process} {kinds} {goal} {}", folder.display());
            let program = std::env::current_exe()?;
            processes
                .0
                .push(Command::new(program).env(ROLE, role).spawn()?);
        }
        Ok(processes)
    }

    /// How many have ended; an error if one of them badly.
    fn ended(&mut self) -> Result<usize, Failed> {
        let mut ended = 0;
        for child in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                check(status.success(), || format!("a process ended by {status}"))?;
                ended += 1;
            }
        }
        Ok(ended)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server on this data, whose port the processes are told by a file.
fn start(data: &Data, folder: &TempDir) -> Result<Server, Failed> {
    let server = data.start()?;
    folder.write("port.new", &server.port().to_string())?;
    std::fs::rename(folder.path().join("port.new"), folder.path().join("port"))?;
    Ok(server)
}

/// Bytes that have been written down, but for ranges, which take no certain number.
fn written_bytes(folder: &Path, kinds: &[Kind]) -> Result<u64, Failed> {
    let mut bytes = 0;
    for kind in kinds.iter().filter(|kind| kind.per_record == 1) {
        for process in 0..PROCESSES {
            // It may not have begun.
            let file = std::fs::metadata(path(folder, kind, process));
            bytes += file.map_or(0, |file| file.len());
        }
    }
    Ok(bytes)
}

fn play_all(settings: &[&str], kinds: &[Kind]) -> Result<(), Failed> {
    let mut dice = Dice::new(chance::seed());
    let data = Data::with(&[settings, &["--io-threads", "2"]].concat())?;
    let folder = TempDir::new()?;
    let goal = GOAL * u64::from(chance::times());
    let lens = kinds.iter().filter(|kind| kind.per_record == 1);
    let len: usize = lens.map(|kind| kind.len).sum();
    let all_bytes = goal * PROCESSES as u64 * len as u64;
    let mut places: Vec<u64> = (0..KILLS + chance::times())
        .map(|_| dice.below(all_bytes))
        .collect();
    places.sort_unstable();

    let mut server = start(&data, &folder)?;
    let mut processes = Processes::start(folder.path(), kinds.len(), goal)?;
    for place in places {
        eventually("a place to kill the server", RUN_MAX, || {
            processes.ended()?;
            Ok((written_bytes(folder.path(), kinds)? >= place).then_some(()))
        })?;
        kill(server)?;
        server = start(&data, &folder)?;
    }
    eventually("all processes end", RUN_MAX, || {
        Ok((processes.ended()? == PROCESSES).then_some(()))
    })?;
    stop(server)?;
    kinds
        .iter()
        .try_for_each(|kind| judge(folder.path(), kind, goal))
}

/// Fails unless there are enough of the kind, and none was told twice.
fn judge(folder: &Path, kind: &Kind, goal: u64) -> Result<(), Failed> {
    let mut told = Vec::new();
    for process in 0..PROCESSES {
        told.extend(std::fs::read(path(folder, kind, process))?);
    }
    let mut records: Vec<&[u8]> = told.chunks(kind.record_len()).collect();
    let count = records.len() as u64;
    let is_enough = kind.per_record > 1 || count >= goal * PROCESSES as u64;
    check(is_enough, || format!("only {count} of {}", kind.name))?;
    records.sort_unstable();
    let twice = records
        .windows(2)
        .find(|pair| !kind.is_above(pair[1], pair[0]));
    check(twice.is_none(), || {
        let text = twice.unwrap_or_default().iter();
        let text: Vec<_> = text.map(|record| String::from_utf8_lossy(record)).collect();
        format!("{}: {text:?}", kind.name)
    })
}
