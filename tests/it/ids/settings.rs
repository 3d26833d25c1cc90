//! How snowflakes are made up is a setting, until the first one is given out.

use libtest_mimic::Failed;

use crate::Case;
use crate::client::{Client, check};
use crate::durability::{Data, kill};

pub(super) const CASES: &[Case] = &[
    ("a_layout_that_was_used_stays", fixed),
    ("settings_that_make_no_snowflakes_are_refused", refused),
];

const WORKER_7: &[&str] = &[
    "--id-snowflake-worker",
    "7",
    "--id-snowflake-epoch",
    "1700000000000",
    "--id-snowflake-layout",
    "42 5 10",
];

fn fixed() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    // Nothing is fixed as long as no snowflake was given out.
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    let uuid = client.call("ID.NEXT UUID7")?;
    check(uuid.starts_with("$36 "), || uuid.clone())?;
    kill(server)?;
    let server = crate::durability::loaded(data.launch(WORKER_7)?.start()?)?;
    let mut client = Client::connect(server.port())?;
    let text = client.call("ID.NEXT SNOWFLAKE AS HEX")?;
    let id = text.strip_prefix("$16 ").ok_or_else(|| text.clone())?;
    let parts = client.call(&format!("ID.DECODE SNOWFLAKE {id} AS HEX"))?;
    check(parts.contains(" :7 :"), || parts.clone())?;
    let number = u64::from_str_radix(id, 16)?;
    check(number >> 10 & 31 == 7, || {
        format!("{id} is not of worker 7")
    })?;
    kill(server)?;
    let refused = data.launch(&[])?.run()?;
    check(refused.code == Some(78), || format!("{refused:?}"))?;
    check(
        format!("{refused:?}").contains("id-snowflake-worker"),
        || format!("{refused:?}"),
    )?;
    let server = crate::durability::loaded(data.launch(WORKER_7)?.start()?)?;
    let mut client = Client::connect(server.port())?;
    let text = client.call("ID.NEXT SNOWFLAKE AS HEX")?;
    let later = text.strip_prefix("$16 ").ok_or_else(|| text.clone())?;
    check(later > id, || format!("{later} is not above {id}"))?;
    kill(server)
}

fn refused() -> Result<(), Failed> {
    let data = Data::new("everysec", 1)?;
    for setting in [
        ["--id-snowflake-worker", "1024"],
        ["--id-snowflake-layout", "42 10 12"],
        ["--id-snowflake-layout", "31 10 12"],
        ["--id-snowflake-layout", "41 10 0"],
        ["--id-snowflake-layout", "41 10"],
        ["--id-snowflake-epoch", "-1"],
        ["--id-clock-bound", "-1"],
    ] {
        let exit = data.launch(&setting)?.run()?;
        let is_refused = exit.code.is_some_and(|code| code != 0);
        check(is_refused, || format!("{setting:?}: {exit:?}"))?;
    }
    Ok(())
}
