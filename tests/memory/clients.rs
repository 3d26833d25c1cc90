//! What clients hold: counted, and bounded.

use crate::stage::Stage;

/// Half-sent requests, unread replies, queues and watched keys are counted while they are there.
pub(crate) fn exact() {
    let mut stage = Stage::new();
    stage.run(&format!("SET large {}\r\n", "v".repeat(50_000)));
    let base = stage.growth();
    let clients: Vec<usize> = (0..200).map(|_| stage.server.connect()).collect();
    for (number, &client) in clients.iter().enumerate() {
        let request = match number % 4 {
            0 => format!(
                "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}",
                "v".repeat(70_000)
            ),
            1 => "GET large\r\n".to_owned(),
            2 => format!("MULTI\r\n{}", "SET k value\r\n".repeat(500)),
            _ => format!("WATCH {}\r\n", watched_keys(number)),
        };
        stage.server.send(client, request.as_bytes());
    }
    let growth = stage.growth();
    growth.check("clients");
    assert!(
        growth.used > base.used + 50 * (70_000 + 50_000),
        "{growth:?}"
    );
    for client in clients {
        stage.server.close(client);
    }
    // The test's own buffers stay with it; what the server counts must be as before.
    let after = stage.growth();
    assert!(
        after.used <= base.used + (128 << 10),
        "{after:?} after {base:?}"
    );
}

fn watched_keys(number: usize) -> String {
    let keys = (0..200).map(|key| format!("watched:{number}:{key:050} "));
    keys.collect()
}

/// Above `maxmemory-clients` those that hold most go, but for those that are to be spared.
pub(crate) fn bounded() {
    let mut stage = Stage::new();
    stage.run("CONFIG SET maxmemory-clients 1mb\r\n");
    let half = |bytes: usize| format!("*2\r\n$3\r\nGET\r\n$60000000\r\n{}", "k".repeat(bytes));
    let spared = stage.server.connect();
    stage.server.send(spared, b"CLIENT NO-EVICT ON\r\n");
    stage.server.send(spared, half(300_000).as_bytes());
    let clients: Vec<usize> = (1..100).map(|_| stage.server.connect()).collect();
    for &client in &clients {
        stage.server.send(client, half(100_000).as_bytes());
        let held = stage.field("mem_clients_normal");
        assert!(held <= 1 << 20, "clients hold {held} bytes");
    }
    let closed = clients
        .iter()
        .filter(|client| stage.server.is_closed(**client))
        .count();
    assert!((90..99).contains(&closed), "{closed} of 99 were ended");
    assert_eq!(stage.field("evicted_clients"), closed);
    assert!(!stage.server.is_closed(spared), "the spared one was ended");
}
