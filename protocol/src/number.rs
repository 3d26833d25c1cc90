//! Numbers as Redis reads and writes them: strictly, so that each integer has one spelling.

use crate::text::hex_value;

/// Texts of floating point numbers are shorter than this. Redis' figure (a buffer of 5 KiB).
const FLOAT_TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// Reads an integer: decimal digits, a `-` before them if need be, and nothing else. No `+`, no
/// white space, no leading zero, no `-0`. `None` for anything else and beyond 64 bits.
///
/// ```
/// use linchpin_protocol::number::parse_i64;
///
/// assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
/// assert_eq!(parse_i64(b"007"), None);
/// ```
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', b'0', ..] => None,
        [b'-', digits @ ..] => 0_i64.checked_sub_unsigned(parse_u64(digits)?),
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// [`parse_i64`] for integers without sign, up to `u64::MAX`.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Reads a floating point number as Redis 7.0 does for INCRBYFLOAT and scores: what C's `strtod`
/// reads in full, without white space before it. That includes `+1`, `1.`, `.5`, `1e-3`,
/// hexadecimal (`0x1.8p3`), and `inf` or `infinity` in any case. Refused are `nan` in all its
/// forms, whatever is too big or, not being zero, too small for an `f64`, and 5,120 bytes or more
/// (which Redis refuses for INCRBYFLOAT only).
///
/// # Limitations
///
/// Redis' INCRBYFLOAT computes in `long double`; it takes `1e400` and `1e-400`, this does not.
///
/// ```
/// use linchpin_protocol::number::parse_f64;
///
/// assert_eq!(parse_f64(b"3.0e3"), Some(3000.0));
/// assert_eq!(parse_f64(b"0x.8"), Some(0.5));
/// assert_eq!(parse_f64(b"-INF"), Some(f64::NEG_INFINITY));
/// assert_eq!(parse_f64(b" 1"), None);
/// assert_eq!(parse_f64(b"nan"), None);
/// ```
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.len() > FLOAT_TEXT_BYTES_MAX {
        return None;
    }
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let magnitude = match unsigned {
        // A second sign, which the standard library would take.
        [b'-' | b'+', ..] => return None,
        [b'0', b'x' | b'X', digits @ ..] => parse_hex_f64(digits)?,
        decimal => parse_decimal_f64(decimal)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal_f64(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_word = text.first().is_some_and(u8::is_ascii_alphabetic);
    let mut mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let underflow = value == 0.0 && mantissa.any(|byte| matches!(byte, b'1'..=b'9'));
    let overflow = value.is_infinite() && !is_word;
    (!value.is_nan() && !underflow && !overflow).then_some(value)
}

/// Reads what follows `0x`: hexadecimal digits with at most one point among them, then perhaps `p`
/// and a decimal exponent of 2.
fn parse_hex_f64(text: &[u8]) -> Option<f64> {
    let exponent_at = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (digits, exponent) = match exponent_at {
        Some(at) => (
            text.get(..at)?,
            parse_exponent(text.get(at.checked_add(1)?..)?)?,
        ),
        None => (text, 0),
    };
    let mut mantissa: u64 = 0;
    let mut exponent = exponent;
    let mut digits_seen = false;
    let mut point_seen = false;
    for &byte in digits {
        if byte == b'.' && !point_seen {
            point_seen = true;
            continue;
        }
        if !byte.is_ascii_hexdigit() {
            return None;
        }
        digits_seen = true;
        let digit = u64::from(hex_value(byte));
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent = exponent.saturating_sub(if point_seen { 4 } else { 0 });
        } else {
            // 61 bits and more are there: what follows matters only by not being zero.
            mantissa |= u64::from(digit != 0);
            exponent = exponent.saturating_add(if point_seen { 0 } else { 4 });
        }
    }
    if !digits_seen {
        return None;
    }
    scale(mantissa, exponent)
}

/// A decimal exponent, with or without sign; saturates, as what is far out of range anyway.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    const FAR: i64 = 1 << 32;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0_i64, |value, byte| {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        value.saturating_mul(10).saturating_add(digit).min(FAR)
    });
    Some(if negative {
        magnitude.saturating_neg()
    } else {
        magnitude
    })
}

