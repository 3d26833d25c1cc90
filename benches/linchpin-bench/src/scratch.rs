//! A directory for one server's data, removed with all that is in it when dropped.
//!
//! # LIMITATIONS
//!
//! Whoever kills this program with SIGKILL must remove what it left: `linchpin-bench-*`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that nobody else has.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// There is no `parent`, or nothing can be made in it.
    pub fn new_in(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Absolute, because servers get another working directory.
        let parent = parent.canonicalize()?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("linchpin-bench-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is, from the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_its_own_and_goes_with_what_is_in_it() {
        let parent = Scratch::new_in(&std::env::temp_dir()).expect("there is room");
        let (one, other) = (Scratch::new_in(&parent.path), Scratch::new_in(&parent.path));
        let (one, other) = (one.expect("there is room"), other.expect("there is room"));
        assert_ne!(one.path(), other.path());
        fs::create_dir(one.path().join("appendonlydir")).expect("there is room");
        fs::write(one.path().join("appendonlydir/a"), b"a").expect("there is room");
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
        assert!(other.path().is_dir());
    }

    #[test]
    fn names_that_are_taken_are_passed_over() {
        let parent = Scratch::new_in(&std::env::temp_dir()).expect("there is room");
        let one = Scratch::new_in(&parent.path).expect("there is room");
        let name = one.path.file_name().expect("it has one").to_string_lossy();
        let (stem, number) = name.rsplit_once('-').expect("it ends with a number");
        let number: u32 = number.parse().expect("it ends with a number");
        for taken in number + 1..number + 20 {
            // Other tests may be counting too.
            let _ = fs::create_dir(parent.path.join(format!("{stem}-{taken}")));
        }
        assert!(Scratch::new_in(&parent.path).is_ok());
        assert!(Scratch::new_in(&parent.path.join("absent")).is_err());
    }
}
