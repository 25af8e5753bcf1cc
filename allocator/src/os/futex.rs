//! Sleeping and waking on a word of memory (`futex(2)`).
//!
//! Spurious wake-ups are allowed; callers loop. A kernel or a sandbox that refuses the call turns waiting into yielding
//! the processor, never into an error.
//!
//! A sandbox may be one thread's alone (seccomp filters are), and then the wake-up that is refused is for a thread that sleeps
//! outside of it. So no sleep is without end, but that of a thread nobody waits for: after [`PATIENCE`] a sleeper looks again by
//! itself.

use crate::sync::AtomicU32;

/// Nanoseconds of a sleep at most: ten thousand times the longest section under a lock, so it hardly ever ends that way
/// while wake-ups arrive; short enough that a thread which gets none makes progress.
#[cfg(not(loom))]
const PATIENCE: i64 = 10_000_000;

/// Sleeps while `*word == expected`, until it is woken or `patience` ends. May return at any time.
#[cfg(not(loom))]
fn sleep(word: &AtomicU32, expected: u32, patience: Option<&libc::timespec>) -> isize {
    const FUTEX_WAIT_PRIVATE: usize = 128;
    let patience = patience.map_or(0, |time| core::ptr::from_ref(time).addr());
    // SAFETY: the word and the time, null for none, are alive for the call.
    unsafe {
        crate::arch::syscall6(
            libc::SYS_futex as usize,
            [word.as_ptr() as usize, FUTEX_WAIT_PRIVATE, expected as usize, patience, 0, 0],
        )
    }
}

/// Sleeps while `*word == expected`, without end, for a thread that nobody waits for. May return at any time; false if there is
/// no such sleep here.
#[cfg(not(loom))]
pub(crate) fn rest(word: &AtomicU32, expected: u32) -> bool {
    let r = sleep(word, expected, None);
    r != -(libc::ENOSYS as isize) && r != -(libc::EPERM as isize)
}

/// Sleeps while `*word == expected`. May return at any time.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    let r = sleep(word, expected, Some(&libc::timespec { tv_sec: 0, tv_nsec: PATIENCE }));
    if r == -(libc::ENOSYS as isize) || r == -(libc::EPERM as isize) {
        // The one call besides the list of `docs/architecture.md`, made only where one of the list has been refused: spinning
        // instead would take the processor from the thread that is waited for.
        // SAFETY: no arguments, no memory.
        unsafe { crate::arch::syscall6(libc::SYS_sched_yield as usize, [0; 6]) };
    }
}

/// Wakes one sleeper on `word`.
#[cfg(not(loom))]
pub(crate) fn wake_one(word: &AtomicU32) {
    const FUTEX_WAKE_PRIVATE: usize = 129;
    // SAFETY: waking reads nothing but the address.
    unsafe {
        crate::arch::syscall6(libc::SYS_futex as usize, [word.as_ptr() as usize, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0]);
    }
}

#[cfg(loom)]
loom::lazy_static! {
    static ref QUEUE: (loom::sync::Mutex<()>, loom::sync::Condvar) =
        (loom::sync::Mutex::new(()), loom::sync::Condvar::new());
}

/// The model of `FUTEX_WAIT`: comparing and falling asleep are one step with respect to `wake_one`.
#[cfg(loom)]
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    let queue = QUEUE.0.lock().unwrap();
    if word.load(core::sync::atomic::Ordering::SeqCst) == expected {
        drop(QUEUE.1.wait(queue).unwrap());
    }
}

/// The model of `FUTEX_WAKE`; waking all is a superset of waking one, for spurious wake-ups are allowed.
#[cfg(loom)]
pub(crate) fn wake_one(_word: &AtomicU32) {
    let _queue = QUEUE.0.lock().unwrap();
    QUEUE.1.notify_all();
}
