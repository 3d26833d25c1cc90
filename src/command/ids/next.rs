//! `ID.NEXT <SNOWFLAKE|UUID7|ULID|KSUID> [COUNT n] [AS INT|DEC|HEX|B62|B32]`: IDs that rise.
//!
//! Reply: a bulk string, or an array with COUNT; integers with AS INT. Where what can be given out
//! is used up, or not reserved on the disk yet, the call waits; inside `MULTI` it is -CLOCK then.

use crate::command::host::Host;
use crate::command::lock::claim;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Keys, Repeat, Spec};
use crate::command::words::Words;
use crate::command::{Cx, Park, ReplyError, error};
use crate::engine::ids::text::{Form, Text};
use crate::engine::ids::{Block, Id, IdKind, Refusal, Taken, Wanted};
use linchpin_protocol::{Args, Writer};

/// The most IDs or codes of one call.
pub const COUNT_MAX: i64 = 100_000;
/// Random numbers fetched at a time.
const CHANCES: usize = 64;

/// The kinds, for the table.
pub const KIND_ARGS: &[Arg] = &[
    Arg::word("snowflake", "SNOWFLAKE"),
    Arg::word("uuid7", "UUID7"),
    Arg::word("ulid", "ULID"),
    Arg::word("ksuid", "KSUID"),
];
/// The forms, for the table.
pub const FORM_ARGS: &[Arg] = &[
    Arg::word("int", "INT"),
    Arg::word("dec", "DEC"),
    Arg::word("hex", "HEX"),
    Arg::word("b62", "B62"),
    Arg::word("b32", "B32"),
];

/// The rows.
pub const SPECS: &[Spec] = &[Spec::new(
    "id.next",
    -2,
    Flags::FAST.with(Flags::BLOCKING),
    Keys::NONE,
    run,
)
.group(Group::Id)
.since("linchpin 0.1.0")
.doc(
    "Gives out IDs that no other call gets and that rise with each call.",
    "O(N) with N IDs",
)
.args(&[
    Arg::new("kind", ArgKind::OneOf(KIND_ARGS)),
    Arg::new("count", ArgKind::Integer)
        .token("COUNT")
        .optional(),
    Arg::new("form", ArgKind::OneOf(FORM_ARGS))
        .token("AS")
        .optional(),
])
.tips(&["nondeterministic_output"])
.repeat(Repeat::Unsafe)];

/// What a call asked for, and how its reply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    wanted: Wanted,
    style: Style,
    is_array: bool,
}

/// How IDs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As integers; snowflakes alone.
    Integer,
    /// As text.
    Text(Form),
}

impl Wish {
    /// Writes the reply.
    ///
    /// # Errors
    /// Where there are no IDs: why.
    pub fn write(
        self,
        taken: Result<Block, Refusal>,
        out: &mut Writer<'_>,
        host: &dyn Host,
    ) -> Result<(), ReplyError> {
        let block = taken.map_err(refused)?;
        if self.is_array {
            out.array(block.count() as usize);
        }
        if !block.is_random() {
            (0..block.count()).for_each(|index| self.write_one(block.id(index, 0), out));
            return Ok(());
        }
        let mut chances = [0; CHANCES];
        let mut index = 0;
        while index < block.count() {
            let left = (block.count() - index) as usize;
            let chances = &mut chances[..left.min(CHANCES)];
            host.fill_random(chances);
            for chance in chances {
                self.write_one(block.id(index, *chance), out);
                index += 1;
            }
        }
        Ok(())
    }

    #[inline]
    fn write_one(self, id: Id, out: &mut Writer<'_>) {
        match (self.style, id) {
            (Style::Integer, Id::Snowflake(id)) => out.integer(id.cast_signed()),
            (Style::Text(form), _) => out.bulk(Text::of(id, form).as_bytes()),
            (Style::Integer, _) => out.bulk(Text::of(id, Form::usual(id.kind())).as_bytes()),
        }
    }
}

/// The next word as a kind.
pub fn kind(words: &mut Words<'_>) -> IdKind {
    let kind = IdKind::from_word(words.take());
    if kind.is_none() {
        words.reject();
    }
    kind.unwrap_or(IdKind::Snowflake)
}

/// The next word as a form of IDs of this kind.
pub fn style(words: &mut Words<'_>, kind: IdKind) -> Style {
    let forms = [Form::Dec, Form::Hex, Form::B62, Form::B32];
    for (word, form) in ["DEC", "HEX", "B62", "B32"].into_iter().zip(forms) {
        if words.keyword(word) {
            return Style::Text(form);
        }
    }
    if !words.keyword("INT") || kind != IdKind::Snowflake {
        words.reject();
    }
    Style::Integer
}

/// The next word as a number of IDs or codes.
pub fn count(words: &mut Words<'_>) -> u32 {
    let count = words.integer_in(1..=COUNT_MAX, error::COUNT_OUT_OF_RANGE);
    u32::try_from(count).unwrap_or(1)
}

fn run(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), ReplyError> {
    let wish = parse(args)?;
    let ticket = (!cx.is_in_exec()).then(|| claim::ticket(cx));
    let host = cx.host;
    let taken = cx
        .step
        .ids()
        .take(wish.wanted, cx.now(), ticket, &mut || host.random());
    match taken {
        Ok(Taken::Block(block)) => wish.write(Ok(block), &mut cx.out, host),
        Err(refusal) => Err(refused(refusal)),
        Ok(Taken::Waits) => {
            let call = ticket.map_or(0, |ticket| ticket.call);
            cx.parked = Some(Park::Ids { call, wish });
            Ok(())
        }
    }
}

fn parse(args: Args<'_>) -> Result<Wish, ReplyError> {
    let mut words = Words::new(args.skip(1));
    let kind = kind(&mut words);
    let (mut wanted_count, mut wanted_style) = (None, None);
    while words.more() {
        if words.keyword("COUNT") {
            let count = count(&mut words);
            claim::set_once(&mut words, &mut wanted_count, count);
        } else if words.keyword("AS") {
            let style = style(&mut words, kind);
            claim::set_once(&mut words, &mut wanted_style, style);
        } else {
            words.reject();
        }
    }
    words.finish()?;
    let count = wanted_count.unwrap_or(1);
    Ok(Wish {
        wanted: Wanted { kind, count },
        style: wanted_style.unwrap_or(Style::Text(Form::usual(kind))),
        is_array: wanted_count.is_some(),
    })
}

/// What a client is told that gets no IDs.
fn refused(refusal: Refusal) -> ReplyError {
    match refusal {
        Refusal::Behind(ms) => {
            ReplyError::with_code("CLOCK", format!("id clock is behind by {ms} ms"))
        }
        Refusal::UsedUp(ms) => {
            ReplyError::with_code("CLOCK", format!("ids are used up for {ms} ms"))
        }
        Refusal::NotReserved => error::IDS_BEING_RESERVED,
        Refusal::NotReservable => error::IDS_NOT_RESERVED,
        Refusal::TooMany => error::COUNT_OUT_OF_RANGE,
        Refusal::OutOfTime => error::IDS_OUT_OF_TIME,
    }
}
