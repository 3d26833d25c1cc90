//! What a client is told when it is wrong: every error text of the command layer.
//!
//! An error is a code (`ERR`, `WRONGPASS` ...) and a text, written as one line `-CODE text`. The
//! texts that Redis has are Redis' to the byte, for clients match on them.

use crate::engine::WrongType;
use std::borrow::Cow;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    code: &'static str,
    text: Cow<'static, [u8]>,
}

/// Bytes of a client's own words that an error text repeats, for each word.
const QUOTED_BYTES_MAX: usize = 128;

const fn err(text: &'static str) -> ReplyError {
    coded("ERR", text)
}

const fn coded(code: &'static str, text: &'static str) -> ReplyError {
    ReplyError {
        code,
        text: Cow::Borrowed(text.as_bytes()),
    }
}

/// Arguments in an order or combination the command does not have.
pub const SYNTAX: ReplyError = err("syntax error");
/// A number was expected, or one in `i64`.
pub const NOT_INTEGER: ReplyError = err("value is not an integer or out of range");
/// A floating-point number was expected.
pub const NOT_FLOAT: ReplyError = err("value is not a valid float");
/// A counter would leave `i64`.
pub const OVERFLOW: ReplyError = err("increment or decrement would overflow");
/// `DECRBY` of the smallest `i64`, which has no opposite.
pub const DECREMENT_OVERFLOW: ReplyError = err("decrement would overflow");
/// A floating-point counter would leave the numbers.
pub const NAN_OR_INFINITY: ReplyError = err("increment would produce NaN or Infinity");
/// A string longer than `proto-max-bulk-len`.
pub const STRING_TOO_LONG: ReplyError =
    err("string exceeds maximum allowed size (proto-max-bulk-len)");
/// `SETRANGE` before the first byte.
pub const OFFSET_OUT_OF_RANGE: ReplyError = err("offset is out of range");
/// The key holds something that the command is not for.
pub const WRONG_TYPE: ReplyError = coded(
    "WRONGTYPE",
    "Operation against a key holding the wrong kind of value",
);
/// `DEL` of an object that somebody holds.
pub const HELD: ReplyError = coded("HELD", "key is in use");
/// A session that is not open, or never was.
pub const NO_SESSION: ReplyError = coded("NOSESSION", "no such session is open");
/// `SWAPDB` of a database with objects that are known by their place.
pub const SWAP_OF_OBJECTS: ReplyError =
    err("a database with locks, fences or their like keeps its place");
/// The key has to be there.
pub const NO_SUCH_KEY: ReplyError = err("no such key");
/// `COPY` and `MOVE` onto the key itself.
pub const SAME_OBJECT: ReplyError = err("source and destination objects are the same");
/// `SELECT` of a database that is not there.
pub const DB_OUT_OF_RANGE: ReplyError = err("DB index is out of range");
/// A number of a database outside 32 bits.
pub const NOT_INT32: ReplyError =
    err("value is out of range, value must between -2147483648 and 2147483647");
