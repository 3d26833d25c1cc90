//! Entries too large for a record, that grow in place, or with a deadline no record can hold: each
//! has allocations of its own.

use super::form::Form;
use super::ledger::usable;
use super::record::Parts;
use super::usage::Usage;
use super::value::{IntText, ValueRef};

/// One such entry.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) key: Box<[u8]>,
    value: Value,
    pub(super) form: Form,
    pub(super) deadline_ms: Option<u64>,
    pub(super) usage: Usage,
}

#[derive(Debug)]
enum Value {
    Int(i64),
    Whole(Box<[u8]>),
    /// Grown by `APPEND` or `SETRANGE`, with room to grow on.
    Grown(Vec<u8>),
}

impl Large {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        Self {
            key: parts.key.into(),
            value: match parts.value {
                ValueRef::Int(n) => Value::Int(n),
                ValueRef::Bytes(bytes) => Value::Whole(bytes.into()),
            },
            form: parts.form,
            deadline_ms: parts.deadline_ms,
            usage: parts.usage,
        }
    }

    pub(super) fn value(&self) -> ValueRef<'_> {
        match &self.value {
            Value::Int(n) => ValueRef::Int(*n),
            Value::Whole(bytes) => ValueRef::Bytes(bytes),
            Value::Grown(bytes) => ValueRef::Bytes(bytes),
        }
    }

    /// Whether the value grew in place.
    pub(super) fn is_grown(&self) -> bool {
        matches!(self.value, Value::Grown(_))
    }

    /// The value's text, to be added to.
    pub(super) fn grow(&mut self) -> &mut Vec<u8> {
        if !self.is_grown() {
            let text = match std::mem::replace(&mut self.value, Value::Int(0)) {
                Value::Whole(bytes) => bytes.into_vec(),
                Value::Grown(bytes) => bytes,
                Value::Int(n) => ValueRef::Int(n).text(&mut IntText::default()).to_vec(),
            };
            self.value = Value::Grown(text);
        }
        match &mut self.value {
            Value::Grown(bytes) => bytes,
            Value::Int(_) | Value::Whole(_) => unreachable!("the value was made to grow above"),
        }
    }

    /// Bytes held on the heap, the entry's own box among them.
    pub(super) fn heap_bytes(&self) -> usize {
        let value = match &self.value {
            Value::Int(_) => 0,
            Value::Whole(bytes) => bytes.len(),
            Value::Grown(bytes) => bytes.capacity(),
        };
        usable(size_of::<Self>()) + usable(self.key.len()) + usable(value)
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            key: &self.key,
            value: self.value(),
            form: self.form,
            deadline_ms: self.deadline_ms,
            usage: self.usage,
        }
    }
}
