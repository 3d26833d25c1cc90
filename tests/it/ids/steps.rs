//! A wall clock that steps an hour forth and back, while the server runs and over its end: IDs
//! rise, or there is an error that says how far the clock is behind.

use libtest_mimic::{Failed, Trial};

use super::taken;
use crate::client::{Client, check};
use crate::durability::clocks::Wall;
use crate::durability::{Data, kill, stop};
use crate::need::{self, Program};

/// All trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let name = |name: &str| format!("ids::steps::{name}");
    let needs = &[Program::Faketime];
    vec![
        need::trial(&name("ids_rise_while_it_runs"), needs, while_it_runs),
        need::trial(&name("ids_rise_over_restarts"), needs, over_restarts),
    ]
}

const KINDS: [&str; 4] = ["SNOWFLAKE AS HEX", "UUID7", "ULID", "KSUID"];
const HOUR_S: i64 = 3_600;

/// Takes some of each kind; all are above the last. Answers whether there were any.
fn take(client: &mut Client, last: &mut [String; 4]) -> Result<bool, Failed> {
    let mut is_any = false;
    for (kind, last) in KINDS.iter().zip(last) {
        for id in taken(client, &format!("ID.NEXT {kind} COUNT 50"))? {
            check(id > *last, || format!("{kind}: {id} is not above {last}"))?;
            *last = id;
            is_any = true;
        }
    }
    Ok(is_any)
}

/// Fails unless the answer is that the clock is behind by about so much.
fn expect_behind(client: &mut Client, behind_s: i64) -> Result<(), Failed> {
    for kind in KINDS {
        let text = client.call(&format!("ID.NEXT {kind}"))?;
        let ms = text.strip_prefix("-CLOCK id clock is behind by ");
        let ms = ms.and_then(|rest| rest.strip_suffix(" ms"));
        let ms: Option<i64> = ms.and_then(|ms| ms.parse().ok());
        let is_about = ms.is_some_and(|ms| (ms / 1_000 - behind_s).abs() < 60);
        check(is_about, || format!("{kind}: {text}"))?;
    }
    Ok(())
}

fn while_it_runs() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let wall = Wall::new()?;
    let server = wall.start(&data)?;
    let mut client = Client::connect(server.port())?;
    let mut last: [String; 4] = Default::default();
    for offset_s in [0, -2, 0, HOUR_S, HOUR_S - 3, HOUR_S] {
        wall.put(offset_s)?;
        let is_any = take(&mut client, &mut last)?;
        check(is_any, || format!("no IDs at {offset_s} s"))?;
    }
    wall.put(0)?;
    expect_behind(&mut client, HOUR_S)?;
    // A number needs no clock.
    client.expect("ID.RANGE r", "*2 :1 :1")?;
    wall.put(HOUR_S)?;
    check(take(&mut client, &mut last)?, || {
        "no IDs once the clock is right".to_owned()
    })?;
    kill(server)
}

fn over_restarts() -> Result<(), Failed> {
    for is_clean in [false, true] {
        let data = Data::new("everysec", 2)?;
        let wall = Wall::new()?;
        let mut last: [String; 4] = Default::default();
        for offset_s in [0, -2, HOUR_S, HOUR_S - 2] {
            wall.put(offset_s)?;
            let server = wall.start(&data)?;
            let mut client = Client::connect(server.port())?;
            let is_any = take(&mut client, &mut last)?;
            check(is_any, || format!("no IDs at {offset_s} s"))?;
            if is_clean {
                stop(server)?;
            } else {
                kill(server)?;
            }
        }
        wall.put(0)?;
        let server = wall.start(&data)?;
        let mut client = Client::connect(server.port())?;
        expect_behind(&mut client, HOUR_S)?;
        wall.put(HOUR_S)?;
        check(take(&mut client, &mut last)?, || "no IDs".to_owned())?;
        kill(server)?;
    }
    Ok(())
}
