//! Linchpin: a server of distributed primitives behind the Redis wire protocol.

pub mod config;
pub mod glob;
