//! Replies, written straight into the output buffer.

use memchr::memchr2;

use crate::number::{write_f64, write_i64};

/// The version of the protocol a connection speaks. RESP2 until it asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Version {
    /// Strings, errors, integers, arrays; what cannot be said is said by convention.
    #[default]
    Resp2,
    /// Adds null, double, boolean, big number, verbatim string, map, set and push.
    Resp3,
}

/// Writes replies in one protocol version. What RESP2 has no type for is written as Redis writes
/// it there; each method says how.
///
/// The writer does not check that aggregates are filled: after [`array(2)`](Self::array) two
/// replies have to follow. Each method is O(bytes written).
///
/// ```
/// use linchpin_protocol::{Version, Writer};
///
/// let mut out = Vec::new();
/// let mut writer = Writer::new(&mut out, Version::Resp2);
/// writer.map(1);
/// writer.bulk(b"key");
/// writer.null();
/// assert_eq!(out, b"*2\r\n$3\r\nkey\r\n$-1\r\n");
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
    /// `out` does not grow beyond this by what a client could make large.
    len_max: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        Self::bounded(out, version, usize::MAX)
    }

    /// Appends to `out` until it would be longer than `len_max` bytes in all. From then on values
    /// are left out and [`overflowed`](Self::overflowed) says so: what was written is no reply any
    /// more, and the connection can only be closed.
    #[inline]
    pub fn bounded(out: &'a mut Vec<u8>, version: Version, len_max: usize) -> Self {
        Self {
            out,
            version,
            len_max,
            overflowed: false,
        }
    }

    /// Whether something was left out because of the bound.
    #[inline]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Remembers that what should have been written does not fit.
    pub fn overflow(&mut self) {
        self.overflowed = true;
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.len_max.saturating_sub(self.out.len())
    }

    /// Whether a value of this many bytes fits; if not, that is remembered.
    #[inline]
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.room();
        self.overflowed |= !fits;
        fits
    }

    /// The protocol version written.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Writes in another version from here on, as after `HELLO 3` inside a transaction.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Bytes that are replies already.
    pub fn raw(&mut self, replies: &[u8]) {
        if self.fits(replies.len()) {
            self.out.extend_from_slice(replies);
        }
    }

    /// Takes back what was written since the buffer was `len` bytes long.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Bytes in the buffer, those from before this writer among them.
    pub fn buffer_len(&self) -> usize {
        self.out.len()
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. CR and LF in it become spaces, so that it stays one line.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, given whole: its code (`ERR`, `WRONGTYPE`), a space, its text. CR and LF in it
    /// become spaces, so that it stays one line.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// [`error`](Self::error) for a text that is not UTF-8.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match u8::try_from(value) {
            Ok(digit @ 0..=9) => self
                .out
                .extend_from_slice(&[b':', b'0' | digit, b'\r', b'\n']),
            _ => {
                self.out.push(b':');
                write_i64(self.out, value);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A string of any bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if !self.fits(bytes.len()) {
            return;
        }
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a string.
    #[inline]
    pub fn bulk_i64(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// Null where a value was expected. RESP2: the null string.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// Null where an array was expected. RESP2: the null array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// An array: `len` replies follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    /// A map: `pairs` times a key and a value follow. RESP2: an array of both.
    pub fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.length(b'*', pairs.saturating_mul(2)),
            Version::Resp3 => self.length(b'%', pairs),
        }
    }

    /// A set: `len` replies follow. RESP2: an array.
    pub fn set(&mut self, len: usize) {
        match self.version {
            Version::Resp2 => self.length(b'*', len),
            Version::Resp3 => self.length(b'~', len),
        }
    }

    /// A message that answers no request: `len` replies follow. RESP2: an array.
    pub fn push(&mut self, len: usize) {
        match self.version {
            Version::Resp2 => self.length(b'*', len),
            Version::Resp3 => self.length(b'>', len),
        }
    }

    /// A floating point number, in its shortest form. RESP2: a string.
    pub fn double(&mut self, value: f64) {
        match self.version {
            Version::Resp2 => {
                let mut text = Vec::with_capacity(32);
                write_f64(&mut text, value);
                self.bulk(&text);
            }
            Version::Resp3 => {
                self.out.push(b',');
                write_f64(self.out, value);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// True or false. RESP2: 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.version, value) {
            (Version::Resp2, false) => b":0\r\n",
            (Version::Resp2, true) => b":1\r\n",
            (Version::Resp3, false) => b"#f\r\n",
            (Version::Resp3, true) => b"#t\r\n",
        });
    }

    /// An integer of any size, in decimal digits. RESP2: a string.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            Version::Resp2 => self.bulk(digits.as_bytes()),
            Version::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// A text for people, with its format: `txt` or `mkd`. RESP2: a string, without the format.
    ///
    /// # Panics
    ///
    /// When the format is not 3 bytes long.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        assert_eq!(format.len(), 3, "a verbatim string's format has 3 bytes");
        match self.version {
            Version::Resp2 => self.bulk(text),
            Version::Resp3 => {
                self.length(b'=', text.len().saturating_add(4));
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    #[inline]
    fn length(&mut self, tag: u8, len: usize) {
        match u8::try_from(len) {
            Ok(digit @ 0..=9) => self
                .out
                .extend_from_slice(&[tag, b'0' | digit, b'\r', b'\n']),
            _ => {
                let mut digits = itoa::Buffer::new();
                self.out.push(tag);
                self.out.extend_from_slice(digits.format(len).as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn line(&mut self, tag: u8, text: &[u8]) {
        self.out.push(tag);
        if memchr2(b'\r', b'\n', text).is_none() {
            self.out.extend_from_slice(text);
        } else {
            let one_line = |byte: &u8| {
                if matches!(byte, b'\r' | b'\n') {
                    b' '
                } else {
                    *byte
                }
            };
            self.out.extend(text.iter().map(one_line));
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
