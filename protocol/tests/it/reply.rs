//! Replies: what is written is what is read, whatever the pieces; what is refused, and limits.

use linchpin_protocol::{Reply, ReplyError, ReplyLimits, ReplyParser, Version, Writer};
use proptest::prelude::*;

/// Reads every reply of `input`, offered in pieces of `piece_len` bytes.
fn read_all(
    input: &[u8],
    limits: &ReplyLimits,
    piece_len: usize,
) -> (Vec<Reply>, Option<ReplyError>) {
    let mut parser = ReplyParser::new();
    let mut replies = Vec::new();
    let mut pending = Vec::new();
    for piece in input.chunks(piece_len) {
        pending.extend_from_slice(piece);
        loop {
            match parser.parse(&pending, limits) {
                Ok(progress) => {
                    pending.drain(..progress.consumed);
                    match progress.reply {
                        Some(reply) => replies.push(reply),
                        None => break,
                    }
                }
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fn read_one(input: &[u8]) -> Reply {
    let (mut replies, error) = read_all(input, &ReplyLimits::default(), input.len());
    assert_eq!(
        (replies.len(), error),
        (1, None),
        "{}",
        input.escape_ascii()
    );
    replies.remove(0)
}

fn refusal(input: &[u8], limits: &ReplyLimits) -> Option<ReplyError> {
    let (_, error) = read_all(input, limits, input.len().max(1));
    assert_eq!(
        read_all(input, limits, 1).1,
        error,
        "{}",
        input.escape_ascii()
    );
    error
}

#[test]
fn forms_that_the_writer_does_not_use() {
    assert_eq!(
        read_one(b"!8\r\nERR a\r\nb\r\n"),
        Reply::Error(b"ERR a\r\nb".to_vec())
    );
    assert_eq!(read_one(b":+5\r\n"), Reply::Integer(5));
    assert_eq!(read_one(b"*-1\r\n"), Reply::Null);
    assert_eq!(read_one(b",1e3\r\n"), Reply::Double(1000.0));
    assert!(matches!(read_one(b",-nan\r\n"), Reply::Double(nan) if nan.is_nan()));
    let attribute = b"|1\r\n+ttl\r\n*2\r\n:1\r\n|0\r\n:2\r\n";
    assert_eq!(
        read_one(&[attribute, &b":7\r\n"[..]].concat()),
        Reply::Integer(7)
    );
    let within = [
        b"*2\r\n",
        &attribute[..],
        b":7\r\n",
        &attribute[..],
        b":8\r\n",
    ]
    .concat();
    assert_eq!(
        read_one(&within),
        Reply::Array(vec![Reply::Integer(7), Reply::Integer(8)])
    );
}

#[test]
fn what_is_no_reply_is_refused() {
    use ReplyError::*;
    let rows: &[(&[u8], ReplyError)] = &[
        (b"x\r\n", UnknownType(b'x')),
        (b"\r\n", UnknownType(b'\r')),
        (b"+OK\n", ExpectedCrlf),
        (b"+O\nK\r\n", ExpectedCrlf),
        (b"+O\rK\r\n", ExpectedCrlf),
        (b":\r\n", InvalidValue(b':')),
        (b":1.5\r\n", InvalidValue(b':')),
        (b":+-5\r\n", InvalidValue(b':')),
        (b":9223372036854775808\r\n", InvalidValue(b':')),
        (b",abc\r\n", InvalidValue(b',')),
        (b"#x\r\n", InvalidValue(b'#')),
        (b"_x\r\n", InvalidValue(b'_')),
        (b"(\r\n", InvalidValue(b'(')),
        (b"(1-\r\n", InvalidValue(b'(')),
        (b"$-2\r\n", InvalidLength(b'$')),
        (b"!-1\r\n", InvalidLength(b'!')),
        (b"%-1\r\n", InvalidLength(b'%')),
        (b"*01\r\n", InvalidLength(b'*')),
        (b"$2\r\nabc\r\n", ExpectedCrlf),
        (b"$2\r\nab\rc", ExpectedCrlf),
        (b"=3\r\ntxt\r\n", InvalidValue(b'=')),
        (b"=4\r\ntxt \r\n", InvalidValue(b'=')),
        (b"$?\r\n", Streamed),
        (b"*?\r\n", Streamed),
        (b";4\r\n", Streamed),
        (b"*1\r\n>1\r\n+a\r\n", NestedPush),
        (b"$18446744073709551615\r\n", TooManyBytes),
        (b"%9223372036854775808\r\n", TooManyElements),
    ];
    for (input, error) in rows {
        let found = refusal(input, &ReplyLimits::default());
        assert_eq!(found, Some(*error), "{}", input.escape_ascii());
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn limits_hold_at_max_and_refuse_max_plus_one() {
    let limits = ReplyLimits {
        bytes_max: 20,
        elements_max: 4,
        depth_max: 3,
    };
    for (input, error) in [
        (&b"$13\r\n1234567890123\r\n"[..], None),
        (b"$14\r\n", Some(ReplyError::TooManyBytes)),
        (b"+1234567890123456789\r\n", None),
        (b"+12345678901234567890", Some(ReplyError::TooManyBytes)),
        (b"*3\r\n+4567\r\n+123456789", Some(ReplyError::TooManyBytes)),
        (b"*4\r\n", None),
        (b"*5\r\n", Some(ReplyError::TooManyElements)),
        (b"%2\r\n", None),
        (b"%3\r\n", Some(ReplyError::TooManyElements)),
        (b"*2\r\n*3\r\n", Some(ReplyError::TooManyElements)),
        (b"*1\r\n*1\r\n*1\r\n", None),
        (b"*1\r\n*1\r\n*1\r\n*0\r\n", Some(ReplyError::TooDeep)),
        (b"*1\r\n|1\r\n*1\r\n*0\r\n", Some(ReplyError::TooDeep)),
    ] {
        assert_eq!(refusal(input, &limits), error, "{}", input.escape_ascii());
    }
    // The next reply is counted from zero.
    let twice = b"*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n".repeat(2);
    let limits = ReplyLimits {
        bytes_max: 100,
        ..limits
    };
    assert_eq!(read_all(&twice, &limits, 3).0.len(), 2);
}

#[test]
fn a_long_string_is_consumed_as_it_comes() {
    let mut parser = ReplyParser::new();
    let limits = ReplyLimits::default();
    assert!(!parser.is_midway());
    let progress = parser.parse(b"$1000000\r\n", &limits).unwrap();
    assert_eq!((progress.consumed, progress.reply), (10, None));
    assert!(parser.is_midway());
    for _ in 0..1000 {
        let progress = parser.parse(&[b'x'; 1000], &limits).unwrap();
        assert_eq!((progress.consumed, progress.reply), (1000, None));
    }
    let progress = parser.parse(b"\r", &limits).unwrap();
    assert_eq!((progress.consumed, progress.reply), (0, None));
    let progress = parser.parse(b"\r\n+next", &limits).unwrap();
    assert_eq!(progress.consumed, 2);
    assert_eq!(progress.reply, Some(Reply::Bulk(vec![b'x'; 1_000_000])));
    assert!(!parser.is_midway());
    parser.parse(b"*1\r\n", &limits).unwrap();
    parser.reset();
    assert_eq!(
        parser.parse(b":1\r\n", &limits).unwrap().reply,
        Some(Reply::Integer(1))
    );
}

fn line_text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12).prop_map(|text| {
        text.into_iter()
            .filter(|byte| !b"\r\n".contains(byte))
            .collect()
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..30)
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        "[ -~]{0,10}".prop_map(|text| Reply::Simple(text.into_bytes())),
        line_text().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        Just(Reply::Null),
        any::<f64>()
            .prop_filter("NaN equals nothing", |f| !f.is_nan())
            .prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        "-?[0-9]{1,40}".prop_map(|digits| Reply::BigNumber(digits.into_bytes())),
        bytes().prop_map(|text| Reply::Verbatim {
            format: *b"txt",
            text
        }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Reply::Array),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Reply::Set),
            prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Reply::Map),
        ]
    })
}

