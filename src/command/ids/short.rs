//! `ID.SHORT key [LEN n] [COUNT n]` and `ID.SHORT.CONFIG key ALPHABET a LEN n [BLOCKLIST b]`: short
//! codes that no other call gets and nobody guesses.
//!
//! Reply: a bulk string, or an array with COUNT. The first use of a key fixes letters, length and a
//! secret; base 62 and seven letters unless it says otherwise.

use super::next;
use super::range::wait_for;
use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, ReplyError, error};
use crate::engine::Kind;
use crate::engine::ids::code::{ALPHABET_62, CODE_LEN_MAX, Scheme};
use linchpin_protocol::Args;

/// Letters of a code, unless told otherwise.
const LEN_DEFAULT: u32 = 7;
const KEY: Keys = Keys::one(
    1,
    KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
);
const BLOCKLIST_ARGS: &[Arg] = &[Arg::word("none", "none"), Arg::word("builtin", "builtin")];

/// The rows.
pub const SPECS: &[Spec] = &[
    Spec::new(
        "id.short",
        -2,
        Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        KEY,
        run_short,
    )
    .group(Group::Id)
    .since("linchpin 0.1.0")
    .doc(
        "Gives out short codes that no other call gets and nobody guesses.",
        "O(N) with N codes",
    )
    .args(&[
        Arg::key("key"),
        Arg::new("length", ArgKind::Integer).token("LEN").optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ])
    .tips(&["nondeterministic_output"]),
    Spec::new(
        "id.short.config",
        -6,
        Flags::WRITE
            .with(Flags::DENYOOM)
            .with(Flags::FAST)
            .with(Flags::DURABLE),
        Keys::one(1, KeyFlags::RW.with(KeyFlags::UPDATE)),
        run_config,
    )
    .group(Group::Id)
    .since("linchpin 0.1.0")
    .doc("Fixes letters and length of the codes of a key.", "O(1)")
    .args(&[
        Arg::key("key"),
        Arg::new("alphabet", ArgKind::String).token("ALPHABET"),
        Arg::new("length", ArgKind::Integer).token("LEN"),
        Arg::new("blocklist", ArgKind::OneOf(BLOCKLIST_ARGS))
            .token("BLOCKLIST")
            .optional(),
    ])
    .repeat(Repeat::Safe),
];

/// The next word as a number of letters.
fn len(words: &mut Words<'_>) -> u32 {
    let len_max = CODE_LEN_MAX as i64;
    let len = words.integer_in(1..=len_max, error::CODE_SPACE_IMPOSSIBLE);
    u32::try_from(len).unwrap_or(1)
}

/// A scheme with a new secret.
///
/// # Errors
/// Where letters and length make no codes.
fn scheme(cx: &Cx<'_>, alphabet: &[u8], len: u32, is_filtered: bool) -> Result<Scheme, ReplyError> {
    let mut secret = [0; 2];
    cx.host.fill_random(&mut secret);
    let scheme = Scheme {
        alphabet: alphabet.into(),
        len,
        is_filtered,
        secret,
    };
    match scheme.codes() {
        Some(_) => Ok(scheme),
        None => Err(error::CODE_SPACE_IMPOSSIBLE),
    }
}

fn run_short(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (mut wanted_len, mut wanted_count) = (None, None);
    while words.more() {
        if words.keyword("LEN") {
            let len = len(&mut words);
            claim::set_once(&mut words, &mut wanted_len, len);
        } else if words.keyword("COUNT") {
            let count = next::count(&mut words);
            claim::set_once(&mut words, &mut wanted_count, count);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    // Of use where the key is new.
    let fresh = scheme(cx, ALPHABET_62, wanted_len.unwrap_or(LEN_DEFAULT), false)?;
    let count = wanted_count.unwrap_or(1);
    let start = cx.out.buffer_len();
    if wanted_count.is_some() {
        cx.out.array(count as usize);
    }
    let mut left = count;
    let mut text = [0; CODE_LEN_MAX];
    while left > 0 {
        let taken = claim::on_object(cx, &args[1], &[Kind::IdShort], |turn, name| {
            turn.take_codes(name, &fresh, wanted_len, left)
        });
        let taken = taken.and_then(|taken| taken.map_err(|refusal| claim::refused(&refusal)));
        let taken = taken.inspect_err(|_| cx.out.truncate(start))?;
        wait_for(cx, taken.safe_by);
        for number in taken.numbers {
            if let Some(code) = taken.coder.write(number, &mut text) {
                cx.out.bulk(code);
                left -= 1;
            }
        }
    }
    Ok(())
}

fn run_config(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let mut words = Words::new(args.skip(2));
    let (mut alphabet, mut wanted_len, mut blocklist) = (None, None, None);
    while words.more() {
        if words.keyword("ALPHABET") {
            let letters = words.take();
            claim::set_once(&mut words, &mut alphabet, letters);
        } else if words.keyword("LEN") {
            let len = len(&mut words);
            claim::set_once(&mut words, &mut wanted_len, len);
        } else if words.keyword("BLOCKLIST") {
            let is_builtin = words.keyword("builtin");
            if !is_builtin && !words.keyword("none") {
                words.reject();
            }
            claim::set_once(&mut words, &mut blocklist, is_builtin);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let (alphabet, len) = (
        alphabet.ok_or(error::SYNTAX)?,
        wanted_len.ok_or(error::SYNTAX)?,
    );
    let scheme = scheme(cx, alphabet, len, blocklist.unwrap_or(false))?;
    let configured = claim::on_object(cx, &args[1], &[Kind::IdShort], |turn, name| {
        turn.configure_codes(name, &scheme)
    })?;
    configured.map_err(|refusal| claim::refused(&refusal))?;
    cx.out.ok();
    Ok(())
}
