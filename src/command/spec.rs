//! The row a command is: everything that is known of it besides what its function does.
//!
//! Dispatch, `COMMAND` and its kin, ACL categories, key extraction, what may stand in MULTI, which
//! side of the gate is held, statistics and the reference pages all read this row. A row is built
//! by `const` functions, so a mis-shaped one does not compile.

use super::cx::Cx;
use super::error::ReplyError;
use linchpin_protocol::Args;

/// What a command does: parses its arguments whole, acts through the step, writes one reply.
pub type Run = fn(&mut Cx<'_>, Args<'_>) -> Result<(), ReplyError>;

/// One command, or one subcommand (`client|id`).
#[derive(Debug)]
pub struct Spec {
    /// Lower case; a subcommand's is its container's, a bar and its own.
    pub name: &'static str,
    /// Number of arguments, the name among them; negative: at least as many.
    pub arity: i16,
    /// What kind of command it is.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: Keys,
    /// ACL categories beside those that follow from the flags.
    pub categories: Categories,
    /// The chapter of the reference it belongs to.
    pub group: Group,
    /// The Redis version that brought it; Linchpin's own say `linchpin 0.1.0`.
    pub since: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// Its arguments, the name left out.
    pub args: &'static [Arg],
    /// Hints for clients, in Redis' words (`nondeterministic_output` ...).
    pub tips: &'static [&'static str],
    /// Whether it may be sent again, where that does not follow from the flags.
    repeat: Option<Repeat>,
    /// Version and change, oldest first.
    pub history: &'static [(&'static str, &'static str)],
    /// What took its place, for commands that only old clients should use, and since when.
    pub deprecated: Option<Deprecated>,
    /// The function.
    pub run: Run,
}

/// Whether a call whose reply was lost may be sent again as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A second time has no second effect.
    Safe,
    /// The same, of a call with this option.
    SafeWith(&'static str),
    /// A second time acts again, or undoes what others have done in between.
    Unsafe,
}

impl std::fmt::Display for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Safe => f.write_str("safe"),
            Self::SafeWith(option) => write!(f, "safe with {option}"),
            Self::Unsafe => f.write_str("unsafe"),
        }
    }
}

/// Since when a command is old-fashioned, and what to use instead.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// Redis version.
    pub since: &'static str,
    /// The command that took its place.
    pub replaced_by: &'static str,
}

impl Spec {
    /// A row with what every command must say.
    ///
    /// # Panics
    /// At compile time: if the name is not lower case or the arity leaves out the name or a key.
    #[must_use]
    pub const fn new(name: &'static str, arity: i16, flags: Flags, keys: Keys, run: Run) -> Self {
        assert_shape(name, arity, &keys);
        Self {
            name,
            arity,
            flags,
            keys,
            categories: Categories::NONE,
            group: Group::Generic,
            since: "1.0.0",
            summary: "",
            complexity: "O(1)",
            args: &[],
            tips: &[],
            repeat: None,
            history: &[],
            deprecated: None,
            run,
        }
    }

    /// Sets the chapter, and the ACL category that goes with it; a container has none, as it does
    /// nothing by itself.
    #[must_use]
    pub const fn group(mut self, group: Group) -> Self {
        self.group = group;
        if !self.flags.has(Flags::CONTAINER) {
            self.categories = self.categories.with(group.category());
        }
        self
    }

    /// Sets the chapter alone.
    #[must_use]
    pub const fn chapter(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// Adds ACL categories.
    #[must_use]
    pub const fn categories(mut self, categories: Categories) -> Self {
        self.categories = self.categories.with(categories);
        self
    }

    /// Sets the version that brought the command.
    #[must_use]
    pub const fn since(mut self, since: &'static str) -> Self {
        self.since = since;
        self
    }

    /// Sets summary and cost.
    #[must_use]
    pub const fn doc(mut self, summary: &'static str, complexity: &'static str) -> Self {
        self.summary = summary;
        self.complexity = complexity;
        self
    }

    /// Sets the arguments.
    #[must_use]
    pub const fn args(mut self, args: &'static [Arg]) -> Self {
        self.args = args;
        self
    }

    /// Sets the hints for clients.
    #[must_use]
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// Says whether the command may be sent again.
    #[must_use]
    pub const fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = Some(repeat);
        self
    }

    /// Whether a call may be sent again as it was. Where the row does not say: what writes may not.
    #[must_use]
    pub const fn repeats(&self) -> Repeat {
        match self.repeat {
            Some(repeat) => repeat,
            None if self.flags.has(Flags::WRITE) => Repeat::Unsafe,
            None => Repeat::Safe,
        }
    }

