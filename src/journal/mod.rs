//! The journal: what the engine did, kept on disk in the order in which it became visible.

#[cfg(not(loom))]
pub mod disk;
pub mod frame;
pub mod log;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod writer;

pub use log::{Admission, Log, Needs, Policy};

impl crate::engine::Sink for Log {
    fn commit(&self, side: usize, frame: &[u8]) -> u64 {
        self.commit(side, frame)
    }
}
