//! Short codes: numbers, one after the other, as words of one length that look like chance.
//!
//! ```text
//!   n = 0, 1, 2 ... --permutation of 0..N, by a secret--> place --digits in the alphabet--> code
//! ```
//!
//! N is the number of codes of the length, exactly. The permutation is a Feistel network over the
//! grid of `a` x `b` places, the smallest of about equal sides that holds N: each round adds to one
//! coordinate a keyed hash of the other, modulo its side. A place outside N is permuted again until
//! one is inside: a walk along a cycle, which therefore ends, and takes little more than one step,
//! because the grid has hardly more places than N.
//!
//! Invariants: different numbers give different codes, for it is a bijection; without the secret a
//! code says nothing of the next, as far as SipHash-2-4 is a pseudorandom function.
//!
//! Cost: twelve hashes of 8 bytes, some 200 ns.
//!
//! LIMITATIONS: at most 2^63 codes. Of a space of few codes somebody who tries them all finds those
//! in use, whatever the permutation.
//!
//! References: Black and Rogaway, Ciphers with Arbitrary Finite Domains (2002), for network and
//! walk; Aumasson and Bernstein, SipHash (2012).

use super::blocklist;
use siphasher::sip::SipHasher24;
use std::hash::Hasher as _;

/// Rounds of the network, an even number: attacks on ten and fewer are known for tiny domains.
const ROUNDS: u64 = 12;
/// No space has more codes.
const CODES_MAX: u64 = 1 << 63;
/// No code is longer: that of two letters.
pub const CODE_LEN_MAX: usize = 63;
/// The most letters of an alphabet: all that can be seen in ASCII.
pub const LETTERS_MAX: usize = 94;
/// The alphabet, unless told otherwise.
pub const ALPHABET_62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What codes are made of and how. Fixed at the first use of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The letters, each once.
    pub alphabet: Box<[u8]>,
    /// Letters of a code.
    pub len: u32,
    /// Whether codes with a word in them that offends are left out.
    pub is_filtered: bool,
    /// What the order of the codes follows from. Told to nobody.
    pub secret: [u64; 2],
}

impl Scheme {
    /// How many codes there are, those that are left out among them; none where letters or length
    /// are none, or there would be more than 2^63.
    #[must_use]
    pub fn codes(&self) -> Option<u64> {
        let count = self.alphabet.len();
        let mut seen = [false; 256];
        let is_new = |letter: &u8| !std::mem::replace(&mut seen[usize::from(*letter)], true);
        let is_alphabet = (2..=LETTERS_MAX).contains(&count)
            && self.alphabet.iter().all(u8::is_ascii_graphic)
            && self.alphabet.iter().all(is_new);
        let codes = (count as u64).checked_pow(self.len)?;
        (is_alphabet && self.len > 0 && codes <= CODES_MAX).then_some(codes)
    }

    /// Whether two namespaces differ in nothing but their secrets.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.alphabet == other.alphabet
            && self.len == other.len
            && self.is_filtered == other.is_filtered
    }
}

/// Makes the codes of one namespace.
#[derive(Clone, Debug)]
pub struct Coder {
    scheme: Scheme,
    permutation: Permutation,
}

impl Coder {
    /// Of a scheme; none where that is none.
    #[must_use]
    pub fn new(scheme: Scheme) -> Option<Self> {
        let permutation = Permutation::new(scheme.codes()?, scheme.secret);
        Some(Self {
            scheme,
            permutation,
        })
    }

    /// What codes are made of.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// How many codes there are.
    #[must_use]
    pub fn codes(&self) -> u64 {
        self.permutation.size
    }

    /// Writes the code of a number below [`codes`](Self::codes) into the beginning of `text`; none
    /// where it is left out.
    #[must_use]
    #[inline]
    pub fn write<'t>(&self, number: u64, text: &'t mut [u8; CODE_LEN_MAX]) -> Option<&'t [u8]> {
        let mut place = self.permutation.place(number);
        let letters = &self.scheme.alphabet;
        let base = letters.len() as u64;
        let code = &mut text[..self.scheme.len as usize];
        for letter in code.iter_mut().rev() {
            *letter = letters[(place % base) as usize];
            place /= base;
        }
        (!self.scheme.is_filtered || !blocklist::offends(code)).then_some(code)
    }
}

/// A keyed permutation of the numbers below a size.
#[derive(Clone, Debug)]
struct Permutation {
    size: u64,
    /// The sides of the grid.
    a: u64,
    b: u64,
    hasher: SipHasher24,
}

impl Permutation {
    /// Of the numbers below `size`, which is at least 1.
    fn new(size: u64, [k0, k1]: [u64; 2]) -> Self {
        let root = size.isqrt();
        let a = if root * root == size { root } else { root + 1 };
        Self {
            size,
            a,
            b: size.div_ceil(a),
            hasher: SipHasher24::new_with_keys(k0, k1),
        }
    }

    /// Where a number goes.
    #[inline]
    fn place(&self, number: u64) -> u64 {
        let mut place = number;
        loop {
            place = self.network(place);
            if place < self.size {
                return place;
            }
        }
    }

    #[inline]
    fn network(&self, place: u64) -> u64 {
        let (mut x, mut y) = (place / self.b, place % self.b);
        for round in (0..ROUNDS).step_by(2) {
            x = self.add(x, round, y, self.a);
            y = self.add(y, round + 1, x, self.b);
        }
        x * self.b + y
    }

    /// One coordinate, moved by a hash of the other.
    #[inline]
    fn add(&self, moved: u64, round: u64, other: u64, side: u64) -> u64 {
        let mut hasher = self.hasher;
        hasher.write_u64(round << 56 | other);
        let by = (u128::from(hasher.finish()) * u128::from(side)) >> 64;
        let sum = moved + by as u64;
        if sum >= side { sum - side } else { sum }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
