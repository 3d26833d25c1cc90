//! Requests: bad input row by row, limits, pieces, memory, and the parser against its oracle.

use linchpin_protocol::{Limits, ProtocolError, Request, RequestParser, encode_command};
use proptest::prelude::*;

use crate::oracle;

/// What a stream of requests amounts to: their arguments, and the error that ended it.
fn read_all(input: &[u8], limits: &Limits) -> (Vec<Request>, Option<ProtocolError>) {
    let mut parser = RequestParser::new();
    let mut requests = Vec::new();
    let mut rest = input;
    loop {
        match parser.parse(rest, limits) {
            Ok(Some(consumed)) => {
                requests.push(parser.args(rest).to_request());
                rest = &rest[consumed..];
            }
            Ok(None) => return (requests, None),
            Err(error) => return (requests, Some(error)),
        }
    }
}

/// The error that `input` ends with, in words.
fn refusal(input: &[u8], limits: &Limits) -> String {
    match read_all(input, limits).1 {
        Some(error) => error.to_string(),
        None => format!("accepted: {}", input.escape_ascii()),
    }
}

fn requests<const N: usize>(expected: [&[&[u8]]; N]) -> Vec<Request> {
    expected.into_iter().map(Request::from_args).collect()
}

/// Each row as redis-server 7.0.15 words it, the ones marked "ours" excepted.
#[test]
fn bad_input_is_refused_in_redis_words() {
    let multibulk = "invalid multibulk length";
    let bulk = "invalid bulk length";
    let quotes = "unbalanced quotes in request";
    let rows: &[(&[u8], &str)] = &[
        (b"SET a \"b\r\n", quotes),
        (b"SET \"a\"b c\r\n", quotes),
        (b"SET 'a'b c\r\n", quotes),
        (b"ECHO \"\\\r\n", quotes),
        (b"*2147483648\r\n", multibulk),
        (b"*9223372036854775808\r\n", multibulk),
        (b"*-9223372036854775809\r\n", multibulk),
        (b"*abc\r\n", multibulk),
        (b"*\r\n", multibulk),
        (b"* 1\r\n", multibulk),
        (b"*1 \r\n", multibulk),
        (b"*+1\r\n", multibulk),
        (b"*01\r\n", multibulk),
        (b"*00\r\n", multibulk),
        (b"*-0\r\n", multibulk),
        (b"*1048577\r\n", multibulk),   // ours
        (b"*1\n$4\nPING\n", multibulk), // ours
        (b"*1\rx", multibulk),          // ours
        (b"*1\0\r\n", multibulk),       // ours
        (b"*1\r\n:4\r\n", "expected '$', got ':'"),
        (b"*1\r\n+\r\n", "expected '$', got '+'"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "expected '$', got ' '"),
        (b"*2147483647\r\n", multibulk), // ours
        (b"*1\r\n$-1\r\n", bulk),
        (b"*1\r\n$-2\r\n", bulk),
        (b"*1\r\n$abc\r\n", bulk),
        (b"*1\r\n$\r\n", bulk),
        (b"*1\r\n$-0\r\n", bulk),
        (b"*1\r\n$04\r\n", bulk),
        (b"*1\r\n$4\nPING\r\n", bulk), // ours
        (b"*1\r\n$536870913\r\n", bulk),
        (b"*1\r\n$4294967296\r\n", bulk),
        (b"*1\r\n$12345678901234567890\r\n", bulk),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF"),   // ours
        (b"*1\r\n$4\r\nPING\n\n", "expected CRLF"), // ours
    ];
    for (input, text) in rows {
        assert_eq!(
            refusal(input, &Limits::default()),
            *text,
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn an_error_repeats_an_offending_byte_as_it_came() {
    for (got, display, sent) in [
        (b':', "expected '$', got ':'", &b"expected '$', got ':'"[..]),
        (b'\n', "expected '$', got ' '", b"expected '$', got ' '"),
        (
            0xff,
            r"expected '$', got '\xff'",
            b"expected '$', got '\xff'",
        ),
        (0, r"expected '$', got '\x00'", b"expected '$', got '\0'"),
    ] {
        let error = ProtocolError::ExpectedDollar(got);
        let mut out = Vec::new();
        error.write_text(&mut out);
        assert_eq!(
            (error.to_string().as_str(), out.as_slice()),
            (display, sent)
        );
    }
    let mut out = Vec::new();
    ProtocolError::InlineTooBig.write_text(&mut out);
    assert_eq!(out, ProtocolError::InlineTooBig.to_string().as_bytes());
}

#[test]
fn lines_without_end_are_refused_at_64_kib() {
    for (head, fill, text) in [
        ("", b'a', "too big inline request"),
        ("*", b'1', "too big mbulk count string"),
        ("*1\r\n$", b'1', "too big bulk count string"),
        ("*1\r\n", b'a', "too big bulk count string"),
    ] {
        let mut input = head.as_bytes().to_vec();
        let line_at = input.len()
            - input
                .iter()
                .rev()
                .take_while(|byte| **byte != b'\n')
                .count();
        input.resize(line_at + 65_536, fill);
        assert_eq!(
            read_all(&input, &Limits::default()),
            (vec![], None),
            "{head:?}"
        );
        input.push(fill);
        assert_eq!(refusal(&input, &Limits::default()), text);
        input.extend_from_slice(b"\r\n");
        assert_eq!(refusal(&input, &Limits::default()), text);
    }
}

#[test]
fn an_inline_request_may_be_as_long_as_its_limit() {
    let limits = Limits {
        inline_bytes_max: 10,
        ..Limits::default()
    };
    assert_eq!(
        read_all(b"GET 567890\n", &limits).0,
        requests([&[b"GET", b"567890"]])
    );
    assert_eq!(
        read_all(b"GET 56789\r\n", &limits).0,
        requests([&[b"GET", b"56789"]])
    );
    assert_eq!(
        refusal(b"GET 567890\r\n", &limits),
        "too big inline request"
    );
}

#[test]
fn limits_hold_at_max_and_refuse_max_plus_one() {
    let own = Limits {
        args_max: 2,
        bulk_bytes_max: 3,
        ..Limits::default()
    };
    let bulk = |len: usize| format!("*1\r\n${len}\r\n{}\r\n", "x".repeat(len)).into_bytes();
    for (limits, count_text, len_text) in [
        (own, "invalid multibulk length", "invalid bulk length"),
        (
            Limits::unauthenticated(),
            "unauthenticated multibulk length",
            "unauthenticated bulk length",
        ),
    ] {
        let args = |count: usize| {
            let mut out = Vec::new();
            encode_command(&mut out, vec!["a"; count]);
            out
        };
        assert_eq!(
            read_all(&args(limits.args_max), &limits).0[0].args().len(),
            limits.args_max
        );
        assert_eq!(refusal(&args(limits.args_max + 1), &limits), count_text);
        assert_eq!(read_all(&bulk(limits.bulk_bytes_max), &limits).1, None);
        assert_eq!(refusal(&bulk(limits.bulk_bytes_max + 1), &limits), len_text);
    }
    let stranger = Limits::unauthenticated();
    assert_eq!(
        refusal(b"*2147483648\r\n", &stranger),
        "invalid multibulk length"
    );
    assert_eq!(
        refusal(b"*1\r\n$536870912\r\n", &stranger),
        "unauthenticated bulk length"
    );
    assert_eq!(
        refusal(b"*1\r\n$536870913\r\n", &stranger),
        "invalid bulk length"
    );
}

#[test]
fn a_request_stays_below_4_gib() {
    let limits = Limits {
        bulk_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let fits = u32::MAX as usize - "*1\r\n$4294967279\r\n".len() - "\r\n".len();
    assert_eq!(
        read_all(format!("*1\r\n${fits}\r\n").as_bytes(), &limits),
        (vec![], None)
    );
    let input = format!("*1\r\n${}\r\n", fits + 1);
    assert_eq!(refusal(input.as_bytes(), &limits), "invalid bulk length");
    assert_eq!(
        refusal(b"*1\r\n$9223372036854775807\r\n", &limits),
        "invalid bulk length"
    );
}

#[test]
fn empty_requests_are_no_error() {
    for input in [
        &b"\r\n"[..],
        b"\n",
        b" \t\r\n",
        b"\r\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*-2147483648\r\n",
        b"*-9223372036854775808\r\n",
    ] {
        let input = [input, b"PING\r\n"].concat();
        let expected = requests([&[], &[b"PING"]]);
        assert_eq!(read_all(&input, &Limits::default()), (expected, None));
    }
}

#[test]
fn inline_requests_are_split_as_redis_does() {
    let rows: &[(&[u8], &[&[u8]])] = &[
        (b"PING\n", &[b"PING"]),
        (b"  SET\ta  b \r\n", &[b"SET", b"a", b"b"]),
        (b"ECHO \"\\x41\\q\\n\\xZZ\"\r\n", &[b"ECHO", b"Aq\nxZZ"]),
        (b"ECHO 'a\\'b\\n'\r\n", &[b"ECHO", b"a'b\\n"]),
        (b"ECHO a\"b c\"\r\n", &[b"ECHO", b"ab c"]),
        (b"ECHO '' \"\"\r\n", &[b"ECHO", b"", b""]),
        (b"ECHO a\x0bb \x0bc\r\n", &[b"ECHO", b"a\x0bb", b"c"]),
        (b"ECHO \"a\"\x0bb\r\n", &[b"ECHO", b"a", b"b"]),
        (b"PING a\rb\r\n", &[b"PING", b"a", b"b"]),
        (b"\xff\xfe\r\n", &[b"\xff\xfe"]),
    ];
    for (input, args) in rows {
        assert_eq!(
            read_all(input, &Limits::default()),
            (requests([*args]), None)
        );
    }
}

/// Redis 7.0.15 keeps waiting, too: a NUL hides the newline from it.
#[test]
fn an_inline_request_with_a_nul_is_never_complete() {
    let mut parser = RequestParser::new();
    let limits = Limits {
        inline_bytes_max: 20,
        ..Limits::default()
    };
    let input = b"PI\0NG\r\nPING\r\nPING\r\nPING\r\n";
    assert_eq!(parser.parse(&input[..13], &limits), Ok(None));
    assert_eq!(parser.bytes_needed(), 21);
    assert_eq!(parser.parse(&input[..20], &limits), Ok(None));
    assert_eq!(
        parser.parse(&input[..21], &limits),
        Err(ProtocolError::InlineTooBig)
    );
}

#[test]
fn requests_before_an_error_count() {
    let input = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\nPING\r\n*1\r\n$-1\r\nPING\r\n";
    let expected = requests([&[b"SET", b"a", b"b"], &[b"PING"]]);
    let error = Some(ProtocolError::InvalidBulkLength);
    assert_eq!(read_all(input, &Limits::default()), (expected, error));
}

#[test]
fn bytes_needed_tells_when_to_come_back() {
    let limits = Limits::default();
    let input = b"*2\r\n$3\r\nGET\r\n$100\r\n";
    let mut parser = RequestParser::new();
    let mut needed = |len: usize| {
        assert_eq!(parser.parse(&input[..len], &limits), Ok(None));
        parser.bytes_needed()
    };
    assert_eq!(needed(0), 1);
    assert_eq!(needed(1), 2);
    assert_eq!(needed(4), 5);
    assert_eq!(needed(8), 13);
    assert_eq!(needed(13), 14);
    assert_eq!(needed(18), 19);
    assert_eq!(needed(19), 121);
}

/// What was understood is not looked at again: it may even be gone. So time is linear in the bytes,
/// whatever the pieces.
#[test]
fn bytes_understood_are_not_read_again() {
    const PIECE: usize = 16 * 1024;
    let limits = Limits {
        args_max: 1_000_000,
        ..Limits::default()
    };
    let mut many = Vec::new();
    encode_command(&mut many, vec!["12"; 1_000_000]);
    let mut long = Vec::new();
    encode_command(&mut long, [vec![b'x'; 64 * 1024 * 1024]]);
    for (input, args_len) in [(many, 1_000_000), (long, 1)] {
        let mut parser = RequestParser::new();
        let mut received = Vec::new();
        for piece in input.chunks(PIECE) {
            received.extend_from_slice(piece);
            let outcome = parser.parse(&received, &limits);
            let complete = received.len() == input.len();
            assert_eq!(outcome, Ok(complete.then_some(input.len())));
            // A header cut in two may be read again, and all before it not.
            let fresh_from = (received.len() - piece.len()).saturating_sub(20);
            let understood = received.len().saturating_sub(20);
            received[fresh_from..understood].fill(b'!');
        }
        assert_eq!(parser.args(&received).len(), args_len);
    }
}

#[test]
fn memory_is_taken_from_bytes_received() {
    let mut parser = RequestParser::new();
    let limits = Limits::default();
    assert_eq!(
        parser.parse(b"*1048576\r\n$67108864\r\n", &limits),
        Ok(None)
    );
    assert_eq!(parser.retained_bytes(), 0);
    let mut input = Vec::new();
    encode_command(&mut input, vec!["a"; 100_000]);
    parser.reset();
    assert_eq!(parser.parse(&input, &limits), Ok(Some(input.len())));
    assert!((800_000..1_600_000).contains(&parser.retained_bytes()));
    parser.reset();
    assert!(parser.retained_bytes() <= 8 * 1024);
    let inline = [vec![b'a'; 60_000], b"\r\n".to_vec()].concat();
    assert_eq!(parser.parse(&inline, &limits), Ok(Some(inline.len())));
    assert_eq!(parser.parse(b"PING\r\n", &limits), Ok(Some(6)));
    assert!(parser.retained_bytes() <= 12 * 1024);
}

#[test]
fn a_reset_forgets_half_a_request() {
    let mut parser = RequestParser::new();
    let limits = Limits::default();
    assert_eq!(
        parser.parse(b"*2\r\n$3\r\nGET\r\n$5\r\n", &limits),
        Ok(None)
    );
    assert!(parser.args(b"*2\r\n$3\r\nGET\r\n$5\r\n").is_empty());
    parser.reset();
    assert_eq!(parser.parse(b"PING\r\n", &limits), Ok(Some(6)));
    assert_eq!(
        parser.args(b"PING\r\n").iter().collect::<Vec<_>>(),
        [b"PING"]
    );
}

/// Bytes that are often nearly right.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        6 => prop::sample::select(vec![
            "*", "$", "\r\n", "\r", "\n", "0", "1", "2", "3", "-1", "11", "16385", "*1\r\n",
            "*2\r\n", "$1\r\n", "$3\r\n", "GET", "PING", "a", " ", "\"", "'", "\\", "\\x41", "\0",
            "\t", "\x0b", "2147483648", "536870913", "9223372036854775808", "01", "+",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        3 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..5)
            .prop_map(|args| {
                let mut out = Vec::new();
                encode_command(&mut out, args);
                out
            }),
    ];
    prop::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

fn limits() -> impl Strategy<Value = Limits> {
    let tiny = Limits {
        args_max: 2,
        bulk_bytes_max: 5,
        inline_bytes_max: 8,
        authenticated: true,
    };
    prop::sample::select(vec![
        Limits::default(),
        Limits::unauthenticated(),
        tiny,
        Limits {
            authenticated: false,
            ..tiny
        },
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn the_parser_agrees_with_its_oracle(input in stream(), limits in limits()) {
        let mut parser = RequestParser::new();
        let mut rest = &input[..];
        loop {
            let outcome = parser.parse(rest, &limits);
            let found = outcome.map(|len| len.map(|len| {
                (len, parser.args(rest).iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
            }));
            prop_assert_eq!(&found, &oracle::parse_request(rest, &limits));
            match outcome {
                Ok(Some(consumed)) => rest = &rest[consumed..],
                _ => break,
            }
        }
    }

    #[test]
    fn pieces_do_not_change_the_outcome(
        input in stream(),
        limits in limits(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.push(input.len());
        cuts.sort_unstable();
        let mut parser = RequestParser::new();
        let mut found = (Vec::new(), None);
        let mut start = 0;
        'pieces: for cut in cuts {
            loop {
                // A buffer of its own each time: the parser must not remember where it was.
                let pending = input[start..cut.max(start)].to_vec();
                match parser.parse(&pending, &limits) {
                    Ok(None) => break,
                    Ok(Some(consumed)) => {
                        found.0.push(parser.args(&pending).to_request());
                        start += consumed;
                    }
                    Err(error) => {
                        found.1 = Some(error);
                        break 'pieces;
                    }
                }
            }
        }
        prop_assert_eq!(found, read_all(&input, &limits));
    }

    #[test]
    fn what_a_client_encodes_is_what_a_server_reads(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let mut input = Vec::new();
        encode_command(&mut input, &args);
        prop_assert_eq!(
            read_all(&input, &Limits::default()),
            (vec![Request::from_args(&args)], None)
        );
    }
}
