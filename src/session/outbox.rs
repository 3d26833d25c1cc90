//! The outbox: how another worker reaches a connection.
//!
//! Whoever has something for a connection posts it and wakes the connection's task; the task takes
//! what is there, in order. The task may be anywhere in its loop at that moment, so the order on
//! both sides is fixed:
//!
//! ```text
//!   poster: push under the lock; if the box was quiet, mark it and wake
//!   task:   unmark; take all under the lock; only then sleep
//! ```
//!
//! Invariant: a post that is in the box while the task sleeps has woken it. `loom_tests` below runs
//! every interleaving of two posters and the task.
//!
//! Bound: equal posts are kept once, a connection waits for one outcome at a time, and news that
//! nobody is promised are dropped where [`NEWS_MAX`] of them lie there already.

use crate::engine::coordinator::{Lost, Settled};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, Wake};

/// News of lost holds and sessions that a box holds at most.
const NEWS_MAX: usize = 1_024;

/// Something another worker has for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// The connection is to end at once.
    Close,
    /// The call that waits has come to an end, by this frame.
    Settled(Settled, u64),
    /// Something was lost that the connection held, by this frame.
    Lost(Lost, u64),
}

/// Posts for one connection, and the way to wake its task.
pub(crate) struct Outbox<W> {
    posts: Mutex<Posts>,
    /// There may be posts that the task has not taken.
    marked: AtomicBool,
    task: W,
}

#[derive(Debug, Default)]
struct Posts {
    waiting: Vec<Post>,
    /// Nobody will look any more.
    is_closed: bool,
}

impl<W: Wake> Outbox<W> {
    /// An empty box for the task that `task` wakes.
    pub(crate) fn new(task: W) -> Self {
        Self {
            posts: Mutex::new(Posts::default()),
            marked: AtomicBool::new(false),
            task,
        }
    }

    /// Leaves a post and sees to it that the task looks; answers whether it will.
    pub(crate) fn post(&self, post: Post) -> bool {
        let mut posts = self.posts.lock();
        if posts.is_closed {
            return false;
        }
        let is_news = matches!(post, Post::Lost(..));
        let is_dropped = is_news && posts.waiting.len() >= NEWS_MAX;
        if !is_dropped && !posts.waiting.contains(&post) {
            posts.waiting.push(post);
        }
        drop(posts);
        if !self.marked.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
        true
    }

    /// Takes what is there for the last time: nothing can be posted from now on.
    pub(crate) fn close(&self) -> Vec<Post> {
        let mut posts = self.posts.lock();
        posts.is_closed = true;
        std::mem::take(&mut posts.waiting)
    }

    /// Takes what is there. Called by the task alone. Costs one load when there is nothing.
    pub(crate) fn take(&self) -> Vec<Post> {
        if !self.marked.load(Ordering::Acquire) {
            return Vec::new();
        }
        // Before looking: a post that comes after the look marks and wakes again.
        self.marked.store(false, Ordering::Release);
        std::mem::take(&mut self.posts.lock().waiting)
    }

    /// How the task is woken.
    pub(crate) fn task(&self) -> &W {
        &self.task
    }
}

impl<W> std::fmt::Debug for Outbox<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Notify;
    use loom::thread;
    use std::sync::Arc;

    impl Wake for Notify {
        fn wake(&self) {
            self.notify();
        }
    }

    /// Two post while the task looks, takes and goes to sleep. A lost wake-up shows as a task that
    /// sleeps for ever. Goes red when `take` unmarks after taking (the second post finds the mark
    /// set, and then it is wiped off), and when `post` marks and wakes before it pushes (the task
    /// looks, finds nothing and sleeps).
    #[test]
    fn a_post_wakes_the_task_that_does_not_see_it() {
        loom::model(|| {
            let outbox = Arc::new(Outbox::new(Notify::new()));
            let posters = [(); 2].map(|()| {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || assert!(outbox.post(Post::Close)))
            });
            while outbox.take().is_empty() {
                outbox.task().wait();
            }
            for poster in posters {
                poster.join().unwrap();
            }
            while !outbox.posts.lock().waiting.is_empty() {
                outbox.task().wait();
                outbox.take();
            }
        });
    }
}
