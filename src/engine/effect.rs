//! Effects: what a step did, resolved, so that it can be done again without deciding anything.
//!
//! Every change of state is one effect naming one key (or one whole database), complete in itself:
//! `INCRBYFLOAT` leaves the number it arrived at, a rename the value under its new name and a
//! removal, a relative time to live an absolute deadline. Applying the effects of a history in
//! order to an empty engine gives the same state. The effects of one step travel together as one
//! *frame*.

use super::value::Value;

/// One change of state. Databases are named by identity, not by the number `SELECT` knows them by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The key has this value and deadline, whatever it had before.
    Put {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: Box<[u8]>,
        /// The whole value.
        value: Value,
        /// Unix milliseconds, or none.
        deadline_ms: Option<u64>,
    },
    /// The key, which is there, has these bytes at the end of its value as well.
    Append {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: Box<[u8]>,
        /// What was added.
        suffix: Box<[u8]>,
    },
    /// The key, which is there, has these bytes at this place of its value.
    WriteRange {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: Box<[u8]>,
        /// First byte written.
        offset: usize,
        /// What was written.
        bytes: Box<[u8]>,
    },
    /// The key, which is there, has this deadline.
    Deadline {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: Box<[u8]>,
        /// Unix milliseconds, or none.
        deadline_ms: Option<u64>,
    },
    /// The key is gone: deleted, renamed, or past its deadline.
    Remove {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: Box<[u8]>,
    },
    /// The database is empty.
    Clear {
        /// Identity of the database.
        db: u32,
    },
    /// The two databases have changed places.
    Swap {
        /// Identity of one.
        a: u32,
        /// Identity of the other.
        b: u32,
    },
}

/// Takes the frames of an engine, in the order in which they became visible to others.
pub trait Sink: Send + Sync {
    /// Takes one frame, never an empty one. Called while the locks of all that the step read or
    /// changed are still held, so it must not wait for anything.
    fn commit(&self, frame: Vec<Effect>);
}

/// A sink that keeps every frame: what tests replay into a second engine.
#[derive(Debug)]
pub struct Recorder {
    frames: crate::sync::Mutex<Vec<Vec<Effect>>>,
}

impl Recorder {
    /// A recorder without frames.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frames: crate::sync::Mutex::new(Vec::new()),
        }
    }

    /// Takes out what was recorded since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<Effect>> {
        std::mem::take(&mut *self.frames.lock())
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Recorder {
    fn commit(&self, frame: Vec<Effect>) {
        self.frames.lock().push(frame);
    }
}

impl<S: Sink + ?Sized> Sink for std::sync::Arc<S> {
    fn commit(&self, frame: Vec<Effect>) {
        (**self).commit(frame);
    }
}
