//! Everything a client can make with commands is there again after a restart, however the server
//! ended.

use libtest_mimic::Failed;

use super::{Data, kill, stop};
use crate::Case;
use crate::client::{Client, check};

pub(super) const CASES: &[Case] = &[
    ("after_a_stop", || everything(true)),
    ("after_kill_9", || everything(false)),
    ("an_empty_directory", empty),
    ("deadlines_that_pass_meanwhile", deadlines),
    ("lives_that_were_lengthened", lengthened),
    ("a_policy_changed_while_it_runs", policy_changed),
    ("without_appendonly_nothing_is_kept", not_kept),
];

/// Commands, and what they answer; a reply that begins with `~` is not looked at.
const COMMANDS: &[(&str, &str)] = &[
    ("SET text hello", "+OK"),
    ("SET binary \"\\x00\\r\\n\\xff\"", "+OK"),
    ("SET empty \"\"", "+OK"),
    ("SET long \"\\*300000{y}\"", "+OK"),
    ("APPEND text \" world\"", ":11"),
    ("APPEND fresh abc", ":3"),
    ("SETRANGE text 0 J", ":11"),
    ("SETRANGE padded 5 x", ":6"),
    ("INCR count", ":1"),
    ("INCRBY count 41", ":42"),
    ("DECR count", ":41"),
    ("DECRBY count 11", ":30"),
    ("INCRBYFLOAT float 0.1", "$3 0.1"),
    ("INCRBYFLOAT float 0.2", "$3 0.3"),
    ("SETNX once first", ":1"),
    ("SETNX once second", ":0"),
    ("GETSET once third", "$5 first"),
    ("SET once fourth XX GET", "$5 third"),
    ("MSET m1 1 m2 2 m3 3", "+OK"),
    ("MSETNX m4 4 m5 5", ":1"),
    ("GETDEL m5", "$1 5"),
    ("DEL m1 m2", ":2"),
    ("UNLINK m3", ":1"),
    ("SETEX seconds 1000 v", "+OK"),
    ("PSETEX milliseconds 2000000 v", "+OK"),
    ("SET kept v EX 3000", "+OK"),
    ("SET kept w KEEPTTL", "+OK"),
    ("SET absolute v EXAT 33000000000", "+OK"),
    ("SET persisted v EX 50", "+OK"),
    ("PERSIST persisted", ":1"),
    ("SET later v", "+OK"),
    ("EXPIRE later 5000", ":1"),
    ("GETEX later EX 6000", "$1 v"),
    ("SET gone v", "+OK"),
    ("PEXPIREAT gone 1", ":1"),
    ("SET old v EX 700", "+OK"),
    ("RENAME old new", "+OK"),
    ("COPY new copied", ":1"),
    ("COPY text text DB 2", ":1"),
    ("SET travels v EX 900", "+OK"),
    ("MOVE travels 3", ":1"),
    ("MULTI", "+OK"),
    ("SET in1 a", "+QUEUED"),
    ("INCRBY in2 7", "+QUEUED"),
    ("APPEND in1 b", "+QUEUED"),
    ("EXEC", "*3 +OK :7 :2"),
    ("MULTI", "+OK"),
    ("SET never v", "+QUEUED"),
    ("DISCARD", "+OK"),
    ("SELECT 4", "+OK"),
    ("SET flushed v", "+OK"),
    ("FLUSHDB", "+OK"),
    ("SET after-the-flush v", "+OK"),
    ("SELECT 5", "+OK"),
    ("SET five 5", "+OK"),
    ("SWAPDB 5 6", "+OK"),
    ("SET swapped-in-later 55", "+OK"),
    ("SELECT 6", "+OK"),
    ("APPEND five !", ":2"),
    ("SELECT 7", "+OK"),
    ("SET flushed-by-another v", "+OK"),
    ("SWAPDB 7 8", "+OK"),
    ("SELECT 8", "+OK"),
    ("FLUSHDB ASYNC", "+OK"),
    ("SET eight 8", "+OK"),
    ("SELECT 0", "+OK"),
];

const DATABASES: usize = 16;
/// How much less may be left of a deadline after a restart, in milliseconds.
const PASSED_MS_MAX: i64 = 20_000;

fn everything(is_stopped: bool) -> Result<(), Failed> {
    for policy in ["always", "everysec", "no"] {
        for workers in [1, 4] {
            let data = Data::new(policy, workers)?;
            let mut server = data.start()?;
            let mut client = Client::connect(server.port())?;
            for (line, reply) in COMMANDS {
                client.expect(line, reply)?;
            }
            let before = contents(&mut client)?;
            check(before.len() > 25, || format!("{} keys", before.len()))?;
            // The second restart reads what the first one left.
            for _ in 0..2 {
                if is_stopped {
                    stop(server)?;
                } else {
                    kill(server)?;
                }
                server = data.start()?;
                let after = contents(&mut Client::connect(server.port())?)?;
                expect_same(&before, &after)?;
            }
        }
    }
    Ok(())
}

