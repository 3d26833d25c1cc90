//! What the server tells about itself: statistics, INFO, logs.

pub mod calls;
pub mod exceeded;
pub mod info;
#[cfg(not(loom))]
pub mod log;
pub mod process;
pub mod rarely;
pub mod stats;
