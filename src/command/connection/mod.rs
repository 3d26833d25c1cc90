//! The connection itself: greeting, identity, database.

pub mod ping;
pub mod select;
