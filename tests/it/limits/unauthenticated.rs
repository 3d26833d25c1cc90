//! What a connection gets before it has said the password: almost nothing.

use std::time::Duration;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};

use libtest_mimic::{Failed, Trial};
use socket2::{Domain, Socket, Type};

use crate::Case;
use crate::client::{Client, check, eventually};
use crate::process::{Launch, Server};
use crate::resp::{encode, words};

pub(super) const CASES: &[Case] = &[
    ("ten_arguments", arguments),
    ("bulks_of_16_kib", bulks),
    ("64_kib_without_a_whole_command", query_buffer),
    ("1_kib_of_unread_replies", unread),
    ("ten_seconds_to_say_the_password", in_time),
    ("a_password_lifts_the_limits", lifted),
];

const NO_AUTH: &str = "-NOAUTH Authentication required.";
const WRONG_PASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

fn server() -> Result<Server, String> {
    Launch::on_free_port(&["--requirepass", "secret"])?.start()
}

/// Fails unless `bytes` end the connection with this line, or none, and no other connection.
fn expect_cut(server: &Server, bytes: &[u8], line: &[&str]) -> Result<(), Failed> {
    let mut other = Client::connect(server.port())?;
    let mut client = Client::connect(server.port())?;
    // The server may have closed before all was sent.
    let _ = client.send_raw(bytes);
    let mut got = Vec::new();
    for reply in client.replies_to_end()? {
        got.extend(reply.lines());
    }
    check(got == line, || format!("{got:?}"))?;
    other.expect("PING", NO_AUTH)
}

fn arguments() -> Result<(), Failed> {
    let server = server()?;
    Client::connect(server.port())?.expect("DEL a b c d e f g h i", NO_AUTH)?;
    let line = "-ERR Protocol error: unauthenticated multibulk length";
    expect_cut(&server, b"*11\r\n", &[line])
}

fn bulks() -> Result<(), Failed> {
    let server = server()?;
    Client::connect(server.port())?.expect(r#"GET "\*16384{k}""#, NO_AUTH)?;
    let line = "-ERR Protocol error: unauthenticated bulk length";
    expect_cut(&server, b"*2\r\n$3\r\nGET\r\n$16385\r\n", &[line])
}

/// Ten arguments that are each short enough, but not together.
fn query_buffer() -> Result<(), Failed> {
    let server = server()?;
    let bulk = [b"$16384\r\n", "x".repeat(16_384).as_bytes(), b"\r\n"].concat();
    let bytes = [&b"*10\r\n"[..], &bulk.repeat(6)].concat();
    expect_cut(&server, &bytes, &[])?;
    let mut client = Client::connect(server.port())?;
    client.send_raw(&[&b"*10\r\n"[..], &bulk.repeat(3)].concat())?;
    client.send_raw(&b"$1\r\nx\r\n".repeat(7))?;
    let reply = client.receive()?.lines().concat();
    check(reply == NO_AUTH, || reply)
}

fn unread() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect_deaf(server.port())?;
    let pings = encode(&words("PING")?).repeat(1_000);
    // Replies wait in the kernel's buffers first; once those are full, 1 KiB is the end.
    let mut sent = 0;
    while sent < 2_000_000 && client.send_raw(&pings).is_ok() {
        sent += 1_000;
    }
    check(sent < 2_000_000, || "it goes on and on".to_owned())?;
    let mut other = Client::connect(server.port())?;
    other.expect("AUTH secret", "+OK")?;
    other.await_info("connected_clients", 1)?;
    other.await_info("client_output_buffer_limit_disconnections", 1)
}

fn in_time() -> Result<(), Failed> {
    let server = server()?;
    let mut silent = Client::connect(server.port())?;
    let mut talker = Client::connect(server.port())?;
    let mut other = Client::connect(server.port())?;
    other.expect("AUTH secret", "+OK")?;
    // Commands that are refused buy no time.
    eventually("the two are cut", Duration::from_secs(12), || {
        let _ = talker.call("PING");
        let clients = other.info_field("connected_clients")?;
        Ok((clients == 1).then_some(()))
    })?;
    silent.expect_end()?;
    let uptime_s = other.info_field("uptime_in_seconds")?;
    check(uptime_s >= 9, || format!("after {uptime_s} s"))
}

fn lifted() -> Result<(), Failed> {
    let server = server()?;
    let mut client = Client::connect(server.port())?;
    client.expect("AUTH wrong", WRONG_PASS)?;
    client.expect("AUTH secret", "+OK")?;
    client.expect("DEL a b c d e f g h i j k", ":0")?;
    client.expect(r#"SET k "\*100000{x}""#, "+OK")?;
    client.expect("STRLEN k", ":100000")?;
    let mut client = Client::connect(server.port())?;
    client.send("HELLO 3 AUTH default secret")?;
    client.receive()?;
    client.expect("STRLEN k", ":100000")
}

/// An address by which other machines would reach this one.
fn own_address() -> Option<IpAddr> {
    // A datagram socket sends nothing when it connects; the address is from the range for examples.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Ignored where this machine has no address but loopback ones.
pub(super) fn denied_trial() -> Trial {
    let address = own_address();
    let name = "limits::unauthenticated::others_are_denied_without_a_password";
    Trial::test(name, move || {
        address.map_or(Err("no address".into()), denied)
    })
    .with_ignored_flag(address.is_none())
}

/// A client of another machine, as far as the server can see: it comes from an address that is not
/// loopback.
fn denied(address: IpAddr) -> Result<(), Failed> {
    let server = Launch::on_free_port(&[])?.start()?;
    let said = |bytes: &[u8]| -> Result<String, Failed> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], server.port())).into())?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    let reply = said(b"")?;
    check(reply.starts_with("-DENIED Linchpin "), || reply)?;
    let mut client = Client::connect(server.port())?;
    client.expect("CONFIG SET protected-mode no", "+OK")?;
    let reply = said(b"PING\r\n")?;
    check(reply == "+PONG\r\n", || reply)
}
