//! Reading arguments: parse everything, then ask once whether it was right.
//!
//! The first thing that is wrong is remembered and every later read gives a harmless value, so a
//! command reads its arguments straight down and calls [`Words::finish`] before it acts:
//!
//! ```text
//!   let mut words = Words::new(args.skip(2));
//!   let value = words.take();
//!   while words.more() {
//!       if words.keyword("NX") { ... }
//!       else if words.keyword("PX") { ttl = words.integer(); }
//!       else { words.reject() }
//!   }
//!   words.finish()?;
//! ```

use super::error::{self, ReplyError};
use linchpin_protocol::{Args, number};

/// A cursor over arguments that remembers the first error.
#[derive(Debug)]
pub struct Words<'a> {
    args: Args<'a>,
    at: usize,
    error: Option<ReplyError>,
}

impl<'a> Words<'a> {
    /// Begins with the first of `args`.
    #[must_use]
    pub fn new(args: Args<'a>) -> Self {
        Self {
            args,
            at: 0,
            error: None,
        }
    }

    /// Whether there is a next argument and nothing was wrong so far.
    #[must_use]
    pub fn more(&self) -> bool {
        self.error.is_none() && self.at < self.args.len()
    }

    /// Number of arguments left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.args.len() - self.at
    }

    /// The next argument; nothing left is a syntax error.
    pub fn take(&mut self) -> &'a [u8] {
        if let Some(word) = self.args.get(self.at) {
            self.at += 1;
            return word;
        }
        self.fail(error::SYNTAX);
        b""
    }

    /// The next argument, without moving on.
    #[must_use]
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.args.get(self.at)
    }

    /// Moves past the next argument if it is this word, in any case.
    pub fn keyword(&mut self, word: &str) -> bool {
        let is = self
            .peek()
            .is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(is);
        is
    }

    /// The next argument as an integer.
    pub fn integer(&mut self) -> i64 {
        self.integer_or(error::NOT_INTEGER)
    }

    /// The next argument as an integer, with an error of the caller's for anything else.
    pub fn integer_or(&mut self, error: ReplyError) -> i64 {
        let word = self.take();
        if self.error.is_some() {
            return 0;
        }
        number::parse_i64(word).unwrap_or_else(|| {
            self.fail(error);
            0
        })
    }

    /// The next argument as an integer within bounds, with an error of the caller's for others.
    pub fn integer_in(&mut self, range: std::ops::RangeInclusive<i64>, error: ReplyError) -> i64 {
        let n = self.integer();
        if self.error.is_none() && !range.contains(&n) {
            self.fail(error);
            return *range.start();
        }
        n
    }

    /// The next argument does not belong here.
    pub fn reject(&mut self) {
        self.fail(error::SYNTAX);
    }

    /// Remembers an error, unless there is one already.
    pub fn fail(&mut self, error: ReplyError) {
        self.error.get_or_insert(error);
    }

    /// Whether everything was right and nothing is left.
    ///
    /// # Errors
    /// The first thing that was wrong; a syntax error if arguments are left.
    pub fn finish(mut self) -> Result<(), ReplyError> {
        if self.left() > 0 {
            self.fail(error::SYNTAX);
        }
        self.error.map_or(Ok(()), Err)
    }
}

/// An argument as a whole integer.
///
/// # Errors
/// [`error::NOT_INTEGER`] for anything else.
pub fn integer(word: &[u8]) -> Result<i64, ReplyError> {
    number::parse_i64(word).ok_or(error::NOT_INTEGER)
}
