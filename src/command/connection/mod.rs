//! The connection itself: greeting, identity, database.

pub mod acl;
pub mod auth;
pub mod client;
pub mod client_kill;
pub mod client_list;
pub mod hello;
pub mod ping;
pub mod quit;
pub mod readonly;
pub mod select;
pub mod slow_policy;
