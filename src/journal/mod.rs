//! The journal: what the engine did, kept on disk in the order in which it became visible.

#[cfg(not(loom))]
pub mod disk;
pub mod frame;
pub mod log;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod writer;