/// A key by the number of its database and its name; its value, and what is left of it in ms.
type Contents = std::collections::BTreeMap<(usize, String), (String, i64)>;

fn contents(client: &mut Client) -> Result<Contents, Failed> {
    let mut contents = Contents::new();
    for database in 0..DATABASES {
        client.expect(&format!("SELECT {database}"), "+OK")?;
        let keys = client.call_reply("KEYS *")?.lines();
        for key in keys.iter().skip(2).step_by(2) {
            let value = client.call(&format!("GET {key}"))?;
            let left_ms = client.number(&format!("PTTL {key}"))?;
            contents.insert((database, key.clone()), (value, left_ms));
        }
        let size = client.number("DBSIZE")?;
        check(keys.len() as i64 == 2 * size + 1, || {
            format!("{size}: {keys:?}")
        })?;
    }
    client.expect("SELECT 0", "+OK")?;
    Ok(contents)
}

fn expect_same(before: &Contents, after: &Contents) -> Result<(), Failed> {
    for key in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(key), after.get(key));
        let is_same = match (old, new) {
            (Some((old, old_ms)), Some((new, new_ms))) => {
                let passed_ms = old_ms - new_ms;
                let is_passed = (0..PASSED_MS_MAX).contains(&passed_ms);
                old == new && (old_ms == new_ms || (*old_ms > 0 && is_passed))
            }
            _ => false,
        };
        check(is_same, || format!("{key:?} was {old:?} and is {new:?}"))?;
    }
    Ok(())
}

fn empty() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    for _ in 0..3 {
        let server = data.start()?;
        Client::connect(server.port())?.expect("DBSIZE", ":0")?;
        stop(server)?;
    }
    Ok(())
}

/// A deadline is a moment, not a time to go: what was due while no server ran is gone.
fn deadlines() -> Result<(), Failed> {
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("SET short v PX 300", "+OK")?;
    client.expect("SET long v PX 300000", "+OK")?;
    kill(server)?;
    std::thread::sleep(std::time::Duration::from_millis(350));
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    client.expect("GET short", "$-1")?;
    client.expect("GET long", "$1 v")?;
    client.expect("DBSIZE", ":1")
}

/// Loading goes block by block; in between nobody may decide that a key's time is over, for a later
/// frame may have given it more.
fn lengthened() -> Result<(), Failed> {
    const KEYS: usize = 200;
    const BETWEEN: usize = 30_000;
    let data = Data::new("everysec", 2)?;
    let server = data.start()?;
    let mut client = Client::connect(server.port())?;
    for key in 0..KEYS {
        client.expect(&format!("SET life{key} v PX 2000"), "+OK")?;
    }
    client.send_raw("INCR n\r\n".repeat(BETWEEN).as_bytes())?;
    for n in 1..=BETWEEN {
        let reply = client.receive()?.lines().join(" ");
        check(reply == format!(":{n}"), || reply.clone())?;
    }
    for key in 0..KEYS {
        client.expect(&format!("PERSIST life{key}"), ":1")?;
    }
    kill(server)?;
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let server = data.start()?;
    Client::connect(server.port())?.expect("DBSIZE", &format!(":{}", KEYS + 1))
}

fn policy_changed() -> Result<(), Failed> {
    let data = Data::new("no", 2)?;
    let mut server = data.start()?;
    for round in 0..3 {
        let mut client = Client::connect(server.port())?;
        for policy in ["always", "everysec", "no"] {
            client.expect(&format!("CONFIG SET appendfsync {policy}"), "+OK")?;
            for key in 0..50 {
                client.expect(&format!("SET {policy}{key} {round}"), "+OK")?;
            }
        }
        kill(server)?;
        server = data.start()?;
        let mut client = Client::connect(server.port())?;
        client.expect("DBSIZE", ":150")?;
        for policy in ["always", "everysec", "no"] {
            for key in 0..50 {
                client.expect(&format!("GET {policy}{key}"), &format!("$1 {round}"))?;
            }
        }
    }
    Ok(())
}

fn not_kept() -> Result<(), Failed> {
    let data = Data::with(&["--appendonly", "no"])?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("SET k v", "+OK")?;
    stop(server)?;
    let server = data.start()?;
    Client::connect(server.port())?.expect("DBSIZE", ":0")
}
