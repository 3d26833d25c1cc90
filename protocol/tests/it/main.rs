//! The crate from outside: what it promises of requests, replies and texts.

#![forbid(unsafe_code)]

mod corpus;
mod oracle;
mod reply;
mod request;
mod text;
mod writer;