    /// Sets the history.
    #[must_use]
    pub const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Self {
        self.history = history;
        self
    }

    /// Marks the command as old-fashioned.
    #[must_use]
    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    /// Whether a call with this many words, the name among them, has a possible length.
    #[must_use]
    pub fn takes(&self, words: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            words >= arity
        } else {
            words == arity
        }
    }

    /// The container's name and the subcommand's own, or the name and nothing.
    #[must_use]
    pub fn split_name(&self) -> (&'static str, Option<&'static str>) {
        match self.name.split_once('|') {
            Some((container, own)) => (container, Some(own)),
            None => (self.name, None),
        }
    }

    /// All ACL categories: those given and those that follow from the flags.
    #[must_use]
    pub const fn all_categories(&self) -> Categories {
        let f = self.flags;
        let mut all = self.categories;
        let implied = [
            (f.has(Flags::WRITE), Categories::WRITE),
            (f.has(Flags::READONLY), Categories::READ),
            (
                f.has(Flags::ADMIN),
                Categories::ADMIN.with(Categories::DANGEROUS),
            ),
            (f.has(Flags::PUBSUB), Categories::PUBSUB),
            (f.has(Flags::BLOCKING), Categories::BLOCKING),
            (f.has(Flags::FAST), Categories::FAST),
            (!f.has(Flags::FAST), Categories::SLOW),
        ];
        let mut i = 0;
        while i < implied.len() {
            if implied[i].0 {
                all = all.with(implied[i].1);
            }
            i += 1;
        }
        all
    }
}

const fn assert_shape(name: &str, arity: i16, keys: &Keys) {
    let bytes = name.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX,
        "a name has 1 to 40 bytes"
    );
    let mut i = 0;
    while i < bytes.len() {
        assert!(!bytes[i].is_ascii_uppercase(), "names are lower case");
        i += 1;
    }
    assert!(arity != 0, "the name is an argument too");
    let mut i = 0;
    while i < keys.len as usize {
        assert!(
            keys.specs[i].begin < arity.unsigned_abs()
                || keys.specs[i].flags.has(KeyFlags::NOT_KEY),
            "the arity leaves out a key"
        );
        i += 1;
    }
}

/// The longest name of a command, a bar and its subcommand.
pub const NAME_BYTES_MAX: usize = 40;