fn top_level() -> impl Strategy<Value = Reply> {
    let push = prop::collection::vec(reply(), 0..4).prop_map(Reply::Push);
    prop_oneof![4 => reply(), 1 => push]
}

fn write(writer: &mut Writer<'_>, reply: &Reply) {
    match reply {
        Reply::Simple(text) => writer.simple(std::str::from_utf8(text).unwrap()),
        Reply::Error(text) => writer.error_bytes(text),
        Reply::Integer(value) => writer.integer(*value),
        Reply::Bulk(bytes) => writer.bulk(bytes),
        Reply::Null => writer.null(),
        Reply::Double(value) => writer.double(*value),
        Reply::Boolean(value) => writer.boolean(*value),
        Reply::BigNumber(digits) => writer.big_number(std::str::from_utf8(digits).unwrap()),
        Reply::Verbatim { format, text } => {
            writer.verbatim(std::str::from_utf8(format).unwrap(), text);
        }
        Reply::Map(pairs) => {
            writer.map(pairs.len());
            for (key, value) in pairs {
                write(writer, key);
                write(writer, value);
            }
        }
        Reply::Array(items) => {
            writer.array(items.len());
            items.iter().for_each(|item| write(writer, item));
        }
        Reply::Set(items) => {
            writer.set(items.len());
            items.iter().for_each(|item| write(writer, item));
        }
        Reply::Push(items) => {
            writer.push(items.len());
            items.iter().for_each(|item| write(writer, item));
        }
        other => panic!("no way to write {other:?}"),
    }
}

