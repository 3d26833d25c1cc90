//! String values: either a 64-bit integer or bytes.
//!
//! Which of the two a value is stored as is decided by whoever writes it; the text of both is the
//! same to every reader.

/// A value as it is read or written, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// A number, stored as eight bytes; its text is the decimal without sign, spaces or zeros in
    /// front.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// How a value is held, in the words of `OBJECT ENCODING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Stored as an integer.
    Int,
    /// Up to 44 bytes, written whole.
    Embstr,
    /// Longer, or grown in place.
    Raw,
}

impl Encoding {
    /// The word `OBJECT ENCODING` answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Embstr => "embstr",
            Self::Raw => "raw",
        }
    }

    /// The word `TYPE` answers.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Int | Self::Embstr | Self::Raw => "string",
        }
    }
}

impl<'a> ValueRef<'a> {
    /// The value's text; integers are printed into `scratch`.
    #[must_use]
    pub fn text<'t>(&self, scratch: &'t mut IntText) -> &'t [u8]
    where
        'a: 't,
    {
        match *self {
            Self::Int(n) => scratch.0.format(n).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The length of the value's text in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match *self {
            Self::Int(n) => IntText::default().0.format(n).len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Room for the text of an integer, on the stack.
#[derive(Default)]
pub struct IntText(itoa::Buffer);

impl std::fmt::Debug for IntText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntText")
    }
}

/// A value that owns its bytes: what is carried from one key to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// See [`ValueRef::Int`].
    Int(i64),
    /// See [`ValueRef::Bytes`].
    Bytes(Box<[u8]>),
}

impl Value {
    /// Borrows the value.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(n) => ValueRef::Int(*n),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Int(n) => Self::Int(n),
            ValueRef::Bytes(bytes) => Self::Bytes(bytes.into()),
        }
    }
}
