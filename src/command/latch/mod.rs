//! Latches: a count that is taken down to zero once.

pub mod count;
