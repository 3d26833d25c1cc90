//! What locks and their like, sessions and waiting calls take.

use crate::stage::{Growth, Stage};

const LOCKS: usize = 30_000;

/// The server and the allocator agree on each kind of object, and on who waits. Goes red when
/// owners that wait or are in the way, tables, sessions or grants not told of yet are left out.
pub(crate) fn exact() {
    let mut stage = Stage::with_shards(8);
    let base = stage.growth();
    let opened = stage.run("SESSION.OPEN TTL 3600000 NAME of-the-test\r\n");
    let sid = opened.lines().nth(1).expect("a session").to_owned();
    for number in 0..LOCKS {
        stage.run(&format!(
            "LOCK.ACQUIRE lock:{number} owner:{number:030} PX 3600000\r\n"
        ));
    }
    stage.growth().check("locks");
    for number in 0..LOCKS {
        let lines = [
            format!("LOCK.ACQUIRE of-session:{number} o SESSION {sid}\r\n"),
            format!("SET tied:{number} v SESSION {sid}\r\n"),
        ];
        stage.run(&lines.concat());
    }
    stage.growth().check("holds and keys of a session");
    for number in 0..LOCKS {
        let lines = [
            format!(
                "SEM.ACQUIRE semaphore:{} o{number} LIMIT 99 PX 3600000\r\n",
                number % 1_000
            ),
            format!("LATCH.SET latch:{} 99\r\n", number % 1_000),
            format!("LATCH.DOWN latch:{} owner:{number:030}\r\n", number % 1_000),
        ];
        stage.run(&lines.concat());
    }
    stage.growth().check("semaphores and latches");
    let clients: Vec<usize> = (0..4_000).map(|_| stage.server.connect()).collect();
    for &client in &clients {
        stage.server.send(client, b"PING\r\n");
        stage.server.take_output(client);
    }
    // What they take by themselves is judged elsewhere.
    let idle = stage.growth();
    for (number, &client) in clients.iter().enumerate() {
        let owner = format!("waiter:{number:0100}");
        let line = match number % 3 {
            0 => format!("LOCK.ACQUIRE lock:{number} {owner} PX 9 WAIT 3600000\r\n"),
            1 => format!("LOCK.ACQUIRE lock:0 {owner} SESSION {sid} WAIT 3600000\r\n"),
            _ => format!("LATCH.AWAIT nothing:{number:0100} WAIT 3600000\r\n"),
        };
        stage.server.send(client, line.as_bytes());
    }
    let waiting = stage.growth();
    let growth = Growth {
        used: waiting.used - idle.used,
        allocated: waiting.allocated - idle.allocated,
    };
    growth.check("calls that wait");
    for client in clients {
        stage.server.close(client);
    }
    stage.run("FLUSHALL SYNC\r\n");
    stage.run(&format!("SESSION.CLOSE {sid}\r\n"));
    stage.server.advance_ms(7_200_000);
    let left = stage.growth();
    assert!(
        left.used <= base.used + (1 << 20),
        "{left:?} after {base:?}"
    );
}
