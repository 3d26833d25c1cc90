//! While what was kept is being read, nobody decides on it: what is past its deadline stays, and
//! nothing is evicted, for frames that are still to come build on it.

use super::*;
use crate::command::spec::{Flags, Spec};
use crate::command::table;

/// A command that may run meanwhile, and asks for nothing.
const HARMLESS: &[u8] = b"ECHO there\r\n";

/// Calls of the commands that do not run by their name alone, or not to any use.
const CALLS: &[(&str, &str)] = &[
    ("acl|dryrun", "ACL DRYRUN default GET due"),
    ("auth", "AUTH password"),
    ("client|kill", "CLIENT KILL ID 1"),
    ("client|no-evict", "CLIENT NO-EVICT ON"),
    ("client|reply", "CLIENT REPLY ON"),
    ("client|setinfo", "CLIENT SETINFO LIB-NAME name"),
    ("client|setname", "CLIENT SETNAME name"),
    ("client|slowpolicy", "CLIENT SLOWPOLICY CONFLATE"),
    ("client|unblock", "CLIENT UNBLOCK 1"),
    ("command|getkeys", "COMMAND GETKEYS GET due"),
    ("command|getkeysandflags", "COMMAND GETKEYSANDFLAGS GET due"),
    ("command|info", "COMMAND INFO get"),
    ("config|get", "CONFIG GET maxmemory"),
    ("config|set", "CONFIG SET maxmemory 2"),
    ("psubscribe", "PSUBSCRIBE c*"),
    ("publish", "PUBLISH c m"),
    ("spublish", "SPUBLISH c m"),
    ("ssubscribe", "SSUBSCRIBE c"),
    ("subscribe", "SUBSCRIBE c"),
    ("discard", "MULTI\r\nDISCARD"),
    ("echo", "ECHO there"),
    ("exec", "WATCH due lasting\r\nMULTI\r\nINFO\r\nEXEC"),
    ("info", "INFO everything"),
    ("select", "SELECT 1"),
    ("shutdown", "SHUTDOWN NOSAVE"),
    ("unwatch", "WATCH due lasting\r\nUNWATCH"),
    ("watch", "WATCH due lasting"),
];

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

/// Goes red when WATCH opens its keys, which removes the one that is due.
#[test]
fn no_command_that_may_run_meanwhile_decides() {
    let meanwhile = |spec: &&&Spec| spec.flags.has(Flags::LOADING);
    for spec in table::all().iter().filter(meanwhile) {
        let call = CALLS.iter().find(|(name, _)| *name == spec.name);
        let call = call.map_or(spec.name.replace('|', " "), |(_, call)| (*call).to_owned());
        let mut server = loading();
        let connection = server.connect();
        let before = changes(&server);
        server.send(connection, format!("{call}\r\n").as_bytes());
        let reply = server.take_output(connection);
        let is_whole = !reply.starts_with(b"-ERR wrong number") || spec.flags.has(Flags::CONTAINER);
        assert!(is_whole, "{call} is no call of {}", spec.name);
        assert_eq!(changes(&server), before, "{call}");
    }
    let mut server = loading();
    let connection = server.connect();
    server.send(connection, b"WATCH due\r\n");
    let told = b"-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(server.take_output(connection), told);
}
