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

/// Of a cache, `bytes` are written in values of `len` bytes under keys of their own.
fn fill(stage: &mut Stage, keys_from: u64, bytes: usize, len: usize) {
    let keys = keys_from..keys_from + (bytes / len) as u64;
    stage.set(keys, |_| (len, None));
}

/// A cache that was full of small values is written full of large ones: pages and tables of the
/// small ones go as they do.
pub(crate) fn holds_while_values_grow() {
    const SHARDS: usize = 8;
    const LARGE_BYTES: usize = 20_000;
    let mut stage = Stage::with_shards(SHARDS);
    let (used_start, allocated_start) = (stage.used(), ALLOCATOR.bytes());
    stage.run(&format!(
        "CONFIG SET maxmemory {BOUND_BYTES} maxmemory-policy allkeys-lru\r\n"
    ));
    for (keys_from, len) in [(0, 50), (1_000_000, LARGE_BYTES)] {
        ALLOCATOR.reset_peak();
        fill(&mut stage, keys_from, 2 * BOUND_BYTES, len);
        let peak = ALLOCATOR.peak() - allocated_start + used_start;
        // As above: a value is there up to four times.
        let most = BOUND_BYTES / 20 * 21 + 4 * (LARGE_BYTES + LARGE_BYTES / 4);
        assert!(
            peak <= most,
            "{peak} bytes with values of {len}, not {most}"
        );
        assert!(peak > BOUND_BYTES / 10 * 9, "only {peak} bytes");
    }
    let left = stage.run("DBSIZE\r\n");
    let keys: usize = left[1..].trim().parse().expect("a number");
    let room = keys * LARGE_BYTES;
    assert!(room > BOUND_BYTES / 10 * 8, "only {room} bytes of values");
}

/// One value as large as most of a cache of small ones: what it took beyond the bound goes with the
/// commands that follow, few entries with each.
pub(crate) fn one_command_goes_in_steps() {
    const LARGE_BYTES: usize = 12 << 20;
    const EVICTIONS_MAX: usize = 520;
    /// What the reply of the INFO that tells takes itself may be another size each time.
    const REPLY_BYTES_MAX: usize = 16 << 10;
    let mut stage = Stage::with_shards(64);
    stage.run(&format!(
        "CONFIG SET maxmemory {BOUND_BYTES} maxmemory-policy allkeys-lru\r\n"
    ));
    fill(&mut stage, 0, BOUND_BYTES, 50);
    let large = |part: usize| vec![b'v'; part];
    let mut request = format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${LARGE_BYTES}\r\n").into_bytes();
    request.extend_from_slice(&large(LARGE_BYTES - 1_000));
    let mut evicted = stage.field("evicted_keys");
    assert!(evicted > 0, "the cache is not full");
    // All but its end arrives; then it is written.
    assert_eq!(stage.run_bytes(&request), "");
    let other = stage.server.connect();
    let mut rest = large(1_000);
    rest.extend_from_slice(b"\r\n");
    assert_eq!(stage.run_bytes(&rest), "+OK\r\n");
    let peak = stage.used();
    let mut steps = 0;
    loop {
        stage.server.send(other, b"SET other value\r\n");
        assert_eq!(stage.server.take_output(other), b"+OK\r\n");
        let used = stage.used();
        let went = stage.field("evicted_keys") - evicted;
        // Six commands at most made room since, INFO among them.
        assert!(went <= 6 * EVICTIONS_MAX, "{went} entries went");
        assert!(
            used <= peak + REPLY_BYTES_MAX,
            "{used} bytes used, {peak} before"
        );
        if went < EVICTIONS_MAX {
            break;
        }
        (evicted, steps) = (evicted + went, steps + 1);
        assert!(steps < 1_000, "it goes on");
    }
    assert!(steps > 10, "all went in {steps} steps");
    assert_eq!(stage.run("EXISTS large\r\n"), ":1\r\n");
}

/// What EXEC finds of memory is noted as what any command finds.
pub(crate) fn exec_notes_time_above() {
    let mut stage = Stage::new();
    let bound = stage.used() + 50_000;
    stage.run(&format!("CONFIG SET maxmemory {bound}\r\n"));
    let replies = stage.run("MULTI\r\nSETRANGE key 99999 v\r\nSET other v\r\nEXEC\r\n");
    assert!(replies.contains("*2\r\n:100000\r\n-OOM"), "{replies}");
    stage.server.advance_ms(20);
    assert_eq!(stage.field("current_eviction_exceeded_time"), 20);
}
