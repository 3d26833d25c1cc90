//! The sequential model that histories are checked against: one key that is filled by one caller
//! for all, one request that is done once, one limit that nothing comes back to, one string that is
//! compared and set. A history is of one of them.

use todc_utils::specifications::Specification;

use crate::linear::Operation;

/// Units of the limit.
pub(super) const UNITS: u32 = 20;
/// The token of a call that was never answered: nobody knows it.
const UNKNOWN: i64 = 0;

/// What `CACHE.GET` and `IDEMP.BEGIN` are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is this call's: the token.
    Won(i64),
    /// It is somebody else's.
    Busy,
    /// What was made of it.
    Made(u32),
}

/// One call, with its answer in `told`: none where that is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Asks for the turn; by a call that is repeated with its owner or not.
    Ask { told: Option<Turn> },
    /// Makes something of it, by a token.
    Make {
        token: i64,
        value: u32,
        told: Option<bool>,
    },
    /// Gives the turn back.
    Abort { token: i64, told: Option<bool> },
    /// Removes the key; told is whether it was there. That is not judged: a turn that was handed
    /// over and removed before it was told of was there, and nobody saw it.
    Delete { told: Option<bool> },
    /// The server was killed and started again; whether that made tokens void.
    Restart { voids: bool },
    /// Takes a unit; told is whether there was one.
    Take { told: Option<bool> },
    /// Sets the value if it is this.
    Swap {
        old: u32,
        new: u32,
        told: Option<bool>,
    },
    /// Told is the value.
    Read { told: u32 },
    /// The history is over.
    End,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// What was made, and the token it was made by.
    made: Option<(u32, i64)>,
    /// The token that was given.
    token: Option<i64>,
    /// Units that were taken.
    taken: u32,
    /// Of the string.
    value: u32,
    is_over: bool,
}

impl State {
    fn ask(&mut self, told: Option<Turn>) -> bool {
        match (told, self.made, self.token) {
            (Some(Turn::Made(told)), Some((value, _)), _) => told == value,
            (Some(Turn::Busy), None, Some(_)) => true,
            (Some(Turn::Won(token)), None, None) => {
                self.token = Some(token);
                true
            }
            // Of a call that was answered Won and asks again; nobody else has its token.
            (Some(Turn::Won(token)), None, Some(given)) => token == given,
            (None, None, None) => {
                self.token = Some(UNKNOWN);
                true
            }
            (None, ..) => true,
            _ => false,
        }
    }

    fn make(&mut self, token: i64, value: u32) -> bool {
        if self.token == Some(token) && token != UNKNOWN {
            (self.made, self.token) = (Some((value, token)), None);
            return true;
        }
        // Again by the same token: nothing is written, and that is no mistake.
        matches!(self.made, Some((_, by)) if by == token)
    }

    /// Makes the call; answers whether its answer is right.
    fn call(&mut self, call: Call) -> bool {
        match call {
            Call::Ask { told } => self.ask(told),
            Call::Make { token, value, told } => {
                let is_made = self.make(token, value);
                told.is_none_or(|told| told == is_made)
            }
            Call::Abort { token, told } => {
                let is_given = self.token == Some(token);
                if is_given {
                    self.token = None;
                }
                told.is_none_or(|told| told == is_given)
            }
            Call::Delete { .. } => {
                (self.made, self.token, self.taken) = (None, None, 0);
                true
            }
            Call::Restart { voids } => {
                if voids {
                    self.token = None;
                    self.made = self.made.map(|(value, _)| (value, UNKNOWN));
                }
                true
            }
            Call::Take { told } => {
                let is_there = self.taken < UNITS;
                self.taken += u32::from(is_there);
                told.is_none_or(|told| told == is_there)
            }
            Call::Swap { old, new, told } => {
                let is_it = self.value == old;
                if is_it {
                    self.value = new;
                }
                told.is_none_or(|told| told == is_it)
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
            Call::Ask { told: None }
                | Call::Make { told: None, .. }
                | Call::Abort { told: None, .. }
                | Call::Delete { told: None }
                | Call::Take { told: None }
                | Call::Swap { told: None, .. }
        )
    }
}

/// The model as the checker wants it.
pub(super) struct Model;

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
        let is_right = next.call(*call) && !(call.is_open() && next == *state);
        if is_right {
            (true, next)
        } else {
            (false, state.clone())
        }
    }
}
