//! Replies that are made but must not be sent yet: what they tell is not in the journal as far as
//! was promised.
//!
//! ```text
//!   output   | sent | ripe ....... | part 1 ........ | part 2 ..... | part 3 |
//!                                   needs frame 17     frame 20       nothing, but waits its turn
//! ```
//!
//! Replies keep their order, so everything behind the first part that waits does so, too.
//!
//! Cost: nothing where nothing waits; else one entry for each run of requests, and those that need
//! no more than the one before share its entry.

use crate::journal::Needs;
use std::collections::VecDeque;

/// The parts of one connection's output that wait.
#[derive(Debug, Default)]
pub(crate) struct Held {
    parts: VecDeque<Part>,
    /// Where the first of them begins.
    ripe: usize,
}

#[derive(Debug)]
struct Part {
    /// Where it ends in the output.
    end: usize,
    /// Replies in it.
    replies: u32,
    needs: Needs,
}

impl Held {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Notes that the output from what was noted last, or from `start` if nothing waits, up to
    /// `end`, with so many replies, needs this.
    pub(crate) fn push(&mut self, start: usize, end: usize, replies: u32, needs: Needs) {
        if let Some(last) = self.parts.back_mut()
            && last.needs.covers(needs)
        {
            last.end = end;
            last.replies += replies;
            return;
        }
        if self.parts.is_empty() {
            self.ripe = start;
        }
        self.parts.push_back(Part {
            end,
            replies,
            needs,
        });
    }

    /// How much of an output of `len` bytes may be sent.
    pub(crate) fn ripe(&mut self, len: usize, is_met: impl Fn(Needs) -> bool) -> usize {
        while let Some(first) = self.parts.front()
            && is_met(first.needs)
        {
            self.ripe = first.end;
            self.parts.pop_front();
        }
        if self.parts.is_empty() {
            len
        } else {
            self.ripe
        }
    }

    /// The first `bytes` of the output, all of which may have been sent, were taken away.
    pub(crate) fn shift(&mut self, bytes: usize) {
        self.ripe = self.ripe.saturating_sub(bytes);
        for part in &mut self.parts {
            part.end = part.end.saturating_sub(bytes);
        }
    }

    /// What ended at `from` in the output ends at `to`, and all behind it has moved as far.
    pub(crate) fn stretch(&mut self, from: usize, to: usize) {
        let moved = |place: usize| {
            if place >= from {
                place - from + to
            } else {
                place
            }
        };
        self.ripe = moved(self.ripe);
        for part in &mut self.parts {
            part.end = moved(part.end);
        }
    }

    /// What the first part waits for.
    pub(crate) fn first(&self) -> Option<Needs> {
        self.parts.front().map(|part| part.needs)
    }

    /// Puts `line`, an error, in the place of each reply that waits.
    pub(crate) fn give_up(&mut self, output: &mut Vec<u8>, line: &[u8]) {
        let replies: u32 = self.parts.drain(..).map(|part| part.replies).sum();
        output.truncate(self.ripe);
        (0..replies).for_each(|_| output.extend_from_slice(line));
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        crate::engine::usable_slots::<Part>(self.parts.capacity())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn written(written: u64) -> Needs {
        Needs { written, synced: 0 }
    }

    #[test]
    fn replies_are_sent_in_order_each_when_its_own_time_has_come() {
        let mut held = Held::default();
        assert_eq!(held.ripe(7, |_| false), 7, "nothing waits");
        held.push(7, 10, 1, written(5));
        held.push(10, 20, 2, written(9));
        held.push(20, 25, 1, written(3));
        let at = |mark: u64| move |needs: Needs| needs.written <= mark;
        assert_eq!(held.ripe(25, at(4)), 7);
        assert_eq!(held.first(), Some(written(5)));
        assert_eq!(
            held.ripe(25, at(8)),
            10,
            "what needs less waits behind what needs more"
        );
        assert_eq!(held.ripe(25, at(9)), 25);
        assert!(held.is_empty());
    }

    #[test]
    fn what_was_sent_can_be_taken_away() {
        let mut held = Held::default();
        held.push(7, 10, 1, written(5));
        held.push(10, 20, 2, written(9));
        held.shift(7);
        let at = |mark: u64| move |needs: Needs| needs.written <= mark;
        assert_eq!(held.ripe(13, at(4)), 0);
        assert_eq!(held.ripe(13, at(5)), 3);
    }

    #[test]
    fn an_unknown_outcome_is_told_once_for_each_reply() {
        let (mut held, mut output) = (Held::default(), b"+a\r\n+b\r\n+c\r\n+d\r\n".to_vec());
        held.push(4, 8, 1, written(5));
        held.push(8, 16, 2, written(6));
        assert_eq!(held.ripe(16, |_| false), 4);
        held.give_up(&mut output, b"-U\r\n");
        assert_eq!(output, b"+a\r\n-U\r\n-U\r\n-U\r\n");
        assert_eq!(held.ripe(16, |_| false), 16);
    }
}