/// Declares a set of named bits with `const` operations.
macro_rules! bit_set {
    ($(#[$doc:meta])* $set:ident : $int:ty {
        $($(#[$bit_doc:meta])* $bit:ident = $word:literal),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $set($int);

        impl $set {
            /// No bit.
            pub const NONE: Self = Self(0);
            bit_set!(@bits $int, 0, $($(#[$bit_doc])* $bit,)*);
            /// Every bit with its word.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$bit, $word)),*];

            /// Both sets together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether all bits of `other` are there.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The words of the bits that are there; bits without a word are our own affair.
            pub fn words(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::ALL
                    .iter()
                    .filter(move |(bit, word)| self.has(*bit) && !word.is_empty())
                    .map(|(_, word)| *word)
            }

            /// The bit with this word, in any case.
            #[must_use]
            pub fn from_word(word: &[u8]) -> Option<Self> {
                Self::ALL
                    .iter()
                    .find(|(_, w)| !w.is_empty() && w.as_bytes().eq_ignore_ascii_case(word))
                    .map(|(bit, _)| *bit)
            }
        }
    };
    (@bits $int:ty, $n:expr, $(#[$doc:meta])* $bit:ident, $($rest:tt)*) => {
        $(#[$doc])*
        pub const $bit: Self = Self(1 << ($n));
        bit_set!(@bits $int, $n + 1, $($rest)*);
    };
    (@bits $int:ty, $n:expr,) => {};
}

bit_set! {
    /// What kind of command a row is, in the words of `COMMAND INFO`; the last have none.
    Flags: u32 {
        /// May change data.
        WRITE = "write",
        /// Reads data.
        READONLY = "readonly",
        /// Refused when memory is short.
        DENYOOM = "denyoom",
        /// For operators.
        ADMIN = "admin",
        /// About publish and subscribe.
        PUBSUB = "pubsub",
        /// Not for scripts.
        NOSCRIPT = "noscript",
        /// May wait.
        BLOCKING = "blocking",
        /// Works while data is being loaded.
        LOADING = "loading",
        /// Works on a stale replica.
        STALE = "stale",
        /// Not shown by MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not in the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Constant or logarithmic time.
        FAST = "fast",
        /// Allowed before authentication.
        NO_AUTH = "no_auth",
        /// Does not work while data is being loaded in the background.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Cannot be queued by MULTI.
        NO_MULTI = "no_multi",
        /// Its keys stand at places that depend on its arguments.
        MOVABLE_KEYS = "movablekeys",
        /// Works while a script is overdue.
        ALLOW_BUSY = "allow_busy",
        /// Reads keys it does not name.
        TOUCHES_ARBITRARY_KEYS = "touches_arbitrary_keys",
        /// Runs with the gate held alone.
        ALONE = "",
        /// Runs at once inside MULTI instead of being queued.
        IMMEDIATE = "",
        /// May take memory that its arguments do not tell of: nothing may be held above the bound
        /// before it runs.
        UNFORESEEN = "",
        /// Looks by itself whether it may take memory, once it knows whether it has to.
        JUDGES_ROOM = "",
        /// Brings the value of its first key under another name or into another database: that
        /// goes into the journal, however short the arguments are.
        CARRIES = "",
        /// It may run for a connection that listens in protocol version 2.
        SUBSCRIBER = "",
        /// What it answers are pushes, which are sent even to who wants no replies.
        PUSHES = "",
        /// Makes nothing where its keys are there: then it is not refused when memory is short.
        MAKES_MISSING = "",
        /// Its reply waits until the disk has what it tells of, under every policy of the journal.
        DURABLE = "",
        /// Has subcommands and does nothing by itself.
        CONTAINER = "",
    }
}

bit_set! {
    /// ACL categories, without the sign that stands before them.
    Categories: u32 {
        /// Keys of any type.
        KEYSPACE = "keyspace",
        /// Reads data.
        READ = "read",
        /// Changes data.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bitmaps.
        BITMAP = "bitmap",
        /// Cardinality estimates.
        HYPERLOGLOG = "hyperloglog",
        /// Places on the globe.
        GEO = "geo",
        /// Streams.
        STREAM = "stream",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// For operators.
        ADMIN = "admin",
        /// Constant or logarithmic time.
        FAST = "fast",
        /// Anything else.
        SLOW = "slow",
        /// May wait.
        BLOCKING = "blocking",
        /// To be used with thought.
        DANGEROUS = "dangerous",
        /// About the connection.
        CONNECTION = "connection",
        /// Transactions.
        TRANSACTION = "transaction",
        /// Scripts.
        SCRIPTING = "scripting",
        /// Locks.
        LOCK = "lock",
        /// Sessions.
        SESSION = "session",
        /// Semaphores.
        SEMAPHORE = "semaphore",
        /// Latches.
        LATCH = "latch",
        /// Barriers.
        BARRIER = "barrier",
        /// Fenced writes.
        FENCE = "fence",
        /// IDs.
        ID = "id",
        /// Rate limits.
        LIMIT = "limit",
        /// Caches that one caller fills for all.
        CACHE = "cache",
        /// Requests that are to be done once.
        IDEMPOTENCY = "idempotency",
    }
}

bit_set! {
    /// What a command does with the keys of one key specification.
    KeyFlags: u16 {
        /// Read only.
        RO = "RO",
        /// Read and written.
        RW = "RW",
        /// Overwritten.
        OW = "OW",
        /// Removed.
        RM = "RM",
        /// The value is told to the client.
        ACCESS = "access",
        /// The value is changed.
        UPDATE = "update",
        /// Something is added.
        INSERT = "insert",
        /// Something is removed.
        DELETE = "delete",
        /// Depends on the arguments.
        VARIABLE_FLAGS = "variable_flags",
        /// No key, but what the shard is found by.
        NOT_KEY = "not_key",
    }
}

/// The chapter of the command reference, in Redis' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The connection itself.
    Connection,
    /// The server as a whole.
    Server,
    /// Strings and counters.
    String,
    /// Keys of any type.
    Generic,
    /// Transactions.
    Transactions,
    /// Fenced writes.
    Fence,
    /// What a server that is part of a cluster answers.
    Cluster,
    /// Locks with fencing tokens.
    Lock,
    /// Sessions, by which holds and keys live.
    Session,
    /// Counting semaphores.
    Semaphore,
    /// Latches.
    Latch,
    /// Barriers.
    Barrier,
    /// IDs, ranges of numbers, short codes.
    Id,
    /// Rate limits.
    Limit,
    /// Caches that one caller fills for all.
    Cache,
    /// Requests that are to be done once.
    Idempotency,
    /// Publish and subscribe.
    Pubsub,
}

impl Group {
    /// The word `COMMAND DOCS` answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Server => "server",
            Self::String => "string",
            Self::Generic => "generic",
            Self::Transactions => "transactions",
            Self::Fence => "fence",
            Self::Cluster => "cluster",
            Self::Lock => "lock",
            Self::Session => "session",
            Self::Semaphore => "semaphore",
            Self::Latch => "latch",
            Self::Barrier => "barrier",
            Self::Id => "id",
            Self::Limit => "limit",
            Self::Cache => "cache",
            Self::Idempotency => "idempotency",
            Self::Pubsub => "pubsub",
        }
    }

    /// The title of the chapter.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Connection => "Connection",
            Self::Server => "Server",
            Self::String => "Strings and counters",
            Self::Generic => "Keys of any type",
            Self::Transactions => "Transactions",
            Self::Fence => "Fenced writes",
            Self::Cluster => "Cluster",
            Self::Lock => "Locks",
            Self::Session => "Sessions",
            Self::Semaphore => "Semaphores",
            Self::Latch => "Latches",
            Self::Barrier => "Barriers",
            Self::Id => "IDs",
            Self::Limit => "Rate limits",
            Self::Cache => "Caches",
            Self::Idempotency => "Idempotency",
            Self::Pubsub => "Publish and subscribe",
        }
    }

    const fn category(self) -> Categories {
        match self {
            Self::Connection => Categories::CONNECTION,
            // That of publish and subscribe follows from the flag.
            Self::Server | Self::Cluster | Self::Pubsub => Categories::NONE,
            Self::String => Categories::STRING,
            Self::Generic => Categories::KEYSPACE,
            Self::Transactions => Categories::TRANSACTION,
            Self::Lock => Categories::LOCK,
            Self::Session => Categories::SESSION,
            Self::Semaphore => Categories::SEMAPHORE,
            Self::Latch => Categories::LATCH,
            Self::Barrier => Categories::BARRIER,
            Self::Id => Categories::ID,
            Self::Limit => Categories::LIMIT,
            Self::Cache => Categories::CACHE,
            Self::Idempotency => Categories::IDEMPOTENCY,
            Self::Fence => Categories::FENCE,
        }
    }
}

/// Where a command's keys stand: up to two specifications.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    specs: [KeySpec; 2],
    len: u8,
}

/// One key specification, as `COMMAND INFO` shows it.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// What is done with these keys.
    pub flags: KeyFlags,
    /// The argument they begin at, the name being argument 0.
    pub begin: u16,
    /// How to find the others.
    pub find: Find,
    /// What is to be said of the flags; empty for nothing.
    pub note: &'static str,
}

/// Which arguments from the beginning on are keys.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Up to `last`, counted from the beginning, negative from the end; every `step`-th.
    Range {
        /// The last key.
        last: i16,
        /// Distance from key to key.
        step: u16,
    },
    /// The first argument says how many follow it; every `step`-th.
    Keynum {
        /// Distance from key to key.
        step: u16,
    },
}

