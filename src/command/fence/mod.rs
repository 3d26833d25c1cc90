//! Fenced writes: a key refuses a writer whose number is lower than one it has seen.

pub mod set;
