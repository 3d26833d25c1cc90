//! `maxmemory` holds, by the count of the allocator.

use crate::ALLOCATOR;
use crate::stage::{Chance, Stage};
use linchpin_server::policy::Policy;

const BOUND_BYTES: usize = 16 << 20;
const VALUE_BYTES_MAX: u64 = 200_000;
/// What one command may take beyond the bound: its value as the test has it, as it has arrived, as
/// it is kept, and the buffer that it outgrew while it arrived; each as a size class.
const COMMAND_BYTES: usize = 4 * (256 << 10);
const READERS: usize = 10;
/// What a reader leaves unread: one reply. Nobody can refuse those, so they are a budget beside.
const UNREAD_BYTES: usize = 256 << 10;
const CLIENTS_BYTES: usize = READERS * UNREAD_BYTES;

/// Under every policy: 50 writers of values of mixed sizes and readers that are slow to read. The
/// allocator never has more than the bound and one command's worth.
pub(crate) fn holds() {
    for policy in Policy::NAMES {
        let mut stage = Stage::new();
        let used_start = stage.used();
        let allocated_start = ALLOCATOR.bytes();
        stage.run(&format!(
            "CONFIG SET maxmemory {BOUND_BYTES} maxmemory-policy {policy}\r\n"
        ));
        ALLOCATOR.reset_peak();
        let refused = write_and_read(&mut stage);
        let peak = ALLOCATOR.peak() - allocated_start + used_start;
        let over = peak.saturating_sub(BOUND_BYTES);
        assert!(
            over <= COMMAND_BYTES + CLIENTS_BYTES,
            "{policy}: {peak} bytes at the peak, {over} above the bound"
        );
        assert!(
            peak > BOUND_BYTES / 10 * 9,
            "{policy}: the bound was never reached, {peak} bytes at most"
        );
        let used = stage.used();
        assert!(
            used <= BOUND_BYTES + COMMAND_BYTES + CLIENTS_BYTES,
            "{policy}: {used} bytes used"
        );
        assert!(
            refused > 0 || *policy != "noeviction",
            "nothing was refused"
        );
    }
}

/// Plays 50 writers and 10 readers; answers how many writes were refused.
fn write_and_read(stage: &mut Stage) -> usize {
    let mut chance = Chance(4);
    let writers: Vec<usize> = (0..50).map(|_| stage.server.connect()).collect();
    let readers: Vec<usize> = (0..READERS).map(|_| stage.server.connect()).collect();
    let mut refused = 0;
    let mut request = Vec::new();
    for _ in 0..4_000 {
        let writer = writers[chance.below(50) as usize];
        let key = chance.below(5_000);
        let max = [100, 2_000, 20_000, VALUE_BYTES_MAX][chance.below(4) as usize];
        let len = chance.below(max) as usize;
        request.clear();
        let (key_len, ex) = (format!("key:{key}").len(), 10 + key);
        let ex_len = ex.to_string().len();
        let head = format!(
            "*5\r\n$3\r\nSET\r\n${key_len}\r\nkey:{key}\r\n$2\r\nEX\r\n${ex_len}\r\n{ex}\r\n"
        );
        // The value comes last but in position two: the options may not stand before it.
        let (front, back) = head.split_at(head.find("$2\r\nEX").expect("it is there"));
        request.extend_from_slice(front.as_bytes());
        request.extend_from_slice(format!("${len}\r\n").as_bytes());
        request.resize(request.len() + len, b'v');
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(back.as_bytes());
        stage.server.send(writer, &request);
        let reply = stage.server.take_output(writer);
        refused += usize::from(reply.starts_with(b"-OOM"));
        let at = chance.below(READERS as u64) as usize;
        let get = format!("GET key:{}\r\n", chance.below(5_000));
        drop(stage.server.take_output(readers[at]));
        stage.server.send(readers[at], get.as_bytes());
    }
    refused
}
