//! The `linchpin-server` binary.
fn main() {}
