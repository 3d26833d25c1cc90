//! Codes: all different, none predictable.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn coder(alphabet: &[u8], len: u32, secret: [u64; 2]) -> Coder {
    Coder::new(Scheme {
        alphabet: alphabet.into(),
        len,
        is_filtered: false,
        secret,
    })
    .expect("a scheme")
}

fn code(coder: &Coder, number: u64) -> Vec<u8> {
    let mut text = [0; CODE_LEN_MAX];
    coder
        .write(number, &mut text)
        .expect("nothing is left out")
        .to_vec()
}

#[test]
fn small_spaces_are_permuted_whole() {
    for size in (1..300).chain([1_000, 1_023, 1_024, 1_025, 4_095, 10_007, 65_536]) {
        let permutation = Permutation::new(size, [size, 7]);
        let grid = permutation.a * permutation.b;
        assert!(
            grid >= size && grid - size < permutation.a.max(2),
            "{size}: {grid}"
        );
        let mut seen = vec![false; size as usize];
        for number in 0..size {
            let place = permutation.place(number) as usize;
            assert!(
                !std::mem::replace(&mut seen[place], true),
                "{size}: {place} comes twice"
            );
        }
    }
}

#[test]
fn every_code_of_a_length_comes_once() {
    let coder = coder(b"abcdefghij", 4, [1, 2]);
    let codes: HashSet<Vec<u8>> = (0..10_000).map(|number| code(&coder, number)).collect();
    assert_eq!(codes.len(), 10_000);
    assert!(codes.iter().all(|code| code.len() == 4));
}

#[test]
fn what_is_no_scheme_makes_no_codes() {
    let codes = |alphabet: &[u8], len| {
        let (alphabet, is_filtered, secret) = (alphabet.into(), false, [0; 2]);
        Scheme {
            alphabet,
            len,
            is_filtered,
            secret,
        }
        .codes()
    };
    assert_eq!(codes(b"ab", 63), Some(1 << 63));
    assert_eq!(codes(b"ab", 64), None);
    assert_eq!(codes(ALPHABET_62, 10), Some(62u64.pow(10)));
    assert_eq!(codes(ALPHABET_62, 11), None);
    for bad in [&b"a"[..], b"", b"aa", b"aba", b"a b", b"a\xffb", b"a\nb"] {
        assert_eq!(codes(bad, 3), None, "{bad:?}");
    }
    assert_eq!(codes(b"ab", 0), None);
}

#[test]
fn codes_that_offend_are_left_out() {
    let scheme = Scheme {
        alphabet: b"fuckx".as_slice().into(),
        len: 5,
        is_filtered: true,
        secret: [3, 4],
    };
    let coder = Coder::new(scheme).unwrap();
    let mut text = [0; CODE_LEN_MAX];
    let left_out = (0..coder.codes()).filter(|number| coder.write(*number, &mut text).is_none());
    // Those with the word at the first or the second place.
    assert_eq!(left_out.count(), 10);
}

/// The statistic of `counts` against all being equally likely, in standard deviations from what is
/// to be expected.
fn deviation(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let squares = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2));
    let freedom = counts.len() as f64 - 1.0;
    (squares.sum::<f64>() / expected - freedom) / (2.0 * freedom).sqrt()
}

/// Goes red when the hash of a round leaves out the coordinate, or the rounds are two.
#[test]
fn codes_are_spread_evenly() {
    const CODES: u64 = 60_000;
    let coder = coder(ALPHABET_62, 7, [5, 6]);
    let value = |letter: &u8| {
        ALPHABET_62
            .iter()
            .position(|other| other == letter)
            .unwrap()
    };
    let codes: Vec<Vec<u8>> = (0..CODES).map(|number| code(&coder, number)).collect();
    for place in 0..7 {
        let (mut letters, mut steps) = (vec![0; 62], vec![0; 62]);
        let mut last = 0;
        for code in &codes {
            let letter = value(&code[place]);
            letters[letter] += 1;
            steps[(letter + 62 - last) % 62] += 1;
            last = letter;
        }
        for (what, counts) in [("letters", letters), ("steps", steps)] {
            let deviation = deviation(&counts);
            assert!(
                deviation.abs() < 5.0,
                "{what} at place {place}: {deviation}"
            );
        }
    }
}

