//! May the task that runs here be switched out? Not while it holds a spin lock.
//!
//! A count for each kernel thread says how many reasons there are against it: one for each spin lock held and for each
//! [`disable`]. Whoever spins for a lock relies on its holder running somewhere; a holder that was switched out on the same
//! core would never get to release it.
//!
//! The count is thread-local, and a task can go on on another kernel thread after it was switched out. So no address of a
//! thread-local may live longer than one access: each access is a whole read-modify-write in one function that is never
//! inlined. (A function that only returned the address would not do. LLVM sees that it has no effects, and calls it once.)
//!
//! In debug builds the place of the first reason is kept, so that `assert_may_sleep` can name it.

#[cfg(all(debug_assertions, not(loom)))]
use std::cell::Cell;
use std::marker::PhantomData;
#[cfg(all(debug_assertions, not(loom)))]
use std::panic::Location;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

#[cfg(not(loom))]
thread_local! {
    static COUNT: AtomicU32 = const { AtomicU32::new(0) };
    #[cfg(debug_assertions)]
    static PLACE: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Forbids switching until it is dropped. It stays with its kernel thread.
#[derive(Debug)]
#[must_use = "preemption is allowed again when this is dropped"]
pub struct PreemptGuard {
    /// The count belongs to the kernel thread: not `Send`.
    thread: PhantomData<*const ()>,
}

impl Drop for PreemptGuard {
    #[inline]
    fn drop(&mut self) {
        enable();
    }
}

/// Forbids that the task running here is switched out, until the guard is dropped. It nests.
///
/// While it is held, nothing may be called that waits; in debug builds that panics and names the place of this call.
///
/// ```
/// let guard = fairground_runtime::preempt::disable();
/// // No other task runs on this core now.
/// drop(guard);
/// ```
#[inline]
#[cfg_attr(debug_assertions, track_caller)]
pub fn disable() -> PreemptGuard {
    #[cfg(not(loom))]
    {
        let _before = add(1);
        #[cfg(debug_assertions)]
        if _before == 0 {
            remember(Location::caller());
        }
    }
    PreemptGuard { thread: PhantomData }
}

/// Takes one reason away. A tick that came meanwhile comes again soon (`kthread/tick.rs`).
#[inline]
fn enable() {
    #[cfg(not(loom))]
    add(u32::MAX);
}

/// Fairground's allocator is left alone while it holds a lock, whether it is the program's or only the scheduler's.
#[cfg(not(loom))]
pub(crate) fn tell_the_allocator() {
    use fairground_allocator::preempt::{Preemption, set};
    // A lock that was taken before somebody listened is released after.
    fn allow_if_forbidden() {
        if is_disabled() {
            allow();
        }
    }
    static PREEMPTION: Preemption = Preemption { forbid, allow: allow_if_forbidden };
    set(&PREEMPTION);
}

/// Is the task that runs here forbidden to be switched out?
pub fn is_disabled() -> bool {
    #[cfg(not(loom))]
    return add(0) > 0;
    // Under loom all model threads share one thread-local.
    #[cfg(loom)]
    false
}

/// Adds to the count, wrapping, and returns what it was.
#[cfg(not(loom))]
#[inline(never)]
fn add(change: u32) -> u32 {
    let before = COUNT.with(|count| add_to(count, change));
    if before == 0 && change == 1 {
        // A task that was blocked in the kernel may be without a cpu. Now it may still wait for one; with a lock it might not.
        crate::kthread::hand_over::ensure_cpu();
    }
    before
}

/// Not one locked instruction: a signal that comes in between leaves the count as it found it, and other threads only read.
#[cfg(not(loom))]
#[inline]
pub(crate) fn add_to(count: &AtomicU32, change: u32) -> u32 {
    // What the count protects stays between its two changes, in the eyes of a signal handler.
    compiler_fence(Ordering::SeqCst);
    let before = count.load(Ordering::Relaxed);
    // Release: who sees the count at zero may touch what it protected.
    count.store(before.wrapping_add(change), Ordering::Release);
    compiler_fence(Ordering::SeqCst);
    before
}

/// Where the calling thread's count is, for as long as the thread lives.
#[cfg(not(loom))]
#[inline(never)]
pub(crate) fn place_of_count() -> *const AtomicU32 {
    COUNT.with(|count| &raw const *count)
}

/// Without a guard: [`allow`] is owed, by the kernel thread that the task is on then.
#[inline]
pub(crate) fn forbid() {
    #[cfg(not(loom))]
    add(1);
}

/// Takes one reason away from the kernel thread that runs here.
#[inline]
pub(crate) fn allow() {
    enable();
}

#[cfg(not(loom))]
#[cfg(debug_assertions)]
#[inline(never)]
fn remember(place: &'static Location<'static>) {
    PLACE.with(|kept| kept.set(Some(place)));
}

/// Called by whatever is about to wait.
///
/// # Panics
///
/// In debug builds, if a spin lock is held or preemption is forbidden otherwise: nobody who spins for it would get further.
#[inline]
pub(crate) fn assert_may_sleep() {
    #[cfg(all(debug_assertions, not(loom)))]
    if is_disabled() {
        sleeping_slow();
    }
}

#[cfg(all(debug_assertions, not(loom)))]
#[cold]
#[inline(never)]
fn sleeping_slow() {
    let place = PLACE.with(Cell::get).map_or_else(|| "an unknown place".to_string(), ToString::to_string);
    let report = format!("sleeping with a spin lock held, or preemption forbidden otherwise, since {place}");
    // A second panic would end the process before the first is told.
    if crate::park::panicking() {
        eprintln!("{report}");
    } else {
        panic!("{report}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn preemption_is_forbidden_until_the_last_guard_goes() {
        assert!(!is_disabled());
        let outer = disable();
        let inner = disable();
        drop(outer);
        assert!(is_disabled());
        drop(inner);
        assert!(!is_disabled());
    }

    #[cfg(debug_assertions)]
    #[test]
    fn sleeping_with_preemption_forbidden_names_the_place() {
        let line = line!() + 1;
        let guard = disable();
        let report = std::panic::catch_unwind(|| crate::park::park(None)).unwrap_err();
        drop(guard);
        let text = report.downcast_ref::<String>().unwrap();
        assert!(text.contains(&format!("preempt.rs:{line}")), "{text}");
        assert!(text.starts_with("sleeping with a spin lock held"), "{text}");
    }
}
