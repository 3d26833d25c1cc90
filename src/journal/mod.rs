//! The journal: what the engine did, kept on disk in the order in which it became visible.

#[cfg(not(loom))]
pub mod check;
#[cfg(not(loom))]
pub mod disk;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
mod fields;
pub mod frame;
#[cfg(not(loom))]
pub mod identity;
pub mod log;
#[cfg(not(loom))]
pub mod recover;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod snapshot;
#[cfg(not(loom))]
pub mod snapshotting;
#[cfg(not(loom))]
pub mod writer;

pub use log::{Admission, Log, Needs, Policy};

impl crate::engine::Sink for Log {
    fn commit(&self, side: usize, frame: &[u8]) -> u64 {
        self.commit(side, frame)
    }
}
