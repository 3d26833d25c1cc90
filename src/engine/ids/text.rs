//! IDs as text: decimal, hexadecimal, base 62, Crockford's base 32, and the form of UUIDs.
//!
//! All but decimal have a fixed length for each kind, so their order as text is that of the IDs.
//! Base 62 has digits, capitals, small letters, in the order of ASCII, as KSUIDs have it.
//! Crockford's alphabet leaves out I, L, O and U; read back, I and L are 1, O is 0, and case is no
//! matter.
//!
//! Cost: some 10 ns for what is the usual form of its kind. Base 62 of the wider ones divides, some
//! 50 ns.
//!
//! References: RFC 9562 (UUID), github.com/ulid/spec, github.com/segmentio/ksuid.

use super::{Id, IdKind};

const DIGITS_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const DIGITS_32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS_16: &[u8; 16] = b"0123456789abcdef";
/// No digit.
const NONE: u8 = 0xff;
const VALUES_62: [u8; 256] = values(DIGITS_62, false);
const VALUES_32: [u8; 256] = values_32();
const VALUES_16: [u8; 256] = values(DIGITS_16, true);
const VALUES_10: [u8; 256] = values(b"0123456789", false);
/// Both digits of each byte.
const BYTES_16: [[u8; 2]; 256] = bytes_16();

/// Eight digits of base 32 at a time.
const GROUP_BITS: u32 = 40;
const GROUP_MASK: u64 = (1 << GROUP_BITS) - 1;

/// No text is longer, in bytes: a KSUID in decimal has 49.
const TEXT_BYTES_MAX: usize = 50;

/// How an ID is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Decimal digits.
    Dec,
    /// Hexadecimal digits, lower case.
    Hex,
    /// Base 62.
    B62,
    /// Crockford's base 32.
    B32,
    /// Hexadecimal digits in groups of 8, 4, 4, 4 and 12. UUIDs alone.
    Uuid,
}

impl Form {
    /// The usual one.
    #[must_use]
    pub const fn usual(kind: IdKind) -> Self {
        match kind {
            IdKind::Snowflake => Self::Dec,
            IdKind::Uuid7 => Self::Uuid,
            IdKind::Ulid => Self::B32,
            IdKind::Ksuid => Self::B62,
        }
    }
}

/// An ID as text, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
}

