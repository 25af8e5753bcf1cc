//! Ending a task from outside: its next suspension point unwinds, so that what is on its stack is dropped.
//!
//! The unwinding is a panic with a payload of our own and without the panic hook's message. A task that catches it meets it again at
//! its next suspension point. While a task unwinds, for this reason or another, suspension points do not unwind again: what is
//! dropped may wait.

use crate::task::task::TaskStruct;

/// What a cancelled task's stack unwinds with.
pub(crate) struct Cancelled;

impl TaskStruct {
    /// By anybody: the task ends at its next suspension point, at once if it has not started.
    pub(crate) fn cancel(&self) {
        self.state.cancel();
        self.unpark();
    }

    /// By the task itself, at each suspension point.
    #[inline]
    pub(crate) fn end_if_cancelled(&self) {
        if self.state.is_cancelled() {
            unwind();
        }
    }
}

#[cold]
#[inline(never)]
fn unwind() {
    if !std::thread::panicking() {
        std::panic::resume_unwind(Box::new(Cancelled));
    }
}
