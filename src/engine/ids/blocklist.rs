//! Words that short codes are not to have in them, if somebody wants that.
//!
//! A code is compared without regard to case, and with digits taken for the letters that they look
//! like. No list is complete: it keeps the worst out of links that people are sent.
//!
//! Cost: a look at each word at each place of a code, some 100 ns.

/// In small letters, sorted; none is part of another.
const WORDS: &[&str] = &[
    "anal", "anus", "arse", "bastard", "bitch", "cock", "cunt", "damn", "dick", "fag", "fuck",
    "hitler", "jizz", "kike", "nazi", "nigg", "penis", "piss", "porn", "pussy", "rape", "shit",
    "slut", "spic", "tits", "twat", "wank", "whore",
];

/// Whether a code has one of the words in it.
pub(super) fn offends(code: &[u8]) -> bool {
    let has = |word: &&str| {
        let mut places = code.windows(word.len());
        places.any(|place| {
            place
                .iter()
                .zip(word.bytes())
                .all(|(byte, letter)| looks_like(*byte, letter))
        })
    };
    WORDS.iter().any(has)
}

fn looks_like(byte: u8, letter: u8) -> bool {
    let byte = match byte {
        b'0' => b'o',
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        b'1' if letter == b'l' => b'l',
        b'1' => b'i',
        other => other.to_ascii_lowercase(),
    };
    byte == letter
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_and_none_is_part_of_another() {
        assert!(WORDS.is_sorted());
        for word in WORDS {
            let contains = |other: &&&str| *other != word && other.contains(word);
            assert_eq!(WORDS.iter().find(contains), None, "{word}");
            assert!(word.bytes().all(|letter| letter.is_ascii_lowercase()));
        }
    }

    #[test]
    fn words_are_found_in_any_case_and_in_digits() {
        assert!(offends(b"xxSh1Tx") && offends(b"5LUT") && offends(b"aP1SS"));
        assert!(!offends(b"shi") && !offends(b"") && !offends(b"abcdefg") && !offends(b"s-hit"));
    }
}
