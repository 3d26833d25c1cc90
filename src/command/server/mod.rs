//! The server as a whole: settings, statistics, databases.

pub mod command;
pub mod command_docs;
pub mod command_keys;
pub mod config;
pub mod flush;
pub mod info;
pub mod memory;
pub mod memory_stats;
pub mod memory_usage;
pub mod shutdown;
pub mod snapshot;
pub mod time;
pub mod waitaof;
