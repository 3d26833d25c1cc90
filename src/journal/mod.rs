//! The journal: what the engine did, kept on disk in the order in which it became visible.

pub mod check;
pub mod disk;
pub mod error;
mod fields;
pub mod frame;
pub mod identity;
pub mod keeper;
pub mod log;
pub mod recover;
pub mod reserver;
pub mod sealed;
pub mod segment;
pub mod snapshot;
pub mod snapshotting;
pub mod writer;

pub use log::{Admission, Log, Needs, Policy};

impl crate::engine::Sink for Log {
    fn commit(&self, side: usize, frame: &[u8]) -> u64 {
        self.commit(side, frame)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.admit(bytes) == Admission::Ok
    }
}