impl Keys {
    /// No keys.
    pub const NONE: Self = Self {
        specs: [KeySpec::at(0, KeyFlags::NONE); 2],
        len: 0,
    };

    /// One key at argument `index`.
    #[must_use]
    pub const fn one(index: u16, flags: KeyFlags) -> Self {
        Self {
            specs: [KeySpec::at(index, flags); 2],
            len: 1,
        }
    }

    /// All arguments from `index` to the last, every `step`-th.
    #[must_use]
    pub const fn rest(index: u16, step: u16, flags: KeyFlags) -> Self {
        let find = Find::Range { last: -1, step };
        Self {
            specs: [KeySpec {
                flags,
                begin: index,
                find,
                note: "",
            }; 2],
            len: 1,
        }
    }

    /// As many as argument `index` says, after it, every `step`-th.
    #[must_use]
    pub const fn counted(index: u16, step: u16, flags: KeyFlags) -> Self {
        let find = Find::Keynum { step };
        Self {
            specs: [KeySpec {
                flags,
                begin: index,
                find,
                note: "",
            }; 2],
            len: 1,
        }
    }

    /// A key at argument 1 and one at argument 2 that are treated differently.
    #[must_use]
    pub const fn pair(first: KeyFlags, second: KeyFlags) -> Self {
        Self {
            specs: [KeySpec::at(1, first), KeySpec::at(2, second)],
            len: 2,
        }
    }

    /// Says something of the flags of the first specification.
    #[must_use]
    pub const fn note(mut self, note: &'static str) -> Self {
        self.specs[0].note = note;
        self
    }

    /// The specifications.
    #[must_use]
    pub fn specs(&self) -> &[KeySpec] {
        &self.specs[..usize::from(self.len)]
    }

