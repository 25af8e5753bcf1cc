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
//! Lock order, outermost first: table of typed caches, heap registry, making of nodes, the pass of `reclaim.rs`, a heap's
//! sheaf lock, slab cache (class by class, then typed caches by number), bins, pages that are being given back, zone, memblock;
//! the extent table and the heap profile's are taken alone. No lock is held while user code runs.
//!
//! A program that preempts its own threads' work, as Fairground's runtime does, must not do so while they hold a lock: it is told (`preempt.rs`).
//!
//! A child of `fork` may not trust a lock that was held in the parent by another thread: `fork.rs` takes them all before.

use crate::os::futex;
use crate::preempt;
use crate::sync::{AtomicU32, Ordering};

const FREE: u32 = 0;
const HELD: u32 = 1;
const HELD_WAITED_FOR: u32 = 2;

/// How often a waiter looks again before it sleeps: about a microsecond, a few times the longest section.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

/// Whether a caller may sleep for a lock. A signal handler may not: the code it interrupted may hold it.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Wait,
    Try,
}

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

    /// Takes the lock, or says None at once if it is taken and the caller may not wait.
    #[cfg(not(loom))]
    pub(crate) fn lock_if(&self, patience: Patience) -> Option<LockGuard<'_>> {
        match patience {
            Patience::Wait => Some(self.lock()),
            Patience::Try => {
                preempt::forbid();
                let taken = self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_err() {
                    preempt::allow();
                }
                taken.ok().map(|_| LockGuard(self))
            }
        }
    }

    /// Takes the lock; the caller owes a [`Lock::release`].
    #[inline]
    pub(crate) fn acquire(&self) {
        preempt::forbid();
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
        preempt::allow();
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
