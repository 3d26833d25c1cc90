//! The server as a whole: settings, statistics, databases.

pub mod flush;
