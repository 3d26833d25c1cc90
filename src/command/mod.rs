//! The commands: one row in the table and one function each.
//!
//! `spec.rs` says what a row is, `table.rs` finds it. Each family has a folder, each command (or
//! concept: INCR, DECR and their kin) a file with its rows on top and its function below. A
//! function gets a [`Cx`] and its arguments, parses them whole, acts through the step and writes
//! one reply.

pub mod conn;
pub mod cx;
pub mod error;
pub mod expiry;
mod families;
pub mod grants;
pub mod help;
pub mod host;
pub mod looking;
pub mod park;
pub mod spec;
pub mod table;
pub mod usage;
pub mod value;
pub mod weight;
pub mod words;

pub mod barrier;
pub mod cache;
pub mod connection;
pub mod counter;
pub mod fence;
pub mod idempotency;
pub mod ids;
pub mod key;
pub mod latch;
pub mod limit;
pub mod lock;
pub mod pubsub;
pub mod semaphore;
pub mod server;
pub mod sessions;
pub mod string;
pub mod transaction;

pub use conn::Conn;
pub use cx::{Cx, InnerCall, make_room, resolve};
pub use error::ReplyError;
pub use park::Park;
pub use spec::Spec;
