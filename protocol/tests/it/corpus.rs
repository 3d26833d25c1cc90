//! The fuzzers' corpora, replayed.

use std::path::Path;

use linchpin_protocol::fuzzing;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for file in std::fs::read_dir(&folder).expect("the corpus lies in the repository") {
        let path = file.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{}", path.display());
        replayed += 1;
    }
    assert!(replayed >= 20, "{replayed} files in {}", folder.display());
}

#[test]
fn resp_request() {
    replay("resp_request", fuzzing::resp_request);
}
