//! The journal: what the engine did, kept on disk in the order in which it became visible.

#[cfg(not(loom))]
pub mod disk;
#[cfg(not(loom))]
pub mod frame;
#[cfg(not(loom))]
pub mod segment;
