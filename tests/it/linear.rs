//! Whether what many clients were told is what one after the other could have been told.
//!
//! An open call is one whose answer never came, or what time does by itself: it may have had its
//! effect at any later moment, or never. To keep the search small an open call counts only where it
//! changes something, or behind the end of the history, where nothing changes any more: there
//! stands what never happened. The specification sees to that.

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// A call as a specification knows it.
pub(crate) trait Operation: Clone {
    /// The call behind which nothing changes any more.
    const END: Self;

    /// Whether its moment is left open.
    fn is_open(&self) -> bool;
}

/// A call in a history: when it was made and when it was answered, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Event<C> {
    pub(crate) called_us: u64,
    pub(crate) answered_us: u64,
    pub(crate) call: C,
}

/// Whether calls were answered as if each had been made at one moment between call and answer.
pub(crate) fn is_linearizable<S>(events: &[Event<S::Operation>]) -> bool
where
    S: Specification,
    S::Operation: Operation,
{
    // An answer goes before a call of the same moment: that is the stricter reading.
    let mut actions = Vec::new();
    for (process, event) in events.iter().enumerate() {
        let answered_us = if event.call.is_open() {
            u64::MAX
        } else {
            event.answered_us
        };
        let (call, response) = (event.call.clone(), event.call.clone());
        actions.push((event.called_us, 1, process, Action::Call(call)));
        actions.push((answered_us, 0, process, Action::Response(response)));
    }
    let end = events.len();
    actions.push((u64::MAX - 2, 1, end, Action::Call(S::Operation::END)));
    actions.push((u64::MAX - 1, 0, end, Action::Response(S::Operation::END)));
    actions.sort_by_key(|(at_us, kind, ..)| (*at_us, *kind));
    let actions = actions
        .into_iter()
        .map(|(_, _, process, action)| (process, action));
    WGLChecker::<S>::is_linearizable(History::from_actions(actions.collect()))
}
