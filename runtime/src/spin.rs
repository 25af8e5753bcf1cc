//! The lock of the scheduler's own data: held for a few instructions, with preemption off, never over a switch, and with nothing allocated from
//! the program's allocator meanwhile (a task that was preempted may hold a lock of that, and never get to run if the scheduler waits for it).
//!
//! A waiter spins and, because the kernel may have taken the holder's core away, soon lets the kernel run another thread.
//! Order of locks: a cpu's timers, then a cpu's run queue; never two of one kind, but for the run queues of two cpus in
//! `cpu/balance.rs`, which are taken by rising index.

use crate::atomic::{AtomicBool, Ordering, UnsafeCell, spin_loop, thread};
use std::ops::{Deref, DerefMut};

/// Rounds of spinning before the kernel is asked to run somebody else: about a microsecond, ten times what a holder needs.
const SPINS: u32 = if cfg!(loom) { 1 } else { 64 };

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Spin<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only by the holder of the lock, so it is handed from thread to thread (`T: Send`).
unsafe impl<T: Send> Sync for Spin<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Spin<T> {}

impl<T> Spin<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: T) -> Spin<T> {
        Spin { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[cfg(loom)]
    pub(crate) fn new(value: T) -> Spin<T> {
        Spin { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        crate::preempt::forbid();
        if !self.take() {
            self.lock_slow();
        }
        SpinGuard { lock: self, forbids: true }
    }

    /// By who has preemption off already, and keeps it off.
    #[inline]
    pub(crate) fn lock_quick(&self) -> SpinGuard<'_, T> {
        if !self.take() {
            self.lock_slow();
        }
        SpinGuard { lock: self, forbids: false }
    }

    /// None if somebody has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        crate::preempt::forbid();
        if !self.locked.load(Ordering::Relaxed) && self.take() {
            return Some(SpinGuard { lock: self, forbids: true });
        }
        crate::preempt::allow();
        None
    }

    /// By comparing: a swap would store `true` again where it fails, which in a model may come to lie behind the holder's `false`.
    #[inline]
    fn take(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self) {
        let mut round = 0;
        loop {
            while self.locked.load(Ordering::Relaxed) {
                round += 1;
                if round == SPINS {
                    round = 0;
                    thread::yield_now();
                } else {
                    spin_loop();
                }
            }
            if self.take() {
                return;
            }
        }
    }
}

/// The lock is held as long as this lives.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a Spin<T>,
    /// Preemption is off because of it.
    forbids: bool,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only way to the value while it lives, and it is borrowed.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed exclusively.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
        if self.forbids {
            crate::preempt::allow();
        }
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::atomic::Arc;

    #[test]
    fn one_at_a_time() {
        loom::model(|| {
            let sum = Arc::new(Spin::new(0));
            let other = sum.clone();
            let adder = thread::spawn(move || *other.lock() += 1);
            *sum.lock() += 1;
            adder.join().expect("no panic");
            assert_eq!(*sum.lock(), 2);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_fails_does_not_unlock() {
        let lock = Spin::new(1);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(lock.try_lock().is_none(), "the first one let go of what it did not hold");
        drop(held);
        assert_eq!(lock.try_lock().map(|value| *value), Some(1));
    }
}
