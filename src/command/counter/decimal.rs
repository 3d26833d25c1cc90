//! The numbers of `INCRBYFLOAT` and `INCREX BYFLOAT`.
//!
//! Most of what people count is a short decimal, so that is what a number is here: so many times
//! 10^-17, as many places as Redis prints. Sums of such numbers are exact: 0.1 + 0.2 is 0.3, and a
//! million times 0.1 more is 100000.3. What is read with more places is rounded to 17, half away
//! from zero. Numbers from 10^21 on are `f64`.
//!
//! LIMITATIONS, against Redis, which computes in `long double` (80 bits on x86-64, 128 bits on some
//! other machines): Redis prints the noise of binary fractions (16777216.1 + 0 is
//! 16777216.1000000000003638), loses the fraction of long numbers (2^63 + 0.1 is 2^63), rounds
//! numbers from 10^21 on more finely, and knows numbers up to 10^4932 where `f64` ends at 1.8 x
//! 10^308.

use linchpin_protocol::number::parse_f64;
use std::cmp::Ordering;
use std::fmt;

/// Places behind the point.
const PLACES: usize = 17;
const ONE: i128 = 10_i128.pow(PLACES as u32);
/// Numbers up to here, exclusive, are held exactly.
const EXACT_MAX: i128 = 10_i128.pow(21) * ONE;
const EXACT_MAX_F64: f64 = 1e21;
/// Texts are shorter than this: Redis' figure.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// A number to count with.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// So many times 10^-17, less than 10^21.
    Exact(i128),
    /// 10^21 or more, or infinite. Never NaN.
    Large(f64),
}

impl Number {
    /// Nothing.
    pub const ZERO: Self = Self::Exact(0);
    /// The largest number.
    pub const MAX: Self = Self::Large(f64::MAX);
    /// The smallest number.
    pub const MIN: Self = Self::Large(f64::MIN);

    /// Reads what C's `strtod` reads in full, `nan` left out; `None` for anything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        parse_decimal(text)
            .map(Self::Exact)
            .or_else(|| parse_f64(text).map(Self::from_f64))
    }

    /// A whole number.
    #[must_use]
    pub fn from_i64(n: i64) -> Self {
        Self::Exact(i128::from(n) * ONE)
    }

    fn from_f64(x: f64) -> Self {
        if x.abs() < EXACT_MAX_F64
            && let Some(n) = parse_decimal(format!("{x:.PLACES$}").as_bytes())
        {
            return Self::Exact(n);
        }
        Self::Large(x)
    }

    fn to_f64(self) -> f64 {
        match self {
            // The text has all digits, so this rounds once.
            Self::Exact(_) => self.to_string().parse().unwrap_or(f64::INFINITY),
            Self::Large(x) => x,
        }
    }

    /// The sum, or `None` where it is no number.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
            && sum.abs() < EXACT_MAX
        {
            return Some(Self::Exact(sum));
        }
        let sum = self.to_f64() + other.to_f64();
        sum.is_finite().then(|| Self::from_f64(sum))
    }

    /// The difference, or `None` where it is no number.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(match other {
            Self::Exact(n) => Self::Exact(-n),
            Self::Large(x) => Self::Large(-x),
        })
    }

    /// Whether it is infinite.
    #[must_use]
    pub fn is_infinite(self) -> bool {
        matches!(self, Self::Large(x) if x.is_infinite())
    }

    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self < Self::ZERO
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => Some(a.cmp(b)),
            _ => self.to_f64().partial_cmp(&other.to_f64()),
        }
    }
}

impl fmt::Display for Number {
    /// As Redis prints it: no exponent, up to 17 places, no zeros at their end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(n) => f.write_str(&decimal(*n)),
            Self::Large(x) => write!(f, "{x:.0}"),
        }
    }
}

/// So many times 10^-17, in digits.
fn decimal(n: i128) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let (whole, places) = (
        n.unsigned_abs() / ONE as u128,
        n.unsigned_abs() % ONE as u128,
    );
    let text = format!("{sign}{whole}.{places:0PLACES$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads digits with at most one point among them and perhaps a power of ten behind, a sign before;
/// `None` for anything else and from 10^21 on.
fn parse_decimal(text: &[u8]) -> Option<i128> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let mut parts = unsigned.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = parts.next()?;
    let exponent = parts.next().map_or(Some(0), parse_exponent)?;
    let point = mantissa.iter().position(|&byte| byte == b'.');
    let whole = &mantissa[..point.unwrap_or(mantissa.len())];
    let fraction = point.map_or(&b""[..], |at| &mantissa[at + 1..]);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The digits from the left on up to the one that stands for 10^-17.
    let kept = whole.len() as i64 + exponent + PLACES as i64;
    let mut units: i128 = 0;
    for (at, byte) in (0_i64..).zip(whole.iter().chain(fraction)) {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i128::from(byte - b'0');
        if at < kept {
            units = units.checked_mul(10)?.checked_add(digit)?;
        } else if at == kept {
            units += i128::from(digit >= 5);
        }
    }
    let digits = (whole.len() + fraction.len()) as i64;
    if units != 0 && kept > digits {
        let zeros = u32::try_from(kept - digits).ok()?;
        units = units.checked_mul(10_i128.checked_pow(zeros)?)?;
    }
    (units < EXACT_MAX).then_some(if negative { -units } else { units })
}

