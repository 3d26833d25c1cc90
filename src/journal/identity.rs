//! Who a data directory is, and who has it.
//!
//! ```text
//!   identity, 116 bytes:
//!   0       8     12        16        36       40          44       52          60    68
//!   | magic | crc | version | history | shards | databases | secret | hash seed | run | engine |
//!
//!   76          84          92        100                104      108
//!   | closed at | fence max | ids max | snowflake layout | worker | epoch |
//! ```
//!
//! Numbers are little-endian, the CRC-32C covers what is behind it. What decides which shard a key
//! belongs to (seed and number of shards) is fixed for the life of the directory: cuts of snapshots
//! are noted by shard. Databases are as many as the settings ever asked for, so that every identity
//! that the log names is known.
//!
//! A clean stop notes at which position the log was closed, the next start that it is open: a log
//! that ends before it was closed has lost its end, which nothing in what is left could tell.
//! No fencing token above `fence max` was ever given out, whatever the log says: what runs without
//! a journal finds it here. For the same reason no ID has a tick above `ids max`, in Unix
//! milliseconds.
//! The layout of snowflakes, a byte each for time, worker and sequence, is written before the first
//! is given out, and 0 until then. Version 1 had none of these fields, version 2 none for IDs.
//!
//! The file is only ever replaced as a whole: temporary file, sync, rename, sync of the directory.
//! The first start makes it before anything else, so a directory that has a log or a snapshot and
//! no identity has lost it.
//!
//! One process has the directory: it holds `flock` on the file `lock`, in which its process id is
//! written. The kernel lets go of it when the process ends, however it ends.

use super::disk::{self, Access, Disk, FileRef, RealDisk};
use super::error::{DIRECTORY, Error};
use super::fields::Fields;
use super::sealed::{self, NoHeader};
use super::segment::{self, LogId, Segment};
use super::snapshot;
use crate::engine::ids::snowflake::Layout;
use std::io;
use std::path::Path;

/// The file's name.
pub const NAME: &str = "identity";
/// The newest format this program knows, and the one it writes.
pub const VERSION: u32 = 3;

/// More shards to a database no engine has.
const SHARDS_MAX: u32 = 1_024;
/// More databases no settings ask for.
const DATABASES_MAX: u32 = 65_536;
const MAGIC: [u8; 8] = *b"LINCHPID";
const BYTES: usize = 116;
/// The first version that says where the log was closed.
const CLOSED_AT_SINCE: u32 = 2;
/// The first version that says what IDs may have been given out.
const IDS_SINCE: u32 = 3;
const TEMPORARY: &str = "identity.tmp";
const LOCK: &str = "lock";
/// More digits no process id has.
const PID_BYTES_MAX: usize = 16;

/// Where randomness comes in: what a new directory is given for life.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// See [`Identity::history`].
    pub history: [u8; 20],
    /// See [`Identity::secret`].
    pub secret: u64,
    /// See [`Identity::hash_seed`].
    pub hash_seed: u64,
}

impl Random {
    /// No randomness at all: what directories of tests and fuzzers have, and no server's.
    pub const FIXED: Self = Self {
        history: [0xab; 20],
        secret: 0x1122_3344_5566_7788,
        hash_seed: 7,
    };
}

/// What the program would have a directory be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Shards of each database. Counts for a new directory alone.
    pub shards: u32,
    /// Databases, by the settings. A directory that had more keeps them.
    pub databases: u32,
}

/// Who a data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names the history of all that ever happened here; shown to everybody.
    pub history: [u8; 20],
    /// Shown to nobody: see [`LogId::secret`].
    pub secret: u64,
    /// Seed of the hash of keys.
    pub hash_seed: u64,
    /// Shards of each database.
    pub shards: u32,
    /// Databases, the most there ever were.
    pub databases: u32,
    /// How often a process has started on it.
    pub run: u64,
    /// Engine time when the newest process began, in milliseconds: it never stood lower afterwards.
    pub engine_ms: u64,
    /// Fencing tokens up to here may have been given out.
    pub fence_max: u64,
    /// IDs with ticks up to here may have been given out, in Unix milliseconds; 0: none ever were.
    pub ids_max_ms: u64,
    /// How snowflakes are made up, if any may have been given out.
    pub snowflake: Option<Layout>,
    /// The position at which the log was closed; 0 while it is open, or where that is not known.
    pub closed_at: u64,
}

