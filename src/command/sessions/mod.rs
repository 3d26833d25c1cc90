//! Sessions: by which locks, permits and keys live together.

pub mod open;
pub mod show;
