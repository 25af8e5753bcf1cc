//! Sleeping and waking on a word of memory (`futex(2)`).
//!
//! Spurious wake-ups are allowed; callers loop. A kernel or a sandbox that refuses the call turns waiting into yielding
//! the processor, never into an error.

use crate::sync::AtomicU32;

/// Sleeps while `*word == expected`. May return at any time.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, expected: u32) {
    const FUTEX_WAIT_PRIVATE: usize = 128;
    // SAFETY: the word is alive for the call; a null timeout means no timeout.
    let r = unsafe {
        crate::arch::syscall6(
            libc::SYS_futex as usize,
            [word.as_ptr() as usize, FUTEX_WAIT_PRIVATE, expected as usize, 0, 0, 0],
        )
    };
    if r == -(libc::ENOSYS as isize) || r == -(libc::EPERM as isize) {
        core::hint::spin_loop();
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
