//! The writer: each reply in both versions, byte for byte.

use linchpin_protocol::{Version, Writer};

fn written(version: Version, write: impl Fn(&mut Writer<'_>)) -> String {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out, version));
    out.escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\r\\n", "~")
}

/// One reply, and how each version says it; `~` stands for CR LF.
type Row = (fn(&mut Writer<'_>), &'static str, &'static str);

#[test]
fn every_reply_in_both_versions() {
    let rows: &[Row] = &[
        (|w| w.ok(), "+OK~", "+OK~"),
        (|w| w.simple("PONG"), "+PONG~", "+PONG~"),
        (
            |w| w.error("ERR syntax error"),
            "-ERR syntax error~",
            "-ERR syntax error~",
        ),
        (|w| w.error("ERR a\nb"), "-ERR a b~", "-ERR a b~"),
        (
            |w| w.error("ERR 'a\r\nb\n'"),
            "-ERR 'a  b '~",
            "-ERR 'a  b '~",
        ),
        (
            |w| w.error_bytes(b"ERR \xff\r"),
            "-ERR \\xff ~",
            "-ERR \\xff ~",
        ),
        (|w| w.integer(0), ":0~", ":0~"),
        (|w| w.integer(9), ":9~", ":9~"),
        (|w| w.integer(10), ":10~", ":10~"),
        (|w| w.integer(-1), ":-1~", ":-1~"),
        (
            |w| w.integer(i64::MIN),
            ":-9223372036854775808~",
            ":-9223372036854775808~",
        ),
        (|w| w.bulk(b""), "$0~~", "$0~~"),
        (|w| w.bulk(b"a\0b"), "$3~a\\x00b~", "$3~a\\x00b~"),
        (
            |w| w.bulk(b"0123456789"),
            "$10~0123456789~",
            "$10~0123456789~",
        ),
        (|w| w.bulk_i64(-42), "$3~-42~", "$3~-42~"),
        (|w| w.null(), "$-1~", "_~"),
        (|w| w.null_array(), "*-1~", "_~"),
        (|w| w.array(0), "*0~", "*0~"),
        (|w| w.array(1_000_000), "*1000000~", "*1000000~"),
        (|w| w.map(5), "*10~", "%5~"),
        (|w| w.set(3), "*3~", "~3~"),
        (|w| w.push(3), "*3~", ">3~"),
        (|w| w.double(17.0), "$2~17~", ",17~"),
        (|w| w.double(-0.5), "$4~-0.5~", ",-0.5~"),
        (|w| w.double(f64::NEG_INFINITY), "$4~-inf~", ",-inf~"),
        (|w| w.double(f64::NAN), "$3~nan~", ",nan~"),
        (|w| w.boolean(true), ":1~", "#t~"),
        (|w| w.boolean(false), ":0~", "#f~"),
        (|w| w.big_number("-123"), "$4~-123~", "(-123~"),
        (|w| w.verbatim("txt", b"a\r\nb"), "$4~a~b~", "=8~txt:a~b~"),
        (|w| w.raw(b"+raw\r\n"), "+raw~", "+raw~"),
    ];
    for (write, resp2, resp3) in rows {
        assert_eq!(written(Version::Resp2, write), *resp2);
        assert_eq!(written(Version::Resp3, write), *resp3);
    }
    assert_eq!(Version::default(), Version::Resp2);
}

#[test]
#[should_panic(expected = "format has 3 bytes")]
fn a_verbatim_format_has_three_bytes() {
    Writer::new(&mut Vec::new(), Version::Resp2).verbatim("text", b"");
}

#[test]
fn a_bounded_writer_leaves_out_what_does_not_fit_and_says_so() {
    let mut out = b"+before\r\n".to_vec();
    let mut writer = Writer::bounded(&mut out, Version::Resp2, 30);
    assert_eq!(writer.room(), 21);
    writer.bulk(b"fits");
    assert!(!writer.overflowed());
    writer.bulk(&[b'x'; 64]);
    writer.raw(&[b'y'; 64]);
    assert!(writer.overflowed());
    assert_eq!(out, b"+before\r\n$4\r\nfits\r\n");
}
