//! The journal switched off and on while the server runs: what is said to be on disk again is.

use std::time::Duration;

use libtest_mimic::Failed;

use super::{Data, kill, writers};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("on_for_the_first_time", first_time),
    ("off_and_on_among_writers", among_writers),
];

/// Keys that a snapshot takes a while to write.
const KEYS: usize = 100_000;

fn fill(client: &mut Client) -> Result<(), Failed> {
    const AT_ONCE: usize = 1_000;
    for first in (0..KEYS).step_by(AT_ONCE) {
        let pairs: Vec<_> = (first..first + AT_ONCE)
            .map(|key| format!("filler{key} {key}"))
            .collect();
        client.expect(&format!("MSET {}", pairs.join(" ")), "+OK")?;
    }
    Ok(())
}

/// Before there is a snapshot a crash loses all: WAITAOF waits for it.
fn first_time() -> Result<(), Failed> {
    let data = Data::with(&["--appendonly", "no", "--io-threads", "2"])?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    fill(&mut client)?;
    client.expect("CONFIG SET appendonly yes", "+OK")?;
    client.expect("WAITAOF 0 0 0", "*2 :0 :0")?;
    client.expect("SET last v", "+OK")?;
    client.expect("WAITAOF 1 0 0", "*2 :1 :0")?;
    kill(server)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("GET last", "$1 v")?;
    client.expect("DBSIZE", &format!(":{}", KEYS + 1))?;
    kill(server)
}

/// What was acknowledged from the first snapshot on is kept, and all before it is in that.
fn among_writers() -> Result<(), Failed> {
    for policy in ["always", "everysec"] {
        let data = Data::new(policy, 2)?;
        let mut writers = writers::crew(4, 100, 10);
        for round in 0..3 {
            let server = data.start()?;
            writers::settle(&mut writers, server.port())?;
            let mut client = Client::connect(server.port())?;
            if round == 0 {
                fill(&mut client)?;
            }
            let port = server.port();
            writers::write_during(&mut writers, port, || {
                for pause_ms in [0, 30, 400] {
                    let pause = Duration::from_millis(pause_ms);
                    client.expect("CONFIG SET appendonly no", "+OK")?;
                    std::thread::sleep(pause);
                    client.expect("CONFIG SET appendonly yes", "+OK")?;
                    std::thread::sleep(pause);
                }
                client.expect("SET control v", "+OK")?;
                client.expect("WAITAOF 1 0 0", "*2 :1 :0")?;
                std::thread::sleep(Duration::from_millis(100));
                kill(server)
            })?;
        }
        let acked = writers::acked(&writers);
        check(acked > 0, || "nothing was written".to_owned())?;
        let server = data.start()?;
        writers::settle(&mut writers, server.port())?;
        kill(server)?;
    }
    Ok(())
}