    /// First key, last key and step, as `COMMAND INFO` has them for old clients.
    #[must_use]
    pub fn legacy(&self) -> (i64, i64, i64) {
        let [first, rest @ ..] = self.specs() else {
            return (0, 0, 0);
        };
        let begin = first.begin;
        match (first.find, rest.last()) {
            (Find::Keynum { .. }, _) => (0, 0, 0),
            (Find::Range { .. }, Some(second)) => (i64::from(begin), i64::from(second.begin), 1),
            (Find::Range { last, step }, None) => {
                let last = if last < 0 {
                    i64::from(last)
                } else {
                    i64::from(begin) + i64::from(last)
                };
                (i64::from(begin), last, i64::from(step))
            }
        }
    }

    /// Positions of the keys in a call, with what is done to them, and of nothing that only stands
    /// where a key would; `None` where the call's own count of its keys is wrong.
    #[must_use]
    pub fn positions(&self, args: Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
        let mut found = Vec::new();
        let is_key = |spec: &&KeySpec| !spec.flags.has(KeyFlags::NOT_KEY);
        for spec in self.specs().iter().filter(is_key) {
            let begin = usize::from(spec.begin);
            match spec.find {
                Find::Range { last, step } => {
                    let last = if last < 0 {
                        args.len().checked_sub(usize::from(last.unsigned_abs()))?
                    } else {
                        begin + usize::from(last.unsigned_abs())
                    };
                    let places = (begin..=last).step_by(usize::from(step));
                    found.extend(places.map(|at| (at, spec.flags)));
                }
                Find::Keynum { step } => {
                    let count = linchpin_protocol::number::parse_u64(args.get(begin)?)?;
                    let step = usize::from(step);
                    let count = usize::try_from(count).ok().filter(|&n| n > 0)?;
                    let last = count
                        .checked_sub(1)?
                        .checked_mul(step)?
                        .checked_add(begin + 1)?;
                    if last >= args.len() {
                        return None;
                    }
                    let places = (begin + 1..=last).step_by(step);
                    found.extend(places.map(|at| (at, spec.flags)));
                }
            }
        }
        found
            .iter()
            .all(|(at, _)| *at < args.len())
            .then_some(found)
    }
}

impl KeySpec {
    const fn at(index: u16, flags: KeyFlags) -> Self {
        Self {
            flags,
            begin: index,
            find: Find::Range { last: 0, step: 1 },
            note: "",
        }
    }
}

/// One argument, as `COMMAND DOCS` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name, lower case.
    pub name: &'static str,
    /// What may stand there.
    pub kind: ArgKind,
    /// The word that stands before it, upper case.
    pub token: Option<&'static str>,
    /// It may be left out.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// The version that brought it, if later than the command.
    pub since: Option<&'static str>,
}

/// What may stand in an argument's place.
#[derive(Clone, Copy, Debug)]
pub enum ArgKind {
    /// A key of the key specification with this number.
    Key(u8),
    /// Any bytes.
    String,
    /// A 64-bit integer.
    Integer,
    /// A floating-point number.
    Double,
    /// A glob.
    Pattern,
    /// A Unix time, in seconds or milliseconds.
    UnixTime,
    /// Just the token.
    PureToken,
    /// One of these.
    OneOf(&'static [Arg]),
    /// All of these, in order.
    Block(&'static [Arg]),
}

impl ArgKind {
    /// The word `COMMAND DOCS` answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf(_) => "oneof",
            Self::Block(_) => "block",
        }
    }
}

impl Arg {
    /// An argument that must be there, once.
    #[must_use]
    pub const fn new(name: &'static str, kind: ArgKind) -> Self {
        Self {
            name,
            kind,
            token: None,
            optional: false,
            multiple: false,
            since: None,
        }
    }

    /// A key of the first key specification.
    #[must_use]
    pub const fn key(name: &'static str) -> Self {
        Self::new(name, ArgKind::Key(0))
    }

    /// A bare word.
    #[must_use]
    pub const fn word(name: &'static str, token: &'static str) -> Self {
        Self::new(name, ArgKind::PureToken).token(token)
    }

    /// Sets the word that stands before it.
    #[must_use]
    pub const fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    /// It may be left out.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// It may be repeated.
    #[must_use]
    pub const fn multiple(mut self) -> Self {
        self.multiple = true;
        self
    }

    /// Sets the version that brought it.
    #[must_use]
    pub const fn since(mut self, since: &'static str) -> Self {
        self.since = Some(since);
        self
    }
}
