//! Every lock and atomic of the server, in one place, so that a model checker can take their place.
//!
//! The face is narrow on purpose: guards without poisoning, no `const` constructors, no timed
//! locks. A normal build gives `parking_lot` and `std`; `--cfg loom` gives loom's models.
//!
//! LIMITATIONS: `Arc` is std's in every build; loom then does not see reference counts, which no
//! structure here uses to synchronise.

#[cfg(not(loom))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic;
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::sync::{MutexGuard, atomic};

    /// loom's mutex behind the face of `parking_lot`'s.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

pub(crate) use real::{Mutex, MutexGuard, atomic};

/// Wakes whoever sleeps on the other side: a connection's task, a worker's loop, a test.
pub(crate) trait Wake: Send + Sync {
    /// Makes the sleeper look again. May be called from any thread, any number of times.
    fn wake(&self);
}

impl<W: Wake + ?Sized> Wake for std::sync::Arc<W> {
    fn wake(&self) {
        (**self).wake();
    }
}
