//! Keys of any type: existence, names, deadlines, walks.

pub mod copy;
pub mod del;
pub mod exists;
pub mod expire;
pub mod keys;
pub mod kind;
pub mod object;
pub mod persist;
pub mod randomkey;
pub mod rename;
pub mod scan;
pub mod ttl;
