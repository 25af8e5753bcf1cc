//! The word that a kernel thread sleeps on: a wake-up that comes first is kept, once.

use crate::atomic::{AtomicU32, Ordering};

const EMPTY: u32 = 0;
const WOKEN: u32 = 1;
const SLEEPING: u32 = 2;

/// See the module's text. Raw system calls only: it is used in a signal handler.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) fn new() -> Word {
        Word(AtomicU32::new(EMPTY))
    }

    /// Ends the sleep, or the next one.
    pub(crate) fn wake(&self) {
        if self.0.swap(WOKEN, Ordering::AcqRel) == SLEEPING {
            futex(&self.0, libc::FUTEX_WAKE, 1, None);
        }
    }

    /// Sleeps until it is woken. By one thread only.
    pub(crate) fn sleep(&self) {
        while !self.sleep_once(None) {}
    }

    /// Sleeps until it is woken, or for a time; true if it was woken. By one thread only.
    #[cfg(not(loom))]
    pub(crate) fn sleep_for(&self, time: std::time::Duration) -> bool {
        let time = libc::timespec { tv_sec: time.as_secs() as libc::time_t, tv_nsec: time.subsec_nanos().into() };
        self.sleep_once(Some(&time)) || self.is_woken()
    }

    /// Nobody uses it.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self) {
        self.0.store(EMPTY, Ordering::Relaxed);
    }

    fn is_woken(&self) -> bool {
        self.0.compare_exchange(WOKEN, EMPTY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn sleep_once(&self, time: Option<&libc::timespec>) -> bool {
        if self.is_woken() {
            return true;
        }
        let _ = self.0.compare_exchange(EMPTY, SLEEPING, Ordering::AcqRel, Ordering::Relaxed);
        futex(&self.0, libc::FUTEX_WAIT, SLEEPING, time);
        false
    }
}

/// Errors need no answer: the word says whether to go on.
#[cfg(not(loom))]
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32, time: Option<&libc::timespec>) {
    let time = time.map_or(std::ptr::null(), |time| &raw const *time);
    // SAFETY: a word that exists; a time that is read, or none; no second word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, time) };
}

/// In models a sleeper spins, so that loom sees a wake-up that is lost as a loop without end.
#[cfg(loom)]
fn futex(_: &AtomicU32, operation: libc::c_int, _: u32, _: Option<&libc::timespec>) {
    if operation == libc::FUTEX_WAIT {
        loom::thread::yield_now();
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn a_wake_up_ends_the_sleep_whoever_comes_first() {
        loom::model(|| {
            let word = Arc::new((Word::new(), AtomicU32::new(0)));
            let waker = {
                let word = Arc::clone(&word);
                thread::spawn(move || {
                    word.1.store(1, Ordering::Relaxed);
                    word.0.wake();
                })
            };
            word.0.sleep();
            assert_eq!(word.1.load(Ordering::Relaxed), 1, "what was written before is seen");
            waker.join().expect("no panic");
        });
    }
}
