//! Linchpin: a server of distributed primitives behind the Redis wire protocol.

pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod glob;
pub mod inproc;
pub mod journal;
#[cfg(not(loom))]
pub mod net;
pub mod observe;
pub mod policy;
pub mod pubsub;
pub(crate) mod seeded;
pub(crate) mod session;
pub(crate) mod sync;

/// The Redis version whose behaviour the server has for the commands it has.
pub const REDIS_VERSION: &str = "7.2.0";
/// What `INFO` calls the allocator that `main.rs` chooses.
pub const ALLOCATOR: &str = "mimalloc";
