//! Transactions: several commands as one step.

pub mod exec;
pub mod multi;
pub mod watch;
