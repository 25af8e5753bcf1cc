//! A lock is poisoned if its holder unwound: what it protects may be half changed. As in the standard library.

use crate::atomic::{AtomicBool, Ordering};
use crate::park::panicking;
use std::sync::{LockResult, PoisonError};

pub(super) struct Poison {
    /// Read and written by holders of the lock, which orders it; by others as a hint.
    poisoned: AtomicBool,
}

/// What a guard remembers: did its holder unwind already when it took the lock?
#[derive(Clone, Copy)]
pub(super) struct Before(bool);

impl Poison {
    const_fn! {
        pub(super) fn new() -> Poison {
            Poison { poisoned: AtomicBool::new(false) }
        }
    }

    #[inline]
    pub(super) fn before(&self) -> Before {
        Before(panicking())
    }

    /// The holder lets go.
    #[inline]
    pub(super) fn after(&self, before: Before) {
        if !before.0 && panicking() {
            self.poisoned.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn check<G>(&self, guard: G) -> LockResult<G> {
        if self.is_set() { Err(PoisonError::new(guard)) } else { Ok(guard) }
    }
}
