//! Counters: strings that hold a number.

pub mod incr;