impl Identity {
    /// Of a directory that is new.
    #[must_use]
    pub fn new(random: Random, shape: Shape) -> Self {
        Self {
            history: random.history,
            secret: random.secret,
            hash_seed: random.hash_seed,
            shards: shape.shards,
            databases: shape.databases,
            run: 0,
            engine_ms: 0,
            closed_at: 0,
            fence_max: 0,
            ids_max_ms: 0,
            snowflake: None,
        }
    }

    /// The identity of the directory for the process that now begins: the one that is there, with
    /// one more run and as many databases as `shape` wants, or a new one. Nothing is written: it is
    /// to be [stored](Self::store) when the directory was found good, and before anything else is.
    ///
    /// # Errors
    ///
    /// Where it is damaged, newer, or lost, or the disk fails.
    pub fn begin(disk: &dyn Disk, random: Random, shape: Shape) -> Result<Self, Error> {
        let mut identity = match Self::load(disk)? {
            Some(identity) => identity,
            None => Self::new(random, shape),
        };
        identity.run = identity.run.saturating_add(1);
        identity.databases = identity.databases.max(shape.databases);
        Ok(identity)
    }

    /// Notes that the log goes on, and engine time from there on. What a snapshot lets go of the
    /// log then takes no time with it.
    pub fn resume_at(&mut self, engine_ms: u64) {
        self.engine_ms = self.engine_ms.max(engine_ms);
        self.closed_at = 0;
    }

    /// Refuses a log that ends, as far as it is sound, before the position at which it was closed.
    /// `segments` are its files.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], with the file and place where the log ends.
    pub fn check_end(&self, segments: &[Segment], position: u64) -> Result<(), Error> {
        if position >= self.closed_at {
            return Ok(());
        }
        let closed_at = self.closed_at;
        let reason =
            format!("the log ends here, at position {position}, and was closed at {closed_at}");
        let last = segments.iter().rfind(|segment| segment.base <= position);
        Err(match last {
            Some(last) => Error::corrupt(&last.name, position.saturating_sub(last.base), reason),
            None => Error::corrupt("the log", 0, reason),
        })
    }

    /// Reads it; none in a directory that is new.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let io_error = |source| Error::io(NAME, source);
        let file = match disk.open(NAME, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return none_yet(disk),
            Err(error) => return Err(io_error(error)),
        };
        // One more than there can be: so that more is seen.
        let mut bytes = [0; BYTES + 1];
        let len = disk::read_full_at(&*file, 0, &mut bytes).map_err(io_error)?;
        match Self::parse(bytes.get(..len).unwrap_or_default()) {
            Ok(identity) => Ok(Some(identity)),
            Err(NoHeader::Damaged) => Err(Error::corrupt(NAME, 0, "it is no identity")),
            Err(NoHeader::Newer { version }) => Err(Error::Newer {
                file: NAME.to_owned(),
                version,
                known: VERSION,
            }),
        }
    }

    /// Writes it in place of the one that is there: whole, or not at all.
    ///
    /// # Errors
    ///
    /// Where the disk fails. The old one or the new one is there then.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.replace(disk).map_err(|source| Error::io(NAME, source))
    }

    fn replace(&self, disk: &dyn Disk) -> io::Result<()> {
        disk::remove_if_there(disk, TEMPORARY)?;
        let file = disk.create(TEMPORARY)?;
        disk::write_all_at(&*file, 0, &self.encode())?;
        file.sync()?;
        disk.rename(TEMPORARY, NAME)?;
        disk.sync_dir()
    }

    /// What the segments of its log carry.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        let mut history = [0; 16];
        history.copy_from_slice(&self.history[..16]);
        LogId {
            history,
            secret: self.secret,
        }
    }

    /// The history's name as people read it: 40 hexadecimal digits.
    #[must_use]
    pub fn history_text(&self) -> String {
        self.history.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Its bytes on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let layout = self.snowflake.map_or([0; 4], |layout| {
            [
                layout.time_bits,
                layout.worker_bits,
                layout.sequence_bits,
                0,
            ]
            .map(|bits| bits as u8)
        });
        let worker = self.snowflake.map_or(0, |layout| layout.worker);
        let epoch_ms = self.snowflake.map_or(0, |layout| layout.epoch_ms);
        let fields: [&[u8]; 13] = [
            &self.history,
            &self.shards.to_le_bytes(),
            &self.databases.to_le_bytes(),
            &self.secret.to_le_bytes(),
            &self.hash_seed.to_le_bytes(),
            &self.run.to_le_bytes(),
            &self.engine_ms.to_le_bytes(),
            &self.closed_at.to_le_bytes(),
            &self.fence_max.to_le_bytes(),
            &self.ids_max_ms.to_le_bytes(),
            &layout,
            &worker.to_le_bytes(),
            &epoch_ms.to_le_bytes(),
        ];
        sealed::seal(MAGIC, VERSION, &fields)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// Where `bytes` are none, or one of a format that is newer than this program.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let (version, fields) = sealed::open(bytes, MAGIC, VERSION)?;
        let is_known = (1..=VERSION).contains(&version);
        let identity = Self::fields(fields, version).filter(|_| is_known);
        identity.ok_or(NoHeader::Damaged)
    }

    fn fields(mut fields: Fields<'_>, version: u32) -> Option<Self> {
        let (history, shards, databases) = (fields.bytes()?, fields.u32()?, fields.u32()?);
        let mut identity = Self {
            history,
            shards,
            databases,
            secret: fields.u64()?,
            hash_seed: fields.u64()?,
            run: fields.u64()?,
            engine_ms: fields.u64()?,
            closed_at: 0,
            fence_max: 0,
            ids_max_ms: 0,
            snowflake: None,
        };
        if version >= CLOSED_AT_SINCE {
            (identity.closed_at, identity.fence_max) = (fields.u64()?, fields.u64()?);
        }
        if version >= IDS_SINCE {
            identity.ids_max_ms = fields.u64()?;
            let [time_bits, worker_bits, sequence_bits, _] = fields.bytes::<4>()?.map(u32::from);
            let layout = Layout {
                time_bits,
                worker_bits,
                sequence_bits,
                worker: fields.u32()?,
                epoch_ms: fields.u64()?,
            };
            if time_bits > 0 {
                identity.snowflake = Some(layout).filter(Layout::is_possible);
                identity.snowflake?;
            }
        }
        let is_engine = shards.is_power_of_two() && shards <= SHARDS_MAX;
        let is_map = (1..=DATABASES_MAX).contains(&databases);
        (fields.rest().is_empty() && is_engine && is_map).then_some(identity)
    }
}

