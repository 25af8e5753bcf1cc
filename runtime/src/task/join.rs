//! Waiting for a task's end, and what it ended with.

use super::cancel::Cancelled;
use super::handle::Task;
use super::task::{Joiner, Outcome, TaskRef};
use crate::park::{Unparker, park};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A task's end, to wait for: what [`spawn()`](crate::spawn()) returns. Also a future.
///
/// Dropping it lets the task go on by itself, as with threads.
pub struct JoinHandle<T> {
    task: TaskRef,
    result: PhantomData<fn() -> T>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    /// The task was made with result type `T`, and this is its only joiner.
    pub(crate) unsafe fn new(task: TaskRef) -> JoinHandle<T> {
        JoinHandle { task, result: PhantomData }
    }

    /// Waits for the task's end; its result, or why there is none.
    ///
    /// # Errors
    /// The task panicked, or was cancelled.
    ///
    /// # Examples
    /// ```
    /// let task = fairground_runtime::spawn(|| 6 * 7);
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        self.wait(None);
        self.take()
    }

    /// Waits for the task's end, for a time. The handle comes back if the task goes on.
    ///
    /// # Errors
    /// The time is over.
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        // A time that no clock can reach is no limit.
        self.wait(Instant::now().checked_add(timeout));
        if self.is_finished() { Ok(self.take()) } else { Err(self) }
    }

    /// True once the task has ended: `join` returns at once.
    pub fn is_finished(&self) -> bool {
        self.task.state.is_dead()
    }

    /// The task, to look at or to steer.
    pub fn task(&self) -> Task {
        Task::new(self.task.clone())
    }

    /// Ends the task at its next suspension point: see [`Task::cancel`].
    pub fn cancel(&self) {
        self.task.cancel();
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        if self.is_finished() {
            return;
        }
        let waiting = Waiting::new(self, Joiner::Parked(Unparker::current()));
        while !waiting.0.is_finished() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            park(deadline);
        }
    }

    fn take(&self) -> Result<T, JoinError> {
        // SAFETY: dead, made with this result type, and this is the only joiner.
        match unsafe { self.task.take_result::<T>() } {
            Some(outcome) => JoinError::from(outcome),
            // Only `poll` can come here: the handle is used up by all else.
            None => panic!("a JoinHandle was polled after it was ready"),
        }
    }
}

/// Who waits is known to the task's end, until this is dropped: at the end of the wait, or because it unwinds.
struct Waiting<'a, T>(&'a JoinHandle<T>);

impl<'a, T> Waiting<'a, T> {
    fn new(handle: &'a JoinHandle<T>, joiner: Joiner) -> Waiting<'a, T> {
        // A future that was polled before may have left its waker.
        if handle.task.clear_joiner() {
            handle.task.set_joiner(joiner);
        }
        Waiting(handle)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.task.clear_joiner();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pending = !self.is_finished()
            && self.task.clear_joiner()
            && self.task.set_joiner(Joiner::Future(context.waker().clone()));
        if pending { Poll::Pending } else { Poll::Ready(self.take()) }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.clear_joiner();
        if !self.task.state.detach() {
            // SAFETY: dead, and this is the only joiner.
            unsafe { self.task.drop_result() };
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("task", &self.task()).finish()
    }
}

/// Why a task has no result.
pub struct JoinError(Option<Box<dyn Any + Send>>);

impl JoinError {
    fn from<T>(outcome: Outcome<T>) -> Result<T, JoinError> {
        outcome.map_err(|payload| match payload.downcast::<Cancelled>() {
            Ok(_) => JoinError(None),
            Err(panic) => JoinError(Some(panic)),
        })
    }

    /// The task was cancelled, by a handle or because the runtime ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_none()
    }

    /// The task panicked.
    pub fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    /// What the task panicked with, as from [`std::thread::JoinHandle::join`]; the error itself if it did not panic.
    ///
    /// # Errors
    /// The task was cancelled.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        self.0.ok_or(JoinError(None))
    }

    fn message(&self) -> Option<&str> {
        let payload = self.0.as_deref()?;
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0, self.message()) {
            (None, _) => f.write_str("the task was cancelled"),
            (Some(_), Some(message)) => write!(f, "the task panicked: {message}"),
            (Some(_), None) => f.write_str("the task panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
