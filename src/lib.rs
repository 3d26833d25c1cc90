//! Linchpin: a server of distributed primitives behind the Redis wire protocol.

pub mod clock;
pub mod engine;
pub(crate) mod sync;
