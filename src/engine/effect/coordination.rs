//! Effects on what the coordinator keeps. All are resolved: doing them again compares nothing with
//! any clock, and grants nothing to anybody.

use wincode::{SchemaRead, SchemaWrite};

/// How much of an object a hold takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, SchemaRead, SchemaWrite)]
pub enum Share {
    /// A lock, alone.
    Exclusive,
    /// A lock, beside others that share it.
    Shared,
    /// Some permits of a semaphore.
    Permits {
        /// So many.
        count: u32,
        /// Of so many that there are in all.
        limit: u32,
    },
    /// A number of a pool of workers.
    Number {
        /// The number.
        number: u32,
        /// Of so many that there are in all.
        of: u32,
    },
}

/// What a hold lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Life {
    /// A lease.
    Lease {
        /// Its end, in engine milliseconds.
        end_ms: u64,
    },
    /// A session, by its number.
    Session {
        /// The number.
        number: u64,
    },
}

/// One change of the coordinator's state. Databases by their identity, times in engine
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Coordination<'a> {
    /// The object is held like this by whoever has this fence, whether it was before or not.
    Hold {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The fencing token.
        fence: u64,
        /// Whose it is.
        owner: &'a [u8],
        /// How much it takes.
        share: Share,
        /// How deep its owner has entered.
        depth: u32,
        /// What it lives by.
        life: Life,
        /// The length of its lease.
        ttl_ms: u64,
        /// For how long others are kept out if it is lost.
        delay_ms: u64,
        /// What its owner proclaims.
        value: Option<&'a [u8]>,
        /// When it was granted.
        since_ms: u64,
    },
    /// The hold with this fence is no more.
    EndHold {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The fencing token.
        fence: u64,
    },
    /// Nobody gets the lock before this time, for a hold was lost.
    Delay {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Until when.
        until_ms: u64,
        /// For how long it was to be.
        ms: u64,
        /// The fencing token of what was lost.
        fence: u64,
        /// Whose it was.
        owner: &'a [u8],
        /// Whether requests that share it are let through.
        admits_shared: bool,
    },
    /// Everybody may get the lock again.
    EndDelay {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
    },
    /// There is this session, whether it was before or not.
    Session {
        /// Its number, which may be told.
        number: u64,
        /// Its name for its owner, which is a secret; none for that of a connection.
        sid: &'a [u8],
        /// What its owner calls it.
        name: &'a [u8],
        /// How long it lives without a sign of life.
        ttl_ms: u64,
        /// How long it outlives its connection.
        grace_ms: u64,
        /// For how long others are kept out of its locks when it is lost.
        delay_ms: u64,
        /// When it ends; none while it is bound to a connection.
        end_ms: Option<u64>,
    },
    /// The session is no more.
    EndSession {
        /// Its number.
        number: u64,
    },
    /// The semaphore has this limit, which is not compared any more.
    Pin {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Permits.
        limit: u32,
    },
    /// There is a latch.
    Latch {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// What remains to be counted.
        remaining: u32,
        /// When it is forgotten.
        end_ms: u64,
    },
    /// An owner has counted a latch down.
    CountDown {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Who.
        owner: &'a [u8],
        /// What remains.
        remaining: u32,
    },
    /// All parties of a barrier have arrived; an [`Arrival`](Self::Arrival) follows for each.
    Trip {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// How many there are.
        parties: u32,
        /// The number of the meeting.
        generation: u64,
        /// How long it is remembered.
        until_ms: u64,
    },
    /// One of those who met, after those who arrived before.
    Arrival {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Who.
        owner: &'a [u8],
    },
    /// Nothing is known of the object any more: a latch, a barrier, a pinned semaphore.
    Forget {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
    },
    /// Every fencing token and session number up to here may have been given out.
    Counted {
        /// The last fencing token.
        fence: u64,
        /// The last number of a session.
        session: u64,
    },
    /// Numbers of a range, or of codes, up to here may have been given out. If there is neither,
    /// there is a range now.
    Numbers {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The last.
        high: u64,
    },
    /// There is a namespace of codes.
    Codes {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// The letters.
        alphabet: &'a [u8],
        /// Letters of a code.
        len: u32,
        /// Whether codes with an offending word are left out.
        is_filtered: bool,
        /// What the order of the codes follows from.
        secret: (u64, u64),
    },
    /// A number of a pool was given back, or its holder was lost.
    Rest {
        /// Identity of the database.
        db: u32,
        /// The key.
        key: &'a [u8],
        /// Numbers of the pool.
        of: u32,
        /// The number.
        number: u32,
        /// When.
        ended_ms: u64,
        /// The same as Unix time.
        wall_ms: u64,
        /// Until when nobody gets it; 0: it is free at once.
        until_ms: u64,
    },
}
