//! Mutual exclusion. One compare-and-swap takes a free lock and one releases it if nobody waits.
//!
//! The owner's bit of the queue's word is [`LOCKED`]. Who finds it set puts itself into the queue; who releases the lock and sees a
//! waiter wakes the first, with one of two messages:
//!
//! * [`RETRY`]: the lock is free, try again. Others may come first: a lock that is passed on while its next holder
//!   still wakes up stands still meanwhile, and every holder waits for a switch (the convoy).
//! * [`HANDED`]: the lock is yours. To a waiter that was woken once and came too late; it waits at the front of the queue.
//!
//! So a waiter at the front is overtaken in one holding at most, and nobody starves. No clock is needed to know who waited for long
//! (`parking_lot` hands over after half a millisecond on average).
//!
//! Who unwinds while it waits passes on what it was woken for: a lock that was handed over is released, and after [`RETRY`] another
//! is woken if the lock is still free.

use super::poison::{Before, Poison};
use super::wait_queue::{Wait, WaitQueue, Wake};
use crate::atomic::{Ordering, UnsafeCell};
use crate::park::{checkpoint, deadline_after};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

const LOCKED: u64 = 1;

/// Messages.
const RETRY: usize = 0;
const HANDED: usize = 1;

/// Tags.
const NEW: u32 = 0;
const OVERTAKEN: u32 = 1;

/// A mutual exclusion lock for tasks and threads, in the shape of [`std::sync::Mutex`].
///
/// Whoever waits for it lets others run. It may be held while its task waits for something else.
///
/// ```
/// use fairground_runtime::sync::Mutex;
/// use std::sync::Arc;
///
/// let total = Arc::new(Mutex::new(0));
/// let adders: Vec<_> = (1..=3)
///     .map(|n| {
///         let total = total.clone();
///         std::thread::spawn(move || *total.lock().unwrap() += n)
///     })
///     .collect();
/// adders.into_iter().for_each(|adder| adder.join().unwrap());
/// assert_eq!(*total.lock().unwrap(), 6);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Poison,
    /// Whoever holds `raw` may touch it.
    value: UnsafeCell<T>,
}

/// The lock without what it protects.
pub(super) struct RawMutex {
    queue: WaitQueue,
}

impl RawMutex {
    const_fn! {
        fn new() -> RawMutex {
            RawMutex { queue: WaitQueue::new(0, ()) }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Free and nobody waits; or, in the slow path, somebody does.
        self.queue.word().compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.try_lock_slow()
    }

    #[cold]
    #[inline(never)]
    fn try_lock_slow(&self) -> bool {
        let word = self.queue.word();
        let mut now = word.load(Ordering::Relaxed);
        while now & LOCKED == 0 {
            match word.compare_exchange_weak(now, now | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        false
    }

    /// `false`: not before the deadline.
    #[inline]
    fn lock(&self, deadline: Option<Instant>) -> bool {
        self.queue.word().compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.lock_slow(deadline)
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, deadline: Option<Instant>) -> bool {
        checkpoint();
        let mut how = Wait { deadline, tag: NEW, at_front: false };
        loop {
            if self.try_lock_slow() {
                return true;
            }
            match self.queue.wait(how, |word, ()| word & LOCKED != 0, |message| self.withdrawn(message)) {
                Wake::Woken(HANDED) => return true,
                Wake::Woken(_) => how = Wait { deadline, tag: OVERTAKEN, at_front: true },
                Wake::Needless => {}
                Wake::TimedOut => return false,
            }
        }
    }

    #[inline]
    pub(super) fn unlock(&self) {
        if self.queue.word().compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        let mut queue = self.queue.lock();
        let woken = if queue.front() == Some(OVERTAKEN) {
            queue.wake_front(Some(HANDED))
        } else {
            // First the lock, then the waiter: it must find it free, unless somebody else took it.
            self.queue.word().fetch_and(!LOCKED, Ordering::Release);
            queue.wake_front(Some(RETRY))
        };
        drop(queue);
        if let Some(unparker) = woken {
            unparker.unpark();
        }
        checkpoint();
    }

    /// A waiter left unwinding.
    fn withdrawn(&self, message: Option<usize>) {
        match message {
            None => {}
            Some(HANDED) => self.unlock(),
            Some(_) => {
                let mut queue = self.queue.lock();
                // Whoever holds it will wake the next.
                let free = self.queue.word().load(Ordering::Relaxed) & LOCKED == 0;
                let woken = if free { queue.wake_front(Some(RETRY)) } else { None };
                drop(queue);
                if let Some(unparker) = woken {
                    unparker.unpark();
                }
            }
        }
    }
}

// SAFETY: the value is reached by one thread at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above; a `&Mutex` lets a thread take the value out, so `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// Access to what a [`Mutex`] protects, until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    before: Before,
    /// As the standard library's: not `Send`.
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A lock that nobody holds.
        pub fn new(value: T) -> Mutex<T> {
            Mutex { raw: RawMutex::new(), poison: Poison::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, once nobody shares the lock.
    ///
    /// # Errors
    /// The lock is poisoned; the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.poison.is_set();
        let value = self.value.into_inner();
        if poisoned { Err(PoisonError::new(value)) } else { Ok(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.check(MutexGuard { lock: self, before: self.poison.before(), thread: PhantomData })
    }

    /// Waits for the lock. Who holds it already waits for ever.
    ///
    /// # Errors
    /// The lock is poisoned: a holder unwound. The guard is in the error.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(None);
        self.guard()
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// `WouldBlock`: it is held. `Poisoned`: as [`Mutex::lock`].
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Waits for the lock for some time.
    ///
    /// # Errors
    /// `WouldBlock`: it was held all the time. `Poisoned`: as [`Mutex::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() { Ok(self.guard()?) } else { self.lock_deadline(deadline_after(timeout)) }
    }

    /// Waits for the lock until some time.
    ///
    /// # Errors
    /// As [`Mutex::lock_timeout`].
    pub fn lock_until(&self, deadline: Instant) -> TryLockResult<MutexGuard<'_, T>> {
        self.lock_deadline(Some(deadline))
    }

    fn lock_deadline(&self, deadline: Option<Instant>) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.lock(deadline) { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Did a holder unwind?
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Declares that the value is in order again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, as nobody shares the lock.
    ///
    /// # Errors
    /// The lock is poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        // SAFETY: `&mut self` excludes every other access.
        let value = self.value.with_mut(|value| unsafe { &mut *value });
        self.poison.check(value)
    }
}

/// The lock of a guard, for a `Condvar`.
pub(super) fn of_guard<'a, T: ?Sized>(guard: &MutexGuard<'a, T>) -> &'a Mutex<T> {
    guard.lock
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.after(self.before);
        self.lock.raw.unlock();
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.poison.is_set()).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