/// A `SCAN` cursor that is no number.
pub const INVALID_CURSOR: ReplyError = err("invalid cursor");
/// An `IFDEQ` or `IFDNE` that cannot be the digest of anything.
pub const BAD_DIGEST: ReplyError = err("must be exactly 16 hexadecimal characters");
/// A `DELEX` condition that is none.
pub const BAD_CONDITION: ReplyError = err("Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
/// `MSETEX` with a number of keys that cannot be.
pub const BAD_NUMKEYS: ReplyError = err("invalid numkeys value");
/// `MSETEX` with fewer keys and values than it announced.
pub const TOO_FEW_PAIRS: ReplyError = err("wrong number of key-value pairs");
/// A rate limit with figures that cannot be.
pub const BAD_LIMIT: ReplyError = err("burst, count or period is out of range");
/// `CL.MTHROTTLE` of one key twice.
pub const DUPLICATE_KEY: ReplyError = err("duplicate key");
/// `INCREX ... ENX` without a deadline to set.
pub const ENX_WITHOUT_EXPIRY: ReplyError = err("ENX flag requires an expiration");
/// `INCREX` with bounds that nothing lies between.
pub const BOUNDS_CROSSED: ReplyError = err("LBOUND can't be greater than UBOUND");
/// `INCREX BYFLOAT` by infinity.
pub const INCREMENT_INFINITE: ReplyError = err("BYFLOAT increment cannot be Infinity");
/// `INCREX BYFLOAT` on a value that is infinity.
pub const VALUE_INFINITE: ReplyError = err("value cannot be Infinity");
/// `INCREX SATURATE` whose step to the bound leaves `i64`.
pub const APPLIED_OVERFLOW: ReplyError = err("applied increment would overflow");
/// `INCREX BYFLOAT SATURATE` whose step to the bound leaves the numbers.
pub const APPLIED_INFINITE: ReplyError = err("applied increment would produce Infinity");
/// `OBJECT FREQ`, which needs an eviction policy that counts accesses.
pub const FREQ_NOT_TRACKED: ReplyError = err(
    "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
/// `OBJECT IDLETIME` under an eviction policy that counts accesses instead.
pub const IDLETIME_NOT_TRACKED: ReplyError = err(
    "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.",
);
/// A key longer than the server takes.
pub const KEY_TOO_LONG: ReplyError = err("key is too long");
/// A command that may need memory while there is none.
pub const OUT_OF_MEMORY: ReplyError =
    coded("OOM", "command not allowed when used memory > 'maxmemory'.");
/// A write while the disk has no room for it. It was not done.
pub const JOURNAL_FULL: ReplyError = coded(
    "MISCONF",
    "Errors writing to the AOF file: No space left on device",
);
/// A write after the journal could not be written or synced. It was not done.
pub const JOURNAL_BROKEN: ReplyError = coded(
    "MISCONF",
    "Errors writing to the AOF file: Input/output error; the server is about to exit",
);
/// A call inside `EXEC` for which the journal has not found room in time. It was not done.
pub const JOURNAL_BEHIND: ReplyError = coded(
    "TRYAGAIN",
    "the journal has no room yet for what this transaction has grown to",
);
/// A call whose effects no frame takes ([`FRAME_BYTES_MAX`](crate::engine::FRAME_BYTES_MAX)).
pub const FRAME_TOO_LONG: ReplyError =
    err("this would write more than 2147483648 bytes to the journal in one piece");
/// A reply that waited for the journal in vain.
pub const JOURNAL_STUCK: ReplyError = coded(
    "UNKNOWN",
    "the disk did not take this in time: it may be done or not after a restart",
);
/// A lease, a wait or a delay that is no time, or one beyond ten years.
pub const INVALID_EXPIRE: ReplyError = err("invalid expire time");
/// A number of permits, parties, a depth or a fencing token that cannot be.
pub const COUNT_OUT_OF_RANGE: ReplyError = err("count out of range");
/// A name of an owner that is none.
pub const BAD_OWNER: ReplyError = err("owner must have 1 to 256 bytes");
/// A name that no session can have.
pub const SESSION_NAME_TOO_LONG: ReplyError = err("name must have at most 256 bytes");
/// A fingerprint that no request can have.
pub const FINGERPRINT_TOO_LONG: ReplyError = err("fingerprint must have at most 256 bytes");
/// A request under the name of another one.
pub const MISMATCH: ReplyError = coded(
    "MISMATCH",
    "the fingerprint is not that of the request which this key was begun with",
);
/// A value that a holder cannot proclaim.
pub const VALUE_TOO_LONG: ReplyError = err("value must have at most 4096 bytes");
/// `CLIENT UNBLOCK id ERROR`.
pub const UNBLOCKED: ReplyError = coded("UNBLOCKED", "client unblocked via CLIENT UNBLOCK");
/// A call that waits while the server stops.
pub const STOPPING: ReplyError = coded("UNBLOCKED", "server is shutting down");
/// `LOCK.ASSERT` of a lock that nobody holds.
pub const NOT_HELD: ReplyError = coded("NOTHELD", "nobody holds the key");
/// Whoever shares a lock asks for it alone.
pub const LOCK_UPGRADE: ReplyError = err("lock upgrade");
/// More permits than there are.
pub const TOO_MANY_PERMITS: ReplyError = err("permits exceed the limit");
/// A holder of permits asks for another number of them.
pub const OTHER_PERMITS: ReplyError = err("owner holds another number of permits");
/// `LOCK.MACQUIRE` by an owner who holds some of the keys.
pub const HELD_IN_PART: ReplyError = err("owner holds some of the keys already");
/// No number can be given out that is sure not to come again.
pub const FENCES_NOT_RESERVED: ReplyError =
    coded("MISCONF", "fencing tokens cannot be reserved on disk");
/// No tick of IDs is reserved on the disk yet, where nothing waits.
pub const IDS_BEING_RESERVED: ReplyError = coded("CLOCK", "ids are being reserved");
/// No tick of IDs can be reserved.
pub const IDS_NOT_RESERVED: ReplyError = coded("MISCONF", "ids cannot be reserved on disk");
/// The clock is before or behind the time that a layout of IDs has.
pub const IDS_OUT_OF_TIME: ReplyError = err("clock is outside the time of these ids");
/// `ID.DECODE` of something else.
pub const INVALID_ID: ReplyError = err("invalid id");
/// `ID.RANGE` beyond what a client that reads doubles tells apart.
pub const RANGE_EXHAUSTED: ReplyError = err("id range exhausted");
/// `ID.SHORT` of more codes than are left.
pub const CODES_EXHAUSTED: ReplyError = err("code space exhausted");
/// Letters and a length that make no codes, or too many.
pub const CODE_SPACE_IMPOSSIBLE: ReplyError =
    err("alphabet and length must make at most 2^63 codes of different printable letters");
/// `MULTI` inside `MULTI`.
pub const NESTED_MULTI: ReplyError = err("MULTI calls can not be nested");
/// `WATCH` inside `MULTI`.
pub const WATCH_IN_MULTI: ReplyError = err("WATCH inside MULTI is not allowed");
/// `EXEC` without `MULTI`.
pub const EXEC_WITHOUT_MULTI: ReplyError = err("EXEC without MULTI");
/// `DISCARD` without `MULTI`.
pub const DISCARD_WITHOUT_MULTI: ReplyError = err("DISCARD without MULTI");
/// `EXEC` after a command that could not be queued.
pub const EXEC_ABORTED: ReplyError = coded(
    "EXECABORT",
    "Transaction discarded because of previous errors.",
);
/// A queue that grew past its bounds.
pub const MULTI_TOO_LONG: ReplyError = err("MULTI queue is full");
/// More subscriptions than a connection may have.
pub const TOO_MANY_SUBSCRIPTIONS: ReplyError = err("too many subscriptions");
/// A channel or pattern that is too long to be subscribed to.
pub const TOPIC_TOO_LONG: ReplyError = err("channel or pattern is too long");
/// More watched keys than a connection may have.
pub const WATCH_TOO_MANY: ReplyError = err("too many watched keys");
/// A command that cannot run inside `MULTI`.
pub const NOT_IN_MULTI: ReplyError = err("Command not allowed inside a transaction");
/// A command before `AUTH`.
pub const NO_AUTH: ReplyError = coded("NOAUTH", "Authentication required.");
/// `HELLO` before `AUTH`, without one of its own.
pub const HELLO_NO_AUTH: ReplyError = coded(
    "NOAUTH",
    "HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
     <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time",
);
/// A wrong user or password.
pub const WRONG_PASS: ReplyError = coded(
    "WRONGPASS",
    "invalid username-password pair or user is disabled.",
);
/// `AUTH password` where no password is set.
pub const AUTH_WITHOUT_PASSWORD: ReplyError = err(
    "AUTH <password> called without any password configured for the default user. Are you sure \
     your configuration is correct?",
);
/// `HELLO` with a version we do not speak.
pub const NO_PROTO: ReplyError = coded("NOPROTO", "unsupported protocol version");
/// `HELLO` with something that is no version.
pub const PROTO_NOT_INTEGER: ReplyError = err("Protocol version is not an integer or out of range");
/// `CLIENT SETNAME` with a character that would break `CLIENT LIST`.
pub const BAD_CLIENT_NAME: ReplyError =
    err("Client names cannot contain spaces, newlines or special characters.");
/// `CLIENT KILL addr` of nobody.
pub const NO_SUCH_CLIENT: ReplyError = err("No such client");
/// `CLIENT KILL ID` with something that is no connection's number.
pub const BAD_CLIENT_ID: ReplyError = err("client-id should be greater than 0");
/// `CLIENT LIST ID` with something that is no number.
pub const INVALID_CLIENT_ID: ReplyError = err("Invalid client ID");
/// `CLIENT KILL MAXAGE` with something that is no number.
pub const MAX_AGE_NOT_INTEGER: ReplyError = err("maxage is not an integer or out of range");
/// `CLIENT KILL MAXAGE` of nothing or less.
pub const MAX_AGE_NOT_POSITIVE: ReplyError = err("maxage should be greater than 0");
/// `CLIENT UNBLOCK` with another reason.
pub const BAD_UNBLOCK_REASON: ReplyError = err("CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
/// A command for members of a cluster.
pub const NO_CLUSTER: ReplyError = err("This instance has cluster support disabled");
/// `COMMAND GETKEYS` of a command that is not there.
pub const INVALID_COMMAND: ReplyError = err("Invalid command specified");
/// `COMMAND GETKEYS` of a call with too few or too many arguments.
pub const INVALID_COMMAND_ARITY: ReplyError =
    err("Invalid number of arguments specified for command");
/// `COMMAND GETKEYS` of a call whose own count of its keys is wrong.
pub const INVALID_COMMAND_ARGS: ReplyError = err("Invalid arguments specified for command");
/// `COMMAND GETKEYS` of a command without keys.
pub const COMMAND_WITHOUT_KEYS: ReplyError = err("The command has no key arguments");
/// `SHUTDOWN ABORT` while nothing is shutting down.
pub const NO_SHUTDOWN: ReplyError = err("No shutdown in progress.");
/// `SHUTDOWN SAVE` where the data cannot be saved.
pub const SHUTDOWN_FAILED: ReplyError = err("Errors trying to SHUTDOWN. Check logs.");
/// A command that reads or writes data while what was kept is still being read.
pub const LOADING: ReplyError = coded("LOADING", "Redis is loading the dataset in memory");
/// `SAVE` or `BGSAVE` while a snapshot is being written.
pub const SAVE_IN_PROGRESS: ReplyError = err("Background save already in progress");
/// `BGREWRITEAOF` while a snapshot is being written.
pub const REWRITE_IN_PROGRESS: ReplyError =
    err("Background append only file rewriting already in progress");
/// `BGREWRITEAOF` where nothing can be written.
pub const REWRITE_FAILED: ReplyError = err(
    "Can't execute an AOF background rewriting. Please check the server logs for more \
     information.",
);
/// A snapshot where nothing can be written.
pub const SAVE_FAILED: ReplyError = err("the snapshot could not be written; the log says why");
/// A snapshot that somebody waits for while the server stops.
pub const SAVE_STOPPED: ReplyError =
    err("the server stops, and the snapshot has not been written yet");
/// A command about what is kept on disk, where nothing ever is.
pub const NOT_KEPT: ReplyError = err("this server keeps nothing on disk");
/// `WAITAOF` for the own disk without a journal.
pub const WAITAOF_WITHOUT_JOURNAL: ReplyError =
    err("WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
/// `WAITAOF` for more disks than there are.
pub const NUMLOCAL_OUT_OF_RANGE: ReplyError =
    err("value is out of range, value must between 0 and 1");
/// A number of copies that is none.
pub const NOT_POSITIVE: ReplyError = err("value is out of range, must be positive");
/// A timeout that is no number.
pub const TIMEOUT_NOT_INTEGER: ReplyError = err("timeout is not an integer or out of range");
/// A timeout before now.
pub const TIMEOUT_NEGATIVE: ReplyError = err("timeout is negative");
/// A timeout beyond all time.
pub const TIMEOUT_OUT_OF_RANGE: ReplyError = err("timeout is out of range");
/// A connection turned away: the server is full.
pub const MAX_CLIENTS: ReplyError = err("max number of clients reached");

impl ReplyError {
    /// An error with code `ERR` whose text is made on the spot.
    #[must_use]
    pub fn err(text: impl Into<String>) -> Self {
        Self {
            code: "ERR",
            text: Cow::Owned(text.into().into_bytes()),
        }
    }

    /// An error with a code of its own whose text is made on the spot.
    #[must_use]
    pub fn with_code(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: Cow::Owned(text.into().into_bytes()),
        }
    }

    /// A write fenced with a lower number than one before it.
    #[must_use]
    pub fn fenced(current: u64) -> Self {
        Self::with_code("FENCED", format!("current fence is {current}"))
    }

    /// What `EXEC` answers where it was refused itself.
    #[must_use]
    pub fn exec_aborted_by(error: &Self) -> Self {
        let mut text = b"Transaction discarded because of: ".to_vec();
        if error.code == "ERR" {
            text.extend_from_slice(&error.text);
        } else {
            text.extend_from_slice(&error.line());
        }
        Self {
            code: "EXECABORT",
            text: Cow::Owned(text),
        }
    }

    /// `wrong number of arguments for 'name' command`.
    #[must_use]
    pub fn wrong_arity(name: &str) -> Self {
        Self::err(format!("wrong number of arguments for '{name}' command"))
    }

    /// `invalid expire time in 'name' command`.
    #[must_use]
    pub fn invalid_expire(name: &str) -> Self {
        Self::err(format!("invalid expire time in '{name}' command"))
    }

    /// No such command: repeats its name and the beginning of its arguments, 128 bytes of each.
    #[must_use]
    pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut text = b"unknown command '".to_vec();
        text.extend_from_slice(quotable(name, QUOTED_BYTES_MAX));
        text.extend_from_slice(b"', with args beginning with: ");
        let start = text.len();
        for arg in args {
            let room = QUOTED_BYTES_MAX.saturating_sub(text.len() - start);
            if room == 0 {
                break;
            }
            text.push(b'\'');
            text.extend_from_slice(quotable(arg, room));
            text.extend_from_slice(b"' ");
        }
        Self {
            code: "ERR",
            text: Cow::Owned(text),
        }
    }

    /// No such subcommand of `container`.
    #[must_use]
    pub fn unknown_subcommand(container: &str, name: &[u8]) -> Self {
        let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
        Self::quoting("unknown subcommand '", name, &after)
    }

    /// A subcommand that is there, called with a number of arguments that only it can tell wrong.
    #[must_use]
    pub fn bad_subcommand_call(container: &str, name: &[u8]) -> Self {
        let before = "unknown subcommand or wrong number of arguments for '";
        let after = format!("'. Try {} HELP.", container.to_ascii_uppercase());
        Self::quoting(before, name, &after)
    }

    /// An error whose text is made of `before`, a client's word, and `after`.
    #[must_use]
    pub fn quoting(before: &str, word: &[u8], after: &str) -> Self {
        let text = [
            before.as_bytes(),
            quotable(word, QUOTED_BYTES_MAX),
            after.as_bytes(),
        ];
        Self {
            code: "ERR",
            text: Cow::Owned(text.concat()),
        }
    }

    /// The code: the first word of the reply.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// A command that a connection with subscriptions cannot call in protocol version 2.
    #[must_use]
    pub fn not_while_subscribed(name: &str) -> Self {
        let allowed = "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                       in this context";
        Self::quoting("Can't execute '", name.as_bytes(), allowed)
    }

    /// The text after the code.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The reply without `-` and line end.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        [self.code.as_bytes(), b" ", &self.text].concat()
    }
}

impl From<WrongType> for ReplyError {
    fn from(_: WrongType) -> Self {
        WRONG_TYPE
    }
}

/// What of a client's word stands in an error text: up to its first NUL, and not too much of it.
fn quotable(word: &[u8], bytes_max: usize) -> &[u8] {
    let end = word
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(word.len());
    &word[..end.min(bytes_max)]
}