/// Answers that a directory is new, if nothing shows that it is not.
fn none_yet(disk: &dyn Disk) -> Result<Option<Identity>, Error> {
    let names = disk.list().map_err(|source| Error::io(DIRECTORY, source))?;
    let is_ours = |name: &&String| {
        segment::parse_name(name).is_some() || snapshot::parse_name(name).is_some()
    };
    match names.iter().find(is_ours) {
        None => Ok(None),
        Some(name) => {
            let reason = format!("it is not there, but {name} is");
            Err(Error::corrupt(NAME, 0, reason))
        }
    }
}

/// Opens the directory at `path`, making it and those above it if need be.
///
/// # Errors
///
/// Where the system refuses.
pub fn open_directory(path: &Path) -> Result<RealDisk, Error> {
    std::fs::create_dir_all(path)
        .and_then(|()| RealDisk::open(path))
        .map_err(|source| Error::io(&path.display().to_string(), source))
}

/// Proof that this process has the directory, for as long as it is held.
#[derive(Debug)]
pub struct Owner {
    lock: FileRef,
}

impl Owner {
    /// Takes the directory for this process.
    ///
    /// # Errors
    ///
    /// [`Error::Owned`] where another has it, and where the disk fails.
    pub fn take(disk: &dyn Disk, pid: u32) -> Result<Self, Error> {
        let io_error = |source| Error::io(LOCK, source);
        let lock = open_or_create(disk).map_err(io_error)?;
        let owner = Self::lock(lock)?;
        let write = || {
            owner.lock.truncate(0)?;
            disk::write_all_at(&*owner.lock, 0, format!("{pid}\n").as_bytes())
        };
        write().map_err(io_error)?;
        Ok(owner)
    }

    /// Takes it for somebody who may only read; none where nobody ever had it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_to_read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        match disk.open(LOCK, Access::Read) {
            Ok(lock) => Self::lock(lock).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(LOCK, error)),
        }
    }

    fn lock(lock: FileRef) -> Result<Self, Error> {
        match lock.try_lock() {
            Ok(true) => Ok(Self { lock }),
            Ok(false) => Err(Error::Owned { pid: pid_in(&lock) }),
            Err(error) => Err(Error::io(LOCK, error)),
        }
    }
}

fn open_or_create(disk: &dyn Disk) -> io::Result<FileRef> {
    loop {
        match disk.open(LOCK, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match disk.create(LOCK) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
}

fn pid_in(lock: &FileRef) -> Option<u32> {
    let mut bytes = [0; PID_BYTES_MAX];
    let len = disk::read_full_at(&**lock, 0, &mut bytes).ok()?;
    let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests;