/// `mantissa * 2^exponent`, rounded once, half to even. `None` when the result is infinite, or zero
/// though the mantissa is not.
fn scale(mantissa: u64, exponent: i64) -> Option<f64> {
    const EXPONENT_MIN: i64 = -1022;
    const EXPONENT_MAX: i64 = 1023;
    const PRECISION: i64 = 53;
    if mantissa == 0 {
        return Some(0.0);
    }
    let bits_len = 64_i64.saturating_sub(i64::from(mantissa.leading_zeros()));
    let top = exponent.saturating_add(bits_len).saturating_sub(1);
    if !(EXPONENT_MIN - PRECISION..=EXPONENT_MAX).contains(&top) {
        return None;
    }
    // Below the smallest normal exponent each power of two costs a bit of precision.
    let precision = PRECISION - EXPONENT_MIN.saturating_sub(top).max(0);
    let excess = bits_len.saturating_sub(precision).max(0);
    let kept = u128::from(mantissa) >> excess;
    let dropped = u128::from(mantissa) - (kept << excess);
    let half = (1_u128 << excess) >> 1;
    let round_up = excess > 0 && (dropped > half || dropped == half && kept & 1 == 1);
    // At most 2^53, which an `f64` holds exactly; so does it hold the product.
    let rounded = (kept + u128::from(round_up)) as f64;
    let value = rounded * power_of_two(exponent.saturating_add(excess));
    (value != 0.0 && value.is_finite()).then_some(value)
}

/// 2^`exponent`, for exponents between -1074 and 1023.
fn power_of_two(exponent: i64) -> f64 {
    let bits = match exponent {
        -1022..=1023 => (exponent + 1023).unsigned_abs() << 52,
        -1074..=-1023 => 1_u64 << (exponent + 1074).unsigned_abs(),
        _ => 0,
    };
    f64::from_bits(bits)
}

/// Appends an integer in decimal digits.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the shortest text that reads back as `value`: `17` and not `17.0`, `1e-7`, `inf`,
/// `-inf`, `nan`.
///
/// ```
/// let mut out = Vec::new();
/// linchpin_protocol::number::write_f64(&mut out, 17.0);
/// assert_eq!(out, b"17");
/// ```
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value).as_bytes();
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_text(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_have_one_spelling() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "-01",
            "00",
            "1a",
            "a",
            "--1",
            "1.0",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "1\0",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    /// What redis-server 7.0.15 answers to INCRBYFLOAT and ZADD with these texts.
    #[test]
    fn floats_are_what_redis_takes() {
        for (text, value) in [
            ("1.", 1.0),
            (".5", 0.5),
            ("1e5", 1e5),
            ("1e+5", 1e5),
            ("+1", 1.0),
            ("-1.5", -1.5),
            ("0x10", 16.0),
            ("0X1.8p3", 12.0),
            ("0x1p-2", 0.25),
            ("0x.8", 0.5),
            ("0x1.p1", 2.0),
            ("-0x1P+1", -2.0),
            ("0e-99999", 0.0),
            ("0x0p-99999", 0.0),
            ("0x1p-1074", 5e-324),
            ("inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            ("5e-324", 5e-324),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            ".",
            "nan",
            "NaN",
            "-nan",
            "nan(1)",
            "infinit",
            "0x",
            "0x.",
            "0x1p",
            "0x1p+",
            "1e",
            "--1",
            "-+1",
            "+-1",
            " 1",
            "1 ",
            "1\0",
            "1e400",
            "1e-400",
            "1_0",
            "1d",
            "1,5",
            "0b1",
            "0x1p1024",
            "0x1p-1075",
            "0x1.1.1",
            "-",
            "+",
            "\u{661}",
            "0x-1",
            "-0x+1",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
        let long = |zeros| format!("1.{}", "0".repeat(zeros));
        assert_eq!(parse_f64(long(5117).as_bytes()), Some(1.0));
        assert_eq!(parse_f64(long(5118).as_bytes()), None);
    }

    #[test]
    fn hexadecimal_is_rounded_once_half_to_even() {
        for (text, value) in [
            ("0x1.fffffffffffff8p0", 2.0),
            (
                "0x1.fffffffffffff7p0",
                f64::from_bits(0x3fff_ffff_ffff_ffff),
            ),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
            ("0x1.8p-1074", f64::from_bits(2)),
            ("0x1.00001p-1075", f64::from_bits(1)),
            ("0x10000000000000000000000p-88", 1.0),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(parse_f64(b"0x1.fffffffffffff8p1023"), None);
    }

    #[test]
    fn floats_are_written_shortest() {
        for (value, text) in [
            (17.0, "17"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e-7, "1e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
            (100.0, "100"),
            (3.5e300, "3.5e+300"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
