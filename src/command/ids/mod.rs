//! IDs: those that rise with time, ranges of numbers, short codes.
//!
//! What gives them out is in `engine/ids` and `engine/coordinator/namespace.rs`; the commands
//! parse, ask, and write.

pub mod decode;
pub mod next;
pub mod range;
pub mod short;
pub mod worker;
