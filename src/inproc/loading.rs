//! While what was kept is being read, nobody decides on it: what is past its deadline stays, and
//! nothing is evicted, for frames that are still to come build on it.

use super::*;

/// A command that may run meanwhile, and asks for nothing.
const HARMLESS: &[u8] = b"ECHO there\r\n";

/// A server that is reading and has two keys: one is past its deadline, and both are more than may
/// be held.
fn loading() -> Inproc {
    let mut server = Inproc::new(InprocOptions::default());
    let first = server.connect();
    server.send(first, b"SET due v PX 10\r\nSET lasting v\r\n");
    server.set_disk(DiskMood::Loading);
    server.advance_ms(20);
    let settings = b"CONFIG SET maxmemory 1 maxmemory-policy allkeys-lru\r\n";
    server.send(first, settings);
    assert_eq!(server.take_output(first), b"+OK\r\n".repeat(3));
    server
}

/// How often anything was changed, whoever did it.
fn changes(server: &Inproc) -> u64 {
    server.recorder.numbered()
}

#[test]
fn nothing_is_evicted_for_a_command_that_may_run_meanwhile() {
    let mut server = loading();
    let connection = server.connect();
    let before = changes(&server);
    server.send(connection, HARMLESS);
    assert_eq!(server.take_output(connection), b"$5\r\nthere\r\n");
    assert_eq!(changes(&server), before);
    server.set_disk(DiskMood::Fast);
    server.send(connection, HARMLESS);
    assert!(changes(&server) > before, "there was nothing to evict");
}
