//! Published examples, and every form there and back.

use super::*;
use proptest::prelude::*;

/// The published examples: kind, text, bytes, Unix milliseconds.
const VECTORS: &str = include_str!("../../../../tests/data/id-vectors.txt");

const FORMS: [Form; 5] = [Form::Dec, Form::Hex, Form::B62, Form::B32, Form::Uuid];

fn any_id() -> impl Strategy<Value = Id> {
    prop_oneof![
        any::<u64>().prop_map(Id::Snowflake),
        any::<u128>().prop_map(Id::Uuid7),
        any::<u128>().prop_map(Id::Ulid),
        (any::<u32>(), any::<u128>()).prop_map(|(time, payload)| Id::Ksuid(time, payload)),
        (0u128..1_000).prop_map(|low| Id::Ksuid(0, low)),
    ]
}

/// Whether ID and form go together.
fn is_used(id: Id, form: Form) -> bool {
    form != Form::Uuid || matches!(id, Id::Uuid7(_) | Id::Ulid(_))
}

#[test]
fn published_examples_are_read_and_written() {
    let mut seen = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, text, bytes, unix_ms] = words[..] else {
            panic!("four words: {line}");
        };
        let kind = IdKind::from_word(kind.as_bytes()).unwrap();
        let form = Form::usual(kind);
        let id = parse(kind, form, text.as_bytes()).unwrap();
        let written = String::from_utf8(Text::of(id, form).as_bytes().to_vec()).unwrap();
        assert!(written.eq_ignore_ascii_case(text), "{text}");
        if bytes != "-" {
            let hex: String = id
                .bytes()
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect();
            assert!(hex.ends_with(bytes), "{text}: {hex}");
        }
        if unix_ms != "-" {
            assert_eq!(id.unix_ms().unwrap().to_string(), unix_ms, "{text}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "the file is not read");
}

#[test]
fn more_bits_than_the_kind_has_are_refused() {
    let parse_ulid = |text: &[u8]| parse(IdKind::Ulid, Form::B32, text);
    assert_eq!(
        parse_ulid(b"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        Some(Id::Ulid(u128::MAX))
    );
    assert_eq!(parse_ulid(b"80000000000000000000000000"), None);
    let parse_ksuid = |text: &[u8]| parse(IdKind::Ksuid, Form::B62, text);
    assert_eq!(
        parse_ksuid(b"aWgEPTl1tmebfsQzFP4bxwgy80V"),
        Some(Id::Ksuid(u32::MAX, u128::MAX))
    );
    assert_eq!(parse_ksuid(b"aWgEPTl1tmebfsQzFP4bxwgy80W"), None);
    assert_eq!(parse_ksuid(b"zzzzzzzzzzzzzzzzzzzzzzzzzzz"), None);
    let parse_snowflake = |text: &[u8]| parse(IdKind::Snowflake, Form::Dec, text);
    assert_eq!(
        parse_snowflake(b"18446744073709551615"),
        Some(Id::Snowflake(u64::MAX))
    );
    assert_eq!(parse_snowflake(b"18446744073709551616"), None);
}

#[test]
fn what_is_no_digit_is_refused_and_likenesses_are_not() {
    let parse_32 = |text: &[u8]| parse(IdKind::Ulid, Form::B32, text);
    let id = parse_32(b"01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    assert_eq!(parse_32(b"oiarz3ndektsv4rrffq69g5fav"), Some(id));
    assert_eq!(parse_32(b"0lARZ3NDEKTSV4RRFFQ69G5FAV"), Some(id));
    assert_eq!(
        parse_32(b"01ARZ3NDEKTSV4RRFFQ69G5FAU"),
        None,
        "U is no digit"
    );
    let parse_uuid = |text: &[u8]| parse(IdKind::Uuid7, Form::Uuid, text);
    assert!(parse_uuid(b"017F22E2-79B0-7CC3-98C4-DC0C0C07398F").is_some());
    assert_eq!(parse_uuid(b"017F22E2.79B0-7CC3-98C4-DC0C0C07398F"), None);
    assert_eq!(parse_uuid(b"017F22E2-79B0-7CC3-98C4-DC0C0C07398"), None);
    assert_eq!(parse_uuid(b"017F22E2-79B0-7CC3-98C4-DC0C0C07398G"), None);
    for kind in IdKind::ALL {
        assert_eq!(parse(kind, Form::Dec, b""), None);
        assert_eq!(parse(kind, Form::Dec, b"-1"), None);
        assert_eq!(parse(kind, Form::Dec, b"+1"), None);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(id in any_id(), form in 0usize..5) {
        let form = FORMS[form];
        prop_assume!(is_used(id, form));
        let text = Text::of(id, form);
        prop_assert_eq!(parse(id.kind(), form, text.as_bytes()), Some(id));
    }

    /// All but decimal: it has no fixed length.
    #[test]
    fn texts_have_the_order_of_ids(a in any_id(), b in any_id(), form in 1usize..5) {
        let form = FORMS[form];
        prop_assume!(a.kind() == b.kind() && is_used(a, form));
        let (a_text, b_text) = (Text::of(a, form), Text::of(b, form));
        prop_assert_eq!(a.bytes().cmp(&b.bytes()), a_text.as_bytes().cmp(b_text.as_bytes()));
    }

    #[test]
    fn nothing_that_is_read_panics(kind in 0usize..4, form in 0usize..5, text in any::<Vec<u8>>()) {
        let _ = parse(IdKind::ALL[kind], FORMS[form], &text);
    }
}
