//! A lock for very short sections, which is waited for by spinning.
//!
//! Whoever holds it is not switched out (`crate::preempt`): a task that spins on the same core would wait for the holder,
//! which waits for the core. For the same reason nothing that waits may be called with the lock held; debug builds find it.
//! The kernel knows nothing of this and may take the core away from the holder, so who has spun for long lets the kernel run
//! something else. (Linux's `spin_lock`.)
//!
//! No poisoning: a panic while the lock is held releases it. No timeouts: who must be able to give up holds a [`Mutex`] instead.
//!
//! [`Mutex`]: super::Mutex

use crate::atomic::UnsafeCell;
use crate::preempt::{self, PreemptGuard};
#[cfg(not(loom))]
use crate::spin::{Spin as Held, SpinGuard as Holding};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A mutual exclusion lock that is waited for by spinning; whoever holds it is not preempted.
///
/// ```
/// use fairground_runtime::sync::SpinLock;
///
/// static HITS: SpinLock<u64> = SpinLock::new(0);
/// *HITS.lock() += 1;
/// assert_eq!(*HITS.lock(), 1);
/// ```
pub struct SpinLock<T: ?Sized> {
    held: Held<()>,
    /// Whoever set `held` may touch it.
    value: UnsafeCell<T>,
}

/// In models a lock that blocks: spinning threads would take turns for ever.
#[cfg(loom)]
struct Held<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
struct Holding<'a, T>(#[expect(dead_code)] loom::sync::MutexGuard<'a, T>);

#[cfg(loom)]
impl<T> Held<T> {
    fn new(value: T) -> Held<T> {
        Held(loom::sync::Mutex::new(value))
    }

    fn lock_quick(&self) -> Holding<'_, T> {
        Holding(self.0.lock().unwrap())
    }

    fn try_lock(&self) -> Option<Holding<'_, T>> {
        self.0.try_lock().ok().map(Holding)
    }
}

// SAFETY: the value is reached by one thread at a time.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}
// SAFETY: as above; a `&SpinLock` lets a thread take the value out, so `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}

/// Access to what a [`SpinLock`] protects, until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct SpinLockGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    /// Dropped before preemption is allowed again.
    _holding: Holding<'a, ()>,
    /// Makes the guard `!Send`.
    _preempt: PreemptGuard,
}

// SAFETY: a shared guard gives shared access to the value and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for SpinLockGuard<'_, T> {}

impl<T> SpinLock<T> {
    const_fn! {
        /// A lock that nobody holds.
        pub fn new(value: T) -> SpinLock<T> {
            SpinLock { held: Held::new(()), value: UnsafeCell::new(value) }
        }
    }

    /// The value, once nobody shares the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock, spinning until it is free.
    ///
    /// A thread that takes it twice spins for ever.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        let preempt = preempt::disable();
        SpinLockGuard { lock: self, _holding: self.held.lock_quick(), _preempt: preempt }
    }

    /// Takes the lock if it is free.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        let preempt = preempt::disable();
        let holding = self.held.try_lock()?;
        Some(SpinLockGuard { lock: self, _holding: holding, _preempt: preempt })
    }

    /// The value, as nobody shares the lock.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes every other access.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: ?Sized> Deref for SpinLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T: ?Sized> DerefMut for SpinLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> SpinLock<T> {
        SpinLock::new(T::default())
    }
}

impl<T> From<T> for SpinLock<T> {
    fn from(value: T) -> SpinLock<T> {
        SpinLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SpinLock");
        match self.try_lock() {
            Some(value) => out.field("value", &&*value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for SpinLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
