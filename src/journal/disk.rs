//! The disk: one directory, as much of it as a journal needs.
//!
//! Everything the journal does to storage goes through [`Disk`] and [`DiskFile`], so that a test
//! can put a disk below it that fails, fills up or loses power (`sim.rs`). Nothing here is hidden
//! behind a buffer: a write is one system call, and what it promises is what the kernel promises.
//!
//! ```text
//!   write_at  the kernel has it: survives the end of the process, not of the power
//!   sync      the device has it: the file's bytes and its length
//!   sync_dir  the device has the names: of files created, renamed, removed
//! ```
//!
//! LIMITATIONS: a name that is not UTF-8 is not listed; the journal gives no such names.

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

#[doc(hidden)]
pub mod sim;

/// An open file, shared by the threads that use it.
pub type FileRef = Arc<dyn DiskFile>;

/// What an opened file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading alone: works on a directory that this process may not write.
    Read,
    /// Reading and writing.
    Write,
}

/// A directory. Names are plain file names, without a separator.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str, access: Access) -> io::Result<FileRef>;

    /// Makes a new file, for reading and writing, for the owner alone. Fails with
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) where there is one. Its name is not safe
    /// before [`sync_dir`](Self::sync_dir).
    fn create(&self, name: &str) -> io::Result<FileRef>;

    /// Gives a file another name, replacing what had it, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all earlier creations, renames and removals safe against a power cut.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file. All offsets and lengths are in bytes.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// The length of the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads into the front of `into`; answers how many bytes, 0 only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes the front of `bytes`; answers how many, which may be fewer than all.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Cuts the file, or lengthens it with zeros. Room reserved behind the end is given back.
    fn truncate(&self, bytes_len: u64) -> io::Result<()>;

    /// Sees to it that writing these bytes cannot fail for want of room; the length of the file
    /// stays. Fails with [`StorageFull`](io::ErrorKind::StorageFull), or with
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the file system cannot reserve.
    fn reserve(&self, offset: u64, bytes_len: u64) -> io::Result<()>;

    /// Makes what was written, and the length, safe against a power cut. After a failure nobody
    /// knows what is on the device, and a second call may succeed without having written it.
    fn sync(&self) -> io::Result<()>;

    /// Takes the file for this process alone, until it is closed; false where another has it.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Writes all of `bytes`, however many calls it takes. After an error the first part may be there.
pub fn write_all_at(file: &dyn DiskFile, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.write_at(offset, bytes)?;
        bytes = match bytes.get(written..) {
            Some(rest) if written > 0 => rest,
            _ => return Err(io::ErrorKind::WriteZero.into()),
        };
        offset = offset.saturating_add(written as u64);
    }
    Ok(())
}

/// Fills `into` as far as the file goes; answers how many bytes that was.
pub fn read_full_at(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(offset.saturating_add(filled as u64), rest)?;
        if read == 0 {
            break;
        }
        filled = filled.saturating_add(read);
    }
    Ok(filled)
}

/// Removes a file that may be there.
pub(super) fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<bool> {
    match disk.remove(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a write or reservation failed for want of room, which may pass.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// A directory of the operating system's.
#[derive(Debug)]
pub struct RealDisk {
    dir: OwnedFd,
}

impl RealDisk {
    /// Opens the directory at `path`, which is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { dir })
    }

    fn open_at(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<FileRef> {
        let file =
            uninterrupted(|| rustix::fs::openat(&self.dir, name, flags | OFlags::CLOEXEC, mode))?;
        Ok(Arc::new(RealFile { file }))
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<FileRef> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        self.open_at(name, flags, Mode::empty())
    }

    fn create(&self, name: &str) -> io::Result<FileRef> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open_at(name, flags, Mode::RUSR | Mode::WUSR)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(uninterrupted(|| rustix::fs::fsync(&self.dir))?)
    }
}

/// A file of the operating system's.
#[derive(Debug)]
struct RealFile {
    file: OwnedFd,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        Ok(uninterrupted(|| {
            rustix::io::pread(&self.file, &mut *into, offset)
        })?)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(uninterrupted(|| {
            rustix::io::pwrite(&self.file, bytes, offset)
        })?)
    }

    fn truncate(&self, bytes_len: u64) -> io::Result<()> {
        Ok(uninterrupted(|| {
            rustix::fs::ftruncate(&self.file, bytes_len)
        })?)
    }

    fn reserve(&self, offset: u64, bytes_len: u64) -> io::Result<()> {
        Ok(uninterrupted(|| {
            rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, bytes_len)
        })?)
    }

    fn sync(&self) -> io::Result<()> {
        // Not repeated after EINTR: what it means for a sync is the file system's secret.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Calls again whatever a signal interrupted before it did anything.
fn uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            done => return done,
        }
    }
}
