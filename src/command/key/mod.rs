//! Keys of any type: existence, names, deadlines, walks.

pub mod del;
pub mod expire;
pub mod ttl;
