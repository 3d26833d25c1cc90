//! Servers as the comparisons start them, with redis-server where there is one.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use linchpin_bench::cores;
use linchpin_bench::process::{Launch, Server};
use linchpin_bench::scratch::Scratch;
use linchpin_protocol::Reply;

/// How to start redis-server with an append-only file; none where it is not installed.
fn redis() -> Option<Launch> {
    let folders = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join("redis-server"));
    let program: Option<PathBuf> = found.into_iter().find(|path| path.is_file());
    let is_required =
        std::env::var("LINCHPIN_REQUIRE").is_ok_and(|all| all.contains("redis-server"));
    assert!(
        program.is_some() || !is_required,
        "there is no redis-server"
    );
    Some(Launch {
        name: "redis-server".to_owned(),
        program: program?,
        args: ["--save", "", "--appendonly", "yes"]
            .map(str::to_owned)
            .to_vec(),
        cores: cores::available().expect("affinity can be read"),
    })
}

#[test]
fn servers_have_directories_of_their_own_that_outlive_a_crash_and_no_more() {
    let Some(launch) = redis() else { return };
    let parent = Scratch::new_in(&std::env::temp_dir()).expect("there is room");
    let start = |directory| Server::start_in(&launch, directory).expect("it starts");
    let directory = || Scratch::new_in(parent.path()).expect("there is room");
    let (one, other) = (start(directory()), start(directory()));
    let ok = Reply::Simple(b"OK".to_vec());
    assert_eq!(one.ask(&["SET", "key", "one"]).expect("it answers"), ok);

    let left = one.crash();
    assert!(left.path().join("appendonlydir").is_dir());
    let again = start(left);
    let value = again.ask(&["GET", "key"]).expect("it answers");
    assert_eq!(value, Reply::Bulk(b"one".to_vec()));
    let value = other.ask(&["GET", "key"]).expect("it answers");
    assert_eq!(value, Reply::Null);

    drop((again, other));
    let left = std::fs::read_dir(parent.path())
        .expect("it is there")
        .count();
    assert_eq!(left, 0);
}