/// The length of the shortest linear recurrence over bits that gives a sequence, by Berlekamp and
/// Massey.
fn linear_complexity(bits: &[bool]) -> usize {
    let len = bits.len();
    let (mut now, mut before) = (vec![false; len], vec![false; len]);
    (now[0], before[0]) = (true, true);
    let (mut complexity, mut last) = (0, -1isize);
    for at in 0..len {
        let mut is_off = bits[at];
        for back in 1..=complexity {
            is_off ^= now[back] && bits[at - back];
        }
        if !is_off {
            continue;
        }
        let kept = now.clone();
        let shift = (at as isize - last) as usize;
        for place in 0..len - shift {
            now[place + shift] ^= before[place];
        }
        if 2 * complexity <= at {
            complexity = at + 1 - complexity;
            last = at as isize;
            before = kept;
        }
    }
    complexity
}

/// Whoever knows a thousand codes finds no linear rule for the next: each bit of their places is as
/// complex as chance, and no difference of places repeats. Goes red for a network of no rounds.
#[test]
fn a_thousand_codes_tell_nothing_of_the_next() {
    const CODES: usize = 1_000;
    let permutation = Permutation::new(62u64.pow(7), [7, 8]);
    let places: Vec<u64> = (0..CODES as u64)
        .map(|number| permutation.place(number))
        .collect();
    for bit in 0..40 {
        let bits: Vec<bool> = places.iter().map(|place| place >> bit & 1 == 1).collect();
        let complexity = linear_complexity(&bits);
        assert!(
            complexity.abs_diff(CODES / 2) <= 15,
            "bit {bit}: {complexity}"
        );
    }
    let pairs = places.windows(2);
    let steps: HashSet<u64> = pairs.map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps.len(), CODES - 1);
    // The same of the halves of the grid, where a weak network shows first.
    for side in [permutation.a, permutation.b] {
        let mut counts = vec![0; 64];
        for place in &places {
            counts[(place % permutation.b.max(1) * 64 / side.max(1)).min(63) as usize] += 1;
        }
        assert!(deviation(&counts).abs() < 5.0);
    }
}

#[test]
fn another_secret_is_another_order() {
    let (a, b) = (coder(ALPHABET_62, 7, [1, 1]), coder(ALPHABET_62, 7, [1, 2]));
    let same = (0..1_000).filter(|number| code(&a, *number) == code(&b, *number));
    assert_eq!(same.count(), 0);
}

/// The order of a namespace never changes: its numbers are on disk, its codes with its users.
#[test]
fn the_codes_of_a_secret_stay_what_they_are() {
    let coder = coder(
        ALPHABET_62,
        7,
        [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
    );
    let codes: Vec<Vec<u8>> = [0, 1, 2, 62u64.pow(7) - 1]
        .map(|number| code(&coder, number))
        .into();
    let codes: Vec<&str> = codes
        .iter()
        .map(|code| std::str::from_utf8(code).unwrap())
        .collect();
    assert_eq!(codes, ["gOAI8mJ", "zBdgFlI", "fuj74wz", "DubHbHA"]);
}

proptest! {
    #[test]
    fn places_differ_in_any_space(
        size in 1u64..=1 << 63,
        secret: [u64; 2],
        numbers in prop::collection::hash_set(any::<u64>(), 2..40),
    ) {
        let permutation = Permutation::new(size, secret);
        let numbers: HashSet<u64> = numbers.into_iter().map(|number| number % size).collect();
        let places: HashSet<u64> = numbers.iter().map(|at| permutation.place(*at)).collect();
        prop_assert_eq!(places.len(), numbers.len());
        prop_assert!(places.iter().all(|place| *place < size));
    }
}
