//! The request parser; see `linchpin_protocol::fuzzing::resp_request` for what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linchpin_protocol::fuzzing::resp_request(input));
