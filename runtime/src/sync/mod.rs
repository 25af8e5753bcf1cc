//! Locks and other ways to wait for each other, for tasks and plain threads alike.
//!
//! Names and shapes are the standard library's where it has them, its errors included. A task that waits lets others run on its
//! core; a plain thread sleeps. What waits has a variant that tries, one with a timeout and one with a deadline (but for
//! [`SpinLock`] and [`SeqLock`], which never sleep).
//!
//! All stand on `wait_queue`: an intrusive queue of waiters that live on the stacks of those who wait, so waiting never allocates.
//! A task that is cancelled while it waits leaves its queue, and what it was woken for goes to the next.

mod barrier;
mod condvar;
#[cfg(all(loom, test))]
mod models;
mod mutex;
mod once;
mod once_lock;
mod poison;
mod rwlock;
mod semaphore;
mod seq_lock;
mod spin_lock;
#[cfg(all(test, not(loom)))]
mod unwinding;
mod wait_group;
pub(crate) mod wait_queue;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::{LazyLock, OnceLock};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit, TooManyPermits};
pub use seq_lock::SeqLock;
pub use spin_lock::{SpinLock, SpinLockGuard};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use wait_group::WaitGroup;
