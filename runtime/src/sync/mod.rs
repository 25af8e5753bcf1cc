//! Locks and other ways to wait for each other, for tasks and plain threads alike.
//!
//! Names and shapes are the standard library's where it has them, its errors included. A task that waits lets others run on its
//! core; a plain thread sleeps. Every operation that waits has a variant that tries, one with a timeout and one with a deadline.
//!
//! All stand on `wait_queue`: an intrusive queue of waiters that live on the stacks of those who wait, so waiting never allocates.
//! A task that is cancelled while it waits leaves its queue, and what it was woken for goes to the next.

mod condvar;
#[cfg(all(loom, test))]
mod models;
mod mutex;
mod poison;
mod semaphore;
mod spin_lock;
pub(crate) mod wait_queue;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use semaphore::{Semaphore, SemaphorePermit, TooManyPermits};
pub use spin_lock::{SpinLock, SpinLockGuard};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