/// A power of ten, with or without sign; no further than any text can tell.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    const FAR: i64 = 1 << 32;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let power = digits.iter().fold(0_i64, |n, digit| {
        (n * 10 + i64::from(digit - b'0')).min(FAR)
    });
    Some(if negative { -power } else { power })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> String {
        let (a, b) = (Number::parse(a.as_bytes()), Number::parse(b.as_bytes()));
        a.unwrap().checked_add(b.unwrap()).unwrap().to_string()
    }

    /// All as Redis 7.0 answers.
    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in [
            ("0.1", "0.2", "0.3"),
            ("1e20", "0", "100000000000000000000"),
            ("3.0e3", "0", "3000"),
            ("5.0", "0", "5"),
            ("10.5", "0.1", "10.6"),
            ("1", "0.000001", "1.000001"),
            ("1e17", "0.5", "100000000000000000.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "-1e-18", "0"),
            ("0", "1e-4000", "0"),
            ("0", "-0", "0"),
            ("0.1", "-0.1", "0"),
            ("0x10", "1", "17"),
            ("1.", ".5", "1.5"),
            ("-0.5", "0.25", "-0.25"),
            ("99999999999999999999", "1", "100000000000000000000"),
            ("3.14159265358979323846", "0", "3.14159265358979324"),
            ("1e22", "1", "10000000000000000000000"),
            ("9e20", "9e20", "1800000000000000000000"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "1 ", " 1", "1.2.3", "nan", "--1", "0x", "1_0",
        ] {
            assert!(Number::parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(Number::parse(b"inf").is_some_and(Number::is_infinite));
        let max = Number::MAX;
        assert!(max.checked_add(max).is_none());
        assert!(
            Number::parse(b"inf")
                .unwrap()
                .checked_add(Number::ZERO)
                .is_none()
        );
    }

    /// At 10^21 a number stops being exact, and comes back when it is smaller again.
    #[test]
    fn the_border_of_exact_numbers() {
        assert!(matches!(
            Number::parse(b"999999999999999999999.9"),
            Some(Number::Exact(_))
        ));
        assert!(matches!(Number::parse(b"1e21"), Some(Number::Large(_))));
        assert_eq!(
            sum("999999999999999999999.5", "0.5"),
            "1000000000000000000000"
        );
        assert_eq!(sum("1e21", "-1"), "1000000000000000000000");
        assert_eq!(sum("1e21", "-1e21"), "0");
        assert_eq!(sum("2e21", "-1.5e21"), "500000000000000000000");
    }

    proptest! {
        /// Against whole numbers, which need no arithmetic of ours.
        #[test]
        fn scaled_integers_add_up(a in any::<i64>(), b in any::<i64>(), places in 0_u32..=17) {
            let show = |n: i128| {
                let one = 10_i128.pow(places);
                let sign = if n < 0 { "-" } else { "" };
                let (whole, rest) = (n.abs() / one, n.abs() % one);
                format!("{sign}{whole}.{rest:0width$}", width = places as usize)
            };
            let (a, b) = (i128::from(a), i128::from(b));
            let shown = show(a + b);
            let expected = if shown.contains('.') {
                shown.trim_end_matches('0').trim_end_matches('.')
            } else {
                &shown
            };
            prop_assert_eq!(sum(&show(a), &show(b)), expected);
            prop_assert_eq!(sum(&format!("{a}e-{places}"), &show(b)), expected);
        }

        /// The printed number reads back as itself, and as close to the `f64` as 17 places go.
        #[test]
        fn decimals_are_the_numbers_strtod_reads(
            text in "[-+]?[0-9]{0,25}[.]?[0-9]{0,25}(e[-+]?[0-9]{1,2})?",
        ) {
            let (ours, theirs) = (Number::parse(text.as_bytes()), parse_f64(text.as_bytes()));
            if let Some(theirs) = theirs {
                let ours = ours.unwrap();
                prop_assert!((ours.to_f64() - theirs).abs() <= 1e-17 + theirs.abs() * f64::EPSILON);
                let again = Number::parse(ours.to_string().as_bytes()).unwrap();
                prop_assert_eq!(again.to_string(), ours.to_string());
            }
        }
    }
}
