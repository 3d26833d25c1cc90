//! Reading one value: the types of both tables, their bounds, and Redis' words for what is wrong.

use super::error::SettingError;
use super::settings::ClientsMemory;

/// The largest value of a 32-bit signed integer: the upper bound of most numbers of Redis.
pub(super) const INT_MAX: i64 = i32::MAX as i64;

/// The type of a directive, with its bounds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// `yes` or `no`.
    Flag,
    /// A whole number.
    Integer {
        /// Lowest value allowed.
        min: i64,
        /// Highest value allowed.
        max: i64,
    },
    /// Bytes, with an optional unit (`1k` is 1000, `1kb` is 1024; m, mb, g, gb alike).
    Memory {
        /// Fewest bytes allowed.
        min: u64,
        /// Most bytes allowed.
        max: u64,
    },
    /// Bytes, or a share of `maxmemory` such as `5%`.
    MemoryOrPercent,
    /// File permission bits in octal, up to 777.
    Permissions,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Any one word.
    Text,
    /// One word that must not be shown.
    Secret,
    /// Several words of a form of their own.
    Words {
        /// The form, for people.
        form: &'static str,
    },
}

impl Kind {
    /// Checks `words` and answers them as CONFIG GET shows them.
    pub(super) fn canonical(&self, words: &[&str]) -> Result<String, SettingError> {
        if let Self::Words { .. } = self {
            return Ok(split_single(words).join(" "));
        }
        let word = single(words)?;
        Ok(match *self {
            Self::Flag => flag_text(flag(word)?).to_owned(),
            Self::Integer { min, max } => integer(word, min, max)?.to_string(),
            Self::Memory { min, max } => memory(word, min, max)?.to_string(),
            Self::MemoryOrPercent => memory_or_percent(word)?.to_string(),
            Self::Permissions => format!("{:o}", permissions(word)?),
            Self::Choice(names) => names[choice(word, names)?].to_owned(),
            Self::Text | Self::Secret | Self::Words { .. } => word.to_owned(),
        })
    }
}

/// The one word of a directive that takes one.
pub(super) fn single<'a>(words: &[&'a str]) -> Result<&'a str, SettingError> {
    match words {
        [word] => Ok(word),
        _ => Err(SettingError::WordCount),
    }
}

/// The words of a directive that takes several. CONFIG SET, a flag and the environment hand them
/// over as one text with single spaces between them; no words at all are one empty one.
pub(super) fn split_single<'a>(words: &[&'a str]) -> Vec<&'a str> {
    match words {
        [] => vec![""],
        [text] => text.split(' ').collect(),
        words => words.to_vec(),
    }
}

/// `yes` or `no`, in any case.
pub(super) fn flag(word: &str) -> Result<bool, SettingError> {
    if word.eq_ignore_ascii_case("yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err(invalid("argument must be 'yes' or 'no'"))
    }
}

/// How CONFIG GET shows a flag.
pub(super) const fn flag_text(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

/// A whole number as Redis reads one: no plus sign, no blanks, no leading zeros.
pub(super) fn integer(word: &str, min: i64, max: i64) -> Result<i64, SettingError> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let plain = match digits.as_bytes() {
        [b'0'] => word.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let number = plain.then(|| word.parse::<i64>().ok()).flatten();
    let number = number.ok_or_else(|| invalid("argument couldn't be parsed into an integer"))?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(out_of_bounds(min, max))
    }
}

/// Bytes with an optional unit.
pub(super) fn memory(word: &str, min: u64, max: u64) -> Result<u64, SettingError> {
    let bytes = bytes(word).ok_or_else(|| invalid("argument must be a memory value"))?;
    if (min..=max).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(out_of_bounds(min, max))
    }
}

/// Bytes with an optional unit; what does not fit into 64 bits is the most that does.
pub(super) fn bytes(word: &str) -> Option<u64> {
    let unit_at = word
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(word.len());
    let (digits, unit) = word.split_at(unit_at);
    if digits.is_empty() {
        return None;
    }
    let unit_bytes: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    // Only a number too long to fit is left to fail here.
    Some(
        digits
            .parse::<u64>()
            .unwrap_or(u64::MAX)
            .saturating_mul(unit_bytes),
    )
}

/// Bytes with an optional unit, or a percentage up to 100.
pub(super) fn memory_or_percent(word: &str) -> Result<ClientsMemory, SettingError> {
    let wrong = || invalid("argument must be a memory or percent value");
    if let Some(digits) = word.strip_suffix('%') {
        return match integer(digits, 0, INT_MAX).map_err(|_| wrong())? {
            0 => Ok(ClientsMemory::Bytes(0)),
            percent @ 1..=100 => Ok(ClientsMemory::Percent(percent.unsigned_abs())),
            _ => Err(invalid("percentage argument must be less or equal to 100")),
        };
    }
    Ok(ClientsMemory::Bytes(bytes(word).ok_or_else(wrong)?))
}

