//! Ends: by signal and by SHUTDOWN, with work in flight, with clients that do not cooperate.

#![expect(
    clippy::disallowed_methods,
    reason = "how long a stop may take is real time"
)]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::Case;
use crate::client::{Client, REPLY_MAX, check, eventually};
use crate::process::{Launch, Server};
use crate::resp;

pub(super) const CASES: &[Case] = &[
    ("sigterm_and_sigint", signals),
    ("shutdown_command", shutdown),
    ("a_pipeline_in_flight_is_answered", pipeline),
    ("writers_are_cut_at_a_reply_boundary", writers),
    (
        "unread_replies_and_half_commands_do_not_hold_it",
        uncooperative,
    ),
    ("a_second_signal_is_obeyed_at_once", second_signal),
    ("nobody_new_gets_in", nobody_new),
];

/// The whole of a stop.
const STOP_MAX: Duration = Duration::from_secs(5);

fn server() -> Result<Server, String> {
    Launch::on_free_port(&["--io-threads", "2"])?.start()
}

fn expect_exit(server: &mut Server, code: i32, time_max: Duration) -> Result<(), Failed> {
    let exit = server.exit_within(time_max)?;
    check(exit.code == Some(code), || format!("{exit:?}"))
}

fn signals() -> Result<(), Failed> {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = server()?;
        let mut idle = Client::connect(server.port())?;
        idle.expect("PING", "+PONG")?;
        server.signal(signal)?;
        idle.expect_end()?;
        expect_exit(&mut server, 0, STOP_MAX)?;
    }
    Ok(())
}

fn shutdown() -> Result<(), Failed> {
    for command in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN NOW FORCE"] {
        let mut server = server()?;
        let mut client = Client::connect(server.port())?;
        client.expect("SHUTDOWN ABORT", "-ERR No shutdown in progress.")?;
        client.send(command)?;
        client.expect_end()?;
        expect_exit(&mut server, 0, STOP_MAX)?;
    }
    Ok(())
}

/// What the server had received when the signal came is answered, all of it, however much.
fn pipeline() -> Result<(), Failed> {
    const COMMANDS: usize = 3_000;
    let mut server = server()?;
    let mut client = Client::connect(server.port())?;
    let mut writer = client.stream().try_clone()?;
    let command = resp::words(r#"APPEND k "\*1000{x}""#)?;
    let commands = resp::encode(&command).repeat(COMMANDS);
    let sent = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &commands));
    client.receive()?;
    // Whoever reads cannot keep the writer waiting, so all is sent once the thread is done.
    let mut replies = vec![];
    while !sent.is_finished() {
        replies.push(client.receive()?);
    }
    sent.join().map_err(|_| "the writer panicked")??;
    server.signal(Signal::TERM)?;
    replies.extend(client.replies_to_end()?);
    let last = replies.last().map(|reply| reply.lines().concat());
    check(last == Some(format!(":{COMMANDS}000")), || {
        format!("the last of {} replies: {last:?}", replies.len())
    })?;
    expect_exit(&mut server, 0, STOP_MAX)
}

/// Clients that go on and on: each sees whole replies, in order, and then the end.
fn writers() -> Result<(), Failed> {
    let mut server = server()?;
    let port = server.port();
    let clients: Vec<_> = (0..8)
        .map(|client| std::thread::spawn(move || write_until_cut(port, client)))
        .collect();
    let mut watcher = Client::connect(port)?;
    eventually("all clients write", REPLY_MAX, || {
        let keys = watcher.number("DBSIZE")?;
        Ok((keys == 8).then_some(()))
    })?;
    server.signal(Signal::TERM)?;
    for client in clients {
        client.join().map_err(|_| "a client panicked")??;
    }
    expect_exit(&mut server, 0, STOP_MAX)
}

fn write_until_cut(port: u16, number: usize) -> Result<(), Failed> {
    let mut client = Client::connect(port)?;
    let mut counted = 0;
    let batch = resp::encode(&resp::words(&format!("INCR n{number}"))?).repeat(100);
    loop {
        if client.send_raw(&batch).is_err() {
            return client.replies_to_end().map(drop);
        }
        for _ in 0..100 {
            let Ok(reply) = client.receive() else {
                return client.replies_to_end().map(drop);
            };
            counted += 1;
            let line = reply.lines().concat();
            check(line == format!(":{counted}"), || {
                format!("{line} as reply {counted}")
            })?;
        }
    }
}

/// A connection with replies that nobody reads, and one with half a command.
fn uncooperative() -> Result<(), Failed> {
    let mut server = server()?;
    let _deaf = deaf_client(&server)?;
    let mut half = Client::connect(server.port())?;
    half.send_raw(b"*2\r\n$4\r\nECHO\r\n$10\r\nhalf")?;
    server.signal(Signal::TERM)?;
    half.expect_end()?;
    expect_exit(&mut server, 0, STOP_MAX)
}

/// A connection whose replies the server cannot get rid of: more than the sockets' buffers hold.
fn deaf_client(server: &Server) -> Result<Client, Failed> {
    let mut client = Client::connect_deaf(server.port())?;
    client.expect(r#"SET big "\*1048576{x}""#, "+OK")?;
    client.send_raw(&resp::encode(&resp::words("GET big")?).repeat(50))?;
    let mut watcher = Client::connect(server.port())?;
    eventually("replies pile up", REPLY_MAX, || {
        let bytes = watcher.info_field("mem_clients_normal")?;
        Ok((bytes > 1 << 20).then_some(()))
    })?;
    Ok(client)
}

fn second_signal() -> Result<(), Failed> {
    let mut server = server()?;
    let _deaf = deaf_client(&server)?;
    server.signal(Signal::TERM)?;
    server.log_line("stopping: answering what is in flight")?;
    let started = Instant::now();
    server.signal(Signal::INT)?;
    expect_exit(&mut server, 1, STOP_MAX)?;
    let took = started.elapsed();
    check(took < Duration::from_secs(1), || format!("{took:?}"))
}

/// While the last replies drain, the port is closed already.
fn nobody_new() -> Result<(), Failed> {
    let mut server = server()?;
    let _deaf = deaf_client(&server)?;
    server.signal(Signal::TERM)?;
    server.log_line("stopping: answering what is in flight")?;
    eventually("connections are refused", REPLY_MAX, || {
        let refused = TcpStream::connect(("127.0.0.1", server.port())).is_err();
        Ok(refused.then_some(()))
    })?;
    expect_exit(&mut server, 0, STOP_MAX)
}
