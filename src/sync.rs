//! Every lock and atomic of the server, in one place, so that a model checker can take their place.
//!
//! The face is narrow on purpose: guards without poisoning, no `const` constructors, no timed
//! locks. A normal build gives `parking_lot` and `std`; `--cfg loom` gives loom's models, which are
//! run in every interleaving, and `--cfg shuttle` gives shuttle's, which are run in random ones.
//!
//! LIMITATIONS: `Arc` is std's in every build; loom then does not see reference counts, which no
//! structure here uses to synchronise.

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::{OnceLock, atomic};
}

#[cfg(any(loom, shuttle))]
mod real {
    #[cfg(loom)]
    use loom as checker;
    #[cfg(shuttle)]
    use shuttle as checker;

    pub(crate) use checker::sync::{MutexGuard, atomic};

    /// The checker's mutex behind the face of `parking_lot`'s.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        // loom does not give back what it guards.
        #[cfg(shuttle)]
        pub(crate) fn into_inner(self) -> T {
            let inner = self.0.into_inner();
            inner.unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    #[cfg(shuttle)]
    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    /// A cell written once, whose writing and reading the checker sees.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: atomic::AtomicBool,
        making: Mutex<()>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self {
                value: std::sync::OnceLock::new(),
                is_set: atomic::AtomicBool::new(false),
                making: Mutex::new(()),
            }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            let is_set = self.is_set.load(atomic::Ordering::Acquire);
            is_set.then(|| self.value.get()).flatten()
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            // Asked without loom, which remembers only the last look at `is_set` and would not see
            // that the store below and a look of another thread before it exclude each other.
            if let Some(value) = self.value.get() {
                return value;
            }
            let _one_at_a_time = self.making.lock();
            // Not by std, which would hold the thread on which a checker runs all of its own.
            if self.value.get().is_none() {
                let _ = self.value.set(make());
                self.is_set.store(true, atomic::Ordering::Release);
            }
            self.value.get().expect("it has just been made")
        }

        pub(crate) fn into_inner(self) -> Option<T> {
            self.value.into_inner()
        }
    }
}

pub(crate) use real::{Mutex, MutexGuard, OnceLock, atomic};

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
