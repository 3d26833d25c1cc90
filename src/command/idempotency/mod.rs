//! Requests that are to be done once.

pub mod begin;
pub mod settle;
