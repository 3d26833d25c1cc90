//! The sequential model that histories are checked against: one key that is a lock with the
//! sessions its holds live by, a semaphore of [`LIMIT`], or a string that is written with fences.
//!
//! What time does is a call like others, whose moment is left open: the end of a lease is called
//! when it can be at the earliest, and answered at the end of the history. So is a call whose
//! answer never came. To keep the search small an open call counts only where it changes something,
//! or behind [`Call::End`], where nothing changes any more: there stands what never happened.

use todc_utils::specifications::Specification;

use crate::linear::{self, Operation};

/// Permits of the semaphore.
pub(super) const LIMIT: u8 = 3;

/// One call, with its answer in `told`: none where that is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `permits` 0 is the lock. Told are status and fence.
    Acquire {
        id: u32,
        owner: u8,
        permits: u8,
        session: Option<u32>,
        told: Option<(i64, i64)>,
    },
    /// Told is whether it was held.
    Release {
        owner: u8,
        told: Option<bool>,
    },
    /// Whether a fence is current.
    Check {
        fence: i64,
        told: bool,
    },
    /// The lease that a call gave is over.
    Over {
        id: u32,
    },
    /// A session is closed; told is whether it had the lock.
    Close {
        session: u32,
        told: Option<bool>,
    },
    /// A fenced write; told is whether it passed.
    Write {
        fence: i64,
        value: u32,
        told: Option<bool>,
    },
    Read {
        told: Option<u32>,
    },
    /// The history is over.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hold {
    owner: u8,
    /// 0 where nobody was told it yet.
    fence: i64,
    permits: u8,
    session: Option<u32>,
    /// The call that it lives by.
    id: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    holds: Vec<Hold>,
    /// The highest fence that was told.
    fence: i64,
    /// Of the string.
    mark: i64,
    value: Option<u32>,
    is_over: bool,
}

impl State {
    /// A request for a hold; whether its answer can be this one.
    fn acquire(&mut self, wanted: Hold, told: Option<(i64, i64)>) -> bool {
        let taken: u8 = self.holds.iter().map(|hold| hold.permits).sum();
        let is_free = match wanted.permits {
            0 => self.holds.is_empty(),
            count => taken + count <= LIMIT,
        };
        let own = self
            .holds
            .iter_mut()
            .find(|hold| hold.owner == wanted.owner);
        let Some((status, fence)) = told else {
            match own {
                Some(hold) => (hold.id, hold.session) = (wanted.id, wanted.session),
                None if is_free => self.holds.push(wanted),
                None => return false,
            }
            return true;
        };
        match (status, own) {
            (1, None) if is_free && fence > self.fence => {
                self.fence = fence;
                self.holds.push(Hold { fence, ..wanted });
                true
            }
            (2, Some(hold)) if hold.fence == fence || hold.fence == 0 => {
                (hold.id, hold.session, hold.fence) = (wanted.id, wanted.session, fence);
                self.fence = self.fence.max(fence);
                true
            }
            // Of a lock, its holder is told; fence 0 where the queue alone is in the way.
            (0, None) => {
                let is_told = |hold: &Hold| hold.fence == fence || hold.fence == 0;
                fence == 0 || !is_free && self.holds.iter().any(is_told)
            }
            _ => false,
        }
    }

    /// Ends the holds that are meant; whether there was one.
    fn end(&mut self, is_meant: impl Fn(&Hold) -> bool) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| !is_meant(hold));
        self.holds.len() < before
    }

    /// Makes the call; answers whether its answer is right.
    fn call(&mut self, call: &Call) -> bool {
        match *call {
            Call::Acquire {
                id,
                owner,
                permits,
                session,
                told,
            } => {
                let fence = 0;
                let wanted = Hold {
                    owner,
                    fence,
                    permits,
                    session,
                    id,
                };
                self.acquire(wanted, told)
            }
            Call::Release { owner, told } => {
                let was_held = self.end(|hold| hold.owner == owner);
                told.is_none_or(|told| told == was_held)
            }
            Call::Check { fence, told } => {
                told == (fence != 0 && self.holds.iter().any(|hold| hold.fence == fence))
            }
            Call::Over { id } => self.end(|hold| hold.id == id),
            Call::Close { session, told } => {
                let was_held = self.end(|hold| hold.session == Some(session));
                told.is_none_or(|told| told == was_held)
            }
            Call::Write { fence, value, told } => {
                let passes = fence >= self.mark;
                if passes {
                    (self.mark, self.value) = (fence, Some(value));
                }
                told.is_none_or(|told| told == passes)
            }
            Call::Read { told } => told == self.value,
            Call::End => {
                self.is_over = true;
                true
            }
        }
    }
}

impl Operation for Call {
    const END: Self = Call::End;

    fn is_open(&self) -> bool {
        matches!(
            self,
            Call::Over { .. }
                | Call::Acquire { told: None, .. }
                | Call::Release { told: None, .. }
                | Call::Close { told: None, .. }
                | Call::Write { told: None, .. }
        )
    }
}

/// The model as the checker wants it.
struct Model;

impl Specification for Model {
    type State = State;
    type Operation = Call;

    fn init() -> State {
        State::default()
    }

    fn apply(call: &Call, state: &State) -> (bool, State) {
        if state.is_over {
            return (true, state.clone());
        }
        let mut next = state.clone();
        let is_right = next.call(call) && !(call.is_open() && next == *state);
        if is_right {
            (true, next)
        } else {
            (false, state.clone())
        }
    }
}

/// A call in a history.
pub(super) type Event = linear::Event<Call>;

/// Whether calls were answered as if each had been made at one moment between call and answer.
pub(super) fn is_linearizable(events: &[Event]) -> bool {
    linear::is_linearizable::<Model>(events)
}