/// File permission bits in octal.
pub(super) fn permissions(word: &str) -> Result<u32, SettingError> {
    let octal = !word.is_empty() && word.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if !octal {
        return Err(invalid("argument couldn't be parsed as an octal number"));
    }
    match u32::from_str_radix(word, 8) {
        Ok(bits) if bits <= 0o777 => Ok(bits),
        _ => Err(invalid("argument must be between 0 and 777 inclusive")),
    }
}

/// The index of `word` among `names`, in any case.
pub(super) fn choice(word: &str, names: &[&str]) -> Result<usize, SettingError> {
    names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(word))
        .ok_or_else(|| {
            let names = names.join(", ");
            SettingError::Value(format!("argument(s) must be one of the following: {names}"))
        })
}

/// The error of a value, from a fixed text.
pub(super) fn invalid(reason: &str) -> SettingError {
    SettingError::Value(reason.to_owned())
}

/// The error of a number outside its bounds.
fn out_of_bounds<N: std::fmt::Display>(min: N, max: N) -> SettingError {
    SettingError::Value(format!(
        "argument must be between {min} and {max} inclusive"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, words: &[&str], expect: Result<&str, &str>) {
        let got = kind.canonical(words).map_err(|error| error.to_string());
        let expect = expect.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(got, expect, "{kind:?} {words:?}");
    }

    #[test]
    fn flags() {
        check(Kind::Flag, &["YES"], Ok("yes"));
        check(Kind::Flag, &["no"], Ok("no"));
        check(Kind::Flag, &["1"], Err("argument must be 'yes' or 'no'"));
        check(Kind::Flag, &[], Err("wrong number of arguments"));
        check(Kind::Flag, &["yes", "no"], Err("wrong number of arguments"));
    }

    #[test]
    fn integers() {
        let effort = Kind::Integer { min: 1, max: 10 };
        check(effort, &["1"], Ok("1"));
        check(effort, &["10"], Ok("10"));
        check(
            effort,
            &["0"],
            Err("argument must be between 1 and 10 inclusive"),
        );
        check(
            effort,
            &["11"],
            Err("argument must be between 1 and 10 inclusive"),
        );
        check(Kind::Integer { min: -5, max: 0 }, &["-5"], Ok("-5"));
        let all = Kind::Integer {
            min: i64::MIN,
            max: i64::MAX,
        };
        check(all, &["9223372036854775807"], Ok("9223372036854775807"));
        check(all, &["-9223372036854775808"], Ok("-9223372036854775808"));
        for word in [
            "",
            "-",
            "-0",
            "+1",
            " 1",
            "1 ",
            "01",
            "1b",
            "x",
            "9223372036854775808",
        ] {
            check(
                all,
                &[word],
                Err("argument couldn't be parsed into an integer"),
            );
        }
    }

    #[test]
    fn memory_units() {
        let memory = Kind::Memory {
            min: 0,
            max: u64::MAX,
        };
        for (word, bytes) in [
            ("0", "0"),
            ("12", "12"),
            ("12b", "12"),
            ("1k", "1000"),
            ("1KB", "1024"),
            ("1m", "1000000"),
            ("1Mb", "1048576"),
            ("2g", "2000000000"),
            ("2GB", "2147483648"),
            ("99999999999999999999999", "18446744073709551615"),
            ("18446744073709551615gb", "18446744073709551615"),
        ] {
            check(memory, &[word], Ok(bytes));
        }
        for word in ["", "kb", "-1", "1.5gb", "1q", " 1mb", "5%"] {
            check(memory, &[word], Err("argument must be a memory value"));
        }
        check(
            Kind::Memory { min: 10, max: 20 },
            &["21"],
            Err("argument must be between 10 and 20 inclusive"),
        );
    }

    #[test]
    fn shares_of_memory() {
        check(Kind::MemoryOrPercent, &["5%"], Ok("5%"));
        check(Kind::MemoryOrPercent, &["0%"], Ok("0"));
        check(Kind::MemoryOrPercent, &["1kb"], Ok("1024"));
        let over = "percentage argument must be less or equal to 100";
        check(Kind::MemoryOrPercent, &["101%"], Err(over));
        for word in ["-5", "x%", "%", "+5%", "05%", "1.5%"] {
            check(
                Kind::MemoryOrPercent,
                &[word],
                Err("argument must be a memory or percent value"),
            );
        }
    }

    #[test]
    fn permission_bits() {
        check(Kind::Permissions, &["0"], Ok("0"));
        check(Kind::Permissions, &["0777"], Ok("777"));
        let over = "argument must be between 0 and 777 inclusive";
        check(Kind::Permissions, &["1000"], Err(over));
        check(Kind::Permissions, &["77777777777777"], Err(over));
        for word in ["", "8", "+7", "-7", "x"] {
            let wrong = "argument couldn't be parsed as an octal number";
            check(Kind::Permissions, &[word], Err(wrong));
        }
    }

    #[test]
    fn choices() {
        let level = Kind::Choice(&["low", "high"]);
        check(level, &["HIGH"], Ok("high"));
        check(
            level,
            &["mid"],
            Err("argument(s) must be one of the following: low, high"),
        );
    }
}
