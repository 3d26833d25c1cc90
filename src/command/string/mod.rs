//! Strings: reading, writing, comparing and cutting values.

pub mod append;
pub mod compare;
pub mod delex;
pub mod digest;
pub mod get;
pub mod getdel;
pub mod getex;
pub mod mget;
pub mod mset;
pub mod msetex;
pub mod range;
pub mod set;