/// What is left of a reply when it goes through RESP2.
fn in_resp2(reply: Reply) -> Reply {
    let all = |items: Vec<Reply>| Reply::Array(items.into_iter().map(in_resp2).collect());
    match reply {
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => all(items),
        Reply::Map(pairs) => all(pairs
            .into_iter()
            .flat_map(|(key, value)| [key, value])
            .collect()),
        Reply::Boolean(value) => Reply::Integer(value.into()),
        Reply::BigNumber(text) | Reply::Verbatim { text, .. } => Reply::Bulk(text),
        Reply::Double(value) => {
            let mut text = Vec::new();
            linchpin_protocol::number::write_f64(&mut text, value);
            Reply::Bulk(text)
        }
        same => same,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(
        replies in prop::collection::vec(top_level(), 1..4),
        piece_len in 1_usize..40,
    ) {
        for version in [Version::Resp2, Version::Resp3] {
            let mut out = Vec::new();
            replies.iter().for_each(|reply| write(&mut Writer::new(&mut out, version), reply));
            let expected = match version {
                Version::Resp2 => replies.iter().cloned().map(in_resp2).collect(),
                Version::Resp3 => replies.clone(),
            };
            prop_assert_eq!(read_all(&out, &ReplyLimits::default(), piece_len), (expected, None));
        }
    }

    #[test]
    fn arbitrary_bytes_give_the_same_in_any_pieces(
        fragments in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "+", "-", ":", "$", "*", "_", "#", ",", "(", "!", "=", "%", "~", ">", "|",
                    "\r\n", "\r", "\n", "0", "1", "2", "3", "-1", "?", "OK", "t", "inf", "txt:",
                    "*1\r\n", "%1\r\n", "|1\r\n", "$2\r\nab\r\n", "99999999999",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..20,
        ),
        piece_len in 1_usize..20,
    ) {
        let input = fragments.concat();
        let limits = ReplyLimits { bytes_max: 60, elements_max: 6, depth_max: 3 };
        let whole = read_all(&input, &limits, input.len().max(1));
        prop_assert_eq!(read_all(&input, &limits, piece_len), whole);
    }

    #[test]
    fn doubles_survive_their_text(value in any::<f64>()) {
        let mut text = Vec::new();
        linchpin_protocol::number::write_f64(&mut text, value);
        match linchpin_protocol::number::parse_f64(&text) {
            Some(read) => prop_assert_eq!(read.to_bits(), value.to_bits()),
            None => prop_assert!(value.is_nan()),
        }
    }
}
