//! Times to live: the options `EX PX EXAT PXAT KEEPTTL PERSIST` and the arithmetic behind `EXPIRE`.

use super::error::{self, ReplyError};
use super::spec::{Arg, ArgKind};
use super::words::Words;
use crate::clock::Now;
use crate::engine::Deadline;

/// In what a time is told, and from when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
}

/// A time as the client told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The number.
    pub amount: i64,
    /// What it means.
    pub unit: Unit,
}

/// The documentation of the four options, for rows of commands that take them.
pub const EXPIRY_ARGS: [Arg; 4] = [
    Arg::new("seconds", ArgKind::Integer).token("EX"),
    Arg::new("milliseconds", ArgKind::Integer).token("PX"),
    Arg::new("unix-time-seconds", ArgKind::UnixTime).token("EXAT"),
    Arg::new("unix-time-milliseconds", ArgKind::UnixTime).token("PXAT"),
];

/// The same and `PERSIST`.
pub const EXPIRY_OR_PERSIST_ARGS: &[Arg] = &[
    EXPIRY_ARGS[0],
    EXPIRY_ARGS[1],
    EXPIRY_ARGS[2],
    EXPIRY_ARGS[3],
    Arg::word("persist", "PERSIST"),
];

/// The same and `KEEPTTL`.
pub const EXPIRY_OR_KEEPTTL_ARGS: &[Arg] = &[
    EXPIRY_ARGS[0],
    EXPIRY_ARGS[1],
    EXPIRY_ARGS[2],
    EXPIRY_ARGS[3],
    Arg::word("keepttl", "KEEPTTL"),
];

/// What is to become of a key's deadline, as the options of a call tell it. The number is still a
/// word: Redis finds every syntax error before it looks at a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl<'a> {
    /// Nothing was said.
    Unsaid,
    /// `KEEPTTL`.
    Keep,
    /// `PERSIST`.
    Persist,
    /// One of the four units, and the word that should be a number.
    New(Unit, &'a [u8]),
}

impl<'a> Ttl<'a> {
    /// Reads the option that the next words make and answers whether they make one: one of the four
    /// units, or `word` with the meaning `meaning`. The same option may stand again, the last one
    /// counts; two different ones are a syntax error.
    pub fn read(&mut self, words: &mut Words<'a>, word: &str, meaning: Self) -> bool {
        let told = if let Some(unit) = Unit::read(words) {
            Self::New(unit, words.take())
        } else if words.keyword(word) {
            meaning
        } else {
            return false;
        };
        match (*self, told) {
            (Self::Unsaid, _) => {}
            (Self::New(old, _), Self::New(new, _)) if old == new => {}
            (old, new) if old == new => {}
            _ => words.reject(),
        }
        *self = told;
        true
    }

    /// What it means for a value that is being written; `unsaid` where nothing was said.
    ///
    /// # Errors
    /// Where the number is none, or not one a deadline can be made of.
    pub fn deadline(
        self,
        unsaid: Deadline,
        now: Now,
        command: &str,
    ) -> Result<Deadline, ReplyError> {
        match self {
            Self::Unsaid => Ok(unsaid),
            Self::Keep => Ok(Deadline::Keep),
            Self::Persist => Ok(Deadline::None),
            Self::New(unit, word) => parse(word, unit)?.for_writing(now, command),
        }
    }
}

impl Unit {
    /// The option that announces this unit, if the next word is one.
    fn read(words: &mut Words<'_>) -> Option<Self> {
        const OPTIONS: [(&str, Unit); 4] = [
            ("EX", Unit::Seconds),
            ("PX", Unit::Millis),
            ("EXAT", Unit::UnixSeconds),
            ("PXAT", Unit::UnixMillis),
        ];
        OPTIONS
            .iter()
            .find(|(word, _)| words.keyword(word))
            .map(|(_, unit)| *unit)
    }
}

impl Expiry {
    /// The deadline in Unix milliseconds, which may lie in the past and be negative; `None` where
    /// it leaves the range of `i64`.
    #[must_use]
    pub fn deadline_ms(self, now: Now) -> Option<i64> {
        let now_ms = i64::try_from(now.wall_ms).ok()?;
        match self.unit {
            Unit::Seconds => self.amount.checked_mul(1_000)?.checked_add(now_ms),
            Unit::Millis => self.amount.checked_add(now_ms),
            Unit::UnixSeconds => self.amount.checked_mul(1_000),
            Unit::UnixMillis => Some(self.amount),
        }
    }

    /// The deadline for a value that is being written: must be given as a positive number.
    ///
    /// # Errors
    /// `invalid expire time` for zero, negative numbers and those that leave `i64`.
    pub fn for_writing(self, now: Now, command: &str) -> Result<Deadline, ReplyError> {
        let deadline_ms = if self.amount > 0 {
            self.deadline_ms(now)
        } else {
            None
        };
        let deadline_ms = deadline_ms.and_then(|at| u64::try_from(at).ok());
        deadline_ms
            .map(Deadline::At)
            .ok_or_else(|| ReplyError::invalid_expire(command))
    }
}

/// Reads a number that must be an integer as the amount of `unit`.
///
/// # Errors
/// [`error::NOT_INTEGER`].
pub fn parse(word: &[u8], unit: Unit) -> Result<Expiry, ReplyError> {
    let amount = linchpin_protocol::number::parse_i64(word).ok_or(error::NOT_INTEGER)?;
    Ok(Expiry { amount, unit })
}