impl Text {
    /// Writes an ID.
    #[must_use]
    #[inline]
    pub fn of(id: Id, form: Form) -> Self {
        let mut text = Self {
            bytes: [0; TEXT_BYTES_MAX],
            len: 0,
        };
        match (id, form) {
            (Id::Snowflake(id), Form::Dec) => text.put_decimal(id.into()),
            (Id::Uuid7(id) | Id::Ulid(id), Form::Dec) => text.put_decimal(id),
            (Id::Uuid7(id) | Id::Ulid(id), Form::Uuid) => text.put_uuid(id),
            (Id::Snowflake(id), Form::Hex | Form::Uuid) => text.put_hex(&id.to_be_bytes()),
            (Id::Uuid7(id) | Id::Ulid(id), Form::Hex) => text.put_hex(&id.to_be_bytes()),
            (Id::Ksuid(..), Form::Hex | Form::Uuid) => text.put_hex(&id.bytes()),
            (_, Form::B32) => text.put_32(id),
            (Id::Ksuid(..), Form::Dec) => text.put_long_decimal(id),
            (_, Form::B62) => text.put_62(id),
        }
        text
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put_decimal(&mut self, number: u128) {
        let mut digits = itoa::Buffer::new();
        let digits = match u64::try_from(number) {
            Ok(number) => digits.format(number),
            Err(_) => digits.format(number),
        };
        self.bytes[..digits.len()].copy_from_slice(digits.as_bytes());
        self.len = digits.len();
    }

    fn put_hex(&mut self, bytes: &[u8]) {
        for (pair, byte) in self.bytes.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&BYTES_16[usize::from(*byte)]);
        }
        self.len = bytes.len() * 2;
    }

    #[inline]
    fn put_uuid(&mut self, id: u128) {
        let bytes = id.to_be_bytes();
        let mut put = |at: usize, from: usize, count: usize| {
            for index in 0..count {
                let pair = BYTES_16[usize::from(bytes[from + index])];
                self.bytes[at + 2 * index..at + 2 * index + 2].copy_from_slice(&pair);
            }
        };
        put(0, 0, 4);
        put(9, 4, 2);
        put(14, 6, 2);
        put(19, 8, 2);
        put(24, 10, 6);
        for at in [8, 13, 18, 23] {
            self.bytes[at] = b'-';
        }
        self.len = 36;
    }

    /// Digits of five bits: those that make no whole group of 40 bits come first.
    #[inline]
    fn put_32(&mut self, id: Id) {
        let low = |bits: u128| bits as u64 & GROUP_MASK;
        match id {
            Id::Snowflake(id) => {
                self.put_32_digits(id >> GROUP_BITS, 5);
                self.put_32_digits(id & GROUP_MASK, 8);
            }
            Id::Uuid7(id) | Id::Ulid(id) => {
                self.put_32_digits(low(id >> (3 * GROUP_BITS)), 2);
                for group in (0..3).rev() {
                    self.put_32_digits(low(id >> (group * GROUP_BITS)), 8);
                }
            }
            Id::Ksuid(time, payload) => {
                let top = u64::from(time) << 8 | (payload >> 120) as u64;
                self.put_32_digits(top, 8);
                for group in (0..3).rev() {
                    self.put_32_digits(low(payload >> (group * GROUP_BITS)), 8);
                }
            }
        }
    }

    #[inline]
    fn put_32_digits(&mut self, bits: u64, count: usize) {
        for (index, byte) in self.bytes[self.len..self.len + count]
            .iter_mut()
            .enumerate()
        {
            let digit = bits >> (5 * (count - 1 - index)) & 31;
            *byte = DIGITS_32[digit as usize];
        }
        self.len += count;
    }

    /// Digits of base 62 from the last on, five at a division.
    fn put_62(&mut self, id: Id) {
        self.len = digits_len(id.kind(), Form::B62);
        let mut limbs = Limbs::of(id);
        for five in self.bytes[..self.len].rchunks_mut(5) {
            let mut rest = limbs.divide(62 * 62 * 62 * 62 * 62);
            for byte in five.iter_mut().rev() {
                *byte = DIGITS_62[(rest % 62) as usize];
                rest /= 62;
            }
        }
    }

    fn put_long_decimal(&mut self, id: Id) {
        let mut limbs = Limbs::of(id);
        let mut at = TEXT_BYTES_MAX;
        while !limbs.is_zero() {
            let digit = limbs.divide(10) as usize;
            at -= 1;
            self.bytes[at] = DIGITS_62[digit];
        }
        if at == TEXT_BYTES_MAX {
            at -= 1;
            self.bytes[at] = b'0';
        }
        self.bytes.copy_within(at.., 0);
        self.len = TEXT_BYTES_MAX - at;
    }
}

/// Digits of a form that has a fixed length; of decimal, the most there are.
const fn digits_len(kind: IdKind, form: Form) -> usize {
    match (kind, form) {
        (IdKind::Snowflake, Form::Dec) => 20,
        (IdKind::Snowflake, Form::Hex | Form::Uuid) => 16,
        (IdKind::Snowflake, Form::B62) => 11,
        (IdKind::Snowflake, Form::B32) => 13,
        (IdKind::Uuid7 | IdKind::Ulid, Form::Dec) => 39,
        (IdKind::Uuid7 | IdKind::Ulid, Form::Hex) => 32,
        (IdKind::Uuid7 | IdKind::Ulid, Form::Uuid) => 36,
        (IdKind::Uuid7 | IdKind::Ulid, Form::B62) => 22,
        (IdKind::Uuid7 | IdKind::Ulid, Form::B32) => 26,
        (IdKind::Ksuid, Form::Dec) => 49,
        (IdKind::Ksuid, Form::Hex | Form::Uuid) => 40,
        (IdKind::Ksuid, Form::B62) => 27,
        (IdKind::Ksuid, Form::B32) => 32,
    }
}

