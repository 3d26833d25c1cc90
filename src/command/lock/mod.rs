//! Locks: exclusive or shared, for an owner, with a fencing token and a life of their own.
//!
//! The coordinator keeps them (`engine/coordinator`); the commands parse, ask, and tell.

pub mod acquire;
pub mod claim;
pub mod look;
pub mod release;
