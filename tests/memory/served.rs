//! The server as it is served: what it holds at its start, and for connections that do nothing.

use crate::ALLOCATOR;
use crate::stage::Growth;
use linchpin_server::config::{Settings, Sources};
use linchpin_server::net::{self, Start};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

const CONNECTIONS: usize = 500;
const CLIENT_BUFFER_BYTES: usize = 64;

/// What is counted for the program, and for each idle connection, is what the allocator gave.
pub(crate) fn exact() {
    let allocated_before = ALLOCATOR.bytes();
    let (ready, is_ready) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut settings = Settings::default();
        settings.port = 0;
        settings.bind = vec!["127.0.0.1".to_owned()];
        let sources = Sources {
            args: &[],
            env: &[],
            read_file: &|_| Ok(String::new()),
        };
        let on_ready = |place: &str| drop(ready.send(place.to_owned()));
        net::run(Start {
            settings,
            config_file: None,
            workers: 2,
            sources,
            on_ready: &on_ready,
        })
    });
    let place = is_ready.recv().expect("the server starts");
    let mut client = Client::connect(&place);
    let allocated = ALLOCATOR.bytes() - allocated_before;
    let used = client.field("used_memory");
    Growth { used, allocated }.check("at the start");

    // What the test itself needs for them is no part of the count.
    let mut others = Vec::with_capacity(CONNECTIONS);
    let before = ALLOCATOR.bytes();
    others.extend((0..CONNECTIONS).map(|_| Client::connect(&place)));
    let allocated = ALLOCATOR.bytes() - before - CONNECTIONS * CLIENT_BUFFER_BYTES;
    let used = client.field("used_memory") - used;
    Growth { used, allocated }.check("with idle connections");
    drop(others);
    client.call("SHUTDOWN\r\n");
    server.join().expect("no panic").expect("it ends well");
}

struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and waits until a worker has taken the connection.
    fn connect(place: &str) -> Self {
        let stream = TcpStream::connect(place).expect("it listens");
        let mut client = Self(BufReader::with_capacity(CLIENT_BUFFER_BYTES, stream));
        assert_eq!(client.call("PING\r\n"), "+PONG\r\n");
        client
    }

    /// Sends a command; answers the first line of its reply.
    fn call(&mut self, command: &str) -> String {
        let sent = self.0.get_mut().write_all(command.as_bytes());
        sent.expect("it listens");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply");
        line
    }

    /// A number of `INFO memory`.
    fn field(&mut self, name: &str) -> usize {
        let header = self.call("INFO memory\r\n");
        let len = header.trim_start_matches('$').trim_end().parse();
        let mut text = vec![0; len.unwrap_or(0) + 2];
        self.0.read_exact(&mut text).expect("the whole reply");
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.strip_prefix(':'));
        let number = number.and_then(|number| number.parse().ok());
        number.expect("a field of INFO")
    }
}
