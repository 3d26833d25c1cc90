//! Glob patterns over bytes, with the meaning Redis gives them in KEYS, SCAN, CONFIG GET and
//! PSUBSCRIBE.
//!
//! ```text
//! *        any bytes, none included      [abc]   one of these bytes
//! ?        one byte                      [a-z]   one byte of the range (either way round)
//! \x       the byte x itself             [^a-z]  one byte outside it
//! ```
//!
//! A class that is never closed ends with the pattern; a backslash at the very end is itself.
//! As in Redis, an empty text is matched by the empty pattern alone; callers to whom `*` means
//! "everything" (KEYS, SCAN) ask [`selects`].
//!
//! Cost: no allocation, no recursion. Every element but `*` takes exactly one byte, so on a
//! mismatch it is enough to let the *last* star take one byte more: at most
//! `pattern.len() * text.len()` steps, however many stars there are.

/// Whether `pattern` matches the whole of `text`.
///
/// ```
/// assert!(linchpin_server::glob::matches(b"user:*:[a-f]?", b"user:17:c0"));
/// assert!(!linchpin_server::glob::matches(b"user:*", b"USER:17"));
/// ```
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    search(pattern, text, |byte| byte)
}

/// Whether KEYS and SCAN answer `key` to `pattern`: where it matches, and always where the pattern
/// is `*`, which the empty key does not match.
///
/// ```
/// assert!(linchpin_server::glob::selects(b"*", b""));
/// assert!(!linchpin_server::glob::selects(b"**", b""));
/// ```
#[must_use]
pub fn selects(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || matches(pattern, key)
}

/// Whether `pattern` matches the whole of `text` when ASCII letters of either case are the same.
///
/// ```
/// assert!(linchpin_server::glob::matches_ignore_case(b"MAX*", b"maxclients"));
/// ```
#[must_use]
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    search(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Walks both sides, remembering where the last star stood and how much of the text it had taken.
fn search(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut rest = pattern;
    let mut at = 0;
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            star = Some((after, at));
            rest = after;
            continue;
        }
        let Some(&byte) = text.get(at) else {
            return rest.is_empty();
        };
        if let Some(after) = step(rest, byte, fold) {
            rest = after;
            at += 1;
            continue;
        }
        let Some((after, taken)) = star else {
            return false;
        };
        rest = after;
        at = taken + 1;
        star = Some((after, at));
    }
}

/// What is left of `pattern` once its first element, not a star, has taken `byte`; `None` where it
/// does not take it, or where nothing is left to take it.
fn step(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (taken, after) = step_class(class, fold(byte), fold);
            taken.then_some(after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => {
            (fold(*literal) == fold(byte)).then_some(after)
        }
    }
}

