//! Data directories, recovered; see `linchpin_server::fuzzing::journal_recover` for what is
//! checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linchpin_server::fuzzing::journal_recover(input));
