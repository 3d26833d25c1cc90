//! The Rust crate `redis`: its blocking connection in RESP2 and RESP3, its multiplexed one, and its
//! connection manager.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a program outside may take is real time"
)]

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use redis::aio::ConnectionManagerConfig;
use redis::{
    AsyncCommands as _, AsyncConnectionConfig, Client, Commands as _, Connection,
    ConnectionLike as _, ErrorKind, Expiry, RedisError, RedisResult, ServerErrorKind, cmd, pipe,
};

use crate::process::Server;

const CALL_MAX: Duration = Duration::from_secs(10);
const EXPIRY_WAIT_MAX: Duration = Duration::from_secs(5);
const SCANNED_KEYS: usize = 1_000;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Case = (&'static str, fn(&Peer) -> Outcome);

/// Where the server listens, and which protocol a case speaks to it.
struct Peer {
    port: u16,
    protocol: &'static str,
}

impl Peer {
    fn client(&self, userinfo: &str) -> RedisResult<Client> {
        let Peer { port, protocol } = self;
        Client::open(format!(
            "redis://{userinfo}127.0.0.1:{port}/?protocol={protocol}"
        ))
    }

    fn connection(&self) -> RedisResult<Connection> {
        let connection = self.client("")?.get_connection_with_timeout(CALL_MAX)?;
        connection.set_read_timeout(Some(CALL_MAX))?;
        Ok(connection)
    }

    /// A connection to an empty server.
    fn fresh(&self) -> RedisResult<Connection> {
        let mut connection = self.connection()?;
        cmd("FLUSHALL").exec(&mut connection)?;
        Ok(connection)
    }
}

const CASES: &[Case] = &[
    ("connect", connect),
    ("pipeline", pipeline),
    ("transactions", transactions),
    ("ttl", ttl),
    ("scan", scan),
    ("binary", binary),
    ("errors", errors),
    ("reconnect", reconnect),
    ("auth", auth),
    ("multiplexed", multiplexed),
];

/// Every case in RESP2 and in RESP3.
pub(super) fn run(server: &Server) -> Result<(), Failed> {
    for protocol in ["resp2", "resp3"] {
        let peer = Peer {
            port: server.port(),
            protocol,
        };
        for (name, case) in CASES {
            case(&peer).map_err(|error| format!("{protocol} {name}: {error}"))?;
        }
    }
    Ok(())
}

fn equal<T: PartialEq + Debug>(found: T, wanted: T) -> Outcome {
    match (found, wanted) {
        (found, wanted) if found == wanted => Ok(()),
        (found, wanted) => Err(format!("found {found:?}, wanted {wanted:?}").into()),
    }
}

fn within(found: i64, min: i64, max: i64) -> Outcome {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(format!("{found} is not within {min}..={max}").into())
}

/// `reply` must be an error of the crate's own `kind`, with `text` in it.
fn refused<T: Debug>(reply: RedisResult<T>, kind: ErrorKind, text: &str) -> Outcome {
    match reply {
        Err(error) if error.kind() == kind && error.to_string().contains(text) => Ok(()),
        reply => Err(format!("found {reply:?}, wanted {kind:?}: {text}").into()),
    }
}

fn connect(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    equal(connection.ping::<String>()?, "PONG".to_owned())?;
    let hello: redis::Value = cmd("HELLO").query(&mut connection)?;
    let is_map = matches!(hello, redis::Value::Map(_));
    equal(is_map, peer.protocol == "resp3")?;
    cmd("CLIENT")
        .arg("SETNAME")
        .arg("redis-rs-suite")
        .exec(&mut connection)?;
    let name: String = cmd("CLIENT").arg("GETNAME").query(&mut connection)?;
    equal(name, "redis-rs-suite".to_owned())?;
    let info: redis::InfoDict = cmd("INFO").query(&mut connection)?;
    equal(info.get("loading"), Some(0))
}

fn pipeline(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    let mut calls = pipe();
    for n in 0..1000 {
        calls.set(format!("pipe:{n}"), n).ignore().incr("count", 1);
    }
    equal(
        calls.query::<Vec<u32>>(&mut connection)?,
        (1..=1000).collect(),
    )?;
    equal(
        calls.atomic().query::<Vec<u32>>(&mut connection)?,
        (1001..=2000).collect(),
    )?;
    let found: Vec<Option<u32>> = connection.mget(&["pipe:0", "pipe:999", "absent"])?;
    equal(found, vec![Some(0), Some(999), None])
}

fn transactions(peer: &Peer) -> Outcome {
    let (mut connection, mut rival) = (peer.fresh()?, peer.connection()?);
    let mut tries = 0;
    let (stock,): (u32,) = redis::transaction(&mut connection, &["stock"], |connection, calls| {
        let stock: Option<u32> = connection.get("stock")?;
        if tries == 0 {
            // Somebody else is faster: the crate has to watch, read and try again.
            rival.set::<_, _, ()>("stock", 100)?;
        }
        tries += 1;
        calls
            .set("stock", stock.unwrap_or(0) + 1)
            .ignore()
            .get("stock")
            .query(connection)
    })?;
    equal((tries, stock), (2, 101))?;
    let aborted = pipe()
        .atomic()
        .set("stock", 0)
        .cmd("INCR")
        .query::<()>(&mut connection);
    let abort = ErrorKind::Server(ServerErrorKind::ExecAbort);
    refused(aborted, abort, "")?;
    equal(connection.get::<_, u32>("stock")?, 101)
}

fn ttl(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    connection.set_ex::<_, _, ()>("lease", "x", 100)?;
    within(connection.ttl("lease")?, 99, 100)?;
    equal(connection.persist::<_, bool>("lease")?, true)?;
    equal(connection.ttl::<_, i64>("lease")?, -1)?;
    equal(connection.ttl::<_, i64>("absent")?, -2)?;
    equal(
        connection.get_ex::<_, String>("lease", Expiry::EX(50))?,
        "x".to_owned(),
    )?;
    within(connection.ttl("lease")?, 49, 50)?;
    connection.pset_ex::<_, _, ()>("short", "x", 20)?;
    let started = Instant::now();
    while connection.exists::<_, bool>("short")? {
        if started.elapsed() > EXPIRY_WAIT_MAX {
            return Err("a key of 20 ms does not expire".into());
        }
    }
    Ok(())
}

fn scan(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    let wanted: HashSet<String> = (0..SCANNED_KEYS).map(|n| format!("scan:{n}")).collect();
    let pairs: Vec<(&String, u8)> = wanted.iter().map(|key| (key, 1)).collect();
    connection.mset::<_, _, ()>(&pairs)?;
    connection.set::<_, _, ()>("other", 1)?;
    let found: HashSet<String> = connection
        .scan_match::<_, String>("scan:*")?
        .collect::<RedisResult<_>>()?;
    equal(found == wanted, true)
}

fn binary(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    let key: Vec<u8> = (0..=255).collect();
    let value = key.repeat(4096);
    connection.set::<_, _, ()>(&key, &value)?;
    equal(connection.get::<_, Vec<u8>>(&key)? == value, true)?;
    equal(connection.strlen::<_, usize>(&key)?, 1 << 20)?;
    equal(
        connection.getrange::<_, Vec<u8>>(&key, 255, 257)?,
        vec![255, 0, 1],
    )?;
    equal(connection.keys::<_, Vec<Vec<u8>>>("*")?, vec![key])
}

fn errors(peer: &Peer) -> Outcome {
    let mut connection = peer.fresh()?;
    let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
    connection.set::<_, _, ()>("word", "abc")?;
    let mut call = |parts: &[&str]| -> RedisResult<redis::Value> {
        cmd(parts[0]).arg(&parts[1..]).query(&mut connection)
    };
    refused(
        call(&["INCR", "word"]),
        kind,
        "value is not an integer or out of range",
    )?;
    refused(
        call(&["GET"]),
        kind,
        "wrong number of arguments for 'get' command",
    )?;
    refused(call(&["SET", "k", "v", "NX", "XX"]), kind, "syntax error")?;
    refused(call(&["NOSUCH"]), kind, "unknown command 'NOSUCH'")?;
    refused(call(&["EXEC"]), kind, "EXEC without MULTI")?;
    equal(connection.ping::<String>()?, "PONG".to_owned())
}

fn kill(killer: &mut Connection, id: u64) -> Outcome {
    let killed: u64 = cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(killer)?;
    equal(killed, 1)
}

/// A blocking connection says that it is closed, and the client makes another.
fn reconnect(peer: &Peer) -> Outcome {
    let (mut connection, mut killer) = (peer.fresh()?, peer.connection()?);
    let id: u64 = cmd("CLIENT").arg("ID").query(&mut connection)?;
    kill(&mut killer, id)?;
    let lost = connection
        .ping::<String>()
        .err()
        .ok_or("the killed connection still answers")?;
    equal(lost.is_connection_dropped(), true)?;
    equal(connection.is_open(), false)?;
    equal(peer.connection()?.ping::<String>()?, "PONG".to_owned())
}

fn auth(peer: &Peer) -> Outcome {
    let mut admin = peer.connection()?;
    cmd("CONFIG")
        .arg(&["SET", "requirepass", "secret"])
        .exec(&mut admin)?;
    let ping = |userinfo: &str| -> Result<String, RedisError> {
        peer.client(userinfo)?
            .get_connection_with_timeout(CALL_MAX)?
            .ping()
    };
    equal(ping(":secret@")?, "PONG".to_owned())?;
    equal(ping("default:secret@")?, "PONG".to_owned())?;
    let wrong = ping(":wrong@").err().ok_or("a wrong password is let in")?;
    // The crate's own kind where it sends AUTH, the server's code where HELLO carries it.
    let is_refusal =
        wrong.kind() == ErrorKind::AuthenticationFailed || wrong.code() == Some("WRONGPASS");
    equal(is_refusal, true)?;
    let none = ping("").err().ok_or("no password is let in")?;
    equal(none.code(), Some("NOAUTH"))?;
    cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .exec(&mut admin)?;
    equal(ping("")?, "PONG".to_owned())
}

/// Many tasks share one connection; a connection manager makes a new one when it is killed.
fn multiplexed(peer: &Peer) -> Outcome {
    let mut killer = peer.fresh()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = peer.client("")?;
        // The crate's own bounds, a second and less, are short for a machine busy with tests.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CALL_MAX))
            .set_response_timeout(Some(CALL_MAX));
        let shared = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let tasks: Vec<_> = (0..100_u32)
            .map(|n| {
                let mut shared = shared.clone();
                tokio::spawn(async move {
                    shared.set::<_, _, ()>(n, n).await?;
                    shared.incr::<_, _, u32>("count", 1).await?;
                    shared.get::<_, u32>(n).await
                })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            equal(task.await??, n)?;
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CALL_MAX))
            .set_response_timeout(Some(CALL_MAX));
        let mut managed = client.get_connection_manager_with_config(config).await?;
        equal(managed.get::<_, u32>("count").await?, 100)?;
        let id: u64 = cmd("CLIENT").arg("ID").query_async(&mut managed).await?;
        kill(&mut killer, id)?;
        // The call that finds the connection dead fails; the manager then connects anew.
        let started = Instant::now();
        while managed.get::<_, u32>("count").await.ok() != Some(100) {
            if started.elapsed() > CALL_MAX {
                return Err("the connection manager does not come back".into());
            }
        }
        let again: u64 = cmd("CLIENT").arg("ID").query_async(&mut managed).await?;
        equal(again == id, false)
    })
}
