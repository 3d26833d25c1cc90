//! Coordination commands against a model; see `linchpin_server::fuzzing::coordination` for what is
//! checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linchpin_server::fuzzing::coordination(input));
