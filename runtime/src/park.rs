//! The one way to wait and to wake, for tasks and plain threads alike.
//!
//! Whoever waits takes an [`Unparker`] of itself, leaves it where its waker will find it, looks once more whether it must wait,
//! and calls [`park`]. As with `std::thread::park`, a wake-up that comes first is kept (one, not several), and `park` may return
//! without one: callers look at their own condition in a loop.
//!
//! In a cancelled task `park` unwinds. Whoever waits leaves nothing behind on its stack that a waker could come across.
//!
//! Memory ordering: what happened before `unpark` is visible after the `park` that it ends.

use crate::atomic::thread;
#[cfg(not(loom))]
use crate::parker::ParkerRef;
#[cfg(not(loom))]
use crate::task::task::TaskRef;
use std::time::{Duration, Instant};

/// Wakes the task or thread it was made in.
#[derive(Clone, Debug)]
pub(crate) struct Unparker(Who);

#[derive(Clone, Debug)]
enum Who {
    #[cfg(not(loom))]
    Task(TaskRef),
    #[cfg(not(loom))]
    Thread(ParkerRef),
    #[cfg(loom)]
    Thread(thread::Thread),
}

impl Unparker {
    /// Of the task that runs here, else of the kernel thread.
    pub(crate) fn current() -> Unparker {
        #[cfg(not(loom))]
        if let Some(task) = crate::cpu::current() {
            return Unparker(Who::Task(task));
        }
        #[cfg(not(loom))]
        return Unparker(Who::Thread(ParkerRef::current()));
        #[cfg(loom)]
        Unparker(Who::Thread(thread::current()))
    }

    /// Ends the wait, or the next one.
    pub(crate) fn unpark(&self) {
        match &self.0 {
            #[cfg(not(loom))]
            Who::Task(task) => task.unpark(),
            Who::Thread(thread) => thread.unpark(),
        }
    }
}

/// Waits until it is unparked, the deadline has passed, or for no reason.
///
/// # Panics
/// Unwinds in a cancelled task. In debug builds, if a spin lock is held.
pub(crate) fn park(deadline: Option<Instant>) {
    crate::preempt::assert_may_sleep();
    #[cfg(all(test, not(loom)))]
    cancellation::strike();
    #[cfg(not(loom))]
    if crate::cpu::current_task().is_some() {
        return crate::cpu::suspend::park(deadline);
    }
    #[cfg(not(loom))]
    ParkerRef::current().park(deadline);
    #[cfg(loom)]
    match deadline {
        None => thread::park(),
        Some(_) => thread::yield_now(),
    }
}

/// Before a wait that may be over soon: lets others of this cpu run, or spins for some microseconds if somebody runs elsewhere. True if `over` says so; then
/// nobody needs to be woken, which costs more than all this.
///
/// # Panics
/// Unwinds in a cancelled task.
#[inline]
pub(crate) fn linger(over: impl Fn() -> bool) -> bool {
    #[cfg(not(loom))]
    return crate::cpu::suspend::linger(over);
    // In models nothing is gained by looking twice.
    #[cfg(loom)]
    {
        let _ = over;
        false
    }
}

/// Lets other tasks of this cpu run, if it is their turn.
///
/// # Panics
/// Unwinds in a cancelled task.
#[cfg(not(loom))]
#[inline]
pub(crate) fn yield_now() {
    if !crate::cpu::suspend::yield_now() {
        thread::yield_now();
    }
}

/// The deadline of a timeout that begins now; none if it lies beyond all clocks.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Has the deadline passed? In a model every deadline has, by the time somebody asks.
pub(crate) fn has_passed(deadline: Option<Instant>) -> bool {
    match deadline {
        None => false,
        #[cfg(loom)]
        Some(_) => true,
        #[cfg(not(loom))]
        Some(deadline) => Instant::now() >= deadline,
    }
}

/// A place in an operation that may never wait, where a task that has run for long enough gives way to others.
#[inline]
pub(crate) fn checkpoint() {
    #[cfg(not(loom))]
    crate::cpu::suspend::checkpoint();
}

/// Does the task that runs here unwind?
#[inline]
pub(crate) fn panicking() -> bool {
    std::thread::panicking()
}

/// In tests: unwinding out of [`park`], as a cancelled task does.
#[cfg(all(test, not(loom)))]
pub(crate) mod cancellation {
    use std::cell::Cell;

    thread_local! {
        static NEXT: Cell<bool> = const { Cell::new(false) };
    }

    /// What a test's cancelled thread unwinds with.
    struct Cancelled;

    /// Runs `f`; its first `park` unwinds. Tells whether one did.
    pub(crate) fn unwinds(f: impl FnOnce()) -> bool {
        NEXT.set(true);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        NEXT.set(false);
        match result {
            Ok(()) => false,
            Err(payload) if payload.is::<Cancelled>() => true,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }

    pub(super) fn strike() {
        if NEXT.replace(false) {
            std::panic::resume_unwind(Box::new(Cancelled));
        }
    }
}

/// In models nothing really unwinds, as all threads of a model share one count of panics: a queue that is told so acts as if, and
/// reports that the deadline passed.
#[cfg(all(test, loom))]
pub(crate) mod cancellation {
    use std::cell::Cell;

    loom::thread_local! {
        static NEXT: Cell<bool> = Cell::new(false);
    }

    /// Runs `f`; its first wait, which must have a deadline, ends as by unwinding. Tells whether one did.
    pub(crate) fn unwinds(f: impl FnOnce()) -> bool {
        NEXT.with(|next| next.set(true));
        f();
        !NEXT.with(|next| next.replace(false))
    }

    pub(crate) fn strikes() -> bool {
        NEXT.with(|next| next.replace(false))
    }
}