/// Reads a class behind its `[`: whether it takes `byte` (folded already), and what follows it.
fn step_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> (bool, &[u8]) {
    let (negated, mut class) = match class {
        [b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    let mut member = false;
    loop {
        class = match class {
            [] => return (member != negated, class),
            [b']', after @ ..] => return (member != negated, after),
            [b'\\', literal, after @ ..] => {
                member |= fold(*literal) == byte;
                after
            }
            [low, b'-', high, after @ ..] => {
                let (low, high) = (fold(*low), fold(*high));
                member |= (low.min(high)..=low.max(high)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                member |= fold(*literal) == byte;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One element of a pattern: a star, or the set of bytes that one byte must be of.
    enum Element {
        Star,
        One(Vec<u8>),
    }

    /// The pattern spelled out, read by index as Redis' manual describes it.
    fn elements(pattern: &[u8]) -> Vec<Element> {
        let at = |i: usize| pattern.get(i).copied();
        let mut list = Vec::new();
        let mut i = 0;
        while let Some(byte) = at(i) {
            i += 1;
            list.push(match byte {
                b'*' => Element::Star,
                b'?' => Element::One((0..=255).collect()),
                b'\\' if i < pattern.len() => {
                    i += 1;
                    Element::One(vec![pattern[i - 1]])
                }
                b'[' => {
                    let negated = at(i) == Some(b'^');
                    i += usize::from(negated);
                    let mut set = Vec::new();
                    while let Some(member) = at(i).filter(|&b| b != b']') {
                        if member == b'\\' && i + 1 < pattern.len() {
                            set.push(pattern[i + 1]);
                            i += 2;
                        } else if at(i + 1) == Some(b'-') && i + 2 < pattern.len() {
                            let high = pattern[i + 2];
                            set.extend(member.min(high)..=member.max(high));
                            i += 3;
                        } else {
                            set.push(member);
                            i += 1;
                        }
                    }
                    i += 1;
                    Element::One((0..=255).filter(|b| set.contains(b) != negated).collect())
                }
                literal => Element::One(vec![literal]),
            });
        }
        list
    }

    /// Each star tries every length: so plain that it is unlikely to be wrong.
    fn naive(pattern: &[Element], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Element::Star, after @ ..], _) => {
                (0..=text.len()).any(|taken| naive(after, &text[taken..]))
            }
            (_, []) | ([], _) => false,
            ([Element::One(set), rest @ ..], [byte, after @ ..]) => {
                set.contains(byte) && naive(rest, after)
            }
        }
    }

    /// Redis' one exception to the above: an empty text.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        if text.is_empty() {
            pattern.is_empty()
        } else {
            naive(&elements(pattern), text)
        }
    }

    #[test]
    fn each_element() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expect,
                "{pattern} {text}"
            );
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", false);
        check("**", "", false);
        check("*", "abc", true);
        check("a*", "a", true);
        check("a**", "a", true);
        check("a*c", "abcbc", true);
        check("a*c", "abcb", false);
        check("*a*b*c*", "xaxbxcx", true);
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("?", "", false);
        check("h[ae]llo", "hallo", true);
        check("h[ae]llo", "hillo", false);
        check("h[^e]llo", "hello", false);
        check("h[^e]llo", "hallo", true);
        check("[a-c]", "b", true);
        check("[c-a]", "b", true);
        check("[a-c]", "d", false);
        check("[a-", "-", true);
        check("[a-", "a", true);
        check("[]", "a", false);
        check("[^]", "a", true);
        check("[^", "a", true);
        check("[", "a", false);
        check("[abc", "c", true);
        check("[\\]]", "]", true);
        check("[\\-x]", "-", true);
        check("[\\", "\\", true);
        check("[a-]]", "a", true);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("\\", "\\", true);
        check("a\\", "a\\", true);
        check("ABC", "abc", false);
    }

    #[test]
    fn letters_of_either_case() {
        let check = |pattern: &str, text: &str, expect: bool| {
            let got = matches_ignore_case(pattern.as_bytes(), text.as_bytes());
            assert_eq!(got, expect, "{pattern} {text}");
        };
        check("MaxC*", "maxclients", true);
        check("[A-C]x", "bX", true);
        check("[b]", "B", true);
        check("\\A", "a", true);
        check("É", "é", false);
    }

    /// A matcher that tries every split of the text would not come back from this.
    #[test]
    fn many_stars_stay_bounded() {
        let pattern = [b"*?".repeat(50), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(4096)));
        assert!(matches(&pattern, &[&b"a".repeat(4096)[..], b"b"].concat()));
    }

    /// What redis-server answered to the same patterns over the same keys.
    #[test]
    fn agrees_with_redis() {
        let record = include_str!("../tests/data/redis-7.0.15-glob.txt");
        let mut lines = record.lines().filter(|line| !line.starts_with('#'));
        let keys: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        for line in lines {
            let mut words = line.split(' ');
            let pattern = words.next().unwrap_or_default();
            let expect: Vec<&str> = words.collect();
            let mut got = keys.clone();
            got.retain(|key| matches(pattern.as_bytes(), key.as_bytes()));
            assert_eq!(got, expect, "{pattern}");
        }
    }

    fn bytes_of(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..9)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn agrees_with_the_naive_matcher(
            pattern in bytes_of(b"ab*?[]^-\\"),
            text in bytes_of(b"ab-]^\\"),
        ) {
            prop_assert_eq!(matches(&pattern, &text), oracle(&pattern, &text));
        }
    }
}
