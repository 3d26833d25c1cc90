//! Counters: strings that hold a number.

pub mod decimal;
pub mod incr;
pub mod incrbyfloat;
pub mod increx;
