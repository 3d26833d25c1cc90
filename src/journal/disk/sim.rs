//! A disk in memory that loses power, fills up and fails on command: what the tests of the journal
//! stand on, and, because fuzzing and the black-box suites do so too, not behind `cfg(test)`.
//!
//! Every file has two states: what the process sees, and what is safe. Between the two lie the
//! writes, cuts and names that no sync has followed. A power cut ([`SimDisk::crash`]) keeps the
//! safe state and a choice of the rest: each unsynced write by sectors of 512 bytes, each of them
//! kept or lost by chance, in the order of the writes; each change of a name kept or lost by
//! chance. A file whose name was never made safe is gone, however often it was synced itself.
//!
//! Faults are set by [`SimDisk::fail`] for the n-th coming call of a kind, and space by
//! [`SimDisk::set_space`]. Nothing here sleeps: a slow sync moves the manual clock.
//!
//! LIMITATIONS: file systems that reorder a rename before the bytes of its file are covered, those
//! that lose synced bytes are not.

use super::{Access, Disk, DiskFile, FileRef};
use crate::clock::ManualClock;
use crate::sync::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const SECTOR_BYTES: usize = 512;

/// The calls that can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync`].
    Sync,
    /// [`DiskFile::reserve`].
    Reserve,
    /// [`DiskFile::truncate`].
    Truncate,
    /// [`Disk::create`].
    Create,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_dir`].
    SyncDir,
}

/// What happens to a call that is told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device fails: EIO. A sync that fails loses what it was to save, as Linux does: the
    /// process goes on seeing it, and a later sync succeeds without saving it.
    Io,
    /// No room: ENOSPC, however much there is.
    Full,
    /// A write stops after so many bytes (at least 1), without an error.
    Short(usize),
    /// The call takes so long, by the manual clock, and then succeeds.
    Slow(u64),
}

/// The disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    /// Names the process sees, and those that are safe.
    names: BTreeMap<String, usize>,
    names_safe: BTreeMap<String, usize>,
    renames: Vec<NameChange>,
    /// Bytes that files may have allocated together.
    space: u64,
    can_reserve: bool,
    faults: Vec<(Call, u64, Fault)>,
    /// Calls made since the disk was made, of every kind.
    calls: u64,
    /// At the call of this number the power goes: it and every later call fail.
    off_at: u64,
    clock: Option<Arc<ManualClock>>,
    handles: u64,
    during_sync: Option<During>,
}

struct During(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for During {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("During")
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    safe: Vec<u8>,
    /// What the process did since the last sync, oldest first.
    unsafe_changes: Vec<Change>,
    /// End of what was reserved.
    reserved: u64,
    /// The handle that locked it.
    locked_by: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// One step of the directory: this name is gone, that one stands for this file.
#[derive(Clone, Debug)]
struct NameChange {
    gone: Option<String>,
    set: Option<(String, usize)>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk without bounds or faults.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            names_safe: BTreeMap::new(),
            renames: Vec::new(),
            space: u64::MAX,
            can_reserve: true,
            faults: Vec::new(),
            calls: 0,
            off_at: u64::MAX,
            clock: None,
            handles: 0,
            during_sync: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The clock that slow calls move.
    pub fn set_clock(&self, clock: Arc<ManualClock>) {
        self.state.lock().clock = Some(clock);
    }

    /// How many bytes all files may have allocated together.
    pub fn set_space(&self, bytes: u64) {
        self.state.lock().space = bytes;
    }

    /// Whether room can be reserved, as not every file system can.
    pub fn set_can_reserve(&self, can: bool) {
        self.state.lock().can_reserve = can;
    }

    /// Lets the `nth` coming call of this kind, counted from 0, meet a fault.
    pub fn fail(&self, call: Call, nth: u64, fault: Fault) {
        self.state.lock().faults.push((call, nth, fault));
    }

    /// Calls made so far, of every kind.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Lets the power go at the call of this number; it and every later one fail.
    pub fn power_off_at(&self, call: u64) {
        self.state.lock().off_at = call;
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let state = self.state.lock();
        state.calls >= state.off_at
    }

    /// Bytes allocated by all files.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.state.lock().allocated()
    }

    /// The disk as it is found when the power comes back: a new one; this one keeps what it has.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let state = self.state.lock();
        let mut names = state.names_safe.clone();
        for change in &state.renames {
            if chance.is_heads() {
                change.apply(&mut names);
            }
        }
        let after = Self::new();
        let mut fresh = after.state.lock();
        fresh.inodes = state
            .inodes
            .iter()
            .map(|inode| inode.crash(&mut chance))
            .collect();
        fresh.names_safe = names.clone();
        fresh.names = names;
        drop(fresh);
        after
    }

    /// The disk as it is found after the process was killed: all that the kernel had is there, and
    /// what was not safe is not safe yet.
    #[must_use]
    pub fn kill(&self) -> Self {
        let state = self.state.lock();
        let after = Self::new();
        let mut fresh = after.state.lock();
        fresh.inodes = state.inodes.clone();
        for inode in &mut fresh.inodes {
            inode.locked_by = None;
        }
        fresh.names_safe = state.names_safe.clone();
        fresh.names = state.names.clone();
        fresh.renames = state.renames.clone();
        drop(fresh);
        after
    }

    /// Runs `during` in the midst of the next sync of a file.
    pub fn during_sync(&self, during: impl FnOnce() + Send + 'static) {
        self.state.lock().during_sync = Some(During(Box::new(during)));
    }

    /// What a file holds, as the process sees it.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.inodes.get(*state.names.get(name)?)?;
        Some(inode.seen.clone())
    }

    /// Puts a file there, or other bytes into one, safely and past all faults.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let index = state.inodes.len();
        state.inodes.push(Inode::holding(bytes.to_vec()));
        state.names.insert(name.to_owned(), index);
        state.names_safe.insert(name.to_owned(), index);
    }

    /// Counts a call and answers the fault it is to meet.
    fn call(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, Option<Fault>)> {
        let mut state = self.state.lock();
        state.calls += 1;
        if state.calls > state.off_at {
            return Err(eio());
        }
        let mut met = None;
        state.faults.retain_mut(|(of, nth, fault)| {
            let is_due = *of == call && *nth == 0;
            if is_due {
                met = Some(*fault);
            } else if *of == call {
                *nth -= 1;
            }
            !is_due
        });
        if let (Some(Fault::Slow(ms)), Some(clock)) = (met, &state.clock) {
            clock.advance_ms(ms);
        }
        Ok((state, met))
    }

    /// As [`call`](Self::call), for calls that can only fail whole.
    fn plain_call(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        match self.call(call)? {
            (_, Some(Fault::Io)) => Err(eio()),
            (_, Some(Fault::Full)) => Err(io::ErrorKind::StorageFull.into()),
            (state, _) => Ok(state),
        }
    }

    fn handle(&self, state: &mut State, inode: usize) -> FileRef {
        state.handles += 1;
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
            handle: state.handles,
        })
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str, _: Access) -> io::Result<FileRef> {
        let mut state = self.state.lock();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&mut state, inode))
    }

    fn create(&self, name: &str) -> io::Result<FileRef> {
        let mut state = self.plain_call(Call::Create)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_names(NameChange {
            gone: None,
            set: Some((name.to_owned(), inode)),
        });
        Ok(self.handle(&mut state, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.plain_call(Call::Rename)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(NameChange {
            gone: Some(from.to_owned()),
            set: Some((to.to_owned(), inode)),
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.plain_call(Call::Remove)?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange {
            gone: Some(name.to_owned()),
            set: None,
        });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.plain_call(Call::SyncDir)?;
        state.renames.clear();
        state.names_safe = state.names.clone();
        Ok(())
    }
}

impl State {
    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.renames.push(change);
    }

    fn allocated(&self) -> u64 {
        let live = self
            .names
            .values()
            .filter_map(|inode| self.inodes.get(*inode));
        live.map(Inode::allocated).sum()
    }

    /// How long a file may be: at least what it has, and what is left of the space.
    fn end_max(&self, inode: usize) -> u64 {
        let own = self.inodes[inode].allocated();
        let others = self.allocated().saturating_sub(own);
        own.max(self.space.saturating_sub(others))
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((name, inode)) = &self.set {
            names.insert(name.clone(), *inode);
        }
    }
}

impl Inode {
    /// A file that holds `bytes` safely.
    fn holding(bytes: Vec<u8>) -> Self {
        Self {
            safe: bytes.clone(),
            seen: bytes,
            ..Self::default()
        }
    }

    fn allocated(&self) -> u64 {
        self.reserved.max(self.seen.len() as u64)
    }

    fn crash(&self, chance: &mut Chance) -> Self {
        let mut bytes = self.safe.clone();
        for change in &self.unsafe_changes {
            match change {
                Change::Truncate(to) if chance.is_heads() => bytes.resize(*to, 0),
                Change::Truncate(_) => {}
                Change::Write { offset, bytes: new } => {
                    keep_some_sectors(&mut bytes, *offset, new, chance);
                }
            }
        }
        Self::holding(bytes)
    }
}

/// Writes the sectors of one write that chance keeps; those lost read as before, or as zeros.
fn keep_some_sectors(bytes: &mut Vec<u8>, offset: usize, new: &[u8], chance: &mut Chance) {
    // Half of the writes are lost or kept whole: the usual cases.
    let all = chance.is_heads().then(|| chance.is_heads());
    let mut at = 0;
    while at < new.len() {
        let to_boundary = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
        let part = &new[at..new.len().min(at + to_boundary)];
        if all.unwrap_or_else(|| chance.is_heads()) {
            overwrite(bytes, offset + at, part);
        }
        at += part.len();
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
    handle: u64,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.plain_call(Call::Read)?;
        let seen = &state.inodes[self.inode].seen;
        let from = usize::try_from(offset).map_or(seen.len(), |at| at.min(seen.len()));
        let part = &seen[from..seen.len().min(from + into.len())];
        into[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, fault) = self.disk.call(Call::Write)?;
        let part = match fault {
            Some(Fault::Io) => return Err(eio()),
            Some(Fault::Full) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Short(most)) => &bytes[..bytes.len().min(most.max(1))],
            Some(Fault::Slow(_)) | None => bytes,
        };
        // A disk that fills up takes what still fits.
        let room = state.end_max(self.inode).saturating_sub(offset);
        let part = match usize::try_from(room) {
            Ok(0) if !part.is_empty() => return Err(io::ErrorKind::StorageFull.into()),
            Ok(room) => &part[..part.len().min(room)],
            Err(_) => part,
        };
        let offset = usize::try_from(offset).expect("a disk in memory fits into memory");
        let inode = &mut state.inodes[self.inode];
        overwrite(&mut inode.seen, offset, part);
        inode.unsafe_changes.push(Change::Write {
            offset,
            bytes: part.to_vec(),
        });
        Ok(part.len())
    }

    fn truncate(&self, bytes_len: u64) -> io::Result<()> {
        let mut state = self.disk.plain_call(Call::Truncate)?;
        let len = usize::try_from(bytes_len).expect("a disk in memory fits into memory");
        let inode = &mut state.inodes[self.inode];
        inode.seen.resize(len, 0);
        inode.reserved = bytes_len;
        inode.unsafe_changes.push(Change::Truncate(len));
        Ok(())
    }

    fn reserve(&self, offset: u64, bytes_len: u64) -> io::Result<()> {
        let mut state = self.disk.plain_call(Call::Reserve)?;
        let end = offset + bytes_len;
        if !state.can_reserve {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if bytes_len == 0 {
            // As Linux has it.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if end > state.end_max(self.inode) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        inode.reserved = inode.reserved.max(end);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let during = self.disk.state.lock().during_sync.take();
        if let Some(During(during)) = during {
            during();
        }
        let (mut state, fault) = self.disk.call(Call::Sync)?;
        let inode = &mut state.inodes[self.inode];
        let changes = std::mem::take(&mut inode.unsafe_changes);
        if fault == Some(Fault::Io) {
            return Err(eio());
        }
        for change in changes {
            match change {
                Change::Truncate(to) => inode.safe.resize(to, 0),
                Change::Write { offset, bytes } => overwrite(&mut inode.safe, offset, &bytes),
            }
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let inode = &mut self.disk.state.lock().inodes[self.inode];
        Ok(*inode.locked_by.get_or_insert(self.handle) == self.handle)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let inode = &mut self.disk.state.lock().inodes[self.inode];
        if inode.locked_by == Some(self.handle) {
            inode.locked_by = None;
        }
    }
}

/// Chance from a seed: splitmix64.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    fn is_heads(&mut self) -> bool {
        self.draw() & 1 == 0
    }
}
