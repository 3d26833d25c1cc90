//! Sequences of requests to a whole server; see `linchpin_server::fuzzing::resp_sequence` for what
//! is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linchpin_server::fuzzing::resp_sequence(input));
