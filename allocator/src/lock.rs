//! The one lock of the allocator: three states in a word, and a futex to sleep on.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | 1 | held, nobody sleeps |
//! | 2 | held, somebody may sleep |
//!
//! Taking is `0 -> 1` (acquire). Who finds it taken spins briefly (sections are a few hundred instructions), then swaps in 2
//! and sleeps while it is 2; whoever gets the lock that way leaves it at 2, for others may sleep still. Releasing swaps in 0
//! (release) and wakes one sleeper if it was 2. The protocol is the well-known one of Drepper's 'Futexes are tricky'.
//!
//! Lock order, outermost first: heap registry, the pass of `reclaim.rs`, slab cache (class by class), bins, pages that are
//! being given back, zone, memblock; the extent table is taken alone. No lock is held while user code runs.
//!
//! A child of `fork` may not trust a lock that was held in the parent by another thread: `fork.rs` takes them all before.

use crate::os::futex;
use crate::sync::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const HELD_WAITED_FOR: u32 = 2;

/// How often a waiter looks again before it sleeps: about a microsecond, a few times the longest section.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

/// See the module's text.
pub(crate) struct Lock(AtomicU32);

impl Lock {
    /// A free lock.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Lock(AtomicU32::new(FREE))
    }

    /// A free lock.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Lock(AtomicU32::new(FREE))
    }

    /// Takes the lock until the guard is dropped.
    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_> {
        self.acquire();
        LockGuard(self)
    }

    /// Takes the lock if it is free.
    #[cfg(not(loom))]
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_>> {
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| LockGuard(self))
    }

    /// Takes the lock; the caller owes a [`Lock::release`].
    #[inline]
    pub(crate) fn acquire(&self) {
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.acquire_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slow(&self) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if self.0.load(Ordering::Relaxed) == FREE
                && self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
        }
        while self.0.swap(HELD_WAITED_FOR, Ordering::Acquire) != FREE {
            futex::wait(&self.0, HELD_WAITED_FOR);
        }
    }

    /// Gives the lock back. Only for its holder.
    #[inline]
    pub(crate) fn release(&self) {
        if self.0.swap(FREE, Ordering::Release) == HELD_WAITED_FOR {
            futex::wake_one(&self.0);
        }
    }
}

/// Holds a [`Lock`]; dropping it releases.
pub(crate) struct LockGuard<'a>(&'a Lock);

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}
