//! Waiting for a condition under a [`Mutex`], as with [`std::sync::Condvar`].
//!
//! A waiter is in the queue before it releases the mutex, so whoever takes the mutex afterwards, makes the condition true and
//! notifies, finds it. A waiter that unwinds after it was woken wakes another. It holds the mutex no longer then: its guard is gone.

use super::mutex::{self, Mutex, MutexGuard};
use super::wait_queue::{Wait, WaitQueue, Wake};
use crate::park::deadline_after;
use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

/// Lets tasks and threads wait for a condition that a [`Mutex`] protects, in the shape of [`std::sync::Condvar`].
///
/// ```
/// use fairground_runtime::sync::{Condvar, Mutex};
/// use std::sync::Arc;
///
/// let ready = Arc::new((Mutex::new(false), Condvar::new()));
/// let other = ready.clone();
/// let thread = std::thread::spawn(move || {
///     *other.0.lock().unwrap() = true;
///     other.1.notify_one();
/// });
/// let guard = ready.1.wait_while(ready.0.lock().unwrap(), |ready| !*ready).unwrap();
/// assert!(*guard);
/// # thread.join().unwrap();
/// ```
pub struct Condvar {
    queue: WaitQueue,
}

/// Whether a wait ended because its time was over, in the shape of [`std::sync::WaitTimeoutResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// The time was over before a notification came.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_fn! {
        /// One that nobody waits for.
        pub fn new() -> Condvar {
            Condvar { queue: WaitQueue::new(0, ()) }
        }
    }

    /// Releases the mutex, waits to be notified and takes the mutex again. Ask the condition again afterwards: somebody else may have
    /// been first.
    ///
    /// # Errors
    /// The mutex is poisoned; its guard is in the error.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_deadline(guard, None).0
    }

    /// Waits as long as the condition holds.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`Condvar::wait`], for some time.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.with_result(guard, deadline_after(timeout))
    }

    /// As [`Condvar::wait`], until some time.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.with_result(guard, Some(deadline))
    }

    /// Waits as long as the condition holds, for some time. Timed out means that it still holds.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline = deadline_after(timeout);
        let mut timed_out = false;
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (next, result) = self.with_result(guard, deadline)?;
            (guard, timed_out) = (next, result.timed_out());
        }
    }

    /// Wakes who waits longest. Cheap if nobody does.
    #[inline]
    pub fn notify_one(&self) {
        self.queue.wake_one();
    }

    /// Wakes all who wait.
    #[inline]
    pub fn notify_all(&self) {
        self.queue.wake_all();
    }

    fn with_result<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, result) = self.wait_deadline(guard, deadline);
        match guard {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (LockResult<MutexGuard<'a, T>>, WaitTimeoutResult) {
        let mutex: &'a Mutex<T> = mutex::of_guard(&guard);
        let withdrawn = |message: Option<usize>| {
            if message.is_some() {
                self.notify_one();
            }
        };
        // In the queue, before the mutex is free.
        let wake = self.queue.wait_after(Wait::until(deadline), || drop(guard), withdrawn);
        (mutex.lock(), WaitTimeoutResult(wake == Wake::TimedOut))
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