/// Reads an ID of this kind from text; none where it is none, or has more bits than the kind.
#[must_use]
pub fn parse(kind: IdKind, form: Form, text: &[u8]) -> Option<Id> {
    let len = digits_len(kind, form);
    let is_length = match form {
        Form::Dec => (1..=len).contains(&text.len()),
        _ => text.len() == len,
    };
    if !is_length {
        return None;
    }
    let (values, base) = match form {
        Form::Dec => (&VALUES_10, 10),
        Form::Hex | Form::Uuid => (&VALUES_16, 16),
        Form::B62 => (&VALUES_62, 62),
        Form::B32 => (&VALUES_32, 32),
    };
    let is_uuid = form == Form::Uuid && matches!(kind, IdKind::Uuid7 | IdKind::Ulid);
    let mut limbs = Limbs::default();
    for (at, byte) in text.iter().enumerate() {
        if is_uuid && matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let value = values[usize::from(*byte)];
        if value == NONE {
            return None;
        }
        limbs = limbs.push(base, value)?;
    }
    limbs.id(kind)
}

/// A number of 160 bits, the highest 32 first.
#[derive(Clone, Copy, Default)]
struct Limbs([u32; 5]);

impl Limbs {
    fn of(id: Id) -> Self {
        let (top, low) = match id {
            Id::Snowflake(id) => (0, u128::from(id)),
            Id::Uuid7(id) | Id::Ulid(id) => (0, id),
            Id::Ksuid(time, payload) => (time, payload),
        };
        let limb = |shift: u32| (low >> shift) as u32;
        Self([top, limb(96), limb(64), limb(32), limb(0)])
    }

    /// The ID of this kind; none where the number has more bits.
    fn id(self, kind: IdKind) -> Option<Id> {
        let [top, rest @ ..] = self.0;
        let low = rest
            .iter()
            .fold(0u128, |low, limb| low << 32 | u128::from(*limb));
        match kind {
            IdKind::Ksuid => Some(Id::Ksuid(top, low)),
            _ if top > 0 => None,
            IdKind::Snowflake => u64::try_from(low).ok().map(Id::Snowflake),
            IdKind::Uuid7 => Some(Id::Uuid7(low)),
            IdKind::Ulid => Some(Id::Ulid(low)),
        }
    }

    fn is_zero(&self) -> bool {
        self.0 == [0; 5]
    }

    /// Divides; answers the remainder.
    fn divide(&mut self, by: u32) -> u32 {
        let mut rest = 0u64;
        for limb in &mut self.0 {
            let part = rest << 32 | u64::from(*limb);
            *limb = (part / u64::from(by)) as u32;
            rest = part % u64::from(by);
        }
        rest as u32
    }

    /// One digit more; none where that leaves the 160 bits.
    fn push(mut self, base: u32, digit: u8) -> Option<Self> {
        let mut carry = u64::from(digit);
        for limb in self.0.iter_mut().rev() {
            let part = u64::from(*limb) * u64::from(base) + carry;
            *limb = part as u32;
            carry = part >> 32;
        }
        (carry == 0).then_some(self)
    }
}

/// The value of each byte as a digit.
const fn values(digits: &[u8], any_case: bool) -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < digits.len() {
        let digit = digits[value];
        values[digit as usize] = value as u8;
        if any_case {
            values[digit.to_ascii_uppercase() as usize] = value as u8;
            values[digit.to_ascii_lowercase() as usize] = value as u8;
        }
        value += 1;
    }
    values
}

const fn values_32() -> [u8; 256] {
    let mut values = values(DIGITS_32, true);
    values[b'O' as usize] = 0;
    values[b'o' as usize] = 0;
    values[b'I' as usize] = 1;
    values[b'i' as usize] = 1;
    values[b'L' as usize] = 1;
    values[b'l' as usize] = 1;
    values
}

const fn bytes_16() -> [[u8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS_16[byte >> 4], DIGITS_16[byte & 15]];
        byte += 1;
    }
    pairs
}

#[cfg(all(test, not(loom)))]
mod tests;
