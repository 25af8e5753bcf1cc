//! What a program that preempts its own work is told: not now. Fairground's runtime switches tasks at any instruction, by a signal; what
//! it interrupts while a lock of the allocator is held could not go on before the scheduler has run, which may need that lock.
//!
//! Without such a program it is one load and one branch for each lock, which no hot path takes.

use core::sync::atomic::{AtomicPtr, Ordering};

/// What is called before a lock is taken, and after it was released. Neither may allocate, nor wait.
#[derive(Clone, Copy, Debug)]
pub struct Preemption {
    /// The calling thread goes on undisturbed until `allow`; they nest.
    pub forbid: fn(),
    /// Takes one `forbid` back.
    pub allow: fn(),
}

static PREEMPTION: AtomicPtr<Preemption> = AtomicPtr::new(core::ptr::null_mut());

/// From now on `preemption` is told, for the rest of the process's life. No thread that it is about may be in the allocator.
///
/// # Examples
/// ```
/// use fairground_allocator::preempt::{Preemption, set};
///
/// static NOTHING: Preemption = Preemption { forbid: || (), allow: || () };
/// set(&NOTHING);
/// ```
pub fn set(preemption: &'static Preemption) {
    PREEMPTION.store((&raw const *preemption).cast_mut(), Ordering::Release);
}

#[inline]
pub(crate) fn forbid() {
    // SAFETY: null, or a `&'static`.
    if let Some(preemption) = unsafe { PREEMPTION.load(Ordering::Acquire).as_ref() } {
        (preemption.forbid)();
    }
}

#[inline]
pub(crate) fn allow() {
    // SAFETY: as above.
    if let Some(preemption) = unsafe { PREEMPTION.load(Ordering::Acquire).as_ref() } {
        (preemption.allow)();
    }
}
