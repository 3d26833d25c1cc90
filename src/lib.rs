//! Linchpin: a server of distributed primitives behind the Redis wire protocol.

pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod glob;
pub(crate) mod sync;
