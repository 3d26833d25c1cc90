//! Escaping and splitting are inverse to each other; splitting agrees with its oracle.

use linchpin_protocol::text::{Escaped, UnbalancedQuotes, split_args};
use proptest::prelude::*;

use crate::oracle;

#[test]
fn escaped_bytes_are_printable_ascii() {
    let all: Vec<u8> = (0..=255).collect();
    let text = Escaped::bare(&all).to_string();
    assert!(
        text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)),
        "{text}"
    );
    assert!(
        text.starts_with(r"\x00\x01\x02\x03\x04\x05\x06\a\b\t\n\x0b\x0c\r\x0e"),
        "{text}"
    );
    assert!(text.contains(r##" !\"#$%"##) && text.contains(r"[\\]") && text.ends_with(r"\xfe\xff"));
    assert_eq!(Escaped::quoted(b"").to_string(), r#""""#);
}

#[test]
fn quotes_must_be_balanced() {
    for line in [
        "\"", "'", "a \"b", "\"a\"b", "'a'b", "\"a\\\"", "'a\\'", "\"\"\"\"",
    ] {
        assert_eq!(split_args(line.as_bytes()), Err(UnbalancedQuotes), "{line}");
    }
    assert_eq!(split_args(b"a\0b 'c\0d'").unwrap(), [b"a\0b", b"c\0d"]);
    assert_eq!(split_args(b" \t ").unwrap(), Vec::<Vec<u8>>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn quoted_arguments_split_into_themselves(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
    ) {
        let quoted: Vec<_> = args.iter().map(|arg| Escaped::quoted(arg).to_string()).collect();
        prop_assert_eq!(split_args(quoted.join(" ").as_bytes()), Ok(args));
    }

    #[test]
    fn splitting_agrees_with_its_oracle(
        fragments in prop::collection::vec(
            prop::sample::select(vec![
                "a", "bc", " ", "\"", "'", "\\", "x4", "1", "\\x4a", "\\n", "\\'", "\t", "\x0b",
                "\r", "\n", "\0", "\\\"", "\\b", "\\a", "\\t", "\\r", "\u{e9}",
            ]),
            0..14,
        ),
    ) {
        let line = fragments.concat().into_bytes();
        prop_assert_eq!(split_args(&line).ok(), oracle::split_args(&line));
    }
}
