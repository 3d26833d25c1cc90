//! Barriers: parties that go on together when the last one has arrived.

pub mod meet;
