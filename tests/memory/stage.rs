//! A server in this process, and what both it and the allocator say of its memory.

use crate::ALLOCATOR;
use linchpin_server::engine::SHARDS_DEFAULT;
use linchpin_server::inproc::{Inproc, InprocOptions};
use std::fmt::Write as _;

/// The server, one connection to it, and what was held before anything was asked.
pub(crate) struct Stage {
    pub(crate) server: Inproc,
    connection: usize,
    used_start: usize,
    allocated_start: usize,
}

/// What came since the start, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// By `INFO`.
    pub(crate) used: usize,
    /// By the allocator.
    pub(crate) allocated: usize,
}

impl Growth {
    /// # Panics
    /// If the two differ by more than a twentieth of what the allocator says.
    pub(crate) fn check(self, when: &str) {
        let Self { used, allocated } = self;
        assert!(
            used.abs_diff(allocated) <= allocated / 20,
            "{when}: the server says {used} bytes, the allocator {allocated}"
        );
    }
}

impl Stage {
    /// With the real number of shards.
    pub(crate) fn new() -> Self {
        Self::with_shards(SHARDS_DEFAULT)
    }

    /// With fewer, each has as much as it would have among many more keys.
    pub(crate) fn with_shards(shards: usize) -> Self {
        let mut server = Inproc::new(InprocOptions {
            shards,
            is_recorded: false,
            ..Default::default()
        });
        let connection = server.connect();
        let mut stage = Self {
            server,
            connection,
            used_start: 0,
            allocated_start: 0,
        };
        // The first use of anything may leave something behind for good.
        stage.run("SET warm up\r\nMEMORY USAGE warm\r\nDEL warm\r\nINFO memory\r\n");
        stage.used_start = stage.used();
        stage.allocated_start = ALLOCATOR.bytes();
        stage
    }

    /// Sends commands and answers their replies.
    pub(crate) fn run(&mut self, commands: &str) -> String {
        self.run_bytes(commands.as_bytes())
    }

    pub(crate) fn run_bytes(&mut self, commands: &[u8]) -> String {
        self.server.send(self.connection, commands);
        String::from_utf8_lossy(&self.server.take_output(self.connection)).into_owned()
    }

    /// `used_memory`, as `INFO` tells it.
    pub(crate) fn used(&mut self) -> usize {
        self.field("used_memory")
    }

    /// A number of `INFO`.
    pub(crate) fn field(&mut self, name: &str) -> usize {
        let text = self.run("INFO everything\r\n");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.strip_prefix(':'));
        number
            .and_then(|number| number.parse().ok())
            .expect("a field of INFO")
    }

    pub(crate) fn growth(&mut self) -> Growth {
        self.server.settle();
        let used = self.used().saturating_sub(self.used_start);
        let allocated = ALLOCATOR.bytes().saturating_sub(self.allocated_start);
        Growth { used, allocated }
    }

    /// The sum of `MEMORY USAGE` over these keys.
    pub(crate) fn usage(&mut self, keys: impl Iterator<Item = u64>) -> usize {
        let mut sum = 0;
        let mut commands = String::new();
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            commands.clear();
            for key in keys.by_ref().take(1_000) {
                let _ = write!(commands, "MEMORY USAGE key:{key}\r\n");
            }
            let replies = self.run(&commands);
            let numbers = replies.lines().filter_map(|line| line.strip_prefix(':'));
            sum += numbers
                .filter_map(|n| n.parse::<usize>().ok())
                .sum::<usize>();
        }
        sum
    }

    /// Sets keys, each to what `value` says: its length, and seconds to live if any.
    pub(crate) fn set(
        &mut self,
        keys: impl Iterator<Item = u64>,
        mut value: impl FnMut(u64) -> (usize, Option<u64>),
    ) {
        let mut request = Vec::new();
        for key in keys {
            let (len, ttl_s) = value(key);
            let key = format!("key:{key}");
            let words = if ttl_s.is_some() { 5 } else { 3 };
            request.clear();
            let head = format!(
                "*{words}\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${len}\r\n",
                key.len()
            );
            request.extend_from_slice(head.as_bytes());
            request.resize(request.len() + len, b'v');
            request.extend_from_slice(b"\r\n");
            if let Some(ttl_s) = ttl_s {
                let ttl = ttl_s.to_string();
                let tail = format!("$2\r\nEX\r\n${}\r\n{ttl}\r\n", ttl.len());
                request.extend_from_slice(tail.as_bytes());
            }
            let reply = self.run_bytes(&request);
            assert_eq!(reply, "+OK\r\n");
        }
    }

    /// Deletes keys.
    pub(crate) fn delete(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            self.run(&format!("DEL key:{key}\r\n"));
        }
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Mostly small lengths, some of a few kilobytes, few of a hundred.
    pub(crate) fn len(&mut self) -> usize {
        let max = match self.below(1_000) {
            0..800 => 100,
            800..990 => 3_000,
            _ => 100_000,
        };
        self.below(max) as usize
    }
}
