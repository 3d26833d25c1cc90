//! Snapshots, recovered; see `linchpin_server::fuzzing::snapshot_load` for what is
//! checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linchpin_server::fuzzing::snapshot_load(input));
