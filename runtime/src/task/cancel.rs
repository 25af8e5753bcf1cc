//! Ending a task from outside: its next suspension point unwinds, so that what is on its stack is dropped.
//!
//! The unwinding is a panic with a payload of our own and without the panic hook's message. A task that catches it meets it again at
//! its next suspension point. While a task unwinds, for this reason or another, suspension points do not unwind again: what is
//! dropped may wait.
//!
//! Who must wait for something's end before it may unwind does not wait in a destructor: it catches the panic, waits in [`shielded`], and resumes the
//! panic. For while a task waits as it unwinds, others that run on its kernel thread count as panicking, which is the thread's in std's eyes, and
//! do not unwind either when they are cancelled.

use crate::atomic::Ordering;
use crate::cpu::current;
use crate::task::task::{TaskRef, TaskStruct};

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
            self.unwind();
        }
    }

    #[cold]
    #[inline(never)]
    fn unwind(&self) {
        if !self.shielded.load(Ordering::Relaxed) && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Cancelled));
        }
    }
}

/// Runs `f`, in which suspension points do not unwind.
pub(crate) fn shielded<T>(f: impl FnOnce() -> T) -> T {
    struct Shield(Option<TaskRef>, bool);
    impl Drop for Shield {
        fn drop(&mut self) {
            if let Some(task) = &self.0 {
                task.shielded.store(self.1, Ordering::Relaxed);
            }
        }
    }
    let task = current();
    let before = task.as_ref().is_some_and(|task| task.shielded.swap(true, Ordering::Relaxed));
    let _shield = Shield(task, before);
    f()
}
