//! Strings: reading, writing, comparing and cutting values.

pub mod compare;
pub mod get;
pub mod set;
