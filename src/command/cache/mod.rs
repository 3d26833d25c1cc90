//! Caches that one caller fills for all.

pub mod fill;
pub mod get;
