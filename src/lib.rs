//! Linchpin: a server of distributed primitives behind the Redis wire protocol.

/// The Redis version whose behaviour the server has, for the commands it has: what `INFO` and
/// `HELLO` tell clients, some of which refuse to work with less.
pub const REDIS_VERSION: &str = "7.2.0";

pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod glob;
pub(crate) mod sync;
