//! Publish and subscribe.

pub mod publish;
pub mod show;
pub mod stats;
pub mod subscribe;
