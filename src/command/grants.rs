//! Grants whose reply has not reached the client for sure: what it was never told, it does not
//! hold.
//!
//! A reply may wait for the disk before it is sent. A grant that is over by then is told as one
//! that was not given, and what is left of one that is not over is told as it is then: the reply is
//! written again when it may leave.

use super::lock::claim::{Form, Told};
use crate::engine::coordinator::Name;
use crate::engine::{usable, usable_slots};
use linchpin_protocol::{Version, Writer};
use std::collections::VecDeque;

/// Those of one connection, in the order of their replies.
#[derive(Debug, Default)]
pub struct Grants {
    waiting: VecDeque<Grant>,
    /// How many of them have a place in the output.
    placed: usize,
    /// Bytes of their names.
    name_bytes: usize,
}

/// One grant.
#[derive(Debug)]
pub struct Grant {
    /// The objects: one, but for a multi-lock.
    pub names: Vec<Name>,
    /// The fencing token.
    pub fence: u64,
    /// How the reply is written, where it stands by itself.
    pub form: Option<Form>,
    /// Whether the owner had held it before.
    pub is_again: bool,
    /// Where the reply begins and ends in the output.
    start: usize,
    end: usize,
    /// Whether the reply is as it leaves.
    is_final: bool,
}

/// A change of length of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What was at this place before, the end of a reply ...
    pub from: usize,
    /// ... is here now, and all behind it has moved as far.
    pub to: usize,
}

impl Grants {
    /// Takes note of a grant whose reply comes next; a reply that stands in another is not written
    /// again.
    pub fn push(&mut self, names: Vec<Name>, fence: u64, form: Option<Form>, is_again: bool) {
        let grant = Grant {
            names,
            fence,
            form,
            is_again,
            start: 0,
            end: usize::MAX,
            is_final: false,
        };
        self.name_bytes += grant.name_bytes();
        self.waiting.push_back(grant);
    }

    /// The reply of what was noted last stands here in the output.
    #[inline]
    pub fn place(&mut self, start: usize, end: usize) {
        if self.placed == self.waiting.len() {
            return;
        }
        for grant in self.waiting.iter_mut().skip(self.placed) {
            (grant.start, grant.end) = (start, end);
            // Where nothing is answered, nothing is written again.
            grant.form = grant.form.filter(|_| end > start);
        }
        self.placed = self.waiting.len();
    }

    /// So many bytes were taken off the front of the output, all of them sent.
    #[inline]
    pub fn shift(&mut self, bytes: usize) {
        let is_sent = |grant: &mut Grant| grant.end <= bytes;
        while let Some(grant) = self.waiting.pop_front_if(is_sent) {
            self.name_bytes -= grant.name_bytes();
            self.placed = self.placed.saturating_sub(1);
        }
        for grant in &mut self.waiting {
            grant.start = grant.start.saturating_sub(bytes);
            grant.end = grant.end.saturating_sub(bytes);
        }
    }

    /// The replies up to here leave as they are.
    pub fn finalize(&mut self) {
        for grant in &mut self.waiting {
            grant.is_final = true;
        }
    }

    /// Whether any reply up to `ripe` is to be written again before it leaves.
    #[must_use]
    pub fn has_late(&self, ripe: usize) -> bool {
        let is_late = |grant: &Grant| !grant.is_final && grant.end <= ripe;
        self.waiting.iter().any(is_late)
    }

    /// Writes the replies up to `ripe` again, as `tell` says; answers how the output changed its
    /// length, in order.
    pub fn rewrite<'t>(
        &mut self,
        output: &mut Vec<u8>,
        resp: Version,
        mut ripe: usize,
        mut tell: impl FnMut(&Grant) -> Told<'t>,
    ) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        for at in 0..self.waiting.len() {
            let grant = &mut self.waiting[at];
            if grant.is_final || grant.end > ripe {
                continue;
            }
            grant.is_final = true;
            let Some(form) = grant.form else {
                continue;
            };
            let mut reply = Vec::new();
            tell(grant).write(&mut Writer::new(&mut reply, resp), form);
            let (start, from) = (grant.start, grant.end);
            let to = start + reply.len();
            output.splice(start..from, reply);
            grant.end = to;
            let moved = |place: usize| {
                if place >= from {
                    place - from + to
                } else {
                    place
                }
            };
            for later in self.waiting.iter_mut().skip(at + 1) {
                later.start = moved(later.start);
                later.end = moved(later.end);
            }
            ripe = moved(ripe);
            stretches.push(Stretch { from, to });
        }
        stretches
    }

    /// Those of which not all of the reply was sent, with `sent` bytes of the output sent.
    pub fn take_unsent(&mut self, sent: usize) -> impl Iterator<Item = (Vec<Name>, u64)> {
        self.shift(sent);
        (self.placed, self.name_bytes) = (0, 0);
        let waiting = std::mem::take(&mut self.waiting);
        // What was held before was told before.
        let new = waiting.into_iter().filter(|grant| !grant.is_again);
        new.map(|grant| (grant.names, grant.fence))
    }

    /// Bytes held on the heap. O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        usable_slots::<Grant>(self.waiting.capacity()) + self.name_bytes
    }
}

impl Grant {
    fn name_bytes(&self) -> usize {
        let keys = self.names.iter().map(|name| usable(name.key.len()));
        usable_slots::<Name>(self.names.capacity()) + keys.sum::<usize>()
    }
}
