//! The one way to wait and to wake, for tasks and plain threads alike.
//!
//! Whoever waits takes an [`Unparker`] of itself, leaves it where its waker will find it, looks once more whether it must wait,
//! and calls [`park`]. As with `std::thread::park`, a wake-up that comes first is kept (one, not several), and `park` may return
//! without one: callers look at their own condition in a loop.
//!
//! Memory ordering: what happened before `unpark` is visible after the `park` that it ends.

use crate::atomic::thread;
use std::time::Instant;

/// Wakes the task or thread it was made in.
#[derive(Clone)]
pub(crate) struct Unparker(Who);

#[derive(Clone)]
enum Who {
    Thread(thread::Thread),
}

impl Unparker {
    /// Of the task that runs here, else of the kernel thread.
    pub(crate) fn current() -> Unparker {
        Unparker(Who::Thread(thread::current()))
    }

    /// Ends the wait, or the next one.
    pub(crate) fn unpark(&self) {
        match &self.0 {
            Who::Thread(thread) => thread.unpark(),
        }
    }
}

/// Waits until it is unparked, the deadline has passed, or for no reason.
pub(crate) fn park(deadline: Option<Instant>) {
    match deadline {
        None => thread::park(),
        #[cfg(loom)]
        Some(_) => thread::yield_now(),
        #[cfg(not(loom))]
        Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}
