//! A load generator for servers that speak the Redis protocol, and a comparison built on it.
//!
//! ```text
//! Workload      prebuilt requests and the replies they must get      workload.rs, keys.rs
//!    |
//! Fleet         connections, one event loop per thread               fleet.rs, lane.rs
//!    |  \
//!    |   Check  every reply counted and checked                      check.rs
//!    v
//! Outcome       operations, time, latencies, the generator's own CPU
//!
//! compare       servers started, pinned, loaded in turn, weighed     compare/
//! durability    the same with logs and snapshots on a disk         durability/
//! locks         locks taken, given back, and waited for             locks/
//! hit_ratio     recorded traces through bounded servers              hit_ratio/
//! stalls        how long a busy server keeps a PING waiting          stalls.rs
//! reclaim       whether memory comes back when keys go              reclaim.rs
//! ```
//!
//! # Invariants
//!
//! - A reply that is not the expected one ends a run with an error: wrong answers have no speed.
//! - A run ends drained: no request is under way between two runs of a fleet.
//! - Open loop latency counts from when a request was due, not from when it could be sent.
//!
//! # LIMITATIONS
//!
//! Linux only: epoll, and `/proc` for processes. TCP only, without TLS.

#![forbid(unsafe_code)]

mod check;
pub mod clock;
pub mod compare;
pub mod cores;
pub mod durability;
mod fleet;
pub mod hit_ratio;
pub mod ids;
mod keys;
mod lane;
pub mod limits;
pub mod locks;
pub mod process;
pub mod reclaim;
pub mod report;
pub mod scratch;
pub mod stalls;
mod workload;

pub use check::WrongReply;
pub use fleet::{Fleet, Limit, LoadError, Outcome, Pace, Shape, fill};
pub use keys::Pattern;
pub use workload::{Command, Lifetime, UnknownPlaceholder, Workload, WorkloadOptions};
