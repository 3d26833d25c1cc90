//! `used_memory` and `MEMORY USAGE` beside the count of the allocator.

use crate::ALLOCATOR;
use crate::stage::{Chance, Growth, Stage};
use linchpin_server::engine::usable;

const SHARDS: usize = 8;
const KEYS_SMALL: u64 = 200_000;

/// The size classes that the ledger rounds to are those of the allocator.
pub(crate) fn size_classes() {
    let sizes = (1..2_000).chain((2_000..1_200_000).step_by(977));
    for bytes in sizes {
        let before = ALLOCATOR.bytes();
        let block = std::hint::black_box(vec![0u8; bytes].into_boxed_slice());
        let given = ALLOCATOR.bytes() - before;
        drop(block);
        assert!(
            usable(bytes).abs_diff(given) <= given / 50,
            "{bytes} bytes: {given} set aside, {} counted",
            usable(bytes)
        );
    }
}

/// Both agree after filling, overwriting, growing, deleting, expiring and flushing.
pub(crate) fn in_every_state() {
    const KEYS: u64 = 60_000;
    let (mut stage, mut chance) = (Stage::new(), Chance(1));
    let ttl = |chance: &mut Chance| (chance.below(3) == 0).then(|| 1 + chance.below(1_000));
    stage.set(0..KEYS, |_| (chance.len(), ttl(&mut chance)));
    check(&mut stage, KEYS, "filled");
    stage.set((0..KEYS).step_by(2), |_| (chance.len(), ttl(&mut chance)));
    check(&mut stage, KEYS, "half overwritten");
    stage.set((0..KEYS).step_by(3), |_| (8, None));
    check(&mut stage, KEYS, "a third shrunk");
    for key in (0..KEYS).step_by(10) {
        stage.run(&format!("APPEND key:{key} {}\r\n", "a".repeat(300)));
    }
    check(&mut stage, KEYS, "a tenth appended to");
    stage.delete((0..KEYS).filter(|key| key % 7 != 0));
    check(&mut stage, KEYS, "six of seven deleted");
    stage.set(0..KEYS, |_| (chance.len(), Some(1_000)));
    check(&mut stage, KEYS, "filled anew");
    stage.set((0..KEYS).step_by(5), |_| (50, None));
    stage.server.advance_ms(1_000_001);
    stage.server.sweep();
    check(&mut stage, KEYS, "four of five expired");
    stage.run("FLUSHALL SYNC\r\n");
    let left = stage.growth();
    assert!(left.allocated < 64 << 10, "flushed: {left:?}");
    assert!(left.used < 64 << 10, "flushed: {left:?}");
}

/// What stands in pages is counted with the lists that the pages are in. Goes red when those are
/// not counted: they are 1 byte for 128 of the pages.
pub(crate) fn of_pages() {
    let mut stage = Stage::with_shards(SHARDS);
    stage.set(0..KEYS_SMALL, |_| (100, None));
    let Growth { used, allocated } = stage.growth();
    assert!(
        used.abs_diff(allocated) <= allocated / 250,
        "the server says {used} bytes, the allocator {allocated}"
    );
}

fn check(stage: &mut Stage, keys: u64, when: &str) {
    let growth = stage.growth();
    growth.check(when);
    let usage = stage.usage(0..keys);
    let allocated = growth.allocated;
    assert!(
        usage.abs_diff(allocated) <= allocated / 20,
        "{when}: MEMORY USAGE adds up to {usage} bytes, the allocator says {allocated}"
    );
}
