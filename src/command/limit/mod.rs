//! Rate limits.

pub mod throttle;
